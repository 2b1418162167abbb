"""Network services and clients: listening sockets, name servers, time, firewall."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from agent.facts.linux.answer import Answer, Section, clean
from agent.facts.linux.readers import listing, reads
from agent.facts.linux.system import units as unit_states
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record
from agent.model import Partial, Reason, Unknown

SOCKET = Record(
    {
        "port": Field(STR, "protocol and number, such as tcp/22"),
        "protocol": Field(Enum(("tcp", "udp"))),
        "number": Field(INT),
        "addresses": Field(ListOf(STR), "addresses that it listens on, sorted"),
        "loopback": Field(BOOL, "whether only the host itself can reach it"),
        "client": Field(BOOL, "UDP only: a client's own port (DHCP, or a program's in the range for short-lived ones)"),
        "process": Field(STR, "program that listens; absent when the kernel names none", may_be_absent=True),
    },
    key="port",
    label="port",
)
_CLIENT_PORTS = {68, 546}
"""DHCP and DHCPv6 clients (IANA); they bind without listening to strangers."""
_SHORT_LIVED = 32768
"""Start of Linux' default ip_local_port_range: UDP sockets above it come and go with every question asked."""

_KERNELS_OWN = {51820}
"""WireGuard, by its documentation: the kernel answers, no program holds the port."""


@reads(
    "sockets",
    ListOf(SOCKET),
    asks=("sockets",),
    what="ss -tulnp, or /proc/net",
    rights=("sudo",),
    doc="ports that accept from the network; the program's name takes root",
)
def read_sockets(answer: Answer) -> Any:
    """One item per protocol and port."""
    section = answer.need("sockets")
    rows = list(_procnet(section) if section.note == "procnet" else _ss(section, answer.root))
    return listing(_ports(rows))


def _ports(rows: list[tuple[str, str, int, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for protocol, address, number, process in rows:
        item = found.setdefault(
            (protocol, number),
            {
                "port": f"{protocol}/{number}",
                "protocol": protocol,
                "number": number,
                "addresses": set(),
                "process": process,
            },
        )
        item["addresses"].add(address)
        if item["process"] is None:
            item["process"] = process
    out = []
    for key in sorted(found):
        item = found[key]
        addresses = sorted(item["addresses"])
        item |= {"addresses": addresses, "loopback": all(_loopback(a) for a in addresses)}
        out.append(item | {"client": key[0] == "udp" and _client(key[1], item["process"])})
    return out


def _client(number: int, process: Any) -> Any:
    """Whether a UDP port is a client's own: unknown where a high port may be one that the kernel itself answers on."""
    if number in _CLIENT_PORTS:
        return True
    if number < _SHORT_LIVED:
        return False
    if process is None and number in _KERNELS_OWN:
        return False
    return True if isinstance(process, str) else process or Unknown(Reason.NOT_SUPPORTED, "no program holds the port")


def _loopback(address: str) -> bool:
    bare, _, device = address.partition("%")
    if device == "lo":
        return True
    try:
        parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback


def _ss(section: Section, root: bool) -> list[tuple[str, str, int, Any]]:
    rows = []
    for line in section.lines:
        words = line.split(None, 6)
        if len(words) < 6 or words[0] not in {"tcp", "udp"} or words[1] not in {"LISTEN", "UNCONN"}:
            raise ValueError("not a line of ss")
        address, _, port = words[4].rpartition(":")
        if not port.isdecimal():
            raise ValueError("not a port")
        name = re.search(r'users:\(\("([^"]{1,64})"', words[6]) if len(words) > 6 else None
        process: Any = clean(name[1], 64) if name else None if root else Unknown(Reason.PERMISSION, "sudo")
        bare = address.replace("[", "").replace("]", "")
        rows.append((words[0], clean("0.0.0.0" if bare == "*" else bare, 64), int(port), process))  # noqa: S104 - read
    return rows


def _procnet(section: Section) -> list[tuple[str, str, int, Any]]:
    """The kernel's own tables: hexadecimal addresses in host byte order (little-endian words), state 0A listens."""
    rows = []
    for file in section.files:
        protocol, wanted = file.path[:3], "0A" if file.path.startswith("tcp") else "07"
        for line in file.text.splitlines():
            words = line.split()
            if len(words) < 4 or words[3] != wanted:
                continue
            address, _, port = words[1].partition(":")
            raw = bytes.fromhex(address)
            packed = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
            rows.append(
                (protocol, str(ipaddress.ip_address(packed)), int(port, 16), Unknown(Reason.COMMAND_MISSING, "ss"))
            )
    return rows


DNS = Record({"servers": Field(ListOf(STR), "name servers that questions leave to, in order")})


@reads(
    "dns",
    DNS,
    asks=("dns",),
    what="/etc/resolv.conf, and systemd-resolved's upstream list",
    doc="a resolver on the host itself, other than systemd-resolved, asks on where this cannot see",
)
def read_dns(answer: Answer) -> Any:
    """Name servers; behind systemd-resolved's stub, those that it asks."""
    section = answer.need("dns")
    main, upstream = section.file("/etc/resolv.conf"), section.file("/run/systemd/resolve/resolv.conf")
    if main is None or main.state == "denied":
        return Unknown(Reason.PERMISSION, "sudo")
    servers: list[str] = []
    hidden: Unknown | None = None
    for server in _nameservers(main.text if main.ok else ""):
        if server in {"127.0.0.53", "127.0.0.54"} and upstream is not None and upstream.ok:
            servers += _nameservers(upstream.text)
        elif _loopback(server):
            hidden = Unknown(Reason.NOT_SUPPORTED, f"a resolver on the host itself ({server}) asks on")
        else:
            servers.append(server)
    return {"servers": listing(list(dict.fromkeys(servers)), hidden)}


def _nameservers(text: str) -> list[str]:
    words = (line.split() for line in text.splitlines())
    return [clean(w[1], 64) for w in words if len(w) >= 2 and w[0] == "nameserver"]


TIME_SYNC = Record(
    {
        "client": Field(
            STR,
            "program that sets the clock: chrony, ntpsec, ntp, openntpd, timesyncd; absent when none",
            may_be_absent=True,
        ),
        "enabled": Field(BOOL, "whether it starts at boot"),
        "running": Field(BOOL, "whether it runs now"),
        "servers": Field(ListOf(STR), "servers, pools and peers as configured; a clock of its own as refclock NAME"),
    }
)
_UNITS = ("chrony", "chronyd", "ntpsec", "ntp", "ntpd", "openntpd", "systemd-timesyncd")
_PROGRAMS = {"chronyd": "chrony", "ntpd": "ntp", "openntpd": "openntpd", "systemd-timesyncd": "timesyncd"}


@reads("time_sync", TIME_SYNC, asks=("time",), what="chrony, ntp or timesyncd: unit and configuration")
def read_time(answer: Answer) -> Any:
    """The time client in use (running before enabled before installed), and where it takes the time from."""
    section = answer.need("time")
    states = _clients(section)
    if not states:
        return {"client": None, "enabled": False, "running": False, "servers": []}
    client = max(states, key=lambda c: (states[c][1] is True, states[c][0] is True))
    enabled, running = states[client]
    return {"client": client, "enabled": enabled, "running": running, "servers": _time_servers(section, client)}


def _clients(section: Section) -> dict[str, tuple[Any, bool]]:
    """client → (enabled at boot, running), for those that are installed."""
    unit_file, programs, running = section.file("units"), section.file("programs"), section.file("running")
    if programs is not None:
        now = set(running.text.split()) if running else set()
        why = Unknown(Reason.NOT_SUPPORTED, "no systemd")
        return {_PROGRAMS[p]: (why, p[:15] in now) for p in programs.text.split() if p in _PROGRAMS}
    found: dict[str, tuple[Any, bool]] = {}
    for unit, state in zip(_UNITS, unit_states(unit_file.text if unit_file else "", len(_UNITS)), strict=True):
        if state is None or state["load"] == "masked":
            continue
        client = {"chronyd": "chrony", "ntpd": "ntp", "systemd-timesyncd": "timesyncd"}.get(unit, unit)
        before = found.get(client, (False, False))
        found[client] = (
            before[0] or state["enabled"] in {"enabled", "alias", "static", "generated"},
            before[1] or state["active"] == "active",
        )
    return found


def _time_servers(section: Section, client: str) -> Any:
    if client == "timesyncd":
        return _timesyncd(section)
    want = {"chrony": "chrony", "openntpd": "openntpd"}.get(client, "ntp")
    servers = []
    files = [f for f in section.files if _family(f.path) == want]
    if not files:
        return Unknown(Reason.UNREADABLE, f"configuration of {client}")
    for file in files:
        if file.state == "denied":
            return Unknown(Reason.PERMISSION, "sudo")
        for line in file.text.splitlines():
            words = line.split("#")[0].split()
            words[:1] = [w.lower() for w in words[:1]]  # chrony reads its words in any case
            if len(words) < 2 or (words[0] not in {"server", "pool", "peer", "servers", "refclock"}):
                continue
            if words[0] == "refclock":
                servers.append(f"refclock {clean(words[1], 40)}")
                continue
            name = next((w for w in words[1:] if w not in {"-4", "-6"}), "")
            servers.append(f"refclock {name}" if name.startswith("127.127.") else clean(name.lower().rstrip("."), 253))
    return listing(list(dict.fromkeys(servers)))


def _family(path: str) -> str:
    if "timesyncd" in path or path in {"units", "programs", "running"}:
        return ""
    return "openntpd" if "ntpd.conf" in path else "ntp" if "/ntp.conf" in path else "chrony"


def _timesyncd(section: Section) -> Any:
    live = section.file("timesyncd")
    if live is not None and live.text.strip():
        found = dict(line.partition("=")[::2] for line in live.text.splitlines())
        kinds = ("SystemNTPServers", "RuntimeNTPServers", "LinkNTPServers")
        named = [n for k in kinds for n in found.get(k, "").split()]
        return listing([clean(n.lower(), 253) for n in named or found.get("FallbackNTPServers", "").split()])
    lists: dict[str, list[str]] = {"NTP": [], "FallbackNTP": []}
    files = {f.path.rsplit("/", 1)[-1]: f for f in reversed([f for f in section.files if "timesyncd.conf" in f.path])}
    main = files.pop("timesyncd.conf", None)
    for file in [*([main] if main else []), *(files[n] for n in sorted(files))]:
        for line in file.text.splitlines():
            name, equals, value = line.strip().partition("=")
            if equals and name in lists:
                lists[name] = [*lists[name], *value.split()] if value.strip() else []
    if lists["NTP"]:
        return listing([clean(n.lower(), 253) for n in lists["NTP"]])
    # Without NTP= it takes what DHCP says, else its fallbacks, some of which are compiled in.
    return Partial(
        tuple(clean(n.lower(), 253) for n in lists["FallbackNTP"]),
        Unknown(Reason.NOT_SUPPORTED, "timesyncd does not run, and may ask servers from DHCP"),
    )


@reads("timezone", STR, asks=("timezone",), what="/etc/localtime")
def read_timezone(answer: Answer) -> Any:
    """The zone's name, such as Europe/London."""
    text = answer.need("timezone").text.strip()
    name = text.partition("zoneinfo/")[2] or text
    name = re.sub(r"^(posix|right)/", "", name)
    if not re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", name) or name.startswith("/"):
        return Unknown(Reason.UNREADABLE, "/etc/localtime")
    return name


UFW = Record(
    {
        "enabled": Field(BOOL, "ENABLED=yes in ufw.conf: it starts at boot"),
        "default_input": Field(STR, "DEFAULT_INPUT_POLICY: DROP, REJECT or ACCEPT"),
    }
)


@reads(
    "ufw",
    UFW,
    asks=("ufw",),
    what="/etc/ufw/ufw.conf and /etc/default/ufw",
    may_be_absent=True,
    doc="absent when ufw is not installed",
)
def read_ufw(answer: Answer) -> Any:
    """The firewall that Debian and Ubuntu offer, as configured; `netfilter` says what is in force."""
    section = answer.need("ufw", rc=(0, 3))
    if section.rc == 3:
        return None
    found: dict[str, str] = {}
    for file in section.files:
        if file.state == "denied":
            return Unknown(Reason.PERMISSION, "sudo")
        for line in file.text.splitlines():
            name, _, value = line.strip().partition("=")
            found[name] = clean(value.split("#")[0].strip().strip("\"'"), 20)
    out: dict[str, Any] = {"enabled": found.get("ENABLED", "no").lower() == "yes"}
    if "DEFAULT_INPUT_POLICY" in found:
        out["default_input"] = found["DEFAULT_INPUT_POLICY"].upper()
    return out


NETFILTER = Record(
    {
        "ufw_loaded": Field(BOOL, "whether ufw's own chains are in the kernel"),
        "input_drops": Field(BOOL, "whether some chain on input drops what nothing allowed (by its policy)"),
    }
)


@reads(
    "netfilter",
    NETFILTER,
    asks=("netfilter",),
    what="nft list ruleset, or iptables -S",
    rights=("sudo",),
    doc="firewall rules in force, of IPv4 or of both families; IPv6 alone is not enough",
)
def read_netfilter(answer: Answer) -> Any:
    """Rules in the kernel. The first chain on a hook that drops has the last word, whatever other chains accept."""
    section = answer.need("netfilter")
    loaded = drops = False
    family = ""
    for file in section.files:
        for line in file.text.splitlines():
            words = line.split()
            if words[:1] == ["table"] and len(words) > 1:
                family = words[1]
            loaded = loaded or "ufw-user-input" in line
            if "hook input" in line and re.search(r"\bpolicy drop\b", line) and family in {"ip", "inet"}:
                drops = True
            if words == ["-P", "INPUT", "DROP"]:
                drops = True
    return {"ufw_loaded": loaded, "input_drops": drops}
