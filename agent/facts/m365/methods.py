"""Facts of the ways to sign in: which methods are allowed, for whom, and how the tenant asks people to register."""

from __future__ import annotations

from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.tenant import simple
from agent.facts.m365.values import Json, at, guid, maybe, need, objects
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

EVERYBODY = "all_users"
"""The word that Graph has in the place of a group's id."""


def _targets(body: Json) -> Any:
    """Ids of the groups that a method is for, or `all_users`."""
    held, why = objects(body.get("includeTargets"))
    if why is not None:
        return why
    return [guid(need(item, "id")) for item in held]


def _feature(body: Json, name: str) -> Any:
    """State of one feature: `limited` when it is on for some people only; `default` is Microsoft's own choice."""
    state = maybe(body, "featureSettings", name, "state")
    if state != "enabled":
        return state
    group = maybe(body, "featureSettings", name, "includeTarget", "id")
    left_out = at(body, "featureSettings", name, "excludeTarget", "id")
    if isinstance(group, Unknown):
        return group
    nobody = left_out is None or str(left_out).strip("0-") == ""
    return state if group in (EVERYBODY, None) and nobody else "limited"


def _method(m: Json) -> dict[str, Any]:
    return {
        "id": need(m, "id"),
        "state": need(m, "state"),
        "targets": _targets(m),
        "one_time": maybe(m, "isUsableOnce", kind=bool),
        "most_minutes": maybe(m, "maximumLifetimeInMinutes", kind=int),
        "pin_length": maybe(m, "pinLength", kind=int),
        "shows_app": _feature(m, "displayAppInformationRequiredState"),
        "shows_place": _feature(m, "displayLocationInformationRequiredState"),
    }


def _methods(body: Json) -> dict[str, Any]:
    held = body.get("authenticationMethodConfigurations")
    methods: Any = Unknown(Reason.UNREADABLE, "authenticationMethodConfigurations")
    if isinstance(held, list):
        methods = [_method(m) for m in held if isinstance(m, dict)]
    return {
        "migration": maybe(body, "policyMigrationState"),
        "campaign": maybe(body, "registrationEnforcement", "authenticationMethodsRegistrationCampaign", "state"),
        "methods": methods,
    }


_FEATURE = Enum(("enabled", "limited", "disabled", "default"), closed=False)

simple(
    "authentication_methods",
    Record(
        {
            "migration": Field(
                STR, "from the old policies: preMigration, migrationInProgress, migrationComplete", True
            ),
            "campaign": Field(STR, "state of the campaign that asks people to register", may_be_absent=True),
            "methods": Field(
                ListOf(
                    Record(
                        {
                            "id": Field(
                                STR, "Sms, Voice, Email, Fido2, MicrosoftAuthenticator, TemporaryAccessPass, …"
                            ),
                            "state": Field(Enum(("enabled", "disabled"), closed=False)),
                            "targets": Field(ListOf(STR), "ids of the groups that it is for, or all_users"),
                            "one_time": Field(BOOL, "a temporary access pass works once", may_be_absent=True),
                            "most_minutes": Field(INT, "longest life of a temporary access pass", may_be_absent=True),
                            "pin_length": Field(INT, "of the PIN beside a QR code", may_be_absent=True),
                            "shows_app": Field(
                                _FEATURE, "Authenticator names the app; limited: to some people", may_be_absent=True
                            ),
                            "shows_place": Field(
                                _FEATURE, "Authenticator shows the place; default: as Microsoft likes", True
                            ),
                        },
                        key="id",
                        label="id",
                    )
                )
            ),
        }
    ),
    Request("/policies/authenticationMethodsPolicy", "Policy.Read.AuthenticationMethod"),
    _methods,
)
