"""Puts a stand-in domain together: SIDs, GUIDs, back links and the attributes that a domain controller fills in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from agent.demo.descriptors import FULL_CONTROL, READ, Ace, descriptor
from agent.demo.ldap_entry import Entry, make_entry, sid_bytes

Value = str | bytes | int
Values = Value | Sequence[Value]

_CLASSES = {
    "user": ("top", "person", "organizationalPerson", "user"),
    "computer": ("top", "person", "organizationalPerson", "user", "computer"),
    "group": ("top", "group"),
    "organizationalUnit": ("top", "organizationalUnit"),
    "groupPolicyContainer": ("top", "container", "groupPolicyContainer"),
    "domainDNS": ("top", "domain", "domainDNS"),
    "nTDSService": ("top", "nTDSService"),
}
_CATEGORIES = {
    "user": "Person",
    "computer": "Computer",
    "group": "Group",
    "container": "Container",
    "organizationalUnit": "Organizational-Unit",
    "groupPolicyContainer": "Group-Policy-Container",
    "domainDNS": "Domain-DNS",
    "dMD": "DMD",
    "attributeSchema": "Attribute-Schema",
    "classSchema": "Class-Schema",
}

SYSTEM, EVERYONE, AUTHENTICATED = "S-1-5-18", "S-1-1-0", "S-1-5-11"
ENTERPRISE_CONTROLLERS = "S-1-5-9"


class DomainBuilder:
    """Collects objects by name, then gives them out as entries. Names are built from `base` and `config`."""

    def __init__(self, base: str, sid: str, now: datetime) -> None:
        self.base, self.sid, self.now = base, sid, now
        self.config = f"CN=Configuration,{base}"
        self.schema = f"CN=Schema,{self.config}"
        self.planted: dict[str, list[str]] = {}
        self._objects: dict[str, dict[str, tuple[Value, ...]]] = {}
        self._hidden: dict[str, tuple[str, ...]] = {}
        self._bare: dict[str, tuple[str, ...]] = {}
        self._next_rid = 1103

    def plant(self, what: str, *labels: str) -> None:
        """Note that a fault was put in on purpose, with the names under which it should be found."""
        self.planted.setdefault(what, []).extend(labels)

    def add(
        self,
        dn: str,
        kind: str,
        values: Mapping[str, Values] | None = None,
        /,
        *,
        rid: int | None = None,
        hidden_from: Iterable[str] = (),
        bare_for: Iterable[str] = (),
        **more: Values,
    ) -> str:
        """Add an object of a class; underscores in attribute names stand for hyphens. Gives its name back.

        Users, computers and groups get the next relative id of the domain unless `rid` or `objectSid` is given.
        The accounts `hidden_from` do not see it; those of `bare_for` see its name and nothing else.
        Raises ValueError when the name is taken.
        """
        if dn in self._objects:
            raise ValueError(f"{dn} is there already")
        relative = dn.split(",", 1)[0]
        ready: dict[str, tuple[Value, ...]] = {
            "objectClass": _CLASSES.get(kind, ("top", kind)),
            "objectCategory": (f"CN={_CATEGORIES.get(kind, kind)},{self.schema}",),
            "objectGUID": (uuid.uuid5(uuid.NAMESPACE_X500, dn).bytes_le,),
            "whenCreated": ("{{generalized-500d}}",),
            "whenChanged": ("{{generalized-9d}}",),
            "name": (relative.partition("=")[2],),
            relative.partition("=")[0].lower(): (relative.partition("=")[2],),
            "instanceType": (4,),
        }
        if kind in ("user", "computer", "group") and "objectSid" not in more:
            ready["objectSid"] = (sid_bytes(f"{self.sid}-{self._rid(rid)}"),)
        self._objects[dn] = ready
        self.set(dn, values, **more)
        self._hidden[dn], self._bare[dn] = tuple(hidden_from), tuple(bare_for)
        return dn

    def _rid(self, rid: int | None) -> int:
        if rid is not None:
            return rid
        self._next_rid += 1
        return self._next_rid

    def set(self, dn: str, values: Mapping[str, Values] | None = None, /, **more: Values) -> None:
        """Replace attributes of an object; an empty list takes one away."""
        for name, given in (*(values or {}).items(), *more.items()):
            listed = (given,) if isinstance(given, str | bytes | int) else tuple(given)
            self._objects[dn][name.replace("_", "-")] = listed

    def append(self, dn: str, name: str, *values: Value) -> None:
        """Add values to an attribute of an object."""
        self._objects[dn][name] = (*self._objects[dn].get(name, ()), *values)

    def get(self, dn: str, name: str) -> str:
        """The first value of an attribute, as text."""
        return str(self._objects[dn][name][0])

    def protection(self, *extra: Ace, owner: str | None = None, protected: bool = False) -> bytes:
        """The usual descriptor of an object, and more entries: administrators and the system own it, members read."""
        admins = f"{self.sid}-512"
        usual = (
            Ace(admins, FULL_CONTROL),
            Ace(f"{self.sid}-519", FULL_CONTROL),
            Ace(SYSTEM, FULL_CONTROL),
            Ace("S-1-5-32-544", FULL_CONTROL & ~0x40),
            Ace(AUTHENTICATED, READ),
            Ace(ENTERPRISE_CONTROLLERS, READ),
        )
        return descriptor(owner or admins, admins, (*extra, *usual), protected=protected)

    def entries(self) -> list[Entry]:
        """All objects as entries, with `memberOf` filled in from `member`."""
        groups: dict[str, list[str]] = {}
        for dn, values in self._objects.items():
            for member in values.get("member", ()):
                groups.setdefault(str(member), []).append(dn)
        missing = [member for member in groups if member not in self._objects]
        if missing:
            raise ValueError(f"{missing[0]} is a member of a group, and no object")
        for member, held in groups.items():
            self.set(member, memberOf=sorted(held))
        return [
            make_entry(
                dn,
                {
                    name: [str(value) if isinstance(value, int) else value for value in values]
                    for name, values in held.items()
                },
                now=self.now,
                hidden_from=self._hidden[dn],
                hidden_attributes={"*": self._bare[dn]},
            )
            for dn, held in self._objects.items()
        ]
