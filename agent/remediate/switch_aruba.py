"""Fixes of Aruba AOS-CX and ProVision as configuration lines, with those that undo them. Pure.

Sources: AOS-CX 10.10 to 10.13 guides; ArubaOS-Switch 16.09 to 16.11 guides (access security, management).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from agent.remediate.switch_parts import (
    BANNER,
    NAME,
    UPLINKS,
    Change,
    Need,
    Part,
    banner_fits,
    new_vlans,
    number,
    trusted,
    user_vlans,
    word,
    words,
)

_CX, _PV = "aoscx", "procurve"


def telnet(need: Need) -> Part:
    """No telnet in any VRF, or no telnet server."""
    if need.platform == _PV:
        return Part((Change("", ("no telnet-server",), ("telnet-server",)),))
    vrfs = [str(v["name"]) for v in need.chosen("telnet", NAME)]
    return Part(tuple(Change("", (f"no telnet server vrf {v}",), (f"telnet server vrf {v}",)) for v in vrfs))


def ssh(need: Need) -> Part:
    """ProVision: SSH on."""
    del need
    return Part((Change("", ("ip ssh",), ("no ip ssh",)),))


def http(need: Need) -> Part:
    """ProVision: no plain HTTP; HTTPS stays as it is."""
    del need
    return Part((Change("", ("no web-management plaintext",), ("web-management plaintext",)),))


def idle_timeout(need: Need) -> Part:
    """AOS-CX counts minutes, ProVision seconds."""
    most, remote = int(need.given["idle_seconds"]), need.record("remote")
    had = number(remote.get("idle_seconds"))
    if need.platform == _CX:
        # Before 10.07 the time stands at the top.
        release = re.match(r"10\.(\d+)", str(need.record("device").get("release", "")))
        if release is None:
            return Part(left=("Its release is not known, and so is not where the time stands.",))
        head = "timeout" if int(release[1]) >= 7 else "session-timeout"
        back = f"no {head}" if had is None else f"{head} {had // 60}"
        return Part((Change("cli-session" if head == "timeout" else "", (f"{head} {most // 60}",), (back,)),))
    out = []
    for name, value in (
        ("console idle-timeout", had),
        ("console idle-timeout serial-usb", number(remote.get("console_idle_seconds"))),
    ):
        if name in need.keys:
            back = f"no {name}" if value is None else f"{name} {value}"
            out.append(Change("", (f"{name} {most}",), (back,)))
    return Part(tuple(out))


def login_banner(need: Need) -> Part:
    """A text, where there is none yet."""
    if why := banner_fits(need):
        return Part(left=(why,))
    lines = ("banner motd #", BANNER, "#") if need.platform == _CX else (f'banner motd "{BANNER}"',)
    return Part((Change("", lines, ("no banner motd",)),))


def log_server(need: Need) -> Part:
    """The first of the trust's log servers."""
    servers = words(need.given["log_servers"])
    if not servers:
        return Part(left=("log_servers names nothing that can stand in a command.",))
    return Part((Change("", (f"logging {servers[0]}",), (f"no logging {servers[0]}",)),))


def time_servers(need: Need) -> Part:
    """The trust's servers first, then foreign ones away, then the client on."""
    time = need.record("time")
    wanted, had = words(need.given["time_servers"]), list(time.get("servers") or ())
    lower = {w.lower() for w in wanted}
    if need.platform == _PV and (not time.get("on") or not had):
        servers = " ".join(f"`ntp server {w}`," for w in wanted)
        return Part(
            left=(f"Note the line `timesync` first. Then `timesync ntp`, `ntp unicast`, {servers} `ntp enable`.",)
        )
    names = words(h for h in had if h not in lower)
    if need.platform == _PV:
        return Part(left=("Under the method that `show timesync` names: the trust's servers in, the others away.",))
    out = [Change("", (f"ntp server {w}",), (f"no ntp server {w}",)) for w in wanted if w.lower() not in had]
    out += [Change("", (f"no ntp server {h}",), (f"ntp server {h}",)) for h in names]
    if not time.get("on"):
        out.append(Change("", ("ntp enable",), ("no ntp enable",)))
    return Part(tuple(out))


def snmp_version(need: Need) -> Part:
    """The switch that turns old versions off, where nothing else speaks them: communities are not known here."""
    only = {_CX: "snmp-server snmpv3-only", _PV: "snmpv3 only"}[need.platform]
    if set(need.keys) != {only} or not need.items("snmp_users"):
        return Part(left=("Move the monitoring to version 3 first, and take the communities away by their names.",))
    return Part((Change("", (only,), (f"no {only}",)),))


def spanning_tree(need: Need) -> Part:
    """On for the switch."""
    del need
    return Part((Change("", ("spanning-tree",), ("no spanning-tree",)),))


def bpdu_guard(need: Need) -> Part:
    """On each port; it works once spanning tree is on."""
    names = [n for n in need.ports() if need.port(n).get("bpdu_guard") is not True]
    off = (
        ()
        if len(names) == len(need.ports())
        else ("The guard stands on ports already, and holds once spanning tree is on.",)
    )
    if need.platform == _CX:
        line = "spanning-tree bpdu-guard"
        return Part(tuple(Change(f"interface {n}", (line,), (f"no {line}",)) for n in names), off)
    lines = [f"spanning-tree {n} bpdu-protection" for n in names]
    return Part(tuple(Change("", (line,), (f"no {line}",)) for line in lines), off)


def storm_control(need: Need) -> Part:
    """A limit on each port; ProVision watches all of them."""
    if need.platform == _PV:
        if any(p.get("storm_control") is True for p in need.items("ports")):
            return Part(left=("Some ports have limits of their own already: give the others the same.",))
        line = "fault-finder broadcast-storm sensitivity medium"
        return Part((Change("", (line,), ("no fault-finder broadcast-storm",)),))
    line = "rate-limit broadcast 1000 kbps"
    return Part(tuple(Change(f"interface {n}", (line,), ("no rate-limit broadcast",)) for n in need.ports()))


def port_access(need: Need) -> Part:
    """ProVision: three machines a port."""
    if need.platform == _CX:
        return Part(left=("Choose MAC authentication or 802.1X; both need the switch's own half and a RADIUS server.",))
    return Part(
        tuple(
            Change(
                "", (f"port-security {n} learn-mode limited-continuous address-limit 3",), (f"no port-security {n}",)
            )
            for n in need.ports()
        )
    )


def _guard(need: Need, trust: str, on: bool, cx: str, pv: str) -> Part:
    """Trusted uplinks, then the VLANs, then (where there is such a line) the switch."""
    uplinks, safe = trusted(need, trust)
    if not safe:
        return Part(left=(UPLINKS,))
    out = []
    if need.platform == _CX:
        out += [Change(f"interface {n}", (f"{cx} trust",), (f"no {cx} trust",)) for n in uplinks]
        out += [Change(f"vlan {v}", (cx,), (f"no {cx}",)) for v in user_vlans(need)]
    else:
        out += [Change("", (f"{pv} trust {n}",), (f"no {pv} trust {n}",)) for n in uplinks]
        out += [Change("", (f"{pv} vlan {v}",), (f"no {pv} vlan {v}",)) for v in user_vlans(need)]
    top = cx if need.platform == _CX else pv
    if not on:
        out.append(Change("", (top,), (f"no {top}",)))
    return Part(tuple(out))


def dhcp_snooping(need: Need) -> Part:
    """Trusted uplinks first, or the site loses DHCP."""
    on = need.record("guards").get("dhcp_snooping") is True
    named = need.record("guards").get("dhcp_vlans") or ()
    part = _guard(need, "dhcp_trust", on, "dhcpv4-snooping", "dhcp-snooping")
    # What is named already needs no line, and no undo would take it away.
    return Part(tuple(c for c in part.changes if not _names(c, named)), part.left)


def _names(change: Change, vlans: tuple[int, ...] | list[int]) -> bool:
    match = re.fullmatch(r"vlan (\d+)|\S+ vlan (\d+)", change.section or change.lines[0])
    return match is not None and int(match[1] or match[2]) in vlans


def arp_inspection(need: Need) -> Part:
    """Only where snooping has been on already."""
    ready = {v["id"] for v in need.items("site_vlans") if v.get("snooping") is True}
    if not all(v in ready for v in user_vlans(need)):
        return Part(left=("DHCP snooping first; let it learn for a day, scan, and look here again.",))
    guards = need.record("guards")
    part = _guard(need, "arp_trust", guards.get("arp_inspection") is True, "arp inspection", "arp-protect")
    return Part(tuple(c for c in part.changes if not _names(c, guards.get("arp_vlans") or ())), part.left)


def management_access(need: Need) -> Part:
    """AOS-CX: the site's list on the control plane; ProVision: its networks in, then wider ones away."""
    if need.platform == _PV:
        return _managers(need)
    name = word(need.given.get("management_access_list"))
    known = next((a for a in need.items("access_lists") if a.get("name") == name), None)
    if name is None or known is None or not known.get("entries") or known.get("open") is not False:
        return Part(
            left=("Make the access list first. It has to let in what the switch needs: DHCP, NTP, RADIUS, routing.",)
        )
    out = []
    served = {v["name"]: v for v in need.record("remote").get("vrfs") or ()}
    for guard in need.chosen("management_access", NAME):
        vrf = str(guard["name"])
        had = word(served.get(vrf, {}).get("access_list"))
        line = f"apply access-list ip {name} control-plane vrf {vrf}"
        if had:
            old = f"apply access-list ip {had} control-plane vrf {vrf}"
            out.append(Change("", (f"no {old}", line), (f"no {line}", old)))
        else:
            out.append(Change("", (line,), (f"no {line}",)))
    return Part(tuple(out))


_MANAGER = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?: \d{1,3}(?:\.\d{1,3}){3})?")


def _managers(need: Need) -> Part:
    nets = [ipaddress.ip_network(n, strict=False) for n in need.given.get("management_networks") or ()]
    four = [n for n in nets if isinstance(n, ipaddress.IPv4Network)]
    if not four:
        return Part(left=("Set management_networks, or name the management network with `ip authorized-managers`.",))
    had = {m.get("network") for m in need.record("remote").get("managers") or ()}
    out = []
    for net in four:
        line = f"ip authorized-managers {net.network_address} {net.netmask}"
        if str(net) not in had:
            out.append(Change("", (f"{line} access manager",), (f"no {line}",)))
    for guard in need.chosen("management_access", re.compile(rf"{_MANAGER.pattern}|ip authorized-managers")):
        if _MANAGER.fullmatch(str(guard["name"])):
            line = f"ip authorized-managers {guard['name']}"
            out.append(Change("", (f"no {line}",), (f"{line} access manager",)))
    return Part(tuple(out))


_BOTH: dict[str, Callable[[Need], Part]] = {
    "telnet": telnet,
    "idle-timeout": idle_timeout,
    "login-banner": login_banner,
    "log-server": log_server,
    "time-servers": time_servers,
    "snmp-version": snmp_version,
    "spanning-tree": spanning_tree,
    "bpdu-guard": bpdu_guard,
    "storm-control": storm_control,
    "port-access": port_access,
    "dhcp-snooping": dhcp_snooping,
    "arp-inspection": arp_inspection,
    "management-access": management_access,
}
AOSCX: dict[str, Callable[[Need], Part]] = {**_BOTH, "vlans": new_vlans}
PROCURVE: dict[str, Callable[[Need], Part]] = {
    **_BOTH,
    "vlans": lambda need: new_vlans(need, '"'),
    "http": http,
    "ssh-version": ssh,
}
"""Control (without `switch.`) → its fix."""
