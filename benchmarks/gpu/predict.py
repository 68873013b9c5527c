"""The measured training steps as scenarios, and what distsim predicts for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.cases import GROUPS, Case, case_of
from distsim.prediction.predict import Prediction, predict
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario

HERE = Path(__file__).parent
STEPS = HERE / "measured" / "h100-80gb-sxm-2026-11-26-steps.json"
PROFILE = HERE / "h100-80gb-sxm-measured.yaml"
EAGER = "pytorch-eager"
#: Groups of cases that stand in tables, in this order.
GROUPS_SHOWN = ("eager", "compiled", "short")
#: What ``torch.compile`` changes of it: what lies between products becomes one kernel.
COMPILED = {
    "bias_dropout_add": True,
    "cross_entropy": True,
    "rotary": True,
    "gated_activation": True,
}


def scenario_of(case: Case, profile: Path | None = None) -> Scenario:
    """Return a case as a scenario.

    Parameters
    ----------
    profile : Path, optional
        Of the device, as ``distsim calibrate`` wrote it.
    """
    stack: dict[str, Any] = {"profile": EAGER}
    if case.attention != "flash":
        stack["attention_kernel"] = case.attention
    if case.compiled:
        stack["fused"] = COMPILED
    cluster: dict[str, Any] = {"topology": "dgx-h100", "devices": 1}
    if profile is not None:
        cluster["profile"] = str(profile)
    return load(
        {
            "schema": 1,
            "name": case.name,
            "cluster": cluster,
            "model": case.block,
            "batch": {
                "global_size": case.micro * case.accumulation,
                "micro_size": case.micro,
                "sequence_length": case.sequence,
            },
            "plan": {"recompute": "full" if case.recompute else "none"},
            "precision": "bf16",
            "optimizer": "adamw",
            "stack": stack,
        }
    )


@dataclass(frozen=True)
class Compared:
    """A measured step with its prediction.

    Attributes
    ----------
    case : Case
    measured : mapping
        The record of `benchmarks.gpu.train_step`.
    prediction : Prediction
    """

    case: Case
    measured: Mapping[str, Any]
    prediction: Prediction

    @property
    def step_error(self) -> float:
        """Predicted over measured step time, less one."""
        return self.prediction.step_s / float(self.measured["step_s"]) - 1

    @property
    def allocated_bytes(self) -> float:
        """Predicted most that tensors take, without the context of the device."""
        stage = self.prediction.memory.stages[0]
        return stage.peak_bytes - stage.buffers.reserved_bytes

    @property
    def memory_error(self) -> float:
        """Predicted over measured allocated bytes, less one."""
        return self.allocated_bytes / float(self.measured["allocated_bytes"]) - 1

    @property
    def group(self) -> str:
        """A key of `GROUPS`: its first one that has the case."""
        return next(name for name in GROUPS_SHOWN if self.case in GROUPS[name])


def measured_steps(path: Path = STEPS) -> list[dict[str, Any]]:
    """Return the records of a file of `benchmarks.gpu.train_step`."""
    steps: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["steps"]
    return steps


def compared(profile: Path | None = None) -> list[Compared]:
    """Return all measured steps with their predictions."""
    found = []
    for record in measured_steps():
        case = case_of(record)
        found.append(Compared(case, record, predict(resolve(scenario_of(case, profile)))))
    return found


def summary(errors: Iterable[float]) -> dict[str, float]:
    """Return count, mean and median absolute error, the worst, and the signed mean, in percent."""
    e = 100 * np.asarray(list(errors))
    return {
        "count": len(e),
        "mape": float(np.abs(e).mean()),
        "median": float(np.median(np.abs(e))),
        "worst": float(e[np.argmax(np.abs(e))]),
        "mean": float(e.mean()),
    }
