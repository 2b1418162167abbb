"""Derived facts of Windows machines: support dates, LAPS, signing, time, who is an administrator, ended software."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.derive import View, as_items, support
from agent.facttypes import BOOL, STR, TIME, Enum, Field, ListOf, Record, derived
from agent.model import Partial, Unknown

WINDOWS_LAPS = 17763
"""Windows LAPS came with updates of April 2023 for Windows 10 20H2 and later, Windows 11 and Server 2019 (17763) and
later; what a policy for it says on an older build does nothing (learn.microsoft.com, Windows LAPS overview)."""
SIGNS_BY_DEFAULT = 26100
"""Windows 11 24H2 and Server 2025: signing is required without a setting, of clients; of servers on Windows 11 alone
(learn.microsoft.com, SMB signing)."""

_LTSC = re.compile(r"(IoT)?EnterpriseSN?(Eval)?", re.IGNORECASE)
_HOME = re.compile(r"(Core|Professional|Cloud|IoTUAP)", re.IGNORECASE)


@derived(
    "os_support",
    Record(
        {
            "ends": Field(TIME, "last moment of security updates", may_be_absent=True),
            "line": Field(Enum(("server", "ltsc", "iot-ltsc", "education", "pro")), "whose dates hold"),
        }
    ),
    "windows",
    reads=("os",),
)
def os_support(view: View) -> Any:
    """Until when this build gets security updates, for its edition, from the dated table."""
    system = view.get("os")
    line = _line(str(system["edition"]), str(system["product"]))
    ends = support.ends("windows", f"{system['build']} {line}")
    years = system.get("extended")
    last = support.extended("windows", f"{system['build']} {line}")
    if last and not isinstance(ends, Unknown):
        if isinstance(years, Unknown):
            return {"ends": years, "line": line}
        ends = max([str(ends), *(last[y] for y in years or () if y in last)])
    return {"ends": ends, "line": line}


def _line(edition: str, product: str) -> str:
    """Which of a build's dates hold: Enterprise and Education are served longer than Home and Pro."""
    if product != "workstation":
        return "server"
    if _LTSC.fullmatch(edition):
        return "iot-ltsc" if edition.lower().startswith("iot") else "ltsc"
    return "pro" if _HOME.match(edition) else "education"


@derived(
    "laps",
    Record(
        {
            "backup": Field(Enum(("off", "entra", "directory", "old LAPS")), "where the password is kept"),
            "source": Field(Enum(("intune", "group policy", "local", "none")), "whose setting counts"),
        }
    ),
    "windows",
    reads=("os", "laps_policies", "membership"),
)
def laps(view: View) -> Any:
    """The first place that holds any setting alone counts; what is missing there has its default, which is off.
    A password goes only where the machine is a member."""
    policies, membership = view.get("laps_policies"), view.get("membership")

    def kept(where: str, member: str, source: str) -> dict[str, Any]:
        inside = membership[member]
        return {"backup": inside if isinstance(inside, Unknown) else where if inside else "off", "source": source}

    if view.get("os")["build"] >= WINDOWS_LAPS:
        for place in policies["places"]:
            if place["settings"]:
                if place["backup"] == 1:
                    return kept("entra", "entra_joined", place["source"])
                if place["backup"] == 2:
                    return kept("directory", "domain_joined", place["source"])
                return {"backup": "off", "source": place["source"]}
    if policies["old"] == 1:
        return kept("old LAPS", "domain_joined", "group policy")
    return {"backup": "off", "source": "none"}


_SERVER = "registry[HKLM:\\SYSTEM\\CurrentControlSet\\Services\\LanmanServer\\Parameters:RequireSecuritySignature]"
_CLIENT = "registry[HKLM:\\SYSTEM\\CurrentControlSet\\Services\\LanmanWorkstation\\Parameters:RequireSecuritySignature]"


@derived(
    "smb_signing",
    Record(
        {
            "server": Field(BOOL, "whether the machine, as a server, requires signing"),
            "client": Field(BOOL, "whether the machine, as a client, requires signing"),
        }
    ),
    "windows",
    reads=("os", _SERVER, _CLIENT),
)
def smb_signing(view: View) -> Any:
    """Both directions, with the default of the build where nothing is set. A value of the wrong type sets nothing
    that anybody may count on."""
    system = view.get("os")
    new = system["build"] >= SIGNS_BY_DEFAULT and not re.match(r"Core", str(system["edition"]), re.IGNORECASE)

    def required(name: str, default: bool) -> bool:
        found = view.get(name)
        return found["number"] == 1 if found["state"] == "value" else default

    return {"server": required(_SERVER, new and system["product"] == "workstation"), "client": required(_CLIENT, new)}


_SMB1 = "registry[HKLM:\\SYSTEM\\CurrentControlSet\\Services\\LanmanServer\\Parameters:SMB1]"


@derived(
    "smb1",
    Record({"on": Field(BOOL, "whether the file server speaks SMB version 1")}),
    "windows",
    reads=("smb_server", "feature[SMB1Protocol]", _SMB1),
    optional=("smb_server", "feature[SMB1Protocol]", _SMB1),
)
def smb1(view: View) -> Any:
    """By what the server says; where it may not be asked, by the feature, which has to be there, and the setting:
    without one it is on."""
    server = view.get("smb_server")
    if not isinstance(server, Unknown):
        return {"on": server["smb1"]}
    feature, setting = view.get("feature[SMB1Protocol]"), view.get(_SMB1)
    if isinstance(feature, Unknown):
        return {"on": server}
    if feature is None or feature["state"] in ("disabled", "removed"):
        return {"on": False}
    if isinstance(feature["state"], Unknown) or isinstance(setting, Unknown):
        return {"on": server}
    return {"on": not (setting["state"] == "value" and setting["number"] == 0)}


@derived(
    "time_source",
    Record(
        {
            "kind": Field(Enum(("domain", "servers", "both", "none")), "where the clock is set from"),
            "servers": Field(ListOf(STR), "time servers that are asked, without their flags"),
            "source": Field(Enum(("policy", "local", "none")), "whose word counts"),
        }
    ),
    "windows",
    reads=("membership", "w32time"),
)
def time_source(view: View) -> Any:
    """W32Time's effective settings. The domain's clock is only there for members of a domain."""
    settings, joined = view.get("w32time"), view.get("membership")["domain_joined"]
    word = str(settings["type"] or "").strip().lower()
    names = [w.partition(",")[0].rstrip(".").lower() for w in str(settings["servers"] or "").split()]
    names = [n for n in names if n]
    source = settings["source"] or "none"
    if word in ("nt5ds", "allsync") and isinstance(joined, Unknown):
        return joined
    domain, ntp = word in ("nt5ds", "allsync") and joined is True, word in ("ntp", "allsync") and bool(names)
    return {
        "kind": "both" if domain and ntp else "domain" if domain else "servers" if ntp else "none",
        "servers": names if word in ("ntp", "allsync") else [],
        "source": source,
    }


@derived(
    "administrators",
    ListOf(
        Record(
            {
                "name": Field(STR, "as Windows shows it"),
                "sid": Field(STR, may_be_absent=True),
                "approved": Field(BOOL, "whether local_administrators has it"),
            },
            key="name",
            label="name",
        )
    ),
    "windows",
    reads=("administrators_group",),
    parameters=("local_administrators",),
    may_be_absent=True,
)
def administrators(view: View) -> Any:
    """Local administrators against the approved list: DOMAIN\\name, a SID, or a bare name for an account of the
    machine itself. Administrator means the built-in account, by its SID where that is known: names are translated."""
    group = view.get("administrators_group")
    if group is None:
        return None
    items, why = as_items(group)
    wanted = {str(x).strip().lower() for x in view.parameters.get("local_administrators") or ()}
    out = [{"name": m["name"], "sid": m["sid"], "approved": _approved(m, wanted)} for m in items]
    return out if why is None else Partial(tuple(out), why)


def _approved(member: Mapping[str, Any], wanted: set[str]) -> bool:
    name, sid = str(member["name"]).lower(), str(member["sid"] or "").lower()
    if name in wanted or (sid and sid in wanted):
        return True
    if member["from"] != "machine":
        return False
    bare = name.rpartition("\\")[2]
    if sid.endswith("-500") or (not sid and bare == "administrator"):
        return bool({"administrator", bare} & wanted)
    return bare in wanted and bare != "administrator"


@derived(
    "ended_software",
    ListOf(
        Record(
            {
                "name": Field(STR),
                "version": Field(STR, may_be_absent=True),
                "ended": Field(TIME, "last moment of security updates"),
            },
            key="name",
            label="name",
        )
    ),
    "windows",
    reads=("software",),
    clock=True,
)
def ended_software(view: View) -> Any:
    """Installed programs that the dated table knows to get no more security updates. What it does not know is not
    judged."""
    items, why = view.items("software")
    now = view.as_of.strftime("%Y-%m-%dT%H:%M:%SZ")
    out = []
    for item in items:
        end = support.program_ends(str(item["name"]), str(item["version"] or ""))
        if end is not None and end < now:
            out.append({"name": item["name"], "version": item["version"], "ended": end})
    return out if why is None else Partial(tuple(out), why)


@derived(
    "managed",
    Record(
        {
            "by": Field(Enum(("domain", "intune", "both", "nobody"))),
            "refreshed": Field(TIME, "the later of the last refreshes", may_be_absent=True, volatile=True),
        }
    ),
    "windows",
    reads=("membership", "policy_refresh"),
)
def managed(view: View) -> Any:
    """Who manages the machine, and when that was last heard."""
    joined, refresh = view.get("membership")["domain_joined"], view.get("policy_refresh")
    if isinstance(joined, Unknown):
        return joined
    group, intune = refresh["group_policy"], refresh["intune"]
    by = "both" if joined and intune else "domain" if joined else "intune" if intune else "nobody"
    if isinstance(intune, Unknown):
        return {"by": by, "refreshed": intune}
    times = [t for t in (group if joined else None, intune) if t]
    return {"by": by, "refreshed": max(times) if times else None}
