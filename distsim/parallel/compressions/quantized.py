"""Gradients as codes of a few bits (Alistarh 2017; Dettmers 2022; Tang 2021)."""

from __future__ import annotations

from distsim.parallel.compressions.base import Compression, Exchange
from distsim.record import record
from distsim.workload.op import Numerics, Work, stream

#: Values that share an fp32 scale in int8 (Dettmers 2022, arXiv 2110.02861, section 2.1).
INT8_BLOCK = 2048


@record
class Quantized(Compression):
    """Codes of a few bits with a scale for each block.

    Each rank sends every other the codes of that one's share (all-to-all), which sums what arrives
    in full precision and sends new codes to all (all-gather), as the compressed all-reduce of
    1-bit Adam does (Tang 2021, arXiv 2102.02888); with sharded gradients the first
    half is all (ZeRO++, Wang 2023, arXiv 2306.10209, section 3.3). Sent bytes are those of a ring
    all-reduce of the codes. Rounding is stochastic, hence without bias, and nothing is kept from
    step to step (QSGD, Alistarh 2017, arXiv 1610.02132, section 3.1).
    """

    def exchanges(
        self, elements: float, ranks: int, *, scattered: bool = False
    ) -> tuple[Exchange, ...]:
        """Return the all-to-all, and the all-gather if all ranks need the sum."""
        size = self.wire_bytes(elements, ranks)
        first = Exchange("all_to_all", size)
        return (first,) if scattered else (first, Exchange("all_gather", size))

    def compress(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        """Return one kernel: a block fits into registers, so its scale takes no second pass."""
        return (stream((numerics.gradient_bytes + self.element_bytes) * elements),)

    def decompress(
        self, elements: float, ranks: int, numerics: Numerics, *, scattered: bool = False
    ) -> tuple[Work, ...]:
        """Return the sum of a rank's own share, and the unpacking of all shares."""
        code, g, share = self.element_bytes, numerics.gradient_bytes, elements / ranks
        if scattered:
            return (stream(code * elements + g * share),)
        return stream(code * elements + code * share), stream((code + g) * elements)
