"""What the links of a topology carry in a step: by class of link, and the busiest by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.hardware.topology import Topology
from distsim.program.build import Program
from distsim.program.comm import TransferType

Floats = npt.NDArray[np.float64]

#: Links that are named.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ClassUsage:
    """Links of one class.

    Attributes
    ----------
    mean_utilisation, max_utilisation : float
        Bytes over what the links could have carried in the step at their stated bandwidth, 0..1.
    bytes : float
        Sum over the links.
    busiest : str
        Name of the link with the highest utilisation; empty where nothing is carried.
    """

    name: str
    links: int
    bytes: float
    mean_utilisation: float
    max_utilisation: float
    busiest: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Utilisation of all links over one step."""

    classes: tuple[ClassUsage, ...]
    busiest: tuple[tuple[str, str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "classes": [asdict(c) for c in self.classes],
            "busiest": [{"link": n, "class": c, "utilisation": u} for n, c, u in self.busiest],
        }


def link_bytes(program: Program) -> Floats:
    """Return the bytes on each directed link in one step, shape (links,).

    Bytes of tensors: the flags of a protocol, and what it leaves of the bandwidth, do not count.
    """
    network = program.network
    moved = {name: np.zeros(len(t.latency_s)) for name, t in network.fold.tables.items()}
    runs = [*_transfers(program), *_inside_segments(program)]
    for kind, times in runs:
        if kind.family in moved:
            moved[kind.family][kind.kind] += times * kind.payload_bytes
    out = np.zeros(network.topology.n_links)
    for name, traffic in network.routed.items():
        per_group = moved[name][network.fold.tables[name].type_of_group]
        weights = traffic.entry_fraction * per_group[traffic.entry_group]
        out += np.bincount(traffic.entry_link, weights=weights, minlength=len(out))
    return out


def _transfers(program: Program) -> list[tuple[TransferType, float]]:
    """Return how often each transfer type runs as a task of its own."""
    graph, network = program.graph, program.network
    times = np.bincount(graph.transfer[graph.transfer >= 0], minlength=graph.n_types)
    return [(kind, float(n)) for kind, n in zip(network.types, times, strict=True)]


def _inside_segments(program: Program) -> list[tuple[TransferType, float]]:
    """Return how often each collective inside a layer runs inside a segment."""
    graph = program.graph
    out: list[tuple[TransferType, float]] = []
    owner = graph.stream_device[graph.stream]
    labelled = np.flatnonzero(np.isin(graph.segment, list(program.contents)))
    pairs, times = np.unique(
        np.stack([owner[labelled], graph.segment[labelled]]), axis=1, return_counts=True
    )
    for (index, label), n in zip(pairs.T.tolist(), times.tolist(), strict=True):
        out += [(kind, n / shared) for kind, shared in inside_segment(program, index, label)]
    return out


def inside_segment(program: Program, index: int, label: int) -> list[tuple[TransferType, int]]:
    """Return the collectives of a segment on a class of ranks, and how many classes share each."""
    network = program.network
    rank = int(network.fold.example[index])
    out = []
    for step in program.contents[label][1]:
        if step.collective is not None:
            c = step.collective
            group = int(network.groups[c.axis].of_rank[rank])
            kind, _ = network.best(c.axis, group, c.name, c.size_bytes)
            out.append((kind, _classes_of(program, c.axis, kind)))
    return out


def _classes_of(program: Program, axis: str, kind: TransferType) -> int:
    """Return how many classes a group has: each of them runs segments that hold its collectives."""
    network = program.network
    example = int(network.fold.tables[kind.family].example[kind.kind])
    return len(np.unique(network.fold.class_of[network.groups[axis].ranks[example]]))


def usage(program: Program, step_s: float) -> Usage:
    """Return the utilisation of links over a step of `step_s`."""
    return usage_of(program.network.topology, link_bytes(program), step_s)


def usage_of(topology: Topology, moved: Floats, step_s: float) -> Usage:
    """Return the utilisation of links that carry these bytes in `step_s`.

    Parameters
    ----------
    moved : float64[links]
    """
    share = moved / (topology.bandwidth_bytes_per_s * step_s)
    classes = tuple(_of_class(topology, i, moved, share) for i in range(len(topology.classes)))
    order = np.lexsort((np.arange(len(share)), -share.round(9)))[:_NAMED]
    named = tuple(
        (topology.link_name(i), topology.class_names[topology.link_class[i]], float(share[i]))
        for i in order.tolist()
        if share[i] > 0.0
    )
    return Usage(classes, named)


def _of_class(topology: Topology, index: int, moved: Floats, share: Floats) -> ClassUsage:
    mine = np.flatnonzero(topology.link_class == index)
    if not len(mine):
        return ClassUsage(topology.class_names[index], 0, 0.0, 0.0, 0.0, "")
    top = int(mine[share[mine].round(9).argmax()])
    return ClassUsage(
        topology.class_names[index],
        len(mine),
        float(moved[mine].sum()),
        float(share[mine].mean()),
        float(share[top]),
        topology.link_name(top) if share[top] > 0.0 else "",
    )
