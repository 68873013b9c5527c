"""Small scenarios of parallel strategies, on devices and networks that hide nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from distsim.api import load
from distsim.parallel.step import Step
from distsim.prediction.case import Case
from distsim.prediction.predict import Prediction, predict
from distsim.program.opgraph import TaskKind
from distsim.scenario.resolve import resolve

LAYERS, HIDDEN, HEADS, FFN, VOCAB, TOKENS = 4, 256, 8, 512, 1024, 128
DENSE: Mapping[str, Any] = {
    "family": "llama",
    "layers": LAYERS,
    "hidden": HIDDEN,
    "heads": HEADS,
    "kv_heads": HEADS,
    "ffn": FFN,
    "vocab": VOCAB,
    "max_positions": 1 << 20,
}
MIXTURE: Mapping[str, Any] = {
    **DENSE,
    "experts": 8,
    "experts_per_token": 2,
    "expert_ffn": 384,
}
#: No cost but FLOP and bytes.
QUIET = {
    "kernel_overhead_s": 0.0,
    "host_launch_s": 0.0,
    "contention_factor": 0.0,
    "reserved_bytes": 0.0,
}


def star(bandwidth: str = "10 GB/s", latency: str = "0 us") -> dict[str, Any]:
    """A switch: whatever a device sends crosses its own link and that of the receiver."""
    link = {"bandwidth": bandwidth, "efficiency": 1.0, "latency": latency, "source": "made up"}
    return {
        "kind": "switch",
        "device": "h100-80gb-sxm",
        "max_devices": 64,
        "links": {"link": link},
    }


#: So fast that nothing is ever waited for.
INSTANT = star("1000000000 TB/s")


def case_of(plan: Mapping[str, Any], devices: int, **changes: Any) -> Case:
    """Resolve a plan: 16 bit everywhere, and one micro batch of one sequence a replica by default.

    Parameters
    ----------
    changes
        Blocks of the scenario; ``topology``, ``library``, ``global_size``, ``micro_size`` and
        ``length`` by themselves.
    """
    replicas = devices // (plan.get("tp", 1) * plan.get("pp", 1) * plan.get("cp", 1))
    cluster = {
        "topology": changes.pop("topology", star()),
        "devices": devices,
        "library": changes.pop("library", "ideal"),
    }
    batch = {
        "global_size": changes.pop("global_size", replicas),
        "micro_size": changes.pop("micro_size", 1),
        "sequence_length": changes.pop("length", TOKENS),
    }
    blocks = {
        "schema": 1,
        "name": "strategy",
        "cluster": cluster,
        "model": dict(DENSE),
        "batch": batch,
        "precision": {"compute": "bf16", "gradients": "bf16"},
        "stack": "megatron-core",
        "plan": dict(plan),
    }
    return resolve(load(blocks | changes))


def on(case: Case, **device: float) -> Case:
    """Return a case on devices that have some numbers of their own, and no cost beside them."""
    devices = tuple(replace(d, **(QUIET | device)) for d in case.inputs.devices)
    return replace(case, inputs=replace(case.inputs, devices=devices))


def without_compute(case: Case) -> Case:
    """Return a case on devices that compute in no time."""
    device = case.inputs.device
    peaks = {name: rate * 1e12 for name, rate in device.peak_flop_per_s.items()}
    faster = on(case, memory_bandwidth_bytes_per_s=1e30)
    devices = tuple(replace(d, peak_flop_per_s=peaks) for d in faster.inputs.devices)
    return replace(faster, inputs=replace(faster.inputs, devices=devices))


def run(case: Case, evaluator: str = "auto") -> Prediction:
    return predict(case, evaluator=evaluator)


def step(plan: Mapping[str, Any], devices: int, **changes: Any) -> Prediction:
    return run(case_of(plan, devices, **changes))


def sent(prediction: Prediction) -> float:
    """Bytes that one device of a star sends in a step, the mean over devices."""
    return sum(c.bytes for c in prediction.links.classes) / 2 / prediction.devices


def transfers(prediction: Prediction, name: str) -> np.ndarray:
    """Return the tasks of the op graph that move bytes and whose label begins with a name."""
    graph = prediction.timeline.program.graph
    labels = [i for i, label in enumerate(graph.names) if label.startswith(name)]
    return np.flatnonzero(np.isin(graph.segment, labels) & (graph.transfer >= 0))


def moved(prediction: Prediction, name: str) -> np.ndarray:
    """Return the bytes that each of these tasks puts on the link of one device."""
    graph = prediction.timeline.program.graph
    largest = np.zeros(graph.n_types)
    types = np.repeat(np.arange(graph.n_types), np.diff(graph.demand_ptr))
    np.maximum.at(largest, types, graph.demand_bytes)
    return largest[graph.transfer[transfers(prediction, name)]]


def steps_run(prediction: Prediction) -> Iterator[tuple[Step, int]]:
    """Yield the steps of all segments, with how often the first class of ranks runs them."""
    program = prediction.timeline.program
    graph = program.graph
    busy = np.flatnonzero(graph.kind == TaskKind.COMPUTE)
    mine = busy[graph.stream_device[graph.stream[busy]] == 0]
    for label, count in zip(*np.unique(graph.segment[mine], return_counts=True), strict=True):
        if int(label) in program.contents:
            for one in program.contents[int(label)][1]:
                yield one, int(count)


def flop(prediction: Prediction) -> float:
    """FLOP that one device of the first class runs before the update."""
    return sum(w.flop * count for one, count in steps_run(prediction) for w in one.works)


def parameters(*, experts: int = 0) -> float:
    """Parameters of `DENSE`, or of what is not an expert in `MIXTURE`, by hand."""
    block = experts * HIDDEN if experts else 3 * HIDDEN * FFN  # a router, or a gated MLP
    layer = 4 * HIDDEN**2 + block + 2 * HIDDEN
    return LAYERS * layer + 2 * VOCAB * HIDDEN + HIDDEN
