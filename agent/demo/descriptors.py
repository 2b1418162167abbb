"""Security descriptors in the form in which a directory hands them out (self-relative, MS-DTYP 2.4.6)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from agent.demo.ldap_entry import sid_bytes

# Rights on directory objects, MS-ADTS 5.1.3.2.
FULL_CONTROL = 0xF01FF
READ = 0x20094  # read control, list, read properties, list object
CREATE_CHILD = 0x1
DELETE_TREE = 0x40
CONTROL_ACCESS = 0x100  # an extended right, or all of them
DELETE = 0x10000

INHERIT = 0x02  # containers below get the entry too

_PRESENT, _PROTECTED, _SELF_RELATIVE = 0x0004, 0x1000, 0x8000
_OBJECT_TYPE = 0x1


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry of an access list: who may, or may not, do what; `object_type` narrows it to one right or class."""

    sid: str
    mask: int
    deny: bool = False
    flags: int = 0
    object_type: uuid.UUID | None = None

    def encode(self) -> bytes:
        """The entry in binary, MS-DTYP 2.4.4."""
        body = struct.pack("<I", self.mask)
        if self.object_type is not None:
            body += struct.pack("<I", _OBJECT_TYPE) + self.object_type.bytes_le
        body += sid_bytes(self.sid)
        kind = (5 if self.object_type else 0) + (1 if self.deny else 0)
        return struct.pack("<BBH", kind, self.flags, len(body) + 4) + body


def descriptor(owner: str, group: str, aces: Sequence[Ace], *, protected: bool = False) -> bytes:
    """A security descriptor with owner, group and DACL, and no SACL; denials go first."""
    entries = [ace.encode() for ace in sorted(aces, key=lambda ace: not ace.deny)]
    size = 8 + sum(len(entry) for entry in entries)
    acl = struct.pack("<BBHHH", 4, 0, size, len(entries), 0) + b"".join(entries)
    parts = (acl, sid_bytes(owner), sid_bytes(group))
    control = _SELF_RELATIVE | _PRESENT | (_PROTECTED if protected else 0)
    dacl_at = 20
    owner_at = dacl_at + len(acl)
    group_at = owner_at + len(parts[1])
    return struct.pack("<BBHIIII", 1, 0, control, owner_at, group_at, 0, dacl_at) + b"".join(parts)
