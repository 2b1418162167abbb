"""The network's side of a machine: adapters, name servers, firewall, file sharing, wireless networks."""

from __future__ import annotations

import ipaddress
from typing import Any

from agent.facts.windows.answer import Answer, clean
from agent.facts.windows.readers import ADMIN, listing, reads, truth
from agent.facttypes import BOOL, STR, Enum, Field, ListOf, Record
from agent.model import Partial, Reason, Unknown

NETBIOS = {0: "by DHCP", 1: "on", 2: "off"}
ADAPTER = Record(
    {
        "name": Field(STR),
        "id": Field(STR, "GUID of the interface"),
        "netbios": Field(Enum(("by DHCP", "on", "off")), "NetBIOS over TCP; DHCP seldom switches it off"),
    },
    key="id",
    label="name",
)


@reads("adapters", ListOf(ADAPTER), asks=("adapters",), what="Win32_NetworkAdapterConfiguration, IPEnabled")
def read_adapters(answer: Answer) -> Any:
    """Adapters that carry IP. None is no answer: we came by one."""

    def one(raw: Any) -> dict[str, Any]:
        name = clean(str(raw["name"]), 200)
        return {
            "name": name,
            "id": clean(str(raw["id"]), 60),
            "netbios": NETBIOS.get(raw["netbios"]) or Unknown(Reason.UNREADABLE, f"NetBIOS of {name}"),
        }

    found = listing(answer.need("adapters"), one)
    if not (found.items if isinstance(found, Partial) else found):
        return Unknown(Reason.UNREADABLE, "the network adapters")
    return found


SERVER = Record(
    {"address": Field(STR), "interfaces": Field(ListOf(STR), "interfaces that ask it")}, key="address", label="address"
)
_PLACEHOLDERS = ipaddress.ip_network("fec0:0:0:ffff::/64")
"""What Windows shows as IPv6 name servers where there are none (RFC 3879 gave those addresses up)."""


@reads(
    "name_servers",
    ListOf(SERVER),
    asks=("resolvers",),
    what="MSFT_DNSClientServerAddress",
    doc="servers of all interfaces, IPv4 and IPv6, each once; Windows' placeholders fec0:0:0:ffff:: left out",
)
def read_name_servers(answer: Answer) -> Any:
    """Who is asked for names. Without any interface that is no answer: even the loopback one is listed."""
    part = answer.need("resolvers")
    if not part["items"]:
        return Unknown(Reason.UNREADABLE, "the network interfaces")
    found: dict[str, list[str]] = {}
    for raw in part["items"]:
        for text in raw["servers"]:
            address = _address(str(text))
            if address is not None:
                names = found.setdefault(address, [])
                name = clean(str(raw["name"]), 100)
                if name not in names:
                    names.append(name)
    items = [{"address": a, "interfaces": sorted(found[a])} for a in sorted(found)]
    if part.get("all") is False:
        return Partial(tuple(items), Unknown(Reason.TRUNCATED, "too many interfaces"))
    return items


def _address(text: str) -> str | None:
    """An address in its usual form; None for a placeholder. ValueError for what is none."""
    parsed = ipaddress.ip_address(text.strip())
    return None if parsed in _PLACEHOLDERS else str(parsed)


PROFILE = Record(
    {
        "name": Field(Enum(("Domain", "Private", "Public"))),
        "on": Field(BOOL),
        "inbound": Field(Enum(("block", "allow")), "what becomes of a connection that no rule names"),
    },
    key="name",
    label="name",
)
_ON = {"true": True, "1": True, "notconfigured": True, "2": True, "false": False, "0": False}
_INBOUND = {"block": "block", "4": "block", "notconfigured": "block", "0": "block", "allow": "allow", "2": "allow"}
"""GpoBoolean and Action. Where nobody says anything Windows' own default holds (Set-NetFirewallProfile): on, block."""


@reads(
    "firewall",
    ListOf(PROFILE),
    asks=("firewall",),
    what="Get-NetFirewallProfile -PolicyStore ActiveStore",
    doc="as in force: Group Policy and local settings together",
)
def read_firewall(answer: Answer) -> Any:
    """The three profiles; fewer or others are no answer."""

    def one(raw: Any) -> dict[str, Any]:
        return {
            "name": str(raw["name"]),
            "on": _ON.get(str(raw["on"]).lower(), Unknown(Reason.UNREADABLE)),
            "inbound": _INBOUND.get(str(raw["inbound"]).lower(), Unknown(Reason.UNREADABLE)),
        }

    found = listing(answer.need("firewall"), one)
    if isinstance(found, Partial) or {p["name"] for p in found} != {"Domain", "Private", "Public"}:
        return Unknown(Reason.UNREADABLE, "the firewall's profiles")
    return found


@reads(
    "smb_server",
    Record({"smb1": Field(BOOL, "whether the server speaks SMB version 1")}),
    asks=("smb",),
    what="Get-SmbServerConfiguration, or MSFT_SmbServerConfiguration",
    rights=ADMIN,
)
def read_smb(answer: Answer) -> Any:
    """What the file server says of itself."""
    return {"smb1": truth(answer.need("smb")["one"])}


_RIGHTS = {"full": "full", "0": "full", "change": "change", "1": "change", "read": "read", "2": "read"}
SHARE = Record(
    {
        "name": Field(STR),
        "path": Field(STR),
        "everyone": Field(
            Enum(("none", "read", "change", "full")),
            "the most that the share itself grants to Everyone, Authenticated Users or Users",
        ),
    },
    key="name",
    label="name",
)


@reads(
    "shares",
    ListOf(SHARE),
    asks=("shares",),
    what="Get-SmbShare, Get-SmbShareAccess",
    rights=ADMIN,
    doc="shares but for the administrative ones; rights of the share, not of its files",
)
def read_shares(answer: Answer) -> Any:
    """Shares with what everybody may do there. The names of the groups are the machine's own, found by their SIDs."""
    part = answer.need("shares")
    known = {str(e["sid"]): str(e["name"]).rpartition("\\")[2].lower() for e in part["everyone"]}
    whoever = {*known.values(), "everyone", "authenticated users"}
    best: dict[str, str] = {}
    order = ("none", "read", "change", "full")
    odd: set[str] = set()
    for raw in part["rights"]:
        share, who = str(raw["share"]).lower(), str(raw["who"]).rpartition("\\")[2].lower()
        if str(raw["kind"]).lower() not in ("allow", "0") or not (who in whoever or str(raw["who"]) in known):
            continue
        right = _RIGHTS.get(str(raw["right"]).lower())
        if right is None:
            odd.add(share)
        else:
            best[share] = max(best.get(share, "none"), right, key=order.index)
    translated = "S-1-1-0" in known

    def one(raw: Any) -> dict[str, Any]:
        name = str(raw["name"])
        right: Any = best.get(name.lower(), "none")
        if right == "none" and not translated:
            right = Unknown(Reason.UNREADABLE, "what Everyone is called there")
        if name.lower() in odd and right != "full":
            right = Unknown(Reason.UNREADABLE, f"rights of the share {clean(name, 80)}")
        return {"name": clean(name, 100), "path": clean(str(raw["path"]), 260), "everyone": right}

    return listing(part, one)


NETWORK = Record({"name": Field(STR, "SSID"), "open": Field(BOOL)}, key="name", label="name")


@reads(
    "wireless_networks",
    ListOf(NETWORK),
    asks=("wireless",),
    what="profiles of the WLAN service below C:\\ProgramData",
    rights=ADMIN,
    doc="wireless networks that the machine joins by itself; their keys stay there",
)
def read_wireless(answer: Answer) -> Any:
    """Remembered networks: none where the service is not there. Who is no administrator may not see its folder."""
    part = answer.need("wireless")
    if part["there"] is not True and answer.admin is not True:
        return Unknown(Reason.PERMISSION, "administrator")

    def one(raw: Any) -> dict[str, Any]:
        how, name = str(raw["how"]).lower(), clean(str(raw["name"]), 64)
        if how in _OPEN:
            return {"name": name, "open": True}
        known = how.startswith(("wpa", "owe", "shared", "802.1x"))
        return {"name": name, "open": False if known else Unknown(Reason.UNREADABLE, f"security of {name}")}

    return listing(part, one)


_OPEN = ("open", "offen", "ouvert", "abierta", "aperta")
