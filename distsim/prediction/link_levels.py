"""Link use over time: how much of the bandwidth of each class of links is taken at every instant.

The bytes of a transfer are spread evenly from its begin to its end, those of a collective inside a
segment over that segment. Over a step the mean of a level is the mean utilisation of its class in
`distsim.prediction.usage`, whose bytes these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.prediction.usage import inside_segment
from distsim.program.build import Program
from distsim.program.comm import TransferType

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Changes of a level up to which each is kept; beyond, the run is cut into so many equal parts.
MOST_CHANGES = 4000


@dataclass(frozen=True, slots=True)
class LinkLevel:
    """Use of one class of links through a run.

    Attributes
    ----------
    name : str
        Of the class.
    times_s : float64[n]
        Instants; the first is 0.
    share : float64[n]
        Bytes per second over the stated bandwidth of all its links, from each instant to the next
        (the last: to the end of the run).
    """

    name: str
    times_s: Floats
    share: Floats


def link_levels(program: Program, run: Run) -> list[LinkLevel]:
    """Return the use of every class of links that carries anything."""
    topology = program.network.topology
    bandwidth = np.bincount(
        topology.link_class,
        weights=topology.bandwidth_bytes_per_s,
        minlength=len(topology.classes),
    )
    tasks, sort, moved = _moving(program)
    lasts = run.end_s[tasks] > run.start_s[tasks]
    tasks, sort = tasks[lasts], sort[lasts]
    out = []
    for index, name in enumerate(topology.class_names):
        used = moved[sort, index] > 0
        if used.any():
            start_s, end_s = run.start_s[tasks[used]], run.end_s[tasks[used]]
            rate = moved[sort[used], index] / (end_s - start_s) / bandwidth[index]
            out.append(LinkLevel(name, *_level(start_s, end_s, rate, run.makespan)))
    return out


def _moving(program: Program) -> tuple[Ints, Ints, Floats]:
    """Return tasks that may move bytes, the sort of each, and bytes of a sort on each class."""
    graph = program.graph
    sizes = _Sizes(program)
    of_type = np.asarray([sizes.of(kind) for kind in program.network.types])
    tasks = np.flatnonzero(graph.transfer >= 0)
    inside = np.flatnonzero(np.isin(graph.segment, list(program.contents)))
    owner = graph.stream_device[graph.stream[inside]]
    pairs, which = np.unique(np.stack([owner, graph.segment[inside]]), axis=1, return_inverse=True)
    of_pair = sizes.none(pairs.shape[1])
    for number, (index, label) in enumerate(pairs.T.tolist()):
        for kind, shared in inside_segment(program, index, label):
            of_pair[number] += sizes.of(kind) / shared
    sort = np.concatenate([graph.transfer[tasks], graph.n_types + which.reshape(-1)])
    moved = np.concatenate([of_type.reshape(-1, of_pair.shape[1]), of_pair])
    return np.concatenate([tasks, inside]), sort.astype(np.int64), moved


class _Sizes:
    """Bytes that transfer types put on classes of links, all groups of a type together."""

    def __init__(self, program: Program) -> None:
        self._network = program.network
        self._classes = len(program.network.topology.classes)
        self._fractions: dict[str, Floats] = {}

    def none(self, count: int) -> Floats:
        """Return no bytes, shape (count, classes)."""
        return np.zeros((count, self._classes))

    def of(self, kind: TransferType) -> Floats:
        """Return the bytes of a transfer type, shape (classes,)."""
        if kind.family not in self._network.routed:
            return np.zeros(self._classes)
        return np.asarray(self._family(kind.family)[kind.kind] * kind.payload_bytes)

    def _family(self, name: str) -> Floats:
        if name not in self._fractions:
            traffic, table = self._network.routed[name], self._network.fold.tables[name]
            out = self.none(len(table.latency_s))
            link_class = self._network.topology.link_class[traffic.entry_link]
            kinds = table.type_of_group[traffic.entry_group]
            np.add.at(out, (kinds, link_class), traffic.entry_fraction)
            self._fractions[name] = out
        return self._fractions[name]


def _level(start_s: Floats, end_s: Floats, rate: Floats, until_s: float) -> tuple[Floats, Floats]:
    """Return the sum of rates that last for a while: instants, and the level from each on."""
    if 2 * len(start_s) >= MOST_CHANGES:
        return _binned(start_s, end_s, rate, until_s)
    instants, place = np.unique(np.concatenate([[0.0], start_s, end_s]), return_inverse=True)
    place, count = place.reshape(-1), len(start_s)
    change = np.zeros(len(instants))
    np.add.at(change, place[1 : count + 1], rate)
    np.add.at(change, place[count + 1 :], -rate)
    # Sums of the same numbers in another order leave rounding behind where nothing is moved.
    begun = np.bincount(place[1 : count + 1], minlength=len(instants))
    ended = np.bincount(place[count + 1 :], minlength=len(instants))
    level = np.where(np.cumsum(begun - ended) > 0, np.maximum(np.cumsum(change), 0.0), 0.0)
    return instants, level


def _binned(start_s: Floats, end_s: Floats, rate: Floats, until_s: float) -> tuple[Floats, Floats]:
    """Return the mean level of each of equal parts of the run.

    What has been moved by an instant t is the sum of rate (t - start) over all that has begun, less
    that of rate (t - end) over all that has ended.
    """
    edges = np.linspace(0.0, until_s, MOST_CHANGES + 1)
    moved = np.zeros(len(edges))
    for instant_s, sign in ((start_s, 1.0), (end_s, -1.0)):
        at = np.searchsorted(edges, instant_s, side="left")
        rates = np.bincount(at, weights=rate, minlength=len(edges) + 1)[:-1].cumsum()
        begun = np.bincount(at, weights=rate * instant_s, minlength=len(edges) + 1)[:-1].cumsum()
        moved += sign * (rates * edges - begun)
    # Differences of large sums leave rounding behind where nothing is moved.
    level = np.diff(moved) / np.diff(edges)
    return edges[:-1], np.where(level > 1e-9 * level.max(initial=0.0), level, 0.0)
