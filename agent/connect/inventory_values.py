"""What stands in an inventory's connection variables: plain values, simple templates, and secrets that are moved away.

ansible-inventory fills in no template and hides no password. Here templates of the plain kind are filled in, and each
secret becomes a reference: what the inventory wrote as one stays, a value that Ansible Vault or a dynamic inventory
gave is kept in memory under a `memory:` reference, and a password in plain text in a file is an error.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.connect import secrets
from agent.errors import ConfigError

SECRET = re.compile(r"ansible_\w*(pass|password|passphrase|(?<!public_)private_key)$")
"""Connection variables that hold a secret."""
MAX_DEPTH = 8
"""Variables that name one another."""
MAX_BYTES = 4 << 20
MAX_FILES = 10_000

_SIMPLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_ENV = re.compile(r"""\{\{\s*(?:lookup|query)\(\s*(['"])(?:ansible\.builtin\.)?env\1\s*,\s*(['"])(\w+)\2\s*\)\s*\}\}""")
_VAULT = "__ansible_vault"


def connection(name: str, variables: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """A host's `ansible_*` variables with templates filled in and secrets replaced by references.

    Other variables are the playbooks' own business and are dropped. A template that is more than a variable's name
    stays as it is: whoever uses it says that it cannot. Raises `ConfigError` for a password in plain text, and
    `SecretError` for a vaulted name or address that cannot be opened.
    """
    known = {**variables, "inventory_hostname": name, "inventory_hostname_short": name.partition(".")[0]}
    out: dict[str, Any] = {}
    for key, value in variables.items():
        if not key.startswith("ansible_"):
            continue
        found = fill(value, known)
        if SECRET.fullmatch(key):
            out[key] = _hidden(name, key, value, found, known, files)
        elif isinstance(found, Mapping) and isinstance(found.get(_VAULT), str):
            # A name or an address: it is said in messages, so it is no secret in the sense of a password.
            out[key] = secrets.resolve(secrets.remember_vaulted(found[_VAULT], files.folder), files.folder)
        else:
            out[key] = found
    return out


def fill(value: Any, known: Mapping[str, Any], depth: int = 0) -> Any:
    """Fill `{{ name }}` in from `known`; anything else in braces stays."""
    if not isinstance(value, str) or "{{" not in value or depth == MAX_DEPTH:
        return value
    whole = _SIMPLE.fullmatch(value.strip())
    if whole and whole[1] in known:
        return fill(known[whole[1]], known, depth + 1)

    def one(match: re.Match[str]) -> str:
        found = fill(known.get(match[1]), known, depth + 1)
        return str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else match[0]

    return _SIMPLE.sub(one, value)


def is_template(value: object) -> bool:
    """Whether a value still holds something that Ansible would fill in."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _hidden(host: str, key: str, raw: Any, value: Any, known: Mapping[str, Any], files: Files) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get(_VAULT), str):
        return secrets.remember_vaulted(value[_VAULT], files.folder)
    if value is None or value == "" or isinstance(value, (Mapping, list)):
        return value
    text = str(value)
    if secrets.is_reference(text):
        return text
    if match := _ENV.fullmatch(text.strip()):
        return f"env:{match[3]}"
    if is_template(text):
        return text
    names = [key]
    while (m := _SIMPLE.fullmatch(str(raw).strip())) and m[1] in known and len(names) < MAX_DEPTH:
        names.append(m[1])
        raw = known[m[1]]
    if place := files.where(names, text):
        # The value itself is never repeated.
        raise ConfigError(
            f"a password of {host} is written down in plain text.",
            "Write env:NAME, file:PATH, keyring:SERVICE/USER or vault:FILE#KEY, or encrypt it with ansible-vault.",
            file=place[0],
            line=place[1],
            key=place[2],
        )
    return secrets.remember(text)


class Files:
    """The text files that an inventory is made of, to see whether a secret stands in one of them.

    ansible-inventory's answer does not tell a decrypted value from a plain one, but an encrypted file shows only
    ciphertext: a value that stands beside its variable's name in some file's text was never encrypted.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        self.paths, self.folder = tuple(paths), folder
        self._found: dict[tuple[str, ...], tuple[str, int, str] | None] = {}
        self._texts: list[tuple[Path, list[str]]] | None = None

    def where(self, names: Sequence[str], value: str) -> tuple[str, int, str] | None:
        """(file, line, variable) of the first place where `value` stands beside one of `names`, if any."""
        key = (value, *names)
        if key not in self._found:
            self._found[key] = self._search(names, value)
        return self._found[key]

    def _search(self, names: Sequence[str], value: str) -> tuple[str, int, str] | None:
        shapes = {value, json.dumps(value)[1:-1], value.replace("'", "''"), value.replace('"', '\\"')}
        for path, lines in self._read():
            for number, line in enumerate(lines):
                for name in names:
                    found = re.search(rf"(?<!\w){re.escape(name)}\b['\"]?\s*[:=]\s*(.*)", line)
                    if found is None:
                        continue
                    # A block scalar's value stands on the next line.
                    rest = (
                        found[1]
                        if not re.match(r"[|>][-+\d]*\s*$", found[1])
                        else " ".join(lines[number + 1 : number + 3])
                    )
                    if any(_stands(shape, rest) for shape in shapes):
                        return self._shown(path), number + 1, name
        return None

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)

    def _read(self) -> list[tuple[Path, list[str]]]:
        if self._texts is None:
            self._texts = []
            for path in dict.fromkeys(self._paths()):
                try:
                    if path.stat().st_size > MAX_BYTES:
                        continue
                    text = path.read_text(encoding="utf-8", errors="replace")
                except OSError:  # what cannot be read is not where the value came from
                    continue
                if not text.startswith("$ANSIBLE_VAULT;"):
                    self._texts.append((path, text.splitlines()))
        return self._texts

    def _paths(self) -> Iterator[Path]:
        roots = [p for p in self.paths if p.exists()]
        for root in list(roots):
            base = root if root.is_dir() else root.parent
            roots += [base / "group_vars", base / "host_vars"]
        roots += [self.folder / "group_vars", self.folder / "host_vars"]
        count = 0
        for root in dict.fromkeys(roots):
            if root.is_file():
                yield root
            for folder, _, files in os.walk(root):
                for name in sorted(files):
                    count += 1
                    if count > MAX_FILES:
                        return
                    yield Path(folder) / name


def _stands(value: str, text: str) -> bool:
    """Whether `value` is in `text` as a whole word."""
    return re.search(rf"(?<![\w]){re.escape(value)}(?![\w])", text) is not None


__all__ = ["SECRET", "Files", "connection", "fill", "is_template"]
