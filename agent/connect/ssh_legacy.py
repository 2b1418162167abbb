"""Old SSH algorithms, for equipment that knows no better: offered to a host only where its inventory asks, by name.

paramiko has dropped what rests on SHA-1; the classes here bring it back for that one connection. What was really used
is told afterwards, so that it can be reported.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agent.errors import Unreachable

if TYPE_CHECKING:
    import paramiko

KEX = ("diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1")
"""RFC 4253, 8.1 and 8.2; RFC 9142 advises against both."""
HOST_KEYS = ("ssh-rsa",)
"""RSA signatures over SHA-1 (RFC 4253, 6.6)."""
CIPHERS = ("aes256-cbc", "aes192-cbc", "aes128-cbc", "3des-cbc")
_KNOWN = {"kexalgorithms": KEX, "hostkeyalgorithms": HOST_KEYS, "ciphers": CIPHERS}
_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_UNSAFE = ("ssh-dss", "arcfour", "arcfour128", "arcfour256", "blowfish-cbc", "cast128-cbc", "des-cbc")

# RFC 2409, 6.2: the Second Oakley Group, 1024 bits.
_OAKLEY_2 = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


@dataclass(frozen=True, slots=True)
class Legacy:
    """Old algorithms that a host's inventory allows, in the order in which they are offered: after all good ones."""

    kex: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kex or self.host_keys or self.ciphers)


NONE = Legacy()


def asked(settings: Mapping[str, Any]) -> Legacy:
    """What `-o KexAlgorithms=+…`, `HostKeyAlgorithms` and `Ciphers` in the inventory's ssh arguments ask for.

    Good algorithms among them are passed over: those are offered anyway. Raises `Unreachable` for one that is broken
    beyond use, and is not spoken here.
    """
    found: dict[str, list[str]] = {k: [] for k in _KNOWN}
    for variable in _ARGUMENTS:
        try:
            words = shlex.split(str(settings.get(variable) or ""))
        except ValueError:
            continue  # told by whoever reads the other options
        for word in words:
            name, equals, value = word.removeprefix("-o").partition("=")
            known = _KNOWN.get(name.strip().lower())
            if not equals or known is None:
                continue
            for algorithm in value.strip().strip('"').lstrip("+^").split(","):
                if algorithm in _UNSAFE:
                    raise Unreachable(
                        f"the inventory asks for {algorithm}, which is not spoken here.",
                        "Give the device a newer release or another key.",
                    )
                if algorithm in known and algorithm not in found[name.strip().lower()]:
                    found[name.strip().lower()].append(algorithm)
    return Legacy(*(tuple(found[k]) for k in _KNOWN))


@lru_cache(maxsize=1)
def transport_class() -> type[paramiko.Transport]:
    """A transport that can speak the old algorithms; it offers none by itself."""
    import paramiko
    from cryptography.hazmat.primitives import hashes
    from paramiko.kex_group14 import KexGroup14SHA256

    class Group14(KexGroup14SHA256):
        name = KEX[0]
        hash_algo = hashlib.sha1

        def __init__(self, transport: Any) -> None:
            super().__init__(transport)
            transport.old_kex = self.name  # the engine is thrown away once it has done its work

    class Group1(Group14):
        name = KEX[1]
        P = _OAKLEY_2

    key: Any = paramiko.RSAKey
    transport: Any = paramiko.Transport
    # type() where a class statement would do: paramiko's tables are private to its types.
    sha1_key = type("Sha1Key", (key,), {"HASHES": {**key.HASHES, "ssh-rsa": hashes.SHA1}})
    tables = {
        "_kex_info": {**transport._kex_info, Group14.name: Group14, Group1.name: Group1},
        "_key_info": {**transport._key_info, "ssh-rsa": sha1_key},
    }
    made: type[paramiko.Transport] = type("OldTransport", (transport,), tables)
    return made


def used(transport: paramiko.Transport) -> list[str]:
    """Old algorithms that a connection came about with, of those that are only offered on request."""
    kex = getattr(transport, "old_kex", "")
    ciphers = (getattr(transport, "local_cipher", ""), getattr(transport, "remote_cipher", ""))
    words = (kex, getattr(transport, "host_key_type", ""), *ciphers)
    old = (*KEX, *HOST_KEYS, *CIPHERS)
    return [w for w in dict.fromkeys(words) if w in old]


__all__ = ["NONE", "Legacy", "asked", "transport_class", "used"]
