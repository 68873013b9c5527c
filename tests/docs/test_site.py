"""The documentation's site: it builds without a warning or a network, and pages ask for nothing.

Needs ``pip install -e '.[docs]'``; without it the tests are skipped, unless DISTSIM_SITE=required.
Those that open pages also need a browser: see `tests.browser.conftest`.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import distsim as ds
from distsim.cli import cli
from distsim.scenario.schema import Scenario
from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIRED = os.environ.get("DISTSIM_SITE") == "required"
#: In front of the build: whoever opens a connection fails.
NO_NETWORK = """
import socket

def refuse(*_: object, **__: object) -> None:
    raise OSError("the build of the site asked for the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
#: Pages that are looked at more closely.
SOME = ("index", "start/tutorial", "reference/scenario", "strategies", "glossary")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the site, and what its build said."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        if REQUIRED:
            pytest.fail("mkdocs is not installed")
        pytest.skip("mkdocs is an extra")
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    site = folder / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return site, done.stderr


def _pages(site: Path) -> list[str]:
    return [p.relative_to(site).with_suffix("").as_posix() for p in sorted(site.rglob("*.html"))]


class _Loaded(HTMLParser):
    """What a page loads by itself, and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.loads += [names.get("src") or ""]
        if tag == "link" and names.get("rel") not in ("canonical", "prev", "next"):
            self.loads += [names.get("href") or ""]


def test_it_builds_without_warnings(built: tuple[Path, str]) -> None:
    assert not re.findall(r"^(?:WARNING|ERROR).*", built[1], re.MULTILINE)


def test_pages_load_nothing_from_elsewhere(built: tuple[Path, str]) -> None:
    site, _ = built
    for name in _pages(site):
        for url in _Loaded((site / f"{name}.html").read_text("utf-8")).loads:
            assert not re.match(r"(?:[a-z]+:)?//", url), f"{name}.html loads {url}"
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text())
        assert not found, f"{sheet.name} loads {found}"


def _commands(command: click.Command, name: str) -> Iterator[str]:
    yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            assert inner is not None
            yield from _commands(inner, f"{name} {word}")


def test_the_reference_has_every_command(built: tuple[Path, str]) -> None:
    text = (built[0] / "reference" / "cli.html").read_text("utf-8")
    for name in _commands(cli, "distsim"):
        assert f'id="{name.replace(" ", "-")}"' in text, name


def test_the_reference_has_every_key_of_a_scenario(built: tuple[Path, str]) -> None:
    text = (built[0] / "reference" / "scenario.html").read_text("utf-8")
    keys = {field.alias or name for name, field in Scenario.model_fields.items()}
    for key in (*keys, "zero_stage", "global_size", "topology", "checkpoint"):
        assert f"<code>{key}</code>" in text, key


def test_the_reference_has_every_public_name(built: tuple[Path, str]) -> None:
    text = (built[0] / "reference" / "python.html").read_text("utf-8")
    for name in ds.__all__:
        if name != "__version__":
            assert f"distsim.{name}" in text, name


def test_markers_for_tests_are_not_shown(built: tuple[Path, str]) -> None:
    site, _ = built
    for name in _pages(site):
        assert "<!-- not run" not in (site / f"{name}.html").read_text("utf-8"), name


@pytest.fixture(scope="session")
def served(built: tuple[Path, str]) -> Iterator[str]:
    """Return the address of the site."""
    handler = functools.partial(_Quiet, directory=str(built[0]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _opened(browser: Browser, home: str, width: int, scheme: str) -> tuple[Page, list[str]]:
    """Return a page, and where it puts complaints."""
    complaints: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.on("pageerror", lambda e: complaints.append(f"{page.url}: {e}"))
    page.on("console", lambda m: complaints.append(f"{page.url}: {m.text}"))
    page.on("request", lambda r: _asked(r.url, home, complaints))
    return page, complaints


def _asked(url: str, home: str, complaints: list[str]) -> None:
    if not url.startswith((home, "data:", "blob:")):
        complaints.append(f"request: {url}")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_pages_ask_for_nothing_and_fit(
    built: tuple[Path, str],
    served: str,
    browser: Browser,
    width: int,
    scheme: str,
) -> None:
    page, complaints = _opened(browser, served, width, scheme)
    # What fits a phone fits a screen.
    for name in _pages(built[0]) if width < 400 else (*SOME, "reference/cli", "reference/python"):
        page.goto(f"{served}/{name}.html")
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{name} is {over} pixels too wide at {width}"
        folder = os.environ.get("DISTSIM_SCREENSHOTS")
        if folder and name in SOME:
            file = f"site-{name.replace('/', '-')}-{width}-{scheme}.png"
            page.screenshot(path=Path(folder) / file)
    page.context.close()
    assert complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(served: str, browser: Browser, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, complaints = _opened(browser, served, 1440, scheme)
    for name in SOME:
        page.goto(f"{served}/{name}.html")
        found = [
            f"{v['id']}: {v['nodes'][0]['html'][:200]}"
            for v in Axe().run(page).response["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert not found, f"{name}: {found}"
    page.context.close()
    assert complaints == []


@pytest.mark.browser
def test_the_search_works_from_files(
    built: tuple[Path, str],
    browser: Browser,
) -> None:
    page, complaints = _opened(browser, "file:", 1440, "light")
    page.goto((built[0] / "start" / "tutorial.html").as_uri())
    page.click(".md-search__input")
    page.keyboard.type("sequence parallel")
    page.wait_for_selector(".md-search-result__item", state="attached", timeout=10_000)
    page.context.close()
    assert complaints == []
