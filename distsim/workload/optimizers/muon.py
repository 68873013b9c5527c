"""Muon: the momentum of a matrix is made orthogonal before it is applied (Jordan 2024).

Five Newton-Schulz iterations X <- a X + (b A + c A^2) X with A = X X^T, in bf16, on the momentum
scaled to unit norm. For m x n with m <= n one iteration is two products of m m n and one of m m m:
4 m^2 n + 2 m^3 FLOP. The sums run inside the products, which read the term that they add.

Embeddings, LM head and vectors go by AdamW. Of a matrix only the momentum is kept (Liu 2025,
arXiv 2502.16982, section 2).

Where ranks divide the update, each owns whole matrices, since an iteration needs all of one. They
are dealt largest first, each to the rank with the least work so far. With more ranks than matrices
some have none, and the time is that of one matrix. A rank that owns slices across matrices and
gathers the rest of them instead (Liu 2025, section 2.3) sends up to a quarter more a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distsim.record import record
from distsim.workload.op import Work, gemm, stream
from distsim.workload.optimizers.elementwise import ADAM
from distsim.workload.optimizers.spec import Held, Matrix, OptimizerSpec

#: Jordan 2024, "Muon: an optimizer for hidden layers in neural networks".
ITERATIONS = 5
#: The iterations run in bf16.
BYTES = 2.0


def newton_schulz_flop(rows: float, columns: float) -> float:
    """FLOP of all iterations on one matrix: 5 (4 m^2 n + 2 m^3) with m the shorter side."""
    m, n = min(rows, columns), max(rows, columns)
    return ITERATIONS * (4.0 * m * m * n + 2.0 * m**3)


def _deal(load: npt.NDArray[np.float64], cost: float, count: int) -> npt.NDArray[np.int64]:
    """Return how many of `count` equal matrices each rank gets, each to the least loaded so far.

    A level is found to which `load` fills up if matrices were divisible; whole ones fit below it,
    and the few left go where the next one ends lowest. Sorting, not a step a matrix.
    """
    low = np.sort(load)
    levels = (count * cost + np.cumsum(low)) / np.arange(1, len(low) + 1)
    level = levels[np.flatnonzero(levels > low)[-1]]
    whole = np.floor(np.maximum(level - load, 0.0) / cost * (1 + 1e-12))
    each: npt.NDArray[np.int64] = whole.astype(np.int64)
    left = count - int(each.sum())
    if left > 0:
        each[np.argsort(load + each * cost, kind="stable")[:left]] += 1
    return each


@lru_cache(maxsize=256)
def busiest(matrices: tuple[Matrix, ...], shard: int) -> tuple[Matrix, ...]:
    """Return the matrices of the rank with the most work.

    Parameters
    ----------
    matrices : tuple of Matrix
        Those that go by Muon.
    shard : int
        Ranks that they are dealt to.
    """
    if shard == 1:
        return matrices
    cost = [newton_schulz_flop(m.rows, m.columns) for m in matrices]
    load, dealt = np.zeros(shard), np.zeros((len(matrices), shard), dtype=np.int64)
    for i in sorted(range(len(matrices)), key=lambda i: -cost[i]):
        dealt[i] = _deal(load, cost[i], matrices[i].number)
        load += dealt[i] * cost[i]
    counts = dealt[:, int(np.argmax(load))].tolist()
    return tuple(m._replace(number=c) for m, c in zip(matrices, counts, strict=True) if c)


def newton_schulz(matrix: Matrix, dtype: str = "") -> tuple[Work, ...]:
    """Return the products of all iterations; matrices of one shape run as one batch.

    Parameters
    ----------
    dtype : str
        Type of the products where it is not that of the step.
    """
    m, n = min(matrix.rows, matrix.columns), max(matrix.rows, matrix.columns)
    added = 2 * BYTES  # the term that is added is read, the sum written
    products = (
        gemm(m, m, n, batch=matrix.number, operand_bytes=BYTES, result_bytes=BYTES),
        gemm(m, m, m, batch=matrix.number, operand_bytes=BYTES, result_bytes=added),
        gemm(m, n, m, batch=matrix.number, operand_bytes=BYTES, result_bytes=added),
    )
    return tuple(replace(w, dtype=dtype) for w in products) * ITERATIONS


def _hidden(matrices: Sequence[Matrix]) -> tuple[Matrix, ...]:
    return tuple(m for m in matrices if not m.table and m.number)


@record
class Muon:
    """Momentum, norm, iterations and step of matrices; AdamW for the rest."""

    source: str = "Jordan 2024; Liu 2025 (arXiv 2502.16982), algorithm 1"
    moment_types: tuple[str, ...] = ("fp32", "bf16")

    def _rest(self, held: Held) -> Held:
        held.vectors()  # refuses matrices that hold more than there is
        own = sum(m.elements for m in _hidden(held.matrices))
        return replace(held, parameters=max(held.parameters - own, 0.0), matrices=())

    def state_bytes(self, optimizer: OptimizerSpec, held: Held) -> float:
        """Return bytes of state: one moment of matrices, two of the rest."""
        rest = self._rest(held)
        own = held.parameters - rest.parameters
        return optimizer.moment_bytes * own + ADAM.state_bytes(optimizer, rest)

    def works(self, optimizer: OptimizerSpec, held: Held) -> tuple[Work, ...]:
        """Return the kernels of the rank that has the most products to run."""
        rest = self._rest(held)
        works = ADAM.works(optimizer, rest) if rest.parameters else ()
        own = busiest(_hidden(held.matrices), held.shard)
        elements = sum(m.elements for m in own)
        if not elements:
            return works
        g, w, moment = held.gradient_bytes, held.value_bytes, optimizer.moment_bytes
        before = (g + 2 * moment + BYTES, BYTES, 2 * BYTES)  # momentum, norm, scaling
        return (
            *works,
            *(stream(b * elements) for b in before),
            *(w for m in own for w in newton_schulz(m, held.product_type)),
            stream((BYTES + 2 * w) * elements),
        )


RULE = Muon()
