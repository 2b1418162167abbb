"""Facts of conditional access: policies as flat records, the groups that they name, named locations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SKUS, SOURCES, Answers, Source, Unlicensed
from agent.facts.m365.tenant import PLATFORM, POLICY
from agent.facts.m365.values import Json, at, flags, guid, listed, maybe, moment, need, objects, words
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Partial, Reason, Unknown

_STRINGS = ListOf(STR)

POLICY_RECORD = Record(
    {
        "id": Field(STR),
        "name": Field(STR),
        "state": Field(Enum(("enabled", "disabled", "enabledForReportingButNotEnforced"), closed=False)),
        "created": Field(TIME, may_be_absent=True),
        "modified": Field(TIME, may_be_absent=True),
        "include_users": Field(_STRINGS, "ids, or All, None, GuestsOrExternalUsers"),
        "exclude_users": Field(_STRINGS),
        "include_groups": Field(_STRINGS),
        "exclude_groups": Field(_STRINGS),
        "include_roles": Field(_STRINGS, "ids of role templates"),
        "exclude_roles": Field(_STRINGS),
        "include_guests": Field(_STRINGS, "types of guests"),
        "include_guest_tenants": Field(_STRINGS, "only guests from these tenants; empty: from all"),
        "exclude_guests": Field(_STRINGS),
        "exclude_guest_tenants": Field(_STRINGS),
        "excluded_accounts": Field(_STRINGS, "excluded users and groups together"),
        "include_apps": Field(_STRINGS, "ids, or All, None, Office365, MicrosoftAdminPortals"),
        "exclude_apps": Field(_STRINGS),
        "app_filter": Field(STR, "`include:` or `exclude:` and the rule", may_be_absent=True),
        "user_actions": Field(_STRINGS),
        "auth_contexts": Field(_STRINGS),
        "client_apps": Field(_STRINGS, "all, browser, mobileAppsAndDesktopClients, exchangeActiveSync, other"),
        "include_platforms": Field(_STRINGS, "empty: any platform"),
        "exclude_platforms": Field(_STRINGS),
        "include_locations": Field(_STRINGS, "empty: any place"),
        "exclude_locations": Field(_STRINGS),
        "device_filter": Field(STR, "`include:` or `exclude:` and the rule", may_be_absent=True),
        "sign_in_risk": Field(_STRINGS, "empty: any risk"),
        "user_risk": Field(_STRINGS),
        "insider_risk": Field(_STRINGS),
        "auth_flows": Field(_STRINGS, "deviceCodeFlow, authenticationTransfer; empty: any flow"),
        "service_principals": Field(_STRINGS, "workload identities: such a policy is not about people"),
        "unread": Field(_STRINGS, "conditions in use that this version does not know"),
        "grant_operator": Field(Enum(("AND", "OR"), closed=False), may_be_absent=True),
        "grant_controls": Field(_STRINGS),
        "terms_of_use": Field(INT, "how many terms of use must be accepted"),
        "custom_factors": Field(INT, "how many custom controls are asked for"),
        "strength": Field(STR, "id of the authentication strength", may_be_absent=True),
        "strength_combinations": Field(_STRINGS, "what that strength accepts, factors joined by commas"),
        "blocks": Field(BOOL, "the grant is: block"),
        "sign_in_hours": Field(INT, "hours after which one signs in again; 0: every time", may_be_absent=True),
        "persistent_browser": Field(STR, "always or never", may_be_absent=True),
        "app_restrictions": Field(BOOL, "applications restrict the session"),
    },
    key="id",
    label="name",
)

# Conditions that the record above holds; anything else in use goes to `unread`, and such a policy proves nothing.
_KNOWN: Mapping[str, frozenset[str]] = {
    "": frozenset(
        "applications authenticationFlows clientApplications clientAppTypes devices insiderRiskLevels locations "
        "platforms servicePrincipalRiskLevels signInRiskLevels userRiskLevels users".split()
    ),
    "users": frozenset(
        "includeUsers excludeUsers includeGroups excludeGroups includeRoles excludeRoles "
        "includeGuestsOrExternalUsers excludeGuestsOrExternalUsers".split()
    ),
    "applications": frozenset(
        "includeApplications excludeApplications applicationFilter includeUserActions "
        "includeAuthenticationContextClassReferences".split()
    ),
    "platforms": frozenset({"includePlatforms", "excludePlatforms"}),
    "locations": frozenset({"includeLocations", "excludeLocations"}),
    "devices": frozenset({"deviceFilter"}),
    "authenticationFlows": frozenset({"transferMethods"}),
    "clientApplications": frozenset({"includeServicePrincipals", "excludeServicePrincipals", "servicePrincipalFilter"}),
}


def _unread(conditions: Any) -> list[str]:
    """Names of conditions in use that are not in `_KNOWN`."""
    if not isinstance(conditions, Mapping):
        return ["conditions"]
    out = [k for k, v in conditions.items() if v and k not in _KNOWN[""] and not k.startswith("@")]
    for part, known in _KNOWN.items():
        inside = conditions.get(part) if part else None
        if isinstance(inside, Mapping):
            out += [f"{part}.{k}" for k, v in inside.items() if v and k not in known and "@" not in k]
        elif inside:
            out.append(part)
    return sorted(out)


def _filter(conditions: Json, *path: str) -> Any:
    rule = at(conditions, *path)
    if rule is None:
        return None
    mode, text = at(rule, "mode"), at(rule, "rule")
    if mode in ("include", "exclude") and isinstance(text, str):
        return f"{mode}:{' '.join(text.split())}"
    return Unknown(Reason.UNREADABLE, ".".join(path))


def _ids(conditions: Json, *path: str) -> Any:
    """Ids in lower case; words such as All as Graph writes them."""
    held = words(conditions, *path)
    return [guid(v) if "-" in v else v for v in held] if isinstance(held, list) else held


def _guests(conditions: Json, which: str) -> tuple[Any, Any]:
    """(types of guests, tenants that they must come from; empty: any)."""
    block = at(conditions, "users", which)
    if block is None:
        return [], []
    types = flags(conditions, "users", which, "guestOrExternalUserTypes")
    kind = at(block, "externalTenants", "membershipKind")
    if kind in (None, "all"):
        return types, []
    if kind == "enumerated":
        return types, _ids(conditions, "users", which, "externalTenants", "members")
    return types, Unknown(Reason.UNREADABLE, f"users.{which}.externalTenants")


def _hours(session: Any) -> Any:
    frequency = at(session, "signInFrequency")
    if not frequency or at(frequency, "isEnabled") is not True:
        return None
    if at(frequency, "frequencyInterval") == "everyTime":
        return 0
    value, unit = at(frequency, "value"), at(frequency, "type")
    if not isinstance(value, int) or unit not in ("hours", "days"):
        return Unknown(Reason.UNREADABLE, "signInFrequency")
    return value * 24 if unit == "days" else value


def parse_policy(body: Json) -> dict[str, Any]:
    """One conditionalAccessPolicy as a flat record."""
    conditions: Any = body.get("conditions") or {}
    grant, session = body.get("grantControls") or {}, body.get("sessionControls") or {}
    include_guests, include_tenants = _guests(conditions, "includeGuestsOrExternalUsers")
    exclude_guests, exclude_tenants = _guests(conditions, "excludeGuestsOrExternalUsers")
    users, groups = _ids(conditions, "users", "excludeUsers"), _ids(conditions, "users", "excludeGroups")
    controls = words(grant, "builtInControls")
    browser = at(session, "persistentBrowser")
    return {
        "id": guid(need(body, "id")),
        "name": need(body, "displayName"),
        "state": need(body, "state"),
        "created": moment(body, "createdDateTime"),
        "modified": moment(body, "modifiedDateTime"),
        "include_users": _ids(conditions, "users", "includeUsers"),
        "exclude_users": users,
        "include_groups": _ids(conditions, "users", "includeGroups"),
        "exclude_groups": groups,
        "include_roles": _ids(conditions, "users", "includeRoles"),
        "exclude_roles": _ids(conditions, "users", "excludeRoles"),
        "include_guests": include_guests,
        "include_guest_tenants": include_tenants,
        "exclude_guests": exclude_guests,
        "exclude_guest_tenants": exclude_tenants,
        "excluded_accounts": users + groups if isinstance(users, list) and isinstance(groups, list) else _odd("users"),
        "include_apps": _ids(conditions, "applications", "includeApplications"),
        "exclude_apps": _ids(conditions, "applications", "excludeApplications"),
        "app_filter": _filter(conditions, "applications", "applicationFilter"),
        "user_actions": words(conditions, "applications", "includeUserActions"),
        "auth_contexts": words(conditions, "applications", "includeAuthenticationContextClassReferences"),
        "client_apps": words(conditions, "clientAppTypes"),
        "include_platforms": words(conditions, "platforms", "includePlatforms"),
        "exclude_platforms": words(conditions, "platforms", "excludePlatforms"),
        "include_locations": _ids(conditions, "locations", "includeLocations"),
        "exclude_locations": _ids(conditions, "locations", "excludeLocations"),
        "device_filter": _filter(conditions, "devices", "deviceFilter"),
        "sign_in_risk": flags(conditions, "signInRiskLevels"),
        "user_risk": flags(conditions, "userRiskLevels"),
        "insider_risk": flags(conditions, "insiderRiskLevels"),
        "auth_flows": flags(conditions, "authenticationFlows", "transferMethods"),
        "service_principals": _ids(conditions, "clientApplications", "includeServicePrincipals"),
        "unread": _unread(conditions),
        "grant_operator": maybe(grant, "operator"),
        "grant_controls": controls,
        "terms_of_use": _size(grant, "termsOfUse"),
        "custom_factors": _size(grant, "customAuthenticationFactors"),
        "strength": guid(maybe(grant, "authenticationStrength", "id")),
        "strength_combinations": [c.replace(" ", "") for c in held]
        if isinstance(held := words(grant, "authenticationStrength", "allowedCombinations"), list)
        else held,
        "blocks": "block" in controls if isinstance(controls, list) else controls,
        "sign_in_hours": _hours(session),
        "persistent_browser": maybe(browser, "mode") if at(browser, "isEnabled") is True else None,
        "app_restrictions": at(session, "applicationEnforcedRestrictions", "isEnabled") is True,
    }


def _odd(name: str) -> Unknown:
    return Unknown(Reason.UNREADABLE, name)


def _size(body: Json, name: str) -> Any:
    held = words(body, name)
    return len(held) if isinstance(held, list) else held


POLICIES = Request("/identity/conditionalAccess/policies", POLICY, slow=True)
LOCATIONS = Request("/identity/conditionalAccess/namedLocations", POLICY, slow=True)
_NONE = Unlicensed("entra_p1")

fact(
    "conditional_access.policies",
    ListOf(POLICY_RECORD),
    PLATFORM,
    source=str(POLICIES),
    rights=(POLICY,),
    doc="All policies, with those that only report and those that are off.",
)
SOURCES["conditional_access.policies"] = Source(
    (POLICIES, SKUS),
    lambda a, licences: _NONE.instead(listed(a[POLICIES], parse_policy), licences),
    licences=True,
)

fact(
    "named_locations",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "kind": Field(Enum(("addresses", "countries", "other"))),
                "trusted": Field(BOOL),
                "entries": Field(INT, "address ranges or countries"),
                "wide_ranges": Field(_STRINGS, "address ranges of more than 256 addresses (IPv6: wider than /48)"),
            },
            key="id",
            label="name",
        )
    ),
    PLATFORM,
    source=str(LOCATIONS),
    rights=(POLICY,),
)


def _wide(ranges: Any) -> Any:
    """Ranges wider than /24, or than /48 for IPv6, which is what one site gets (RFC 6177)."""
    found = []
    for item in ranges if isinstance(ranges, list) else ():
        address = at(item, "cidrAddress")
        try:
            network = ip_network(str(address), strict=False)
        except ValueError:
            return Unknown(Reason.UNREADABLE, "ipRanges")
        if network.prefixlen < (24 if network.version == 4 else 48):
            found.append(str(network))
    return found


def _location(body: Json) -> dict[str, Any]:
    kind = str(body.get("@odata.type", "")).rpartition(".")[2]
    held = body.get("ipRanges") if kind == "ipNamedLocation" else body.get("countriesAndRegions")
    return {
        "id": guid(need(body, "id")),
        "name": need(body, "displayName"),
        "kind": {"ipNamedLocation": "addresses", "countryNamedLocation": "countries"}.get(kind, "other"),
        "trusted": at(body, "isTrusted") is True,
        "entries": len(held) if isinstance(held, list) else 0,
        "wide_ranges": _wide(held) if kind == "ipNamedLocation" else [],
    }


SOURCES["named_locations"] = Source(
    (LOCATIONS, SKUS),
    lambda a, licences: _NONE.instead(listed(a[LOCATIONS], _location), licences),
    licences=True,
)

MEMBER = "GroupMember.Read.All"


def members_of(group: str) -> Request:
    """The people of a group, through groups in it."""
    return Request(f"/groups/{group}/transitiveMembers", MEMBER, ("id",), top=999, absent_ok=True)


def group_named(group: str) -> Request:
    """One group's name."""
    return Request(f"/groups/{group}", MEMBER, ("id", "displayName"), absent_ok=True)


def people(value: Any) -> Any:
    """Ids of the users among members; other members (devices, apps, the groups between) are left out."""
    return members_like(value, "user")


def members_like(value: Any, kind: str) -> Any:
    """Ids of the members of one kind: a list, a `Partial`, or Unknown when nothing was read."""
    held, why = objects(value)
    ids = [guid(at(i, "id")) for i in held if str(at(i, "@odata.type") or "").lower().endswith(f".{kind}")]
    if why is not None:
        return Partial(tuple(ids), why) if isinstance(value, (Partial, list)) else why
    return ids


def _named_groups(answers: Answers) -> Iterator[str]:
    seen: set[str] = set()
    for body in objects(answers[POLICIES].value)[0]:
        if body.get("state") != "enabled":
            continue
        conditions = body.get("conditions") or {}
        for side in ("includeGroups", "excludeGroups"):
            held = _ids(conditions, "users", side)
            for group in held if isinstance(held, list) else ():
                if group not in seen and all(c in "0123456789abcdef-" for c in group):
                    seen.add(group)
                    yield group


def _groups(answers: Answers, licences: Any) -> Any:
    policies = _NONE.instead(answers[POLICIES].value, licences)
    if isinstance(policies, Unknown):
        return policies
    if not isinstance(policies, (list, Partial)):
        return _odd("policies")
    out = []
    for group in _named_groups(answers):
        members, name = answers[members_of(group)].value, answers[group_named(group)].value
        out.append(
            {
                "id": group,
                "name": need(name, "displayName") if isinstance(name, Mapping) else name,
                "members": people(members),
                "groups": members_like(members, "group"),
            }
        )
    return out


fact(
    "conditional_access.groups",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "absent: the group was deleted", may_be_absent=True),
                "members": Field(_STRINGS, "ids of its people, through groups in it"),
                "groups": Field(_STRINGS, "ids of the groups in it"),
            },
            key="id",
            label="id",
        )
    ),
    PLATFORM,
    source=f"{POLICIES}, GET /groups/{{id}}/transitiveMembers",
    rights=(POLICY, MEMBER),
    doc="The groups that enabled policies include or exclude.",
)
SOURCES["conditional_access.groups"] = Source(
    (POLICIES, SKUS),
    _groups,
    lambda a: [r for g in _named_groups(a) for r in (members_of(g), group_named(g))],
    (("GET /groups/{id} and its transitiveMembers, for each group that an enabled policy names", MEMBER),),
    licences=True,
)
