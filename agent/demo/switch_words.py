"""How each make of switch talks: prompts, pagers, refusals, which commands open a section and which stand once."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One make's manner of speaking. Patterns match a whole command."""

    comment: str
    indent: str
    gap: str
    """Between the mark of a prompt and what is typed."""
    pager: str
    wipe: str
    """What wipes the pager once a key was pressed."""
    invalid: str
    denied: str
    paging_off: re.Pattern[str]
    opens: re.Pattern[str]
    """Commands of the configuration mode that open a section."""
    nested: re.Pattern[str]
    """Commands that open a section inside a section."""
    single: tuple[str, ...]
    """Beginnings of commands of which one stands at a time."""
    shown_off: tuple[str, ...]
    """What is on by default, and shows as `no …` once it is off."""
    known: re.Pattern[str]
    """First words of the commands that its configuration mode takes."""


WORDS: dict[str, Words] = {
    "ios": Words(
        comment="!",
        indent=" ",
        gap="",
        pager=" --More-- ",
        wipe="\x08" * 9 + " " * 8 + "\x08" * 9,
        invalid="                ^\n% Invalid input detected at '^' marker.\n",
        denied="Command authorization failed.\n",
        paging_off=re.compile(r"terminal length 0"),
        opens=re.compile(
            r"(interface( range)?|vlan \d|line|router|aaa group server|tacacs server|radius server|ip access-list"
            r"|template|wlan \S+ \d+|dot11 ssid|class-map|policy-map|crypto pki|archive|control-plane) ?.*"
        ),
        nested=re.compile(r"$^"),
        single=(
            "hostname ",
            "switchport access vlan",
            "switchport mode",
            "switchport voice vlan",
            "switchport trunk native vlan",
            "switchport trunk allowed vlan",
            "switchport port-security maximum",
            "transport input",
            "exec-timeout",
            "no exec-timeout",
            "access-class",
            "login authentication",
            "ip ssh version",
            "name ",
            "description ",
            "storm-control broadcast level",
            "spanning-tree bpduguard",
            "spanning-tree portfast",
            "service timestamps log",
            "no service timestamps log",
            "logging trap",
            "no logging trap",
            "ip dhcp snooping vlan",
            "ip arp inspection vlan",
            "aaa authentication login default",
        ),
        shown_off=("ip http server", "ip http secure-server", "logging trap"),
        known=re.compile(
            r"(aaa|access-list|access-class|access-session|address|alias|archive|authentication|banner|cdp|channel-group"
            r"|class-map|clock|control-plane|crypto|default|deny|description|dot1x|dot11|enable|encapsulation|end|errdisable"
            r"|exec-timeout|exit|hostname|interface|ip|ipv6|key|line|lldp|logging|login|mab|macro|mls|name|no|ntp|password"
            r"|peer-blocking|permit|policy-map|privilege|qos|radius|radius-server|remark|router|security|server"
            r"|server-private|service|session-timeout|shutdown|snmp-server|source|spanning-tree|stackwise|storm-control"
            r"|switch|switchport|tacacs|tacacs-server|template|transport|udld|username|vlan|vtp|wlan|client|mdix|speed"
            r"|duplex|power|negotiation|vrf)\b"
        ),
    ),
    "aoscx": Words(
        comment="!",
        indent="    ",
        gap=" ",
        pager="-- MORE --, next page: Space, next line: Enter, quit: q",
        wipe="\r" + " " * 60 + "\r",
        invalid="Invalid input: {word}\n",
        denied="Cannot execute command. Command not allowed.\n",
        paging_off=re.compile(r"no page"),
        opens=re.compile(
            r"(interface|vlan \d[\d,-]*|cli-session|aaa group server|access-list ip|router|vsf member|wlan ssid-profile"
            r"|aaa authentication port-access (dot1x authenticator|mac-auth)|port-access port-security)( .*)?"
        ),
        nested=re.compile(r"(aaa authentication port-access (dot1x authenticator|mac-auth)|port-access port-security)"),
        single=(
            "hostname ",
            "name ",
            "description ",
            "vlan access",
            "vlan trunk native",
            "vlan trunk allowed",
            "timeout ",
            "rate-limit broadcast",
            "session-timeout",
            "opmode ",
            "aaa authentication login ssh",
            "aaa authentication login default",
            "shutdown",
            "no shutdown",
        ),
        shown_off=("shutdown", "routing", "spanning-tree"),
        known=re.compile(
            r"(aaa|access-list|apply|arp|banner|cli-session|clock|client-limit|deny|deny-inter-user-bridging|description"
            r"|dhcpv4-snooping|enable|end|essid|exit|hostname|https-server|interface|ip|lacp|lag|lldp|logging|loop-protect"
            r"|name|no|ntp|opmode|permit|port-access|qos|radius-server|rate-limit|reauth|routing|server|session-timeout"
            r"|shutdown|snmp-server|snmpv3|spanning-tree|ssh|tacacs-server|telnet|timeout|type|user|vlan|voice|vrf|vsf|wlan"
            r"|disable|mtu|\d+)\b"
        ),
    ),
    "procurve": Words(
        comment=";",
        indent="   ",
        gap=" ",
        pager="-- MORE --, next page: Space, next line: Enter, quit: Control-C",
        wipe="\x1b[2K\r" + " " * 66 + "\r",
        invalid="Invalid input: {word}\n",
        denied="Not authorized to run this command.\n",
        paging_off=re.compile(r"no page"),
        opens=re.compile(r"(interface|vlan \d)( ?.*)?"),
        nested=re.compile(r"$^"),
        single=(
            "hostname ",
            "name ",
            "console idle-timeout serial-usb",
            "console idle-timeout ",
            "timesync ",
            "broadcast-limit",
            "aaa authentication ssh login",
            "fault-finder broadcast-storm sensitivity",
        ),
        shown_off=("telnet-server", "web-management plaintext", "web-management", "ip ssh"),
        known=re.compile(
            r"(aaa|arp-protect|banner|broadcast-limit|console|dhcp-snooping|disable|enable|end|exit|fault-finder|hostname"
            r"|interface|ip|ipv6|lldp|logging|loop-protect|module|name|no|ntp|password|port-security|radius-server|sntp"
            r"|snmp-server|snmpv3|spanning-tree|tacacs-server|tagged|telnet-server|time|timesync|trunk|untagged|vlan|voice"
            r"|web-management|rate-limit|power-over-ethernet|untag)\b"
        ),
    ),
}
