"""Facts of what Intune hands out: profiles, update rings, who may enrol, protection of apps, Apple's app tokens."""

from __future__ import annotations

from typing import Any

from agent.facts.m365.devices import DEVICES, reaches
from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SOURCES, Answers, Ask, Source
from agent.facts.m365.tenant import PLATFORM, simple
from agent.facts.m365.values import Json, at, guid, maybe, moment, need, objects
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, fact
from agent.model import Partial, Reason, Unknown

_CONFIG = "DeviceManagementConfiguration.Read.All"
_SERVICE = "DeviceManagementServiceConfig.Read.All"
_APPS = "DeviceManagementApps.Read.All"
_DEVICES = "DeviceManagementManagedDevices.Read.All"


def _kind(body: Json) -> str:
    return str(body.get("@odata.type", "")).rpartition(".")[2]


def _assigned(body: Json) -> Any:
    targets = body.get("assignments")
    if not isinstance(targets, list):
        return Unknown(Reason.UNREADABLE, "assignments")
    return any(map(reaches, targets))


def _profile(body: Json) -> dict[str, Any]:
    kind = _kind(body)
    endpoint, ring = kind == "windows10EndpointProtectionConfiguration", kind == "windowsUpdateForBusinessConfiguration"
    firewalls = ("firewallProfileDomain", "firewallProfilePrivate", "firewallProfilePublic")
    deferral, deadline, grace = (
        maybe(body, name, kind=int) if ring else None
        for name in (
            "qualityUpdatesDeferralPeriodInDays",
            "deadlineForQualityUpdatesInDays",
            "deadlineGracePeriodInDays",
        )
    )
    return {
        "id": guid(need(body, "id")),
        "name": need(body, "displayName"),
        "kind": "protection" if endpoint else "update_ring" if ring else "other",
        "assigned": _assigned(body),
        "bitlocker": endpoint and at(body, "bitLockerEncryptDevice") is True,
        "firewall": endpoint and all(at(body, name, "firewallEnabled") == "allowed" for name in firewalls),
        "firewall_in_part": endpoint
        and any(at(body, name, "firewallEnabled") not in (None, "notConfigured") for name in firewalls),
        "paused": ring and at(body, "qualityUpdatesPaused") is True,
        "fix_days": _sum(deferral, deadline, grace),
    }


def _sum(deferral: Any, deadline: Any, grace: Any) -> Any:
    """Most days from the release of a fix to its forced install; None where nothing forces it."""
    for value in (deferral, deadline, grace):
        if isinstance(value, Unknown):
            return value
    return None if deadline is None else (deferral or 0) + deadline + (grace or 0)


simple(
    "device_profiles",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "kind": Field(Enum(("protection", "update_ring", "other"))),
                "assigned": Field(BOOL, "some group gets it"),
                "bitlocker": Field(BOOL, "asks for encryption of Windows devices"),
                "firewall": Field(BOOL, "switches the Windows firewall on in all three profiles"),
                "firewall_in_part": Field(BOOL, "sets the Windows firewall in some profile, on or off"),
                "paused": Field(BOOL, "an update ring that holds fixes back just now"),
                "fix_days": Field(
                    INT, "update ring: days of deferral, deadline and grace together; absent: no deadline", True
                ),
            },
            key="id",
            label="name",
        )
    ),
    Request("/deviceManagement/deviceConfigurations", _CONFIG, expand="assignments"),
    _profile,
    doc="Classic profiles. What is set in the settings catalogue is not among them.",
)

simple(
    "settings_catalogue",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "platforms": Field(STR),
                "family": Field(STR, "of its template, such as endpointSecurityDiskEncryption", may_be_absent=True),
                "assigned": Field(BOOL),
            },
            key="id",
            label="name",
        )
    ),
    Request(
        "/deviceManagement/configurationPolicies",
        _CONFIG,
        ("id", "name", "platforms", "isAssigned", "templateReference"),
        option="beta",
    ),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "name"),
        "platforms": need(b, "platforms"),
        "family": maybe(b, "templateReference", "templateFamily"),
        "assigned": need(b, "isAssigned", kind=bool),
    },
    doc="Policies of the settings catalogue, where new tenants set BitLocker, firewall and Defender. Beta only.",
)


def _enrolment(body: Json) -> dict[str, Any]:
    kind = _kind(body)
    windows = at(body, "windowsRestriction")
    blocked: Any = False
    if kind == "deviceEnrollmentPlatformRestrictionsConfiguration":
        blocked = (
            at(windows, "personalDeviceEnrollmentBlocked") is True or at(windows, "platformBlocked") is True
            if windows is not None
            else Unknown(Reason.UNREADABLE, "windowsRestriction")
        )
    return {
        "id": need(body, "id"),
        "name": need(body, "displayName"),
        "kind": {
            "deviceEnrollmentPlatformRestrictionsConfiguration": "platforms",
            "deviceEnrollmentLimitConfiguration": "limit",
        }.get(kind, "other"),
        "default": need(body, "priority", kind=int) == 0,
        "personal_windows_blocked": blocked,
        "limit": maybe(body, "limit", kind=int) if kind == "deviceEnrollmentLimitConfiguration" else None,
    }


simple(
    "enrolment",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "kind": Field(Enum(("platforms", "limit", "other"))),
                "default": Field(BOOL, "holds for everybody for whom no other does (priority 0)"),
                "personal_windows_blocked": Field(BOOL, "people's own computers cannot enrol"),
                "limit": Field(INT, "devices that one person may enrol", may_be_absent=True),
            },
            key="id",
            label="name",
        )
    ),
    Request("/deviceManagement/deviceEnrollmentConfigurations", _SERVICE),
    _enrolment,
)

_PROTECTION = ListOf(
    Record(
        {
            "id": Field(STR),
            "name": Field(STR),
            "assigned": Field(BOOL),
            "pin": Field(BOOL),
            "backup_blocked": Field(BOOL, "school data stays out of people's own backups"),
            "data_goes_to": Field(Enum(("allApps", "managedApps", "none"), closed=False)),
        },
        key="id",
        label="name",
    )
)
for _os, _path in (("ios", "iosManagedAppProtections"), ("android", "androidManagedAppProtections")):
    simple(
        f"app_protection_{_os}",
        _PROTECTION,
        Request(
            f"/deviceAppManagement/{_path}",
            _APPS,
            (
                "id",
                "displayName",
                "isAssigned",
                "pinRequired",
                "dataBackupBlocked",
                "allowedOutboundDataTransferDestinations",
            ),
        ),
        lambda b: {
            "id": need(b, "id"),
            "name": need(b, "displayName"),
            "assigned": need(b, "isAssigned", kind=bool),
            "pin": need(b, "pinRequired", kind=bool),
            "backup_blocked": need(b, "dataBackupBlocked", kind=bool),
            "data_goes_to": need(b, "allowedOutboundDataTransferDestinations"),
        },
    )

simple(
    "apple_tokens",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "the organisation, and the Apple account"),
                "expires": Field(TIME, may_be_absent=True),
                "state": Field(Enum(("valid", "expired", "invalid", "assignedToExternalMDM"), closed=False)),
            },
            key="id",
            label="name",
        )
    ),
    Request(
        "/deviceAppManagement/vppTokens", _SERVICE, ("id", "organizationName", "appleId", "expirationDateTime", "state")
    ),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": at(b, "organizationName") or at(b, "appleId") or need(b, "id"),
        "expires": moment(b, "expirationDateTime"),
        "state": need(b, "state"),
    },
    doc="Tokens by which apps bought from Apple reach the trust's iPads.",
)

# One request for each Windows device: only where the trust has switched that on.
_LIST = DEVICES


def _state_of(device: str) -> Request:
    return Request(
        f"/deviceManagement/managedDevices/{device}/windowsProtectionState",
        _DEVICES,
        absent_ok=True,
        option="each_device",
    )


def _windows(answers: Answers) -> list[Json]:
    held, _ = objects(answers[_LIST].value)
    return [d for d in held if str(d.get("operatingSystem")).lower() == "windows" and isinstance(d.get("id"), str)]


def _follow(answers: Answers) -> list[Ask]:
    return [_state_of(d["id"]) for d in _windows(answers)]


def _protection(answers: Answers, _: Any) -> Any:
    _, why = objects(answers[_LIST].value)
    if isinstance(answers[_LIST].value, Unknown):
        return why
    out: list[Any] = []
    for device in _windows(answers):
        answer = answers[_state_of(device["id"])]
        if isinstance(answer.value, Unknown) and answer.value.reason is Reason.BY_CHOICE:
            return answer.value
        item = {"id": guid(device["id"]), "name": need(device, "deviceName")}
        body = answer.value
        fields = {
            "real_time": "realTimeProtectionEnabled",
            "on": "malwareProtectionEnabled",
            "signatures_late": "signatureUpdateOverdue",
            "tamper_protected": "tamperProtectionEnabled",
        }
        if not isinstance(body, dict):
            lost = body if isinstance(body, Unknown) else Unknown(Reason.NOT_COLLECTED, "the device has not reported")
            out.append({**item, "reported": lost, **dict.fromkeys(fields, lost)})
            continue
        reported = moment(body, "lastReportedDateTime")
        out.append({**item, "reported": reported, **{k: need(body, name, kind=bool) for k, name in fields.items()}})
    return Partial(tuple(out), why) if why else out


fact(
    "device_protection",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "reported": Field(TIME, "when the device last said so", may_be_absent=True, volatile=True),
                "on": Field(BOOL, "protection against malware is on"),
                "real_time": Field(BOOL),
                "signatures_late": Field(BOOL),
                "tamper_protected": Field(BOOL),
            },
            key="id",
            label="name",
        ),
        claims="device",
    ),
    PLATFORM,
    source=f"{_LIST}; GET /deviceManagement/managedDevices/{{id}}/windowsProtectionState",
    rights=(_DEVICES,),
    doc="Defender on each Windows device, as Intune last heard. Asked only with each_device: true in trust.yml.",
)
SOURCES["device_protection"] = Source(
    (_LIST,),
    _protection,
    _follow,
    (("GET /deviceManagement/managedDevices/{id}/windowsProtectionState, where each_device is on", _DEVICES),),
)
