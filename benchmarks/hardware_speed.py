"""How long it takes to build, route and compile collectives on a large superpod; prints times."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from distsim.collectives.algorithms import ALGORITHMS
from distsim.hardware.catalogue import load_topology

DEVICES, PAIRS, REPEATS = 49_152, 100_000, 5


def best_ms(work: Callable[[], object]) -> float:
    """Return the least time of some repeats, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return min(times) * 1e3


def main() -> None:
    """Print one line for each measurement."""
    topology = load_topology("dgx-a100-superpod", DEVICES)
    src, dst = np.random.default_rng(0).integers(0, DEVICES, (2, PAIRS))
    routes = topology.routes(src, dst)
    cases: list[tuple[str, Callable[[], object]]] = [
        (f"build {DEVICES:,} devices", lambda: load_topology("dgx-a100-superpod", DEVICES)),
        (f"route {PAIRS:,} pairs", lambda: topology.routes(src, dst)),
        (f"latency of {PAIRS:,} routes", lambda: routes.latency_s(topology)),
    ]
    for collective, algorithm in (("all_gather", "ring"), ("all_reduce", "tree")):
        build = ALGORITHMS[collective, algorithm]
        flows = build(DEVICES, 8)
        cases += [
            (f"{collective} {algorithm}: {len(flows.src):,} flows", lambda b=build: b(DEVICES, 8)),
            (f"merged into {len(flows.merged().src):,}", flows.merged),
        ]
    for label, work in cases:
        print(f"{label:45s} {best_ms(work):8.2f} ms")


if __name__ == "__main__":
    main()
