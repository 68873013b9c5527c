"""Every page at the width of a laptop and of a phone, light and dark: complete, readable, quiet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.html_pages import KINDS, Reader, text_of

SIZES = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]

#: Elements that hold text and stick out of the page, or whose text is wider than they are.
CUT = """() => {
  const out = [];
  const wide = document.documentElement.clientWidth;
  const free = '.scroll, pre, .hidden, svg, option, script, style';
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest(free) || !e.getClientRects().length) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const box = e.getBoundingClientRect();
    const said = e.outerHTML.slice(0, 90);
    if (box.left < -0.5 || box.right > wide + 0.5) out.push('sticks out: ' + said);
    const inline = getComputedStyle(e).display === 'inline';
    if (!inline && e.scrollWidth > e.clientWidth + 1) out.push('cut: ' + said);
  }
  return out;
}"""

#: Whether two boxes share more than an edge.
MEET = """const meet = (a, b, x, y) =>
  a.left + x < b.right && b.left + x < a.right && a.top + y < b.bottom && b.top + y < a.bottom;"""

#: Words of a drawing that stick out of it, and labels of an axis that lie on one another.
DRAWN = (
    f"() => {{{MEET}"
    + """
  const out = [];
  for (const svg of document.querySelectorAll('.chart svg')) {
    const f = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map((t) => [t, t.getBoundingClientRect()]);
    for (const [t, b] of boxes) {
      const inside = b.left > f.left - 1 && b.right < f.right + 1 && b.bottom < f.bottom + 1;
      if (!inside || b.top < f.top - 1) out.push('out: ' + t.textContent);
    }
    const ticks = boxes.filter(([t]) => t.classList.contains('tick'));
    const said = ticks.map(([t]) => t.getAttribute('text-anchor') + t.textContent);
    if (new Set(said).size < said.length) out.push('twice: ' + said);
    ticks.forEach(([t, a], i) => ticks.slice(i + 1).forEach(([u, b]) => {
      if (meet(a, b, 0, 3)) out.push(`on one another: ${t.textContent} / ${u.textContent}`);
    }));
  }
  return out;
}"""
)

#: Parts of the page that overlap although they follow one another.
OVERLAPS = (
    f"() => {{{MEET}"
    + """
  const out = [];
  const groups = ['main > *', 'section > *', '.view > *', '.controls > *', '.numbers > div',
    'header > *', '.legend > li'];
  for (const group of groups) {
    const boxes = [...document.querySelectorAll(group)]
      .filter((e) => e.getClientRects().length && !e.matches('.hidden'))
      .map((e) => [e, e.getBoundingClientRect()]);
    boxes.forEach(([e, a], i) => boxes.slice(i + 1).forEach(([f, b]) => {
      if (e.parentNode !== f.parentNode || !meet(a, b, 1, 1)) return;
      out.push(e.outerHTML.slice(0, 60) + ' / ' + f.outerHTML.slice(0, 60));
    }));
  }
  return out;
}"""
)


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
    assert page.evaluate(OVERLAPS) == []
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
