"""All that divides a layer, as one: tensor, context and expert parallelism by operator."""

from __future__ import annotations

from collections.abc import Sequence

from distsim.parallel.context import ContextParallel
from distsim.parallel.expert import ExpertParallel
from distsim.parallel.step import Step
from distsim.parallel.tensor import TensorParallel
from distsim.record import record
from distsim.workload.op import Axis, Op, WorkKind
from distsim.workload.optimizers.spec import Matrix


@record
class Software:
    """What a software stack does around the operators of a layer.

    Attributes
    ----------
    layer_wait_s : float
        Time that the device waits for the host in each pass through a layer.
    early_stop : bool
        Full recomputation ends with the last array that a gradient needs.
    loss_copies, divided_loss_copies : float
        What is there while the backward pass of the loss runs, over what it keeps; where one rank
        has all of the vocabulary, and where ranks divide it.
    """

    layer_wait_s: float = 0.0
    early_stop: bool = False
    loss_copies: float = 0.0
    divided_loss_copies: float = 0.0


PLAIN = Software()


@record
class Division:
    """Who divides which operator of a layer.

    Attributes
    ----------
    tensor : TensorParallel
        Everything else.
    context : ContextParallel or None
        Core attention; the other operators are already those of the rank's own tokens.
    expert : ExpertParallel or None
        Experts, and the exchange of tokens with them.
    software : Software
        What the software does around the operators of a layer.
    """

    tensor: TensorParallel
    context: ContextParallel | None = None
    expert: ExpertParallel | None = None
    software: Software = PLAIN

    def _of(self, op: Op) -> TensorParallel | ExpertParallel:
        if self.expert is not None and (op.axis is Axis.EXPERTS or op.exchange):
            return self.expert
        return self.tensor

    def _attends(self, op: Op) -> ContextParallel | None:
        return self.context if op.core_attention else None

    def forward(self, op: Op) -> tuple[Step, ...]:
        """Return the forward steps of `op` on one rank."""
        around = self._attends(op)
        return around.forward(op) if around else self._of(op).forward(op)

    def backward(self, op: Op) -> tuple[Step, ...]:
        """Return the backward steps of `op` on one rank, both gradients."""
        around = self._attends(op)
        return around.backward(op) if around else self._of(op).backward(op)

    def backward_input(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the input gradient, where the weight gradient runs apart."""
        around = self._attends(op)
        return around.backward(op) if around else self._of(op).backward_input(op)

    def backward_weight(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the weight gradient, where it runs apart."""
        return () if self._attends(op) else self._of(op).backward_weight(op)

    def parameters(self, op: Op) -> float:
        """Return parameters of one rank that are not an expert's."""
        return 0.0 if op.axis is Axis.EXPERTS else self._of(op).parameters(op)

    def expert_parameters(self, op: Op) -> float:
        """Return parameters of experts on one rank."""
        return self._of(op).parameters(op) if op.axis is Axis.EXPERTS else 0.0

    def matrices(self, op: Op) -> tuple[Matrix, ...]:
        """Return the weights of `op` that are matrices, on one rank."""
        return () if op.axis is Axis.EXPERTS else self._matrices(op)

    def expert_matrices(self, op: Op) -> tuple[Matrix, ...]:
        """Return the weights of experts on one rank."""
        return self._matrices(op) if op.axis is Axis.EXPERTS else ()

    def _matrices(self, op: Op) -> tuple[Matrix, ...]:
        """Return matrices by the products that make their gradients, which have their shape."""
        if not (op.parameters or op.replicated_parameters):
            return ()
        if op.table:
            return (Matrix(op.table[0] / self.tensor.size, op.table[1], table=True),)
        steps = self._of(op).backward_weight(op)
        works = [w for s in steps for w in s.works if w.kind is WorkKind.GEMM]
        return tuple(Matrix(w.m, w.n, round(w.batch)) for w in works)

    def arranged(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Return the steps of one pass over one layer in the order in which they overlap best."""
        return self.expert.arranged(steps) if self.expert else tuple(steps)

    def saved_bytes(self, op: Op) -> float:
        """Return activations of `op` that one rank keeps from forward to backward."""
        return self._of(op).saved_bytes(op) / self._context_parts(op)

    def core_bytes(self, op: Op) -> float:
        """Return the part of `saved_bytes` that selective recomputation drops."""
        return self.tensor.core_bytes(op) / self._context_parts(op)

    def weight_bytes(self, op: Op) -> float:
        """Return what one rank keeps between input gradient and weight gradient."""
        return self._of(op).weight_bytes(op)

    def _context_parts(self, op: Op) -> int:
        around = self._attends(op)
        return around.size if around else 1
