"""OpenSSH known_hosts files, read strictly: plain, wildcard, negated, `[host]:port` and hashed entries, `@revoked`.

`@cert-authority` lines are passed over: host certificates are not offered by this client.
Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

MAX_BYTES = 8 << 20
"""A known_hosts file larger than this is not read whole: nobody keeps 40,000 hosts by hand."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line that names the host: key type, key blob, and where it stands."""

    type: str
    blob: bytes
    place: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` as ssh-keygen prints it."""
        return fingerprint(self.blob)


@dataclass(slots=True)
class Known:
    """What the files say of one host."""

    keys: list[KnownKey] = field(default_factory=list)
    revoked: list[KnownKey] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """Key types known for the host, in the order of the files."""
        return list(dict.fromkeys(k.type for k in self.keys))


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` of a key blob, unpadded base64 as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def host_name(host: str, port: int) -> str:
    """The name under which OpenSSH files a host: bare on port 22, else `[host]:port`. Lower case."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def lookup(files: Iterable[Path], host: str, port: int) -> Known:
    """All entries of `files` for `host`. Files that do not exist are passed over; malformed lines too."""
    name = host_name(host, port)
    known = Known()
    for file in files:
        try:
            with file.open("rb") as handle:
                data = handle.read(MAX_BYTES)
        except OSError:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            entry = _entry(line, name, f"{file}:{number}")
            if entry is not None:
                marker, key = entry
                (known.revoked if marker == "@revoked" else known.keys).append(key)
    return known


def _entry(line: str, name: str, place: str) -> tuple[str, KnownKey] | None:
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = ""
    if words[0].startswith("@"):
        marker = words.pop(0)
        if marker != "@revoked":
            return None
    if len(words) < 3 or not _names(words[0], name):
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    if not _says(blob, words[1]):
        return None
    return marker, KnownKey(words[1], blob, place)


def _says(blob: bytes, key_type: str) -> bool:
    """A key blob begins with its own type as a length-prefixed string; a line that disagrees with itself is void."""
    head = key_type.encode()
    return blob[:4] == len(head).to_bytes(4, "big") and blob[4 : 4 + len(head)] == head


def _names(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _hashed(patterns, name)
    hit = False
    for pattern in patterns.lower().split(","):
        if pattern.startswith("!"):
            if _match(pattern[1:], name):
                return False
        elif _match(pattern, name):
            hit = True
    return hit


def _hashed(entry: str, name: str) -> bool:
    parts = entry.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, digest = base64.b64decode(parts[2], validate=True), base64.b64decode(parts[3], validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)  # the format's own hash


def _match(pattern: str, name: str) -> bool:
    """`*` and `?` are wildcards and brackets are literal (they wrap the host in `[host]:port`)."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    return re.match(translate(pattern.replace("[", "[[]")), name) is not None


def line_for(host: str, port: int, key_type: str, blob: bytes) -> str:
    """The line that a person would add to known_hosts for this key."""
    return f"{host_name(host, port)} {key_type} {base64.b64encode(blob).decode()}"


def default_files() -> Sequence[Path]:
    """Where OpenSSH looks when nothing else is said (ssh_config(5), UserKnownHostsFile)."""
    return [Path("~/.ssh/known_hosts").expanduser(), Path("~/.ssh/known_hosts2").expanduser()]


def global_files() -> Sequence[Path]:
    """ssh_config(5), GlobalKnownHostsFile."""
    return [Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2")]
