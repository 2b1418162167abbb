"""Asks a directory each of its searches once and makes rows or whole records of the answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent import dn
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.directory import Directory, Entry, Found
from agent.facts.ad.row import Row, Shape
from agent.model import Reason, Unknown

CONTEXTS = {
    "domain": "defaultNamingContext",
    "config": "configurationNamingContext",
    "schema": "schemaNamingContext",
    "root": "rootDomainNamingContext",
}
LOGONS = frozenset({"lastlogontimestamp", "logoncount", "badpwdcount"})
Rows = tuple[list[Row], Unknown | None]
Records = tuple[list[dict[str, Any]], Unknown | None]


@dataclass(frozen=True, slots=True)
class Search:
    """One question: `base` may hold {domain} {config} {schema} {root}; `attributes` come from the shapes that it
    feeds. `security` asks for permissions too; scope `deleted` is a subtree with what was deleted; `names` are
    attributes and classes whose place in the schema is needed, and which are not asked for.

    `sort` makes it a search whose entries become records as they come, so that a class of 100,000 objects is never
    held as it was sent: it says which shape an entry has (None: of no use). Such a search is read with `records`.
    """

    base: str
    filter: str
    shapes: tuple[Shape, ...]
    scope: str = "base"
    security: bool = False
    extra: tuple[str, ...] = ()
    sort: Callable[[Row], Shape | None] | None = None
    note: Callable[[Row], Any] | None = None
    """With `sort`: something to keep of an entry beside its record (None: nothing). Read with `notes`."""
    names: tuple[str, ...] = ()

    def attributes(self) -> list[str]:
        """Everything to ask for, once each."""
        return list(dict.fromkeys([a for s in self.shapes for a in s.attributes()] + list(self.extra)))


@dataclass(slots=True)
class Reader:
    """One collection: the naming contexts, what the schema lacks, and each search's answer, asked once."""

    directory: Directory
    searches: Mapping[str, Search]
    contexts: dict[str, str] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()
    guids: dict[str, str] = field(default_factory=dict)
    """schemaIDGUID by lower-case name, of what the searches name."""
    whole: bool = False
    """The login is an administrator's, by its own token: what is not shown is not there."""
    failed: Unknown | None = None
    _found: dict[str, Found] = field(default_factory=dict)
    _records: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)
    _notes: dict[str, list[Any]] = field(default_factory=dict)

    def start(self, names: Sequence[str]) -> None:
        """Read the server's own object and the schema, for the named searches. `failed` says why nothing can be read
        at all."""
        asked = [*CONTEXTS.values(), "subschemaSubentry", "tokenGroups"]
        found = self.directory.search("", "(objectClass=*)", asked, scope="base")
        if not found.entries:
            self.failed = found.why or Unknown(Reason.UNREADABLE, "the server describes itself in no entry")
            return
        shown = found.entries[0].attributes
        for name, attribute in CONTEXTS.items():
            if not shown.get(attribute.lower()):
                self.failed = Unknown(Reason.NOT_SUPPORTED, f"the server names no {attribute}: no Active Directory")
                return
            self.contexts[name] = shown[attribute.lower()][0].decode("utf-8", "replace")
        self.whole = _administers(shown.get("tokengroups", ()))
        wanted = sorted({a for n in names for a in (*self.searches[n].attributes(), *self.searches[n].names)})
        if wanted:
            subschema = (shown.get("subschemasubentry") or (b"",))[0].decode("utf-8", "replace")
            self._schema(wanted, subschema)

    def _schema(self, wanted: Sequence[str], subschema: str) -> None:
        """Which of the wanted names the forest has: its schema objects say so, or else the subschema entry."""
        clauses = "".join(f"(lDAPDisplayName={a})" for a in wanted)
        asked = ["lDAPDisplayName", "schemaIDGUID"]
        found = self.directory.search(self.contexts["schema"], f"(|{clauses})", asked, scope="one")
        have = set()
        for entry in found.entries:
            for raw in entry.attributes.get("ldapdisplayname", ()):
                name = raw.decode("ascii", "replace").lower()
                have.add(name)
                if guid := _guid((entry.attributes.get("schemaidguid") or (b"",))[0]):
                    self.guids[name] = guid
        if (found.why is not None or not have) and subschema:
            found = self.directory.search(
                subschema, "(objectClass=*)", ["attributeTypes", "objectClasses"], scope="base"
            )
            have = {
                name.decode("ascii", "replace").lower()
                for e in found.entries
                if not e.cut
                for kind in ("attributetypes", "objectclasses")
                for raw in e.attributes.get(kind, ())
                for name in _defined_names(raw)
            }
        if found.why is not None or not have:
            why = found.why or Unknown(Reason.PERMISSION, "read it")
            self.failed = Unknown(why.reason, f"the schema: {why.detail}")
            return
        self.lacks = frozenset(a.lower() for a in wanted) - have

    def base(self, name: str) -> str:
        """Where a search looks, in this directory."""
        return self.searches[name].base.format(**self.contexts)

    def _send(self, name: str, take: Callable[[Entry], Any] | None) -> Found:
        search = self.searches[name]
        return self.directory.search(
            self.base(name),
            search.filter,
            [a for a in search.attributes() if a.lower() not in self.lacks],
            scope=search.scope,
            security=search.security,
            take=take,
        )

    def ask(self, name: str) -> Found:
        """The answer of one search; asked once. Of one whose entries become records, `entries` are blanks."""
        if name not in self._found:
            sort = self.searches[name].sort
            self._found[name] = self._send(name, None) if sort is None else self._fill(name, sort)
        return self._found[name]

    def _fill(self, name: str, sort: Callable[[Row], Shape | None]) -> Found:
        """One search, its entries made records on the way."""
        shapes = self.searches[name].shapes
        out: list[list[dict[str, Any]]] = [[] for _ in shapes]
        kept = {id(shape): records for shape, records in zip(shapes, out, strict=True)}
        shown: Counter[str] = Counter()
        unsure: list[tuple[str, Shape, dict[str, Any]]] = []
        lacks, guids, whole = self.lacks, self.guids, self.whole
        note, notes = self.searches[name].note, self._notes.setdefault(name, [])

        def take(entry: Entry) -> None:
            row = Row(entry, lacks, not LOGONS.isdisjoint(entry.attributes), guids, whole)
            if note is not None and (noted := note(row)) is not None:
                notes.append(noted)
            parent = dn.parent(entry.dn)
            if row.logons_shown:
                shown[parent] += 1
            shape = sort(row)
            if shape is None:
                return
            record = shape.fill(row)
            kept[id(shape)].append(record)
            if not row.logons_shown and "last_logon" in shape.takes:
                unsure.append((parent, shape, record))

        found = self._send(name, take)
        for parent, shape, record in unsure:
            # Two neighbours: one alone could be the account that asks, which may always read itself.
            if shown[parent] > 1:
                record["last_logon"] = shape.fill(Row(_NOTHING, lacks, True), ("last_logon",))["last_logon"]
        self._records[name] = out
        return found

    def one(self, name: str) -> Row | Unknown:
        """The one object that a search is about."""
        found = self.ask(name)
        if not found.entries:
            return found.why or Unknown(Reason.PERMISSION, f"read {self.base(name)}")
        return self._row(found.entries[0])

    def _row(self, entry: Entry) -> Row:
        return Row(entry, self.lacks, guids=self.guids, whole=self.whole)

    def rows(self, name: str, keep: Callable[[Row], bool] | None = None) -> Rows:
        """All objects that a search gave (`keep`: those of use), and why some may be missing."""
        found = self.ask(name)
        if found.absent:
            return [], Unknown(Reason.PERMISSION, f"read {self.base(name)}")
        rows = [self._row(entry) for entry in found.entries]
        return [row for row in rows if keep is None or keep(row)], found.why

    def notes(self, name: str) -> tuple[list[Any], Unknown | None]:
        """What a search noted of its entries, and why some may be missing."""
        found = self.ask(name)
        if found.absent:
            return [], Unknown(Reason.PERMISSION, f"read {self.base(name)}")
        return self._notes[name], found.why

    def records(self, name: str, shape: Shape) -> Records:
        """All records of one shape that a search gave, and why some may be missing."""
        found = self.ask(name)
        if found.absent:
            return [], Unknown(Reason.PERMISSION, f"read {self.base(name)}")
        place = next(i for i, s in enumerate(self.searches[name].shapes) if s is shape)
        return self._records[name][place], found.why

    def forget(self, name: str) -> None:
        """Let an answer go that nobody will ask for again."""
        self._found.pop(name, None)
        self._records.pop(name, None)
        self._notes.pop(name, None)


_NOTHING = Entry("", {})
_TYPE_NAMES = re.compile(rb"NAME\s+(?:'([^']+)'|\(([^)]*)\))")


def _guid(raw: bytes) -> str:
    try:
        return v.guid(bytes(raw))
    except ValueError:
        return ""


def _administers(token: Sequence[bytes]) -> bool:
    """Whether the identities of the login (rootDSE's tokenGroups, MS-ADTS 3.1.1.3.2.26) include an administrator's."""
    try:
        return security.administers([v.sid(bytes(raw)) for raw in token])
    except ValueError:
        return False


def _defined_names(raw: bytes) -> list[bytes]:
    """The names in one definition of an attribute or class (RFC 4512 section 4.1)."""
    match = _TYPE_NAMES.search(raw)
    if match is None:
        return []
    return [match[1]] if match[1] else re.findall(rb"'([^']+)'", match[2])
