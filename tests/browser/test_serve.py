"""The live page in a browser, at the width of a laptop and of a phone: all that it does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import yaml

import distsim as ds
from distsim.cli import main
from distsim.serve.share import encoded
from distsim.units import fmt_s
from tests.page_checks import CUT, DRAWN, GROUPS, OVERLAPS
from tests.serving import SMALL, Running, heavy, scenario_text, start, stop

pytest.importorskip("playwright")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
OWN_GROUPS = [
    *GROUPS,
    *(".actions > *", ".tabs > *", ".fields > *", ".content > *", ".panel > *", ".form > *"),
    *("fieldset > *", ".vary-row > *", ".sides > *", ".sweep > *", ".problem > *", "body > * > *"),
]
GPT3 = "gpt3-175b-1024xa100"
Opener = Callable[..., "Page"]


@pytest.fixture(scope="session")
def live(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a server; afterwards it has written nothing but its cache."""
    running = start(tmp_path_factory.mktemp("live"))
    try:
        yield running
    finally:
        code, said = stop(running)
    assert (code, said.strip()) == (130, "interrupted")
    assert running.files() == {}


@pytest.fixture
def open_live(browser: Browser, live: Running) -> Iterator[Opener]:
    """Return a function that opens the page; it never complains and never looks elsewhere."""
    contexts, complaints = [], list[str]()

    def opened(
        *,
        state: dict[str, Any] | None = None,
        width: int = 1440,
        scheme: str = "light",
        quiet: bool = True,
        fragment: str = "",
        **how: Any,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 600 else 844},
            color_scheme=scheme,
            reduced_motion="reduce",
            **how,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda e: complaints.append(f"error: {e}"))
        if quiet:
            page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
        page.on("request", lambda r: _asked(r.url, live.url, complaints))
        page.goto(live.url + "/" + (encoded(state) if state else fragment))
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _asked(url: str, own: str, complaints: list[str]) -> None:
    if not url.startswith((f"{own}/", "data:", "blob:")):
        complaints.append(f"request: {url}")


def _small(**more: Any) -> dict[str, Any]:
    return {"a": {"scenario": SMALL, "base": ""}, **more}


def _done(page: Page, what: str = "Predicted in") -> None:
    _waits(page, ".status", what)


def _waits(page: Page, place: str, text: str) -> None:
    """Wait until an element has a text, or a field a value, with some words in it."""
    has = """([place, text]) => {
      const found = document.querySelector(place);
      return found && (found.value || found.textContent).includes(text);
    }"""
    page.wait_for_function(has, arg=[place, text])


def _yaml(page: Page) -> str:
    found: str = page.locator("#yaml").input_value()
    return found


def _value(page: Page, panel: str = ".predict") -> str:
    return page.locator(f"{panel} .numbers .value").first.inner_text()


def _well_laid_out(page: Page, width: int) -> None:
    page.evaluate("scrollTo(0, 0)")  # bars that stay in sight lie on what is scrolled past them
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT) == []
    assert page.evaluate(DRAWN) == []
    assert page.evaluate(OVERLAPS, OWN_GROUPS) == []


def _accessible(page: Page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # axe is put into the page, whose policy would not load it; it reads the page as it stands.
    found = axe.Axe().run(page).response["violations"]
    said = [
        (v["id"], v["impact"], [n["html"][:120] for n in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert said == []


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_it_opens_complete_with_a_shipped_scenario(
    open_live, shot, width: int, scheme: str
) -> None:
    page = open_live(width=width, scheme=scheme)
    shot(page, f"serve-predict-{width}-{scheme}")
    prediction = ds.simulate(ds.load(GPT3))
    assert page.locator(".predict h1").inner_text() == prediction.scenario
    assert _value(page) == fmt_s(prediction.step_s)
    sections = page.locator(".predict section").evaluate_all("(all) => all.map((s) => s.id)")
    assert sections == ["losses", "timeline", "memory", "network", "roofline", "accuracy"]
    assert page.locator("#start").input_value() == GPT3
    if width < 600:
        page.locator(".panel > summary").click()
    page.locator(".yaml summary").click()
    assert _yaml(page) == scenario_text(GPT3)
    _well_laid_out(page, width)
    shot(page, f"serve-panel-{width}-{scheme}")
    _accessible(page)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_comparisons_and_sweeps_are_laid_out(open_live, shot, width: int, scheme: str) -> None:
    b = {"scenario": SMALL.replace("tp: 2", "tp: 4"), "base": ""}
    page = open_live(width=width, scheme=scheme, state=_small(b=b, tab="compare"))
    _done(page, "Compared in")
    shot(page, f"serve-compare-{width}-{scheme}")
    _well_laid_out(page, width)
    _accessible(page)
    sweep = {"devices": "8:32", "vary": ["plan.tp=1,2,16", "batch.micro_size=1,2"], "weak": False}
    page = open_live(width=width, scheme=scheme, state=_small(tab="sweep", sweep=sweep))
    page.get_by_role("button", name="Run the sweep").click()
    page.locator("#rows").wait_for()
    shot(page, f"serve-sweep-{width}-{scheme}")
    _well_laid_out(page, width)
    _accessible(page)


def test_a_model_and_a_cluster_are_picked(open_live) -> None:
    page = open_live(state=_small())
    picked = {"Cluster": "dgx-h100-superpod", "Model": "llama3-8b", "Precision": "fp8"}
    for label, value in picked.items():
        page.get_by_label(label, exact=True).select_option(value)
        _waits(page, "#yaml", value)
    expected = re.sub("{family.*}", "llama3-8b", SMALL).replace("dgx-a100", "dgx-h100-superpod")
    expected += "precision: fp8\n"
    _done(page)
    assert yaml.safe_load(_yaml(page)) == yaml.safe_load(expected)
    assert "# a comment" in _yaml(page)
    step_s = ds.simulate(ds.load(yaml.safe_load(expected))).step_s
    _waits(page, ".predict .value", fmt_s(step_s))


def test_a_plan_is_changed_by_keyboard(open_live) -> None:
    page = open_live(state=_small())
    page.get_by_role("spinbutton", name="Tensor").focus()
    page.keyboard.press("ArrowUp")
    _waits(page, "#yaml", "tp: 4")
    _done(page)
    step_s = ds.simulate(ds.load(yaml.safe_load(SMALL), ["plan.tp=4"])).step_s
    _waits(page, ".predict .value", fmt_s(step_s))
    assert page.get_by_label("Data", exact=True).inner_text() == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    _waits(page, "#yaml", "pp: 1")
    # The focus stays where it was while everything around it is filled in.
    assert page.evaluate("document.activeElement.previousSibling.textContent") == "Pipeline"


def test_virtual_stages_and_schedules_go_together(open_live) -> None:
    page = open_live(state=_small())
    page.get_by_role("combobox", name="Schedule").select_option("interleaved")
    _waits(page, "#yaml", "virtual_stages: 2")
    page.get_by_role("combobox", name="Schedule").select_option("gpipe")
    _waits(page, "#yaml", "virtual_stages: 1")
    _done(page)
    assert page.locator(".problem").is_hidden()


def test_the_timeline_is_zoomed_and_pointed_at(open_live) -> None:
    page = open_live(state=_small())
    page.get_by_role("spinbutton", name="Micro").fill("2")
    _waits(page, "#yaml", "micro_size: 2")
    _done(page)
    canvas = page.locator("#timeline canvas")
    canvas.evaluate("(e) => e.scrollIntoView({ block: 'center' })")
    whole = canvas.get_attribute("data-to")
    page.locator("#timeline").get_by_role("button", name="Zoom in").click()
    expect(canvas).not_to_have_attribute("data-to", whole)
    assert float(canvas.get_attribute("data-to")) < float(whole)
    canvas.focus()
    page.keyboard.press("Home")
    expect(canvas).to_have_attribute("data-to", whole)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 155, box["y"] + 36)  # the first span
    expect(page.locator("#timeline .details")).to_contain_text("stage 0")
    assert "lasts" in page.locator("#timeline .details").inner_text()
    # One timeline was replaced by the other: nothing is drawn for the one that is gone.
    assert page.locator("#timeline").count() == 1
    counted = """() => {
      window.drawn = 0;
      const clear = CanvasRenderingContext2D.prototype.clearRect;
      CanvasRenderingContext2D.prototype.clearRect = function (...box) {
        window.drawn += 1;
        return clear.apply(this, box);
      };
    }"""
    page.mouse.move(2, 2)
    page.evaluate(counted)
    page.locator("#theme").press("Enter")
    assert page.evaluate("window.drawn") == 1


def test_yaml_is_edited_and_a_bad_scenario_says_what_the_command_line_says(
    open_live, tmp_path: Path, monkeypatch, capsys
) -> None:
    page = open_live(state=_small(), quiet=False)
    page.locator(".yaml summary").click()
    bad = SMALL.replace("tp: 2", "tpp: 2")
    page.locator("#yaml").fill(bad)
    page.locator(".problem pre").wait_for()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # one line for each line of the message
    (tmp_path / "scenario.yaml").write_text(bad)
    assert main(["run", "scenario.yaml"]) == 2
    assert page.locator(".problem pre").inner_text() == capsys.readouterr().err.strip()
    page.get_by_role("button", name="Go to line 6").click()
    selected = "(e) => e.value.slice(e.selectionStart, e.selectionEnd)"
    assert page.locator("#yaml").evaluate(selected) == bad.split("\n")[5]
    _well_laid_out(page, 1440)
    page.locator("#yaml").fill(SMALL.replace("tp: 2", "tp: 4"))
    _done(page)
    assert page.locator(".problem").is_hidden()
    assert page.get_by_role("spinbutton", name="Tensor").input_value() == "4"
    step_s = ds.simulate(ds.load(yaml.safe_load(SMALL), ["plan.tp=4"])).step_s
    assert _value(page) == fmt_s(step_s)


def test_a_change_that_cannot_be_is_said_and_can_be_taken_back(open_live, shot) -> None:
    page = open_live(state=_small(), quiet=False, width=390)
    page.locator(".panel > summary").click()
    page.get_by_role("spinbutton", name="Tensor").fill("3")
    page.locator(".problem pre").wait_for()
    assert "DS301" in page.locator(".problem").inner_text()
    page.get_by_role("button", name="DS301: see what is wrong").click()
    expect(page.locator(".problem")).to_be_in_viewport()
    shot(page, "serve-problem-390-light")
    _well_laid_out(page, 390)
    page.get_by_role("spinbutton", name="Tensor").fill("2")
    _done(page)
    assert page.locator(".problem").is_hidden()


def test_two_scenarios_are_compared(open_live) -> None:
    page = open_live(state=_small())
    page.get_by_role("button", name="Compare", exact=True).click()
    _done(page, "Compared in")
    page.get_by_role("spinbutton", name="Tensor").fill("4")
    page.locator("#way").wait_for()
    a, b = (ds.simulate(ds.load(yaml.safe_load(SMALL), s)) for s in ([], ["plan.tp=4"]))
    values = page.locator(".compare .numbers .value").all_inner_texts()
    assert values[:2] == [fmt_s(a.step_s), fmt_s(b.step_s)]
    # Each side is changed by the same controls.
    sides = page.get_by_role("group", name="Which scenario is changed")
    sides.get_by_role("button", name="A", exact=True).click()
    expect(page.get_by_role("spinbutton", name="Tensor")).to_have_value("2")
    sides.get_by_role("button", name="Remove B").click()
    _done(page)
    assert _value(page) == fmt_s(a.step_s) and sides.is_hidden()


def test_a_sweep_runs_and_its_best_plan_is_opened(open_live) -> None:
    page = open_live(state=_small())
    page.get_by_role("button", name="Sweep", exact=True).click()
    page.locator("#sweep-devices").fill("8:32")
    page.get_by_label("Key", exact=True).fill("plan.tp")
    page.get_by_label("Values", exact=True).fill("1,2")
    page.get_by_role("button", name="Run the sweep").click()
    page.locator("#rows").wait_for()
    found = ds.sweep(yaml.safe_load(SMALL), devices="8:32", set_=["plan.tp=1,2"])
    assert page.locator(".sweep .said").inner_text().startswith("6 of 6: ")
    assert page.locator("#rows tbody tr").count() == len(found.rows)
    page.locator("#scaling select").select_option(index=0)
    page.get_by_role("button", name="Open as scenario").click()
    _done(page)
    assert yaml.safe_load(_yaml(page))["cluster"]["devices"] in (8, 16, 32)


def test_a_sweep_shows_how_far_it_is_and_is_cancelled(open_live) -> None:
    page = open_live(state={"a": {"scenario": scenario_text(GPT3), "base": GPT3}, "tab": "sweep"})
    page.locator("#sweep-devices").fill("64:16384")
    page.get_by_label("Key", exact=True).fill("plan.tp")
    page.get_by_label("Values", exact=True).fill("1,2,4,8")
    page.get_by_role("button", name="Add a key").click()
    page.get_by_label("Key", exact=True).nth(1).fill("plan.pp")
    page.get_by_label("Values", exact=True).nth(1).fill("1,2,4,8,16,32")
    page.get_by_role("button", name="Run the sweep").click()
    page.wait_for_function("() => document.querySelector('.sweep progress').value > 0")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel").wait_for(state="hidden")
    _waits(page, ".sweep .said", "Cancelled.")
    assert page.get_by_role("button", name="Run the sweep").is_enabled()
    # Nothing runs on: the next request is answered at once.
    page.get_by_role("button", name="Prediction").click()
    _done(page)


def test_a_link_is_shared_and_opened_again(open_live, browser, live: Running) -> None:
    page = open_live(state=_small(), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("spinbutton", name="Tensor").fill("4")
    _waits(page, "#yaml", "tp: 4")
    _done(page)
    page.get_by_role("button", name="Share").click()
    _waits(page, ".status", "Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{live.url}/#s=") and link == page.url
    again = open_live(fragment=link.removeprefix(f"{live.url}/"))
    assert _yaml(again) == SMALL.replace("tp: 2", "tp: 4")
    assert _value(again) == _value(page)
    # And in a page that is open already.
    other = encoded({"a": {"scenario": SMALL, "base": ""}})
    again.evaluate("(h) => { location.hash = h; }", other)
    again.wait_for_function("(t) => document.querySelector('#yaml').value === t", arg=SMALL)
    again.reload()
    again.wait_for_selector("html[data-ready=yes]")
    assert _yaml(again) == SMALL


@pytest.mark.parametrize("fragment", ["#s=%%%", "#s=AAAA", "#s=" + "A" * 4000])
def test_a_broken_link_says_so(open_live, fragment: str) -> None:
    page = open_live(fragment=fragment)
    page.locator(".problem pre").wait_for()
    assert "The link is broken" in page.locator(".problem").inner_text()
    assert page.locator(".predict section").count() > 3


def test_hostile_names_stay_names(open_live) -> None:
    name = "</script><img src=x onerror=window.hacked=1><b>"
    text = SMALL.replace("name: small", f"name: {json.dumps(name)}")
    page = open_live(state={"a": {"scenario": text, "base": ""}})
    assert page.locator(".predict h1").inner_text() == name
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked === undefined")


def test_the_scenario_is_downloaded(open_live, tmp_path: Path) -> None:
    page = open_live(state=_small())
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    saved.value.save_as(tmp_path / "saved.yaml")
    assert saved.value.suggested_filename == "small.yaml"
    assert (tmp_path / "saved.yaml").read_text() == SMALL


def _ground(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_theme_is_switched_and_remembered(open_live) -> None:
    page = open_live(state=_small())
    light = _ground(page)
    page.locator("#theme").click()
    dark = _ground(page)
    assert light != dark
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    assert _ground(page) == dark


def test_what_takes_long_shows_the_longest_path_first_and_gives_way(open_live) -> None:
    page = open_live(state=_small())
    page.locator(".yaml summary").click()
    page.locator("#yaml").fill(heavy())
    _waits(page, ".predict .note", "longest path")
    assert page.locator(".status").inner_text() == "predicting"
    page.locator("#yaml").fill(SMALL)
    _done(page)
    assert _value(page) == fmt_s(ds.simulate(ds.load(yaml.safe_load(SMALL))).step_s)


def test_several_jobs_are_shown_and_changed_as_yaml(open_live) -> None:
    page = open_live(state=_small())
    page.locator("#start").select_option("two-jobs-128xa100")
    page.locator("#jobs").wait_for()
    assert page.get_by_text("several jobs: change it as YAML").is_visible()
    assert page.locator("fieldset:visible").count() == 0
    page.locator("#start").select_option("textbook/01-08-square-gemm")
    page.wait_for_function("() => !document.querySelector('#jobs')")
    assert page.locator("fieldset:visible").count() == 4


def test_a_server_that_is_gone_is_said(open_live) -> None:
    page = open_live(state=_small(), quiet=False)
    page.route("**/api/page", lambda route: route.abort())
    page.get_by_role("spinbutton", name="Tensor").fill("4")
    page.locator(".problem pre").wait_for()
    assert "does not answer" in page.locator(".problem").inner_text()


def test_nothing_may_be_loaded_and_no_script_may_be_added(open_live) -> None:
    page = open_live(state=_small(), quiet=False)
    tried = """() => new Promise((done) => {
      document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
      const s = document.createElement('script');
      s.textContent = 'window.hacked = 3';
      document.body.append(s);
    })"""
    assert page.evaluate(tried) == "script-src-elem"
    assert page.evaluate("window.hacked === undefined")


def test_another_origin_can_neither_read_nor_drive_nor_frame_it(
    browser: Browser, live: Running
) -> None:
    with urlopen(live.url) as answer:  # a program of this machine may
        assert answer.status == 200
    context = browser.new_context()
    page = context.new_page()
    # A page of another origin, without a network: Playwright answers for it.
    evil = "http://evil.example/"
    page.route(evil, lambda route: route.fulfill(content_type="text/html", body="<p>"))
    page.goto(evil)
    tried = """async (url) => {
      const body = JSON.stringify({ scenario: "x" });
      const tries = {
        read: () => fetch(url + '/api/catalogue'),
        blind: () => fetch(url + '/api/predict', { method: 'POST', mode: 'no-cors', body }),
        loaded: () => fetch(url + '/static/app.js', { mode: 'no-cors' }),
        post: () => fetch(url + '/api/predict', {
          method: 'POST', body, headers: { 'Content-Type': 'application/json' },
        }),
      };
      const out = {};
      for (const [name, ask] of Object.entries(tries)) {
        out[name] = await ask().then((r) => r.status, (e) => e.name);
      }
      return out;
    }"""
    seen: list[tuple[str, int]] = []
    page.on("response", lambda r: seen.append((r.url, r.status)))
    blocked = page.evaluate(tried, live.url)
    assert blocked == dict.fromkeys(("read", "blind", "loaded", "post"), "TypeError")
    assert {code for url, code in seen if url.startswith(live.url)} <= {403, 405, 415}
    # Nor may it stand in a frame of theirs.
    framed = """(u) => {
      const frame = document.createElement('iframe');
      frame.src = u;
      return new Promise((done) => { frame.onload = () => done(); document.body.append(frame); });
    }"""
    page.evaluate(framed, live.url)
    assert [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"]
    context.close()


def test_a_link_may_name_a_shipped_scenario(open_live) -> None:
    page = open_live(fragment="#start=gpt2-xl-8xa100")
    assert page.locator("#start").input_value() == "gpt2-xl-8xa100"
    assert _yaml(page) == scenario_text("gpt2-xl-8xa100")


def test_a_link_that_unpacks_to_too_much_is_broken(open_live) -> None:
    page = open_live(fragment=encoded({"a": {"scenario": "#" * 3_000_000, "base": ""}}))
    page.locator(".problem pre").wait_for()
    assert "The link is broken" in page.locator(".problem").inner_text()
