"""Settings that stand in several places of the registry and take more than the first value found."""

from __future__ import annotations

from typing import Any

from agent.facts.windows.answer import Answer
from agent.facts.windows.readers import reads
from agent.facttypes import INT, STR, Enum, Field, ListOf, Record

LAPS_PLACES = (
    ("intune", "HKLM:\\SOFTWARE\\Microsoft\\Policies\\LAPS"),
    ("group policy", "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\LAPS"),
    ("local", "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\LAPS\\Config"),
)
"""In the order in which Windows LAPS looks (learn.microsoft.com, "Policy settings for Windows LAPS")."""
_OLD = "HKLM:\\SOFTWARE\\Policies\\Microsoft Services\\AdmPwd"


@reads(
    "laps_policies",
    Record(
        {
            "places": Field(
                ListOf(
                    Record(
                        {
                            "source": Field(Enum(("intune", "group policy", "local"))),
                            "settings": Field(INT, "number of values there"),
                            "backup": Field(
                                INT, "BackupDirectory as a DWORD: 0 off, 1 Entra ID, 2 directory", may_be_absent=True
                            ),
                        },
                        key="source",
                        label="source",
                    )
                ),
                "in the order in which Windows looks",
            ),
            "old": Field(INT, "AdmPwdEnabled of the LAPS before Windows had its own", may_be_absent=True),
        }
    ),
    asks=("registry",),
    registry=(*((path, "BackupDirectory") for _, path in LAPS_PLACES), (_OLD, "AdmPwdEnabled")),
    what="LAPS' three places in the registry, and AdmPwd",
)
def read_laps(answer: Answer) -> Any:
    """What each place says; which of them counts is worked out from the release as well."""
    places = [
        {"source": s, "settings": answer.key(p) or 0, "backup": answer.value(p, "BackupDirectory").number}
        for s, p in LAPS_PLACES
    ]
    return {"places": places, "old": answer.value(_OLD, "AdmPwdEnabled").number}


_TIME = (
    ("policy", "HKLM:\\SOFTWARE\\Policies\\Microsoft\\W32Time\\Parameters"),
    ("local", "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\W32Time\\Parameters"),
)


@reads(
    "w32time",
    Record(
        {
            "type": Field(STR, "NT5DS, NTP, AllSync or NoSync, in force", may_be_absent=True),
            "servers": Field(STR, "NtpServer in force, with its flags", may_be_absent=True),
            "source": Field(Enum(("policy", "local")), "where the type comes from", may_be_absent=True),
        }
    ),
    asks=("registry",),
    registry=tuple((path, name) for _, path in _TIME for name in ("Type", "NtpServer")),
    what="W32Time's parameters in the registry, the policy's first",
)
def read_time(answer: Answer) -> Any:
    """Each value from the first place that has it."""
    out: dict[str, Any] = {"type": None, "servers": None, "source": None}
    for source, path in _TIME:
        kind, servers = answer.value(path, "Type"), answer.value(path, "NtpServer")
        if out["source"] is None and kind.state == "value":
            out |= {"type": kind.text, "source": source}
        if out["servers"] is None and servers.state == "value":
            out["servers"] = servers.text
    return out
