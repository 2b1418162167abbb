"""Framework mappings: which controls, and which answers by a person, stand behind each requirement of a standard.

One file a framework, `baselines/standards/<id>.yml`. A mapping that names a control which does not exist is a load
error: a typing slip must never turn a requirement into one that nothing can fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from agent import yamlfile
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement, in our own words.

    `all_of` and `any_of` are control ids (both given: all of the one, and at least one of the other). `attest` is the
    question that a person answers: for the part, or the whole, that no machine reads. Neither: nothing covers it.
    `strength` is the framework's own force (`must`, `should`, `may`, `condition`, `guidance`).
    """

    id: str
    theme: str
    title: str
    strength: str
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    attest: str = ""
    core: bool = False
    """One of the DfE's six core categories, to be met by 2030."""
    auto_fail: bool = False
    """Failing this alone fails the certification (Cyber Essentials)."""
    ref: str = ""
    """The framework's own number for it."""
    source: str = ""
    source_date: date | None = None
    note: str = ""

    @property
    def controls(self) -> tuple[str, ...]:
        """Every control named, in the order written."""
        return (*self.all_of, *self.any_of)


@dataclass(frozen=True, slots=True)
class Standard:
    """One framework: `version` as it calls itself, `source` (an https address) and the date of what was read."""

    id: str
    title: str
    short: str
    version: str
    source: str
    source_date: date
    note: str
    requirements: tuple[Requirement, ...]


_Line = Annotated[str, StringConstraints(min_length=1, max_length=600, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=80)]
_Url = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+$", max_length=400)]


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Requirement(_Base):
    id: _Id
    theme: _Line
    title: _Line
    strength: Literal["must", "should", "may", "condition", "guidance"]
    all_of: tuple[_Id, ...] = ()
    any_of: tuple[_Id, ...] = ()
    attest: _Line | None = None
    core: bool = False
    auto_fail: bool = False
    ref: _Line | None = None
    source: _Url | None = None
    source_date: date | None = None
    note: _Line | None = None

    @field_validator("all_of", "any_of")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("an empty list names no control; leave the key out")
        if len(set(value)) != len(value):
            raise ValueError("a control is named twice")
        return value


class _Standard(_Base):
    id: _Id
    title: _Line
    short: _Line
    version: _Line
    source: _Url
    source_date: date
    note: _Line | None = None
    requirements: Annotated[tuple[_Requirement, ...], Field(min_length=1)]


def load_standard(path: Path, controls: Collection[str], shown: str = "") -> Standard:
    """Read one mapping file and check it against the ids of all known controls.

    `shown` is the file's name in messages. Raises `ConfigError` with line and key for a wrong key or value, a
    requirement that stands twice, or a control that does not exist (with the nearest name).
    """
    doc = yamlfile.read(path, shown)
    raw = yamlfile.model(doc, _Standard)
    if raw.id != path.stem:
        raise doc.error(f"the id {raw.id!r} is not the file's name.", ("id",), f"Write id: {path.stem}.")
    seen: set[str] = set()
    for n, req in enumerate(raw.requirements):
        if req.id in seen:
            raise doc.error(f"the requirement {req.id!r} stands here twice.", ("requirements", n, "id"))
        seen.add(req.id)
        for key, place, control in _named(req):
            if control not in controls:
                raise doc.error(
                    f"there is no control {control!r}.",
                    ("requirements", n, key, place),
                    yamlfile.suggest(control, sorted(controls)),
                )
    return Standard(
        raw.id,
        raw.title,
        raw.short,
        raw.version,
        raw.source,
        raw.source_date,
        raw.note or "",
        tuple(_requirement(r, raw) for r in raw.requirements),
    )


def load_standards(folder: Path, controls: Collection[str]) -> tuple[Standard, ...]:
    """All mapping files of a folder, by id. Raises `ConfigError` as `load_standard` does, or when there are none."""
    paths = sorted(folder.glob("*.yml"))
    if not paths:
        raise ConfigError("there are no standards here.", "A mapping is a file <id>.yml.", file=str(folder))
    return tuple(load_standard(p, controls, f"{folder.name}/{p.name}") for p in paths)


def _named(req: _Requirement) -> Iterator[tuple[str, int, str]]:
    for key, ids in (("all_of", req.all_of), ("any_of", req.any_of)):
        for place, control in enumerate(ids):
            yield key, place, control


def _requirement(raw: _Requirement, standard: _Standard) -> Requirement:
    return Requirement(
        raw.id,
        raw.theme,
        raw.title,
        raw.strength,
        raw.all_of,
        raw.any_of,
        raw.attest or "",
        raw.core,
        raw.auto_fail,
        raw.ref or "",
        raw.source or standard.source,
        raw.source_date or standard.source_date,
        raw.note or "",
    )
