"""Which school an item of a shared directory or tenant belongs to.

A list fact names its rule (`ListOf(claims=...)`). Rules answer True, False, or None where it cannot be told. A school
that gives no selector claims everything. Rules look at whole facts: the view handed in is not narrowed to a school.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from agent import claims_tenant
from agent import dn as names
from agent.derive import View
from agent.derive.places import school_units, seen_units
from agent.model import Reason, School, Unknown

Rule = Callable[[Mapping[str, Any], School, View], "bool | None"]

RULES: dict[str, Rule] = dict(claims_tenant.RULES)
"""Rules by the word that facts use. Modules add theirs at import."""

_BLIND = "how trust.yml selects this school says nothing about items of this kind"


def rule(word: str) -> Callable[[Rule], Rule]:
    """Decorator: register a rule under `word`."""

    def add(function: Rule) -> Rule:
        RULES[word] = function
        return function

    return add


def belongs(word: str, item: Mapping[str, Any], school: School, view: View) -> bool | None:
    """Whether `item` is the school's, by the rule `word`. None: cannot tell. Raises KeyError for an unknown rule."""
    return RULES[word](item, school, view)


Answers = tuple["bool | None", ...]


def asking(word: str, view: View) -> Callable[[Mapping[str, Any]], Answers]:
    """A function that says of an item whose it is: one answer, as `belongs`, for each of the view's schools."""
    schools = view.schools
    if word == "dn" and schools and all(s.directory.get("ou") for s in schools):
        return _by_container(view)
    if word == "user" and RULES[word] is claims_tenant.by_user:
        return claims_tenant.asking_users(view)
    asked = RULES[word]
    return lambda item: tuple([asked(item, s, view) for s in schools])


def _by_container(view: View) -> Callable[[Mapping[str, Any]], Answers]:
    """As `asking`, where all schools are told by OUs: what lies in one container is the same schools'.

    50,000 people in 40 schools are two million questions a list, in some hundred containers.
    """
    schools = view.schools
    known: dict[str, Answers] = {}
    found = [school_units(s, view) for s in schools]
    tops = frozenset(u for units in found for u in units or ())
    unsure: Answers = tuple([by_dn({}, s, view) for s in schools])

    def ask(item: Mapping[str, Any]) -> Answers:
        place = item.get("dn")
        if not isinstance(place, str):
            return unsure
        above = names.parent(place)
        answers = known.get(above)
        if answers is None:
            answers = known[above] = tuple([by_dn({"dn": f"CN=x,{above}"}, s, view) for s in schools])
        if place.lower() in tops:  # a school's own OU is the school's too
            return tuple([by_dn(item, s, view) for s in schools])
        return answers

    return ask


@rule("dn")
def by_dn(item: Mapping[str, Any], school: School, view: View) -> bool | None:
    """A directory object belongs to the school whose OU it is in.

    Where a school names no OU but groups, their direct members are its own; where it names only a sign-in suffix,
    the accounts that carry it are.
    """
    place = item.get("dn")
    # Asked for every item and school: 50,000 people in 40 schools are two million questions a list.
    key = ("claims.dn", school.key)
    if key not in view.shared:
        units = school_units(school, view)
        view.shared[key] = None if units is None else (frozenset(units), tuple("," + u for u in units))
    known = view.shared[key]
    if known is None:
        return None
    if known[0]:
        if not isinstance(place, str):
            return None
        lower = place.lower()
        return lower in known[0] or (lower.endswith(known[1]) and any(names.under(lower, u) for u in known[0]))
    if groups := school.directory.get("groups"):
        return _in_groups(place, groups, view)
    if suffix := school.directory.get("upn_suffix"):
        upn = item.get("upn", "")
        if isinstance(upn, Unknown):
            return None
        return isinstance(upn, str) and upn.casefold().endswith("@" + str(suffix).casefold())
    return True


def _in_groups(place: object, groups: object, view: View) -> bool | None:
    """Whether the object at `place` is a direct member of one of the groups (by their sAMAccountName)."""
    if not isinstance(place, str):
        return None
    wanted = {str(g).casefold() for g in (groups if isinstance(groups, list | tuple) else [groups])}
    items, why = view.items("groups")
    unsure, missing = why is not None, set(wanted)
    for group in items:
        name, members = group.get("name"), group.get("members")
        if not isinstance(name, str):
            unsure = True
        elif name.casefold() in wanted:
            missing.discard(name.casefold())
            if place in (members if isinstance(members, list) else getattr(members, "items", ())):
                return True
            unsure = unsure or not isinstance(members, list)
    # a group that is not there is a slip in trust.yml, or out of sight: nobody can tell whom it was meant to hold
    return None if unsure or missing else False


def hidden(word: str, school: School, view: View, fields: Collection[str] | None = None) -> Unknown | None:
    """Why a school's part of a list cannot be trusted to be whole, or None.

    An OU that the account may not see gives no item at all, which must not look like a clean school. Nor must a list
    of which nothing can ever be the school's by its selectors: `fields` names what the list's items are declared with.
    """
    if word != "dn":
        nothing = fields is not None and not claims_tenant.can_claim(word, school, fields)
        return Unknown(Reason.NOT_COLLECTED, f"whose item it is: {_BLIND}") if nothing else None
    units = school_units(school, view)
    if units is None:
        return Unknown(Reason.NOT_COLLECTED, "the directory's base name")
    if not units:
        chosen = school.directory
        # only what signs in carries a suffix, and only what has a SID is in groups
        needed = "sid" if chosen.get("groups") else "upn" if chosen.get("upn_suffix") else None
        if fields is not None and needed is not None and needed not in fields:
            return Unknown(Reason.NOT_COLLECTED, f"whose item it is: {_BLIND}")
        return None
    seen, why = seen_units(view)
    if why is not None and why.reason is Reason.NOT_COLLECTED:
        return None  # the OUs were not asked for
    for unit in units:
        # A school may keep its accounts in a container, which no list of OUs shows.
        if unit.startswith("ou=") and unit not in seen:
            return why or Unknown(Reason.PERMISSION, f"see {unit}, which is not there or may not be read")
    return None


def needs(platform: str, schools: Sequence[School]) -> set[str]:
    """Raw facts that telling whose item it is takes, beside the items themselves."""
    if platform == "ad":
        chosen = {"domain"}
        if any(s.directory.get("ou") for s in schools):
            chosen.add("ous")
        if any(s.directory.get("groups") for s in schools):
            chosen.add("groups")
        return chosen
    return claims_tenant.needs(schools) if platform == "m365" else set()
