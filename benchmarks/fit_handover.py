"""Refit the share of the links' bandwidth that a stack's sharded collectives reach.

Only calibration rows of the published comparison of ZeRO-3 take part.

    python benchmarks/fit_handover.py

Least squares on log ratios of predicted and published step times (scipy). Prints the fit, with its
standard error, and the error of every row with the fitted and the shipped value.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
from scipy.optimize import least_squares

from distsim.prediction.case import Case
from distsim.prediction.predict import predict
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.validate_rows import ValidationRow, rows, sources

SOURCE = "narayanan-2021-table2"


def log_ratio(row: ValidationRow, case: Case, share: float) -> float:
    """Return log(predicted / measured) with another share."""
    data = case.inputs.data
    data = replace(data, handover=replace(data.handover, bandwidth=share))
    changed = replace(case, inputs=replace(case.inputs, data=data))
    return log(predict(changed).step_s / row.measured_s)


def main() -> None:
    """Print the fit."""
    found = [row for row in rows(sources()[SOURCE]) if row.scenario["plan"]["zero_stage"] == 3]
    cases = [resolve(load(row.scenario)) for row in found]
    used = [i for i, row in enumerate(found) if row.split == "calibration"]
    shipped = cases[0].inputs.data.handover.bandwidth

    def residuals(values: np.ndarray) -> list[float]:
        return [log_ratio(found[i], cases[i], float(values[0])) for i in used]

    fit = least_squares(residuals, [shipped], bounds=([0.02], [1.0]), diff_step=1e-2)
    fitted = float(fit.x[0])
    spread = np.sqrt(2 * fit.cost / (len(used) - 1) / float(np.sum(fit.jac**2)))
    print(f"{len(used)} calibration rows: {fitted:.4f} +- {spread:.4f}   shipped {shipped:g}")
    for row, case in zip(found, cases, strict=True):
        errors = [100 * np.expm1(log_ratio(row, case, share)) for share in (fitted, shipped)]
        print(f"  {row.id:18} {row.split:12} {errors[0]:+6.2f} %   shipped {errors[1]:+6.2f} %")


if __name__ == "__main__":
    main()
