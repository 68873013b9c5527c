"""The predictions of many published runs, each structure once.

A step of m micro batches on p stages is periodic in its middle: after a few micro batches a stage,
each p further ones add the same time (an event graph with constant delays is ultimately periodic;
Baccelli et al. 1992, "Synchronization and Linearity", theorem 3.28). So a step of more than `LONG`
micro batches a stage is predicted from two shorter ones. Kernels that meet transfers make delays
depend on what overlaps; on the published runs the difference is 0.4 % at most, and none on most.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from distsim.prediction.case import Case
from distsim.prediction.predict import evaluate, predict
from distsim.program.build import build
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.validate_rows import ValidationRow
from distsim.study.validation_memory import memory_of
from distsim.workload.zoo import decoder

#: Micro batches a stage beyond which a step is extended, and those of the two shorter steps.
LONG, SHORT = 4, (1, 2)
#: Distinct runs from which it pays to start further processes.
MANY = 24
#: Tokens of a sequence from which it counts as long.
LONG_SEQUENCE = 32_768
#: What a run is: a model without or with experts, and strategies beside.
KINDS = ("dense", "moe", "context", "zero3", "long")


@dataclass(frozen=True, slots=True)
class Predicted:
    """What is predicted of a run, and what kind of run it is.

    Attributes
    ----------
    value : float
        Seconds of a step, or bytes of a device.
    device, precision : str
    devices : int
    kinds : tuple of str
        Some of `KINDS`.
    """

    value: float
    device: str
    devices: int
    precision: str
    kinds: tuple[str, ...]


def step_s(scenario: Scenario, case: Case | None = None) -> float:
    """Return the time of a step as `distsim.prediction.predict.predict` does, long ones extended.

    Parameters
    ----------
    case : Case, optional
        `scenario` resolved.
    """
    case = case or resolve(scenario)
    plan = case.inputs.plan
    if not plan.pipeline.flush:
        return predict(case).step_s
    if plan.microbatches <= LONG * plan.pp:
        return _flushed_s(case)
    whole = plan.pp * plan.dp * plan.micro_size
    short, longer = (
        _flushed_s(resolve(scenario.with_(batch={"global_size": whole * n}))) for n in SHORT
    )
    further = plan.microbatches / plan.pp - SHORT[1]
    return longer + further * (longer - short) / (SHORT[1] - SHORT[0])


def _flushed_s(case: Case) -> float:
    """Return the time of a step that begins and ends with an empty pipeline."""
    return evaluate(build(case.inputs), case.evaluator).makespan


def predicted(row: ValidationRow) -> Predicted:
    """Predict one published run.

    Raises
    ------
    DistsimError
        At the line and column of the file, where the run is no scenario.
    """
    scenario = row.load()
    case = resolve(scenario)
    plan = case.inputs.plan
    mixture = decoder(case.network)
    length = case.resolved["sequence_length"]
    flags = {
        "dense": mixture is None or not mixture.experts,
        "moe": mixture is not None and mixture.experts > 0,
        "context": plan.cp > 1,
        "zero3": plan.zero_stage == 3,
        "long": length >= LONG_SEQUENCE,
    }
    value = step_s(scenario, case) if row.memory_kind is None else memory_of(row, case)
    return Predicted(
        value,
        case.resolved["device"],
        plan.devices,
        case.resolved["precision"],
        tuple(kind for kind in KINDS if flags[kind]),
    )


def predict_all(rows: Sequence[ValidationRow], processes: int = 1) -> list[Predicted]:
    """Predict published runs; those that are the same scenario once.

    Parameters
    ----------
    processes : int
        Processes to share the work among; more than one starts new interpreters.
    """
    keys = [_key(row) for row in rows]
    distinct = dict(zip(reversed(keys), reversed(rows), strict=True))
    work = sorted(distinct, key=lambda key: -cost_of(distinct[key]))
    if processes > 1 and len(work) >= MANY:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # Not forked: a caller may have threads.
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            values = list(pool.map(predicted, [distinct[key] for key in work]))
    else:
        values = [predicted(distinct[key]) for key in work]
    found = dict(zip(work, values, strict=True))
    return [found[key] for key in keys]


def _key(row: ValidationRow) -> str:
    """Return what two rows share if one prediction serves both."""
    said = {key: value for key, value in row.scenario.items() if key != "name"}
    return json.dumps([said, row.memory_kind, row.memory_stage], sort_keys=True)


def cost_of(row: ValidationRow) -> float:
    """Return roughly how much work a row is: passes of a micro batch through model chunks."""
    plan, batch = row.scenario.get("plan", {}), row.scenario.get("batch", {})
    try:
        ranks = plan.get("tp", 1) * plan.get("cp", 1) * batch.get("micro_size", 1)
        passes = batch["global_size"] * ranks * plan.get("pp", 1) * plan.get("virtual_stages", 1)
        return float(passes / row.scenario["cluster"]["devices"] * plan.get("pp", 1))
    except (KeyError, TypeError, ZeroDivisionError):
        return 0.0
