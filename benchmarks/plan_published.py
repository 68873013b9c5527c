"""Plans of published runs against the plans that `distsim plan` finds for them.

For every row of Narayanan 2021 (table 1), Korthikanti 2022 (table 5) and Llama 3 (table 4): the
step of the published plan, that of the best plan under the same model of hardware and software,
and how many plans that fit are faster than the published one. Two spaces: what the framework of
the paper had (``own``: the same ZeRO stage, recomputation and sequence parallelism, 1F1B and
interleaved schedules), and everything that distsim knows (``all``). Writes the table of
docs/planning.md.

Run: python benchmarks/plan_published.py [SOURCE ...] [--space own|all]
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from distsim.report.plan_text import plan_words
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.plan.columns import Sources
from distsim.study.plan.layers import MODES
from distsim.study.plan.search import bounded
from distsim.study.plan.setting import setting
from distsim.study.plan.space import candidates, scenario_of, space_of
from distsim.study.plan.timing import timed
from distsim.study.validate_rows import rows, sources

SOURCES = ("narayanan-2021", "korthikanti-2022", "llama3-2024")


def _own(scenario):
    """Return what the framework of a published plan could have varied."""
    plan = scenario.plan
    return {
        "zero_stage": (plan.zero_stage,),
        "sequence_parallel": (plan.sequence_parallel, False)
        if plan.sequence_parallel
        else (False,),
        "recompute": (plan.recompute,) if plan.recompute in MODES else MODES,
        "schedule": ("1f1b", "interleaved"),
        "overlap": ("stack",),
    }


def compare(scenario, fixed, *, rank):
    """Return (candidates, fitting, faster, published s, best s, scenario of the best).

    With `rank` all that may be faster than the published plan are timed, otherwise only what it
    takes to find the best.
    """
    devices = scenario.cluster.devices
    base = setting(scenario, devices)
    found = candidates(base, space_of(base, [devices], fixed))
    given = bounded(Sources(base), found)
    published_s = timed(scenario, "graph", weighed=True).step_s
    order = np.flatnonzero(given.fits)
    order = order[np.argsort(given.step_s[order], kind="stable")]
    best_s, best, faster = np.inf, None, 0
    for index in order.tolist():
        if given.step_s[index] >= (published_s if rank else best_s):
            break
        step_s = timed(scenario_of(base, found, index), "graph", weighed=True).step_s
        faster += step_s < published_s * (1 - 1e-6)
        if step_s < best_s:
            best_s, best = step_s, index
    chosen = scenario_of(base, found, best) if best is not None else None
    return len(found), len(order), faster, published_s, best_s, chosen


def words(scenario):
    """Return the plan of a scenario in a few words."""
    case = resolve(scenario)
    plan = case.inputs.plan.to_dict()
    return plan_words(plan | {"layers_per_stage": scenario.plan.layers_per_stage})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="*", default=SOURCES)
    parser.add_argument("--space", choices=["own", "all"], nargs="*", default=["own", "all"])
    asked = parser.parse_args()
    print(
        "| row | space | fit | faster | published | best | gain | published plan | best plan | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for source in asked.sources or SOURCES:
        for row in rows(sources()[source]):
            scenario = load(row.scenario)
            for name in asked.space:
                begin = time.perf_counter()
                fixed = _own(scenario) if name == "own" else {}
                _, fit, faster, given_s, best_s, best = compare(scenario, fixed, rank=name == "own")
                share = f"{faster:,} ({100 * faster / max(fit, 1):.1f} %)" if name == "own" else ""
                least_s = min(best_s, given_s)
                print(
                    f"| {row.id} | {name} | {fit:,} | {share} | {given_s:.2f} s | {least_s:.2f} s "
                    f"| {100 * (1 - least_s / given_s):.1f} % | {words(scenario)} "
                    f"| {words(best) if best_s < given_s else 'the same'} "
                    f"| {time.perf_counter() - begin:.0f} |"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
