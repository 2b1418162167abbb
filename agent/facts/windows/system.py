"""The machine itself: release, services."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.windows.answer import Answer, clean
from agent.facts.windows.readers import reads, reads_keys
from agent.facttypes import BOOL, INT, STR, Enum, Field, Record
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
    }
)


@reads(
    "os",
    OS,
    registry=(
        *((CURRENT, n) for n in ("CurrentBuild", "UBR", "EditionID", "DisplayVersion", "InstallationType")),
        (OPTIONS, "ProductType"),
    ),
    asks=("registry",),
    what="CurrentVersion and ProductOptions in the registry",
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
    }


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
