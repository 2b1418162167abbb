"""Credential references → values: `env:`, `file:`, `keyring:`, `vault:`. Read when needed, kept nowhere.

`memory:` references are made here alone, for values that an inventory gave: they mean nothing outside this process.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets as dice
import subprocess
import threading
from pathlib import Path

from agent.errors import ConfigError, SecretError
from agent.resources import tool

MAX_BYTES = 64 << 10
"""A certificate with its chain and key is a few KiB."""


def resolve(reference: str, folder: Path) -> str:
    """The secret behind a reference. Relative files are looked up in `folder`. Raises `SecretError`, which never
    repeats what was read."""
    scheme, colon, rest = reference.partition(":")
    if scheme == "memory":
        return _recall(rest)
    if not colon or scheme not in ("env", "file", "keyring", "vault") or not rest:
        raise SecretError("a credential is a reference: env:, file:, keyring: or vault:.")
    return {"env": _env, "file": _file, "keyring": _keyring, "vault": _vault}[scheme](rest, folder)


_REFERENCE = re.compile(r"(env|file|keyring|vault):\S+|memory:[0-9a-f]{32}")
_lock = threading.Lock()
_salt = dice.token_bytes(32)
_kept: dict[str, tuple[str, Path | None]] = {}
"""Token → (value, None), or (ciphertext of Ansible Vault, folder to run ansible-vault in)."""


def is_reference(text: str) -> bool:
    """Whether a text is a reference and not the secret itself."""
    return _REFERENCE.fullmatch(text) is not None


def remember(value: str) -> str:
    """Keep a secret in memory → a reference to it, the same for the same secret. It lasts as long as the process."""
    return _remember(value, None)


def remember_vaulted(ciphertext: str, folder: Path) -> str:
    """A reference to a value of Ansible Vault (`!vault`), which is decrypted when it is first asked for."""
    return _remember(ciphertext, folder)


def _remember(value: str, folder: Path | None) -> str:
    # Salted, so that the token tells nothing; stable, so that hosts of one credential are seen to share it.
    token = hashlib.blake2b(value.encode(), key=_salt, digest_size=16).hexdigest()
    with _lock:
        _kept.setdefault(token, (value, folder))
    return f"memory:{token}"


def _recall(token: str) -> str:
    with _lock:  # held while it is decrypted: a group's password is one run of ansible-vault, not one for each host
        value, folder = _kept.get(token, ("", None))
        if not value:
            raise SecretError("a secret of the inventory is no longer known.", "Run the command again.")
        if folder is None:
            return value
        try:
            done = subprocess.run(
                [tool("ansible-vault"), "decrypt", "--output", "-", "-"],
                input=value,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                cwd=folder,
            )
        except (OSError, subprocess.TimeoutExpired):
            raise SecretError("a vaulted value of the inventory cannot be opened: ansible-vault did not run.") from None
        if done.returncode != 0:
            raise SecretError(
                "a vaulted value of the inventory cannot be opened.",
                "Set ANSIBLE_VAULT_PASSWORD_FILE to the file that holds its password.",
            )
        _kept[token] = (done.stdout, None)
        return done.stdout


def _env(name: str, _: Path) -> str:
    value = os.environ.get(name)
    if not value:
        raise SecretError(
            f"the environment variable {name} is not set.", f"Set it before the scan: export {name}=VALUE."
        )
    return value


def _file(name: str, folder: Path) -> str:
    path = folder / name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SecretError(f"the secret file {name} is larger than 64 KiB.")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as e:
        raise SecretError(
            f"the secret file {name} cannot be read: {e.strerror}.",
            "Check its path (relative to the trust's folder) and its permissions.",
        ) from None
    except UnicodeDecodeError:
        raise SecretError(f"the secret file {name} is not text.") from None


def _keyring(rest: str, _: Path) -> str:
    service, _slash, user = rest.partition("/")
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        raise SecretError(
            "keyring: needs the package keyring, which is not installed.", "Install spiritlevel[keyring]."
        ) from None
    try:
        value: str | None = keyring.get_password(service, user)
    except NoKeyringError:
        raise SecretError("there is no keyring on this machine.", "Use env:, file: or vault: instead.") from None
    except KeyringError:
        raise SecretError("the keyring cannot be read.", "Is it locked?") from None
    if not value:
        raise SecretError(f"the keyring has no secret for {rest}.", f"Add it with `keyring set {service} {user}`.")
    return value


def _vault(rest: str, folder: Path) -> str:
    """`FILE#KEY`: a key of an Ansible Vault file, opened by ansible-vault with its own ways to find the password."""
    from agent.yamlfile import parse

    name, _hash, key = rest.partition("#")
    path = folder / name
    if not path.is_file():
        raise SecretError(f"there is no vault file {name}.", "Its path is relative to the trust's folder.")
    try:
        done = subprocess.run(
            [tool("ansible-vault"), "view", "--", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=folder,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise SecretError(f"the vault file {name} cannot be opened: ansible-vault did not run.") from None
    if done.returncode != 0:
        raise SecretError(
            f"the vault file {name} cannot be opened.",
            "Set ANSIBLE_VAULT_PASSWORD_FILE to the file that holds its password.",
        )
    if not key:
        return done.stdout.rstrip("\r\n")
    try:
        data = parse(done.stdout, name).data
    except ConfigError:  # its text may repeat a line of what is secret
        raise SecretError(
            f"the vault file {name} holds no valid YAML.", f"Correct it with `ansible-vault edit {name}`."
        ) from None
    if not isinstance(data, dict) or not isinstance(data.get(key), str):
        raise SecretError(f"the vault file {name} holds no text under {key!r}.")
    return str(data[key])
