"""The machine itself: release, services, features, membership, disk, restarts."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.windows.answer import Answer, Missing, clean
from agent.facts.windows.readers import moment, reads, reads_keys, truth, whole
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record
from agent.model import Reason, Unknown

CURRENT = "HKLM:\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
OPTIONS = "HKLM:\\SYSTEM\\CurrentControlSet\\Control\\ProductOptions"
PRODUCTS = {"winnt": "workstation", "lanmannt": "domain controller", "servernt": "server"}
"""ProductType of ProductOptions: the same in every language and readable by everyone."""

OS = Record(
    {
        "build": Field(INT, "such as 26100"),
        "revision": Field(INT, "UBR, which rises with every update", may_be_absent=True, volatile=True),
        "edition": Field(STR, "EditionID, such as Education, EnterpriseS, ServerStandard"),
        "release": Field(STR, "such as 24H2; absent before 20H2", may_be_absent=True),
        "product": Field(Enum(("workstation", "domain controller", "server"))),
        "core": Field(BOOL, "Server Core: without a desktop"),
        "extended": Field(ListOf(INT), "years of Extended Security Updates whose licence is active, counted from 1"),
    }
)


@reads(
    "os",
    OS,
    registry=(
        *((CURRENT, n) for n in ("CurrentBuild", "UBR", "EditionID", "DisplayVersion", "InstallationType")),
        (OPTIONS, "ProductType"),
    ),
    asks=("registry", "licences"),
    what="CurrentVersion and ProductOptions in the registry, SoftwareLicensingProduct",
)
def read_os(answer: Answer) -> Any:
    """The release. The product's name is not read: Windows 11 calls itself 10 there."""
    build, edition, kind = (
        answer.value(p, n).text
        for p, n in ((CURRENT, "CurrentBuild"), (CURRENT, "EditionID"), (OPTIONS, "ProductType"))
    )
    product = PRODUCTS.get((kind or "").lower())
    if not build or not re.fullmatch(r"[0-9]{4,6}", build) or product is None:
        return Unknown(Reason.UNREADABLE, "the build of Windows")
    return {
        "build": int(build),
        "revision": answer.value(CURRENT, "UBR").number,
        "edition": clean(edition or "", 60),
        "release": answer.value(CURRENT, "DisplayVersion").text,
        "product": product,
        "core": (answer.value(CURRENT, "InstallationType").text or "").lower() == "server core",
        "extended": _extended(answer),
    }


def _extended(answer: Answer) -> list[int] | Unknown:
    """Years of ESU by the names of active licences ("Client-ESU-Year2 add-on"); one whose name has no year is odd."""
    try:
        names = [str(n) for n in answer.need("licences")["names"]]
    except Missing as error:
        return error.why
    years = [re.search(r"ESU\W*Year\W*([1-9])", n, re.IGNORECASE) for n in names]
    if not all(years):
        return Unknown(Reason.NOT_SUPPORTED, "the year of a licence for Extended Security Updates")
    return sorted({int(y[1]) for y in years if y})


START = {"auto": "automatic", "manual": "manual", "disabled": "disabled", "boot": "boot", "system": "system"}
SERVICE = Record(
    {
        "start_type": Field(Enum(("automatic", "manual", "disabled", "boot", "system"))),
        "state": Field(Enum(("running", "stopped", "other"))),
    }
)


def _service(key: str) -> str | None:
    return key if re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", key) else None


@reads_keys(
    "service",
    SERVICE,
    key="service name",
    asks=("services",),
    what="Win32_Service",
    doc="absent when there is no such service",
    may_be_absent=True,
    argument=_service,
)
def read_service(answer: Answer, key: str) -> Any:
    """A service by its short name, which no language changes."""
    found = [x for x in answer.need("services")["items"] if str(x["name"]).lower() == key.lower()]
    if not found:
        return None
    state = str(found[0]["state"]).lower()
    return {
        "start_type": START.get(str(found[0]["start"]).lower()) or Unknown(Reason.UNREADABLE, f"service {key}"),
        "state": state if state in ("running", "stopped") else "other",
    }


FEATURE_STATES = {1: "enabled", 2: "disabled", 3: "removed"}
"""InstallState of Win32_OptionalFeature; 4 is unknown."""


@reads_keys(
    "feature",
    Record({"state": Field(Enum(("enabled", "disabled", "removed")))}),
    key="feature name",
    asks=("features",),
    what="Win32_OptionalFeature",
    doc="optional features by the names that DISM uses; absent when this Windows has none of that name",
    may_be_absent=True,
    argument=lambda key: key if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", key) else None,
)
def read_feature(answer: Answer, key: str) -> Any:
    """One feature. A Windows without any feature at all is no answer."""
    items = answer.need("features")["items"]
    if not items:
        return Unknown(Reason.UNREADABLE, "Win32_OptionalFeature")
    found = [x["state"] for x in items if str(x["name"]).lower() == key.lower()]
    if not found:
        return None
    return {"state": FEATURE_STATES.get(found[0]) or Unknown(Reason.UNREADABLE, f"feature {key}")}


@reads(
    "membership",
    Record(
        {
            "domain_joined": Field(BOOL, "whether it is a member of an Active Directory domain"),
            "entra_joined": Field(BOOL, "whether it is joined to Entra ID, be it beside a domain"),
            "domain": Field(STR, "DNS name of that domain; absent when it is in none", may_be_absent=True),
            "name": Field(STR, "name of the machine"),
        }
    ),
    asks=("computer", "ids"),
    what="Win32_ComputerSystem, dsregcmd /status",
)
def read_membership(answer: Answer) -> Any:
    """Whose member the machine is."""
    part = answer.need("computer")
    joined = truth(part["member"])
    return {
        "domain_joined": joined,
        "entra_joined": _entra(answer),
        "domain": clean(str(part["domain"]), 255) if joined is True else None,
        "name": clean(str(part["name"]), 63),
    }


def _device_state(part: dict[str, Any]) -> dict[str, str]:
    """`Name : value` lines of dsregcmd, which no language changes."""
    return dict(re.split(r"\s*:\s*", str(line).strip(), maxsplit=1) for line in part["state"])


def _entra(answer: Answer) -> bool | Unknown:
    try:
        word = _device_state(answer.need("ids")).get("AzureAdJoined")
    except (Missing, KeyError, TypeError, ValueError):
        word = None
    return word == "YES" if word in ("YES", "NO") else Unknown(Reason.UNREADABLE, "dsregcmd /status")


@reads(
    "last_start",
    Record({"time": Field(TIME, "when Windows was last started", volatile=True)}),
    asks=("running",),
    what="Win32_OperatingSystem",
)
def read_last_start(answer: Answer) -> Any:
    """When the machine was last started. Fast start-up makes shutting down a sleep: only a restart counts."""
    time = moment(answer.need("running")["boot"])
    return {"time": time} if time else Unknown(Reason.UNREADABLE, "the time of the last start")


@reads(
    "system_disk",
    Record(
        {
            "free_gb": Field(INT, "whole gigabytes (2^30 bytes) free on the system drive", volatile=True),
            "size_gb": Field(INT),
        }
    ),
    asks=("disk",),
    what="Win32_LogicalDisk",
)
def read_disk(answer: Answer) -> Any:
    """Room on the system drive."""
    part = answer.need("disk")
    free, size = whole(part["free"]), whole(part["size"])
    if isinstance(free, Unknown) or isinstance(size, Unknown) or size <= 0:
        return Unknown(Reason.UNREADABLE, "the size of the system drive")
    return {"free_gb": free >> 30, "size_gb": size >> 30}


_NO_SERIAL = re.compile(
    r"(?i)^(0+|none|default string|system serial number|not (specified|applicable|available)|"
    r"to be filled by o\.?e\.?m\.?|x+|unknown|123456789|n/?a)?$"
)


def ids(answer: Answer) -> dict[str, str]:
    """serial, entra_device_id and ad_sid, where they are real. Never a fact: they only join one machine's surfaces."""
    try:
        part = answer.need("ids")
        out = {}
        serial = str(part["serial"]).strip()
        if not _NO_SERIAL.match(serial) and clean(serial, 80) == serial:
            out["serial"] = serial
        state = _device_state(part)
        device = state.get("DeviceId", "").strip().lower()
        if state.get("AzureAdJoined") == "YES" and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", device):
            out["entra_device_id"] = device
        sid = str(part["sid"])
        if state.get("DomainJoined") == "YES" and re.fullmatch(r"S-1-5-21(-[0-9]{1,10}){4}", sid):
            out["ad_sid"] = sid
        return out
    except (Missing, KeyError, TypeError, ValueError):
        return {}
