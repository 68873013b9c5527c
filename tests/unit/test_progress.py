"""Progress on a terminal, where it is interrupted."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from distsim.cli import output_count, output_progress


@pytest.mark.parametrize(
    "shown", [lambda: output_progress.progress(3), lambda: output_count.counting()]
)
@pytest.mark.parametrize("method", ["start", "stop"])
def test_an_interrupt_while_it_draws_gives_the_streams_back(
    shown: Callable[[], AbstractContextManager[Any]], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("distsim.cli.output.standard_error", lambda: console)
    for module in (output_progress, output_count):
        monkeypatch.setattr(module, "is_lively", lambda _: True)
    drawing, before = getattr(Live, method), (sys.stdout, sys.stderr)

    def interrupted(live: Live, *args: object, **kwargs: object) -> None:
        if method == "start":
            drawing(live, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Live, method, interrupted)
    with pytest.raises(KeyboardInterrupt), shown():
        assert (sys.stdout, sys.stderr) != before
    assert (sys.stdout, sys.stderr) == before
