"""Tensor parallelism (Shoeybi 2019) and sequence parallelism (Korthikanti 2022).

An operator that `opens` a divided region copies its input to all ranks: nothing forward and an
all-reduce of the input gradient backward; with sequence parallelism an all-gather forward, and
backward a reduce-scatter of the input gradient and a second all-gather of the saved input for the
weight gradient. An operator that `closes` the region sums over ranks: an all-reduce forward and
nothing backward; with sequence parallelism a reduce-scatter forward and an all-gather backward.
That is 4 all-reduces of b s h elements a layer and micro batch, or as many bytes in pairs of
all-gather and reduce-scatter (plus the second all-gather).
"""

from __future__ import annotations

from dataclasses import dataclass

from distsim.parallel.step import Collective, Step
from distsim.workload.op import Axis, Op, Work


@dataclass(frozen=True, slots=True)
class TensorParallel:
    """How one group of ranks divides operators.

    Attributes
    ----------
    size : int
        Ranks in the group (t).
    sequence : bool
        Tokens outside the divided regions are divided, too.
    overlap : bool
        Backward collectives of an opening operator run beside its gradient products.
    element_bytes : float
        Bytes an element on the wire.
    """

    size: int
    sequence: bool
    overlap: bool
    element_bytes: float

    def parts(self, op: Op) -> int:
        """Return into how many parts the operator is divided."""
        if op.axis is Axis.TOKENS:
            return self.size if self.sequence else 1
        return self.size

    def parameters(self, op: Op) -> float:
        """Return parameters that one rank holds."""
        return op.parameters / self.parts(op) + op.replicated_parameters

    def saved_bytes(self, op: Op) -> float:
        """Return activations of `op` that one rank keeps (Korthikanti 2022, equations 2 to 4)."""
        token_parts = self.size if self.sequence else 1
        return op.saved_bytes / self.parts(op) + op.saved_token_bytes / token_parts

    def core_bytes(self, op: Op) -> float:
        """Return the part of `saved_bytes` that selective recomputation drops."""
        return op.core_bytes / self.parts(op)

    def _works(self, op: Op, works: tuple[Work, ...]) -> tuple[Work, ...]:
        parts = self.parts(op)
        return tuple(w.divided(parts) for w in works)

    def _collective(self, op: Op, name: str) -> Collective | None:
        if self.size == 1:
            return None
        return Collective(name, op.region_elements * self.element_bytes)

    def forward(self, op: Op) -> tuple[Step, ...]:
        """Return the forward steps of `op` on one rank."""
        works = self._works(op, op.forward)
        before = self._collective(op, "all_gather") if op.opens and self.sequence else None
        steps = [Step(op.name, works, before)] if works or before else []
        if op.closes and self.size > 1:
            name = "reduce_scatter" if self.sequence else "all_reduce"
            steps.append(Step(op.name, (), self._collective(op, name)))
        return tuple(steps)

    def backward(self, op: Op) -> tuple[Step, ...]:
        """Return the backward steps of `op` on one rank."""
        data, weight = self._works(op, op.backward_data), self._works(op, op.backward_weight)
        if self.size == 1 or not (op.opens or op.closes):
            return (Step(op.name, (*data, *weight)),) if data or weight else ()
        if op.closes:
            gather = self._collective(op, "all_gather") if self.sequence else None
            return (Step(op.name, (*data, *weight), gather),)
        if not self.sequence:
            reduce = self._collective(op, "all_reduce")
            if self.overlap:
                return (Step(op.name, data), Step(op.name, weight, reduce, beside=True))
            return (Step(op.name, (*data, *weight)), Step(op.name, (), reduce))
        gather = self._collective(op, "all_gather")
        scatter = self._collective(op, "reduce_scatter")
        if self.overlap:
            return (
                Step(op.name, data, gather, beside=True),
                Step(op.name, weight, scatter, beside=True),
            )
        return (
            Step(op.name, (*data, *weight), gather),
            Step(op.name, (), scatter),
        )
