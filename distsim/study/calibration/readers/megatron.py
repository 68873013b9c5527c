"""Training logs of Megatron-LM and of what grew out of it (Megatron-DeepSpeed, Megatron-Core).

A line an iteration, of fields ``name: value`` between bars, as ``training_log`` in
megatron/training/training.py prints them. Fields come and go with versions: those that are known
are read by their names, the others are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distsim.scenario.plain import merge
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.megatron_arguments import Arguments, facts
from distsim.study.calibration.readers.numbers import NUMBER, decimal_comma, number, why_no_time
from distsim.study.calibration.readers.series import Failures, Logged, summary
from distsim.study.calibration.readers.steps import step_times
from distsim.study.measured import listed

KIND = "megatron"

_MARK = "elapsed time per iteration"
#: What follows the name of a field. Searching for names as plain texts first is what makes a log of
#: 200,000 lines a matter of a second.
_TIME = re.compile(
    rf"\s*\((?P<unit>ms|s|us)\)\s*:\s*(?P<time>{NUMBER}(?![\w.,])|[^|\s]*)(?P<end>.?)",
    re.IGNORECASE,
)
_FIELD = re.compile(rf"{_MARK}(?:\s*\([^)\n]{{1,20}}\))?\s*:")
_ITERATION = re.compile(r"\biteration\s+(\d{1,12})\s*/", re.ASCII)
_COUNT = re.compile(r"\s*:\s*(\d{1,9})\b", re.ASCII)
#: Counts that are 0 where an iteration did what it should.
_SKIPPED, _NAN = "number of skipped iterations", "number of nan iterations"
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class _Line(NamedTuple):
    """What a line of an iteration says; the time as it is printed, 0 where a count is not given."""

    number: int
    iteration: int
    time: str
    unit: str
    batch: int


@dataclass(slots=True)
class _Run:
    """One start of the training program: its arguments, and its iterations in order."""

    arguments: Arguments
    lines: list[_Line] = field(default_factory=list)


@dataclass(slots=True)
class _Series:
    """Iterations of one scenario, in runs that each have a warm-up of their own."""

    facts: dict[str, Any]
    parts: list[list[Logged]] = field(default_factory=list)


def sniff(text: str) -> bool:
    """Say whether a text is such a log."""
    return _MARK in text and _FIELD.search(text) is not None


def read(document: Document) -> Readings:
    """Return the times of the steps of a log, one for each scenario in it.

    Raises
    ------
    ValueProblem
        DS632, and DS633 where nothing says what was trained on what.
    """
    findings = Findings(document, KIND)
    found = [run for run in _Reader(document, findings).runs() if run.lines]
    comma = decimal_comma(line.time for run in found for line in run.lines)
    if comma:
        findings.note("the times have a decimal comma")
    if len(found) > 1:
        findings.note(f"{len(found)} runs, or restarts of one: each loses its own warm-up")
    series: dict[str, _Series] = {}
    for run in found:
        known = facts(run.arguments, findings)
        for batch, part in _parts(run, comma, findings):
            said = _with_batch(known, batch)
            series.setdefault(repr(said), _Series(said)).parts.append(part)
    return step_times(findings, ((one.facts, summary(one.parts)) for one in series.values()))


def _parts(run: _Run, comma: bool, findings: Findings) -> Iterable[tuple[int, list[Logged]]]:
    """Return the times of a run by global batch, in order."""
    parts: dict[int, list[Logged]] = {}
    for line in run.lines:
        value = number(line.time, comma)
        time_s = None if value is None else value * _UNITS[line.unit]
        wrong = why_no_time(line.time, time_s)
        if wrong or time_s is None:
            findings.reject(line.number, wrong or "no time")
            continue
        parts.setdefault(line.batch, []).append(Logged(line.number, time_s))
    if len(parts) > 1:
        sizes = listed(f"{batch:,}" for batch in parts)
        findings.note(f"the global batch grows: {sizes}; a step time of each", run.lines[0].number)
    return parts.items()


def _with_batch(known: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Return facts with the global batch that the lines themselves state, if they do."""
    return merge(dict(known), {"batch": {"global_size": batch}}) if batch else dict(known)


class _Reader:
    """Goes through the lines of a log and tells its runs apart."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self._document, self._findings = document, findings
        self._failures = Failures(findings)
        self._runs = [_Run(Arguments())]
        self._sound = ""
        self._last = document.text.count("\n") + 1 if document.is_cut else 0

    def runs(self) -> list[_Run]:
        """Return the runs: one begins with arguments, behind a failure, or where steps go back."""
        for at, line in self._document.lines():
            mark = line.find(_MARK)
            if mark >= 0:
                self._failures.step()
                if line.find(_MARK, mark + len(_MARK)) < 0:
                    self._iteration(at, line, mark)
                else:
                    for piece in _pieces(line):
                        self._iteration(at, piece, piece.index(_MARK))
            elif not self._runs[-1].arguments.read(line, started=bool(self._runs[-1].lines)):
                if Arguments.begins(line):
                    self._runs.append(_Run(Arguments()))
                elif self._failures.see(line, at, len(self._runs[-1].lines)):
                    self._runs.append(_Run(self._runs[-1].arguments.copy()))
        return self._runs

    def _iteration(self, at: int, line: str, mark: int) -> None:
        match = _TIME.match(line, mark + len(_MARK))
        if match is None:
            self._findings.reject(at, f"no time behind {_MARK!r} with a unit of ms, us or s")
            return
        if at == self._last and not match["end"]:
            self._findings.reject(at, "the last line is cut off")
            return
        if self._is_spoilt(line):
            self._findings.reject(at, "the iteration was skipped, or its loss is nan")
            return
        iteration = _ITERATION.search(line)
        found = _Line(
            at,
            int(iteration[1]) if iteration else 0,
            match["time"],
            match["unit"].lower(),
            _count(line, "global batch size"),
        )
        run = self._runs[-1]
        before = run.lines[-1].iteration if run.lines else 0
        if iteration and found.iteration == before:
            self._findings.note("iterations that stand there more than once count once")
            return
        if iteration and found.iteration < before:
            self._findings.note("iterations go back here: the run was started again", at)
            run = _Run(run.arguments.copy())
            self._runs.append(run)
        run.lines.append(found)

    def _is_spoilt(self, line: str) -> bool:
        at = line.find(_SKIPPED)
        # Nearly all lines end alike.
        if at >= 0 and (end := line[at:]) == self._sound:
            return False
        spoilt = bool(_count(line, _SKIPPED) or _count(line, _NAN))
        if at >= 0 and not spoilt and line.find(_NAN, at) >= 0:
            self._sound = end
        return spoilt


def _count(line: str, name: str) -> int:
    """Return the whole number of a field, 0 where it is not there."""
    at = line.find(name)
    match = _COUNT.match(line, at + len(name)) if at >= 0 else None
    return int(match[1]) if match else 0


def _pieces(line: str) -> list[str]:
    """Return the iterations of a line into which several were written at once."""
    starts = [match.start() for match in _ITERATION.finditer(line)] or [0]
    ends = [*starts[1:], len(line)]
    return [p for a, b in zip(starts, ends, strict=True) if _MARK in (p := line[a:b])]
