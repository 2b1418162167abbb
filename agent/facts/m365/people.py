"""Facts of people: accounts, sign-ins, registered methods, role holders, risky users, groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.facts.m365.conditional_access import MEMBER, members_of, people
from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SKUS, SOURCES, Answers, Source, Unlicensed
from agent.facts.m365.tenant import PLATFORM
from agent.facts.m365.values import Json, at, guid, listed, maybe, moment, need, objects, words
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Reason, Unknown

# Microsoft's product ids of the school licences (Office 365 A1 and A3, Microsoft 365 A3 and A5).
_STUDENT = frozenset(
    (
        "314c4481-f395-4525-be8b-2ec4bb1e9d91",
        "98b6e773-24d4-4c0d-a968-6e787a1f8204",
        "7cfd9a2b-e110-4c39-bf20-c6a3f36a3121",
        "18250162-5d87-4436-a834-d795c15c80f3",
        "46c119d4-0379-4a9d-85e4-97c66d3f909e",
        "31d57bc7-3a05-4867-ab53-97a17835a411",
    )
)
_FACULTY = frozenset(
    (
        "94763226-9b3c-4e75-a931-5c89701abe66",
        "e578b273-6db4-4691-bba0-8d691f4da603",
        "4b590615-0888-425a-a965-b3bf7789848d",
        "e97c048c-37a4-45fb-ab50-922fbf07a370",
    )
)
_ROLES = "RoleManagement.Read.Directory"
_USERS = Request(
    "/users",
    "User.Read.All",
    ("id", "userPrincipalName", "accountEnabled", "userType", "createdDateTime", "onPremisesSyncEnabled",
     "externalUserState", "externalUserStateChangeDateTime", "assignedLicenses", "passwordPolicies"),
    top=999,
)  # fmt: skip
# By itself, as a tenant without Entra ID P1 refuses the whole list when sign-ins are asked for. 500: the largest page.
_SIGN_INS = Request("/users", "AuditLog.Read.All", ("id", "signInActivity"), top=500)

fact(
    "users",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "enabled": Field(BOOL),
                "guest": Field(BOOL),
                "created": Field(TIME, may_be_absent=True),
                "last_sign_in": Field(
                    TIME, "newest of all kinds of sign-in; absent: never", may_be_absent=True, volatile=True
                ),
                "last_used": Field(
                    TIME, "last sign-in, or the day it was made when there was none", True, volatile=True
                ),
                "synced": Field(BOOL, "comes from an on-premises directory"),
                "invitation": Field(STR, "state of a guest's invitation", may_be_absent=True),
                "invitation_changed": Field(TIME, may_be_absent=True),
                "licences": Field(INT, "how many licences it holds"),
                "student": Field(BOOL, "holds a student licence and no faculty licence"),
                "password_never_expires": Field(BOOL),
                "weak_password_allowed": Field(BOOL),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    PLATFORM,
    source=f"{_USERS}; {_SIGN_INS}",
    rights=(_USERS.permission, _SIGN_INS.permission),
)


def _last(activity: Any) -> Any:
    names = ("lastSignInDateTime", "lastNonInteractiveSignInDateTime", "lastSuccessfulSignInDateTime")
    times = [moment(activity, name) for name in names] if isinstance(activity, Mapping) else []
    bad = next((t for t in times if isinstance(t, Unknown)), None)
    return bad if bad else max((t for t in times if t), default=None)


def _users(answers: Answers, _: Any) -> Any:
    seen, missing = objects(answers[_SIGN_INS].value)
    activity = {guid(at(i, "id")): _last(at(i, "signInActivity")) for i in seen}
    missing = missing or Unknown(Reason.UNREADABLE, "not in the list of sign-ins")

    def parse(body: Json) -> dict[str, Any]:
        key = guid(need(body, "id"))
        last = activity.get(key, missing)
        created = moment(body, "createdDateTime")
        kind = maybe(body, "userType")
        licences = body.get("assignedLicenses")
        skus = {guid(at(item, "skuId")) for item in licences or ()}
        policies = maybe(body, "passwordPolicies")
        held = {p.strip() for p in policies.split(",")} if isinstance(policies, str) else set()
        return {
            "id": key,
            "upn": need(body, "userPrincipalName"),
            "enabled": need(body, "accountEnabled", kind=bool),
            # Accounts made before guests existed have no type: they are members.
            "guest": kind.lower() == "guest" if isinstance(kind, str) else False if kind is None else kind,
            "created": created,
            "last_sign_in": last,
            "last_used": created if last is None else last,
            "synced": synced is True
            if not isinstance(synced := maybe(body, "onPremisesSyncEnabled", kind=bool), Unknown)
            else synced,
            "invitation": maybe(body, "externalUserState"),
            "invitation_changed": moment(body, "externalUserStateChangeDateTime"),
            "licences": len(licences) if isinstance(licences, list) else 0,
            "student": bool(skus & _STUDENT) and not skus & _FACULTY,
            "password_never_expires": "DisablePasswordExpiration" in held,
            "weak_password_allowed": "DisableStrongPassword" in held,
        }

    return listed(answers[_USERS], parse)


SOURCES["users"] = Source((_USERS, _SIGN_INS), _users)

_DETAILS = Request("/reports/authenticationMethods/userRegistrationDetails", "AuditLog.Read.All", top=999)

fact(
    "mfa_registration",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "guest": Field(BOOL),
                "admin": Field(BOOL),
                "capable": Field(BOOL, "has registered a method that is allowed: can pass MFA today"),
                "registered": Field(BOOL),
                "passwordless": Field(BOOL),
                "methods": Field(ListOf(STR)),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    PLATFORM,
    source=str(_DETAILS),
    rights=(_DETAILS.permission,),
    doc="What Microsoft's report of registered methods says; it lags by a day or so.",
)
SOURCES["mfa_registration"] = Source(
    (_DETAILS,),
    lambda a, _: listed(
        a[_DETAILS],
        lambda b: {
            "id": guid(need(b, "id")),
            "upn": need(b, "userPrincipalName"),
            "guest": str(b.get("userType", "")).lower() == "guest",
            "admin": need(b, "isAdmin", kind=bool),
            "capable": need(b, "isMfaCapable", kind=bool),
            "registered": need(b, "isMfaRegistered", kind=bool),
            "passwordless": need(b, "isPasswordlessCapable", kind=bool),
            "methods": words(b, "methodsRegistered"),
        },
    ),
)

# Roles: who holds one, by whom the role came, and the people in groups that hold one.
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
        if kind == "group":
            answer = answers.get(members_of(principal)) if isinstance(principal, str) else None
            members = people(answer.value) if answer else Unknown(Reason.NOT_COLLECTED)
        elif isinstance(kind, Unknown):
            members = kind
        return {
            "id": need(body, "id"),
            "role": guid(need(body, "roleDefinitionId")),
            "scope": need(body, "directoryScopeId"),
            "principal": principal,
            "kind": kind,
            # Without the right to read it, a principal comes with its id only.
            "name": label if label is not None else principal,
            "members": members,
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

_RISKY = Request("/identityProtection/riskyUsers", "IdentityRiskyUser.Read.All", top=500, slow=True)

fact(
    "risky_users",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "level": Field(Enum(("none", "low", "medium", "high", "hidden"), closed=False)),
                "state": Field(
                    Enum(("none", "atRisk", "confirmedCompromised", "remediated", "dismissed", "confirmedSafe"), False)
                ),
                "deleted": Field(BOOL),
                "updated": Field(TIME, may_be_absent=True),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    PLATFORM,
    source=str(_RISKY),
    rights=(_RISKY.permission,),
)
SOURCES["risky_users"] = Source(
    (_RISKY,),
    lambda a, _: listed(
        a[_RISKY],
        lambda b: {
            "id": guid(need(b, "id")),
            "upn": need(b, "userPrincipalName"),
            "level": need(b, "riskLevel"),
            "state": need(b, "riskState"),
            "deleted": at(b, "isDeleted") is True,
            "updated": moment(b, "riskLastUpdatedDateTime"),
        },
    ),
)
