"""Charts, tables, choices, copying and the theme, by mouse and by keys."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml

import distsim as ds
from distsim.report.html.charts import axis, chart, series
from distsim.report.html.page import Page, html
from tests.html_pages import Reader, section, text_of


def test_a_point_of_the_front_shows_its_plan_and_yaml_that_loads(open_page) -> None:
    page = open_page("plan")
    front = section(text_of("plan"), "front")
    plans, numbers = front["plans"], front["series"][0]["plans"]
    host = page.locator("#front")
    assert host.locator(".choice h3").inner_text() == plans[0]["title"]
    marks = host.locator(".chart path.mark")
    chart = host.locator(".chart")
    chart.scroll_into_view_if_needed()
    seen = set()
    for n in range(3):
        box = marks.nth(n).bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        title = host.locator(".choice h3").inner_text()
        assert title == plans[numbers[n]]["title"]
        seen.add(title)
        shown = host.locator("pre code").text_content()
        assert ds.load(yaml.safe_load(shown)).cluster.devices in (8, 16, 32)
    assert seen == {p["title"] for p in plans[:3]}


def test_plans_are_reached_by_keys_and_by_a_list(open_page) -> None:
    page = open_page("plan")
    host = page.locator("#front")
    titles = [p["title"] for p in section(text_of("plan"), "front")["plans"]]
    host.locator(".chart").focus()
    page.keyboard.press("Home")
    fastest = host.locator(".choice h3").inner_text()
    page.keyboard.press("ArrowRight")
    assert host.locator(".choice h3").inner_text() != fastest
    assert host.locator(".says").inner_text() != ""
    host.locator("select").select_option(str(len(titles) - 1))
    assert host.locator(".choice h3").inner_text() == titles[-1]


def test_a_point_of_a_scaling_curve_shows_its_scenario(open_page) -> None:
    page = open_page("sweep")
    host = page.locator("#scaling")
    host.locator(".chart").focus()
    page.keyboard.press("Home")
    few = yaml.safe_load(host.locator("pre code").text_content())
    page.keyboard.press("End")
    many = yaml.safe_load(host.locator("pre code").text_content())
    assert (few["cluster"]["devices"], many["cluster"]["devices"]) == (8, 32)


def test_tables_are_sorted_and_filtered(open_page) -> None:
    page = open_page("sweep")
    rows = section(text_of("sweep"), "rows")
    host = page.locator("#rows")
    heads = [c["label"] for c in rows["columns"]]
    at = heads.index("step time")
    assert host.locator("tbody tr").count() == len(rows["rows"])
    host.get_by_role("button", name="step time").click()
    first = rows["rows"]
    slowest = max(r[at] for r in first if r[at] is not None)
    assert host.locator("th[aria-sort=descending]").inner_text().startswith("step time")
    shown = host.locator("tbody tr").first.locator("td, th").nth(at).inner_text()
    assert float(shown.split()[0]) == pytest.approx(slowest * 1e3, rel=1e-3)
    host.get_by_role("button", name="step time").press("Enter")
    assert host.locator("th[aria-sort=ascending]").count() == 1
    host.get_by_label("status").select_option(label="not possible")
    impossible = [r for r in first if r[heads.index("status")] == "not possible"]
    assert impossible
    assert host.locator("tbody tr").count() == len(impossible)
    host.get_by_label("status").select_option(label="all")
    host.get_by_label("Search").fill("no such thing")
    assert host.locator("tbody tr").count() == 0
    assert host.locator(".count").inner_text() == f"0 of {len(first)} rows"


def test_points_of_a_chart_are_named_when_pointed_at(open_page) -> None:
    page = open_page("validate")
    host = page.locator("#scatter-s")
    case = Reader(text_of("validate")).data["sections"][0]["series"][0]["points"][0]
    mark = host.locator(".chart path.mark").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert host.locator(".says").inner_text() == case[2]


def test_memory_of_each_stage(open_page) -> None:
    page = open_page("run")
    host = page.locator("#memory")
    stages = section(text_of("run"), "memory")["stages"]
    assert "Stage 0 peaks at" in host.locator(".says").inner_text()
    host.locator("select").select_option("7")
    assert "Stage 7 peaks at" in host.locator(".says").inner_text()
    chart = host.locator(".chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
    assert host.locator(".says").inner_text().startswith("At ")
    assert host.locator("path.area").count() == len(stages[7]["parts"])
    assert "capacity 85.9 GB" in host.locator("svg").text_content()


def test_the_scenario_is_copied(open_page) -> None:
    page = open_page("run", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#scenario .copy").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == section(text_of("run"), "scenario")["text"]
    again = ds.simulate(ds.load(yaml.safe_load(copied)))
    assert again.step_s == ds.simulate(ds.load("gpt3-175b-1024xa100")).step_s


def test_the_scenario_is_saved(open_page, tmp_path) -> None:
    page = open_page("run")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as scenario.yaml").click()
    saved.value.save_as(tmp_path / "saved.yaml")
    assert (tmp_path / "saved.yaml").read_text() == section(text_of("run"), "scenario")["text"]
    assert saved.value.suggested_filename == "scenario.yaml"


def _ground(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_until_it_is_chosen(open_page) -> None:
    page = open_page("small", scheme="light")
    light = _ground(page)
    page.emulate_media(color_scheme="dark")
    dark = _ground(page)
    assert light != dark
    page.locator("#theme").click()
    assert _ground(page) == light
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    assert _ground(page) == light  # remembered


def test_a_browser_without_storage_is_no_error(open_page, browser, tmp_path) -> None:
    context = browser.new_context()
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden'); } })"
    )
    page, errors = context.new_page(), []
    page.on("pageerror", lambda e: errors.append(e))
    path = tmp_path / "small.html"
    path.write_text(text_of("small"), encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    before = _ground(page)
    page.locator("#theme").click()
    assert _ground(page) != before
    assert errors == []
    context.close()


def test_numbers_of_a_crowded_axis_are_left_out(open_page) -> None:
    points = [(n, n, "") for n in range(1, 200)]
    crowded = axis("devices", log=True, ticks=range(1, 200))
    made = chart("c", "C", "", crowded, axis("rate"), [series("s", points)])
    page = open_page("crowded", width=390, text="".join(html(Page("c", "sweep", (), (), [made]))))
    boxes = page.locator(".chart .tick[text-anchor=middle]").evaluate_all(
        "(all) => all.map((t) => t.getBoundingClientRect()).map((b) => [b.left, b.right])"
    )
    assert 5 < len(boxes) < 20
    assert all(end < begin for (_, end), (begin, _) in pairwise(boxes))
