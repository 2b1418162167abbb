"""Facts of administrators' roles: who holds one, for how long, and what switching one on takes (PIM)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.facts.m365.conditional_access import MEMBER, members_like, members_of, people
from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SKUS, SOURCES, Answers, Source, Unlicensed
from agent.facts.m365.tenant import PLATFORM, simple
from agent.facts.m365.values import Json, at, guid, listed, maybe, moment, need, objects
from agent.facttypes import BOOL, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Reason, Unknown

_ROLES = "RoleManagement.Read.Directory"
_ASSIGNED = Request("/roleManagement/directory/roleAssignments", _ROLES, expand="principal", top=999)
_ELIGIBLE = Request(
    "/roleManagement/directory/roleEligibilityScheduleInstances",
    "RoleEligibilitySchedule.Read.Directory",
    expand="principal",
    top=999,
)
_HOLDER = Record(
    {
        "id": Field(STR, "of the assignment"),
        "role": Field(STR, "id of the role's template"),
        "scope": Field(STR, "/ is the whole tenant"),
        "principal": Field(STR),
        "kind": Field(Enum(("user", "group", "service_principal", "other"))),
        "name": Field(STR, "UPN of a user, name of another principal", may_be_absent=True),
        "members": Field(ListOf(STR), "of a group: ids of its people"),
        "apps": Field(ListOf(STR), "of a group: ids of the service principals in it"),
    },
    key="id",
    label="name",
)
_KINDS = {"user": "user", "group": "group", "serviceprincipal": "service_principal"}


def _kind(body: Json) -> Any:
    tail = str(at(body, "principal", "@odata.type") or "").rpartition(".")[2].lower()
    return _KINDS.get(tail, "other") if tail else Unknown(Reason.PERMISSION, "Directory.Read.All")


def _role_groups(answers: Answers) -> list[Request]:
    found: dict[Request, None] = {}
    for request in (_ASSIGNED, _ELIGIBLE):
        for body in objects(answers[request].value)[0]:
            if _kind(body) == "group" and isinstance(body.get("principalId"), str):
                found[members_of(guid(body["principalId"]))] = None
    return list(found)


def _holders(answers: Answers, request: Request) -> Any:
    def parse(body: Json) -> dict[str, Any]:
        principal = guid(need(body, "principalId"))
        kind = _kind(body)
        held = body.get("principal") or {}
        label = maybe(held, "userPrincipalName") if kind == "user" else maybe(held, "displayName")
        members: Any = []
        apps: Any = []
        if kind == "group":
            answer = answers.get(members_of(principal)) if isinstance(principal, str) else None
            held_by = answer.value if answer else Unknown(Reason.NOT_COLLECTED)
            members, apps = people(held_by), members_like(held_by, "serviceprincipal")
        elif isinstance(kind, Unknown):
            members = apps = kind
        return {
            "id": need(body, "id"),
            "role": guid(need(body, "roleDefinitionId")),
            "scope": need(body, "directoryScopeId"),
            "principal": principal,
            "kind": kind,
            # Without the right to read it, a principal comes with its id only.
            "name": label if label is not None else principal,
            "members": members,
            "apps": apps,
        }

    return listed(answers[request], parse)


_NO_PIM = Unlicensed("entra_p2")

fact(
    "role_holders",
    Record(
        {
            "active": Field(ListOf(_HOLDER), "roles in force"),
            "eligible": Field(ListOf(_HOLDER), "roles that may be switched on (PIM, needs Entra ID P2)"),
        }
    ),
    PLATFORM,
    source=f"{_ASSIGNED}; {_ELIGIBLE}; GET /groups/{{id}}/transitiveMembers",
    rights=(_ROLES, _ELIGIBLE.permission, MEMBER),
)
SOURCES["role_holders"] = Source(
    (_ASSIGNED, _ELIGIBLE, SKUS),
    lambda a, licences: {
        "active": _holders(a, _ASSIGNED),
        "eligible": _NO_PIM.instead(_holders(a, _ELIGIBLE), licences),
    },
    _role_groups,
    (("GET /groups/{id}/transitiveMembers, for each group that holds a role", MEMBER),),
    licences=True,
)

simple(
    "role_schedule",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "role": Field(STR, "id of the role's template"),
                "scope": Field(STR, "/ is the whole tenant"),
                "principal": Field(STR),
                "name": Field(STR, "UPN of a user, name of another principal"),
                "switched_on": Field(BOOL, "an eligible person has switched it on for a while"),
                "end": Field(TIME, "absent: for ever", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request(
        "/roleManagement/directory/roleAssignmentScheduleInstances",
        "RoleAssignmentSchedule.Read.Directory",
        expand="principal",
        top=999,
    ),
    lambda b: {
        "id": need(b, "id"),
        "role": guid(need(b, "roleDefinitionId")),
        "scope": need(b, "directoryScopeId"),
        "principal": (principal := guid(need(b, "principalId"))),
        "name": at(b, "principal", "userPrincipalName") or at(b, "principal", "displayName") or principal,
        "switched_on": kind == "Activated" if isinstance(kind := need(b, "assignmentType"), str) else kind,
        "end": moment(b, "endDateTime"),
    },
    doc="Roles in force, with their ends.",
)

GLOBAL = "62e90394-69f5-4237-9190-012177145e10"
_RULES = Request(
    "/policies/roleManagementPolicyAssignments",
    _ROLES,
    expand="policy($expand=rules)",
    filter=f"scopeId eq '/' and scopeType eq 'DirectoryRole' and roleDefinitionId eq '{GLOBAL}'",
)

fact(
    "activation_rules",
    Record(
        {
            "approval": Field(BOOL, "switching the role on needs somebody's approval"),
            "mfa": Field(BOOL, "switching it on needs MFA"),
            "expires": Field(BOOL, "it cannot be given for ever as active"),
            "told": Field(BOOL, "somebody gets mail when it is switched on"),
        }
    ),
    PLATFORM,
    source=str(_RULES),
    rights=(_ROLES,),
    doc="What switching on Global Administrator takes.",
)


def _activation(answers: Answers, _: Any) -> Any:
    held, why = objects(answers[_RULES].value)
    if why is not None:
        return why
    mine = [b for b in held if guid(b.get("roleDefinitionId")) == GLOBAL and b.get("scopeId") == "/"]
    if not mine:
        return Unknown(Reason.UNREADABLE, "Graph shows no rules for Global Administrator")
    rules, why = objects(at(mine[0], "policy", "rules"))
    if why is not None:
        return why
    by_id = {str(r.get("id")): r for r in rules}

    def rule(name: str) -> Json:
        return by_id.get(name, {})

    enabled = rule("Enablement_EndUser_Assignment").get("enabledRules")
    context = rule("AuthenticationContext_EndUser_Assignment")
    told = rule("Notification_Admin_EndUser_Assignment").get("notificationRecipients")
    return {
        "approval": need(rule("Approval_EndUser_Assignment"), "setting", "isApprovalRequired", kind=bool),
        # An authentication context takes the place of plain MFA, and leaves it to conditional access.
        "mfa": "MultiFactorAuthentication" in enabled
        if isinstance(enabled, list) and not (context.get("isEnabled") and "MultiFactorAuthentication" not in enabled)
        else Unknown(Reason.UNREADABLE, "Enablement_EndUser_Assignment"),
        "expires": need(rule("Expiration_Admin_Assignment"), "isExpirationRequired", kind=bool),
        "told": any(str(t).strip() for t in told)
        if isinstance(told, list)
        else Unknown(Reason.UNREADABLE, "Notification_Admin_EndUser_Assignment"),
    }


SOURCES["activation_rules"] = Source((_RULES,), _activation)


def _queries(value: Any) -> list[str]:
    """Every `query` in a review's scope, at any depth: scopes come in several shapes."""
    if isinstance(value, Mapping):
        mine = [value["query"]] if isinstance(value.get("query"), str) else []
        return mine + [q for v in value.values() for q in _queries(v)]
    return [q for v in value for q in _queries(v)] if isinstance(value, list) else []


def _of_guests(body: Json) -> bool:
    queries = _queries(body.get("scope")) + _queries(body.get("instanceEnumerationScope"))
    return any("usertype eq 'guest'" in " ".join(q.lower().split()) for q in queries)


simple(
    "access_reviews",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "status": Field(STR, "NotStarted, InProgress, Completed, …"),
                "recurring": Field(BOOL),
                "guests": Field(BOOL, "it looks at guests"),
            },
            key="id",
            label="name",
        )
    ),
    Request("/identityGovernance/accessReviews/definitions", "AccessReview.Read.All", top=100),
    lambda b: {
        "id": need(b, "id"),
        "name": need(b, "displayName"),
        "status": need(b, "status"),
        "recurring": at(b, "settings", "recurrence", "pattern", "type") is not None,
        "guests": _of_guests(b),
    },
)
