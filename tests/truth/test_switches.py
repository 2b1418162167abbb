"""Every row, on each make: one change to a clean configuration, and exactly the verdicts that it must change.

The clean configurations are in tests/fixtures/switch, whose README.md names where their words come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from tests.truth.switches import SNMP_USERS, VERSION, Sheet, clean_verdicts, findings, sheet, verdicts

IOS, XE, CX, PV = "ios-2960x-15.2", "ios-9300-17.9", "aoscx-6300-10.13", "procurve-2930f-16.11"
CLEAN = (IOS, XE, CX, PV)
NA = {
    IOS: {"wireless"},
    XE: {"wireless"},
    CX: {"wireless", "http", "log-timestamps"},
    PV: {"wireless", "log-timestamps", "native-vlan"},
}
Edit = Callable[[str], str]


def put(old: str, new: str, count: int = 1) -> Edit:
    """Replace text that has to be there; `count` 0: everywhere."""

    def edit(text: str) -> str:
        assert old in text, f"{old!r} is not in the configuration"
        return text.replace(old, new, count or -1)

    return edit


def cut(pattern: str) -> Edit:
    """Take away everything that matches, line starts and ends known; it has to be there."""

    def edit(text: str) -> str:
        found, number = re.subn(pattern, "", text, flags=re.MULTILINE)
        assert number, f"{pattern!r} is not in the configuration"
        return found

    return edit


def port(name: str, *lines: str) -> Edit:
    """Give one interface other lines below it."""

    def edit(text: str) -> str:
        found = re.search(rf"(?m)^interface {re.escape(name)}\n((?:[ \t]+.*\n)*)", text)
        assert found, f"there is no interface {name}"
        return text[: found.start(1)] + "".join(f"{ln}\n" for ln in lines) + text[found.end(1) :]

    return edit


def add(line: str, before: str) -> Edit:
    """A line before another one."""
    return put(before, f"{line}\n{before}")


def both(*edits: Edit) -> Edit:
    def edit(text: str) -> str:
        for one in edits:
            text = one(text)
        return text

    return edit


class Case(NamedTuple):
    """One change. `expect`: control → "pass", "not_applicable", "unknown", or the offenders of a failure."""

    on: str
    what: str
    edit: Edit
    expect: dict[str, Any]


NO: tuple[str, ...] = ()
G12 = "GigabitEthernet1/0/12"
CASES = [
    # --- telnet (SWI-MGT-001)
    Case(
        IOS,
        "telnet on the second block",
        put("access-class MGMT in\n transport input ssh", "access-class MGMT in\n transport input telnet ssh"),
        {"telnet": ("line vty 5 15",)},
    ),
    Case(
        IOS,
        "all protocols on the first block",
        put(" exec-timeout 10 0\n transport input ssh", " exec-timeout 10 0\n transport input all"),
        {"telnet": ("line vty 0 4",)},
    ),
    Case(
        IOS,
        "no word about it on 15.2",
        put("access-class MGMT in\n transport input ssh", "access-class MGMT in"),
        {"telnet": ("line vty 5 15",)},
    ),
    Case(
        IOS,
        "a third block by default",
        put("line vty 5 15", "line vty 16 31\n access-class MGMT in\nline vty 5 15"),
        {"telnet": ("line vty 16 31",)},
    ),
    Case(
        IOS,
        "telnet at the console is no way in",
        put(" stopbits 1\nline vty 0 4", " stopbits 1\n transport input telnet\nline vty 0 4"),
        {},
    ),
    Case(
        IOS,
        "a block that takes nothing needs no guard",
        put("line vty 5 15\n access-class MGMT in\n transport input ssh", "line vty 5 15\n transport input none"),
        {},
    ),
    Case(XE, "no word about it on 17.9", put(" length 0\n transport input ssh", " length 0"), {"telnet": "unknown"}),
    Case(
        CX,
        "telnet in a VRF",
        put("ssh server vrf default", "telnet server vrf default\nssh server vrf default"),
        {"telnet": ("default",)},
    ),
    Case(
        CX,
        "telnet in the VRF mgmt too",
        put("ssh server vrf mgmt", "telnet server vrf mgmt\nssh server vrf mgmt"),
        {"telnet": ("mgmt",)},
    ),
    Case(PV, "telnet by default", put("no telnet-server\nno web", "no web"), {"telnet": ("telnet-server",)}),
    Case(PV, "telnet named", put("no telnet-server\nno web", "telnet-server\nno web"), {"telnet": ("telnet-server",)}),
    # --- SSH version (SWI-MGT-002)
    Case(IOS, "no version named on 15.2", cut("^ip ssh version 2\n"), {"ssh-version": NO}),
    Case(IOS, "version 1", put("ip ssh version 2", "ip ssh version 1"), {"ssh-version": NO}),
    Case(XE, "no version named on 17.9", cut("^ip ssh version 2\n"), {"ssh-version": "unknown"}),
    Case(PV, "SSH off", put("no web-management\n", "no ip ssh\nno web-management\n"), {"ssh-version": NO}),
    # --- plain HTTP (SWI-MGT-003)
    Case(IOS, "on", put("\nno ip http server\nno ip http secure", "\nip http server\nno ip http secure"), {"http": NO}),
    Case(IOS, "not said on 15.2", put("\nno ip http server\nno ip http secure", "\nno ip http secure"), {"http": NO}),
    Case(XE, "not said on 17.9", cut("^no ip http server\n"), {"http": "unknown"}),
    Case(PV, "not said", put("no web-management\n", ""), {"http": NO}),
    Case(PV, "plaintext off by name", put("no web-management\n", "no web-management plaintext\n"), {}),
    # --- management access (SWI-MGT-004)
    Case(
        IOS,
        "no list on the second block",
        put("line vty 5 15\n access-class MGMT in", "line vty 5 15"),
        {"management-access": ("line vty 5 15",)},
    ),
    Case(
        IOS,
        "another list",
        put("line vty 5 15\n access-class MGMT in", "line vty 5 15\n access-class 10 in"),
        {"management-access": ("line vty 5 15",)},
    ),
    Case(
        IOS,
        "the list is gone",
        cut(r"^ip access-list standard MGMT\n( .*\n)+"),
        {"management-access": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "the list lets everybody in",
        put(" permit 10.0.99.0 0.0.0.255", " permit any"),
        {"management-access": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "the list is for the way out",
        put("line vty 5 15\n access-class MGMT in", "line vty 5 15\n access-class MGMT out"),
        {"management-access": ("line vty 5 15",)},
    ),
    Case(
        XE,
        "an extended list that lets everybody in",
        put("10 permit tcp 10.0.99.0 0.0.0.255 any eq 22", "10 permit tcp any any eq 22"),
        {"management-access": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(CX, "no list in the default VRF", cut("^apply access-list.*\n"), {"management-access": ("default",)}),
    Case(
        CX,
        "a third VRF serves HTTPS",
        put("https-server vrf mgmt", "https-server vrf mgmt\nhttps-server vrf GUESTS"),
        {"management-access": ("GUESTS",)},
    ),
    Case(
        CX,
        "only the VRF mgmt serves",
        both(cut("^apply access-list.*\n"), cut("^ssh server vrf default\n"), cut("^https-server vrf default\n")),
        {},
    ),
    Case(
        PV,
        "a mask that is too wide",
        put("10.0.99.0 255.255.255.0 access manager", "10.0.0.0 255.255.0.0 access manager"),
        {"management-access": ("10.0.0.0 255.255.0.0",)},
    ),
    Case(PV, "nobody is named", cut("^ip authorized-managers.*\n"), {"management-access": ("ip authorized-managers",)}),
    # --- idle time (SWI-MGT-005)
    Case(
        IOS, "the console never ends", put(" exec-timeout 5 0", " exec-timeout 0 0"), {"idle-timeout": ("line con 0",)}
    ),
    Case(
        IOS,
        "ten and a half minutes",
        put(" exec-timeout 10 0", " exec-timeout 10 30"),
        {"idle-timeout": ("line vty 0 4",)},
    ),
    Case(IOS, "the default on the console", cut("^ exec-timeout 5 0\n"), {}),
    Case(IOS, "switched off", put(" exec-timeout 10 0", " no exec-timeout"), {"idle-timeout": ("line vty 0 4",)}),
    Case(CX, "half an hour by default", cut(r"^cli-session\n.*\n"), {"idle-timeout": ("cli-session",)}),
    Case(CX, "eleven minutes", put("timeout 10\n", "timeout 11\n"), {"idle-timeout": ("cli-session",)}),
    Case(CX, "never", put("timeout 10\n", "timeout 0\n"), {"idle-timeout": ("cli-session",)}),
    Case(PV, "never by default", cut("^console idle-timeout.*\n"), {"idle-timeout": ("console idle-timeout",)}),
    Case(
        PV,
        "the console never ends",
        put("serial-usb 600", "serial-usb 0"),
        {"idle-timeout": ("console idle-timeout serial-usb",)},
    ),
    Case(
        PV,
        "a second too long",
        put("console idle-timeout 600", "console idle-timeout 601"),
        {"idle-timeout": ("console idle-timeout",)},
    ),
    # --- banner (SWI-MGT-006)
    Case(IOS, "only after the login", cut(r"^banner login \^C\n(.*\n)*?\^C\n"), {"login-banner": NO}),
    Case(
        IOS,
        "with another sign around it",
        both(cut(r"^banner login \^C\n(.*\n)*?\^C\n"), add("banner motd %Keep out%", "line con 0")),
        {},
    ),
    Case(CX, "only after the login", put("banner motd ^", "banner exec ^"), {"login-banner": NO}),
    Case(PV, "none", cut(r'^banner motd "(.*\n)*?.*is off"\n'), {"login-banner": NO}),
    # --- central login (SWI-AAA-001)
    Case(
        IOS,
        "local accounts only",
        put("login default group TRUST-TAC local", "login default local"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "no fallback",
        put("login default group TRUST-TAC local", "login default group TRUST-TAC"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "everybody when the servers are down",
        put("login default group TRUST-TAC local", "login default group TRUST-TAC local none"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "local accounts first",
        put("login default group TRUST-TAC local", "login default local group TRUST-TAC"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "another list on one block",
        put("line vty 5 15\n", "line vty 5 15\n login authentication CONSOLE\n"),
        {"central-login": ("line vty 5 15",)},
    ),
    Case(IOS, "an empty group", cut("^ server name TAC.*\n"), {"central-login": ("line vty 0 4", "line vty 5 15")}),
    Case(
        IOS,
        "its servers are gone",
        cut(r"^tacacs server TAC\d\n( .*\n)+"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        IOS,
        "aaa is off",
        put("aaa new-model", "no aaa new-model"),
        {"central-login": ("line vty 0 4", "line vty 5 15")},
    ),
    Case(
        CX,
        "the list for SSH is local",
        put("login ssh group TRUST-TAC local", "login ssh local"),
        {"central-login": ("ssh",)},
    ),
    Case(
        CX,
        "no list for SSH, and the default is local",
        cut("^aaa authentication login ssh.*\n"),
        {"central-login": ("ssh",)},
    ),
    Case(
        CX,
        "no list for SSH, and the default is central",
        both(cut("^aaa authentication login ssh.*\n"), put("login default local", "login default group tacacs local")),
        {},
    ),
    Case(CX, "the group has no server", cut("^    server 10.77.0.61.*\n"), {"central-login": ("ssh",)}),
    Case(PV, "local only", put("ssh login tacacs local", "ssh login local"), {"central-login": ("ssh",)}),
    Case(PV, "no fallback", put("ssh login tacacs local", "ssh login tacacs none"), {"central-login": ("ssh",)}),
    Case(PV, "no server", cut("^tacacs-server host.*\n"), {"central-login": ("ssh",)}),
    Case(
        PV,
        "RADIUS by a group",
        both(
            put("ssh login tacacs local", 'ssh login radius server-group "NPS" local'),
            add('aaa server-group radius "NPS" host 10.77.0.71', "aaa authentication ssh enable"),
        ),
        {},
    ),
    # --- passwords (SWI-AAA-002)
    Case(
        IOS,
        "type 7",
        put(
            "username breakglass privilege 15 secret 8 $8$dsYGNam3K1SIJO$7nv/35M/qr6t.dVc7UY9zrJDWRVqncHub1PE9UlMQFs",
            "username breakglass privilege 15 password 7 13061E010803557878",
        ),
        {"password-storage": ("breakglass",)},
    ),
    Case(
        IOS,
        "enable in clear text",
        add("enable password Winter2019x", "aaa new-model"),
        {"password-storage": ("enable",)},
    ),
    Case(
        IOS,
        "a line's own",
        put("line vty 5 15\n", "line vty 5 15\n password 7 13061E010803557878\n"),
        {"password-storage": ("line vty 5 15",)},
    ),
    Case(
        IOS,
        "type 5 will do",
        put(
            "enable secret 9 $9$nhEmQVczB7dqsO$X.HsgL6x1il0RxkOSSvyQYwucySCt7qFm4v7pqCxkKM",
            "enable secret 5 $1$mERr$hx5rVt7rPNoS4wqbXKX7m0",
        ),
        {},
    ),
    Case(
        IOS,
        "no encryption of passwords, and none to encrypt",
        put("service password-encryption", "no service password-encryption"),
        {},
    ),
    Case(
        CX,
        "plaintext",
        put(
            "user oaktech group administrators password ciphertext AQBapbW3HrFxjxCkxdWe9u",
            "user oaktech group administrators password plaintext Winter2019x",
        ),
        {"password-storage": ("oaktech",)},
    ),
    Case(
        PV,
        "plaintext",
        put('sha256 "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"', 'plaintext "Winter2019x"'),
        {"password-storage": ("oaktech",)},
    ),
    # --- vendor accounts (SWI-AAA-003)
    Case(
        IOS,
        "a vendor's name",
        add(
            "username cisco privilege 15 secret 9 $9$2MJBozw/9R3UsU$2lFhcKvpghcyw8deP25GOfyZaagyUOGBymkryvOdfo6",
            "aaa new-model",
        ),
        {"vendor-accounts": ("cisco",)},
    ),
    Case(
        IOS,
        "its own name as password",
        add("username hallsw password 0 hallsw", "aaa new-model"),
        {"vendor-accounts": ("hallsw",), "password-storage": ("hallsw",)},
    ),
    Case(
        IOS,
        "cisco behind type 7",
        add("username hallsw password 7 104D000A0618", "aaa new-model"),
        {"vendor-accounts": ("hallsw",), "password-storage": ("hallsw",)},
    ),
    Case(
        CX,
        "a vendor's name",
        add("user aruba group operators password ciphertext AQBapx", "cli-session"),
        {"vendor-accounts": ("aruba",)},
    ),
    Case(
        CX,
        "the platform's own with its own name",
        put(
            "user admin group administrators password ciphertext AQBapT6iLwUnGmnkQ0bN0P",
            "user admin group administrators password plaintext admin",
        ),
        {"vendor-accounts": ("admin",), "password-storage": ("admin",)},
    ),
    Case(PV, "no password at all", cut("^password manager.*\n"), {"vendor-accounts": ("manager",)}),
    # --- SNMP (SWI-SNM-001, 002)
    Case(
        IOS,
        "a community",
        add("snmp-server community Tr0ubl3 RO 10", "snmp-server location"),
        {"snmp-version": ("snmp-server community",)},
    ),
    Case(
        IOS,
        "a group of version 2c",
        add("snmp-server group OLD v2c", "snmp-server location"),
        {"snmp-version": ("OLD",)},
    ),
    Case(
        IOS,
        "a host without a version",
        add("snmp-server host 10.77.0.99 Tr0ubl3", "snmp-server location"),
        {"snmp-version": ("10.77.0.99",)},
    ),
    Case(IOS, "the group asks for less", put("group NMS v3 priv", "group NMS v3 auth"), {"snmp-users": ("NMS",)}),
    Case(IOS, "nothing of SNMP", cut("^snmp-server .*\n"), {"snmp-users": "not_applicable"}),
    Case(
        CX,
        "old versions are not switched off",
        cut("^snmp-server snmpv3-only\n"),
        {"snmp-version": ("snmp-server snmpv3-only",)},
    ),
    Case(
        CX,
        "a community beside it",
        add("snmp-server community Tr0ubl3", "snmp-server snmpv3-only"),
        {"snmp-version": ("snmp-server community",)},
    ),
    Case(
        CX,
        "a user that does not encrypt",
        add("snmpv3 user old auth sha auth-pass ciphertext AQBx", "snmpv3 user nms"),
        {"snmp-users": ("old",)},
    ),
    Case(CX, "MD5", put("auth sha auth-pass", "auth md5 auth-pass"), {"snmp-users": ("nms",)}),
    Case(PV, "old versions are not switched off", cut("^snmpv3 only\n"), {"snmp-version": ("snmpv3 only",)}),
    Case(
        PV,
        "the community that it ships with",
        add('snmp-server community "public" unrestricted', "snmpv3 enable"),
        {"snmp-version": ("snmp-server community",)},
    ),
    # --- time (SWI-TIM-001)
    Case(IOS, "a foreign server", add("ntp server 130.88.200.4", "ntp source"), {"time-servers": ("130.88.200.4",)}),
    Case(IOS, "a foreign peer", add("ntp peer 130.88.200.4", "ntp source"), {"time-servers": ("130.88.200.4",)}),
    Case(IOS, "none", cut("^ntp server.*\n"), {"time-servers": NO}),
    Case(IOS, "one is enough", cut("^ntp server 10.77.0.123.*\n"), {}),
    Case(CX, "not switched on", cut("^ntp enable\n"), {"time-servers": NO}),
    Case(
        CX,
        "the pool that it ships with",
        add("ntp server pool.ntp.org iburst", "ntp enable"),
        {"time-servers": ("pool.ntp.org",)},
    ),
    Case(PV, "not switched on", cut("^timesync ntp\n"), {"time-servers": NO}),
    Case(
        PV,
        "another method, with a foreign server",
        both(put("timesync ntp", "timesync sntp"), put("ntp unicast", "sntp unicast")),
        {"time-servers": ("130.88.200.4",)},
    ),
    # --- logs (SWI-LOG-001, 002)
    Case(IOS, "none", cut("^logging host.*\n"), {"log-server": NO}),
    Case(IOS, "silenced", put("logging trap informational", "no logging trap"), {"log-server": NO}),
    Case(IOS, "switched off", add("no logging on", "logging host"), {"log-server": NO}),
    Case(IOS, "the old way to write it", put("logging host 10.77.0.51", "logging 10.77.0.51"), {}),
    Case(IOS, "sent elsewhere", put("logging host 10.77.0.51", "logging host 10.77.0.52"), {"log-server": NO}),
    Case(CX, "sent elsewhere", put("logging 10.77.0.51", "logging 10.77.0.52"), {"log-server": NO}),
    Case(PV, "none", cut("^logging 10.*\n"), {"log-server": NO}),
    Case(
        IOS,
        "time since the start",
        put("service timestamps log datetime msec localtime show-timezone", "service timestamps log uptime"),
        {"log-timestamps": NO},
    ),
    Case(IOS, "not said", cut("^service timestamps log.*\n"), {"log-timestamps": NO}),
    Case(
        IOS,
        "switched off",
        put("service timestamps log datetime msec localtime show-timezone", "no service timestamps log"),
        {"log-timestamps": NO},
    ),
    # --- VLANs (SWI-VLA-001 to 003)
    Case(IOS, "one is missing", cut("^vlan 40\n name CCTV\n"), {"vlans": ("40",)}),
    Case(IOS, "a user VLAN is missing", cut("^vlan 30\n name GUEST\n"), {"vlans": ("30",)}),
    Case(IOS, "written as a range", both(cut("^vlan 40\n name CCTV\n"), put("vlan 21-22\n", "vlan 21-22,40\n")), {}),
    Case(
        IOS,
        "only its interface is there",
        both(
            cut("^vlan 40\n name CCTV\n"),
            add("interface Vlan40\n ip address 10.0.40.1 255.255.255.0\n!", "interface Vlan99"),
        ),
        {"vlans": ("40",)},
    ),
    Case(CX, "one is missing", cut("^vlan 40\n    name CCTV\n"), {"vlans": ("40",)}),
    Case(PV, "one is missing", cut('^vlan 40\n   name "CCTV"\n(   .*\n)+'), {"vlans": ("40",)}),
    Case(
        IOS,
        "a port left as it came",
        port(G12),
        {c: (G12,) for c in ("no-vlan-1", "port-access", "storm-control", "bpdu-guard")},
    ),
    Case(
        IOS,
        "a port of ten gigabits",
        add(
            "interface TenGigabitEthernet1/1/1\n switchport mode access\n spanning-tree portfast\n"
            " switchport port-security\n storm-control broadcast level pps 1k\n!",
            "interface Vlan1",
        ),
        {"no-vlan-1": ("TenGigabitEthernet1/1/1",)},
    ),
    Case(
        IOS,
        "what interface range left behind",
        add("interface range GigabitEthernet1/0/1 - 12\n switchport access vlan 1\n!", "interface Vlan1"),
        {},
    ),
    Case(
        IOS,
        "a bundle",
        put(
            "interface Port-channel2\n description File server, two legs\n switchport access vlan 10",
            "interface Port-channel2\n description File server, two legs\n switchport access vlan 1",
        ),
        {"no-vlan-1": ("Port-channel2",)},
    ),
    Case(
        CX,
        "VLAN 1",
        put(
            "interface 1/1/3\n    description Room 103\n    no shutdown\n    no routing\n    vlan access 10",
            "interface 1/1/3\n    description Room 103\n    no shutdown\n    no routing\n    vlan access 1",
        ),
        {"no-vlan-1": ("1/1/3",)},
    ),
    Case(
        CX,
        "nothing said",
        port("1/1/3", "    no shutdown"),
        {c: ("1/1/3",) for c in ("no-vlan-1", "port-access", "storm-control", "bpdu-guard")},
    ),
    Case(
        PV,
        "VLAN 1",
        both(put("   untagged 48,51-52", "   untagged 3,48,51-52"), put("   untagged 1-20", "   untagged 1-2,4-20")),
        {"no-vlan-1": ("3",)},
    ),
    Case(
        PV,
        "the spare is open",
        put("interface 48\n   disable\n", "interface 48\n"),
        {c: ("48",) for c in ("no-vlan-1", "port-access", "bpdu-guard")},
    ),
    Case(
        IOS,
        "native VLAN not said",
        put(
            " switchport trunk allowed vlan 10,20-22,30,40,50,99\n switchport trunk native vlan 999",
            " switchport trunk allowed vlan 10,20-22,30,40,50,99",
        ),
        {"native-vlan": ("Port-channel1",)},
    ),
    Case(
        IOS,
        "a voice VLAN is no trunk",
        cut("^ switchport trunk native vlan 999\n"),
        {"native-vlan": ("Port-channel1",)},
    ),
    Case(
        CX,
        "native VLAN 1 on a bundle",
        put("vlan trunk native 999\n", "vlan trunk native 1\n"),
        {"native-vlan": ("lag 1",)},
    ),
    Case(CX, "native VLAN not said", put("    vlan trunk native 999\n", ""), {"native-vlan": ("lag 1",)}),
    Case(
        PV,
        "VLANs below the port",
        both(
            put('interface 1\n   name "Room 101"\n', 'interface 1\n   name "Room 101"\n   untagged vlan 1\n'),
            put("   untagged 1-20", "   untagged 2-20"),
            put("   tagged 1-46,Trk1\n   voice", "   tagged 2-46,Trk1\n   voice"),
        ),
        {"no-vlan-1": ("1",)},
    ),
    # --- edge ports (SWI-L2-001, 004, 005)
    Case(IOS, "no default for the switch", cut("^spanning-tree portfast bpduguard default\n"), {"bpdu-guard": "many"}),
    Case(
        IOS,
        "one port is not portfast",
        port(G12, " switchport access vlan 20", " switchport port-security", " storm-control broadcast level bps 1m"),
        {"bpdu-guard": (G12,)},
    ),
    Case(
        IOS,
        "one port switches it off",
        put("Room 112\n", "Room 112\n spanning-tree bpduguard disable\n"),
        {"bpdu-guard": (G12,)},
    ),
    Case(
        IOS,
        "edge by default, one port not",
        both(
            put(
                "spanning-tree portfast bpduguard default",
                "spanning-tree portfast edge default\nspanning-tree portfast edge bpduguard default",
            ),
            cut("^ spanning-tree portfast\n"),
        ),
        {},
    ),
    Case(
        IOS,
        "a maximum alone",
        port(
            G12,
            " switchport access vlan 20",
            " switchport mode access",
            " switchport port-security maximum 3",
            " storm-control broadcast level 1.00",
            " spanning-tree portfast",
        ),
        {"port-access": (G12,)},
    ),
    Case(
        IOS,
        "802.1X without the switch's half",
        port(
            G12,
            " switchport access vlan 20",
            " switchport mode access",
            " authentication port-control auto",
            " dot1x pae authenticator",
            " storm-control broadcast level 1.00",
            " spanning-tree portfast",
        ),
        {"port-access": (G12,)},
    ),
    Case(
        IOS,
        "802.1X with it",
        both(
            port(
                G12,
                " switchport access vlan 20",
                " switchport mode access",
                " authentication port-control auto",
                " dot1x pae authenticator",
                " storm-control broadcast level 1.00",
                " spanning-tree portfast",
            ),
            add("dot1x system-auth-control", "spanning-tree mode"),
        ),
        {},
    ),
    Case(XE, "802.1X is off for the switch, MAC stays", cut("^dot1x system-auth-control\n"), {}),
    Case(
        IOS,
        "a level of 100",
        port(
            G12,
            " switchport access vlan 20",
            " switchport port-security",
            " storm-control broadcast level 100.00",
            " spanning-tree portfast",
        ),
        {"storm-control": (G12,)},
    ),
    Case(
        IOS,
        "only multicast",
        port(
            G12,
            " switchport access vlan 20",
            " switchport port-security",
            " storm-control multicast level 1.00",
            " spanning-tree portfast",
        ),
        {"storm-control": (G12,)},
    ),
    Case(IOS, "a port that is shut", port(G12, " shutdown"), {}),
    Case(
        CX,
        "no guard",
        port(
            "1/1/3",
            "    no shutdown",
            "    vlan access 20",
            "    rate-limit broadcast 1000 kbps",
            "    aaa authentication port-access mac-auth",
            "        enable",
        ),
        {"bpdu-guard": ("1/1/3",)},
    ),
    Case(
        CX,
        "spanning tree is off",
        put("\nspanning-tree\n", "\nno spanning-tree\n"),
        {"bpdu-guard": "many", "spanning-tree": NO},
    ),
    Case(
        CX,
        "whether spanning tree runs is not said",
        put("\nspanning-tree\n", "\n"),
        {"bpdu-guard": "unknown", "spanning-tree": "unknown"},
    ),
    Case(
        CX,
        "MAC authentication is off for the switch",
        put(
            "aaa authentication port-access mac-auth\n    enable\nsnmp",
            "aaa authentication port-access mac-auth\n    reauth\nsnmp",
        ),
        {"port-access": "many"},
    ),
    Case(
        CX,
        "entered and not switched on",
        port(
            "1/1/3",
            "    no shutdown",
            "    vlan access 20",
            "    spanning-tree bpdu-guard",
            "    rate-limit broadcast 1000 kbps",
            "    aaa authentication port-access dot1x authenticator",
            "        reauth",
        ),
        {"port-access": ("1/1/3",)},
    ),
    Case(
        CX,
        "a phone with another VLAN beside it is a trunk",
        port(
            "1/1/2", "    no shutdown", "    no routing", "    vlan trunk native 20", "    vlan trunk allowed 20,30,50"
        ),
        {},
    ),
    Case(
        CX,
        "a phone's port without limits",
        port(
            "1/1/2",
            "    no shutdown",
            "    no routing",
            "    vlan trunk native 20",
            "    vlan trunk allowed 20,50",
            "    spanning-tree bpdu-guard",
            "    aaa authentication port-access mac-auth",
            "        enable",
        ),
        {"storm-control": ("1/1/2",)},
    ),
    Case(
        PV,
        "no protection on one port",
        put("spanning-tree 1-40 bpdu-protection", "spanning-tree 1-11,13-40 bpdu-protection"),
        {"bpdu-guard": ("12",)},
    ),
    Case(PV, "spanning tree is off", put("\nspanning-tree\n", "\n"), {"bpdu-guard": "many", "spanning-tree": NO}),
    Case(
        IOS,
        "spanning tree is off in a VLAN",
        add("no spanning-tree vlan 20", "spanning-tree extend"),
        {"spanning-tree": NO},
    ),
    Case(
        PV,
        "802.1X is not active",
        cut("^aaa port-access authenticator active\n"),
        {"port-access": ("41", "42", "43", "44", "45", "46")},
    ),
    Case(
        PV,
        "learning without a limit",
        put(
            "port-security 1-40 learn-mode limited-continuous address-limit 3",
            "port-security 1-40 learn-mode continuous",
        ),
        {"port-access": tuple(sorted(map(str, range(1, 41))))},
    ),
    Case(
        PV,
        "storms on some ports only",
        both(
            cut("^fault-finder.*\n"),
            add("fault-finder broadcast-storm 1-45 action warn-and-disable 65535 percent 5", "logging facility"),
        ),
        {"storm-control": ("46",)},
    ),
    # --- DHCP snooping and ARP inspection (SWI-L2-002, 003)
    Case(
        IOS,
        "not on for the switch",
        cut("^ip dhcp snooping\n"),
        {"dhcp-snooping": ("10", "20", "30"), "arp-inspection": ("10", "20", "30")},
    ),
    Case(
        IOS,
        "120 instead of 20",
        put("ip dhcp snooping vlan 10,20,30", "ip dhcp snooping vlan 10,30,120"),
        {"dhcp-snooping": ("20",)},
    ),
    Case(IOS, "a range that covers them", put("ip dhcp snooping vlan 10,20,30", "ip dhcp snooping vlan 10-30"), {}),
    Case(
        IOS,
        "inspection of 120",
        put("ip arp inspection vlan 10,20-22,30", "ip arp inspection vlan 10,21-22,30,120"),
        {"arp-inspection": ("20",)},
    ),
    Case(
        CX,
        "not on for the switch",
        put("\ndhcpv4-snooping\n", "\n"),
        {"dhcp-snooping": ("10", "20", "30"), "arp-inspection": ("10", "20", "30")},
    ),
    Case(
        CX,
        "not on in a range",
        put("vlan 20-22\n    dhcpv4-snooping\n    arp inspection", "vlan 20-22"),
        {"dhcp-snooping": ("20",), "arp-inspection": ("20",)},
    ),
    Case(
        PV,
        "not on for the switch",
        put("\ndhcp-snooping\n", "\n"),
        {"dhcp-snooping": ("10", "20", "30"), "arp-inspection": ("10", "20", "30")},
    ),
    Case(PV, "ARP protection is not on", put("\narp-protect\n", "\n"), {"arp-inspection": ("10", "20", "30")}),
    Case(
        PV,
        "one VLAN is left out",
        put("dhcp-snooping vlan 10 20 30", "dhcp-snooping vlan 10 30 120"),
        {"dhcp-snooping": ("20",)},
    ),
]


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_switch_passes_every_row(name: str) -> None:
    got = verdicts(sheet(name))
    assert len(got) == 27
    assert {c for c, (v, _) in got.items() if v == "not_applicable"} == NA[name]
    assert {c: v for c, v in got.items() if v[0] not in ("pass", "not_applicable")} == {}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.on}: {c.what}")
def test_one_change_changes_exactly_what_it_should(case: Case) -> None:
    before = sheet(case.on)
    after = replace(before, config=case.edit(before.config))
    clean, got = clean_verdicts(case.on), verdicts(after)
    changed = {c: v for c, v in got.items() if v != clean[c]}
    wanted: dict[str, Any] = {}
    for control, expect in case.expect.items():
        if expect == "many":
            assert changed[control][0] == "fail"
            assert len(changed[control][1]) > 10
            changed.pop(control)
        else:
            wanted[control] = (expect, ()) if isinstance(expect, str) else ("fail", tuple(sorted(expect)))
    assert changed == wanted


def test_every_row_is_broken_on_every_make_that_it_is_about() -> None:
    controls = set(verdicts(sheet(IOS))) - {"wireless", "saved", "firmware", "legacy-ssh"}
    for make in (IOS, CX, PV):
        broken = {
            c for case in CASES if case.on == make for c, e in case.expect.items() if e not in ("pass", "unknown")
        }
        missing = controls - broken - NA[make] - ({"ssh-version"} if make == CX else set())
        # what other commands say of users is below
        assert missing - ({"snmp-users"} if make == PV else set()) == set(), make


# ------------------------------------------------------------------------------------ what other commands say


def test_saved_tells_the_difference() -> None:
    for name in (IOS, CX):
        clean = sheet(name)
        other = replace(clean, startup=clean.config.replace("10.77.0.51", "10.77.0.59", 1))
        assert verdicts(other)["saved"] == ("fail", ())
    # the date in a comment, a counter and the certificate's text are no difference
    clean = sheet(IOS)
    startup = re.sub(
        r"(?m)^ certificate self-signed 01\n(  .*\n)+",
        " certificate self-signed 01 nvram:IOS-Self-Sig#1.cer\n",
        clean.config,
    )
    startup = startup.replace("07:41:12 BST Tue Sep 8", "09:00:00 BST Mon Sep 7").replace(
        "ntp source", "ntp clock-period 36029000\nntp source"
    )
    assert verdicts(replace(clean, startup=startup))["saved"] == ("pass", ())
    # half of it is no answer
    assert verdicts(replace(clean, startup=startup[: len(startup) // 2]))["saved"] == ("unknown", ())
    assert verdicts(replace(clean, startup="startup-config is not present\n"))["saved"] == ("fail", ())


def test_provision_says_itself_whether_it_is_saved() -> None:
    clean = sheet(PV)
    assert verdicts(replace(clean, startup="something else\n"))["saved"] == ("fail", ())


@pytest.mark.parametrize(
    ("name", "old", "new", "expect"),
    [
        (
            IOS,
            "     3 52    WS-C2960X-48FPS-L         15.2(7)E10 ",
            "     3 52    WS-C2960X-48FPS-L         15.2(7)E9a ",
            ("fail", ("switch 3",)),
        ),
        (XE, "17.09.04 ", "17.06.05 ", ("fail", ("switch 1",))),
        (XE, "17.09.04 ", "17.09.04a", ("pass", ())),
        (CX, "FL.10.13.1040", "FL.10.12.1000", ("fail", ("switch 1",))),
        (CX, "FL.10.13.1040", "LL.10.13.1040", ("unknown", ())),
        (PV, "WC.16.11.0020", "WC.16.11.0019", ("fail", ("switch 1",))),
        (PV, "WC.16.11.0020", "WC.16.11.0020a", ("pass", ())),
    ],
)
def test_firmware(name: str, old: str, new: str, expect: tuple[str, tuple[str, ...]]) -> None:
    text = VERSION[name]
    assert old in text
    assert verdicts(sheet(name, show_version=text.replace(old, new)))["firmware"] == expect


def test_a_number_without_quotes_is_not_mistaken() -> None:
    got = verdicts(sheet(CX, show_version="Version : FL.10.09.1000"), {"switch_firmware": {"FL": 10.1}})
    assert got["firmware"] == ("fail", ("switch 1",)), "10.10 without quotes is what YAML reads as 10.1"
    assert verdicts(sheet(CX), {"switch_firmware": {"FL": 10.13}})["firmware"] == ("pass", ())


@pytest.mark.parametrize(
    ("name", "command", "old", "new", "expect"),
    [
        (IOS, "show_snmp_user", "Privacy Protocol: AES128", "Privacy Protocol: None", ("fail", ("nms",))),
        (IOS, "show_snmp_user", "Authentication Protocol: SHA", "Authentication Protocol: None", ("fail", ("nms",))),
        (PV, "show_snmpv3_user", "CFB AES-128", "None", ("fail", ("nms",))),
        (
            PV,
            "show_snmpv3_user",
            "  nms ",
            "  initial                          MD5              None\n  nms ",
            ("fail", ("initial",)),
        ),
    ],
)
def test_snmp_users(name: str, command: str, old: str, new: str, expect: tuple[str, tuple[str, ...]]) -> None:
    text = SNMP_USERS[name.split("-")[0]]
    assert old in text
    assert verdicts(sheet(name, **{command: text.replace(old, new)}))["snmp-users"] == expect


def test_users_that_may_not_be_seen_are_unknown() -> None:
    for name in (IOS, PV):
        clean = sheet(name)
        answers = {k: v for k, v in clean.answers.items() if "snmp" not in k}
        assert verdicts(replace(clean, answers=answers))["snmp-users"] == ("unknown", ())


LLDP_IOS = """
------------------------------------------------
Local Intf: Gi1/0/12
Chassis id: 0017.c5a1.0001
Port id: gi1
System Name: {name}

System Description:
{what}

System Capabilities: {letters}
Enabled Capabilities: {letters}
"""


@pytest.mark.parametrize(
    ("letters", "what", "meant"),
    [
        ("B", "Netgear GS308T", False),
        ("B,R", "Cisco IOS", False),
        ("B,W", "ArubaOS", False),
        ("W", "AP", False),
        ("B,T", "Cisco IP Phone", True),
        ("S", "Windows", True),
        ("", "a thing", True),
    ],
)
def test_neighbours_decide_what_an_access_port_is_for(letters: str, what: str, meant: bool) -> None:
    bare = replace(sheet(IOS), config=port(G12, " switchport access vlan 20")(sheet(IOS).config))
    seen = {**bare.answers, "show lldp neighbors detail": LLDP_IOS.format(name="x", what=what, letters=letters)}
    got = verdicts(replace(bare, answers=seen))["bpdu-guard"]
    assert got == (("fail", (G12,)) if meant else ("pass", ()))


def test_descriptions_decide_where_no_neighbour_does() -> None:
    for text, meant in (
        ("AP Hall", False),
        ("Uplink to annexe", False),
        ("Room 12, by the light switch", True),
        ("Caps and gowns", True),
    ):
        edit = port(G12, f" description {text}", " switchport access vlan 20")
        got = verdicts(replace(sheet(IOS), config=edit(sheet(IOS).config)))["bpdu-guard"]
        assert got == (("fail", (G12,)) if meant else ("pass", ())), text


def test_vtp_serves_vlans_that_no_configuration_shows() -> None:
    clean = sheet(IOS)
    bare = re.sub(r"(?m)^vlan \d[\d,-]*\n( .*\n)*", "", clean.config).replace("vtp mode transparent", "vtp mode client")
    assert verdicts(replace(clean, config=bare))["vlans"] == ("unknown", ())
    table = "VLAN Name                             Status    Ports\n---- ------ --------- ---\n"
    table += "".join(
        f"{n:<4} {w:<32} active    Gi1/0/{n}\n"
        for n, w in (
            (1, "default"),
            (10, "STAFF"),
            (20, "PUPIL"),
            (30, "GUEST"),
            (40, "CCTV"),
            (50, "VOIP"),
            (99, "MGMT"),
        )
    )
    answers = {**clean.answers, "show vlan brief": table}
    assert verdicts(replace(clean, config=bare, answers=answers))["vlans"] == ("pass", ())
    answers["show vlan brief"] = table.replace("40   CCTV", "41   CCTV")
    assert verdicts(replace(clean, config=bare, answers=answers))["vlans"] == ("fail", ("40",))


def test_wireless_networks() -> None:
    assert verdicts(sheet("ios-ap-15.3"))["wireless"] == ("fail", ("OAK-PUPIL",))
    assert verdicts(sheet("aoscx-iap-8.10"))["wireless"] == ("fail", ("MILL Guest", "MILL-PUPIL"))


WLAN = """\
wlan STAFF 1 OAK-STAFF
 security dot1x authentication-list default
 no shutdown
wlan PUPIL 2 OAK-PUPIL
 security wpa psk set-key ascii 0 Winter2019x
 no security wpa akm dot1x
 security wpa akm psk
 no shutdown
wlan GUEST 3 OAK-GUEST
 peer-blocking drop
 no security wpa
 no shutdown
wlan VISITORS 4 OAK-VISITORS
 no security wpa
 no shutdown
wlan IOT 5 OAK-IOT
 security wpa psk set-key ascii 0 Winter2019x
 no security wpa akm dot1x
 security wpa akm sae
 no shutdown
wlan OLD 6 OAK-OLD
 no security wpa
 shutdown
"""


def test_networks_of_a_controller() -> None:
    """802.1X and WPA3 pass, guests pass when kept apart, and what is switched off is not judged."""
    clean = sheet(XE)
    got = verdicts(replace(clean, config=clean.config.replace("line con 0", f"{WLAN}line con 0")))["wireless"]
    assert got == ("fail", ("OAK-PUPIL", "OAK-VISITORS"))


def test_the_part_that_a_lower_privilege_is_shown_is_not_the_whole() -> None:
    """IOS closes that with `end` as well; what is not in it must not pass for absent."""
    part = "Building configuration...\n\nCurrent configuration : 173 bytes\n!\nboot-start-marker\nboot-end-marker\n!\n"
    part += "interface GigabitEthernet1/0/1\n switchport access vlan 20\n!\ninterface Vlan1\n no ip address\n!\nend\n"
    got = verdicts(replace(sheet(IOS), config=part))
    assert {c for c, (v, _) in got.items() if v == "pass"} == {"firmware", "legacy-ssh"}
    assert {c for c, (v, _) in got.items() if v == "fail"} == set()


def test_without_the_version_the_configuration_still_counts() -> None:
    """What needs no release is judged; what does is unknown."""
    clean = sheet(IOS)
    answers = {**clean.answers, "show version": "Command authorization failed.\n"}
    got = verdicts(replace(clean, answers=answers))
    assert {c for c, (v, _) in got.items() if v == "unknown"} == {"firmware", "idle-timeout", "spanning-tree"}


@pytest.mark.parametrize("name", CLEAN)
def test_half_a_configuration_never_passes(name: str) -> None:
    """Cut anywhere: nothing that needs the whole may pass. Aruba's has no end mark: there the prompt is the proof."""
    clean = sheet(name)
    if clean.platform != "ios":
        pytest.skip("the end of this make's configuration is told by the prompt: see tests/connect/test_switch.py")
    for part in (0.1, 0.5, 0.9, 0.999):
        half = Sheet(clean.platform, clean.config[: int(len(clean.config) * part)], clean.answers)
        got = verdicts(half)
        allowed = {"firmware", "legacy-ssh", "http", "log-timestamps", "native-vlan"}
        assert {c for c, (v, _) in got.items() if v == "pass"} <= {"firmware", "legacy-ssh"}, part
        assert {c for c, (v, _) in got.items() if v == "fail"} == set(), part
        assert {c for c, (v, _) in got.items() if v == "not_applicable"} <= allowed


def test_a_finding_says_what_a_port_is_for() -> None:
    bare = replace(sheet(IOS), config=port(G12, " switchport access vlan 20")(sheet(IOS).config))
    found = findings(bare)["bpdu-guard"]
    assert "edge" in found.offenders[0].value
