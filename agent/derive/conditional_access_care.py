"""Derived facts about the upkeep of conditional access: what policies leave out, and what they name that is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.derive import View, as_items
from agent.derive.conditional_access import GROUPS, POLICIES
from agent.facttypes import BOOL, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

_WORDS = ("All", "None", "GuestsOrExternalUsers")


def _ids(view: View, fact: str) -> tuple[set[str], Unknown | None]:
    items, why = view.items(fact)
    return {i["id"] for i in items if isinstance(i, Mapping) and isinstance(i.get("id"), str)}, why


def _named(policy: Mapping[str, Any], fields: Iterable[str]) -> tuple[list[str], Unknown | None]:
    """What a policy names in some of its fields, and why that may not be all."""
    out: list[str] = []
    doubt: Unknown | None = None
    for field in fields:
        held, why = as_items(policy.get(field, Unknown(Reason.NOT_COLLECTED)))
        out += [h for h in held if isinstance(h, str) and h not in _WORDS]
        doubt = doubt or why
    return out, doubt


@derived(
    "conditional_access.references",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "of the policy"),
                "gone": Field(ListOf(STR), "ids of users and groups that it names and that are not there any more"),
            },
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=(POLICIES, "users", "groups"),
    optional=("users", "groups"),
)
def references(view: View) -> Any:
    """Every policy, whatever its state, with the users and groups in it that were deleted.

    Something is gone only when the whole list of users or groups was read and does not have it.
    """
    policies, why = view.items(POLICIES)
    there = {kind: _ids(view, kind) for kind in ("users", "groups")}
    out: list[Any] = []
    for policy in policies:
        if isinstance(policy, Unknown):
            why = why or policy
            continue
        gone: list[str] = []
        doubt: Unknown | None = None
        for kind, (known, missing) in there.items():
            named, lost = _named(policy, (f"include_{kind}", f"exclude_{kind}"))
            doubt = doubt or lost
            for key in named:
                if key in known:
                    continue
                if missing is None:
                    gone.append(key)
                else:
                    doubt = doubt or missing
        gone = sorted(set(gone))
        out.append(
            {
                "id": policy.get("id"),
                "name": policy.get("name"),
                "gone": Partial(tuple(gone), doubt) if doubt is not None else gone,
            }
        )
    return Partial(tuple(out), why) if why else out


@derived(
    "conditional_access.exclusions",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "of the policy"),
                "undeclared": Field(ListOf(STR), "users, groups, apps and guests that it leaves out unasked"),
                "guests": Field(BOOL, "it leaves guests out"),
            },
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=(POLICIES, GROUPS, "users"),
    optional=(GROUPS, "users"),
    parameters=("break_glass_accounts", "allowed_excluded_accounts", "allowed_excluded_apps"),
    schools=True,
)
def exclusions(view: View) -> Any:
    """Policies in force, with what they leave out and nobody declared.

    Declared are the emergency accounts, what the parameters allow, and the pupil groups that schools name, which a
    rule for staff leaves out. `guests` types count by their word, such as b2bCollaborationGuest.
    """
    policies, why = view.items(POLICIES)
    names = _names(view)
    allowed = {
        str(v).casefold()
        for parameter in ("break_glass_accounts", "allowed_excluded_accounts", "allowed_excluded_apps")
        for v in view.parameters.get(parameter) or ()
    }
    for school in view.schools:
        groups = school.tenant.get("pupil_groups") or ()
        allowed |= {str(g).casefold() for g in ([groups] if isinstance(groups, str) else groups)}
    out: list[Any] = []
    for policy in policies:
        if isinstance(policy, Unknown):
            why = why or policy
            continue
        state = policy.get("state")
        if isinstance(state, Unknown):
            why = why or state
            continue
        if state != "enabled":
            continue
        named, doubt = _named(policy, ("exclude_users", "exclude_groups", "exclude_apps", "exclude_guests"))
        users, _ = as_items(policy.get("exclude_users", ()))
        guests, _ = as_items(policy.get("exclude_guests", ()))
        if "GuestsOrExternalUsers" in users:
            named.append("GuestsOrExternalUsers")
        left = sorted({names.get(n, n) for n in named if not {n.casefold(), names.get(n, n).casefold()} & allowed})
        out.append(
            {
                "id": policy.get("id"),
                "name": policy.get("name"),
                "undeclared": Partial(tuple(left), doubt) if doubt is not None else left,
                "guests": bool(guests) or "GuestsOrExternalUsers" in users,
            }
        )
    return Partial(tuple(out), why) if why else out


def _names(view: View) -> dict[str, str]:
    """Names of users and groups by id, as far as they are known."""
    found: dict[str, str] = {}
    for fact, field in ((GROUPS, "name"), ("users", "upn")):
        for item in view.items(fact)[0]:
            if isinstance(item, Mapping) and isinstance(item.get(field), str):
                found[str(item.get("id"))] = item[field]
    return found
