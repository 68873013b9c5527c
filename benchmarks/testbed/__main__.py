"""Measures collectives and training on hosts of its own, and predicts them.

    python -m benchmarks.testbed --hosts 8 --rate 200mbit --out results.json
    python -m benchmarks.testbed predict --out results.json     # again, from a saved result
    python -m benchmarks.testbed clean                          # what a killed run left behind

Needs root, iproute2, and PyTorch beside distsim. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import distsim
from benchmarks.testbed import fit, measure, report
from benchmarks.testbed.commands import parse_rate
from benchmarks.testbed.fleet import Fleet, WorkerError
from benchmarks.testbed.network import Network, NetworkError, clean
from benchmarks.testbed.quiet import Watch

#: The model that is trained: 14.8 million parameters, so that gradients and a step of one core
#: take about as long at the middle rate.
SHAPE = {"layers": 4, "hidden": 512, "heads": 8, "vocab": 4096, "sequence": 128}
MICRO_SIZES = (4, 2, 8)
ACCUMULATE = 3
#: Rates of a host in training, bits/s.
STEP_RATES = (200e6, 400e6, 800e6)
MOST_BYTES = 16 << 20


class TimeUp(RuntimeError):
    """The run took longer than it may."""


@contextlib.contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raise `TimeUp` after so many seconds, and KeyboardInterrupt where told to end."""

    def late(number: int, frame: object) -> None:
        raise TimeUp(f"not done after {seconds} s")

    def told(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, told)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _machine(versions: dict[str, str]) -> dict[str, Any]:
    cpu = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        cpu = names[0] if names else ""
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "distsim": distsim.__version__,
        **versions,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure; return the result without its predictions."""
    bits_per_s = parse_rate(options.rate)
    groups = tuple(n for n in measure.GROUPS if n <= options.hosts)
    cores = tuple(sorted(os.sched_getaffinity(0)))[:2]
    watch = Watch(cores, options.patience / 2)
    cases = list(measure.collectives(groups, MOST_BYTES))
    hosts = Network(options.hosts, bits_per_s)
    with hosts as network, Fleet(network, groups, options.nice) as fleet:
        swept, sent = measure.run_collectives(fleet, network, watch, cases, options.rounds)
        versions = fleet.versions
    watch.budget_s += options.patience / 2
    steps = measure.steps(STEP_RATES, MICRO_SIZES, ACCUMULATE)
    with Network(2, STEP_RATES[0]) as network, Fleet(network, (2,), options.nice) as fleet:
        trained, facts = measure.run_steps(fleet, network, watch, SHAPE, steps, options.rounds)
    return {
        "format": report.FORMAT,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": _machine(versions),
        "settings": {
            "hosts": options.hosts,
            "bits_per_s": bits_per_s,
            "rounds": options.rounds,
            "nice": options.nice,
            "shape": SHAPE,
            "parameters": facts["parameters"],
        },
        "quiet": watch.to_dict(),
        "device": facts["device"],
        "sent_over_size": sent,
        "collectives": report.samples_to_list(swept),
        "steps": report.samples_to_list(trained),
    }


def predict(result: dict[str, Any]) -> list[fit.Row]:
    """Fit on the calibration part of a result, predict all of it, add both to it."""
    settings = result["settings"]
    collectives = report.measured(result["collectives"])
    steps = report.measured(result["steps"])
    network, fitted = fit.fit_network(collectives, settings["bits_per_s"])
    core, of_core = fit.fit_core(result["device"])
    core, of_steps = fit.fit_steps(steps, settings["shape"], network, core)
    rows = fit.predict_all(
        collectives, steps, settings["bits_per_s"], settings["shape"], network, core
    )
    result["library"] = network.library_file()
    result["core"] = core.device_file()
    result["fitted"] = report.fitted_to_dict(fitted | of_core | of_steps)
    result["summary"] = report.summary(rows)
    result["predictions"] = [report.row_to_dict(row) for row in rows]
    return rows


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.testbed", description=__doc__)
    parser.add_argument("do", nargs="?", choices=("run", "predict", "clean"), default="run")
    parser.add_argument("--hosts", type=int, choices=(4, 8), default=8)
    parser.add_argument("--rate", default="200mbit", help="of each host, in the sweeps")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each case")
    parser.add_argument("--out", type=Path, help="JSON; Markdown is written beside it")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for everything")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for cores")
    parser.add_argument("--nice", type=int, default=0, help="of the processes (-20 to 19)")
    options = parser.parse_args(arguments)
    if options.do == "predict" and options.out is None:
        parser.error("predict needs --out, a saved result")
    if options.out is not None and not options.out.absolute().parent.is_dir():
        parser.error(f"--out: there is no directory {options.out.parent}")
    return options


def _needs() -> str | None:
    if os.geteuid() != 0:
        return "namespaces need root"
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    return f"{' and '.join(missing)} is missing: install iproute2" if missing else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    options = _arguments(arguments)
    if options.do != "predict" and (reason := _needs()):
        print(reason, file=sys.stderr)
        return 2
    try:
        with bounded(options.timeout):
            if options.do == "clean":
                print("\n".join(clean()) or "nothing to remove")
                return 0
            if options.do == "predict":
                result = json.loads(options.out.read_text())
            else:
                result = run(options)
            if options.out is not None:
                # What was measured is kept, whatever comes of its prediction.
                options.out.write_text(json.dumps(result, indent=1) + "\n")
            rows = predict(result)
    except KeyError as error:
        print(f"{options.out} is no result of a testbed: {error} is missing", file=sys.stderr)
        return 1
    except (NetworkError, WorkerError, TimeUp, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    page = report.markdown(result, rows)
    print(page)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
