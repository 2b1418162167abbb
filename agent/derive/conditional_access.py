"""What conditional access really enforces: derived facts about who is reached when all policies combine.

A policy that only reports, or that asks for "MFA or something weaker", enforces nothing here. Exclusions count as
holes unless they are declared (`break_glass_accounts`, `allowed_excluded_apps`) or another policy fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.derive import View
from agent.derive.m365_coverage import Box, Region, Side, TooMany, remaining, touches
from agent.derive.m365_people import GUEST_TYPES, Crowd
from agent.facttypes import STR, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

POLICIES, GROUPS = "conditional_access.policies", "conditional_access.groups"
PARAMETERS = ("break_glass_accounts", "allowed_excluded_apps")
READS = (POLICIES, GROUPS, "users", "role_holders")
OPTIONAL = (GROUPS, "users", "role_holders")
SYNC_ROLE = "d29b2b05-8046-44ba-8758-1e26182fcf32"
"""Directory Synchronization Accounts: cannot pass MFA, and Microsoft says to leave the role out."""

# Roles from which the whole tenant can be taken over, by template id (Microsoft's list of privileged roles).
PRIVILEGED = {
    "62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
    "e8611ab8-c189-46e8-94e1-60213ab1f814": "Privileged Role Administrator",
    "7be44c8a-adaf-4e2a-84d6-ab2649e08a13": "Privileged Authentication Administrator",
    "194ae4cb-b126-40b2-bd5b-6091b380977d": "Security Administrator",
    "29232cdf-9323-42fd-ade2-1d097af3e4de": "Exchange Administrator",
    "f28a1f50-f6e7-4571-818b-6a12f2af6b6c": "SharePoint Administrator",
    "fe930be7-5e62-47db-91af-98c3a49a38b1": "User Administrator",
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": "Application Administrator",
    "158c047a-c907-4556-b7ef-446551a6b5f7": "Cloud Application Administrator",
    "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9": "Conditional Access Administrator",
    "8ac3fc64-6eca-42ea-9e69-59f4c7b60eb2": "Hybrid Identity Administrator",
    "c4e39bd9-1100-46d3-8c65-fb160da0071f": "Authentication Administrator",
    "729827e3-9c14-49f7-bb1b-9608f156bbb8": "Helpdesk Administrator",
    "3a2c62db-5318-420d-8d74-23affee5d9d5": "Intune Administrator",
    "966707d0-3269-4727-9be2-8c3a10f19b9d": "Password Administrator",
}
EXCHANGE, SHAREPOINT = "00000002-0000-0ff1-ce00-000000000000", "00000003-0000-0ff1-ce00-000000000000"
AZURE = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
"""The app behind which Azure is managed."""

REACH = Record(
    {
        "reaches": Field(Enum(("everyone", "some", "nobody"))),
        "excluded": Field(ListOf(STR), "users, groups, roles and apps that are left out and not declared"),
        "gaps": Field(ListOf(STR), "sign-ins that no policy catches, in words"),
        "policies": Field(ListOf(STR), "the policies that count"),
    }
)


def box_of(policy: Mapping[str, Any]) -> Box | None:
    """A policy as a box; None when something in it is not known or not understood."""
    if policy.get("unread") != []:
        return None
    known = {k: v for k, v in policy.items() if k.startswith(("include_", "exclude_")) or k in _NARROWING}
    if any(isinstance(v, Unknown) or (isinstance(v, list) and "unknownFutureValue" in v) for v in known.values()):
        return None
    if any(name not in known for name in _NEEDED):
        return None
    sides = {
        "who": _who(policy),
        "action": _action(policy),
        "app": _apps(policy),
        "client": _listed(policy["client_apps"], (), "all"),
        "platform": _listed(policy["include_platforms"], policy["exclude_platforms"], "all"),
        "place": _listed(policy["include_locations"], policy["exclude_locations"], "All"),
        "device": _filtered(policy["device_filter"], Side()),
        "sign_in_risk": _listed(policy["sign_in_risk"], ()),
        "user_risk": _listed(policy["user_risk"], ()),
        "insider_risk": _listed(policy["insider_risk"], ()),
        "flow": _listed(policy["auth_flows"], ()),
    }
    return Box(str(policy.get("name")), {k: s for k, s in sides.items() if s != Side()})


_NARROWING = frozenset(
    "client_apps app_filter user_actions auth_contexts device_filter sign_in_risk user_risk insider_risk auth_flows "
    "service_principals".split()
)
_NEEDED = (
    *sorted(_NARROWING),
    *(
        f"{side}_{what}"
        for what in ("users", "groups", "roles", "guests", "guest_tenants", "apps", "platforms", "locations")
        for side in ("include", "exclude")
    ),
)


def _listed(inside: Sequence[str], outside: Iterable[str], everything: str = "") -> Side:
    """A condition with a list of what it names; an empty list, or the word for everything, narrows nothing."""
    all_of_it = not inside or everything in inside
    return Side(None if all_of_it else frozenset(inside), frozenset(outside))


def _filtered(rule: str | None, side: Side) -> Side:
    """A side, further narrowed by a filter's rule."""
    if rule is None:
        return side
    mode, _, text = rule.partition(":")
    tag = f"filter:{text}"
    if mode == "include":
        return Side(frozenset({tag}), side.outside)
    return Side(side.inside, side.outside | {tag})


def _guests(types: Iterable[str], tenants: Sequence[str]) -> set[str]:
    suffix = "@" + "+".join(sorted(tenants)) if tenants else ""
    return {f"guest:{t}{suffix}" for t in types}


def _who(policy: Mapping[str, Any]) -> Side:
    everyone = "All" in policy["include_users"]
    out: dict[str, set[str]] = {}
    for side in ("include", "exclude"):
        users = policy[f"{side}_users"]
        tags = {f"user:{u}" for u in users if u not in ("All", "None", "GuestsOrExternalUsers")}
        if "GuestsOrExternalUsers" in users:
            tags |= _guests(GUEST_TYPES, ())
        tags |= {f"group:{g}" for g in policy[f"{side}_groups"]} | {f"role:{r}" for r in policy[f"{side}_roles"]}
        out[side] = tags | _guests(policy[f"{side}_guests"], policy[f"{side}_guest_tenants"])
    if policy["service_principals"] or "All" in policy["exclude_users"]:
        return Side(frozenset())
    return Side(None if everyone else frozenset(out["include"]), frozenset(out["exclude"]))


def _action(policy: Mapping[str, Any]) -> Side:
    """What is done: to sign in, unless the policy is for a user action or an authentication context.

    One for all apps does not reach those two: Entra takes either apps or actions."""
    inside = [*policy["user_actions"], *(f"context:{c}" for c in policy["auth_contexts"])]
    return Side(frozenset(inside or {"sign-in"}))


def _apps(policy: Mapping[str, Any]) -> Side:
    if policy["user_actions"] or policy["auth_contexts"]:
        return Side()
    inside = [a for a in policy["include_apps"] if a != "None"]
    if "Office365" in inside:
        inside += [EXCHANGE, SHAREPOINT]  # the two of that bundle about which something is asked here
    side = Side(None if "All" in inside else frozenset(inside), frozenset(policy["exclude_apps"]))
    return _filtered(policy["app_filter"], side)


def reach(
    view: View,
    regions: Sequence[Region],
    wanted: Callable[[Mapping[str, Any]], bool | None],
    crowd: Crowd,
    also_allowed: frozenset[tuple[str, str]] = frozenset(),
) -> dict[str, Any] | Unknown:
    """Whom the policies that do what is `wanted` reach, of the sign-ins in `regions`; see `REACH`."""
    items, why = view.items(POLICIES)
    boxes: list[Box] = []
    doubt: Unknown | None = why
    for policy in items:
        if isinstance(policy, Unknown):
            doubt = doubt or policy
            continue
        state, does = policy.get("state"), wanted(policy)
        if does is False or state in ("disabled", "enabledForReportingButNotEnforced"):
            continue
        box = box_of(policy) if does and state == "enabled" else None
        if box is None:
            doubt = doubt or Unknown(Reason.UNREADABLE, f"policy {policy.get('name')}: {_unread(policy)}")
        elif any(touches(region, box, crowd.nobody) for region in regions):
            boxes.append(box)
    try:
        left = remaining(regions, boxes, crowd.allowed | _apps_allowed(view) | also_allowed, crowd.nobody)
    except TooMany:
        return Unknown(Reason.UNREADABLE, "the policies cut each other into too many pieces to judge")
    holes, unsure = [], None
    for region in left:
        populated = crowd.populated(region)
        if populated is True:
            holes.append(region)
        elif isinstance(populated, Unknown):
            unsure = unsure or populated
    if holes and doubt is None:
        return {
            "reaches": "some" if boxes else "nobody",
            "excluded": sorted({crowd.named(t) for r in holes for d, t in r.left_out if d in ("who", "app")}),
            "gaps": sorted({_words(r, crowd) for r in holes})[:MOST_GAPS],
            "policies": sorted(b.name for b in boxes),
        }
    if holes or unsure:
        return doubt or unsure or Unknown(Reason.NOT_COLLECTED)
    return {"reaches": "everyone", "excluded": [], "gaps": [], "policies": sorted(b.name for b in boxes)}


def _apps_allowed(view: View) -> frozenset[tuple[str, str]]:
    return frozenset(("app", str(a).lower()) for a in view.parameters.get("allowed_excluded_apps") or ())


def _unread(policy: Mapping[str, Any]) -> str:
    unread = policy.get("unread")
    if isinstance(unread, list) and unread:
        return f"conditions that this version does not know ({', '.join(unread[:3])})"
    return "something in it could not be understood"


MOST_GAPS = 10
"""Holes that are put into words; one is enough to act on."""
# Words for what a hole is limited to. The other dimensions matter to the verdict and confuse the reader.
_SHOWN = {"app": "app", "client": "client", "platform": "platform", "place": "place", "flow": "flow"}


def _words(region: Region, crowd: Crowd) -> str:
    """A hole as people read it."""
    who_on, who_off = region.tags("who")
    groups = frozenset(t for t in who_off if t.startswith("group:"))
    people = " in ".join(crowd.named(t) for t in sorted(who_on)) or "anyone"
    parts = [people + (f" outside {_some(groups, crowd)}" if groups else "")]
    parts += [f"{word} {_some(on, crowd)}" for d, word in _SHOWN.items() if (on := region.tags(d)[0])]
    return ", ".join(parts)[:300]


def _some(tags: Iterable[str], crowd: Crowd) -> str:
    names = sorted(crowd.named(t) for t in tags)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
