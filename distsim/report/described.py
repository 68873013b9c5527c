"""A scenario in a few lines: what runs where, under which plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import parameters, plural

#: Switch of the plan -> the degree that it matters for, and what is overlapped.
_OVERLAPS = {
    "overlap_grad_reduce": ("dp", "gradient reduction"),
    "overlap_param_gather": ("dp", "parameter gathering"),
    "overlap_p2p": ("pp", "pipeline sends"),
    "overlap_tensor": ("tp", "tensor collectives"),
    "overlap_experts": ("ep", "exchanges of experts"),
}
_RECOMPUTE = {
    "none": "no recomputation",
    "selective": "selective recomputation",
    "alternate": "recomputation of all but attention and every second product",
    "full": "full recomputation",
}
_CONTEXT = {
    "ring": "ring attention",
    "all_to_all": "all-to-all attention",
    "all_gather": "gathered keys and values",
}


def unit_of(names: Mapping[str, Any]) -> str:
    """Return what throughput counts: tokens, or whole samples that have none."""
    return "tokens" if names["sample"] == "sequence" else f"{names['sample']}s"


class Described(Protocol):
    """What a prediction and a check both say of their scenario."""

    @property
    def scenario(self) -> str:
        """Name."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""

    @property
    def plan(self) -> dict[str, Any]:
        """The plan, dp included."""

    @property
    def resolved(self) -> dict[str, Any]:
        """Names and sizes that the scenario stands for."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know."""


def facts(scenario: Described) -> dict[str, str]:
    """Return model, cluster, batch, plan and software, each in a few words."""
    plan, names = scenario.plan, scenario.resolved
    return {
        "model": f"{scenario.model}, {parameters(scenario.parameters)}",
        "cluster": f"{plan['devices']:,} x {names['device']} on {names['topology']}",
        "batch": _batch(plan, names),
        "plan": _plan(plan),
        "overlap": _overlap(plan),
        "software": f"{names['stack']}, {names['precision']}, {names['optimizer']}",
    }


def _batch(plan: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    found, sample = names.get("micro_batches"), names["sample"]
    length = f"{names['sequence_length']:,} tokens"
    what = f"rows of up to {length}" if found else f"{sample}s"
    if sample == "sequence" and not found:
        what = f"sequences of {length}"
    text = (
        f"{names['global_size']:,} {what}: {plural(plan['microbatches'], 'micro batch')} of "
        f"{plan['micro_size']:,} on {plural(plan['dp'], 'replica')}"
    )
    if found is not None:
        text += (
            f"; {found['method']}, {100 * found['efficiency']:.1f} % of the tokens are no padding"
        )
    return text


def _recompute(text: str) -> str:
    mode, _, which = text.partition(", ")
    return _RECOMPUTE[mode] + (f" of {which}" if which else "")


def _plan(plan: Mapping[str, Any]) -> str:
    degrees = ("dp", "tp", "pp", "cp", "ep")
    shown = [f"{name} {plan[name]:,}" for name in degrees if plan.get(name, 1) > 1]
    parts = [" x ".join(shown) or "dp 1"]
    if plan["dp_replicas"] > 1:
        parts.append(f"{plan['dp_replicas']} replicas of shard groups")
    if plan["ep"] > 1 and plan["etp"] != plan["tp"]:
        parts.append(f"experts tp {plan['etp']}")
    if plan["cp"] > 1:
        parts.append(_CONTEXT[plan["context_mode"]])
    if plan["pp"] > 1:
        virtual = plan["virtual_stages"]
        parts.append(plan["schedule"] + (f" with {virtual} virtual stages" if virtual > 1 else ""))
    parts.append(f"ZeRO {plan['zero_stage']}")
    if plan["sequence_parallel"]:
        parts.append("sequence parallel")
    if plan["async_tensor"]:
        parts.append("async tensor parallel")
    if plan["grad_compression"] != "none":
        parts.append(f"{plan['grad_compression']} gradients")
    if plan["offload"] != "none":
        parts.append(f"{plan['offload']} offloaded")
    parts.append(_recompute(plan["recompute"]))
    return ", ".join(parts)


def _overlap(plan: Mapping[str, Any]) -> str:
    shown = [
        text for switch, (degree, text) in _OVERLAPS.items() if plan[switch] and plan[degree] > 1
    ]
    return ", ".join(shown) or "none"


def notes(scenario: Described) -> RenderableType:
    """Return the warnings, one a line."""
    return Group(*(Text(f"warning: {text}", style="yellow") for text in scenario.warnings))
