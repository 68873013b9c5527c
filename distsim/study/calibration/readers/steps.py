"""From the steps of a log to step times of scenarios, completed by the one beside the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distsim.errors import DistsimError, Place
from distsim.study.calibration.measurements import Readings, StepTime
from distsim.study.calibration.readers.base import Checker, completed, placed, reason
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.series import Summary

Found = Iterable[tuple[Mapping[str, Any], Summary | None]]


def step_times(findings: Findings, found: Found) -> Readings:
    """Return the step times of a log.

    Parameters
    ----------
    found : iterable of (mapping, Summary or None)
        What the log says of each of its scenarios, and the steps that count.

    Raises
    ------
    DistsimError
        DS632; where no scenario can be used, what is wrong with the first one.
    """
    out, errors = completed_steps(findings, found)
    if errors and not out:
        raise errors[0]
    return findings.readings(step_times=out)


def completed_steps(findings: Findings, found: Found) -> tuple[list[StepTime], list[DistsimError]]:
    """Return the step times of a log, and what is wrong with scenarios that are left out."""
    document = findings.document
    checker = Checker(document.base, document.file, document.stem)
    out: list[StepTime] = []
    errors: list[DistsimError] = []
    for facts, steps in found:
        if steps is None:
            continue
        data, disagreements = completed(_without_batch(facts, document.base.data), document.base)
        for sentence in disagreements:
            findings.note(sentence)
        _measured_batch(data, facts, findings)
        data.setdefault("name", document.stem)
        try:
            checker.check(data, steps.line)
        except DistsimError as error:
            place = Place(document.file, steps.line)
            errors.append(placed(error, document.base, {}, place))
            findings.reject(steps.line or None, reason(error, document.file))
            continue
        source = findings.source(steps.line or None)
        out.append(
            StepTime(steps.time_s, data, source, 1.0, steps.samples, steps.low_s, steps.high_s)
        )
    return out, errors


def _without_batch(facts: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without the global batch, which `_measured_batch` compares."""
    batch = facts.get("batch", {})
    if not isinstance(said.get("batch"), Mapping) or "global_size" not in batch:
        return dict(facts)
    return {**facts, "batch": {k: v for k, v in batch.items() if k != "global_size"}}


def _measured_batch(data: dict[str, Any], facts: Mapping[str, Any], findings: Findings) -> None:
    """Set the global batch that the log states: it is that of the steps that were timed."""
    size = facts.get("batch", {}).get("global_size")
    batch = data.get("batch")
    if size is None or not isinstance(batch, Mapping):
        return
    said = batch.get("global_size")
    if said not in (None, size):
        findings.note(
            f"batch.global_size is {size} in the log and {said} in "
            f"{findings.document.base.name}: that of the log counts, for its steps were timed"
        )
    data["batch"] = {**batch, "global_size": size}
