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

from distsim.parallel.step import Collective, Step
from distsim.record import record
from distsim.workload.op import Axis, Op, Work, WorkKind


def splits(op: Op) -> bool:
    """Say whether the weight gradient of an operator is worth running apart: it has a product.

    Sums over tokens (norms, biases, embeddings) run with the input gradient.
    """
    return any(w.kind is WorkKind.GEMM for w in op.backward_weight)


@record
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
    asynchronous : bool
        With `sequence`: products are cut into t parts along the tokens, and each part of the
        gather or scatter runs beside the product of another (Wang 2023, ASPLOS, "Overlap
        communication with dependent computation via decomposition"; PyTorch's async TP).
    """

    size: int
    sequence: bool
    overlap: bool
    element_bytes: float
    asynchronous: bool = False

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

    def weight_bytes(self, op: Op) -> float:
        """Return what is kept between input gradient and weight gradient (Qi 2023, table 1)."""
        token_parts = self.size if self.sequence else 1
        return op.weight_bytes / self.parts(op) + op.weight_token_bytes / token_parts

    def works(self, op: Op, works: tuple[Work, ...]) -> tuple[Work, ...]:
        """Return the share of one rank of kernels of `op`."""
        parts, tokens = self.parts(op), self.size if self.sequence else 1
        return tuple(w.divided(tokens if w.split == "tokens" else parts) for w in works)

    def _collective(self, op: Op, name: str) -> Collective:
        return Collective(name, op.region_elements * self.element_bytes)

    def _in_parts(
        self, op: Op, works: tuple[Work, ...], collective: Collective, *, gathers: bool
    ) -> tuple[Step, ...]:
        """Run a collective beside the product that it feeds or that feeds it, part by part.

        All parts but one move: the first product of a gather works on what the rank has, and the
        last product of a scatter is its own.
        """
        one = tuple(w.divided(self.size, "m" if w.kind is WorkKind.GEMM else None) for w in works)
        beside = Step(op.name, one * (self.size - 1), collective, beside=True)
        alone = Step(op.name, one)
        return (beside, alone) if gathers else (alone, beside)

    def forward(self, op: Op) -> tuple[Step, ...]:
        """Return the forward steps of `op` on one rank."""
        works = self.works(op, op.forward)
        if self.size == 1:
            return (Step(op.name, works),) if works else ()
        small = tuple(Step(op.name, (), Collective("all_reduce", s)) for s in op.reduced_bytes)
        if self.sequence and self.asynchronous and works and (op.opens or op.closes):
            name = "all_gather" if op.opens else "reduce_scatter"
            return self._in_parts(op, works, self._collective(op, name), gathers=op.opens)
        before = self._collective(op, "all_gather") if op.opens and self.sequence else None
        steps = [Step(op.name, works, before)] if works or before else []
        if op.closes:
            name = "reduce_scatter" if self.sequence else "all_reduce"
            steps.append(Step(op.name, (), self._collective(op, name)))
        return (*steps, *small)

    def backward(self, op: Op) -> tuple[Step, ...]:
        """Return the backward steps of `op` on one rank."""
        data, weight = self.works(op, op.backward_data), self.works(op, op.backward_weight)
        held = self.parameters(op)
        if self.size == 1 or not (op.opens or op.closes):
            return (Step(op.name, (*data, *weight), parameters=held),) if data or weight else ()
        if op.closes:
            if not self.sequence:
                return (Step(op.name, (*data, *weight), parameters=held),)
            gather = self._collective(op, "all_gather")
            if self.asynchronous and data:
                steps = self._in_parts(op, data, gather, gathers=True)
                return (*steps, Step(op.name, weight, parameters=held))
            return (Step(op.name, (*data, *weight), gather, parameters=held),)
        if not self.sequence:
            reduce = self._collective(op, "all_reduce")
            if self.overlap:
                return (
                    Step(op.name, data),
                    Step(op.name, weight, reduce, beside=True, parameters=held),
                )
            return (Step(op.name, (*data, *weight), parameters=held), Step(op.name, (), reduce))
        gather = self._collective(op, "all_gather")
        scatter = self._collective(op, "reduce_scatter")
        if self.overlap or self.asynchronous:
            return (
                Step(op.name, data, gather, beside=True),
                Step(op.name, weight, scatter, beside=True, parameters=held),
            )
        return (
            Step(op.name, (*data, *weight), gather, parameters=held),
            Step(op.name, (), scatter),
        )

    def backward_input(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the input gradient where the weight gradient runs apart."""
        if not splits(op):
            return self.backward(op)
        data = self.works(op, op.backward_data)
        if self.size == 1 or not (op.opens or op.closes):
            return (Step(op.name, data),)
        if op.closes:
            if not self.sequence:
                return (Step(op.name, data),)
            gather = self._collective(op, "all_gather")
            if self.asynchronous:
                return self._in_parts(op, data, gather, gathers=True)
            return (Step(op.name, data, gather),)
        reduce = self._collective(op, "reduce_scatter" if self.sequence else "all_reduce")
        if self.asynchronous and self.sequence:
            return self._in_parts(op, data, reduce, gathers=False)
        return (Step(op.name, data), Step(op.name, (), reduce))

    def backward_weight(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the weight gradient where it runs apart."""
        if not splits(op):
            return ()
        weight, held = self.works(op, op.backward_weight), self.parameters(op)
        gather = None
        if self.size > 1 and op.opens and self.sequence:
            gather = self._collective(op, "all_gather")
        return (Step(op.name, weight, gather, parameters=held),)
