"""Every page at the width of a laptop and of a phone, light and dark: complete, readable, quiet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.html_pages import KINDS, Reader, text_of
from tests.page_checks import CUT, DRAWN, GROUPS, OVERLAPS

SIZES = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_complete_and_nothing_is_cut_or_overlaps(
    open_page, shot, kind: str, width: int, scheme: str
) -> None:
    page = open_page(kind, width=width, scheme=scheme)
    shot(page, f"{kind}-{width}-{scheme}")
    data = Reader(text_of(kind)).data
    assert page.locator("main section").count() == len(data["sections"])
    assert page.locator("h1").text_content() == data["title"]
    assert page.locator(".numbers > div").count() == len(data["numbers"])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT) == []
    assert page.evaluate(DRAWN) == []
    assert page.evaluate(OVERLAPS, GROUPS) == []
    assert all(page.locator(f"#{s['id']} .view > *").count() > 0 for s in data["sections"]), (
        "a section is empty"
    )


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize(
    "kind", ["run", "sweep", "plan", "goodput", "validate", "jobs", "too-large"]
)
def test_axe_finds_nothing_serious(open_page, kind: str, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(kind, width=width, scheme=scheme)
    found = axe.Axe().run(page).response["violations"]
    said = [
        (v["id"], v["impact"], [n["html"][:120] for n in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert said == []


@pytest.mark.parametrize("kind", ["hostile", "hostile-plan"])
@pytest.mark.parametrize("width", [1440, 390])
def test_hostile_names_stay_names(open_page, kind: str, width: int) -> None:
    page = open_page(kind, width=width)
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("img").count() == 0
    title = Reader(text_of(kind)).data["title"]
    assert page.locator("h1").text_content() == title
    assert "</script>" in page.locator("pre code").first.text_content()


def test_nothing_may_be_loaded(open_page) -> None:
    page = open_page("small", quiet=False)
    tried = """() => new Promise((done) => {
      document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
      const s = document.createElement('script');
      s.textContent = 'window.hacked = 3';
      document.body.append(s);
    })"""
    assert page.evaluate(tried) == "script-src-elem"
    assert page.evaluate("window.hacked === undefined")


def test_a_script_is_needed_and_its_absence_said(open_page, browser, tmp_path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    path = tmp_path / "small.html"
    path.write_text(text_of("small"), encoding="utf-8")
    page.goto(path.as_uri())
    assert "switched off" in page.locator("body").inner_text()
    context.close()


def test_the_page_prints(open_page, tmp_path, shot) -> None:
    page = open_page("run", scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#theme").is_visible()
    white = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert white == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 35)"
    pdf = page.pdf(format="A4", print_background=True)
    if folder := os.environ.get("DISTSIM_SCREENSHOTS"):
        Path(folder, "run.pdf").write_bytes(pdf)
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    assert page.evaluate("document.documentElement.dataset.theme || 'as before'") == "as before"
    shot(page, "run-print")
