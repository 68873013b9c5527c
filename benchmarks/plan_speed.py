"""Speed and tightness of `distsim plan`, in one process.

* Candidates a second of processor time that are enumerated, weighed and bounded (layers and links
  priced included),
  and the same again where they are priced already.
* Median and quantiles of bound over step (graph evaluator), over random candidates that fit.
* A whole search: Turing-530B on 64 to 4,096 A100s.

Run: python benchmarks/plan_speed.py [--samples N] [--skip-search]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

import distsim as ds
from distsim.scenario.load import load
from distsim.study.plan.bound import bound
from distsim.study.plan.columns import Sources, batches
from distsim.study.plan.memory import peak_bytes
from distsim.study.plan.search import bounded
from distsim.study.plan.setting import setting
from distsim.study.plan.space import candidates, scenario_of, space_of
from distsim.study.plan.timing import timed

GPT3 = "gpt3-175b-1024xa100"
TURING = {
    "schema": 1,
    "name": "turing-530b",
    "cluster": {"topology": "dgx-a100-superpod", "devices": 4096},
    "model": "megatron-530b",
    "batch": {"global_size": 1920, "micro_size": 1, "sequence_length": 2048},
}
SIZES = [64, 128, 256, 512, 1024, 2048, 4096]


def rates(devices):
    """Print candidates a second over some sizes of cluster; return what was bounded."""
    begin = time.process_time()
    base = setting(load(GPT3), max(devices))
    found = candidates(base, space_of(base, devices, {}))
    listed = time.process_time()
    sources = Sources(base)
    given = bounded(sources, found)
    first = time.process_time()
    for batch in batches(sources, found):  # once more, priced: memory and bound of every one
        peak_bytes(batch)
        bound(batch)
    again = time.process_time()
    n, fits = len(found), int(given.fits.sum())
    print(
        f"{devices[0]} to {devices[-1]} devices: {n:,} candidates, {fits:,} fit; "
        f"{n / (first - begin):,.0f}/s from nothing ({n / (listed - begin):,.0f}/s enumerated), "
        f"{n / (again - first):,.0f}/s memory and bound of all, priced before"
    )
    return base, found, given


def tightness(base, found, given, samples):
    """Print quantiles of bound over step."""
    rows = np.flatnonzero(given.fits)
    chosen = np.random.default_rng(0).choice(rows, min(samples, len(rows)), replace=False)
    begin = time.process_time()
    exact = [timed(scenario_of(base, found, i, "graph"), "graph").step_s for i in chosen.tolist()]
    spent_s = time.process_time() - begin
    share = given.step_s[chosen] / np.asarray(exact)
    q = ", ".join(f"{x:.3f}" for x in np.quantile(share, [0.0, 0.1, 0.5, 0.9, 1.0]))
    print(f"bound / step of {len(chosen)} plans: least, 10 %, median, 90 %, most: {q}")
    print(f"{len(chosen) / spent_s:,.0f} exact steps/s by the graph evaluator")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--skip-search", action="store_true")
    asked = parser.parse_args()
    rates(SIZES)
    tightness(*rates([1024]), asked.samples)
    if not asked.skip_search:
        begin = time.process_time()
        planned = ds.plan(TURING, devices=SIZES, tokens="270B")
        spent_s = time.process_time() - begin
        best = planned.best
        print(f"Turing-530B on 64 to 4,096 A100s: {spent_s:.1f} s, {dict(planned.searched)}")
        print(f"  best: {best.devices} devices, {best.outcome.step_s:.3f} s, {best.plan()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
