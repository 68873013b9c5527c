"""Fit what a pass through a layer takes beside its kernels under DeepSpeed's pipeline engine.

    python benchmarks/fit_layer_wait.py

Calibration rows of BLOOM and of the search for its shape alone. A step grows by as many waits as
its longest path has passes through layers, so it is predicted without the wait and with one of
5 ms, and lies on the line between the two. Least squares on log ratios, soft L1 loss; the standard
error is that of 500 bootstrap samples. Prints the fit and the errors with and without it.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
from scipy.optimize import least_squares

from distsim.cost import stack
from distsim.study.validate_rows import rows, sources
from distsim.study.validation_run import step_s

NAME, FILES = "deepspeed-pipeline-2022", ("bloom-2022", "bloom-2022-search")
TRIAL_S, LOSS = 5e-3, 0.05


def predicted_s(wait_s: float) -> np.ndarray:
    """Return the predicted steps of all calibration rows with this wait in the stack."""
    shipped = stack._shipped

    def changed(name: str) -> stack.Stack:
        found = shipped(name)
        return replace(found, layer_wait_s=wait_s) if name == NAME else found

    with patch.object(stack, "_shipped", changed):
        return np.array([step_s(row.load()) for row in used()])


def used() -> list:
    """Return the rows that take part."""
    found = [row for name in FILES for row in rows(sources()[name])]
    return [row for row in found if row.split == "calibration"]


def main() -> None:
    """Print the fit."""
    measured_s = np.array([row.measured_s for row in used()])
    without_s = predicted_s(0.0)
    slope = (predicted_s(TRIAL_S) - without_s) / TRIAL_S

    def fit(chosen: np.ndarray) -> float:
        def errors(wait_ms: np.ndarray) -> np.ndarray:
            found_s = without_s[chosen] + slope[chosen] * wait_ms[0] * 1e-3
            return np.log(found_s / measured_s[chosen])

        return float(least_squares(errors, [5.0], loss="soft_l1", f_scale=LOSS).x[0])

    places = np.arange(len(measured_s))
    rng = np.random.default_rng(0)
    wait_ms = fit(places)
    spread = np.std([fit(rng.choice(places, len(places))) for _ in range(500)])
    print(
        f"{len(places)} calibration rows: {wait_ms:.2f} +- {spread:.2f} ms a pass through a layer"
    )
    for what, found_s in (("without", without_s), ("with", without_s + slope * wait_ms * 1e-3)):
        percent = 100.0 * (found_s / measured_s - 1.0)
        print(f"  {what:8} MAPE {np.abs(percent).mean():5.2f} %, mean {percent.mean():+6.2f} %")


if __name__ == "__main__":
    main()
