"""How many whole plans a second are resolved, laid out and walked by the graph evaluator.

The space is GPT-3 175B on 1,024 A100s: every plan that divides out, over tensor parallelism in a
node, pipeline parallelism, micro batch, interleaving and recomputation; data parallelism is what is
left. Each plan is predicted from its scenario on (resolved, checked, memory added up, longest
path), one after another in one process. The first time the first plan of each layout pays for what
the others share; the second time all is there.

    python benchmarks/prediction_speed.py [--every N] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections.abc import Iterator
from itertools import product
from resource import RUSAGE_SELF, getrusage
from time import process_time
from typing import Any

import distsim as ds
from distsim.engine import graph, passes
from distsim.prediction.predict import memory
from distsim.program.build import build
from distsim.program.outline import outline
from distsim.scenario.resolve import resolve
from distsim.store import seldom_collected

BASE = "gpt3-175b-1024xa100"
DEVICES, LAYERS, SEQUENCES = 1024, 96, 1536
RECOMPUTE = ("none", "selective", "full")


def plans() -> Iterator[dict[str, Any]]:
    """Yield every plan of the space that divides out."""
    for tp, pp in product((1, 2, 4, 8), _divisors(LAYERS)):
        dp, left = divmod(DEVICES, tp * pp)
        if not left and SEQUENCES % dp == 0:
            yield from _plans(tp, pp, SEQUENCES // dp)


def _divisors(of: int) -> list[int]:
    return [n for n in range(1, of + 1) if of % n == 0]


def _plans(tp: int, pp: int, sequences: int) -> Iterator[dict[str, Any]]:
    """Yield the plans of a mesh whose replicas each get so many sequences."""
    for v, micro in product(_divisors(LAYERS // pp), _divisors(sequences)):
        if v > 1 and (pp == 1 or sequences // micro % pp):
            continue
        for mode in RECOMPUTE:
            plan: dict[str, Any] = {"tp": tp, "pp": pp, "virtual_stages": v, "recompute": mode}
            plan |= {"schedule": "interleaved" if v > 1 else "1f1b", "sequence_parallel": tp > 1}
            yield {"plan": plan, "batch": {"micro_size": micro}}


def main() -> None:
    """Time the parts of all predictions, and hold some to the op graph."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="only every Nth plan")
    parser.add_argument("--check", type=int, default=50, help="build the graph of every Nth plan")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    space = list(plans())[:: args.every]
    with seldom_collected():
        for name in ("first", "again"):
            print(f"{name} time")
            measure(space, args.check if name == "first" else 0, profiled=args.profile)


def measure(space: list[dict[str, Any]], check: int, *, profiled: bool) -> None:
    """Predict every plan, part by part, and print what each part takes."""
    base = ds.load(BASE)
    spent = dict.fromkeys(("scenario", "resolve", "memory", "outline", "passes"), 0.0)
    profile = cProfile.Profile()
    walked, checked = 0, 0
    for number, changes in enumerate(space):
        if profiled:
            profile.enable()
        marks = [process_time()]
        scenario = base.with_(**changes)
        marks.append(process_time())
        case = resolve(scenario)
        marks.append(process_time())
        memory(case)
        marks.append(process_time())
        found = outline(case.inputs)
        marks.append(process_time())
        if found is None:
            raise SystemExit(f"no outline: {changes}")
        step_s = passes.step_s(found)
        marks.append(process_time())
        profile.disable()
        for name, a, b in zip(spent, marks, marks[1:], strict=False):
            spent[name] += b - a
        walked += len(found.route)
        if check and number % check == 0:
            whole = graph.evaluate(build(case.inputs).graph).makespan
            if abs(whole / step_s - 1) > 1e-9:
                raise SystemExit(f"{changes}: {step_s} s, but the op graph says {whole} s")
            checked += 1
    total = sum(spent.values())
    for name, seconds in spent.items():
        print(f"  {name:10} {seconds / len(space) * 1e3:8.2f} ms a plan")
    print(f"  {len(space)} plans, {walked / len(space):.0f} passes each, {checked} checked")
    print(f"  {len(space) / total:.0f} predictions a second and core")
    most = getrusage(RUSAGE_SELF).ru_maxrss
    print(f"  peak memory of the process so far: {most / 1024:.0f} MB")
    if profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
