"""Every command and every Python block of the pages runs, and prints what the page shows.

What is allowed to differ, and how blocks are told apart, stands in `tests.docs.blocks` and
`tests.docs.compare`. Where output changes on purpose: ``python -m tests.docs.refresh [PAGE...]``.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, REASONS, ROOT, RUN, SHOWN, Block, blocks
from tests.docs.reader import Reader
from tests.docs.shown import check

#: Where commands may stand whose output is not shown: other tests compare its numbers
#: (tests/textbook), or `.ci/run` itself runs them.
UNSHOWN = (ROOT / "docs" / "textbook", ROOT / "docs" / "textbook.md")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def _all() -> tuple[Block, ...]:
    return tuple(block for page in PAGES for block in blocks(page))


@pytest.mark.parametrize("page", [p for p in PAGES if "```" in p.read_text("utf-8")], ids=_name)
def test_page(page: Path, tmp_path: Path) -> None:
    directory = tmp_path / "page"
    directory.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Reader(page, directory).run()
    hint = f"if the change is meant: python -m tests.docs.refresh {_name(page)}"
    assert not found, "\n\n".join([*map(str, found), hint])


def test_every_block_says_what_it_is() -> None:
    unknown = [f"{b.where}: {b.info!r}" for b in _all() if b.info not in RUN | SHOWN]
    assert not unknown, "\n".join(unknown)


def test_shown_blocks_are_what_they_say() -> None:
    for block in _all():
        if block.info in SHOWN:
            check(block)


def test_reasons_not_to_run_are_few() -> None:
    left_out = [block for block in _all() if block.not_run]
    assert {block.not_run for block in left_out} <= REASONS
    assert all(block.info in RUN for block in left_out)
    assert len(left_out) <= 12


def test_commands_show_their_output() -> None:
    for block in _all():
        if block.info in ("bash", "sh") and not block.not_run:
            hidden = any(page == block.page or page in block.page.parents for page in UNSHOWN)
            assert hidden, f"{block.where}: use console, with what it prints"


def test_most_of_the_pages_run() -> None:
    run = [block for block in _all() if block.info in RUN and not block.not_run]
    assert len(run) > 200


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=_name)
def test_links_of_pages_outside_of_the_site_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target
