"""The line at the end of a run that says what was compared with PyTorch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

#: Key of the property by which a test says which module it compared.
COMPARED = "torch_module"
_FOLDER = "tests/torch"
_SAID = pytest.StashKey[bool]()


def line(compared: int) -> str:
    """Return the line: the version of PyTorch and how many modules were compared, or why none."""
    try:
        return f"torch {version('torch')}: {compared} modules compared with flop_counter"
    except PackageNotFoundError:
        return "torch is not installed: FLOP and parameters of no module compared with it"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say once what was compared, if tests of this folder were asked for."""
    reports = [
        report
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.stats.get(outcome, ())
        if str(getattr(report, "nodeid", "")).startswith(_FOLDER)
    ]
    if not reports or config.stash.get(_SAID, False):
        return
    config.stash[_SAID] = True
    compared = {
        value
        for report in reports
        if report.outcome == "passed"
        for key, value in getattr(report, "user_properties", ())
        if key == COMPARED
    }
    terminalreporter.write_line(line(len(compared)))
