"""Where the time of a step goes: kernels of its trace beside predicted operators.

Sums can agree for the wrong reason; parts tell. A kernel is known by its name in PyTorch 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case, case_of
from benchmarks.gpu.predict import measured_steps, scenario_of
from distsim.prediction.anatomy import case_anatomy
from distsim.prediction.predict import predict
from distsim.scenario.resolve import resolve

#: Parts, and words in the names of their kernels; a kernel belongs to the first part that fits.
#: Linear layers have the addition of gradients into their buffers and the sums of bias gradients.
KERNELS: Mapping[str, tuple[str, ...]] = {
    "linear": (
        "nvjet",
        "splitK",
        "unrolled_elementwise_kernel<CUDAFunctor_add<float>",
        "reduce_kernel",
    ),
    "attention": ("flash", "cudnn", "fmha"),
    "optimizer": ("multi_tensor", "lpnorm"),
    "loss": ("SoftMax", "nll", "direct_copy", "bfloat16_copy"),
    "norms": ("layer_norm", "GammaBeta"),
    "other": ("",),
}
_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "linear": ("qkv", "attention_out", "mlp_up", "mlp_down", "lm_head"),
    "attention": ("flash_attention",),
    "loss": ("cross_entropy",),
    "norms": ("attention_norm", "mlp_norm", "final_norm"),
}


def measured_s(kernels: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds of each part from the kernels of a step, by name."""
    found = dict.fromkeys(KERNELS, 0.0)
    for kernel in kernels["by_name"]:
        part = next(p for p, words in KERNELS.items() if any(w in kernel["name"] for w in words))
        found[part] += kernel["time_s"]
    return found


def predicted_s(case: Case, profile: Path | None = None) -> dict[str, float]:
    """Return seconds of each part of a step of one micro batch that recomputes nothing."""
    resolved = resolve(scenario_of(case, profile))
    found = dict.fromkeys(KERNELS, 0.0)
    for op in case_anatomy(resolved)["operators"]:
        name = str(op["operator"])
        part = next((p for p, names in _OPERATORS.items() if name in names), "other")
        found[part] += op["times"] * (op["forward_s"] + op["backward_s"])
    found["optimizer"] = predict(resolved).step_s - sum(found.values())
    return found


def traced() -> list[tuple[Case, Mapping[str, Any]]]:
    """Return the eager steps whose kernels were listed and that the device sets the pace of."""
    return [
        (case_of(r), r["kernels"])
        for r in measured_steps()
        if "kernels" in r and not r["compiled"] and r["micro"] > 1
    ]
