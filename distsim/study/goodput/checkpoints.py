"""What checkpoints of a scenario cost, and how often they are best taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, isfinite
from typing import Any

from distsim.errors import ValueProblem, show
from distsim.prediction.case import Case
from distsim.prediction.overheads import Checkpoint
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.goodput.closed import best_interval_s, expected_interval_s
from distsim.study.goodput.process import Failures
from distsim.units import parse

#: What a writing node reaches where a scenario does not say: 2 TB/s of sustained writes
#: (Grattafiori 2024, section 3.3.1) over the 2,048 nodes of 16,384 devices.
NODE_BANDWIDTH = "1 GB/s"
MODES = ("sync", "async", "overlapped")


def with_checkpoints(
    scenario: Scenario, mode: str | None, storage: str | None
) -> tuple[Case, Checkpoint, tuple[str, ...]]:
    """Return a scenario that takes checkpoints, resolved, and what of them was assumed.

    Parameters
    ----------
    mode : str, optional
        One of `MODES`; by default the scenario's, or async.
    storage : str, optional
        What the storage takes from all nodes together.
    """
    block: dict[str, Any] = {}
    said = []
    if scenario.checkpoint is None:
        block = {"every_steps": 1, "bandwidth": NODE_BANDWIDTH}
        if storage is None:
            said.append(
                f"the scenario has no checkpoint block: {NODE_BANDWIDTH} of each node to the "
                "storage is assumed, as in Grattafiori 2024; --storage says otherwise"
            )
        else:
            # The storage alone limits.
            block["bandwidth"] = "1 EB/s"
    if storage is not None:
        parse(storage, "bytes_per_s")
        block["total_bandwidth"] = storage
    if mode is not None:
        block["mode"] = mode
    case = resolve(scenario.with_(checkpoint=block) if block else scenario)
    found = case.rest.checkpoint
    if found is None:
        raise ValueError("a scenario without a checkpoint block was given none")
    return case, found, tuple(said)


def durable_s(checkpoint: Checkpoint, step_s: float) -> float:
    """Return the time from when training goes on until the checkpoint is on storage.

    Synchronously none. Otherwise the writing, and what of the copy is hidden behind the next step;
    a writing that is longer than the interval is waited for at the next checkpoint, which is then
    in `Checkpoint.exposed_s`, and a restart needs it all the same.
    """
    if checkpoint.mode == "sync":
        return 0.0
    hidden_s = min(checkpoint.copy_s, step_s) if checkpoint.mode == "overlapped" else 0.0
    return hidden_s + checkpoint.write_s


@dataclass(frozen=True, slots=True)
class Schedule:
    """When checkpoints are taken.

    Attributes
    ----------
    every_steps : int
    interval_s, checkpoint_s, durable_s : float
        As `process.Training`.
    """

    every_steps: int
    interval_s: float
    checkpoint_s: float
    durable_s: float

    def expected_s(self, failures: Failures) -> float:
        """Return the expected time that a second of work takes."""
        return float(
            expected_interval_s(
                self.interval_s,
                self.checkpoint_s,
                failures.mtbf_s,
                restart_s=failures.restart_s,
                detect_s=failures.detect_s,
                durable_s=self.durable_s,
            )
            / self.interval_s
        )


def every(checkpoint: Checkpoint, step_s: float, steps: int, total: int) -> Schedule:
    """Return the schedule of a checkpoint every so many steps, of `total`."""
    n = min(max(1, steps), max(1, total))
    taken = replace(checkpoint, every_steps=n)
    return Schedule(n, n * step_s, taken.exposed_s(step_s), durable_s(taken, step_s))


def best(checkpoint: Checkpoint, step_s: float, failures: Failures, total: int) -> Schedule:
    """Return the schedule with the least expected time.

    Where the delay does not depend on the interval, `best_interval_s` has the best one. In the
    background it does where the writing takes longer than the interval, which is never better than
    the writing itself: its time is the least. Of both whole numbers of steps beside it the better.
    """
    rare = replace(checkpoint, every_steps=max(1, total))
    wanted_s = float(best_interval_s(rare.exposed_s(step_s), failures.mtbf_s))
    if checkpoint.mode != "sync":
        wanted_s = max(wanted_s, durable_s(rare, step_s))
    around = {floor(wanted_s / step_s), ceil(wanted_s / step_s)}
    choices = [every(checkpoint, step_s, n, total) for n in sorted(around)]
    return min(choices, key=lambda choice: choice.expected_s(failures))


def asked(
    text: str, checkpoint: Checkpoint, step_s: float, failures: Failures, total: int
) -> Schedule:
    """Return the schedule that ``auto``, ``scenario`` or a duration means.

    Raises
    ------
    ValueProblem
        DS679 for a duration of 0, DS21x for what is none.
    """
    if text == "auto":
        return best(checkpoint, step_s, failures, total)
    if text == "scenario":
        return every(checkpoint, step_s, checkpoint.every_steps, total)
    wanted_s = parse(text, "s")
    if not (wanted_s > 0 and isfinite(wanted_s)):
        raise ValueProblem(
            "DS679",
            f"an interval of {show(text)} between checkpoints",
            value=text,
            rule="a duration above 0; it is rounded to whole steps",
            fix="write auto, or for example 30min",
        )
    return every(checkpoint, step_s, round(min(wanted_s / step_s, 1e15)), total)
