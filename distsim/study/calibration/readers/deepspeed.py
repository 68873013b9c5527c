"""Training logs of DeepSpeed.

The pipeline engine prints ``steps: 10 loss: 7.9 iter time (s): 3.456 samples/sec: 148.1``
(runtime/pipe/engine.py); other engines print rates, ``SamplesPerSec=148.1`` (utils/timer.py); and
with ``wall_clock_breakdown`` the parts of a step, ``time (ms) | fwd: 1.2 | bwd: 3.4 | step: 0.5``.
The first of these that a log has is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from distsim.scenario.plain import merge
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.megatron_arguments import Arguments, facts
from distsim.study.calibration.readers.numbers import NUMBER, decimal_comma, number, why_no_time
from distsim.study.calibration.readers.ranks import OneRank
from distsim.study.calibration.readers.series import Failures, Logged, summary
from distsim.study.calibration.readers.steps import step_times

KIND = "deepspeed"

_VALUE = rf"\s*[:=]\s*(?P<value>{NUMBER}(?![\w.,])|[^\s|,]*)(?P<end>.?)"
_ITERATION = re.compile(r"iter time \((?P<unit>ms|s)\)" + _VALUE)
_RATE = re.compile(r"(?:samples/sec|CurrSamplesPerSec)" + _VALUE)
_STEPS = re.compile(r"(?:\bsteps: |\bglobal_step=)([0-9]{1,9})", re.ASCII)
_PARTS = {
    name: re.compile(rf"\|\s*{name}{_VALUE}", re.IGNORECASE)
    for name in ("(?:fwd|forward)", "(?:bwd|backward)", "step")
}
_MARKS = ("iter time (", "samples/sec", "SamplesPerSec", "time (ms) |")
_UNITS = {"s": 1.0, "ms": 1e-3}
#: Ways in which a step is timed, the best first.
_WAYS = ("iteration", "rate", "parts")


def sniff(text: str) -> bool:
    """Say whether a text is such a log."""
    return any(mark in text for mark in _MARKS)


def read(document: Document) -> Readings:
    """Return the step time of a log.

    Raises
    ------
    ValueProblem
        DS632, DS633.
    """
    findings = Findings(document, KIND)
    log = _Log(document, findings)
    log.read()
    way = next((way for way in _WAYS if log.times[way]), _WAYS[0])
    known = facts(log.arguments, findings)
    sequences = _sequences(merge(known, document.base.data)) if way == "rate" else 0
    if way == "rate" and not sequences:
        findings.reject(log.times[way][0][0][0], "samples a second, without batch.global_size")
        log.times[way] = []
    if way == "parts":
        findings.note("a step is taken as the sum of its parts: fwd, bwd and step")
    comma = decimal_comma(text for run in log.times[way] for _, texts, _ in run for text in texts)
    parts = [_logged(run, comma, sequences, findings) for run in log.times[way]]
    return step_times(findings, [(known, summary(parts))])


_Printed = tuple[int, tuple[str, ...], float]


class _Log:
    """The steps of a log as they are printed: for each way of timing the runs of it."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self.arguments = Arguments()
        self.times: dict[str, list[list[_Printed]]] = {way: [] for way in _WAYS}
        self._document, self._findings = document, findings
        self._ranks = OneRank(findings)
        self._last_step = 0
        self._new = dict.fromkeys(_WAYS, True)

    def read(self) -> None:
        """Go through the lines."""
        failures = Failures(self._findings)
        last = self._document.text.count("\n") + 1 if self._document.is_cut else 0
        for at, line in self._document.lines():
            found = _printed(line, at) if any(mark in line for mark in _MARKS) else None
            if found is None:
                if not self.arguments.read(line, started=False) and failures.see(
                    line, at, sum(len(runs[-1]) for runs in self.times.values() if runs)
                ):
                    self._new = dict.fromkeys(_WAYS, True)
                continue
            failures.step()
            way, printed, whole = found
            if not self._ranks.counts(line):
                continue
            if at == last and not whole:
                self._findings.reject(at, "the last line is cut off")
                continue
            self._step(line, at)
            if self._new[way]:
                self.times[way].append([])
                self._new[way] = False
            self.times[way][-1].append(printed)

    def _step(self, line: str, at: int) -> None:
        step = _STEPS.search(line)
        if step is None:
            return
        if int(step[1]) < self._last_step:
            self._findings.note("steps go back here: the run was started again", at)
            self._new = dict.fromkeys(_WAYS, True)
        self._last_step = int(step[1])


def _printed(line: str, at: int) -> tuple[str, _Printed, bool] | None:
    """Return how a line times a step, what it prints, and whether it is whole."""
    iteration = _at(_ITERATION, line, "iter time (")
    if iteration:
        unit = _UNITS[iteration["unit"]]
        return "iteration", (at, (iteration["value"],), unit), bool(iteration["end"])
    rate = _at(_RATE, line, "samples/sec") or _at(_RATE, line, "CurrSamplesPerSec")
    if rate:
        return "rate", (at, (rate["value"],), 1.0), bool(rate["end"])
    found = [match for part in _PARTS.values() if (match := part.search(line))]
    if len(found) < len(_PARTS):
        return None
    whole = all(match["end"] for match in found)
    return "parts", (at, tuple(match["value"] for match in found), 1e-3), whole


def _at(pattern: re.Pattern[str], line: str, word: str) -> re.Match[str] | None:
    at = line.find(word)
    return pattern.match(line, at) if at >= 0 else None


def _logged(run: list[_Printed], comma: bool, sequences: int, findings: Findings) -> list[Logged]:
    """Return the times of a run; rates are turned into times by the sequences of a step."""
    out = []
    for line, texts, unit in run:
        values = [number(text, comma) for text in texts]
        text = " + ".join(texts)
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            time_s = None
        elif sequences:
            time_s = sequences / known[0] if known[0] else 0.0
        else:
            time_s = sum(known) * unit
        wrong = why_no_time(text, time_s)
        if wrong or time_s is None:
            findings.reject(line, wrong or "no time")
        else:
            out.append(Logged(line, time_s))
    return out


def _sequences(said: Mapping[str, Any]) -> int:
    batch = said.get("batch")
    size = batch.get("global_size") if isinstance(batch, Mapping) else None
    return size if isinstance(size, int) and size > 0 else 0
