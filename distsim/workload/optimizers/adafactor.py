"""Adafactor: a second moment in rows and columns (Shazeer 2018, arXiv 1804.04235).

For a matrix of r rows and c columns it keeps r + c sums in place of r c second moments (algorithm
4); for vectors all of them (algorithm 5). There is no first moment unless one is asked for.
"""

from __future__ import annotations

from distsim.record import record
from distsim.workload.op import Work, stream
from distsim.workload.optimizers.spec import Held, OptimizerSpec

#: Sums of squares are fp32.
SUM_BYTES = 4.0


def _sums(held: Held) -> float:
    """Elements of the second moment as it is kept."""
    return held.vectors() + sum(m.number * (m.rows + m.columns) for m in held.matrices)


@record
class Adafactor:
    """Three passes over the gradient, the least that the order of the algorithm allows.

    Row and column sums come from all of the gradient, with the root mean square of the weights
    beside them; the root mean square of the step, which clips it, needs both sums; the step needs
    that. A compiler that fuses (XLA) gets there; a framework that runs one operation after another
    moves two to three times as much.
    """

    source: str = "Shazeer 2018 (arXiv 1804.04235), algorithms 4 and 5"
    moment_types: tuple[str, ...] = ("none", "fp32", "bf16")

    def state_bytes(self, optimizer: OptimizerSpec, held: Held) -> float:
        """Return bytes of state: the sums, and a first moment if there is one."""
        return SUM_BYTES * _sums(held) + optimizer.moment_bytes * held.parameters

    def works(self, optimizer: OptimizerSpec, held: Held) -> tuple[Work, ...]:
        """Return the kernels of sums, clipping and step."""
        g, w, moment = held.gradient_bytes, held.value_bytes, optimizer.moment_bytes
        sums = SUM_BYTES * _sums(held)
        passes = (
            (g + w) * held.parameters + 2 * sums,
            g * held.parameters + sums,
            (g + 2 * w + 2 * moment) * held.parameters + sums,
        )
        return tuple(stream(b / held.shard) for b in passes)


RULE = Adafactor()
