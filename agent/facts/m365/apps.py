"""Facts of applications: registrations and their credentials, what was granted to apps, the policy for credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SOURCES, Answers, Source
from agent.facts.m365.tenant import PLATFORM, POLICY, simple
from agent.facts.m365.values import Json, at, guid, listed, maybe, moment, need, objects
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Partial, Reason, Unknown

_APPS = Request(
    "/applications",
    "Application.Read.All",
    ("id", "appId", "displayName", "signInAudience", "passwordCredentials", "keyCredentials", "web"),
    # keyCredentials lowers the page size that large tenants allow.
    top=100,
)

fact(
    "applications",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "app_id": Field(STR),
                "name": Field(STR),
                "audience": Field(
                    Enum(("AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount"), False)
                ),
                "plain_redirects": Field(INT, "redirect addresses in plain text or with a wildcard"),
            },
            key="id",
            label="name",
        )
    ),
    PLATFORM,
    source=str(_APPS),
    rights=(_APPS.permission,),
)


def _plain(body: Json) -> int:
    addresses = at(body, "web", "redirectUris") or []
    fine = ("https://", "http://localhost", "http://127.0.0.1")
    return sum(not str(a).lower().startswith(fine) or "*" in str(a) for a in addresses)


SOURCES["applications"] = Source(
    (_APPS,),
    lambda a, _: listed(
        a[_APPS],
        lambda b: {
            "id": guid(need(b, "id")),
            "app_id": guid(need(b, "appId")),
            "name": need(b, "displayName"),
            "audience": need(b, "signInAudience"),
            "plain_redirects": _plain(b),
        },
    ),
)

fact(
    "app_credentials",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "app": Field(STR, "name of the app registration"),
                "app_id": Field(STR),
                "kind": Field(Enum(("secret", "certificate"))),
                "start": Field(TIME, may_be_absent=True),
                "end": Field(TIME, may_be_absent=True),
                "days": Field(INT, "from start to end", may_be_absent=True),
            },
            key="id",
            label="app",
        )
    ),
    PLATFORM,
    source=str(_APPS),
    rights=(_APPS.permission,),
    doc="Secrets and certificates of app registrations: their dates only.",
)


def _life(start: Any, end: Any) -> Any:
    if not isinstance(start, str) or not isinstance(end, str):
        return next((v for v in (start, end) if isinstance(v, Unknown)), None)
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).days


def _credentials(answers: Answers, _: Any) -> Any:
    apps, why = objects(answers[_APPS].value)
    if isinstance(answers[_APPS].value, Unknown):
        return why
    out: list[Any] = []
    for app in apps:
        for kind, name in (("secret", "passwordCredentials"), ("certificate", "keyCredentials")):
            held, lost = objects(app.get(name))
            if lost is not None:
                out.append(lost)
            for item in held:
                start, end = moment(item, "startDateTime"), moment(item, "endDateTime")
                out.append(
                    {
                        "id": guid(need(item, "keyId")),
                        "app": need(app, "displayName"),
                        "app_id": guid(need(app, "appId")),
                        "kind": kind,
                        "start": start,
                        "end": end,
                        "days": _life(start, end),
                    }
                )
    return Partial(tuple(out), why) if why else out


SOURCES["app_credentials"] = Source((_APPS,), _credentials)

_READ_APPS = "Application.Read.All"
GRAPH = "00000003-0000-0000-c000-000000000000"
"""The app id of Microsoft Graph, in every tenant."""

simple(
    "service_principals",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "app_id": Field(STR),
                "name": Field(STR),
                "enabled": Field(BOOL),
                "disabled_by_microsoft": Field(STR, "why Microsoft switched the app off", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request(
        "/servicePrincipals",
        _READ_APPS,
        ("id", "appId", "displayName", "accountEnabled", "disabledByMicrosoftStatus"),
        top=999,
    ),
    lambda b: {
        "id": guid(need(b, "id")),
        "app_id": guid(need(b, "appId")),
        "name": need(b, "displayName"),
        "enabled": need(b, "accountEnabled", kind=bool),
        "disabled_by_microsoft": None if (word := maybe(b, "disabledByMicrosoftStatus")) == "NotDisabled" else word,
    },
    doc="Every application that may sign in here, the tenant's own and others' (enterprise applications).",
)

simple(
    "app_permissions",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "app": Field(STR, "name of the app that holds it"),
                "principal": Field(STR, "id of its service principal"),
                "role": Field(STR, "id of Graph's application permission"),
            },
            key="id",
            label="app",
        )
    ),
    Request(f"/servicePrincipals(appId='{GRAPH}')/appRoleAssignedTo", _READ_APPS, top=999),
    lambda b: {
        "id": need(b, "id"),
        "app": need(b, "principalDisplayName"),
        "principal": guid(need(b, "principalId")),
        "role": guid(need(b, "appRoleId")),
    },
    doc="Application permissions of Microsoft Graph, which need nobody to be signed in.",
)

simple(
    "delegated_grants",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "client": Field(STR, "id of the app's service principal"),
                "everyone": Field(BOOL, "granted for all people at once"),
                "scopes": Field(ListOf(STR)),
            },
            key="id",
            label="client",
        )
    ),
    Request("/oauth2PermissionGrants", "Directory.Read.All", top=999),
    lambda b: {
        "id": need(b, "id"),
        "client": guid(need(b, "clientId")),
        "everyone": kind == "AllPrincipals" if isinstance(kind := need(b, "consentType"), str) else kind,
        # One text, split by blanks.
        "scopes": scopes.split() if isinstance(scopes := maybe(b, "scope"), str) else scopes or [],
    },
    doc="What apps may do in the name of people who are signed in.",
)

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?")


def days_of(text: Any) -> Any:
    """An ISO 8601 duration as whole days, rounded up; None when absent, Unknown when it is none (months, years)."""
    if not isinstance(text, str):
        return text
    match = _DURATION.fullmatch(text)
    if match is None or text in ("P", "PT"):
        return Unknown(Reason.UNREADABLE, "a duration")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days + (1 if hours or minutes or seconds else 0)


def _restrictions(body: Json, kind: str) -> Any:
    """Restrictions in force on secrets or certificates: {type: longest life in days, None where it has none}."""
    held, why = objects(at(body, "applicationRestrictions", kind))
    if why is not None:
        return why
    found: dict[str, Any] = {}
    for item in held:
        word, state = need(item, "restrictionType"), maybe(item, "state")
        if isinstance(word, Unknown) or isinstance(state, Unknown):
            return Unknown(Reason.UNREADABLE, f"applicationRestrictions.{kind}")
        if state == "enabled":
            found[word] = days_of(maybe(item, "maxLifetime"))
    return found


def _longest(held: Any, word: str) -> Any:
    return held.get(word) if isinstance(held, Mapping) else held


simple(
    "app_policy",
    Record(
        {
            "enabled": Field(BOOL),
            "secrets_blocked": Field(BOOL, "no app may get a new secret"),
            "secret_days": Field(INT, "longest life of a new secret; absent: not limited", may_be_absent=True),
            "certificate_days": Field(INT, "longest life of a new certificate", may_be_absent=True),
        }
    ),
    Request("/policies/defaultAppManagementPolicy", POLICY),
    lambda b: {
        "enabled": need(b, "isEnabled", kind=bool),
        "secrets_blocked": "passwordAddition" in secrets
        if isinstance(secrets := _restrictions(b, "passwordCredentials"), Mapping)
        else secrets,
        "secret_days": _longest(secrets, "passwordLifetime"),
        "certificate_days": _longest(_restrictions(b, "keyCredentials"), "asymmetricKeyLifetime"),
    },
    doc="The tenant's rule for credentials of apps.",
)
