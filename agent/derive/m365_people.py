"""People of a tenant as derived facts see them: who is in which group, who holds which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.derive import View, as_items
from agent.derive.m365_coverage import Region
from agent.model import Reason, School, Unknown

GUEST_TYPES = (
    "internalGuest",
    "b2bCollaborationGuest",
    "b2bCollaborationMember",
    "b2bDirectConnectUser",
    "otherExternalUser",
    "serviceProvider",
)
"""All kinds of guests and outsiders, as conditional access names them."""


@dataclass(slots=True)
class Crowd:
    """Whom tags of the dimension `who` mean: `user:id`, `group:id`, `role:id`, `member`, `guest:type`.

    `members` and `inside` (people and groups of a group) hold only groups that could be read; `holders` the people
    of a role, or why that is not known; `allowed` the exclusions that are declared.
    """

    allowed: frozenset[tuple[str, str]]
    accounts: frozenset[str] = frozenset()
    members: dict[str, frozenset[str]] = field(default_factory=dict)
    inside: dict[str, frozenset[str]] = field(default_factory=dict)
    missing: dict[str, Unknown] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    people: Sequence[Mapping[str, Any]] = ()
    people_missing: Unknown | None = None
    holders: dict[str, set[str]] = field(default_factory=dict)
    holders_missing: Unknown | None = None

    @classmethod
    def of(cls, view: View, roles: Mapping[str, str], excused_roles: frozenset[str]) -> Crowd:
        """Read a view. `roles` are names of roles by id; `excused_roles` may always be excluded.

        What is read of a large tenant is read once a view; each crowd then goes its own way.
        """
        key = ("crowd", tuple(view.parameters.get("break_glass_accounts") or ()), excused_roles)
        if key not in view.shared:
            view.shared[key] = cls._read(view, roles, excused_roles)
        read: Crowd = view.shared[key]
        return replace(read, members=dict(read.members), missing=dict(read.missing), names=dict(read.names))

    @classmethod
    def _read(cls, view: View, roles: Mapping[str, str], excused_roles: frozenset[str]) -> Crowd:
        declared = {str(a).lower() for a in view.parameters.get("break_glass_accounts") or ()}
        crowd = cls(
            frozenset(("who", f"{kind}:{d}") for d in declared for kind in ("user", "group"))
            | {("who", f"role:{r}") for r in excused_roles},
            frozenset(declared),
        )
        crowd.names.update({f"role:{r}": name for r, name in roles.items()})
        groups, _ = view.items("conditional_access.groups")
        for group in groups:
            if not isinstance(group, Unknown):
                crowd._add_group(group)
        crowd.people, crowd.people_missing = view.items("users")
        for person in crowd.people:
            if isinstance(person, Mapping) and isinstance(person.get("upn"), str):
                crowd.names[f"user:{person.get('id')}"] = person["upn"]
        crowd._add_roles(view.get("role_holders"))
        # Accounts in a declared group are declared too.
        for account in declared:
            crowd.accounts |= crowd.members.get(account, frozenset())
        return crowd

    def _add_group(self, group: Mapping[str, Any]) -> None:
        key = str(group.get("id"))
        if isinstance(name := group.get("name"), str):
            self.names[f"group:{key}"] = name
        members, inside = group.get("members"), group.get("groups")
        if isinstance(members, (list, tuple)):
            self.members[key] = frozenset(m for m in members if isinstance(m, str))
        else:
            self.missing[key] = _why(members)
        if isinstance(inside, (list, tuple)):
            self.inside[key] = frozenset(i for i in inside if isinstance(i, str))

    def _add_roles(self, held: Any) -> None:
        if not isinstance(held, Mapping):
            self.holders_missing = _why(held)
            return
        active, self.holders_missing = as_items(held.get("active", Unknown(Reason.NOT_COLLECTED)))
        for holder in active:
            if isinstance(holder, Unknown) or isinstance(holder.get("members"), Unknown):
                self.holders_missing = self.holders_missing or _why(holder)
                continue
            people = self.holders.setdefault(str(holder.get("role")), set())
            people.add(str(holder.get("principal")))
            people.update(as_items(holder.get("members"))[0])

    def nobody(self, on: frozenset[str], off: frozenset[str]) -> bool:
        """Whether nobody can have all tags of `on` and none of `off`; only what is sure counts."""
        kinds = {t.partition("@")[0] for t in on if t == "member" or t.startswith("guest:")}
        if len(kinds) > 1 or kinds & off:
            return True
        users = [t[5:] for t in on if t.startswith("user:")]
        if len(users) > 1:
            return True
        on_groups, off_groups = _groups(on), _groups(off)
        if any(g in self.inside.get(h, ()) for g in on_groups for h in off_groups):
            return True
        return any(
            any(g in self.members and user not in self.members[g] for g in on_groups)
            or any(user in self.members.get(g, ()) for g in off_groups)
            for user in users
        )

    def populated(self, region: Region) -> bool | Unknown:
        """Whether somebody is in a region: a hole that an exclusion makes is one, whoever is in it just now."""
        on, off = region.tags("who")
        dug = {tag for dimension, tag in region.left_out if dimension == "who"}
        inner = [self.members[g] for g in _groups(frozenset(dug)) if g in self.members]
        if any(people and people <= self.accounts for people in inner):
            # An excluded group that holds nobody but declared accounts is as good as declared.
            return False
        # Who else would be in the region: the exclusion itself counts whoever it holds, but a person is a person.
        base = frozenset(t for t in on if t not in dug or t.startswith("user:"))
        if not off or any(t.startswith(("role:", "guest:")) for t in base):
            return True
        return self._anybody(base, off)

    def _anybody(self, on: frozenset[str], off: frozenset[str]) -> bool | Unknown:
        """Whether a person who can sign in has all of `on` and none of `off`."""
        doubt = self.people_missing
        for person in self.people:
            if isinstance(person, Unknown):
                doubt = doubt or person
                continue
            key = person.get("id")
            if key in self.accounts or person.get("enabled") is False:
                continue
            answers = [self._has(person, t) for t in on] + [_not(self._has(person, t)) for t in off]
            if person.get("enabled") is not True:
                answers.append(_why(person.get("enabled")))
            if False in answers:
                continue
            unknown = next((a for a in answers if isinstance(a, Unknown)), None)
            if unknown is None:
                return True
            doubt = doubt or unknown
        return doubt or False

    def _has(self, person: Mapping[str, Any], tag: str) -> bool | Unknown:
        key = str(person.get("id"))
        kind, _, rest = tag.partition(":")
        if kind == "user":
            return key == rest
        if kind == "group":
            if rest in self.members:
                return key in self.members[rest]
            return self.missing.get(rest) or Unknown(Reason.NOT_COLLECTED, f"members of group {rest}")
        if kind == "role":
            if key in self.holders.get(rest, ()):
                return True
            return self.holders_missing or False
        guest = person.get("guest")
        if not isinstance(guest, bool):
            return _why(guest)
        return guest is (kind == "guest")

    def named(self, tag: str) -> str:
        """A tag as people read it."""
        kind, _, rest = tag.partition(":")
        if kind in ("user", "group", "role"):
            return f"{kind} {self.names.get(tag, rest)}"
        if kind == "guest":
            return f"guests ({rest})"
        return {"member": "members"}.get(tag, tag)

    def declared(self, view: View, selector: str, *, by_all: bool) -> list[str] | None:
        """Ids of the groups that schools name under a selector; None when one names none and `by_all` is asked for.

        A group named by its display name is found among those that policies name; else its name stands for it, and
        its members are those that were read to tell the schools apart.
        """
        ids = {name.casefold(): tag[6:] for tag, name in self.names.items() if tag.startswith("group:")}
        out: dict[str, None] = {}
        for school in view.schools:
            named = group_names(school, selector)
            if not named and by_all:
                return None
            for group in named:
                key = ids.get(str(group).casefold(), str(group).lower())
                out[key] = None
                if key not in self.members and key not in self.missing:
                    held = view.get(f"group_members[{group}]")
                    people = held.get("people") if isinstance(held, Mapping) else held
                    if isinstance(people, (list, tuple)):
                        self.members[key] = frozenset(p for p in people if isinstance(p, str))
                    else:
                        self.missing[key] = (
                            _why(people) if people else Unknown(Reason.NOT_COLLECTED, f"members of group {group}")
                        )
        return list(out) or None


def _groups(tags: frozenset[str]) -> list[str]:
    return [t[6:] for t in tags if t.startswith("group:")]


def _not(answer: bool | Unknown) -> bool | Unknown:
    return answer if isinstance(answer, Unknown) else not answer


def _why(value: Any) -> Unknown:
    if isinstance(value, Unknown):
        return value
    _, why = as_items(value) if not isinstance(value, (bool, Mapping)) else ((), None)
    return why or Unknown(Reason.NOT_COLLECTED)


def members_of(view: View, selector: str) -> tuple[set[str], Unknown | None]:
    """Ids of the people in the groups that schools name under a selector, and why some may be missing."""
    found: set[str] = set()
    doubt: Unknown | None = None
    for school in view.schools:
        for group in group_names(school, selector):
            held = view.get(f"group_members[{group}]")
            people = held.get("people", Unknown(Reason.NOT_COLLECTED)) if isinstance(held, Mapping) else held
            if people is None:
                people = Unknown(Reason.UNREADABLE, f"there is no group {group!r}")
            ids, why = as_items(people)
            found.update(i for i in ids if isinstance(i, str))
            doubt = doubt or why
    return found, doubt


def group_names(school: School, selector: str) -> list[str]:
    """Groups that a school names under a selector, by id or display name."""
    groups = school.tenant.get(selector) or ()
    return [groups] if isinstance(groups, str) else [str(g) for g in groups]
