"""Facts of what the tenant has bought, what it records, and what Microsoft's own watchers say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SKUS, SOURCES, Answers, Source
from agent.facts.m365.tenant import PLATFORM, POLICY, simple
from agent.facts.m365.values import Json, at, guid, maybe, moment, need, objects
from agent.facttypes import BOOL, FLOAT, INT, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Reason, Unknown

simple(
    "subscriptions",
    ListOf(
        Record(
            {
                "id": Field(STR, "of the product"),
                "name": Field(STR, "Microsoft's part number, such as M365EDU_A3_FACULTY"),
                "state": Field(Enum(("Enabled", "Warning", "Suspended", "Deleted", "LockedOut"), closed=False)),
                "used": Field(INT, "licences given to people"),
                "bought": Field(INT, "licences in force"),
            },
            key="id",
            label="name",
        )
    ),
    SKUS,
    lambda b: {
        "id": guid(need(b, "skuId")),
        "name": need(b, "skuPartNumber"),
        "state": need(b, "capabilityStatus"),
        "used": need(b, "consumedUnits", kind=int),
        "bought": need(b, "prepaidUnits", "enabled", kind=int),
    },
)

simple(
    "directory_audits",
    ListOf(Record({"at": Field(TIME, volatile=True)})),
    # The newest comes first; one is enough.
    Request("/auditLogs/directoryAudits", "AuditLog.Read.All", top=1, first=True),
    lambda b: {"at": need(b, "activityDateTime") and moment(b, "activityDateTime")},
    doc="The newest entry of the directory's audit log, and of it only the time.",
)


def _score(body: Json) -> dict[str, Any]:
    current, most = (maybe(body, name, kind=(int, float)) for name in ("currentScore", "maxScore"))
    known = isinstance(current, (int, float)) and isinstance(most, (int, float)) and most > 0
    return {
        "percent": 100 * current / most if known else Unknown(Reason.UNREADABLE, "currentScore or maxScore"),
        "day": moment(body, "createdDateTime"),
    }


_SCORES = Request("/security/secureScores", "SecurityEvents.Read.All", top=1, first=True)


def _newest(answers: Answers, _: Any) -> Any:
    held, why = objects(answers[_SCORES].value)
    if not held:
        return why or Unknown(Reason.NOT_COLLECTED, "there is no score yet")
    # One was asked for; a service that sends more of them is understood too.
    return _score(max(held, key=lambda b: str(b.get("createdDateTime"))))


fact(
    "secure_score",
    Record(
        {
            "percent": Field(FLOAT, "of what could be had", volatile=True),
            "day": Field(TIME, may_be_absent=True, volatile=True),
        }
    ),
    PLATFORM,
    source=str(_SCORES),
    rights=(_SCORES.permission,),
    doc="Microsoft's newest Secure Score; it lags by up to two days.",
)
SOURCES["secure_score"] = Source((_SCORES,), _newest)

_MONITORING = "ConfigurationMonitoring.Read.All"
simple(
    "microsoft_monitors",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "active": Field(BOOL),
                "why_not": Field(STR, may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request("/admin/configurationManagement/configurationMonitors", _MONITORING),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "displayName"),
        "active": state == "active" if isinstance(state := need(b, "status"), str) else state,
        "why_not": maybe(b, "inactivationReason") or None,
    },
    doc="Monitors that the trust has set up in Microsoft's own configuration management.",
)


def _drift(body: Json) -> dict[str, Any]:
    state = need(body, "status")
    return {
        "id": need(body, "id"),
        "name": at(body, "baselineResourceDisplayName") or need(body, "resourceType"),
        "kind": need(body, "resourceType"),
        "active": state == "active" if isinstance(state, str) else state,
        "since": moment(body, "firstReportedDateTime"),
    }


simple(
    "microsoft_drifts",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "what drifted, as the monitor's baseline calls it"),
                "kind": Field(STR),
                "active": Field(BOOL, "not mended yet"),
                "since": Field(TIME, may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request("/admin/configurationManagement/configurationDrifts", _MONITORING),
    _drift,
)

simple(
    "group_expiry",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "days": Field(INT, "life of a group that nobody uses"),
                "groups": Field(Enum(("All", "Selected", "None"), closed=False)),
            },
            key="id",
            label="id",
        )
    ),
    Request("/groupLifecyclePolicies", "Directory.Read.All"),
    lambda b: {
        "id": guid(need(b, "id")),
        "days": need(b, "groupLifetimeInDays", kind=int),
        "groups": need(b, "managedGroupTypes"),
    },
)

simple(
    "teams_apps",
    Record({"personal_consent": Field(BOOL, "people may let apps into their own chats")}),
    Request("/teamwork/teamsAppSettings", "TeamworkAppSettings.Read.All"),
    lambda b: {"personal_consent": need(b, "isUserPersonalScopeResourceSpecificConsentEnabled", kind=bool)},
)

_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})")


def _idle(body: Json) -> Any:
    """Minutes after which idle sessions end, of apps in general; None where the policy sets none for them.

    `definition` is a list of JSON texts.
    """
    found: list[int] = []
    for text in body.get("definition") or ():
        try:
            policies = at(json.loads(text), "ActivityBasedTimeoutPolicy", "ApplicationPolicies")
        except (TypeError, ValueError):
            return Unknown(Reason.UNREADABLE, "definition")
        for policy in policies if isinstance(policies, list) else ():
            if not isinstance(policy, Mapping) or policy.get("ApplicationId") != "default":
                continue
            match = _SPAN.fullmatch(str(policy.get("WebSessionIdleTimeout")))
            if match is None:
                return Unknown(Reason.UNREADABLE, "WebSessionIdleTimeout")
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            found.append(days * 1440 + hours * 60 + minutes + (1 if seconds else 0))
    return max(found, default=None)


simple(
    "idle_timeouts",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "default": Field(BOOL, "holds for the whole tenant"),
                "minutes": Field(INT, "after which an idle session ends", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request("/policies/activityBasedTimeoutPolicies", POLICY),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "displayName"),
        "default": maybe(b, "isOrganizationDefault", kind=bool) is True,
        "minutes": _idle(b),
    },
)
