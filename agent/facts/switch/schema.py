"""The facts of switches: one schema for all makes, declared here; the parsers of each make fill it."""

from __future__ import annotations

from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record, fact

FAMILY = "switch"
CONFIG = "show running-config"

MEMBER = Record(
    {
        "name": Field(STR, "`switch 2` of a stack; the switch itself is `switch 1`"),
        "model": Field(STR, "the maker's number", may_be_absent=True),
        "serial": Field(STR, "serial number", may_be_absent=True),
        "release": Field(STR, "release that this unit runs"),
    },
    key="name",
    label="name",
)
DEVICE = Record(
    {
        "platform": Field(Enum(("ios", "aoscx", "procurve")), "whose words it speaks"),
        "kind": Field(Enum(("switch", "access point")), "an access point has no VLANs and ports of its own to judge"),
        "family": Field(STR, "what the table of approved releases calls it: C2960X, FL, YA"),
        "release": Field(STR, "release that runs, without the family: 15.2(7)E10, 10.13.1040, 16.11.0020"),
        "members": Field(ListOf(MEMBER), "units of the stack, or the one switch"),
    }
)
SESSION = Record({"weak": Field(ListOf(STR), "old SSH algorithms that the login needed; offered only where asked")})
STARTUP = Record({"saved": Field(BOOL, "whether what runs is what it starts with")})
LINE = Record(
    {
        "name": Field(STR, "as the configuration names it: line vty 5 15"),
        "kind": Field(Enum(("console", "aux", "vty"))),
        "transport": Field(ListOf(STR), "protocols that it takes; absent: the release's default", may_be_absent=True),
        "idle_seconds": Field(
            INT, "after which an idle session ends, 0: never; absent: the default", may_be_absent=True
        ),
        "access_list": Field(STR, "list that guards it", may_be_absent=True),
        "login_list": Field(STR, "list of login methods that is named", may_be_absent=True),
    },
    key="name",
    label="name",
)
VRF = Record(
    {
        "name": Field(STR),
        "telnet": Field(BOOL),
        "ssh": Field(BOOL),
        "https": Field(BOOL),
        "access_list": Field(STR, "list on the control plane", may_be_absent=True),
    },
    key="name",
    label="name",
)
MANAGER = Record(
    {
        "name": Field(STR, "address and mask, as written"),
        "network": Field(STR, "address and prefix length; absent where the mask is no prefix", may_be_absent=True),
    },
    key="name",
    label="name",
)
NETWORK = Record({"vlan": Field(INT), "name": Field(STR), "network": Field(STR, "address and prefix length")})
REMOTE = Record(
    {
        "telnet": Field(BOOL, "stated: a telnet server; absent: the release's default", may_be_absent=True),
        "ssh": Field(BOOL, "stated: an SSH server", may_be_absent=True),
        "ssh_version": Field(STR, "stated", may_be_absent=True),
        "http": Field(BOOL, "stated: plain HTTP management", may_be_absent=True),
        "idle_seconds": Field(INT, "stated for all sessions, 0: never", may_be_absent=True),
        "console_idle_seconds": Field(INT, "stated for the console alone", may_be_absent=True),
        "vrfs": Field(ListOf(VRF), "AOS-CX: where management is served"),
        "managers": Field(ListOf(MANAGER), "ProVision: ip authorized-managers"),
        "networks": Field(ListOf(NETWORK), "addresses of the switch itself, by VLAN"),
        "management_vlan": Field(INT, "stated", may_be_absent=True),
    }
)
BANNERS = Record({"login": Field(STR, may_be_absent=True), "motd": Field(STR, may_be_absent=True)})
ACCESS_LIST = Record(
    {
        "name": Field(STR),
        "entries": Field(INT, "rules in it"),
        "open": Field(BOOL, "whether a rule lets everybody in before any that does not"),
    },
    key="name",
    label="name",
)
LOGIN_LIST = Record(
    {
        "name": Field(STR, "default, or the list's name; on Aruba what it is for: ssh, default"),
        "methods": Field(ListOf(STR), "in order: group NAME, local, …"),
    }
)
GROUP = Record({"name": Field(STR), "servers": Field(INT, "servers in it that are configured")})
AAA = Record(
    {
        "on": Field(BOOL, "IOS: aaa new-model; elsewhere always"),
        "login": Field(ListOf(LOGIN_LIST)),
        "groups": Field(ListOf(GROUP), "server groups, tacacs+ and radius as a whole among them"),
    }
)
SECRET = Record(
    {
        "name": Field(STR, "whose it is: an account's name, enable, line vty 0 4"),
        "kind": Field(Enum(("clear", "0", "7", "4", "5", "6", "8", "9", "hash"), closed=False)),
    },
    key="name",
    label="name",
)
ACCOUNT = Record(
    {
        "name": Field(STR),
        "builtin": Field(BOOL, "whether the platform has it from the factory, and it cannot be taken away"),
        "has_secret": Field(BOOL, "whether a password is set"),
        "factory_secret": Field(BOOL, "whether its readable password is its own name or a word that vendors ship"),
    },
    key="name",
    label="name",
)
SNMP_GROUP = Record(
    {"name": Field(STR), "version": Field(STR), "level": Field(STR, may_be_absent=True)}, "name", "name"
)
SNMP_HOST = Record({"name": Field(STR, "address"), "version": Field(STR)}, key="name", label="name")
SNMP_USER = Record(
    {
        "name": Field(STR),
        "auth": Field(STR, "protocol: sha, md5, …; absent: none", may_be_absent=True),
        "privacy": Field(STR, "protocol: aes, des, …; absent: none", may_be_absent=True),
    },
    key="name",
    label="name",
)
SNMP = Record(
    {
        "agent": Field(BOOL, "whether anything of SNMP is configured or on by default"),
        "v3_only": Field(BOOL, "Aruba: the switch that turns versions 1 and 2c off"),
        "communities": Field(INT, "communities configured; their names are passwords and not kept"),
        "groups": Field(ListOf(SNMP_GROUP)),
        "hosts": Field(ListOf(SNMP_HOST)),
    }
)
TIME = Record(
    {
        "on": Field(BOOL, "whether the switch asks the servers below"),
        "servers": Field(ListOf(STR), "servers and peers of the method in use, as written, in lower case"),
    }
)
LOGGING = Record(
    {
        "hosts": Field(ListOf(STR), "where log lines are sent, in lower case"),
        "on": Field(BOOL, "false where lines are silenced before they are sent"),
        "timestamps": Field(STR, "datetime, uptime or none; absent: the release's default", may_be_absent=True),
    }
)
VLAN = Record(
    {
        "id": Field(INT),
        "name": Field(STR, may_be_absent=True),
    },
    key="id",
    label="id",
)
GUARDS = Record(
    {
        "dhcp_snooping": Field(BOOL, "on for the switch"),
        "dhcp_vlans": Field(ListOf(INT), "VLANs for which DHCP snooping is named"),
        "arp_inspection": Field(BOOL, "on for the switch; where no such line exists it follows the VLANs"),
        "arp_vlans": Field(ListOf(INT), "VLANs for which ARP inspection is named"),
        "spanning_tree": Field(BOOL, "stated; absent: the release's default", may_be_absent=True),
        "portfast": Field(BOOL, "IOS: portfast by default on access ports"),
        "bpdu_guard": Field(BOOL, "IOS: BPDU guard by default on portfast ports"),
        "dot1x": Field(BOOL, "802.1X on for the switch"),
        "mac_auth": Field(BOOL, "MAC authentication on for the switch"),
        "port_security": Field(BOOL, "port security on for the switch"),
        "storm_control": Field(BOOL, "ProVision: fault-finder broadcast-storm for all ports"),
    }
)
PORT = Record(
    {
        "name": Field(STR, "in full: GigabitEthernet1/0/12, 1/1/5, lag 2, B3"),
        "enabled": Field(BOOL, "not shut; absent: the release's default", may_be_absent=True),
        "mode": Field(
            Enum(("access", "dynamic", "trunk", "routed", "other")), "absent: the release's default", may_be_absent=True
        ),
        "vlan": Field(INT, "untagged: of an access port its VLAN, of a trunk the native one", may_be_absent=True),
        "bundle": Field(STR, "the bundle that it is a member of", may_be_absent=True),
        "is_bundle": Field(BOOL),
        "description": Field(STR, may_be_absent=True),
        "portfast": Field(BOOL, "stated", may_be_absent=True),
        "bpdu_guard": Field(BOOL, "stated", may_be_absent=True),
        "port_security": Field(BOOL),
        "dot1x": Field(BOOL, "802.1X on the port"),
        "mac_auth": Field(BOOL, "MAC authentication on the port"),
        "storm_control": Field(BOOL, "a limit for broadcasts that limits anything"),
        "dhcp_trust": Field(BOOL, "DHCP answers may come from there"),
        "arp_trust": Field(BOOL, "ARP answers are not checked there"),
    },
    key="name",
    label="name",
)
STATUS = Record(
    {
        "name": Field(STR),
        "state": Field(Enum(("up", "down", "shut", "blocked"), closed=False), "blocked: the switch took it down"),
        "trunk": Field(BOOL, "whether it works as a trunk now"),
    },
    key="name",
    label="name",
)
NEIGHBOUR = Record(
    {
        "port": Field(STR),
        "name": Field(STR, "what it calls itself", may_be_absent=True),
        "kind": Field(Enum(("switch", "access point", "phone", "host")), "from the capabilities that it says it uses"),
    },
    key="port",
    label="port",
)
SSID = Record(
    {
        "name": Field(STR),
        "enabled": Field(BOOL),
        "security": Field(Enum(("open", "wpa2-personal", "wpa3-personal", "enterprise"))),
        "isolated": Field(BOOL, "whether its clients are kept apart"),
    },
    key="name",
    label="name",
)
PRIVILEGE = "show running-config in full"


def _config(name: str, ftype: Record | ListOf, doc: str) -> None:
    fact(name, ftype, FAMILY, source=CONFIG, doc=doc, rights=(PRIVILEGE,))


fact("device", DEVICE, FAMILY, source="show version", doc="make, release and serial numbers")
fact("session", SESSION, FAMILY, source="the SSH login itself", doc="what the login needed")
fact(
    "startup",
    STARTUP,
    FAMILY,
    source="show startup-config",
    doc="running against startup configuration",
    rights=(PRIVILEGE,),
)
fact("snmp_users", ListOf(SNMP_USER), FAMILY, source="show snmp user", doc="SNMP version 3 users")
fact("port_status", ListOf(STATUS), FAMILY, source="show interfaces status", doc="ports as they are now")
fact("neighbours", ListOf(NEIGHBOUR), FAMILY, source="show lldp neighbors detail", doc="what LLDP and CDP see")
fact("vlans", ListOf(VLAN), FAMILY, source=f"{CONFIG}, show vlan brief", doc="VLANs that exist", rights=(PRIVILEGE,))
_config("lines", ListOf(LINE), "IOS: console and vty lines")
_config("remote", REMOTE, "services for management")
_config("banners", BANNERS, "texts at login")
_config("access_lists", ListOf(ACCESS_LIST), "access lists")
_config("aaa", AAA, "login methods and their servers")
_config("secrets", ListOf(SECRET), "how passwords are kept; never the passwords")
_config("accounts", ListOf(ACCOUNT), "local accounts")
_config("snmp", SNMP, "SNMP")
_config("time", TIME, "time servers")
_config("logging", LOGGING, "log servers")
_config("guards", GUARDS, "protections that are switched on for the whole switch")
_config("ports", ListOf(PORT), "ports and bundles as configured")
_config("wireless", ListOf(SSID), "wireless networks of a controller or access point")
CONFIG_FACTS = "lines remote banners access_lists aaa secrets accounts snmp time logging guards ports wireless".split()
"""Facts that come from the running configuration alone."""
