"""Recomputation inside a layer: of named parts, or of all but some products.

Megatron-Core's ``recompute_modules`` (`TransformerConfig`, 0.15) names parts of a layer. Of some
the inputs are kept and everything inside runs again before the gradients (`CHECKPOINTED`; Chen
2016, arXiv 1604.06174); of others only the output is dropped and made anew for its reader, while
what is inside keeps its own input (`DISCARDED`).

torchtitan's selective checkpointing by operator (its default since 2024: ``selective_ac_option:
op``) keeps the outputs of attention and of every second plain product of a layer, counted in the
order of the forward pass. All else runs again, casts, norms and activation functions included.
Products in fp8 and grouped products of experts are other operators, which its list does not have
(torchtitan 0.1.0 and 0.2.0, ``_op_sac_save_list``): they all run again. Results of reduce-scatter
and all-to-all are kept; gathers are sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from distsim.parallel.division import Division
from distsim.parallel.step import Step
from distsim.parallel.tensor import TensorParallel
from distsim.record import record
from distsim.workload.op import Axis, Op, Work, WorkKind

CORE = "core_attn"
#: First and last operators of the parts whose input is kept, by Megatron-Core's names.
CHECKPOINTED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mlp": (("mlp_up",), ("mlp_down",)),
    "moe": (("router",), ("shared_sum", "unpermute")),
    "shared_experts": (("shared_up",), ("shared_down",)),
}
#: Operators of the parts whose output is dropped.
DISCARDED: Mapping[str, tuple[str, ...]] = {
    "layernorm": ("attention_norm", "mlp_norm"),
    "moe_act": ("expert_activation",),
    "mla_up_proj": ("query_up", "key_value_up", "latent_rotary"),
}
MODULES = (CORE, *CHECKPOINTED, *DISCARDED)


@dataclass(slots=True)
class Again:
    """What runs again in one layer, by place in its list of operators.

    Attributes
    ----------
    before : dict of int to list of int
        Places of the operators that run again before the gradient of the one at the key.
    dropped_bytes : dict of int to float
        What of an operator is not kept.
    kept_bytes : float
        What is kept in place of it.
    """

    before: dict[int, list[int]] = field(default_factory=dict)
    dropped_bytes: dict[int, float] = field(default_factory=dict)
    kept_bytes: float = 0.0

    @property
    def places(self) -> set[int]:
        """Places of all operators that run again."""
        return {i for found in self.before.values() for i in found}

    def add(self, reader: int, places: Sequence[int]) -> None:
        """Let operators run again before the gradient of `reader`, each of them once."""
        new = [i for i in places if i not in self.places]
        if new:
            self.before[reader] = sorted([*self.before.get(reader, []), *new])

    def drop(self, place: int, dropped_bytes: float) -> None:
        """Do not keep so much of an operator."""
        self.dropped_bytes[place] = max(self.dropped_bytes.get(place, 0.0), dropped_bytes)


def span(names: Sequence[str], module: str) -> list[int]:
    """Return the places of a part whose input is kept; none where the layer does not have it."""
    begins, ends = CHECKPOINTED[module]
    begin = next((names.index(name) for name in begins if name in names), None)
    end = next((names.index(name) for name in ends if name in names), None)
    places = [] if begin is None or end is None else list(range(begin, end + 1))
    # Shared experts stand on both sides of what they can run beside.
    return [i for i in places if module != "shared_experts" or names[i].startswith("shared_")]


def modules_again(
    division: Division, ops: Sequence[Op], modules: Sequence[str], input_bytes: float
) -> Again:
    """Return what runs again where `modules` are recomputed.

    Parameters
    ----------
    modules : sequence of str
        Names of `MODULES`. A layer that does not have one of them is not changed by it.
    input_bytes : float
        Bytes of the input of a layer on one rank, which is also that of each part.
    """
    again, names = Again(), [op.name for op in ops]
    for module in (m for m in CHECKPOINTED if m in modules):
        places = [i for i in span(names, module) if i not in again.places]
        if places:
            again.add(places[-1], places)
            for i in places:
                again.drop(i, division.saved_bytes(ops[i]))
            # Where an operator before has the same input, that one keeps it.
            reads = any(ops[i].saved_token_bytes for i in places if ops[i].axis is not Axis.EXPERTS)
            again.kept_bytes += input_bytes if reads else 0.0
    for name in (n for m in DISCARDED if m in modules for n in DISCARDED[m]):
        if name in names and names.index(name) not in again.places:
            _discard(again, division, ops, names.index(name))
    if CORE in modules:
        core = [i for i, op in enumerate(ops) if op.core_attention]
        if core:
            again.add(core[-1], core)
        for i in core:
            again.drop(i, again.dropped_bytes.get(i, 0.0) + division.core_bytes(ops[i]))
    return again


def _discard(again: Again, division: Division, ops: Sequence[Op], place: int) -> None:
    """Run an operator again before the gradient of its reader, which does not keep its input."""
    name = ops[place].name
    if name in DISCARDED["mla_up_proj"]:
        core = [i for i, op in enumerate(ops) if op.core_attention]
        again.add(core[-1], [place])
        for i in core:  # queries, keys and values
            again.drop(i, division.saved_bytes(ops[i]) - division.core_bytes(ops[i]))
        return
    reader = place + 1
    if name in DISCARDED["layernorm"]:
        reader = next(i for i in range(reader, len(ops)) if ops[i].saved_token_bytes)
    again.add(reader, [place])
    kept = ops[reader]
    again.drop(
        reader,
        division.saved_bytes(replace(kept, saved_bytes=0.0) if kept.saved_token_bytes else kept),
    )


@record
class Alternate:
    """What runs again of a layer that keeps attention and every second plain product.

    Attributes
    ----------
    ops : tuple of Op
        Operators with the forward kernels that run again.
    kept_bytes : float
        Outputs that one rank keeps.
    """

    ops: tuple[Op, ...]
    kept_bytes: float


def alternate(division: Division, ops: Sequence[Op]) -> Alternate:
    """Return what runs again of a layer that keeps attention and every second plain product."""
    out, kept_bytes, count = [], 0.0, 0
    for op in ops:
        again, bytes_, count = _again(division, op, count)
        kept_bytes += bytes_
        out.append(again)
    # What only the output of the layer needs is kept in vain, but does not run again.
    return Alternate(needed(division, ops, out), kept_bytes)


def needed(
    division: Division, ops: Sequence[Op], again: Sequence[Op] | None = None
) -> tuple[Op, ...]:
    """Return the operators of a layer without what only its output needs.

    That is the last product, of which the input is the last array that is kept, and all behind it.

    Parameters
    ----------
    again : sequence of Op, optional
        The operators as they run again; by default as they are.
    """
    last = max((i for i, op in enumerate(ops) if division.saved_bytes(op)), default=-1)
    out = list((again or ops)[: last + 1])
    if out:
        before = [w.kind for w in out[-1].forward]
        end = before.index(WorkKind.GEMM) if WorkKind.GEMM in before else len(before)
        out[-1] = replace(out[-1], forward=out[-1].forward[:end], closes=False)
    return tuple(out)


def _again(division: Division, op: Op, count: int) -> tuple[Op, float, int]:
    """Return an operator as it runs again, what of it is kept, and the products counted so far."""
    element_bytes = division.tensor.element_bytes
    if any(w.kind is WorkKind.FLASH for w in op.forward):
        kept = op.core_bytes + op.query_elements * element_bytes
        return replace(op, forward=()), _held(division, op, kept), count
    if op.exchange:
        kept = op.region_elements * element_bytes
        return replace(op, forward=(), exchange=""), _held(division, op, kept, whole=True), count
    share, count = _kept_share(op, count)
    size = share * sum(w.batch * w.m * w.n * w.result_bytes for w in op.forward if _plain(w))
    kept_bytes = _held(division, op, size, whole=op.closes)
    # The result of a reduce-scatter is kept, so nothing needs the product before it.
    scattered = op.closes and division.tensor.sequence and division.tensor.size > 1
    if scattered:
        works = tuple(w for w in op.forward if w.kind is not WorkKind.GEMM)
        return replace(op, forward=works, closes=False), kept_bytes, count
    works = tuple(
        replace(w, n=w.n * (1 - share), flop=w.flop * (1 - share)) if _plain(w) else w
        for w in op.forward
        if share < 1 or not _plain(w)
    )
    return replace(op, forward=works), kept_bytes, count


def _plain(work: Work) -> bool:
    return work.kind is WorkKind.GEMM and work.dtype != "fp8"


def _kept_share(op: Op, count: int) -> tuple[float, int]:
    """Return the share of the output of an operator that is kept, and the products counted."""
    if op.core_attention or op.axis is Axis.EXPERTS or not any(_plain(w) for w in op.forward):
        return 0.0, count
    parts = op.parts or (1.0,)
    held = sum(width for i, width in enumerate(parts) if (count + i) % 2 == 0)
    return held / sum(parts), count + len(parts)


def _held(division: Division, op: Op, size: float, *, whole: bool = False) -> float:
    """Return what one rank has of an array of so many bytes.

    Parameters
    ----------
    whole : bool
        Only sequence parallelism divides it; otherwise it is divided as the operator is.
    """
    parts = (0.0, size) if whole else (size, 0.0)
    return division.saved_bytes(replace(op, saved_bytes=parts[0], saved_token_bytes=parts[1]))


def without_gather(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return backward steps without the gather of an input that was gathered again before."""
    out = list(steps)
    first = out[0].collective if out else None
    if first is not None and first.name == "all_gather" and first.axis == "tensor":
        out[0] = replace(out[0], collective=None, beside=False)
    return tuple(out)


def again_flop(ops: Sequence[Op], mode: str, modules: Sequence[str], early_stop: bool) -> float:
    """Return forward FLOP of one layer that run again, undivided."""
    alone = Division(TensorParallel(1, False, False, 2.0))
    if mode == "alternate":
        return sum(op.forward_flop for op in alternate(alone, ops).ops)
    if mode == "full":
        return sum(op.forward_flop for op in (needed(alone, ops) if early_stop else ops))
    places = modules_again(alone, ops, modules, 0.0).places if mode == "selective" else ()
    return sum(ops[i].forward_flop for i in places)
