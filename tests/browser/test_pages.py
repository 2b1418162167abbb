"""The pages in a real browser: no sideways scrolling of the page, no accessibility violation, a focus that is seen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.render.html import write_site
from tests.render.check import hostile
from tests.render.sample import sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATHS = ("index.html", "fails.html", "exceptions.html", "annex.html", "schools/millbrook.html", "standards/dfe.html")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not here (Debian: chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        running = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(sample(stand_in=True), tmp_path_factory.mktemp("site") / "report")[0].parent


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_pages_fit_their_window(browser: Any, folder: Path, tmp_path: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for path in PATHS:
        page.goto(f"file://{folder / path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        picture = page.screenshot(path=tmp_path / f"{path.replace('/', '-')}-{width}.png", full_page=True)
        assert len(picture) > 10_000
    page.close()
    assert all(url.startswith("file://") and url.endswith(".html") for url in asked), asked
    assert not said, "the browser complains, perhaps of the content security policy"


def test_what_a_target_says_does_not_break_the_layout(browser: Any, tmp_path: Path) -> None:
    long = hostile("<b>" + "W" * 3_000 + "\u202e")
    start = write_site(replace(long, trust_name="T"), tmp_path / "report")[0]
    page = browser.new_page(viewport={"width": 360, "height": 800})
    for path in start.parent.rglob("*.html"):
        page.goto(f"file://{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path.name
    page.close()


@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_no_violation(browser: Any, folder: Path, path: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    # Axe is a script, and the pages forbid scripts: only the test may set that aside.
    context = browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"file://{folder / path}")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
    context.close()
    assert not found, [(v["id"], v["nodes"][0]["html"][:200]) for v in found]


def test_the_keyboard_reaches_everything_and_is_seen(browser: Any, folder: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"file://{folder / 'index.html'}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    focusable = page.evaluate("document.querySelectorAll('main a[href], main summary, main [tabindex=\"0\"]').length")
    seen = set()
    for _ in range(focusable):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return [document.activeElement.tagName, s.outlineStyle, parseFloat(s.outlineWidth)] })()"
        )
        assert outline[0] != "BODY"
        assert outline[1] == "solid"
        assert outline[2] >= 2
        seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    assert len(seen) > 10
    page.close()


def test_paper_is_a4_and_holds_the_folded_parts(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    page.goto(f"file://{folder / 'standards/dfe.html'}")
    page.emulate_media(media="print")
    assert page.locator("details ul").first.is_visible()
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    assert pdf.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594" in pdf or b"/MediaBox [0 0 595" in pdf
