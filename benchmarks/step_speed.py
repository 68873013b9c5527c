"""Speed of whole predictions: Megatron-1T on 3,072 devices, the same with dp x16, start-up.

    python benchmarks/step_speed.py

Each case runs in a process of its own, best of three; peak memory is that of the process.
Figures are for the machine at hand; ratios and counts are what to compare.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

CASE = """
import json, resource, time
import distsim.api as ds
s = ds.load("megatron-1t-3072xa100")
s = s.with_(cluster={{"devices": 3072 * {dp}}}, batch={{"global_size": 3072 * {dp}}})
begin = time.perf_counter()
p = ds.simulate(s, evaluator="{evaluator}")
print(json.dumps({{"seconds": time.perf_counter() - begin, "step_s": p.step_s, "tasks": p.tasks,
    "events": p.events, "classes": p.classes,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}}))
"""


def case(evaluator: str, dp: int) -> dict[str, float]:
    """Run one prediction in a fresh process; the best of three."""
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", CASE.format(evaluator=evaluator, dp=dp)],
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda r: r["seconds"])


def wall_s(*command: str) -> float:
    """Return the least wall time of five runs of a command."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    """Print the table."""
    print("Megatron-1T, 64 stages, 512 micro batches")
    heads = ("seconds", "peak MB", "tasks", "events", "us/task", "classes")
    print(f"{'case':28}" + "".join(f"{head:>9}" for head in heads))
    for evaluator in ("event", "graph"):
        base = 0.0
        for dp in (1, 16):
            r = case(evaluator, dp)
            label = f"{evaluator}, {3072 * dp:,} devices"
            print(
                f"{label:28}{r['seconds']:9.3f}{r['peak_mb']:9.0f}{r['tasks']:9.0f}{r['events']:9.0f}"
                f"{1e6 * r['seconds'] / r['tasks']:9.2f}{r['classes']:9.0f}"
            )
            if dp == 1:
                base = r["seconds"]
            else:
                print(f"{'  ratio to dp x1':28}{r['seconds'] / base:9.2f}")
    run = (sys.executable, "-m", "distsim")
    print(f"distsim --version            {wall_s(*run, '--version'):8.3f} s")
    print(f"distsim run (quick start)    {wall_s(*run, 'run', 'gpt3-175b-1024xa100'):8.3f} s")
    print(f"python -c pass               {wall_s(sys.executable, '-c', 'pass'):8.3f} s")


if __name__ == "__main__":
    main()
