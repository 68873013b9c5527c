"""Which units each model chunk of each pipeline stage holds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple

from distsim.parallel.division import Division
from distsim.parallel.plan import Plan
from distsim.parallel.recompute import Recompute, group_unit, parts, plain_unit
from distsim.parallel.step import Collective, Step, Unit
from distsim.parallel.tensor import TensorParallel
from distsim.record import record
from distsim.store import Same, Store
from distsim.workload.linear import scale_updates
from distsim.workload.op import Op
from distsim.workload.precision import Fp8


@record
class Chunk:
    """One model chunk: its units in forward order.

    Attributes
    ----------
    receives_forward, receives_backward : tuple of Step
        What a rank does with an activation or gradient that arrived from another stage, before
        the chunk runs.
    ends_forward, ends_backward : tuple of Step
        What comes after the chunk has run: new scales of fp8.
    parameters, expert_parameters : float
        That one rank holds: beside those of experts, and those of experts.
    saved_bytes : float
        Activations that one micro batch keeps here between forward and backward.
    weight_bytes : float
        What one micro batch keeps here between input gradient and weight gradient.
    turns : tuple of (Unit, int)
        The units, those alike one after another as one with their number: layers alike are one
        object.
    counted : tuple of (Unit, int)
        Each unit once, and how often it is here.
    """

    units: tuple[Unit, ...]
    receives_forward: tuple[Step, ...] = ()
    receives_backward: tuple[Step, ...] = ()
    ends_forward: tuple[Step, ...] = ()
    ends_backward: tuple[Step, ...] = ()

    parameters: float = field(init=False, compare=False, repr=False)
    expert_parameters: float = field(init=False, compare=False, repr=False)
    saved_bytes: float = field(init=False, compare=False, repr=False)
    weight_bytes: float = field(init=False, compare=False, repr=False)
    turns: tuple[tuple[Unit, int], ...] = field(init=False, compare=False, repr=False)
    counted: tuple[tuple[Unit, int], ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        groups = [list(alike) for _, alike in groupby(self.units, id)]
        turns = tuple([(members[0], len(members)) for members in groups])
        times: dict[int, tuple[Unit, int]] = {}
        for unit, number in turns:
            times[id(unit)] = (unit, times.get(id(unit), (unit, 0))[1] + number)
        counted = tuple(times.values())
        object.__setattr__(self, "turns", turns)
        object.__setattr__(self, "counted", counted)
        for name in ("parameters", "expert_parameters", "saved_bytes", "weight_bytes"):
            total = sum([number * getattr(unit, name) for unit, number in counted])
            object.__setattr__(self, name, total)


@record
class Operators:
    """The operators of a model for one micro batch.

    Attributes
    ----------
    layers : tuple of str
        Kind of each layer, a key of `kinds`.
    kinds : dict of str to tuple of Op
    embedding, head : tuple of Op
    region_elements : float
        b s h: elements of the array that passes from layer to layer, of one rank's tokens.
    fp8 : Fp8 or None
        Recipe of linear layers in fp8.
    """

    layers: tuple[str, ...]
    kinds: dict[str, tuple[Op, ...]]
    embedding: tuple[Op, ...]
    head: tuple[Op, ...]
    region_elements: float
    fp8: Fp8 | None = None


def boundary_bytes(plan: Plan, tensor: TensorParallel, region_elements: float) -> float:
    """Bytes that one rank sends to the next stage for one micro batch.

    b s h elements, divided by t where tokens are divided anyway or where the tensor-parallel
    ranks each send a part and gather it again (scatter/gather, Narayanan 2021, section 4.1).
    """
    divided = plan.sequence_parallel or (plan.scatter_gather_p2p and plan.tp > 1)
    return region_elements * tensor.element_bytes / (plan.tp if divided else 1)


def _scales(
    recipe: Fp8 | None, division: Division, units: Sequence[Unit]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return how a chunk makes new scales of delayed fp8, forward and backward.

    Largest values of the inputs, weights (forward) and output gradients of linear layers are
    reduced over the tensor-parallel group, 4 bytes each, all at once (Transformer Engine).
    """
    if recipe is None:
        return (), ()
    linear = [m for u in units for m in (*u.matrices, *u.expert_matrices) if not m.table]
    layers = sum(m.number for m in linear)
    out = []
    for work, tensors in zip(scale_updates(recipe, layers), (2 * layers, layers), strict=False):
        reduce = Collective("all_reduce", 4.0 * tensors) if division.tensor.size > 1 else None
        out.append((Step("fp8_scales", (work,), reduce),) if layers else ())
    return (out[0], out[1]) if out else ((), ())


@record
class _Made:
    """Units and chunks of a model that is divided in one way; plans that divide it so share them.

    Attributes
    ----------
    gathers : tuple of Step
        What a rank does with what another stage sent.
    """

    division: Division
    operators: Operators
    modules: tuple[str, ...]
    input_bytes: float
    gathers: tuple[Step, ...]
    first: Unit
    last: Unit
    units: dict[tuple[tuple[str, ...], int, str], Unit] = field(default_factory=dict)
    chunks: dict[Hashable, Chunk] = field(default_factory=dict)
    stages: dict[tuple[int, ...], list[Chunk]] = field(default_factory=dict)

    def unit(self, kinds: tuple[str, ...], place: int, mode: str) -> Unit:
        """Return one layer of a group of layers."""
        key = (kinds, place, mode)
        if key not in self.units:
            group = [self.operators.kinds[kind] for kind in kinds]
            self.units[key] = group_unit(
                self.division, group, place, mode, self.input_bytes, self.modules
            )
        return self.units[key]

    def chunk(
        self,
        recompute: Recompute,
        begin: int,
        kinds: tuple[str, ...],
        ends: tuple[bool, bool],
        gathers: tuple[bool, bool],
    ) -> Chunk:
        """Return a chunk, the same object for chunks that do the same.

        Parameters
        ----------
        begin : int
            First layer.
        kinds : tuple of str
            Of its layers.
        ends : (bool, bool)
            Whether it begins with the embedding and ends with the head.
        gathers : (bool, bool)
            Whether it gathers the activations and the gradients that it gets.
        """
        count = len(kinds)
        covered = recompute.layers and tuple(recompute.covers(begin + i, i) for i in range(count))
        key = (recompute.mode, recompute.every, recompute.first, covered, kinds, ends, gathers)
        if key not in self.chunks:
            each = parts(recompute, begin if recompute.layers else 0, count)
            members = [
                self.unit(tuple([kinds[i] for i in part.group]), part.place, part.mode)
                for part in each
            ]
            members = [self.first] * ends[0] + members + [self.last] * ends[1]
            arrived, returned = (self.gathers if gets else () for gets in gathers)
            self.chunks[key] = Chunk(
                tuple(members),
                arrived,
                returned,
                *_scales(self.operators.fp8, self.division, members),
            )
        return self.chunks[key]

    def stage(self, chunks: list[Chunk]) -> list[Chunk]:
        """Return what a stage holds, the same object for stages that hold the same."""
        return self.stages.setdefault(tuple([id(c) for c in chunks]), chunks)


#: Of models seen before; what one takes is about a quarter of a megabyte.
_KNOWN = Store(64 << 20)
_EACH_BYTES = 1 << 18


def _made(plan: Plan, division: Division, operators: Operators) -> _Made:
    modules = tuple(plan.recompute.modules)

    def made() -> _Made:
        whole_bytes = operators.region_elements * division.tensor.element_bytes
        gathers: tuple[Step, ...] = ()
        if plan.scatter_gather_p2p and plan.tp > 1 and not plan.sequence_parallel:
            gathers = (Step("p2p_gather", (), Collective("all_gather", whole_bytes)),)
        return _Made(
            division,
            operators,
            modules,
            whole_bytes / (plan.tp if plan.sequence_parallel else 1),
            gathers,
            plain_unit("embedding", division, operators.embedding),
            plain_unit("head", division, operators.head),
        )

    key = (Same(operators), division, modules, plan.tp, plan.sequence_parallel)
    return _KNOWN.get((*key, plan.scatter_gather_p2p), made, lambda _: _EACH_BYTES)


def model_chunks(plan: Plan, division: Division, operators: Operators) -> list[list[Chunk]]:
    """Return ``[stage][chunk]``; embedding in the first, head in the last model chunk.

    Stages that hold the same are one object.
    """
    made = _made(plan, division, operators)
    # Where all layers are alike a chunk is known by their number.
    alike = not plan.recompute.layers and len(set(operators.layers)) == 1
    counts = tuple(plan.chunk_layers())
    places = _places(Same(plan.placement), counts, alike)
    chunks = [
        made.chunk(plan.recompute, begin, operators.layers[begin : begin + count], ends, gets)
        for begin, count, ends, gets in places.chunks
    ]
    stages = [made.stage([chunks[i] for i in held]) for held in places.stages]
    return [stages[i] for i in places.stage]


class _Places(NamedTuple):
    """Which chunks and stages there are, each once.

    Attributes
    ----------
    chunks : list of (int, int, (bool, bool), (bool, bool))
        First layer, number of layers, and the last two of `_Made.chunk`.
    stages : list of tuple of int
        The chunks that a stage holds.
    stage : list of int
        What each stage is.
    """

    chunks: list[tuple[int, int, tuple[bool, bool], tuple[bool, bool]]]
    stages: list[tuple[int, ...]]
    stage: list[int]


@lru_cache(maxsize=512)
def _places(placement: Same, counts: tuple[int, ...], alike: bool) -> _Places:
    """Find out which chunks are at the ends of the model, and get what from other stages.

    What comes from a chunk on the same stage was not sent, so it is there in whole.

    Parameters
    ----------
    alike : bool
        Chunks are alike wherever they begin.
    """
    at = {number: stage for stage, held in enumerate(placement.of) for number in held}
    begins = [0, *accumulate(counts)]
    chunks: dict[tuple[int, int, tuple[bool, bool], tuple[bool, bool]], int] = {}
    stages: dict[tuple[int, ...], int] = {}
    stage_of = []
    for stage, held in enumerate(placement.of):
        mine = []
        for number in held:
            k = number % len(counts)
            first, last = k == 0, k == len(counts) - 1
            sent = not first and at[number - 1] != stage
            returned = not last and at[number + 1] != stage
            key = (0 if alike else begins[k], counts[k], (first, last), (sent, returned))
            mine.append(chunks.setdefault(key, len(chunks)))
        stage_of.append(stages.setdefault(tuple(mine), len(stages)))
    return _Places(list(chunks), list(stages), stage_of)
