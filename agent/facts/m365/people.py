"""Facts of people: accounts, sign-ins, registered methods, risky users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SOURCES, Answers, Source
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
_USERS = Request(
    "/users",
    "User.Read.All",
    ("id", "userPrincipalName", "accountEnabled", "userType", "createdDateTime", "onPremisesSyncEnabled",
     "onPremisesImmutableId",
     "externalUserState", "externalUserStateChangeDateTime", "assignedLicenses", "passwordPolicies",
     "lastPasswordChangeDateTime", "employeeLeaveDateTime", "ageGroup", "showInAddressList"),
    top=999,
)  # fmt: skip
# By itself, as a tenant without Entra ID P1 refuses the whole list when sign-ins are asked for. 500: the largest page.
_TIMES = ("lastSignInDateTime", "lastNonInteractiveSignInDateTime", "lastSuccessfulSignInDateTime")
_SIGN_INS = Request(
    "/users",
    "AuditLog.Read.All",
    ("id", "signInActivity"),
    top=500,
    keep=("id", *(f"signInActivity/{name}" for name in _TIMES)),
)

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
                "anchored": Field(BOOL, "holds an anchor by which an on-premises account could take it over"),
                "invitation": Field(STR, "state of a guest's invitation", may_be_absent=True),
                "invitation_changed": Field(TIME, may_be_absent=True),
                "licences": Field(INT, "how many licences it holds"),
                "products": Field(ListOf(STR), "ids of the products that it is licensed for"),
                "student": Field(BOOL, "holds a student licence and no faculty licence"),
                "student_licence": Field(BOOL),
                "faculty_licence": Field(BOOL),
                "password_never_expires": Field(BOOL),
                "weak_password_allowed": Field(BOOL),
                "password_changed": Field(TIME, may_be_absent=True),
                "left": Field(TIME, "day of leaving; absent too where User-LifeCycleInfo.Read.All is missing", True),
                "age_group": Field(Enum(("minor", "notadult", "adult"), closed=False), may_be_absent=True),
                "in_address_list": Field(BOOL, "absent: shown, which is the default", may_be_absent=True),
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
    times = [moment(activity, name) for name in _TIMES] if isinstance(activity, Mapping) else []
    bad = next((t for t in times if isinstance(t, Unknown)), None)
    return bad if bad else max((t for t in times if t), default=None)


def _word(body: Json, name: str) -> Any:
    """A word in lower case; None when it is not set."""
    word = maybe(body, name)
    if not isinstance(word, str):
        return word
    return None if word.lower() in ("", "none", "null") else word.lower()


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
            "anchored": bool(at(body, "onPremisesImmutableId")),
            "invitation": maybe(body, "externalUserState"),
            "invitation_changed": moment(body, "externalUserStateChangeDateTime"),
            "licences": len(licences) if isinstance(licences, list) else 0,
            "products": sorted(s for s in skus if isinstance(s, str)),
            "student": bool(skus & _STUDENT) and not skus & _FACULTY,
            "student_licence": bool(skus & _STUDENT),
            "faculty_licence": bool(skus & _FACULTY),
            "password_never_expires": "DisablePasswordExpiration" in held,
            "weak_password_allowed": "DisableStrongPassword" in held,
            "password_changed": moment(body, "lastPasswordChangeDateTime"),
            "left": moment(body, "employeeLeaveDateTime"),
            # Graph's own spelling varies: Minor, minor.
            "age_group": _word(body, "ageGroup"),
            "in_address_list": maybe(body, "showInAddressList", kind=bool),
        }

    return listed(answers[_USERS], parse)


SOURCES["users"] = Source((_USERS, _SIGN_INS), _users)

_DETAILS = Request(
    "/reports/authenticationMethods/userRegistrationDetails",
    "AuditLog.Read.All",
    top=999,
    keep=("id", "userPrincipalName", "userType", "isAdmin", "isMfaCapable", "isMfaRegistered", "isPasswordlessCapable",
          "methodsRegistered"),
)  # fmt: skip

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
