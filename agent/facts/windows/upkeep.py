"""What keeps the machine up to date: updates, software, printer drivers, and when its policies were last refreshed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.facts.windows.answer import Answer, clean
from agent.facts.windows.readers import listing, reads, whole
from agent.facttypes import BOOL, INT, STR, TIME, Field, ListOf, Record
from agent.model import Partial, Reason, Unknown


@reads(
    "updates",
    Record({"newest": Field(TIME, "day on which the newest of the listed updates was installed")}),
    asks=("updates",),
    what="Win32_QuickFixEngineering",
    doc="the list lacks some updates (drivers, apps), but has every cumulative one",
)
def read_updates(answer: Answer) -> Any:
    """The newest date. Entries without one are passed over; when none has one, nothing is known."""
    days = [d for text in answer.need("updates")["dates"] if (d := _day(str(text or "")))]
    return {"newest": f"{max(days)}T00:00:00Z"} if days else Unknown(Reason.UNREADABLE, "dates of installed updates")


def _day(text: str) -> str | None:
    """ISO, American (as the class has it), or a FILETIME in hexadecimal (as some updates write it)."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return text
    try:
        if m := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):
            return datetime(int(m[3]), int(m[1]), int(m[2]), tzinfo=UTC).date().isoformat()
        if re.fullmatch(r"[0-9a-fA-F]{16}", text):
            return (_EPOCH + timedelta(microseconds=int(text, 16) // 10)).date().isoformat()
    except (ValueError, OverflowError):
        return None
    return None


_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_CBS = "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending"
_WU = "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired"


@reads(
    "restart_pending",
    Record({"servicing": Field(BOOL, "by component servicing"), "update": Field(BOOL, "by Windows Update")}),
    asks=("registry",),
    registry=((_CBS, ""), (_WU, "")),
    what="RebootPending and RebootRequired in the registry",
)
def read_restart(answer: Answer) -> Any:
    """Keys that are there only until the restart."""
    return {"servicing": answer.key(_CBS) is not None, "update": answer.key(_WU) is not None}


SOFTWARE = Record(
    {"name": Field(STR), "version": Field(STR, may_be_absent=True), "publisher": Field(STR, may_be_absent=True)},
    key="name",
    label="name",
)


@reads(
    "software",
    ListOf(SOFTWARE),
    asks=("software",),
    what="Uninstall in the registry, 64 and 32 bit",
    doc="programs installed for everybody; those of one user alone and apps of the Store are not in it",
)
def read_software(answer: Answer) -> Any:
    """Installed programs by name; the same name and version once."""
    part = answer.need("software")
    seen: set[tuple[str, str]] = set()
    out = []
    for raw in part["items"]:
        name, version = clean(str(raw["name"]), 160), clean(str(raw["version"] or ""), 60)
        if (name, version) not in seen:
            seen.add((name, version))
            publisher = clean(str(raw["publisher"] or ""), 120)
            out.append({"name": name, "version": version or None, "publisher": publisher or None})
    if part.get("all") is False:
        return Partial(tuple(out), Unknown(Reason.TRUNCATED, "too many programs"))
    return out


@reads(
    "printer_drivers",
    ListOf(
        Record({"name": Field(STR), "version": Field(INT, "3 or 4; 2 ran in the kernel")}, key="name", label="name")
    ),
    asks=("printers",),
    what="Win32_PrinterDriver",
)
def read_printers(answer: Answer) -> Any:
    """Drivers by name; the class puts version and environment behind commas."""

    def one(raw: Any) -> dict[str, Any]:
        return {"name": clean(str(raw["name"]), 160), "version": whole(raw["version"])}

    return listing(answer.need("printers"), one)


_GPO = (
    "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Group Policy\\State\\Machine\\Extension-List"
    "\\{00000000-0000-0000-0000-000000000000}"
)


@reads(
    "policy_refresh",
    Record(
        {
            "group_policy": Field(
                TIME, "end of the last refresh; absent when there never was one", may_be_absent=True, volatile=True
            ),
            "intune": Field(
                TIME,
                "last talk with Intune; absent when it does not manage the machine",
                may_be_absent=True,
                volatile=True,
            ),
        }
    ),
    asks=("registry", "enrolment"),
    registry=((_GPO, "endTimeHi"), (_GPO, "endTimeLo")),
    what="Group Policy's state and Intune's enrolments in the registry",
)
def read_refresh(answer: Answer) -> Any:
    """When whoever manages the machine was last heard."""
    high, low = (answer.value(_GPO, n).number for n in ("endTimeHi", "endTimeLo"))
    group = None
    if high is not None and low is not None:
        group = (_EPOCH + timedelta(microseconds=((high << 32) + low) // 10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    accounts = answer.need("enrolment")["accounts"]
    times = [t for a in accounts if (t := _intune(str(a["last"] or "")))]
    intune: Any = max(times) if times else Unknown(Reason.UNREADABLE, "when Intune was reached") if accounts else None
    return {"group_policy": group, "intune": intune}


def _intune(text: str) -> str | None:
    m = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", text)
    return "{}-{}-{}T{}:{}:{}Z".format(*m.groups()) if m else None
