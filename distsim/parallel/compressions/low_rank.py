"""Gradients of matrices as products of thin ones (Vogels 2019, PowerSGD)."""

from __future__ import annotations

from distsim.parallel.compressions.base import FP32_BYTES, Compression, Exchange
from distsim.record import record
from distsim.workload.op import Numerics, Work, stream


@record
class LowRank(Compression):
    """PowerSGD: a matrix as a product of two thin ones (Vogels 2019, arXiv 1905.13727).

    One step of subspace iteration (algorithm 1): P = M Q is summed over ranks and orthogonalised,
    Q = M^T P is summed, and P Q^T stands for M. The difference is added to the next gradients, and
    Q is where the next step begins. Vectors, and matrices that would not shrink, are sent whole.

    Attributes
    ----------
    rank : int
        Columns of P and Q.
    left, right, whole : float
        Elements of P, of Q and of what is sent whole, for each gradient.
    """

    rank: int = 4
    left: float = 0.0
    right: float = 0.0
    whole: float = 1.0

    def wire_bytes(self, elements: float, ranks: int) -> float:
        """Return the size of the first all-reduce: P, and what is sent whole."""
        return self.element_bytes * (self.left + self.whole) * elements

    def exchanges(
        self, elements: float, ranks: int, *, scattered: bool = False
    ) -> tuple[Exchange, ...]:
        """Return the two all-reduces, also where a rank needs its share only."""
        return (
            Exchange(self.collective, self.wire_bytes(elements, ranks)),
            Exchange(self.collective, self.element_bytes * self.right * elements),
        )

    def compress(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        """Return the kernels that add the residual and multiply by Q.

        With a few columns a product takes as long as reading the matrix.
        """
        own = (1.0 - self.whole) * elements
        thin = FP32_BYTES * (self.left + self.right) * elements
        g = numerics.gradient_bytes
        return stream((g + 2 * FP32_BYTES) * own), stream(FP32_BYTES * own + thin)

    def decompress(
        self, elements: float, ranks: int, numerics: Numerics, *, scattered: bool = False
    ) -> tuple[Work, ...]:
        """Return the kernels that orthogonalise, multiply by P, rebuild, and keep the difference.

        Gram-Schmidt reads and writes every column once for itself and every pair once.
        """
        own = (1.0 - self.whole) * elements
        thin = FP32_BYTES * (self.left + self.right) * elements
        return (
            stream(FP32_BYTES * self.left * elements * (self.rank + 1)),
            stream(FP32_BYTES * own + thin),
            stream((numerics.gradient_bytes + 2 * FP32_BYTES) * own + thin),
        )

    def state_bytes(self, elements: float) -> float:
        """Return the residual and Q."""
        return FP32_BYTES * (1.0 - self.whole + self.right) * elements
