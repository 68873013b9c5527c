"""Speed of the network: collectives folded and message by message, large topologies, a whole step.

    python benchmarks/network_speed.py

Each case runs in a process of its own, best of five: the work by itself, the whole process with its
start and imports, and its peak memory. Times are of the machine at hand; counts and ratios are what
to compare, and the counts are asserted.

For context: an established simulator in C++ took 8 to 15 s and 357 MB for an all-reduce of 1 GB on
1,024 devices, and 104 s and 1.9 GB for a step of a hybrid-parallel workload on 1,024 devices, on
this class of machine (2 cores).

Folded, a collective is compiled onto the links and priced: nothing is simulated. `steps` simulates
all 2 n (n - 1) messages of a ring, every one of them between its two devices. `route` builds a tree
whose every uplink is a link of its own, on which pairs are hashed, and routes each device to the
next one in its node, in its leaf, in its pod and in the next pod, and 100,000 random pairs, each
with its latency. `step` is one optimizer step, its file included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

REPEATS, PAIRS = 5, 100_000
Counts = dict[str, float]


def folded(topology: str, devices: int, algorithm: str) -> Callable[[], Counts]:
    """Time an all-reduce of 1 GB, from the file of its topology on."""
    from distsim.study.collective import collective_report

    def work() -> Counts:
        report = collective_report("all_reduce", topology, devices, [1e9], algorithm)
        return {"simulated_us": report.rows[0].time_s * 1e6}

    return work


def steps(topology: str, devices: int, algorithm: str) -> Callable[[], Counts]:
    """Simulate every message of it."""
    from distsim.study import collective

    runs = []
    inner = collective.steps_run
    collective.steps_run = lambda *args: runs.append(inner(*args)) or runs[-1]

    def work() -> Counts:
        report = collective.collective_report(
            "all_reduce", topology, devices, [1e9], algorithm, detail="steps"
        )
        (run,) = runs
        if algorithm == "ring":
            assert run.messages == 2 * devices * (devices - 1)
            assert (run.instants, run.solves) == (4 * (devices - 1), 1)
        return {
            "simulated_us": report.rows[0].time_s * 1e6,
            "messages": run.messages,
            "instants": run.instants,
            "solves": run.solves,
        }

    return work


def route(topology: str, devices: int) -> Callable[[], Counts]:
    """Build a tree and route its devices."""
    import numpy as np

    from distsim.files import find, load_yaml
    from distsim.hardware.catalogue import load_topology

    def work() -> Counts:
        data, _ = load_yaml(find("topologies", topology))
        net = load_topology({**data, "name": topology, "spreading": "hashed"}, devices)
        device = np.arange(devices)
        links = 0
        for hops, away, block in ((2, 1, 8), (2, 8, 32), (4, 32, 1024), (6, 1024, devices)):
            other = device // block * block + (device + away) % block
            routes = net.routes(device, other)
            assert (np.diff(routes.ptr) == hops).all()
            links += len(routes.link)
        routes = net.routes(*np.random.default_rng(0).integers(0, devices, (2, PAIRS)))
        routes.latency_s(net)
        return {
            "links": net.n_links,
            "routes": 4 * devices + PAIRS,
            "hops": links + len(routes.link),
        }

    return work


def step(scenario: str, devices: int) -> Callable[[], Counts]:
    """Predict one step, by the evaluator that is valid for it."""
    import distsim.api as ds
    from distsim.engine import network

    solves: list[int] = []
    inner = network.solve_few
    network.solve_few = lambda *args: solves.append(len(args[0])) or inner(*args)

    def work() -> Counts:
        one = ds.load(scenario)
        batch = one.batch.global_size * devices // one.cluster.devices
        scaled = one.with_(cluster={"devices": devices}, batch={"global_size": batch})
        p = ds.simulate(scaled)
        return {
            "simulated_us": p.step_s * 1e6,
            "classes": p.classes,
            "tasks": p.tasks,
            "events": p.events,
            "solves": len(solves),
        }

    return work


#: What is counted, in the order of the table.
COUNTED = (
    "links",
    "routes",
    "hops",
    "messages",
    "classes",
    "tasks",
    "events",
    "instants",
    "solves",
)
TREE, POD, STAR = "fat-tree-16384xh100", "dgx-h100-superpod", "example-single-switch-1024"
GPT = "gpt3-175b-1024xa100"
#: Letter of the case, what it does, and with what: the smaller size first, then that of the target.
CASES: list[tuple[str, Callable[..., Callable[[], Counts]], tuple]] = [
    ("a", folded, (STAR, 128, "ring")),
    ("a", folded, (STAR, 1024, "ring")),
    ("b", steps, (STAR, 128, "ring")),
    ("b", steps, (STAR, 1024, "ring")),
    ("c", folded, (TREE, 1024, "hierarchical")),
    ("c", folded, (TREE, 16384, "hierarchical")),
    ("c", folded, (POD, 1024, "hierarchical")),
    ("c", folded, (POD, 16384, "hierarchical")),
    ("c", steps, (TREE, 1024, "hierarchical")),
    ("c", steps, (TREE, 16384, "hierarchical")),
    ("d", route, (TREE, 2048)),
    ("d", route, (TREE, 16384)),
    ("e", step, (GPT, 1024)),
    ("e", step, (GPT, 4096)),
]


def child(index: int) -> None:
    """Run one case in this process and print its figures as JSON."""
    # What is first loaded when a file is read belongs to the start and not to the work.
    import distsim.yamlparse  # noqa: F401

    _, make, arguments = CASES[index]
    work = make(*arguments)
    begin = time.perf_counter()
    counts = work()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"work_s": seconds, "peak_mb": peak} | counts))


def measured(index: int) -> dict[str, float]:
    """Return the least times of some processes, and the largest memory."""
    runs = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, str(index)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout) | {"process_s": time.perf_counter() - begin})
    least = {key: min(run[key] for run in runs) for key in runs[0]}
    return least | {"peak_mb": max(run["peak_mb"] for run in runs)}


def main() -> None:
    """Print one line for each case, with its ratio to the smaller size before it."""
    print(f"{'case':52}{'work ms':>10}{'ratio':>7}{'process s':>11}{'peak MB':>9}  counts")
    before: dict[str, float] = {}
    for index, (letter, make, arguments) in enumerate(CASES):
        name, devices, *rest = arguments
        run = measured(index)
        again = index % 2 == 1
        ratio = f"{run['work_s'] / before['work_s']:7.1f}" if again else " " * 7
        counts = [
            f"{run[key]:,.0f} {key}" + (f" (x{run[key] / before[key]:.1f})" if again else "")
            for key in COUNTED
            if key in run
        ]
        each = next((key for key in ("messages", "events", "routes") if key in run), None)
        if each:
            counts.append(f"{run['work_s'] * 1e6 / run[each]:.3f} us/{each[:-1]}")
        label = " ".join((f"({letter}) {make.__name__}", *rest, f"{devices:,}", name))
        print(
            f"{label:52}{run['work_s'] * 1e3:10.1f}{ratio}{run['process_s']:11.3f}"
            f"{run['peak_mb']:9.0f}  {', '.join(counts)}"
        )
        before = run


if __name__ == "__main__":
    if len(sys.argv) == 2:
        child(int(sys.argv[1]))
    else:
        main()
