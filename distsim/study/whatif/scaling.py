"""What a change of the plan does to the parts of a step, by how they grow: an estimate.

Volumes are those of docs/strategies.md, for a step whose parts do not hide one another otherwise
than before: kernels priced one by one, tensor collectives by what a rank sends, gradients by
parameters of a rank, the bubble by its closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distsim.cost.kernel import price
from distsim.prediction.case import Case

#: Parts that stay as they are, or follow the kernels.
_SAME = ("context_s", "expert_s", "offload_s")


def estimate_s(before: Case, after: Case, parts: Mapping[str, float]) -> float | None:
    """Return the time of a step after a change of its plan.

    Parameters
    ----------
    before, after : Case
    parts : mapping of str to float
        Breakdown before.

    Returns
    -------
    float or None
        None where a part begins that was not there, or what changes is no part of the breakdown.
    """
    if before.tokens != after.tokens or _names(before) != _names(after):
        return None
    old, new = (case.inputs.plan.to_dict() for case in (before, after))
    if _overlaps(old) != _overlaps(new) or old["zero_stage"] != new["zero_stage"]:
        return None
    if _leaves_node(before) != _leaves_node(after):
        return None
    growth: dict[str, Callable[[Mapping[str, Any]], float]] = {
        "tensor_s": _tensor,
        "pipeline_s": _pipeline,
        "data_s": _data,
        "optimizer_s": _optimizer,
        "host_s": _passes,
    }
    out = parts["compute_s"] * kernels_s(after) / kernels_s(before)
    out += sum(parts[name] for name in _SAME)
    for name, volume in growth.items():
        was, now = volume(old), volume(new)
        if was > 0.0:
            out += parts[name] * now / was  # what was hidden stays so
        elif now > 0.0:
            return None
    # What stages wait for one another beyond the closed form stays.
    ideal_s = sum(parts.values()) - parts["bubble_s"]
    return out + parts["bubble_s"] + (_bubble(new) - _bubble(old)) * ideal_s


def kernels_s(case: Case) -> float:
    """Return the time of all kernels of a step but the update's, mean over devices, s."""
    inputs = case.inputs
    known: dict[int, float] = {}
    total = 0.0
    for number, variant in enumerate(inputs.variants):
        count = int((inputs.variants_of() == number).sum())
        for unit in (u for stage in variant.chunks for chunk in stage for u in chunk.units):
            if id(unit) not in known:
                steps = (*unit.forward, *unit.backward)
                works = (step.works for step in steps)
                known[id(unit)] = sum(price(w, inputs.device, inputs.dtype).device_s for w in works)
            total += count * known[id(unit)]
    return total / inputs.plan.pp


def _names(case: Case) -> dict[str, Any]:
    """Return what was chosen by name; padding of the vocabulary follows from the plan."""
    return {k: v for k, v in case.resolved.items() if k != "vocabulary"}


def _leaves_node(case: Case) -> bool:
    """Return whether tensor-parallel groups reach over nodes, whose links are others."""
    return case.inputs.plan.tp > case.inputs.topology.devices_per_node


def _overlaps(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("overlap_grad_reduce", "overlap_param_gather", "overlap_p2p", "overlap_tensor")
    return (*(plan[k] for k in keys), plan["async_tensor"], plan["sequence_parallel"])


def _samples(plan: Mapping[str, Any]) -> float:
    """Return the samples that pass through a rank."""
    return float(plan["microbatches"] * plan["micro_size"])


def _tensor(plan: Mapping[str, Any]) -> float:
    t = float(plan["tp"])
    passes = 3.0 if plan["recompute"].startswith("full") else 2.0  # the forward pass runs again
    return passes * _samples(plan) / float(plan["pp"]) * (t - 1) / t


def _pipeline(plan: Mapping[str, Any]) -> float:
    return 0.0 if plan["pp"] == 1 else float(_samples(plan) * plan["virtual_stages"] / plan["tp"])


def _data(plan: Mapping[str, Any]) -> float:
    d = float(plan["dp"] * plan["cp"])
    return (d - 1) / d / float(plan["tp"] * plan["pp"])


def _bubble(plan: Mapping[str, Any]) -> float:
    """Return (p - 1) / (v m) (Narayanan 2021, section 2.2)."""
    return float((plan["pp"] - 1) / (plan["virtual_stages"] * plan["microbatches"]))


def _optimizer(plan: Mapping[str, Any]) -> float:
    sharded = plan["dp"] * plan["cp"] if plan["zero_stage"] else 1
    return 1.0 / float(plan["tp"] * plan["pp"] * sharded)


def _passes(plan: Mapping[str, Any]) -> float:
    """Return the layers that a rank runs, once for each micro batch."""
    return float(plan["microbatches"] / plan["pp"])
