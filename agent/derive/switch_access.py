"""Derived facts of switches: which ways in there are, who may use them, and when an idle session ends."""

from __future__ import annotations

import ipaddress
from typing import Any

from agent.derive import View
from agent.derive.switch_defaults import default, platform, stated
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

WAY = Record({"name": Field(STR, "line, VRF or service"), "open": Field(BOOL, "whether it is open")}, "name", "name")
GUARD = Record(
    {
        "name": Field(STR, "line, VRF or address"),
        "guarded": Field(BOOL, "whether only the management network gets there"),
        "how": Field(STR, "what guards it, or what is wrong with that"),
    },
    key="name",
    label="name",
)
IDLE = Record(
    {"name": Field(STR, "line, or what the time is for"), "seconds": Field(INT, "0: never ends")}, "name", "name"
)
CENTRAL = Record(
    {
        "name": Field(STR, "line or service"),
        "methods": Field(STR, "login methods in order"),
        "central": Field(BOOL, "whether it starts with servers that are there"),
        "fallback": Field(BOOL, "whether local accounts come last"),
    },
    key="name",
    label="name",
)


def _unknown(value: Any) -> Unknown | None:
    return value if isinstance(value, Unknown) else None


@derived("telnet", ListOf(WAY), "switch", reads=("device", "lines", "remote"))
def telnet(view: View) -> Any:
    """Where telnet could get in: vty lines, VRFs, or the one server."""
    make, remote = platform(view), view.get("remote")
    if make == "ios":
        return _per_vty(view, _takes_telnet)
    if make == "aoscx":
        served = [{"name": v["name"], "open": True} for v in remote["vrfs"] if v["telnet"]]
        return served or [{"name": "telnet", "open": default(view, "telnet")}]
    return [{"name": "telnet-server", "open": stated(remote["telnet"], view, "telnet")}]


def _takes_telnet(line: Any, view: View) -> Any:
    transport = stated(line.get("transport"), view, "vty_transport")
    if isinstance(transport, Unknown):
        return transport
    return bool({"telnet", "all"} & set(transport))


def _vty(view: View) -> tuple[list[Any], Unknown | None]:
    """vty lines, and why there may be more. A switch always has some: none at all means that they were not shown."""
    items, why = view.items("lines")
    lines = [ln for ln in items if not isinstance(ln, Unknown) and ln.get("kind") == "vty"]
    return lines, why or (None if lines else Unknown(Reason.UNREADABLE, "no vty line in the configuration"))


def _per_vty(view: View, answer: Any) -> Any:
    lines, why = _vty(view)
    out = [{"name": ln["name"], "open": answer(ln, view)} for ln in lines]
    return Partial(tuple(out), why) if why else out


@derived("ssh_old", BOOL, "switch", reads=("device", "remote"))
def ssh_old(view: View) -> Any:
    """Whether SSH also speaks version 1, or is off so that something worse is used."""
    make, remote = platform(view), view.get("remote")
    if make == "ios":
        version = stated(remote["ssh_version"], view, "ssh_version")
        return version if isinstance(version, Unknown) else version != "2"
    # AOS-CX and current ProVision speak version 2 only; on ProVision it can be switched off.
    return make == "procurve" and remote["ssh"] is False


@derived("http_plain", BOOL, "switch", reads=("device", "remote"))
def http_plain(view: View) -> Any:
    """Whether plain HTTP management answers. AOS-CX has none."""
    return False if platform(view) == "aoscx" else stated(view.get("remote")["http"], view, "http")


@derived("idle_times", ListOf(IDLE), "switch", reads=("device", "lines", "remote"))
def idle_times(view: View) -> Any:
    """When idle sessions end: every line with the console on IOS, the one time elsewhere."""
    make, remote = platform(view), view.get("remote")
    if make == "ios":
        items, why = view.items("lines")
        lines, none = _vty(view)
        why = why or (none if not lines else None)
        out = [{"name": ln["name"], "seconds": stated(ln["idle_seconds"], view, "idle_seconds")} for ln in items]
        return Partial(tuple(out), why) if why else out
    name = "cli-session" if make == "aoscx" else "console idle-timeout"
    out = [{"name": name, "seconds": stated(remote["idle_seconds"], view, "idle_seconds")}]
    if remote["console_idle_seconds"] is not None:
        out.append({"name": "console idle-timeout serial-usb", "seconds": remote["console_idle_seconds"]})
    return out


@derived(
    "management_access",
    ListOf(GUARD),
    "switch",
    reads=("device", "lines", "remote", "access_lists"),
    parameters=("management_access_list", "management_networks"),
)
def management_access(view: View) -> Any:
    """Ways in, and whether the list that guards each is the site's, exists, and does not let everybody in."""
    make, remote = platform(view), view.get("remote")
    if make == "ios":
        lines, why = _vty(view)
        out = [_guarded(ln["name"], ln["access_list"], view) for ln in lines if ln["transport"] != ["none"]]
        return Partial(tuple(out), why) if why else out
    if make == "aoscx":
        served = [v for v in remote["vrfs"] if v["ssh"] or v["https"] or v["telnet"]]
        # The VRF mgmt has one port of its own, and nothing of the school's network gets there.
        return [
            {"name": v["name"], "guarded": True, "how": "a port of its own"}
            if v["name"] == "mgmt"
            else _guarded(v["name"], v["access_list"], view)
            for v in served
        ]
    return _managers(view, remote)


def _guarded(name: str, access: str | None, view: View) -> dict[str, Any]:
    wanted = str(view.parameters.get("management_access_list") or "")
    if access is None:
        return {"name": name, "guarded": False, "how": "no access list"}
    if access != wanted:
        return {"name": name, "guarded": False, "how": f"access list {access}, not {wanted}"}
    lists, why = view.items("access_lists")
    found = next((a for a in lists if not isinstance(a, Unknown) and a["name"] == access), None)
    if found is None:
        return {"name": name, "guarded": why or False, "how": f"access list {access} does not exist"}
    if not found["entries"]:
        return {"name": name, "guarded": False, "how": f"access list {access} is empty"}
    if found["open"]:
        return {"name": name, "guarded": False, "how": f"access list {access} lets everybody in"}
    return {"name": name, "guarded": True, "how": f"access list {access}"}


Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def _managers(view: View, remote: Any) -> Any:
    """ProVision: each address and mask against the management network: the site's own, else the switch's."""
    if not remote["managers"]:
        return [{"name": "ip authorized-managers", "guarded": False, "how": "nobody is named, so everybody may"}]
    networks = [ipaddress.ip_network(n, strict=False) for n in view.parameters.get("management_networks") or ()]
    width = _width(remote)
    out: list[dict[str, Any]] = []
    for m in remote["managers"]:
        if m["network"] is None:
            out.append({"name": m["name"], "guarded": False, "how": "a mask with holes"})
            continue
        network = ipaddress.ip_network(m["network"])
        ok: Any
        if networks:
            ok = any(_inside(network, n) for n in networks)
        else:
            ok = width if isinstance(width, Unknown) else network.prefixlen >= width
        out.append({"name": m["name"], "guarded": ok, "how": f"/{network.prefixlen}"})
    return out


def _inside(inner: Net, outer: Net) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    return False


def _width(remote: Any) -> int | Unknown:
    """Prefix length of the network that the switch itself is managed in."""
    networks = remote["networks"]
    named = [n for n in networks if n["vlan"] == remote["management_vlan"]]
    named = named or [n for n in networks if "mgmt" in n["name"].lower() or "management" in n["name"].lower()]
    chosen = named or (networks if len(networks) == 1 else [])
    if not chosen:
        return Unknown(Reason.UNREADABLE, "which network is the management's: set management_networks")
    return ipaddress.ip_network(chosen[0]["network"]).prefixlen


@derived("central_login", ListOf(CENTRAL), "switch", reads=("device", "lines", "aaa"))
def central_login(view: View) -> Any:
    """How people log in over the network, line by line, and whether the servers behind that exist."""
    make, aaa = platform(view), view.get("aaa")
    lists = {m["name"]: m["methods"] for m in aaa["login"]}
    groups = {g["name"]: g["servers"] for g in aaa["groups"]}
    if make == "ios":
        lines, why = _vty(view)
        out = []
        for line in lines:
            if line["transport"] == ["none"]:
                continue
            if not aaa["on"]:
                out.append({"name": line["name"], "methods": "aaa is off", "central": False, "fallback": False})
                continue
            named = line["login_list"] or "default"
            # A list that is named and not defined, and no default: the local accounts.
            out.append(_central(line["name"], lists.get(named, ["local"]), groups))
        return Partial(tuple(out), why) if why else out
    found = lists.get("ssh") or (lists.get("default") if make == "aoscx" else None) or ["local"]
    return [_central("ssh", found, groups)]


_LOCAL = ("local", "local-case")


def _central(name: str, methods: list[str], groups: dict[str, int]) -> dict[str, Any]:
    used = [m.removeprefix("group ") for m in methods if m.startswith("group ")]
    empty = [g for g in used if not groups.get(g, 0)]
    first = methods[0] if methods else ""
    shown = " ".join(methods) + (f" (no server in {', '.join(empty)})" if empty else "")
    # `none` after it would let everybody in once the servers are down.
    last = methods[-1] if methods else ""
    return {
        "name": name,
        "methods": shown,
        "central": first.startswith("group ") and len(empty) < len(used),
        "fallback": last in _LOCAL,
    }
