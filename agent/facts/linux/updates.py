"""Security updates that wait, by the lists of packages that the host holds, and what those lists tell of dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from agent.facts.linux.answer import Answer, FileText, clean
from agent.facts.linux.readers import listing, reads
from agent.facts.linux.system import read_os
from agent.facttypes import STR, TIME, Field, ListOf, Record
from agent.model import Reason, Unknown

UPDATE = Record(
    {
        "package": Field(STR, "name of the package"),
        "version": Field(STR, "version that waits"),
        "released": Field(TIME, "when the security update came out; Debian's and Ubuntu's lists do not say"),
        "released_by": Field(TIME, "it was out by then: the date of the oldest list that has it"),
    },
    key="package",
    label="package",
)
UPDATES = Record(
    {
        "listed": Field(TIME, "when the list of security updates was made, or last compared with its source"),
        "waiting": Field(ListOf(UPDATE), "security updates in that list that are not installed"),
    }
)
_NO_DATE = Unknown(Reason.NOT_SUPPORTED, "the lists of packages give no dates of release")
_NO_LIST = Unknown(Reason.NOT_SUPPORTED, "the host holds no list of its release's security updates")
# Components that hold what a system is made of: a source without them for security updates sees only a part.
_COMPONENTS = {"main", "restricted", "universe", "multiverse", "non-free-firmware"}
# Repositories that Red Hat's family is installed from. `fedora` itself never changes: its updates are in `updates`.
_BASE = re.compile(r"baseos|appstream|amazonlinux|server-rpms|(?:^|[-_])(?:base|updates)(?:[-_]|$)", re.IGNORECASE)


@reads(
    "security_updates",
    UPDATES,
    asks=("updates", "os"),
    what="/var/lib/apt/lists, or dnf updateinfo without asking any server",
    rights=("sudo",),
    doc="unknown where the host holds no list of security updates",
)
def read_updates(answer: Answer) -> Any:
    """What waits. Nothing is fetched: a list that is old tells nothing of what came after it."""
    section = answer.need("updates")
    if answer.meta.get("packages") == "rpm":
        return _rpm(section.lines, section.files)
    return _dpkg(section.files, answer)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _record(package: str, version: str, released: Any, released_by: str) -> dict[str, Any]:
    return {
        "package": clean(package, 120),
        "version": clean(version, 120),
        "released": released,
        "released_by": released_by,
    }


# ------------------------------------------------------------------ Debian and Ubuntu
class _List:
    """One Release file with its indexes. Raises ValueError when it has no date."""

    def __init__(self, file: FileText) -> None:
        fields = dict(line.partition(": ")[::2] for line in file.text.splitlines() if ": " in line)
        self.origin, self.label = fields.get("Origin", ""), fields.get("Label", "")
        self.suite, self.codename = fields.get("Suite", ""), fields.get("Codename", "")
        self.made = _iso(parsedate_to_datetime(fields["Date"]))
        indexes = [line[7:] for line in file.text.splitlines() if line.startswith("Index: ")]
        self.components = {i.partition("_binary-")[0].rpartition("_")[2] for i in indexes}
        self.rows = [row for line in file.text.splitlines() if len(row := line.split("|")) == 4]

    @property
    def security(self) -> bool:
        """Whether it lists the distribution's security updates, Ubuntu's paid ones too."""
        ubuntu = self.origin.startswith("Ubuntu") and self.suite.endswith("-security")
        return bool(self.components) and (self.label == "Debian-Security" or ubuntu)


def _dpkg(files: Sequence[FileText], answer: Answer) -> Any:
    system = read_os(answer)
    if isinstance(system, Unknown):
        return system
    lists = [_List(f) for f in files if f.ok]
    base = [x for x in lists if not x.security]
    security = [x for x in lists if x.security]
    if system["id"] in ("debian", "ubuntu"):  # others take them from these two, under code names of their own
        code = system["codename"]
        security = [x for x in security if code and x.codename in (code, f"{code}-security")]
        base = [x for x in base if x.codename == code]
    if not security:
        return _NO_LIST
    # The same archive by two mirrors is as new as the newer of them; of different ones the oldest counts.
    newest: dict[tuple[str, str], str] = {}
    for x in security:
        newest[x.origin, x.suite] = max(x.made, newest.get((x.origin, x.suite), ""))
    unseen = {c for x in base for c in x.components & _COMPONENTS} - {c for x in security for c in x.components}
    why = (
        Unknown(Reason.NOT_SUPPORTED, f"no list of security updates for {', '.join(sorted(unseen))}")
        if unseen
        else None
    )
    return {"listed": min(newest.values()), "waiting": listing(_waiting(security, base), why)}


def _waiting(security: Iterable[_List], base: Sequence[_List]) -> list[dict[str, Any]]:
    """One item per package. A point release holds its security updates too: they were out by its date."""
    also: dict[tuple[str, str], str] = {}
    for x in base:
        for package, _, _, version in x.rows:
            also[package, version] = min(x.made, also.get((package, version), x.made))
    found: dict[str, dict[str, Any]] = {}
    for x in security:
        for package, _, _, version in x.rows:
            out_by = min(x.made, also.get((package, version), x.made))
            if package not in found or out_by < found[package]["released_by"]:
                found[package] = _record(package, version, _NO_DATE, out_by)
    return [found[p] for p in sorted(found)]


# ------------------------------------------------------------------ Red Hat's family
_DNF4 = re.compile(r"(\S+)\s+(?:\S+/)?Sec\.\s+(\S+)")
_DNF5 = re.compile(r"(\S+)\s+security\s+\S+\s+(\S+)\s+(\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?)")
_IDLE = re.compile(r"Name\s+Type\s+Severity\s+Package\s+Issued|updateinfo list done|Loaded plugins:.*", re.IGNORECASE)


def _rpm(lines: Sequence[str], files: Sequence[FileText]) -> Any:
    base = [f for f in files if _BASE.search(f.path)]
    if not base or any("updateinfo=1" not in f.text.splitlines() for f in base):
        return _NO_LIST  # CentOS Stream, for one, publishes none: that is not the same as none waiting
    checked = [max(int(n) for n in re.findall(r"(?m)^checked=(\d+)$", f.text)) for f in base]
    listed = _iso(datetime.fromtimestamp(min(checked), UTC))
    issued = _issued(line for f in files for line in f.text.splitlines())
    found: dict[str, list[tuple[str, Any]]] = {}
    for line in (x.strip() for x in lines):
        match = _DNF4.fullmatch(line) or _DNF5.fullmatch(line)
        if match is None and _IDLE.fullmatch(line):
            continue
        if match is None:
            raise ValueError("updateinfo said something else")
        date = _moment(match[3]) if match.re is _DNF5 else issued.get(match[1])
        name, version = _nevra(match[2])
        found.setdefault(name, []).append((version, date))
    waiting = []
    for name, updates in sorted(found.items()):
        dates = [d for _, d in updates if d is not None]
        whole = len(dates) == len(updates)
        released = min(dates) if whole else Unknown(Reason.UNREADABLE, "updateinfo gives no date of issue")
        waiting.append(_record(name, updates[-1][0], released, min([*dates, listed])))
    return {"listed": listed, "waiting": listing(waiting)}


def _issued(lines: Iterable[str]) -> Mapping[str, str]:
    """`issued|advisory|date` → the earliest date of each advisory."""
    out: dict[str, str] = {}
    for line in lines:
        parts = line.split("|")
        if len(parts) == 3 and parts[0] == "issued" and (date := _moment(parts[2])) is not None:
            out[parts[1]] = min(date, out.get(parts[1], date))
    return out


def _moment(text: str) -> str | None:
    """Seconds since 1970, or `2026-10-01 09:00:00` in UTC (updateinfo names no zone); None for anything else."""
    try:
        if re.fullmatch(r"\d{9,11}", text):
            return _iso(datetime.fromtimestamp(int(text), UTC))
        return _iso(datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def _nevra(text: str) -> tuple[str, str]:
    """`openssl-1:3.0.7-25.el9_3.x86_64` → (name, version). Raises ValueError for what is no package."""
    match = re.fullmatch(r"(.+)-([^-]+-[^-]+)\.[^.-]+", text)
    if match is None:
        raise ValueError("no package")
    return match[1], match[2]
