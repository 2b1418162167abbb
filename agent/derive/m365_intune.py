"""Derived facts of what Intune gives to devices: profiles in either of its two places, local passwords, versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.derive import View
from agent.facttypes import BOOL, STR, TIME, Field, ListOf, Record, Version, derived
from agent.model import Partial, Reason, Unknown
from agent.versions import at_least

_DISK, _WALL, _UPDATES = "endpointSecurityDiskEncryption", "endpointSecurityFirewall", "windowsUpdate"


@derived(
    "windows_profiles",
    Record(
        {
            "bitlocker": Field(BOOL, "a profile that asks for encryption is given to somebody"),
            "firewall": Field(BOOL, "one that switches the firewall on in all three profiles"),
            "fixes_in_time": Field(BOOL, "an update ring that installs fixes within `fix_days`, and is not paused"),
        }
    ),
    "m365",
    reads=("device_profiles", "settings_catalogue"),
    optional=("settings_catalogue",),
    parameters=("fix_days",),
)
def windows_profiles(view: View) -> Any:
    """What profiles set on Windows devices. Where classic ones say nothing, the settings catalogue may: what cannot
    be seen there is unknown, never absent."""
    most = int(view.parameters.get("fix_days") or 0)

    def in_time(p: Mapping[str, Any]) -> bool | Unknown:
        days, paused = p.get("fix_days"), p.get("paused")
        if isinstance(days, Unknown) or isinstance(paused, Unknown):
            return days if isinstance(days, Unknown) else Unknown(Reason.NOT_COLLECTED)
        return days is not None and days <= most and not paused

    def flag(name: str) -> Callable[[Mapping[str, Any]], bool | Unknown]:
        return lambda p: p.get(name, Unknown(Reason.NOT_COLLECTED))

    return {
        "bitlocker": _deployed(view, "protection", flag("bitlocker"), lambda p: False, _DISK),
        "firewall": _deployed(view, "protection", flag("firewall"), flag("firewall_in_part"), _WALL),
        # A ring that is given out and too slow is what those devices follow.
        "fixes_in_time": _deployed(view, "update_ring", in_time, lambda p: True, _UPDATES),
    }


def _deployed(
    view: View,
    kind: str,
    does: Callable[[Mapping[str, Any]], bool | Unknown],
    decides: Callable[[Mapping[str, Any]], bool | Unknown],
    family: str,
) -> bool | Unknown:
    """Whether some assigned profile of a kind `does` it; False where one `decides` otherwise, or nothing sets it."""
    profiles, doubt = view.items("device_profiles")
    otherwise = False
    for profile in profiles:
        if isinstance(profile, Unknown):
            doubt = doubt or profile
            continue
        if profile.get("kind") != kind:
            continue
        assigned, answer = profile.get("assigned", Unknown(Reason.NOT_COLLECTED)), does(profile)
        if assigned is True and answer is True:
            return True
        if isinstance(assigned, Unknown) and answer is not False:
            doubt = doubt or assigned
        elif isinstance(answer, Unknown) and assigned is not False:
            doubt = doubt or answer
        elif assigned is True and decides(profile) is True:
            otherwise = True
    if doubt is not None:
        return doubt
    return False if otherwise else _in_catalogue(view, family)


def _in_catalogue(view: View, family: str) -> bool | Unknown:
    """False when the settings catalogue surely does not set something; its policies cannot be looked into."""
    policies, why = view.items("settings_catalogue")
    for policy in policies:
        if isinstance(policy, Unknown):
            why = why or policy
            continue
        platforms, held, assigned = (policy.get(k) for k in ("platforms", "family", "assigned"))
        windows = isinstance(platforms, Unknown) or "windows" in str(platforms).lower()
        about = isinstance(held, Unknown) or held in (None, "none", "baseline", family)
        if windows and about and assigned is not False:
            why = why or Unknown(
                Reason.NOT_SUPPORTED, f"policy {policy.get('name')} of the settings catalogue may set it"
            )
    return why or False


@derived(
    "laps_devices",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "backed_up": Field(TIME, "when its password was last kept; absent: never", True, volatile=True),
            },
            key="id",
            label="name",
        ),
        claims="device",
    ),
    "m365",
    reads=("local_passwords", "entra_devices"),
    optional=("entra_devices",),
)
def laps_devices(view: View) -> Any:
    """Windows devices whose local administrator password Entra keeps, or should: those that are joined to Entra alone.

    Devices that are switched off in Entra are left out.
    """
    kept, why = view.items("local_passwords")
    devices, devices_why = view.items("entra_devices")
    why = why or devices_why
    known = {d.get("entra_device_id"): d for d in devices if isinstance(d, Mapping)}
    out: list[Any] = []
    seen: set[Any] = set()
    for item in kept:
        if isinstance(item, Unknown):
            why = why or item
            continue
        device = known.get(item.get("id"), {})
        seen.add(item.get("id"))
        if device.get("enabled") is not False:
            out.append({"id": device.get("id", item.get("id")), **{k: item.get(k) for k in ("name", "backed_up")}})
    for device in devices:
        if isinstance(device, Unknown):
            why = why or device
            continue
        if device.get("entra_device_id") in seen or not _joined(device):
            continue
        out.append({"id": device.get("id"), "name": device.get("name"), "backed_up": None})
    return Partial(tuple(out), why) if why else out


def _joined(device: Mapping[str, Any]) -> bool:
    windows = str(device.get("os") or "").lower().startswith("windows")
    return windows and device.get("joined") == "AzureAd" and device.get("enabled") is True


@derived(
    "device_versions",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR),
                "user": Field(STR, may_be_absent=True),
                "user_id": Field(STR, may_be_absent=True),
                "entra_device_id": Field(STR, may_be_absent=True),
                "os": Field(STR),
                "os_version": Field(Version("dotted"), may_be_absent=True),
                "supported": Field(
                    BOOL,
                    "at or above the lowest version of its system; absent: the trust sets none",
                    may_be_absent=True,
                ),
            },
            key="id",
            label="name",
        ),
        claims="device",
    ),
    "m365",
    reads=("managed_devices",),
    parameters=("lowest_versions",),
)
def device_versions(view: View) -> Any:
    """Managed devices, each with whether its system is one that still gets security updates."""
    devices, why = view.items("managed_devices")
    lowest = view.parameters.get("lowest_versions") or {}
    out: list[Any] = []
    for device in devices:
        if isinstance(device, Unknown):
            why = why or device
            continue
        os, version = device.get("os"), device.get("os_version")
        supported: Any = None
        if isinstance(os, Unknown):
            supported = os
        elif os in lowest:
            supported = (
                Unknown(Reason.NOT_COLLECTED, "the device has not said its version")
                if version is None
                else version
                if isinstance(version, Unknown)
                else at_least("dotted", version, str(lowest[os]))
            )
        kept = {k: device.get(k) for k in ("id", "name", "user", "user_id", "entra_device_id", "os", "os_version")}
        out.append({**kept, "supported": supported})
    return Partial(tuple(out), why) if why else out
