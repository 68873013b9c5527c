"""Only the largest gradients (Lin 2018, Deep gradient compression)."""

from __future__ import annotations

from distsim.parallel.compressions.base import FP32_BYTES, Compression, Exchange
from distsim.record import record
from distsim.workload.op import Numerics, Work, stream

#: A scattered access moves a whole sector of memory each way (NVIDIA, CUDA C++ Best Practices
#: Guide, coalesced access to global memory).
SECTOR_BYTES = 32.0
#: Share of the gradients that is looked at to find the threshold of a selection (Lin 2018,
#: section 5: 0.1 to 1 percent).
SAMPLE = 0.01


@record
class TopK(Compression):
    """The largest gradients of each rank, as values and places (Lin 2018, arXiv 1712.01887).

    Ranks choose differently, so all selections are gathered everywhere and what is sent grows with
    the ranks: it is less than a ring all-reduce of fp32 only while density < 1 / ranks, with
    entries of 8 bytes. What is not sent is added to the next gradients.

    Attributes
    ----------
    density : float
        Share of the gradients that is sent.
    value_bytes, index_bytes : float
        Of an entry.
    """

    density: float = 0.001
    value_bytes: float = FP32_BYTES
    index_bytes: float = 4.0

    @property
    def _entry(self) -> float:
        return self.value_bytes + self.index_bytes

    def wire_bytes(self, elements: float, ranks: int) -> float:
        """Return what every rank has after the all-gather: the entries of all."""
        return ranks * elements * self.density * self._entry

    def exchanges(
        self, elements: float, ranks: int, *, scattered: bool = False
    ) -> tuple[Exchange, ...]:
        """Return the all-gather, also where a rank needs its share only."""
        return (Exchange(self.collective, self.wire_bytes(elements, ranks)),)

    def _scattered(self, elements: float, entry: float) -> float:
        """Bytes that entries at random places of an array move, reading and writing each."""
        return min(2 * SECTOR_BYTES * self.density, 2 * entry) * elements

    def compress(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        """Return the kernels that add to the residual, find a threshold, select, and clear.

        The threshold is that of a sample (Lin 2018, section 5), so that one pass selects.
        """
        g = numerics.gradient_bytes
        return (
            stream((g + 2 * FP32_BYTES) * elements),
            stream(min(SAMPLE * SECTOR_BYTES, FP32_BYTES) * elements),
            stream((FP32_BYTES + self.density * self._entry) * elements),
            stream(self._scattered(elements, FP32_BYTES)),
        )

    def decompress(
        self, elements: float, ranks: int, numerics: Numerics, *, scattered: bool = False
    ) -> tuple[Work, ...]:
        """Return the kernels that clear the gradients and add the entries of every rank."""
        g = numerics.gradient_bytes
        each = self.density * self._entry * elements + self._scattered(elements, g)
        return stream(g * elements), stream(ranks * each)

    def state_bytes(self, elements: float) -> float:
        """Return the residual: one fp32 number a gradient."""
        return FP32_BYTES * elements
