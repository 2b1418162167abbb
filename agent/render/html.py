"""The report as a folder of plain HTML files: no script, no request, the same bytes for the same snapshot.

Jinja2 lives here only. Everything that a snapshot says is data to it: always escaped, never a template, and what would
act without being seen (control and direction marks) is written out.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from agent.errors import SpiritlevelError
from agent.render.annex import annex_page, register_page
from agent.render.pages import common, fails_page, overview, school_page, standard_page
from agent.render.parts import school_path, standard_path
from agent.render.snapshot import Snapshot
from agent.render.standing import Judge
from agent.render.summary import Summary
from agent.render.text import count, shorten, visible
from agent.resources import data_dir

MANIFEST = ".spiritlevel-report"
"""In a report's folder: the names of the files that spiritlevel wrote, one a line. Only these are ever replaced."""
_LONGEST = 1_000
"""Characters of one value on a page; the exchange files hold the whole of it."""


def pages(snapshot: Snapshot) -> dict[str, str]:
    """Every page by its path from the site's root. Raises KeyError for a row whose control the snapshot lacks."""
    env = _environment()
    summary = Summary(snapshot)
    judge = Judge(summary)
    shared = common(summary)
    css = env.get_template("site.css").render().strip()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    shared |= {"css": Markup(css), "style_hash": f"sha256-{digest}"}  # noqa: S704 - our own file, no data in it

    def page(template: str, path: str, context: Mapping[str, Any]) -> str:
        return env.get_template(template).render({**shared, **context, "here": path, "root": "../" * path.count("/")})

    out = {
        "index.html": page("index.html", "index.html", overview(summary, judge)),
        "fails.html": page("fails.html", "fails.html", fails_page(summary)),
        "exceptions.html": page("exceptions.html", "exceptions.html", register_page(summary)),
        "annex.html": page("annex.html", "annex.html", annex_page(summary)),
    }
    for school in snapshot.schools:
        path = school_path(school.key)
        out[path] = page("school.html", path, school_page(summary, school))
    for standard in snapshot.standards:
        path = standard_path(standard.id)
        out[path] = page("standard.html", path, standard_page(summary, judge, standard))
    return out


def write_site(snapshot: Snapshot, folder: Path, extra: Mapping[str, str] | None = None) -> list[Path]:
    """Write the report into `folder`, whole or not at all, and give the files written, index.html first.

    `extra` are other texts of the same report (`findings.csv`), by path. The report is written beside the folder and
    then takes its place. Raises SpiritlevelError where that cannot be done: the folder holds files that spiritlevel
    did not write, it cannot be written, the disk is full.
    """
    files = {**pages(snapshot), **(extra or {})}
    names = sorted(files)
    for name in names:
        if name.startswith("/") or ".." in Path(name).parts:
            raise ValueError(f"not a path inside a report: {name!r}")
    files[MANIFEST] = "".join(f"{n}\n" for n in names)
    place = Path(os.path.realpath(folder))
    new, old = (place.parent / f".{place.name}.{word}-{os.getpid()}" for word in ("new", "old"))
    try:
        _may_replace(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        for name, text in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        _swap(new, old, place)
    except OSError as e:
        raise SpiritlevelError(
            f"The report cannot be written to {folder}: {(e.strerror or str(e)).lower()}.",
            "Name a folder on a disk that is writable and has room.",
        ) from e
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [place / "index.html", *(place / n for n in names if n != "index.html")]


def _swap(new: Path, old: Path, place: Path) -> None:
    """Put `new` where `place` is; on any failure what was there stays there."""
    if not place.exists():
        new.rename(place)
        return
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _may_replace(place: Path) -> None:
    """Raise SpiritlevelError unless `place` is free, empty, or holds nothing but a report of ours."""
    if not place.exists():
        return
    if not place.is_dir():
        raise SpiritlevelError(f"{place} is a file; a report is a folder.", "Name another place.")
    manifest = place / MANIFEST
    ours = {*manifest.read_text("utf-8", "replace").splitlines(), MANIFEST} if manifest.is_file() else set()
    there = sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if not p.is_dir() or p.is_symlink())
    foreign = [name for name in there if name not in ours]
    if foreign:
        raise SpiritlevelError(
            f"{place} holds {count(len(foreign), 'file')} that spiritlevel did not write, such as {foreign[0]}.",
            "Name an empty or new folder: a report replaces the whole of it.",
        )


def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("reports")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    env.filters["count"] = count
    return env


def _shown(value: Any) -> Any:
    """Every value on its way into a page. Markup is what a macro of ours made; its values came this way already."""
    if isinstance(value, Markup) or type(value) in (int, float):
        return value
    if isinstance(value, str):
        return shorten(visible(value), _LONGEST)
    raise TypeError(f"a page was given a {type(value).__name__} to show")
