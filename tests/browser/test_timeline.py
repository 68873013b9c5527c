"""The timeline by mouse, wheel, fingers and keys, with few spans and with many."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pytest

from distsim.report.html.page import Page, html
from tests.html_pages import section, text_of

CANVAS = ".timeline canvas"


def _window(page) -> tuple[float, float]:
    # What is drawn next frame.
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    data = page.locator(CANVAS).evaluate("(c) => [Number(c.dataset.from), Number(c.dataset.to)]")
    return data[0], data[1]


def _details(page) -> str:
    return page.locator(".details").inner_text()


def test_buttons_zoom_and_move(open_page) -> None:
    page = open_page("run")
    end = section(text_of("run"), "timeline")["end_s"]
    assert _window(page) == (0.0, pytest.approx(end))
    page.get_by_role("button", name="Zoom in").click()
    low, high = _window(page)
    assert high - low == pytest.approx(end / 2)
    page.get_by_role("button", name="Later").click()
    assert _window(page)[0] == pytest.approx(low + 0.3 * (high - low))
    page.get_by_role("button", name="Zoom out").click()
    page.get_by_role("button", name="Show the whole step").click()
    assert _window(page) == (0.0, pytest.approx(end))


def test_the_wheel_zooms_where_it_points_and_scrolls_the_page_until_asked(open_page) -> None:
    page = open_page("run")
    page.locator(CANVAS).scroll_into_view_if_needed()
    box = page.locator(CANVAS).bounding_box()
    whole = _window(page)
    page.mouse.move(box["x"] + 700, box["y"] + 60)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(200)
    assert _window(page) == whole  # it belongs to the page
    box = page.locator(CANVAS).bounding_box()
    page.mouse.move(box["x"] + 700, box["y"] + 60)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -60)
    page.keyboard.up("Control")
    low, high = _window(page)
    assert high - low < 0.7 * whole[1] and low > 0.0
    page.locator(CANVAS).focus()
    page.mouse.wheel(0, -200)
    after = _window(page)
    assert after[1] - after[0] < high - low


def test_dragging_moves_and_a_click_chooses(open_page) -> None:
    page = open_page("run")
    page.locator(CANVAS).scroll_into_view_if_needed()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    low, high = _window(page)
    box = page.locator(CANVAS).bounding_box()
    page.mouse.move(box["x"] + 700, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 40, steps=4)
    page.mouse.up()
    moved = _window(page)
    per_pixel = (high - low) / (box["width"] - 150)
    assert moved[0] - low == pytest.approx(200 * per_pixel, rel=1e-6)
    assert moved[1] - moved[0] == pytest.approx(high - low)
    page.mouse.click(box["x"] + 600, box["y"] + 37)
    assert "stage 0" in _details(page)
    assert "lasts" in _details(page)


def test_hovering_tells_what_when_how_long(open_page) -> None:
    page = open_page("small")
    found = section(text_of("small"), "timeline")
    page.locator(CANVAS).scroll_into_view_if_needed()
    box = page.locator(CANVAS).bounding_box()
    page.mouse.move(box["x"] + 160, box["y"] + 24 + 13)
    text = _details(page)
    assert found["names"][0] in text
    assert "from, to" in text and "lasts" in text
    assert "micro batch" in text


def test_keys_go_from_span_to_span_lane_to_lane_and_along_the_critical_path(open_page) -> None:
    page = open_page("run")
    canvas = page.locator(CANVAS)
    canvas.focus()
    page.keyboard.press("Period")
    first = _details(page)
    assert first.startswith("F stage 0 chunk 0") or "stage 0" in first
    page.keyboard.press("Period")
    second = _details(page)
    assert second != first
    page.keyboard.press("Comma")
    assert _details(page) == first
    page.keyboard.press("ArrowDown")
    assert "send forward" in _details(page)
    assert "bytes on a link" in _details(page)
    assert "exposed" in _details(page) or "hidden" in _details(page)
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    low, high = _window(page)
    assert high - low < 1.0
    page.keyboard.press("ArrowRight")
    assert _window(page)[0] > low
    page.keyboard.press("-")
    page.keyboard.press("+")
    page.keyboard.press("Home")
    assert _window(page)[0] == 0.0


def test_keys_follow_the_critical_path(open_page) -> None:
    page = open_page("run")
    page.locator(CANVAS).focus()
    seen = []
    for _ in range(4):
        page.keyboard.press("c")
        seen.append(_details(page))
        assert "critical path" in seen[-1]
    assert len(set(seen)) == 4
    page.keyboard.press("Shift+C")
    assert _details(page) == seen[-2]
    page.get_by_role("button", name="critical path").click()
    assert _details(page) == seen[-1]


def test_tab_reaches_the_timeline_and_leaves_it(open_page) -> None:
    page = open_page("small")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className")
        )
    assert "CANVAS." in reached
    assert "BUTTON.copy" in reached
    assert "DIV.chart" in reached


def test_operators_appear_inside_a_wide_span(open_page, shot) -> None:
    page = open_page("run")
    canvas = page.locator(CANVAS)
    before = int(canvas.get_attribute("data-drawn"))
    canvas.focus()
    page.keyboard.press("Period")
    while "qkv" not in _details(page):
        page.keyboard.press("Period")
    page.keyboard.press("Enter")
    _window(page)
    for name in ("largest", "qkv", "tensor communication"):
        assert name in _details(page)
    assert int(canvas.get_attribute("data-drawn")) < before
    shot(page, "run-zoomed")


def test_two_fingers_pinch(open_page) -> None:
    page = open_page("run", width=390, has_touch=True, is_mobile=True)
    page.locator(CANVAS).scroll_into_view_if_needed()
    before = _window(page)
    page.evaluate(
        """() => {
          const c = document.querySelector('.timeline canvas');
          const b = c.getBoundingClientRect();
          c.setPointerCapture = () => {};
          const at = { pointerType: 'touch', clientY: b.top + 60, bubbles: true };
          const fire = (type, pointerId, x) =>
            c.dispatchEvent(new PointerEvent(type, { ...at, pointerId, clientX: b.left + x }));
          fire('pointerdown', 1, 180); fire('pointerdown', 2, 240);
          fire('pointermove', 2, 300); fire('pointerup', 2, 300); fire('pointerup', 1, 180);
        }"""
    )
    after = _window(page)
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 2)


def _many(count: int) -> str:
    """Return a page with a timeline of many spans on eight lanes."""
    found = section(text_of("small"), "timeline")
    lanes, each = 8, count // 8
    start = np.tile(np.arange(each) * 1e-3, lanes)

    def packed(values: np.ndarray, dtype: str) -> str:
        return b64encode(values.astype(dtype).tobytes()).decode()

    zeros = np.zeros(count)
    found |= {
        "count": count,
        "end_s": each * 1e-3,
        "lanes": {
            "name": ["compute"] * lanes,
            "stage": list(range(lanes)),
            "rank": list(range(lanes)),
            "ranks": [1] * lanes,
            "first": [n * each for n in range(lanes + 1)],
        },
        "columns": {
            "start_s": packed(start, "<f8"),
            "duration_s": packed(zeros + 0.9e-3, "<f4"),
            "exposed_s": packed(zeros, "<f4"),
            "label": packed(zeros, "<i4"),
            "kind": packed(zeros, "<u1"),
            "microbatch": packed(np.arange(count), "<i4"),
            "transfer": packed(zeros - 1, "<i4"),
            "critical": packed(zeros, "<u1"),
        },
    }
    return "".join(html(Page("many", "run", (), (), (found,))))


def test_the_work_of_a_frame_does_not_grow_with_the_spans(open_page) -> None:
    drawn = {}
    for count in (8_000, 400_000):
        page = open_page(f"many-{count}", text=_many(count))
        canvas = page.locator(CANVAS)
        assert int(canvas.get_attribute("data-drawn")) <= 8 * 1250
        drawn[count] = int(canvas.get_attribute("data-drawn"))
        canvas.focus()
        page.keyboard.press("Period")
        page.keyboard.press("Enter")
        assert "micro batch" in _details(page)
        low, high = _window(page)
        assert high - low == pytest.approx(1.4 * 0.9e-3, rel=1e-3)
        assert int(canvas.get_attribute("data-drawn")) <= 8 * 4
    assert drawn[400_000] <= 1.5 * drawn[8_000]
