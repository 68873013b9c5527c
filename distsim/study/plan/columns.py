"""What memory and time of a batch of candidates have in common: one schedule over one division.

Candidates are taken in batches of one pipe whose micro batches run in the same order, so that
counts of actions are the same for all of them and everything else is a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from distsim.cost.stack import Overlap
from distsim.parallel.mesh import Mesh
from distsim.study.plan.layers import Layer, Way, kinds_of, layer
from distsim.study.plan.pipes import Composition, Counts, Pipe, composition, counts, short
from distsim.study.plan.setting import Setting
from distsim.study.plan.space import OVERLAPS, Candidates
from distsim.study.plan.wires import Options, Wires, joined

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Sources:
    """Layers and links, made when a candidate first needs them.

    Attributes
    ----------
    setting : Setting
    kinds : tuple of str
        Of the layers of the model.
    """

    setting: Setting
    kinds: tuple[str, ...] = ()
    _wires: dict[int, Wires] = field(default_factory=dict)
    _number: dict[Way, int] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    _compositions: dict[Pipe, Composition] = field(default_factory=dict)
    _stacked: dict[str, Floats] = field(default_factory=dict)
    meshes: list[tuple[Wires, Mesh]] = field(default_factory=list)
    _mesh_number: dict[tuple[int, ...], int] = field(default_factory=dict)
    _ways: dict[object, Options] = field(default_factory=dict)
    _meets: dict[object, dict[tuple[int, int], bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kinds = kinds_of(self.setting)

    def wires(self, devices: int) -> Wires:
        """Return the links of a cluster of a size."""
        if devices not in self._wires:
            packed = self.setting.scenario.cluster.placement == "packed"
            self._wires[devices] = Wires(self.setting.machine(devices), packed)
        return self._wires[devices]

    def layer(self, way: Way, devices: int) -> int:
        """Return the number of the layer of a way."""
        if way not in self._number:
            self._number[way] = len(self.layers)
            self.layers.append(layer(self.setting, self.wires(devices), way))
        return self._number[way]

    def stacked(self, name: str) -> Floats:
        """Return an array of all layers, float64[layers, ...]."""
        kept = self._stacked.get(name)
        if kept is None or len(kept) != len(self.layers):
            kept = self._stacked[name] = np.stack([getattr(lay, name) for lay in self.layers])
        return kept

    def mesh(self, key: tuple[int, ...]) -> int:
        """Return the number of a mesh: (devices, tp, cp, dp, pp, ep, etp)."""
        if key not in self._mesh_number:
            self._mesh_number[key] = len(self.meshes)
            self.meshes.append((self.wires(key[0]), Mesh(*key[1:])))
        return self._mesh_number[key]

    def ways(self, axis: str, collective: str, share: float) -> Options:
        """Return the ways to run a collective along an axis of each mesh, float64[meshes, ways]."""
        at = (axis, collective, share)
        known = self._ways.get(at)
        if known is None or len(known.a) != len(self.meshes):
            found = [
                wires.options((axis, mesh), wires.groups(mesh, axis), collective, share)
                for wires, mesh in self.meshes
            ]
            known = self._ways[at] = joined(found)
        return known

    def meets(self, axis: str, mesh: int, layer: int, collectives: Sequence[str]) -> bool:
        """Say whether an axis may load links of a class that collectives inside layers load."""
        known = self._meets.setdefault(axis, {})
        if (mesh, layer) not in known:
            wires, grid = self.meshes[mesh]
            inside, ranks = self.layers[layer].inside, wires.groups(grid, axis)
            known[mesh, layer] = any(
                inside & wires.classes((axis, grid), ranks, c) for c in collectives
            )
        return known[mesh, layer]

    def composition(self, pipe: Pipe) -> Composition:
        """Return the units of each chunk."""
        if pipe not in self._compositions:
            self._compositions[pipe] = composition(pipe, self.kinds)
        return self._compositions[pipe]


@dataclass(slots=True)
class Batch:
    """Candidates of one pipe, whose micro batches the same order stands for.

    Attributes
    ----------
    rows : int64[n]
        Where they stand among all.
    found : Candidates
    pipe : Pipe
    counts : Counts
    few : int
        Micro batches that `counts` are of.
    composition : Composition
    numbers : int64[layers]
        Distinct layers, and `of` the one of each candidate.
    mesh : int64[n]
        Number of the mesh of each candidate.
    overlap : dict of str to bool[n]
        What overlaps, by the names of `Overlap`.
    """

    sources: Sources
    rows: Ints
    found: Candidates
    pipe: Pipe
    counts: Counts
    few: int
    composition: Composition
    numbers: Ints
    of: Ints
    mesh: Ints
    overlap: dict[str, Flags]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Ints:
        return self.found[name]

    def take(self, chosen: Flags) -> Batch:
        """Return some of the candidates."""
        distinct, of = np.unique(self.of[chosen], return_inverse=True)
        return replace(
            self,
            rows=self.rows[chosen],
            found=self.found.take(chosen),
            numbers=self.numbers[distinct],
            of=of.reshape(-1),
            mesh=self.mesh[chosen],
            overlap={name: flags[chosen] for name, flags in self.overlap.items()},
        )

    @property
    def microbatches(self) -> Ints:
        """Micro batches of each candidate, int64[n]."""
        return self.found["microbatches"]

    @property
    def layers(self) -> list[Layer]:
        """The distinct layers."""
        return [self.sources.layers[i] for i in self.numbers.tolist()]

    def each(self, name: str) -> Floats:
        """Return an array of the layers, by layer: float64[layers, ...]."""
        return self.sources.stacked(name)[self.numbers]

    def of_chunks(self, name: str) -> Floats:
        """Return the sum over the units of each chunk: float64[layers, stages, chunks, ...]."""
        each = self.each(name)
        summed = np.tensordot(each, self.composition.units, axes=(1, 1))
        return np.moveaxis(summed, -1, 1)[:, self.composition.of_chunk]

    def stage_units(self) -> Ints:
        """Return the units of each stage, int64[stages, units]."""
        return np.asarray(self.composition.units[self.composition.of_chunk].sum(axis=1))

    def sizes(self) -> Ints:
        """Return the ranks that hold the same parameters, int64[2, n]: of all, of experts."""
        c = self.found
        inside = c["tp"] * c["cp"] * c["dp"]
        return np.stack([c["dp"] * c["cp"], inside // (c["ep"] * c["etp"])])


def switches(setting: Setting, overlap: Ints, zero: Ints) -> dict[str, Flags]:
    """Return what overlaps, as `distsim.scenario.plan` decides it."""
    out: dict[str, Flags] = {}
    given, stack = setting.scenario.plan, setting.stack
    ahead = (zero == 3) & (not stack.sharded.blocking)
    on = overlap == OVERLAPS.index("all")
    for f in fields(Overlap):
        value = getattr(given, f.name)
        default = np.full(len(zero), getattr(stack.overlap, f.name))
        if f.name in ("overlap_grad_reduce", "overlap_param_gather"):
            default = default | ahead
        out[f.name] = on | (default if value is None else np.full(len(zero), bool(value)))
    out["overlap_param_gather"] &= zero > 0
    return out


def batches(sources: Sources, found: Candidates) -> Iterator[Batch]:
    """Yield all candidates, those of one pipe and the same order of micro batches together."""
    if not len(found):
        return
    overlap = switches(sources.setting, found["overlap"], found["zero"])
    number = _layer_numbers(sources, found, overlap["overlap_tensor"])
    mesh = _mesh_numbers(sources, found)
    few = _few(found)
    key = np.stack([found["pipe"], few])
    order = np.lexsort(key[::-1])
    ends = np.flatnonzero((np.diff(key[:, order], axis=1) != 0).any(axis=0)) + 1
    for rows in np.split(order, ends):
        pipe = found.pipes[int(found["pipe"][rows[0]])]
        count = int(few[rows[0]])
        distinct, of = np.unique(number[rows], return_inverse=True)
        yield Batch(
            sources,
            rows,
            found.take(rows),
            pipe,
            counts(pipe.schedule, pipe.pp, count, pipe.v),
            count,
            sources.composition(pipe),
            distinct,
            of.reshape(-1),
            mesh[rows],
            {name: flags[rows] for name, flags in overlap.items()},
        )


def _few(found: Candidates) -> Ints:
    """Return how many micro batches stand for those of each candidate."""
    pairs = np.stack([found["pipe"], found["microbatches"]], axis=1)
    first, inverse = _distinct(pairs)
    out = []
    for number, microbatches in pairs[first].tolist():
        pipe = found.pipes[number]
        out.append(short(pipe.schedule, pipe.pp, microbatches, pipe.v))
    return np.asarray(out, dtype=np.int64)[inverse]


def _layer_numbers(sources: Sources, found: Candidates, overlap_tensor: Flags) -> Ints:
    node = sources.setting.machine(int(found["devices"].max())).topology.devices_per_node
    local = (found["tp"] * found["cp"] <= node) & (found["ep"] * found["etp"] <= node)
    if sources.setting.scenario.cluster.placement != "packed":
        local &= False
    site = np.where(local, 0, found["devices"])
    names = ("tp", "cp", "ep", "etp", "sp", "micro", "mode")
    columns = [found[n] for n in names]
    table = np.stack([*columns, overlap_tensor.astype(np.int64), site], axis=1)
    first, inverse = _distinct(table)
    devices = found["devices"][first].tolist()
    numbers = [
        sources.layer(Way(*row), d) for row, d in zip(table[first].tolist(), devices, strict=True)
    ]
    return np.asarray(numbers, dtype=np.int64)[inverse]


def _mesh_numbers(sources: Sources, found: Candidates) -> Ints:
    names = ("devices", "tp", "cp", "dp", "pp", "ep", "etp")
    table = np.stack([found[n] for n in names], axis=1)
    first, inverse = _distinct(table)
    numbers = [sources.mesh(tuple(row)) for row in table[first].tolist()]
    return np.asarray(numbers, dtype=np.int64)[inverse]


def _distinct(table: Ints) -> tuple[Ints, Ints]:
    """Return the first of equal rows, and which of these each row is.

    By one number a row, which is faster to sort than rows.
    """
    code = np.zeros(len(table), dtype=np.int64)
    for column in table.T:
        _, place = np.unique(column, return_inverse=True)
        code = code * (int(place.max()) + 1) + place.reshape(-1)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)
