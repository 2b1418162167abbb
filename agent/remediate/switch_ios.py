"""Fixes of Cisco IOS and IOS-XE as configuration lines, with those that undo them. Pure.

Sources: Catalyst 2960-X command reference and security guide, 15.2(7)E; Catalyst 9300 command reference, 17.9.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from agent.remediate.switch_parts import (
    BANNER,
    LINE,
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


def telnet(need: Need) -> Part:
    """SSH alone on every line named."""
    out = []
    for line in need.chosen("lines", LINE):
        had = line.get("transport")
        known = words(had) if isinstance(had, (list, tuple)) else []
        back = f"transport input {' '.join(known)}" if known else "default transport input"
        out.append(Change(str(line["name"]), ("transport input ssh",), (back,)))
    return Part(tuple(out))


def ssh_version(need: Need) -> Part:
    """Version 2 only."""
    had = word(need.record("remote").get("ssh_version"))
    back = f"ip ssh version {had}" if had in ("1", "2") else "no ip ssh version"
    return Part((Change("", ("ip ssh version 2",), (back,)),))


def http(need: Need) -> Part:
    """No plain HTTP; HTTPS stays as it is."""
    back = "default ip http server" if need.record("remote").get("http") is None else "ip http server"
    return Part((Change("", ("no ip http server",), (back,)),))


def idle_timeout(need: Need) -> Part:
    """The time on every line named, the console too."""
    most = int(need.given["idle_seconds"])
    out = []
    for line in need.chosen("lines", LINE):
        had = number(line.get("idle_seconds"))
        back = "default exec-timeout" if had is None else f"exec-timeout {had // 60} {had % 60}"
        out.append(Change(str(line["name"]), (f"exec-timeout {most // 60} {most % 60}",), (back,)))
    return Part(tuple(out))


def login_banner(need: Need) -> Part:
    """A text, where there is none yet."""
    if why := banner_fits(need):
        return Part(left=(why,))
    return Part((Change("", (f"banner login #{BANNER}#",), ("no banner login",)),))


def log_timestamps(need: Need) -> Part:
    """Date and time on log lines."""
    had = need.record("logging").get("timestamps")
    back = "service timestamps log uptime" if had == "uptime" else "no service timestamps log"
    return Part((Change("", ("service timestamps log datetime msec localtime show-timezone",), (back,)),))


def log_server(need: Need) -> Part:
    """The first of the trust's log servers."""
    logging, servers = need.record("logging"), words(need.given["log_servers"])
    if logging.get("on") is not True:
        return Part(
            left=("Log lines are silenced: take back `no logging on` or `no logging trap`, as it stands there.",)
        )
    if not servers:
        return Part(left=("log_servers names nothing that can stand in a command.",))
    return Part((Change("", (f"logging host {servers[0]}",), (f"no logging host {servers[0]}",)),))


def time_servers(need: Need) -> Part:
    """The trust's servers first, then foreign ones away."""
    wanted, had = words(need.given["time_servers"]), list(need.record("time").get("servers") or ())
    lower = {w.lower() for w in wanted}
    out = [Change("", (f"ntp server {w}",), (f"no ntp server {w}",)) for w in wanted if w.lower() not in had]
    foreign = [h for h in had if h not in lower]
    names = words(foreign)
    out += [Change("", (f"no ntp server {h}",), (f"ntp server {h}",)) for h in names]
    left = (
        ["Peers, and servers in a VRF, go with the line as it stands there; note keys and `prefer` first."]
        if names
        else []
    )
    if len(names) < len(foreign):
        left.append("There are servers whose names are not put into a command.")
    return Part(tuple(out), tuple(left))


def bpdu_guard(need: Need) -> Part:
    """The guard on each port, whether it is portfast or not."""
    out = []
    for name in need.ports():
        stated = need.port(name).get("bpdu_guard") is False
        back = "spanning-tree bpduguard disable" if stated else "no spanning-tree bpduguard"
        out.append(Change(f"interface {name}", ("spanning-tree bpduguard enable",), (back,)))
    return Part(tuple(out))


def storm_control(need: Need) -> Part:
    """One per cent of broadcasts."""
    level = "storm-control broadcast level 1.00"
    return Part(tuple(Change(f"interface {n}", (level,), ("no storm-control broadcast level",)) for n in need.ports()))


def port_access(need: Need) -> Part:
    """Three machines a port: a phone, a computer behind it, and one that takes its place."""
    lines = ("switchport port-security maximum 3", "switchport port-security")
    undo = ("no switchport port-security", "no switchport port-security maximum")
    return Part(tuple(Change(f"interface {n}", lines, undo) for n in need.ports()))


def dhcp_snooping(need: Need) -> Part:
    """Trusted uplinks, then the VLANs, then the switch."""
    uplinks, safe = trusted(need, "dhcp_trust")
    if not safe:
        return Part(left=(UPLINKS,))
    out = [Change(f"interface {n}", ("ip dhcp snooping trust",), ("no ip dhcp snooping trust",)) for n in uplinks]
    guards, vlans = need.record("guards"), user_vlans(need)
    new = [v for v in vlans if v not in (guards.get("dhcp_vlans") or ())]
    if new:
        some = ",".join(map(str, new))
        out.append(Change("", (f"ip dhcp snooping vlan {some}",), (f"no ip dhcp snooping vlan {some}",)))
    if guards.get("dhcp_snooping") is not True:
        out.append(Change("", ("ip dhcp snooping",), ("no ip dhcp snooping",)))
    return Part(tuple(out))


def arp_inspection(need: Need) -> Part:
    """Only where snooping has been on already: ARP inspection lets in what snooping has seen."""
    ready = {v["id"] for v in need.items("site_vlans") if v.get("snooping") is True}
    vlans = [v for v in user_vlans(need) if v in ready]
    uplinks, safe = trusted(need, "arp_trust")
    if not vlans or len(vlans) < len(user_vlans(need)):
        return Part(left=("DHCP snooping first; let it learn for a day, scan, and look here again.",))
    if not safe:
        return Part(left=(UPLINKS,))
    out = [Change(f"interface {n}", ("ip arp inspection trust",), ("no ip arp inspection trust",)) for n in uplinks]
    some = ",".join(map(str, vlans))
    out.append(Change("", (f"ip arp inspection vlan {some}",), (f"no ip arp inspection vlan {some}",)))
    return Part(tuple(out))


def management_access(need: Need) -> Part:
    """The list first, where it is missing and the site names its management networks; then the lines that ask it."""
    name = word(need.given.get("management_access_list"))
    if name is None:
        return Part(left=("Set management_access_list.",))
    lists, why = need.view.items("access_lists")
    known = next((a for a in lists if a.get("name") == name), None)
    out = []
    if known is None:
        nets = [ipaddress.ip_network(n, strict=False) for n in need.given.get("management_networks") or ()]
        four = [n for n in nets if isinstance(n, ipaddress.IPv4Network)]
        if why or not four:
            return Part(left=(f"The access list {name} is not there: make it, with the address that you work from.",))
        rules = tuple(f"permit {n.network_address} {n.hostmask}" for n in four)
        out = [
            Change("", (), (f"no ip access-list standard {name}",)),
            Change(f"ip access-list standard {name}", rules, ()),
        ]
    elif not known.get("entries") or known.get("open") is not False:
        return Part(left=(f"The access list {name} lets everybody in: mend it first.",))
    for line in need.chosen("lines", LINE):
        had = word(line.get("access_list"))
        back = f"access-class {had} in" if had else f"no access-class {name} in"
        out.append(Change(str(line["name"]), (f"access-class {name} in",), (back,)))
    return Part(tuple(out))


FIXES: dict[str, Callable[[Need], Part]] = {
    "telnet": telnet,
    "ssh-version": ssh_version,
    "http": http,
    "idle-timeout": idle_timeout,
    "login-banner": login_banner,
    "log-timestamps": log_timestamps,
    "log-server": log_server,
    "time-servers": time_servers,
    "vlans": new_vlans,
    "bpdu-guard": bpdu_guard,
    "storm-control": storm_control,
    "port-access": port_access,
    "dhcp-snooping": dhcp_snooping,
    "arp-inspection": arp_inspection,
    "management-access": management_access,
}
"""Control (without `switch.`) → its fix. What is not here needs a secret, a decision or the other end of a cable."""
