"""What follows for policies: where they are linked, whom the password policies reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent import dn as names
from agent.derive import View, as_items
from agent.derive.ad_privilege import GROUPS, web_of
from agent.derive.places import named, school_units, seen_units
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, School, Unknown


def _known(items: list[Any], why: Unknown | None) -> Any:
    return Partial(tuple(items), why) if why is not None else items


PASSWORD_POLICY = Record(
    {
        "name": Field(STR, "the policy that wins for Domain Admins, or (none)"),
        "min_password_length": Field(INT, "characters that it asks for; without a policy, what the domain asks of all"),
    },
    "name",
    "name",
)


@derived(
    "admin_password_policy",
    PASSWORD_POLICY,
    "ad",
    reads=("password_policies", "groups", "users", "computers", "service_accounts", "domain"),
)
def admin_password_policy(view: View) -> Any:
    """The fine-grained policy that applies to the group Domain Admins itself: of several, the lowest precedence."""
    top = web_of(view).group(GROUPS["domain_admins"])
    place = top.get("dn") if top is not None else None
    if not isinstance(place, str):
        return Unknown(Reason.PERMISSION, "see the group Domain Admins")
    wanted = names.normal(place)
    policies, why = view.items("password_policies")
    reaching: list[Mapping[str, Any]] = []
    for policy in policies:
        targets, unseen = as_items(policy.get("applies_to"))
        if any(names.normal(t) == wanted for t in targets if isinstance(t, str)):
            reaching.append(policy)
        else:
            why = why or unseen
    ranks = [p.get("precedence") for p in reaching]
    why = why or next((r for r in ranks if isinstance(r, Unknown)), None)
    if why is not None:
        return why
    if not reaching:
        return {"name": "(none)", "min_password_length": view.get("domain").get("min_password_length")}
    first = min(reaching, key=lambda p: int(p["precedence"]))
    return {"name": first.get("name"), "min_password_length": first.get("min_password_length")}


LINKED = Record(
    {
        "guid": Field(STR, "object identifier"),
        "dn": Field(STR, "distinguished name"),
        "name": Field(STR, "display name"),
        "linked": Field(BOOL, "linked to the domain, an OU or a site"),
    },
    "guid",
    "name",
)


def _links(view: View) -> tuple[list[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]], Unknown | None]:
    """(object, links) of the domain and every OU, and why there may be more."""
    domain = view.get("domain")
    ous, why = view.items("ous")
    out: list[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] = []
    for holder in (domain, *ous):
        found, unseen = as_items(holder.get("gpo_links", Unknown(Reason.NOT_COLLECTED, "gPLink")))
        why = why or unseen
        out.append((holder, [x for x in found if isinstance(x, Mapping)]))
    return out, why


@derived("policy_links", ListOf(LINKED), "ad", reads=("gpos", "ous", "domain", "sites"))
def policy_links(view: View) -> Any:
    """Group policy objects, and whether each is linked anywhere. A link that is switched off is a link."""
    holders, why = _links(view)
    used = {names.normal(str(x.get("gpo"))) for _, links in holders for x in links}
    sites, unseen = view.items("sites")
    why = why or unseen
    for site in sites:
        links, hidden = as_items(site.get("gpo_links", Unknown(Reason.NOT_COLLECTED, "gPLink")))
        why = why or hidden
        used |= {names.normal(str(x.get("gpo"))) for x in links if isinstance(x, Mapping)}
    gpos, missing = view.items("gpos")
    out = []
    for gpo in gpos:
        linked: bool | Unknown = True if names.normal(str(gpo.get("dn"))) in used else why or False
        out.append({**{k: gpo[k] for k in ("guid", "dn", "name") if k in gpo}, "linked": linked})
    return _known(out, missing)


HOLDER = Record(
    {
        "dn": Field(STR, "distinguished name of what policies are linked to"),
        "broken": Field(BOOL, "a policy linked there does not exist"),
    },
    "dn",
    "dn",
)


@derived("link_holders", ListOf(HOLDER, "dn"), "ad", reads=("gpos", "ous", "domain"))
def link_holders(view: View) -> Any:
    """The domain and every OU that policies are linked to, and whether one of those is gone."""
    domain = view.get("domain")
    gpos, missing = view.items("gpos")
    there = {names.normal(str(g.get("dn"))) for g in gpos}
    home = names.normal(f"CN=Policies,CN=System,{domain.get('dn')}")
    holders, why = _links(view)
    out = []
    for holder, links in holders:
        broken: bool | Unknown = False
        for link in links:
            place = names.normal(str(link.get("gpo")))
            if place in there or broken is True:
                continue
            if not names.under(place, home):
                broken = broken or Unknown(Reason.NOT_SUPPORTED, "it is a policy of another domain")
            else:
                broken = missing or True
        if links:
            out.append({"dn": holder.get("dn"), "broken": broken})
    return _known(out, why)


WANTED = Record(
    {
        "dn": Field(STR, "the school's OU"),
        "name": Field(STR, "`CODE: POLICY`, and what is wrong with it: missing or disabled"),
        "right": Field(BOOL, "linked there or above, switched on, and not blocked on the way"),
    },
    "name",
    "name",
)


@derived(
    "school_policies",
    ListOf(WANTED, "dn"),
    "ad",
    reads=("ous", "domain", "gpos"),
    parameters=("schools_ou", "required_school_gpos"),
    schools=True,
)
def school_policies(view: View) -> Any:
    """The policies that each school's OU should get. A school without an OU gets none: see `school_places`."""
    top = named(view, "schools_ou")
    if isinstance(top, Unknown):
        return top
    domain = view.get("domain")
    seen, why = seen_units(view)
    ous = {names.normal(o["dn"]): o for o in view.items("ous")[0] if isinstance(o.get("dn"), str)}
    above = {**ous, names.normal(str(domain.get("dn"))): domain}
    out = []
    for school in view.schools:
        code = school.code or school.key
        for unit in school_units(school, view) or [names.normal(f"OU={code}") + "," + top]:
            if unit not in seen:
                continue
            for wanted in view.parameters.get("required_school_gpos") or ():
                state = _in_force(view, _chain(unit, above), _filled(str(wanted), school))
                label = f"{code}: {_filled(str(wanted), school)}"
                right = state == "" if isinstance(state, str) else state
                ending = f" {state}" if isinstance(state, str) and state else ""
                out.append({"dn": ous[unit].get("dn"), "name": label + ending, "right": right})
    return _known(out, why)


def _filled(text: str, school: School) -> str:
    return text.replace("{code}", school.code or school.key)


def _chain(unit: str, above: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What policies come from, from the OU up to the domain."""
    out, place = [], unit
    while place:
        if place in above:
            out.append(above[place])
        place = names.parent(place)
    return out


def _in_force(view: View, chain: Sequence[Mapping[str, Any]], wanted: str) -> str | Unknown:
    """Empty when the policy reaches the first of the chain, else `missing` or `disabled`, or why nobody can tell."""
    gpos, missing = view.items("gpos")
    mine = {}
    for gpo in gpos:
        title = gpo.get("name")
        if isinstance(title, Unknown):
            missing = missing or title
        elif str(title).casefold() == wanted.casefold():
            mine[names.normal(str(gpo.get("dn")))] = gpo
    doubt, off, blocked = missing if not mine else None, False, False
    for level in chain:
        links, why = as_items(level.get("gpo_links", Unknown(Reason.NOT_COLLECTED, "gPLink")))
        doubt = doubt or why
        for link in links:
            gpo = mine.get(names.normal(str(link.get("gpo"))))
            if gpo is None or (blocked and link.get("enforced") is not True):
                continue
            dead = gpo.get("off")
            if isinstance(dead, Unknown):
                doubt = doubt or dead
            elif link.get("enabled") is True and not dead:
                return ""
            else:
                off = True
        block = level.get("blocks_inheritance", False)
        if isinstance(block, Unknown):
            doubt = doubt or block
        blocked = blocked or block is True
    if doubt is not None:
        return doubt
    return "disabled" if off else "missing"
