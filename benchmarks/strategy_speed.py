"""What each strategy costs to simulate: tasks, events and microseconds a task of every scenario.

    python benchmarks/strategy_speed.py [NAME...]

One warm run of each, resolved and built anew; times are for the machine at hand, counts are not.
"""

from __future__ import annotations

import itertools
import sys
import time

import distsim.api as ds
from distsim.files import shipped_names
from distsim.prediction.predict import evaluate
from distsim.program.build import build
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario


def row(name: str) -> str:
    """Return the figures of one scenario."""
    scenario = ds.load(name)
    assert isinstance(scenario, Scenario), name
    case = resolve(scenario)
    build(case.inputs)
    instants = [time.perf_counter()]
    program = build(case.inputs)
    instants.append(time.perf_counter())
    run = evaluate(program, case.evaluator)
    instants.append(time.perf_counter())
    built_s, run_s = (b - a for a, b in itertools.pairwise(instants))
    tasks = program.graph.n_tasks
    return (
        f"{name:38}{case.inputs.plan.devices:8,}{len(program.classes):8}{tasks:9,}{run.n_events:9,}"
        f"{run.evaluator:>7}{1e6 * built_s / tasks:9.1f}{1e6 * run_s / tasks:9.1f}"
    )


def main() -> None:
    """Print the table."""
    heads = ("devices", "classes", "tasks", "events", "by", "us build", "us run")
    widths = (8, 8, 9, 9, 7, 9, 9)
    print(f"{'scenario':38}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    for name in sys.argv[1:] or shipped_names("scenarios"):
        if name != "two-jobs-128xa100":
            print(row(name))


if __name__ == "__main__":
    main()
