"""Gradients in 16 bit on the wire."""

from __future__ import annotations

from distsim.parallel.compressions.base import Compression
from distsim.record import record
from distsim.workload.op import Numerics, Work, stream


@record
class Half(Compression):
    """A cast to 16 bit before the all-reduce and one back after it, where gradients are wider.

    What DDP's communication hooks ``fp16_compress_hook`` and ``bf16_compress_hook`` do (PyTorch).
    """

    def _cast(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        g = numerics.gradient_bytes
        return (stream((g + self.element_bytes) * elements),) if g > self.element_bytes else ()

    def compress(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        """Return the cast."""
        return self._cast(elements, numerics)

    def decompress(
        self, elements: float, ranks: int, numerics: Numerics, *, scattered: bool = False
    ) -> tuple[Work, ...]:
        """Return the cast back."""
        return self._cast(elements / ranks if scattered else elements, numerics)
