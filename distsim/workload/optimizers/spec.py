"""What an optimizer is, and what an update rule answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from distsim.record import record
from distsim.workload.op import Work

#: Elements of a moment that share an fp32 scale in int8 (Dettmers 2022, arXiv 2110.02861,
#: section 2.1).
INT8_BLOCK = 2048
#: Bytes of one element of a moment by its type.
MOMENT_BYTES: Mapping[str, float] = {
    "none": 0.0,
    "fp32": 4.0,
    "bf16": 2.0,
    "int8": 1.0 + 4.0 / INT8_BLOCK,
}


class Matrix(NamedTuple):
    """Weights of one two-dimensional shape on a rank.

    Attributes
    ----------
    rows, columns : float
        As divided by tensor parallelism.
    number : int
        How many of this shape.
    table : bool
        The table of an embedding or of the LM head: one row a token, not a map between features.
    """

    rows: float
    columns: float
    number: int = 1
    table: bool = False

    @property
    def elements(self) -> float:
        """Parameters of all of them."""
        return self.rows * self.columns * self.number


@record
class OptimizerSpec:
    """One optimizer.

    Attributes
    ----------
    name : str
        A key of `distsim.workload.optimizers.RULES`.
    clip_norm : bool
        The gradient is scaled to a global norm before the update.
    moment_type : str
        Type of the moments: a key of `MOMENT_BYTES`.
    """

    name: str = "adam"
    clip_norm: bool = True
    moment_type: str = "fp32"

    @property
    def moment_bytes(self) -> float:
        """Bytes of one element of one moment."""
        return MOMENT_BYTES[self.moment_type]


@record
class Held:
    """What a rank holds, as its update rule sees it.

    Attributes
    ----------
    parameters : float
        All of them, before sharding.
    matrices : sequence of Matrix
        Those that are two-dimensional; what is left are vectors (norms, biases).
    shard : int
        Ranks that divide the update.
    gradient_bytes, value_bytes : float
        Bytes of an element of the gradient and of the weight that the update works on.
    product_type : str
        Type of a rule's own products where it is not that of the step.
    """

    parameters: float
    matrices: Sequence[Matrix]
    shard: int
    gradient_bytes: float
    value_bytes: float
    product_type: str = ""

    def vectors(self) -> float:
        """Parameters that are in no matrix.

        Raises
        ------
        ValueError
            Where matrices hold more parameters than there are.
        """
        left = self.parameters - sum(m.elements for m in self.matrices)
        if left < -1e-9 * self.parameters:
            raise ValueError(f"matrices hold {-left:g} of {self.parameters:g} parameters too many")
        return max(left, 0.0)


class Rule(Protocol):
    """An update rule."""

    @property
    def moment_types(self) -> tuple[str, ...]:
        """Types that its moments may have."""
        ...

    @property
    def source(self) -> str:
        """Paper of the rule."""
        ...

    def state_bytes(self, optimizer: OptimizerSpec, held: Held) -> float:
        """Return bytes of state of a rank before sharding, the master copy not among them."""
        ...

    def works(self, optimizer: OptimizerSpec, held: Held) -> tuple[Work, ...]:
        """Return the kernels of one rank from clipped gradients to new (master) weights."""
        ...
