"""A server that all tests of a process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import Running, start, stop


@pytest.fixture(autouse=True)
def _messages_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands write each line of a message as one, as the server does."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a server that tests share; afterwards it ends at once and has written nothing."""
    folder = tmp_path_factory.mktemp("serve")
    running = start(folder)
    before = running.files()
    try:
        yield running
    finally:
        code, said = stop(running)
    assert (code, said.strip()) == (130, "interrupted")
    assert running.files() == before
