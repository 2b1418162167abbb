"""trust.yml: schools, shared targets and credential references. See docs/trust.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.errors import ConfigError, SecretError, UsageError
from agent.files import AttestationEntry, AttestationsFile, ExceptionEntry, ExceptionsFile, SchoolEntry, TrustFile
from agent.model import Kind, School, Target
from agent.yamlfile import Document, model, read, suggest

REFERENCE = re.compile(r"^(env|file|keyring|vault):\S+$")


@dataclass(frozen=True, slots=True)
class Trust:
    """A trust's folder, loaded. `shared` are its directories and tenants; devices come from the inventories."""

    folder: Path
    file: TrustFile
    doc: Document
    schools: Mapping[str, School]
    shared: tuple[Target, ...]
    exceptions: tuple[ExceptionEntry, ...] = ()
    attestations: tuple[AttestationEntry, ...] = ()
    inventories: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The trust's name."""
        return self.file.name

    @property
    def hidden(self) -> Path:
        """Where the store lives: `.spiritlevel/` in the trust's folder."""
        return self.folder / ".spiritlevel"

    def fills(self, school: School | None) -> dict[str, Any]:
        """Placeholder values that a school (or the trust) gives; `base_dn` is the directory's to add."""
        out: dict[str, Any] = {"codes": [s.code for s in self.schools.values() if s.code]}
        if school is not None:
            out["code"] = school.code
            if school.directory.get("upn_suffix"):
                out["upn_suffix"] = school.directory["upn_suffix"]
        return out

    def today(self) -> date:
        """The day it is in the trust's time zone: what exceptions expire by."""
        return datetime.now(ZoneInfo(self.file.timezone)).date()

    def serving(self, target: Target) -> tuple[School, ...]:
        """The schools that a target is about: its own, or those that share it."""
        if target.school is not None:
            return (self.schools[target.school],)
        return tuple(self.schools[k] for k in target.serves)


def find(start: str | None) -> Path:
    """The trust's folder: `start` (or $SPIRITLEVEL_TRUST), else upward from here to a trust.yml.

    Raises `UsageError` where there is none.
    """
    given = start or os.environ.get("SPIRITLEVEL_TRUST")
    if given:
        folder = Path(given).expanduser().resolve()
        if folder.name == "trust.yml":
            folder = folder.parent
        if not (folder / "trust.yml").is_file():
            raise UsageError(f"there is no trust.yml in {folder}.", "Make one with `spiritlevel init`.")
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "trust.yml").is_file():
            return folder
    raise UsageError(
        "there is no trust.yml here or above.", "Name its folder with -C, or make one with `spiritlevel init`."
    )


def load(folder: Path) -> Trust:
    """Load trust.yml, exceptions.yml and attestations.yml. Raises `ConfigError`. Reads no secret, no inventory."""
    doc = read(folder / "trust.yml", "trust.yml")
    file = model(doc, TrustFile)
    if not file.schools:
        raise doc.error("a trust has at least one school.", ("schools",))
    try:
        ZoneInfo(file.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise doc.error(f"there is no time zone {file.timezone!r}.", ("timezone",), "Europe/London is one.") from None
    schools: dict[str, School] = {}
    inventories: dict[str, tuple[Path, ...]] = {}
    for key, entry in file.schools.items():
        schools[key] = _school(key, entry, file, doc)
        paths = [entry.inventory] if isinstance(entry.inventory, str) else list(entry.inventory or ())
        for p in paths:
            if not (folder / p).exists():
                raise doc.error(f"there is no inventory {p!r}.", ("schools", key, "inventory"))
        if paths:
            inventories[key] = tuple(folder / p for p in paths)
    if file.notify and file.notify.teams_webhook:  # whoever has the address may post: it is a secret
        _reference(file.notify.teams_webhook, doc, ("notify", "teams_webhook"), needed=True)
    for i, window in enumerate(file.change_windows):
        _known_school(window.school, schools, doc, ("change_windows", i, "school"))
    for i, freeze in enumerate(file.freezes):
        _known_school(freeze.school, schools, doc, ("freezes", i, "school"))
    codes = [s.code for s in schools.values() if s.code]
    if twice := next((c for c in codes if codes.count(c) > 1), None):
        raise doc.error(f"the code {twice!r} is given to two schools.", ("schools",))
    return Trust(
        folder,
        file,
        doc,
        schools,
        tuple(_shared(file, doc, folder)),
        _exceptions(folder, schools),
        _attestations(folder, schools),
        inventories,
    )


def _school(key: str, entry: SchoolEntry, file: TrustFile, doc: Document) -> School:
    for kind, uses, known in (("directory", entry.directory, file.directories), ("tenant", entry.tenant, file.tenants)):
        if uses is not None and uses.use not in known:
            raise doc.error(
                f"there is no {kind} {uses.use!r}.", ("schools", key, kind, "use"), suggest(uses.use, sorted(known))
            )
    if entry.tenant and entry.tenant.device_names:
        try:
            re.compile(entry.tenant.device_names)
        except re.error as e:
            raise doc.error(f"is no regular expression: {e}.", ("schools", key, "tenant", "device_names")) from None
    return School(
        key,
        entry.name,
        entry.code,
        entry.urn,
        entry.phase,
        _selectors(entry.directory),
        _selectors(entry.tenant),
        entry.parameters,
        entry.not_scanned,
    )


def _selectors(entry: Any) -> dict[str, Any]:
    return {} if entry is None else {k: v for k, v in entry.model_dump().items() if v not in (None, [], "")}


def _shared(file: TrustFile, doc: Document, folder: Path) -> list[Target]:
    out = []
    for key, d in file.directories.items():
        _reference(d.password, doc, ("directories", key, "password"), needed=bool(d.bind) and d.auth != "kerberos")
        if d.fix:
            _reference(d.fix.password, doc, ("directories", key, "fix", "password"), needed=True)
        serves = tuple(k for k, s in file.schools.items() if s.directory and s.directory.use == key)
        settings = {k: v for k, v in d.model_dump().items() if v is not None}
        if d.ca_file:
            settings["ca_file"] = str(_file(folder, d.ca_file, doc, ("directories", key, "ca_file")))
        out.append(Target(key, Kind.DIRECTORY, "ad", None, settings, (), serves))
    for key, t in file.tenants.items():
        for entry, place in ((t, ("tenants", key)), (t.fix, ("tenants", key, "fix"))):
            for name in ("secret", "certificate"):
                if entry is not None and getattr(entry, name) is not None:
                    _reference(getattr(entry, name), doc, (*place, name), needed=True)
        serves = tuple(k for k, s in file.schools.items() if s.tenant and s.tenant.use == key)
        settings = {k: v for k, v in t.model_dump().items() if v is not None}
        if t.ca_file:
            settings["ca_file"] = str(_file(folder, t.ca_file, doc, ("tenants", key, "ca_file")))
        if key in file.directories:
            raise doc.error("a directory has this key already; give the tenant another.", ("tenants", key))
        out.append(Target(key, Kind.TENANT, "m365", None, settings, (), serves))
    return out


def _reference(value: str, doc: Document, path: tuple[str | int, ...], *, needed: bool) -> None:
    if not value and not needed:
        return
    if not REFERENCE.match(value):
        # The value itself is never repeated: it may be the very secret.
        raise SecretError(
            "a secret is named here, never written down.",
            "Write env:NAME, file:PATH, keyring:SERVICE/USER or vault:FILE#KEY.",
            file=doc.file,
            line=doc.line(path),
            key=".".join(str(p) for p in path),
        )


def _file(folder: Path, name: str, doc: Document, path: tuple[str | int, ...]) -> Path:
    out = (folder / name).resolve()
    if not out.is_file():
        raise doc.error(f"there is no file {name!r}.", path)
    return out


def _exceptions(folder: Path, schools: Mapping[str, School]) -> tuple[ExceptionEntry, ...]:
    path = folder / "exceptions.yml"
    if not path.is_file():
        return ()
    return exceptions_of(read(path, "exceptions.yml"), schools)


def exceptions_of(doc: Document, schools: Mapping[str, School]) -> tuple[ExceptionEntry, ...]:
    """The entries of a read exceptions.yml, checked. Raises `ConfigError`."""
    if doc.data is None:
        return ()
    if isinstance(doc.data, list):  # the short form: the list itself
        doc = Document({"exceptions": doc.data}, doc.file, {("exceptions", *k): v for k, v in doc.lines.items()})
    entries = model(doc, ExceptionsFile).exceptions
    for i, e in enumerate(entries):
        _known_school(e.school, schools, doc, ("exceptions", i, "school"))
    return tuple(entries)


def _attestations(folder: Path, schools: Mapping[str, School]) -> tuple[AttestationEntry, ...]:
    path = folder / "attestations.yml"
    if not path.is_file():
        return ()
    return attestations_of(read(path, "attestations.yml"), schools)


def attestations_of(doc: Document, schools: Mapping[str, School]) -> tuple[AttestationEntry, ...]:
    """The entries of a read attestations.yml, checked. Raises `ConfigError`."""
    if doc.data is None:
        return ()
    if isinstance(doc.data, list):
        doc = Document({"attestations": doc.data}, doc.file, {("attestations", *k): v for k, v in doc.lines.items()})
    entries = model(doc, AttestationsFile).attestations
    for i, a in enumerate(entries):
        _known_school(a.school, schools, doc, ("attestations", i, "school"))
    return tuple(entries)


def _known_school(key: str | None, schools: Mapping[str, School], doc: Document, path: tuple[str | int, ...]) -> None:
    if key is not None and key not in schools:
        raise doc.error(f"there is no school {key!r}.", path, suggest(key, sorted(schools)))


def check_exceptions(trust: Trust, controls: Sequence[str]) -> None:
    """Every exception and attestation names controls that exist. Raises `ConfigError`."""
    import fnmatch

    named: dict[str, Sequence[ExceptionEntry | AttestationEntry]] = {
        "exceptions.yml": trust.exceptions,
        "attestations.yml": trust.attestations,
    }
    for name, entries in named.items():
        for i, e in enumerate(entries):
            if e.control is not None and not fnmatch.filter(controls, e.control):
                raise ConfigError(
                    f"there is no control {e.control!r}.", suggest(e.control, controls), file=name, key=f"[{i}].control"
                )
