"""Chromium for tests of pages, and what each page may not do.

Needs ``pip install -e '.[browser]'`` and a Chromium: Debian's (``apt-get install chromium``), that
of ``DISTSIM_CHROMIUM``, or Playwright's own. Without one the tests are skipped, unless
``DISTSIM_BROWSER=required``. Screenshots go to the directory that ``DISTSIM_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.html_pages import text_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIRED = os.environ.get("DISTSIM_BROWSER") == "required"
Opener = Callable[..., "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        if REQUIRED:
            raise
        pytest.skip("playwright is not installed")
    found = os.environ.get("DISTSIM_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        try:
            # Inside containers Chromium has no namespaces to make a sandbox of.
            made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            if REQUIRED:
                raise
            pytest.skip(f"no Chromium: {error.message.splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens a page; afterwards none has complained or asked for anything."""
    contexts, complaints = [], list[str]()

    def opened(
        kind: str,
        *,
        width: int = 1440,
        scheme: str = "light",
        text: str = "",
        quiet: bool = True,
        **how: object,
    ) -> Page:
        path = tmp_path / f"{kind}.html"
        path.write_text(text or text_of(kind), encoding="utf-8")
        how = {"reduced_motion": "reduce", **how}
        context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 600 else 844},
            color_scheme=scheme,
            **how,
        )
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("pageerror", lambda e: complaints.append(f"error: {e}"))
            page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
        page.on("request", lambda r: _asked(r.url, path.as_uri(), complaints))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _asked(url: str, own: str, complaints: list[str]) -> None:
    """Note a request of anything but the page itself and what it makes inside itself."""
    if url.partition("#")[0] != own and not url.startswith(("data:", "blob:")):
        complaints.append(f"request: {url}")


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Return a function that keeps a screenshot of the whole page, if a directory is named."""

    def taken(page: Page, name: str) -> None:
        folder = os.environ.get("DISTSIM_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return taken
