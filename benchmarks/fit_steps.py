"""Fit numbers of a device to published step times: calibration rows of `validation/` alone.

    python benchmarks/fit_steps.py DEVICE [--sources A,B] [--fit KEY,KEY] [--precision bf16]

What `distsim calibrate` does with a user's steps, on the rows marked ``calibration`` of one device;
each row keeps its own topology and stack. Prints the fit, and the errors of both splits before and
after. Rows with experts take no part unless their source is named.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from distsim.errors import DistsimError
from distsim.prediction.predict import step_time_s
from distsim.scenario.resolve import resolve
from distsim.study.calibration.calibrate import calibrate_readings
from distsim.study.calibration.measurements import Readings, Source, StepTime
from distsim.study.validate_rows import rows, sources

DEFAULT = ("device.sustained_efficiency", "device.gemm_efficiency", "device.memory_efficiency",
           "device.attention_efficiency", "device.contention_factor")  # fmt: skip


def main() -> None:
    """Print the fit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("--sources", default="")
    parser.add_argument("--fit", default="")
    parser.add_argument("--precision", default="")
    given = parser.parse_args()
    wanted = [name for name in given.sources.split(",") if name]
    found = []
    for name, file in sources().items():
        if wanted and name not in wanted:
            continue
        for row in rows(file):
            if row.memory_kind is not None:
                continue
            try:
                scenario = row.load()
                case = resolve(scenario)
            except DistsimError as error:
                print(f"{name}/{row.id}: {error.code}")
                continue
            if case.resolved["device"] != given.device:
                continue
            if given.precision and case.resolved["precision"] != given.precision:
                continue
            if not wanted and getattr(case.network, "experts", 0):
                continue
            found.append((name, row, scenario))
    used = [one for one in found if one[1].split == "calibration"]
    times = [
        StepTime(
            row.measured_s, dict(row.scenario), Source(f"{name}/{row.id}", None, "published"),
            1.0, 1, row.measured_s, row.measured_s,
        )
        for name, row, _ in used
    ]  # fmt: skip
    keys = [key for key in given.fit.split(",") if key] or list(DEFAULT)
    fitted = calibrate_readings(Readings(step_times=tuple(times)), given.device, only=keys)
    print(f"{len(used)} calibration rows of {len(found)}")
    for one in fitted.fit.numbers:
        low, high = one.interval
        fitted_ = f"{one.value:.4g} ({low:.4g} .. {high:.4g})"
        print(f"  {one.knob.key:32} {one.knob.base:.4g} -> {fitted_}")
    print("  left:", ", ".join(knob.key for knob in fitted.fit.unknown if knob.key in keys))
    by: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for name, row, scenario in found:
        before = step_time_s(resolve(scenario)) / row.measured_s - 1.0
        after = step_time_s(resolve(scenario, fitted.profile)) / row.measured_s - 1.0
        by[name, row.split].append((before, after))
        by["all", row.split].append((before, after))
    for (name, split), pairs in sorted(by.items()):
        both = 100.0 * np.array(pairs)
        print(
            f"  {name:24} {split:12} {len(pairs):4}  MAPE {np.abs(both[:, 0]).mean():5.1f} % -> "
            f"{np.abs(both[:, 1]).mean():5.1f} %, mean {both[:, 0].mean():+5.1f} % -> "
            f"{both[:, 1].mean():+5.1f} %"
        )


if __name__ == "__main__":
    main()
