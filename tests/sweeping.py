"""What tests of sweeps share: a small scenario, and outcomes that were made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distsim.prediction.breakdown import Breakdown
from distsim.scenario.schema import Scenario
from distsim.study.evaluate import Outcome

#: A model that is predicted in milliseconds, on nodes of 8 devices.
SMALL: dict[str, Any] = {
    "name": "small",
    "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
    "model": {
        "family": "gpt",
        "layers": 4,
        "hidden": 512,
        "heads": 8,
        "vocab": 1024,
        "max_positions": 256,
    },
    "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 256},
    "plan": {"tp": 2, "zero_stage": 1},
}


def made_up(devices: int = 8, step_s: float = 2.0, **more: Any) -> Outcome:
    """Return an outcome that fits, of 1 GFLOP and 1,000 tokens a step."""
    parts = dict.fromkeys(Breakdown.__slots__, 0.0) | {"compute_s": step_s * 0.75}
    values: dict[str, Any] = {
        "plan": {"devices": devices, "tp": 1, "pp": 1, "dp": devices},
        "step_s": step_s,
        "tokens": 1000.0,
        "tokens_per_s": 1000.0 / step_s,
        "mfu": 0.5,
        "hfu": 0.5,
        "model_flop_per_s_per_device": 1e9 / step_s / devices,
        "breakdown": parts | {"bubble_s": step_s * 0.25},
        "peak_bytes": 40e9,
        "capacity_bytes": 80e9,
        "lower_s": step_s / 2,
        "upper_s": step_s * 2,
        "evaluator": "graph",
    }
    return Outcome(devices, **(values | more))


class Counting:
    """A runner that counts what it is asked, and says what a function says."""

    def __init__(self, of: Callable[[Scenario], Outcome]) -> None:
        self.of = of
        self.asked: list[Scenario] = []

    def run(
        self,
        scenarios: Sequence[Scenario],
        on_result: Callable[[int, Outcome], None] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        # Backwards, for no order is promised.
        for index in reversed(range(len(scenarios))):
            self.asked.append(scenarios[index])
            outcome = self.of(scenarios[index])
            if on_result is not None:
                on_result(index, outcome)
            yield index, outcome
