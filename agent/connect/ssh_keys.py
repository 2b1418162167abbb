"""Proving who we are to an SSH host: keys with their certificates, the agent's keys, a password."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.connect.ssh_link import Link
from agent.connect.ssh_options import Login, clean
from agent.errors import CredentialRefused, SecretError

if TYPE_CHECKING:
    import paramiko

TRIES = 5
"""Keys tried on one connection: sshd ends it after six by default (MaxAuthTries), which would hide the reason."""

Secret = Callable[[str], str]


def authenticate(link: Link, want: Login, secret: Secret, *, keys: bool = True) -> None:
    """Keys first (the files named, the agent's, the usual ones) unless `keys` is false, then the password, if any.

    Raises `CredentialRefused`, `SecretError` where there is nothing to try, and what `secret` raises.
    """
    import paramiko

    transport, tried, unread = link.transport, 0, ""
    try:
        for key in _keys(want, secret) if keys else ():
            if isinstance(key, str):
                unread = unread or key
                continue
            if tried == TRIES:
                break
            tried += 1
            try:
                left_over = transport.auth_publickey(want.user, key)
            except paramiko.BadAuthenticationType:
                break
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    break
                continue
            if not left_over:
                return
        if want.password and transport.is_active():
            tried += 1
            with contextlib.suppress(paramiko.AuthenticationException):
                if not transport.auth_password(want.user, secret(want.password)):
                    return
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        raise link.failure(error, "broke off the login") from error
    if link.expired:
        raise link.failure(TimeoutError(), "")
    if tried == 0:
        raise SecretError(  # nobody was asked, so nobody refused: this must not count towards the limit of three
            f"There is no key or password to log in to {link.place} as {clean(want.user)}. {unread}".strip(),
            "Set ansible_ssh_private_key_file in the inventory.",
        )
    raise CredentialRefused(
        f"{link.place} refused to let {clean(want.user)} in ({tried} tried). {unread}".strip(),
        "Check the user, its key in authorized_keys, and that the account is not locked.",
    )


def _keys(want: Login, secret: Secret) -> Iterator[paramiko.PKey | str]:
    """Private keys in the order in which they are tried; a sentence instead of a key that cannot be used."""
    word = secret(want.passphrase).encode() if want.passphrase else None
    locked: set[bytes] = set()
    offered: set[bytes] = set()
    for file in want.key_files or want.usual_key_files:
        found = _from_file(file, word, want)
        if isinstance(found, str):
            locked |= _public(file)
            if want.key_files:
                yield found
            continue
        for key in found:
            offered.add(key.asbytes())
            yield key
    if want.agent and (locked or not want.identities_only):
        for held in _agent():
            if isinstance(held, str):
                yield held
            elif held.asbytes() not in offered and (not want.identities_only or held.asbytes() in locked):
                # A named key that is locked here may well be open in the agent.
                yield held


def _from_file(file: Path, word: bytes | None, want: Login) -> list[paramiko.PKey] | str:
    """The key of a file, with its certificates first; a sentence where it cannot be used."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        plain = _load(file, word)
        out = [plain]
        for number, certificate in enumerate((*want.certificates, Path(f"{file}-cert.pub"))):
            if not _certifies(certificate, plain):
                continue
            key = _load(file, word)
            key.load_certificate(str(certificate))
            out.insert(number, key)
        return out
    except FileNotFoundError:
        return f"The key file {file} is not there."
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, paramiko.SSHException):
        # Text of these errors is about the key's inside: the name of the file is all that helps.
        return f"The key file {file} cannot be used (unreadable, or its passphrase is missing or wrong)."


def _load(file: Path, word: bytes | None) -> paramiko.PKey:
    """A private key without the certificate beside it, which paramiko takes unseen and trips over when it is spoilt."""
    import paramiko

    try:
        key = paramiko.PKey.from_path(file, word)  # type: ignore[arg-type]  # bytes is what its backend takes
        key.public_blob = None
        return key
    except (ValueError, TypeError):
        if not Path(f"{file}-cert.pub").exists():
            raise
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key_file(str(file), word.decode() if word else None)
    raise ValueError("no private key")


def _certifies(file: Path, key: paramiko.PKey) -> bool:
    """Whether a file holds a certificate of this key; sshd decides whether it is any good."""
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, ssh

    try:
        found = ssh.load_ssh_public_identity(file.read_bytes())
        if not isinstance(found, ssh.SSHCertificate):
            return False
        inside: PublicKeyTypes = found.public_key()
        line = inside.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return base64.b64decode(line.split()[1]) == key.asbytes()
    except (OSError, ValueError, TypeError, IndexError):
        return False


def _public(file: Path) -> set[bytes]:
    """The public half of a key file, from the `.pub` beside it, or from the file itself where it is one."""
    out = set()
    for name in (Path(f"{file}.pub"), Path(f"{file}-cert.pub"), file):
        with contextlib.suppress(OSError, UnicodeDecodeError, IndexError, binascii.Error, ValueError):
            out.add(base64.b64decode(name.read_text(encoding="utf-8").split()[1], validate=True))
    return out


def _agent() -> Iterator[paramiko.PKey | str]:
    import paramiko

    agent = None
    try:
        agent = paramiko.Agent()
        yield from agent.get_keys()
    except (paramiko.SSHException, OSError) as error:
        yield f"The SSH agent cannot be used: {clean(error)}."
    finally:
        if agent is not None:
            agent.close()
