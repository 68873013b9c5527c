"""What a sweep adds to the evaluations of its combinations, in microseconds a combination.

    python benchmarks/sweep_overhead.py

Outcomes are not computed here: what is timed is making scenarios, keys, the cache and the table.
Then the strong scaling of GPT-3 175B from 64 to 16,384 devices, in seconds, without a cache.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import distsim as ds
from distsim.scenario.schema import Scenario
from distsim.study.cache import Cache
from distsim.study.evaluate import Outcome, evaluate
from distsim.study.pool import _absolute
from distsim.study.sweep.run import sweep
from distsim.study.sweep.study import space_of

NAME = "gpt3-175b-1024xa100"
VALUES = ["plan.tp=1:8", "plan.pp=1:8", "batch.micro_size=1:8", "plan.zero_stage=0,1"]


class Known:
    """A runner that has one outcome for everything."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def run(
        self, scenarios: Sequence[Scenario], on_result: Callable[..., None] | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcome for each scenario."""
        for index in range(len(scenarios)):
            yield index, self.outcome


def main() -> None:
    """Time the parts of a sweep."""
    space = space_of(NAME, devices="64:16384", set_=VALUES)
    runner = Known(evaluate(ds.load(NAME)))
    points = len(space)

    def say(what: str, work: Callable[[], object]) -> None:
        start = process_time()
        work()
        print(f"{what:38} {(process_time() - start) / points * 1e6:7.0f} us a combination")

    print(f"{points} combinations")
    scenarios = [point.scenario for point in space.points()]
    say("scenarios", space.points)
    say(
        "to another process and back",
        lambda: [pickle.loads(pickle.dumps(_absolute(s))) for s in scenarios if s],
    )
    say("scenarios and keys", lambda: sweep(space, runner))
    with tempfile.TemporaryDirectory() as directory:
        for what in ("the same, kept on disk", "the same, known"):
            with Cache(Path(directory) / "cache.sqlite") as cache:
                say(what, partial(sweep, space, runner, cache=cache))
    found = sweep(space, runner)
    say("table", lambda: found.table)
    start = perf_counter()
    ds.sweep(NAME, devices="64:16384", set_={"plan.schedule": "1f1b", "plan.virtual_stages": 1})
    print(f"strong scaling, 64 to 16,384 devices: {perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
