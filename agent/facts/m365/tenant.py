"""Facts of the tenant as a whole: licences, policies and settings, domains."""

from __future__ import annotations

from typing import Any

from agent.facts.m365.protocol import Answer, Request
from agent.facts.m365.source import SKUS, SOURCES, Answers, Source, lacks
from agent.facts.m365.values import Json, at, guid, listed, maybe, moment, need, objects, single, words
from agent.facttypes import BOOL, INT, STR, TIME, Enum, FactType, Field, ListOf, Record, fact
from agent.model import Reason, Unknown

PLATFORM = "m365"
POLICY = "Policy.Read.All"

# Service plans by the short names that controls use. AAD_BASIC_EDU, AAD_EDU and INTUNE_O365 look premium and are not.
_PLANS = {
    "AAD_PREMIUM": ("entra_p1",),
    "AAD_PREMIUM_P2": ("entra_p1", "entra_p2"),
    "INTUNE_A": ("intune",),
}
_LIVE = ("Enabled", "Warning")
"""States of a subscription in which its plans work; Warning is the grace period after it ended.

A plan that is still being set up (PendingInput, PendingActivation, PendingProvisioning) was bought: "not licensed"
would be wrong of it, and what cannot be read of it yet is unknown by itself."""


def licences_of(answers: Answers) -> Any:
    """Short names of the plans in force, sorted; Unknown when the subscriptions could not all be read."""
    skus, why = objects(answers[SKUS].value)
    if why is not None:
        return why
    found: set[str] = set()
    for sku in skus:
        plans, why = objects(sku.get("servicePlans"))
        if why is not None:
            return why
        if sku.get("capabilityStatus") in _LIVE:
            names = [str(p.get("servicePlanName")) for p in plans if p.get("provisioningStatus") != "Disabled"]
            found.update(short for name in names for short in _PLANS.get(name, ()))
            if any(name.startswith("SHAREPOINT") and not name.startswith("SHAREPOINTWAC") for name in names):
                found.add("sharepoint")  # many plans by that name; WAC is Office in the browser
    return sorted(found)


def simple(name: str, ftype: FactType, request: Request, parse: Any, doc: str = "") -> None:
    """Declare a fact that one request answers."""
    fact(name, ftype, PLATFORM, source=str(request), rights=(request.permission,), doc=doc)
    many = isinstance(ftype, ListOf)
    SOURCES[name] = Source((request,), lambda a, _: (listed if many else single)(a[request], parse))


fact(
    "licences",
    ListOf(STR),
    PLATFORM,
    source=str(SKUS),
    rights=(SKUS.permission,),
    doc="Plans in force: entra_p1, entra_p2, intune, sharepoint.",
)
SOURCES["licences"] = Source((SKUS,), lambda _, licences: licences, licences=True)

_REFUSALS = {
    "Entra ID P1": "entra_p1",
    "Entra ID P2": "entra_p2",
    "Intune": "intune",
    "SharePoint": "sharepoint",
    "": "entra_p2",  # refusals that name no plan come from the services of the largest one
}


def confirmed(answer: Answer, licences: Any) -> Answer:
    """An answer in which "not licensed" is kept only where the licences say so too.

    Graph says it now and then of tenants that have the licence, when the app cannot read their state.
    """
    why = answer.unknown
    if why is None or why.reason is not Reason.NOT_LICENSED or lacks(licences, _REFUSALS.get(why.detail, "")):
        return answer
    what = why.detail or "a licence"
    lost = Unknown(Reason.UNREADABLE, f"Graph says that {what} is missing, which the licences do not confirm")
    return Answer(lost, answer.request_ids)


simple(
    "security_defaults",
    Record({"enabled": Field(BOOL, "security defaults are on: conditional access policies then cannot be")}),
    Request("/policies/identitySecurityDefaultsEnforcementPolicy", POLICY),
    lambda b: {"enabled": need(b, "isEnabled", kind=bool)},
)

_GUEST_ROLES = {
    "a0b1b346-4d3e-4e8b-98f8-753987be4970": "member",
    "10dae51f-b6af-4016-8d66-8c2a99b929b3": "limited",
    "2af84b1e-32c8-42b7-82bc-daa82404023b": "restricted",
}


def _authorization(body: Json) -> dict[str, Any]:
    role = guid(need(body, "guestUserRoleId"))
    mine = "defaultUserRolePermissions"
    grants = words(body, mine, "permissionGrantPoliciesAssigned")
    return {
        "allow_invites_from": need(body, "allowInvitesFrom"),
        "guest_role": _GUEST_ROLES.get(role, "other") if isinstance(role, str) else role,
        "users_may_register_apps": need(body, mine, "allowedToCreateApps", kind=bool),
        "users_may_create_tenants": need(body, mine, "allowedToCreateTenants", kind=bool),
        "users_may_create_security_groups": need(body, mine, "allowedToCreateSecurityGroups", kind=bool),
        "users_may_read_bitlocker_keys": maybe(body, mine, "allowedToReadBitlockerKeysForOwnedDevice", kind=bool),
        "consent_policies": [g.lower() for g in grants] if isinstance(grants, list) else grants,
        "risky_consent": maybe(body, "allowUserConsentForRiskyApps", kind=bool),
        "admins_may_reset_password": need(body, "allowedToUseSSPR", kind=bool),
        "email_verified_may_join": need(body, "allowEmailVerifiedUsersToJoinOrganization", kind=bool),
        "email_subscriptions": need(body, "allowedToSignUpEmailBasedSubscriptions", kind=bool),
        "msol_powershell_blocked": maybe(body, "blockMsolPowerShell", kind=bool),
    }


simple(
    "authorization_policy",
    Record(
        {
            "allow_invites_from": Field(
                Enum(("none", "adminsAndGuestInviters", "adminsGuestInvitersAndAllMembers", "everyone"), closed=False)
            ),
            "guest_role": Field(
                Enum(("member", "limited", "restricted", "other")), "what guests may see of the directory"
            ),
            "users_may_register_apps": Field(BOOL),
            "users_may_create_tenants": Field(BOOL),
            "users_may_create_security_groups": Field(BOOL),
            "users_may_read_bitlocker_keys": Field(BOOL, may_be_absent=True),
            "consent_policies": Field(ListOf(STR), "grant policies of ordinary users, in lower case"),
            "risky_consent": Field(BOOL, "users may consent to risky apps", may_be_absent=True),
            "admins_may_reset_password": Field(BOOL, "administrators may use self-service password reset"),
            "email_verified_may_join": Field(BOOL),
            "email_subscriptions": Field(BOOL),
            "msol_powershell_blocked": Field(BOOL, may_be_absent=True),
        }
    ),
    Request("/policies/authorizationPolicy", POLICY),
    _authorization,
)

simple(
    "consent_workflow",
    Record({"enabled": Field(BOOL), "reviewers": Field(INT, "how many reviewers are named")}),
    Request("/policies/adminConsentRequestPolicy", POLICY),
    lambda b: {
        "enabled": need(b, "isEnabled", kind=bool),
        "reviewers": len(v) if isinstance(v := b.get("reviewers"), list) else 0 if v is None else _odd("reviewers"),
    },
)


def _odd(name: str) -> Unknown:
    return Unknown(Reason.UNREADABLE, name)


DOMAINS = Request("/domains", "Domain.Read.All")
_NEVER_EXPIRES = 2147483647
"""What Graph writes for a password that never expires (the largest 32-bit number); null means the same."""


def _domain(body: Json) -> dict[str, Any]:
    days = maybe(body, "passwordValidityPeriodInDays", kind=int)
    known = days is None or isinstance(days, int)
    return {
        "name": need(body, "id"),
        "verified": need(body, "isVerified", kind=bool),
        "root": need(body, "isRoot", kind=bool),
        "default": need(body, "isDefault", kind=bool),
        "federated": kind == "Federated" if isinstance(kind := need(body, "authenticationType"), str) else kind,
        "passwords_expire": days not in (None, _NEVER_EXPIRES) if known else days,
        "password_days": None if days == _NEVER_EXPIRES else days,
    }


simple(
    "domains",
    ListOf(
        Record(
            {
                "name": Field(STR),
                "verified": Field(BOOL),
                "root": Field(BOOL, "false for a subdomain of a domain of the tenant, which follows that one"),
                "default": Field(BOOL),
                "federated": Field(BOOL, "people sign in elsewhere, whose password rules count"),
                "passwords_expire": Field(BOOL),
                "password_days": Field(INT, "days until a password expires", may_be_absent=True),
            },
            key="name",
            label="name",
        )
    ),
    DOMAINS,
    _domain,
)

simple(
    "organization",
    Record(
        {
            "id": Field(STR),
            "name": Field(STR, may_be_absent=True),
            "synced": Field(BOOL, "accounts come from an on-premises directory"),
            "last_sync": Field(TIME, may_be_absent=True),
            "technical_contacts": Field(INT, "addresses that get technical notices"),
            "privacy_contact": Field(BOOL, "a data protection contact is named"),
            "privacy_url": Field(STR, may_be_absent=True),
        },
        key="id",
        label="name",
    ),
    Request("/organization", "Organization.Read.All"),
    lambda b: {
        "id": need(b, "id"),
        "name": maybe(b, "displayName"),
        "synced": maybe(b, "onPremisesSyncEnabled", kind=bool) is True,
        "last_sync": moment(b, "onPremisesLastSyncDateTime"),
        "technical_contacts": len(words(b, "technicalNotificationMails") or ()),
        "privacy_contact": bool(maybe(b, "privacyProfile", "contactEmail")),
        "privacy_url": maybe(b, "privacyProfile", "statementUrl"),
    },
)

# Directory settings: values are strings, and an object that is not there means the template's defaults.
_SETTINGS = Request("/groupSettings", "GroupSettings.Read.All")
_TEMPLATES = Request("/groupSettingTemplates", "GroupSettings.Read.All")
_LOCKOUT_RULES = "5cf42378-d67d-4f36-ba46-e8b86229381d"
_GROUP_UNIFIED = "62375ab9-6b52-47ed-826b-58e47e0e304b"
# Defaults as Microsoft's pages on the two templates give them; the tenant's own copy of a template outranks them.
_DEFAULTS = {
    _LOCKOUT_RULES: {"LockoutThreshold": "10", "LockoutDurationInSeconds": "60", "BannedPasswordList": ""},
    _GROUP_UNIFIED: {"EnableGroupCreation": "true", "AllowGuestsToBeGroupOwner": "false", "AllowToAddGuests": "true"},
}


def _setting_values(answers: Answers, template: str) -> dict[str, str] | Unknown:
    """Settings in force by name: the tenant's own object over the template's defaults."""
    own, why = objects(answers[_SETTINGS].value)
    if why is not None:
        return why
    templates, _ = objects(answers[_TEMPLATES].value)
    values = dict(_DEFAULTS[template])
    for held, key, name in ((templates, "id", "defaultValue"), (own, "templateId", "value")):
        for item in held:
            if guid(item.get(key)) == template:
                values.update({str(at(v, "name")): str(at(v, name) or "") for v in objects(item.get("values"))[0]})
    return values


def _yes(values: dict[str, str] | Unknown, name: str) -> Any:
    if isinstance(values, Unknown):
        return values
    text = values.get(name, "").lower()
    return text == "true" if text in ("true", "false") else _odd(name)


def _count(values: dict[str, str] | Unknown, name: str) -> Any:
    if isinstance(values, Unknown):
        return values
    text = values.get(name, "")
    return int(text) if text.isdecimal() else _odd(name)


def _password_settings(answers: Answers, _: Any) -> Any:
    v = _setting_values(answers, _LOCKOUT_RULES)
    if isinstance(v, Unknown):
        return v
    mode = v.get("BannedPasswordCheckOnPremisesMode", "").lower()
    return {
        "lockout_threshold": _count(v, "LockoutThreshold"),
        "lockout_seconds": _count(v, "LockoutDurationInSeconds"),
        "banned_list_on": _yes(v, "EnableBannedPasswordCheck"),
        # Only how many: the words are the tenant's own business.
        "banned_words": len([w for w in v.get("BannedPasswordList", "").split("\t") if w.strip()]),
        "on_premises_check": _yes(v, "EnableBannedPasswordCheckOnPremises"),
        "on_premises_enforced": mode in ("enforce", "enforced") if mode else _odd("BannedPasswordCheckOnPremisesMode"),
    }


def _group_settings(answers: Answers, _: Any) -> Any:
    v = _setting_values(answers, _GROUP_UNIFIED)
    if isinstance(v, Unknown):
        return v
    return {
        "users_may_create_groups": _yes(v, "EnableGroupCreation"),
        "guests_may_own_groups": _yes(v, "AllowGuestsToBeGroupOwner"),
        "guests_may_be_added": _yes(v, "AllowToAddGuests"),
    }


for _name, _fields, _parse in (
    (
        "password_settings",
        {
            "lockout_threshold": Field(INT, "wrong passwords before an account locks"),
            "lockout_seconds": Field(INT),
            "banned_list_on": Field(BOOL, "the tenant's own list of banned words is used"),
            "banned_words": Field(INT),
            "on_premises_check": Field(BOOL),
            "on_premises_enforced": Field(BOOL, "false: only watched"),
        },
        _password_settings,
    ),
    (
        "group_settings",
        {
            "users_may_create_groups": Field(BOOL, "everyone may make Microsoft 365 groups, and so Teams"),
            "guests_may_own_groups": Field(BOOL),
            "guests_may_be_added": Field(BOOL),
        },
        _group_settings,
    ),
):
    fact(
        _name,
        Record(_fields),
        PLATFORM,
        source=f"{_SETTINGS}, {_TEMPLATES}",
        rights=(_SETTINGS.permission,),
        doc="What is in force: the tenant's settings over the template's defaults.",
    )
    SOURCES[_name] = Source((_SETTINGS, _TEMPLATES), _parse)
