"""Facts of devices: as Intune manages them, as Entra knows them, and the rules that they must meet."""

from __future__ import annotations

from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.tenant import simple
from agent.facts.m365.values import Json, at, guid, maybe, moment, need
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, Version
from agent.model import Reason, Unknown

_CONFIG = "DeviceManagementConfiguration.Read.All"
_OS = {name: name for name in ("windows", "ios", "ipados", "macos", "android", "chromeos", "linux")} | {
    "androidenterprise": "android",
    "androidforwork": "android",
}


def version_of(text: Any) -> Any:
    """A version as numbers between dots (`14` → `14`, `10.0.26100.4061 (x)` → `10.0.26100.4061`); None when empty."""
    if not isinstance(text, str):
        return text
    head = text.strip().split(" ", 1)[0]
    if not head:
        return None
    return head if all(part.isdecimal() for part in head.split(".")) else Unknown(Reason.UNREADABLE, "a version")


def _rooted(os: Any, said: Any) -> Any:
    """Whether a phone or tablet is jailbroken; None for other devices, which never say."""
    if isinstance(os, str) and _OS.get(os.replace(" ", "").lower()) not in ("ios", "ipados", "android"):
        return None
    if isinstance(said, str) and said.lower() in ("true", "false"):
        return said.lower() == "true"
    return Unknown(Reason.NOT_COLLECTED, "the device has not said whether it is jailbroken")


def _said(body: Json, name: str, what: str) -> Any:
    """A word of Intune's; its `unknown` is no answer."""
    word = need(body, name)
    return Unknown(Reason.NOT_COLLECTED, f"Intune does not know {what}") if word == "unknown" else word


def _device(body: Json) -> dict[str, Any]:
    os = need(body, "operatingSystem")
    rooted = maybe(body, "jailBroken")
    upn = maybe(body, "userPrincipalName")
    return {
        "id": guid(need(body, "id")),
        "name": need(body, "deviceName"),
        "os": _OS.get(os.replace(" ", "").lower(), "other") if isinstance(os, str) else os,
        "os_version": version_of(maybe(body, "osVersion")),
        "serial": maybe(body, "serialNumber") or None,
        "entra_device_id": guid(maybe(body, "azureADDeviceId")) or None,
        "user": upn or None,
        "user_id": guid(maybe(body, "userId")) or None,
        "enrolled": moment(body, "enrolledDateTime"),
        "last_sync": moment(body, "lastSyncDateTime"),
        "compliance": _said(body, "complianceState", "whether the device meets its rules"),
        "encrypted": need(body, "isEncrypted", kind=bool),
        "rooted": _rooted(os, rooted),
        "owner": _said(body, "managedDeviceOwnerType", "whose the device is"),
    }


DEVICES = Request(
    "/deviceManagement/managedDevices",
    "DeviceManagementManagedDevices.Read.All",
    (
        "id",
        "deviceName",
        "operatingSystem",
        "osVersion",
        "serialNumber",
        "azureADDeviceId",
        "userPrincipalName",
        "userId",
        "enrolledDateTime",
        "lastSyncDateTime",
        "complianceState",
        "isEncrypted",
        "jailBroken",
        "managedDeviceOwnerType",
    ),
    top=500,
)

simple(
    "managed_devices",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "os": Field(Enum(("windows", "macos", "ios", "ipados", "android", "chromeos", "linux", "other"))),
                "os_version": Field(Version("dotted"), may_be_absent=True),
                "serial": Field(STR, may_be_absent=True),
                "entra_device_id": Field(STR, may_be_absent=True),
                "user": Field(STR, "UPN of its main user", may_be_absent=True),
                "user_id": Field(STR, may_be_absent=True),
                "enrolled": Field(TIME, may_be_absent=True),
                "last_sync": Field(TIME, "absent: never", may_be_absent=True, volatile=True),
                "compliance": Field(
                    Enum(
                        ("unknown", "compliant", "noncompliant", "conflict", "error", "inGracePeriod", "configManager"),
                        closed=False,
                    )
                ),
                "encrypted": Field(BOOL, may_be_absent=True),
                "rooted": Field(BOOL, "jailbroken; absent where that cannot be", may_be_absent=True),
                "owner": Field(Enum(("company", "personal", "unknown"), closed=False)),
            },
            key="id",
            label="name",
        ),
        claims="device",
    ),
    DEVICES,
    _device,
)

_COMPLIANCE = {
    "windows10CompliancePolicy": "windows",
    "iosCompliancePolicy": "ios",
    "macOSCompliancePolicy": "macos",
    "androidWorkProfileCompliancePolicy": "android",
    "androidDeviceOwnerCompliancePolicy": "android",
    "androidCompliancePolicy": "android",
    "aospDeviceOwnerCompliancePolicy": "android",
}


def reaches(assignment: Any) -> bool:
    """Whether an assignment gives a policy to somebody, and does not only leave a group out."""
    return not str(at(assignment, "target", "@odata.type") or "").endswith(".exclusionGroupAssignmentTarget")


def _compliance(body: Json) -> dict[str, Any]:
    kind = str(body.get("@odata.type", "")).rpartition(".")[2]
    targets = body.get("assignments")
    return {
        "id": guid(need(body, "id")),
        "name": need(body, "displayName"),
        "os": _COMPLIANCE.get(kind, "other"),
        "assigned": any(map(reaches, targets))
        if isinstance(targets, list)
        else Unknown(Reason.UNREADABLE, "assignments"),
        "os_minimum": version_of(maybe(body, "osMinimumVersion")),
        "encryption": at(body, "storageRequireEncryption") is True or at(body, "bitLockerEnabled") is True,
        "secure_boot": at(body, "secureBootEnabled") is True,
        "password": at(body, "passwordRequired") is True or at(body, "passcodeRequired") is True,
        "rooted_blocked": at(body, "securityBlockJailbrokenDevices") is True,
        "firewall": at(body, "firewallEnabled") is True or at(body, "activeFirewallRequired") is True,
        "integrity": at(body, "systemIntegrityProtectionEnabled") is True,
    }


simple(
    "compliance_policies",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "os": Field(Enum(("windows", "macos", "ios", "android", "other"))),
                "assigned": Field(BOOL, "some group gets it"),
                "os_minimum": Field(Version("dotted"), may_be_absent=True),
                "encryption": Field(BOOL),
                "secure_boot": Field(BOOL),
                "password": Field(BOOL),
                "rooted_blocked": Field(BOOL),
                "firewall": Field(BOOL),
                "integrity": Field(BOOL, "macOS: system integrity protection"),
            },
            key="id",
            label="name",
        )
    ),
    Request("/deviceManagement/deviceCompliancePolicies", _CONFIG, expand="assignments"),
    _compliance,
)

# With $select some tenants leave the nested object out; without it they do not.
simple(
    "intune_settings",
    Record(
        {
            "unassigned_is_noncompliant": Field(BOOL, "a device without a policy does not count as compliant"),
            "checkin_days": Field(INT, "days without contact after which a device stops being compliant"),
        }
    ),
    Request("/deviceManagement", _CONFIG),
    lambda b: {
        "unassigned_is_noncompliant": need(b, "settings", "secureByDefault", kind=bool),
        "checkin_days": need(b, "settings", "deviceComplianceCheckinThresholdDays", kind=int),
    },
)

simple(
    "entra_devices",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "entra_device_id": Field(STR, may_be_absent=True),
                "enabled": Field(BOOL),
                "last_sign_in": Field(TIME, "to about a fortnight", may_be_absent=True, volatile=True),
                "joined": Field(STR, "AzureAd, ServerAd (hybrid), Workplace", may_be_absent=True),
                "os": Field(STR, may_be_absent=True),
            },
            key="id",
            label="name",
        ),
        claims="device",
    ),
    Request(
        "/devices",
        "Device.Read.All",
        (
            "id",
            "displayName",
            "deviceId",
            "accountEnabled",
            "approximateLastSignInDateTime",
            "trustType",
            "operatingSystem",
        ),
        top=999,
    ),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "displayName"),
        "entra_device_id": guid(maybe(b, "deviceId")),
        "enabled": need(b, "accountEnabled", kind=bool),
        "last_sign_in": moment(b, "approximateLastSignInDateTime"),
        "joined": maybe(b, "trustType"),
        "os": maybe(b, "operatingSystem"),
    },
)

simple(
    "local_passwords",
    ListOf(
        Record(
            {
                "id": Field(STR, "the device's Entra device id"),
                "name": Field(STR),
                "backed_up": Field(TIME, "when its password was last changed and kept", True, volatile=True),
            },
            key="id",
            label="name",
        ),
    ),
    Request(
        "/directory/deviceLocalCredentials",
        "DeviceLocalCredential.ReadBasic.All",
        ("id", "deviceName", "lastBackupDateTime"),
        top=999,
        # Microsoft's page on this list asks for it, and an item of a batch has headers of its own.
        headers=(("User-Agent", "spiritlevel"),),
    ),
    lambda b: {
        "id": guid(need(b, "id")),
        "name": need(b, "deviceName"),
        "backed_up": moment(b, "lastBackupDateTime"),
    },
    doc="Devices whose local administrator password Entra keeps (LAPS). The passwords are never asked for.",
)
