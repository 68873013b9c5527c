"""How far a step time may be off, and the validated runs that say so."""

from __future__ import annotations

from math import exp

from distsim.prediction.predict import Prediction
from distsim.report.html.charts import column, table
from distsim.report.html.page import Section
from distsim.study.interval import Validated, validated
from distsim.units import fmt_s


def accuracy_section(prediction: Prediction) -> Section | None:
    """Return the section with the interval and the nearest validated runs; None without one."""
    found = prediction.interval
    if found is None:
        return None
    known = {f"{run.source}/{run.id}": run for run in validated()}
    rows = [_row(known[name]) for name in found.nearest if name in known]
    grown = "" if found.widened <= 1.0 else (
        f" Few runs are near: the neighbourhood grew {found.widened:.2g} times, and the interval "
        "with it."
    )  # fmt: skip
    about = (
        f"The step lies between {fmt_s(found.low_s)} and {fmt_s(found.high_s)} with "
        f"{100 * found.level:.0f} % confidence, by the errors of published runs that are near in "
        f"device, software, precision, plan and size (split conformal prediction; a weight of "
        f"{found.runs:.3g} runs).{grown} The nearest:"
    )
    return table(
        "accuracy",
        "Accuracy",
        about,
        [
            column("validated run", "text"),
            column("device", "text"),
            column("software", "text"),
            column("devices", number=True),
            column("error of the prediction", "+%", number=True),
        ],
        rows,
    )


def _row(run: Validated) -> list[str | float]:
    of = run.traits
    # log_ratio is that of measured over predicted.
    error = exp(-run.log_ratio) - 1.0
    return [f"{run.source}/{run.id}", of.device, of.stack, of.devices, error]
