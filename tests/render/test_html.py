"""The pages: well formed, self-contained, honest, and no place for what a target says to act."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings

from agent.errors import SpiritlevelError
from agent.model import TargetState, Verdict
from agent.render.html import MANIFEST, pages, write_site
from agent.resources import data_dir
from tests.render.check import NOON, Page, broken_links, hostile, tiny
from tests.render.sample import PEOPLE, sample
from tests.render.test_tables import NASTY, texts

ALLOWED = frozenset(
    "html head meta title style body a p strong header div nav ul li main span h1 h2 h3 dl dt dd section ol svg defs"
    " pattern rect table caption thead tbody tr th td footer details summary article code".split()
)


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    return pages(sample())


def test_the_pages_that_there_are(site: dict[str, str]) -> None:
    assert sorted(site) == [
        "annex.html",
        "exceptions.html",
        "fails.html",
        "index.html",
        "schools/millbrook.html",
        "schools/oakfield.html",
        "schools/st-wilfrids.html",
        "standards/dfe.html",
    ]


def test_every_page_is_well_formed_and_carries_what_it_must(site: dict[str, str]) -> None:
    for path, text in site.items():
        page = Page(text)
        assert not page.problems, (path, page.problems)
        assert text.startswith("<!DOCTYPE html>"), path
        assert page.of("html") == [{"lang": "en-GB"}]
        assert len(page.of("h1")) == 1, path
        assert len(page.of("main")) == 1
        assert page.of("a")[0] == {"class": "skip", "href": "#main"}
        assert all(th.get("scope") in ("col", "row") for th in page.of("th")), path
        assert len(page.of("caption")) == len(page.of("table")), path
        assert len(page.of("title")) == 1


def test_headings_do_not_skip_a_level(site: dict[str, str]) -> None:
    for path, text in site.items():
        levels = [int(t[1]) for t, _ in Page(text).tags if re.fullmatch("h[1-6]", t)]
        assert levels[0] == 1
        assert all(b <= a + 1 for a, b in pairwise(levels)), (path, levels)


def test_links_lead_somewhere(site: dict[str, str]) -> None:
    assert broken_links(site) == []


def contained(site: dict[str, str]) -> Iterator[str]:
    """Whatever a page would load, run or send, as sentences."""
    for path, text in site.items():
        page = Page(text)
        for tag, attributes in page.tags:
            if tag not in ALLOWED:
                yield f"{path}: <{tag}>"
            for name, value in attributes.items():
                if name.startswith("on") or name in (
                    "style",
                    "src",
                    "srcset",
                    "action",
                    "formaction",
                    "xlink:href",
                    "ping",
                ):
                    yield f"{path}: {tag} {name}={value}"
                if name == "href" and not re.match(r"(https://|[a-z0-9#./_-]*$)", value or ""):
                    yield f"{path}: {tag} href={value}"
        style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
        if re.search(r"@import|url\(|expression|http", style):
            yield f"{path}: the style loads something"
        policy = [m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        if len(policy) != 1 or "default-src 'none'" not in str(policy[0]) or "unsafe" in str(policy[0]):
            yield f"{path}: policy {policy}"


def test_nothing_is_loaded_run_or_sent(site: dict[str, str]) -> None:
    assert list(contained(site)) == []


def test_templates_never_trust_data() -> None:
    for path in data_dir("reports").iterdir():
        text = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup|<script|javascript:|\son\w+=", text), path.name


def harmless(text: str) -> None:
    site = pages(hostile(text))
    assert list(contained(site)) == []
    assert broken_links(site) == []
    for path, page in site.items():
        assert not (found := Page(page)).problems, (path, found.problems)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page), path
        assert all(re.fullmatch(r"[a-z0-9._/-]+", p) and ".." not in p for p in site)
        page.encode()
        if text == "{{7*7}}":
            assert text in found.text
        if len(text) >= 10_000:
            assert "x" * 1_001 not in page


@pytest.mark.parametrize("text", [*NASTY, "../../etc/passwd", "CON", "a/b", "javascript:alert(1)", "Ångström 学校"])
def test_hostile_text_is_only_text(text: str) -> None:
    harmless(text)


@settings(max_examples=25, deadline=None)
@given(texts)
def test_hostile_text_is_only_text_generated(text: str) -> None:
    harmless(text)


def test_no_person_on_a_leaders_page(site: dict[str, str]) -> None:
    working = {"annex.html", "exceptions.html"}
    for path, text in site.items():
        found = [name for name in PEOPLE if name in text]
        assert bool(found) == (path in working), (path, found)


def test_observed_values_stay_in_the_annex() -> None:
    site = pages(tiny(expected="EXPECTED-TEXT", observed="OBSERVED-TEXT", reason="REASON-TEXT"))
    for word in ("EXPECTED-TEXT", "OBSERVED-TEXT", "REASON-TEXT"):
        assert [p for p, text in site.items() if word in text] == ["annex.html"]


def test_the_same_snapshot_gives_the_same_bytes() -> None:
    assert pages(sample()) == pages(sample())
    turned = replace(sample(), rows=sample().rows[::-1], targets=sample().targets[::-1])
    assert pages(turned) == pages(sample())


def test_the_banner_of_the_demonstration() -> None:
    words = "These are stand-in servers of the demonstration, not real schools."
    assert all(words in text for text in pages(sample(stand_in=True)).values())
    assert not any(words in text for text in pages(sample()).values())


def test_what_was_not_looked_at_is_said(site: dict[str, str]) -> None:
    for path in ("index.html", "schools/oakfield.html", "standards/dfe.html"):
        assert "320 Chromebooks" in site[path]
    assert "set time_servers" in site["index.html"]
    assert "Last known on 20 November 2026." in site["index.html"]
    assert "Judged " in site["index.html"]
    assert "Judged " in site["schools/oakfield.html"]


def test_status_is_word_shape_and_number(site: dict[str, str]) -> None:
    text = re.sub(r"\s+", " ", Page(site["index.html"]).text)
    for words in (r"✓ Met \d", r"▲ Drift \d", r"\? Unknown \d", r"◇ Exception \d", r"– Not applicable \d"):
        assert re.search(words, text), words


def test_a_target_never_read_says_so() -> None:
    snap = tiny(Verdict.UNKNOWN, reason="unreachable")
    snap = replace(snap, targets=(replace(snap.targets[0], state=TargetState.UNREACHABLE, as_of=None),))
    assert "Never read yet." in pages(snap)["schools/oak.html"]


def test_a_trust_with_nothing_judged_has_pages() -> None:
    site = pages(replace(tiny(), rows=(), targets=(), controls={}))
    assert "nothing can be said" in site["index.html"]
    assert broken_links(site) == []


@pytest.mark.parametrize(
    "path",
    ["index.html", "fails.html", "exceptions.html", "annex.html", "schools/millbrook.html", "standards/dfe.html"],
)
def test_golden(golden, site: dict[str, str], path: str) -> None:
    """The words of each page, in reading order; the markup around them is what the other tests are about."""
    lines = (" ".join(line.split()) for line in Page(site[path]).text.splitlines())
    golden(f"render/{path.replace('/', '-')}.txt", "".join(f"{line}\n" for line in lines if line))


# Writing


def test_write_site(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    written = write_site(sample(), folder, {"findings.csv": "a\n"})
    assert written[0] == folder / "index.html"
    assert all(p.is_file() for p in written)
    assert (folder / "findings.csv").read_text() == "a\n"
    assert os.listdir(tmp_path / "new") == ["report"]


def test_a_second_report_replaces_the_first_whole(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_site(sample(), folder)
    write_site(tiny(), folder)
    assert not (folder / "schools" / "millbrook.html").exists()
    assert (folder / "schools" / "oak.html").is_file()
    assert os.listdir(tmp_path) == ["report"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    write_site(tiny(), folder)
    (folder / "thesis.odt").write_text("years of work")
    with pytest.raises(SpiritlevelError, match=r"1 file that spiritlevel did not write, such as thesis\.odt") as error:
        write_site(tiny(), folder)
    assert error.value.hint
    assert (folder / "thesis.odt").read_text() == "years of work"
    assert (folder / MANIFEST).is_file()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(SpiritlevelError, match="is a file"):
        write_site(tiny(), tmp_path / "x")


def test_a_full_disk_leaves_the_last_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    write_site(tiny(), folder)
    before = (folder / "index.html").read_text()
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "annex.html":
            raise OSError(28, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SpiritlevelError, match="no space left on device"):
        write_site(replace(tiny(), generated_at=NOON, trust_name="Another"), folder)
    assert (folder / "index.html").read_text() == before
    assert os.listdir(tmp_path) == ["report"]


def test_a_read_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(SpiritlevelError, match="read-only file system"):
        write_site(tiny(), tmp_path / "report")


def test_a_swap_that_fails_puts_the_old_report_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    write_site(tiny(), folder)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(SpiritlevelError, match="busy"):
        write_site(tiny(), folder)
    assert (folder / "index.html").is_file()
    assert os.listdir(tmp_path) == ["report"]


def test_extra_files_stay_inside(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        write_site(tiny(), tmp_path / "r", {"../x": ""})
