"""Options of the test run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Whoever wants the same examples each time, as .ci/run does, asks for them; others draw new ones.
settings.register_profile("same", derandomize=True, database=None)
if os.environ.get("DISTSIM_EXAMPLES") == "same":
    settings.load_profile("same")

# What a shell starts in the background ignores interrupts, and so would all that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep commands away from the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _width_of_nothing() -> None:
    """Let texts of commands be as wide as in a pipe: readline tells processes a width of 80."""
    os.environ.pop("COLUMNS", None)
    os.unsetenv("COLUMNS")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write the files that tests compare with, in place of comparing",
    )
