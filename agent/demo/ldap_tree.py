"""The stand-in directory's contents: naming contexts, root DSE, searching, choosing attributes. No sockets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.demo import ldap_wire as wire
from agent.demo.ldap_entry import DnKey, Entry, dn_key, is_under
from agent.demo.ldap_filter import matches
from agent.demo.ldap_schema import Schema, active_directory_schema

START_TLS = "1.3.6.1.4.1.1466.20037"  # RFC 4511 section 4.14
WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"  # RFC 4532
SD_FLAGS = "1.2.840.113556.1.4.801"
SHOW_DELETED = "1.2.840.113556.1.4.417"
DOMAIN_SCOPE = "1.2.840.113556.1.4.1339"
CONTROLS = (wire.PAGED_RESULTS, SD_FLAGS, SHOW_DELETED, DOMAIN_SCOPE)
# MS-ADTS 3.1.1.3.4.3: Active Directory; with integrity and sealing after bind; 2008, 2008 R2 and 2012 or newer.
_CAPABILITIES = tuple(f"1.2.840.113556.1.4.{last}" for last in (800, 1670, 1791, 1935, 2080, 2237))

_SACL = 8
_RANGE = re.compile(r"^range=(\d{1,9})-(\d{1,9}|\*)$", re.IGNORECASE)
_DESCRIPTOR = "ntsecuritydescriptor"


class Refusal(Exception):
    """An operation ends with this LDAP result."""

    def __init__(self, code: int, text: str = "", matched: str = "", referral: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.code, self.text, self.matched, self.referral = code, text, matched, referral


@dataclass(frozen=True, slots=True)
class Found:
    """What a search finds: entries in the directory's order, and URLs where some of the answer is elsewhere."""

    entries: tuple[Entry, ...]
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which attributes a search wants: all of them, some by name (lower case, with the range asked for), how shown.

    `descriptors`: whether security descriptors may be told, which needs the SD-flags control without the SACL bit
    (an ordinary account may not read the SACL, and Active Directory then leaves the whole attribute out).
    """

    everything: bool
    named: tuple[tuple[str, int, int | None, bool], ...]
    types_only: bool
    descriptors: bool
    range_size: int

    @classmethod
    def of(cls, request: wire.Search, flags: int | None, range_size: int) -> Selection:
        """From a search request and the flags of its SD-flags control (None: no such control)."""
        everything = not request.attributes
        named: dict[str, tuple[str, int, int | None, bool]] = {}
        for description in request.attributes:
            name, *options = description.split(";")
            if name == "*":
                everything = True
            if name in ("*", "+", "1.1"):
                continue
            low, high, ranged = 0, None, False
            for option in options:
                found = _RANGE.match(option.strip())
                if found:
                    low, high, ranged = int(found[1]), None if found[2] == "*" else int(found[2]), True
            named[name.strip().lower()] = (name.strip().lower(), low, high, ranged)
        descriptors = flags is not None and not flags & _SACL
        return cls(everything, tuple(named.values()), request.types_only, descriptors, range_size)


class DirectoryTree:
    """Entries that never change, found by name or by filter.

    An entry with the empty name adds to (and overrides) the root DSE. `referrals` maps the names of subtrees that
    live elsewhere to LDAP URLs. Raises ValueError when there is no domain object or a name occurs twice.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        referrals: Mapping[str, str] | None = None,
        host_name: str = "",
        schema: Schema | None = None,
    ) -> None:
        self.schema = schema or active_directory_schema()
        self._entries: dict[DnKey, Entry] = {}
        for entry in entries:
            if entry.key in self._entries:
                raise ValueError(f"{entry.dn!r} occurs twice in the directory")
            self._entries[entry.key] = entry
        domains = sorted(
            (e for e in entries if b"domainDNS" in e.values("objectClass")), key=lambda e: (len(e.key), e.dn)
        )
        if not domains:
            raise ValueError("the directory has no domain object (objectClass domainDNS)")
        self.base_dn = domains[0].dn
        self.dns_domain = ".".join(part.partition("=")[2] for part in domains[0].key)
        self._config = self._first("configuration") or f"CN=Configuration,{self.base_dn}"
        self._schema_dn = self._first("dMD") or f"CN=Schema,{self._config}"
        self._referrals = {dn_key(name): url for name, url in (referrals or {}).items()}
        contexts = [domains[0].dn, self._config, self._schema_dn, *(domain.dn for domain in domains[1:])]
        self._contexts = {dn_key(name): name for name in contexts}
        self.root_dse = self._root_dse(host_name or f"dc1.{self.dns_domain}")
        self._places = [(entry, self._context(entry.key)) for entry in self._entries.values() if entry.dn]

    def _first(self, object_class: str) -> str | None:
        wanted = object_class.encode()
        return next((entry.dn for entry in self._entries.values() if wanted in entry.values("objectClass")), None)

    def _root_dse(self, host_name: str) -> Entry:
        domain = self._entries[dn_key(self.base_dn)]
        level = domain.text("msDS-Behavior-Version") or "7"
        values: dict[str, tuple[str, ...]] = {
            "defaultNamingContext": (self.base_dn,),
            "rootDomainNamingContext": (self.base_dn,),
            "configurationNamingContext": (self._config,),
            "schemaNamingContext": (self._schema_dn,),
            "namingContexts": tuple(self._contexts.values()),
            "subschemaSubentry": (f"CN=Aggregate,{self._schema_dn}",),
            "dnsHostName": (host_name,),
            "domainFunctionality": (level,),
            "forestFunctionality": (level,),
            "domainControllerFunctionality": (level,),
            "supportedLDAPVersion": ("3",),
            "supportedControl": CONTROLS,
            "supportedCapabilities": _CAPABILITIES,
            "supportedExtension": (START_TLS, WHO_AM_I),
            "isSynchronized": ("TRUE",),
            "isGlobalCatalogReady": ("TRUE",),
        }
        ready: dict[str, tuple[bytes, ...]] = {name: tuple(v.encode() for v in held) for name, held in values.items()}
        own = self._entries.get(())
        if own:
            names = {name.lower() for name in own.attributes}
            ready = {name: held for name, held in ready.items() if name.lower() not in names} | dict(own.attributes)
        return Entry("", ready)

    def _context(self, key: DnKey) -> DnKey:
        """The naming context that holds the name: the longest one above it. Empty: none."""
        return max((context for context in self._contexts if is_under(key, context)), key=len, default=())

    def get(self, dn: str) -> Entry | None:
        """The entry of that name, whoever asks. Raises ValueError when it is no name."""
        return self._entries.get(dn_key(dn))

    def by_account_name(self, name: str) -> Entry | None:
        """The entry that a bind name means: a DN, a user principal name, or `DOMAIN\\name`. None: nobody."""
        short = name.rpartition("\\")[2].lower().encode() if "\\" in name else None
        lower = name.lower().encode()
        for entry in self._entries.values():
            upn = entry.values("userPrincipalName")
            sam = entry.values("sAMAccountName")
            if (upn and upn[0].lower() == lower) or (short and sam and sam[0].lower() == short):
                return entry
        try:
            return self.get(name) if "=" in name else None
        except ValueError:
            return None

    def netbios_name(self) -> str:
        """The short name of the domain: what its crossRef says, else the first label of its DNS name."""
        for entry in self._entries.values():
            if name := entry.text("nETBIOSName"):
                return name
        return self.dns_domain.partition(".")[0].upper()

    def base(self, dn: str, account: str, *, show_deleted: bool = False) -> Entry:
        """The entry where an operation starts. Raises Refusal: no such object, a referral, or not a name at all."""
        try:
            key = dn_key(dn)
        except ValueError as error:
            text = "0000208F: NameErr: DSID-03100225, problem 2006 (BAD_NAME), data 8350"
            raise Refusal(wire.INVALID_DN_SYNTAX, text) from error
        for place, url in self._referrals.items():
            if is_under(key, place):
                raise Refusal(wire.REFERRAL, "0000202B: RefErr: DSID-0310082F, data 0", referral=(f"{url}/{dn}",))
        entry = self._entries.get(key)
        if entry is not None and entry.dn and self._shown(entry, account, show_deleted):
            return entry
        above = key[1:]
        while above and above not in self._entries:
            above = above[1:]
        matched = self._entries[above].dn if above else ""
        text = f"0000208D: NameErr: DSID-0310028B, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'{matched}'\n"
        raise Refusal(wire.NO_SUCH_OBJECT, text, matched)

    def search(self, request: wire.Search, account: str, *, show_deleted: bool = False, refer: bool = True) -> Found:
        """Search on behalf of an account (lower case; empty: anonymous). Raises Refusal."""
        start = self.base(request.base, account, show_deleted=show_deleted)
        context = self._context(start.key)
        depth = len(start.key)
        found = []
        for entry, place in self._places:
            below = len(entry.key) - depth
            if (
                place == context
                and (below == 0 if request.scope == 0 else below == 1 if request.scope == 1 else below >= 0)
                and is_under(entry.key, start.key)
                and not any(is_under(entry.key, elsewhere) for elsewhere in self._referrals)
                and self._shown(entry, account, show_deleted)
                and self.fits(entry, request, account)
            ):
                found.append(entry)
        return Found(tuple(found), self._references(start.key, context, request.scope) if refer else ())

    def fits(self, entry: Entry, request: wire.Search, account: str) -> bool:
        """Whether the entry answers the filter, as far as the account may read it."""

        def lookup(name: str) -> tuple[bytes, ...] | None:
            # An object whose attributes are all hidden still shows its name to `(objectClass=*)`.
            return entry.values(name) if name == "objectclass" or entry.readable(name, account) else None

        return matches(request.filter, lookup, self.schema) is True

    def _shown(self, entry: Entry, account: str, show_deleted: bool) -> bool:
        return entry.visible_to(account) and (show_deleted or entry.text("isDeleted") != "TRUE")

    def _references(self, start: DnKey, context: DnKey, scope: int) -> tuple[str, ...]:
        if scope == 0:
            return ()
        urls = []
        for key, name in self._contexts.items():
            below = key != start and is_under(key, start) and self._context(key[1:]) == context
            if below and (scope == 2 or len(key) == len(start) + 1):
                host = f"{key[0].partition('=')[2]}." if key[0].startswith("dc=") else ""
                urls.append(f"ldap://{host}{self.dns_domain}/{name}")
        for key, url in self._referrals.items():
            if key != start and is_under(key, start) and (scope == 2 or len(key) == len(start) + 1):
                urls.append(f"{url}/{','.join(key)}")
        return tuple(urls)


def project(entry: Entry, selection: Selection, account: str) -> list[tuple[str, Sequence[bytes]]]:
    """The attributes of one entry that a search asked for and the account may read, long ones a range at a time."""
    chosen = {name: (low, high, ranged) for name, low, high, ranged in selection.named}
    if selection.everything:
        for name in entry.index:
            chosen.setdefault(name, (0, None, False))
    told: list[tuple[str, Sequence[bytes]]] = []
    for name, (low, high, ranged) in chosen.items():
        held = entry.index.get(name)
        if held is None or not entry.readable(name, account) or (name == _DESCRIPTOR and not selection.descriptors):
            continue
        shown, values = held
        if low >= len(values):
            continue
        stop = min(len(values), low + selection.range_size, len(values) if high is None else high + 1)
        if ranged or stop < len(values):
            shown = f"{shown};range={low}-{'*' if stop == len(values) else stop - 1}"
        told.append((shown, () if selection.types_only else values[low:stop]))
    return told
