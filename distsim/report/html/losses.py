"""Where a step goes: from the time that its FLOP take at peak rate to the time that it takes."""

from __future__ import annotations

from distsim.prediction.predict import Prediction
from distsim.report.html.charts import bars
from distsim.report.html.page import Section
from distsim.units import REL_TOL

#: Parts of the breakdown after compute, with their names and the kind that gives their colour.
_LOSSES = (
    ("tensor_s", "tensor communication, exposed", "tensor"),
    ("expert_s", "expert communication, exposed", "expert"),
    ("context_s", "context communication, exposed", "context"),
    ("pipeline_s", "pipeline communication, exposed", "pipeline"),
    ("data_s", "data communication, exposed", "data"),
    ("bubble_s", "bubble", "bubble"),
    ("optimizer_s", "optimizer", "optimizer"),
    ("offload_s", "host memory and its update", "offload"),
    ("host_s", "waiting for the host", "host"),
)


def losses(prediction: Prediction) -> list[tuple[str, float, str]]:
    """Return what a step consists of, from ideal to actual: name, seconds, kind; they sum to it.

    Ideal is the FLOP of the model over the dense peak of all devices, MFU times the step;
    recomputation is what HFU counts beyond it; what kernels take beyond both at peak rate is lost
    by them. That is negative where kernels run fewer FLOP than MFU counts, as fused attention that
    skips what a causal mask hides. The rest is the breakdown.
    """
    step_s, parts = prediction.step_s, prediction.breakdown.to_dict()
    ideal_s, hardware_s = prediction.mfu * step_s, prediction.hfu * step_s
    found = [
        ("model FLOP at peak rate", ideal_s, "ideal"),
        ("recomputation at peak rate", hardware_s - ideal_s, "recompute"),
        ("kernels below peak rate", parts["compute_s"] - hardware_s, "kernels"),
    ]
    found += [(name, parts[key], kind) for key, name, kind in _LOSSES]
    # What takes no time but for rounding is not worth a row, beside the first and the kernels.
    least = REL_TOL * step_s
    return [row for at, row in enumerate(found) if abs(row[1]) > least or at in (0, 2)]


def losses_section(prediction: Prediction) -> Section:
    """Return the section with the waterfall of a prediction."""
    rows, at_s = [], 0.0
    for name, seconds, kind in losses(prediction):
        rows.append((name, at_s, at_s + seconds, kind, seconds / prediction.step_s))
        at_s += seconds
    rows.append(("step", 0.0, prediction.step_s, "total", 1.0))
    about = (
        "From the time that the FLOP of the model would take at the dense peak to the time of the "
        "step, loss by loss, mean over devices. Communication counts where it is exposed."
    )
    return bars("losses", "Where the time goes", about, rows)
