"""What a compression of gradients answers; gradients as they are."""

from __future__ import annotations

from typing import NamedTuple

from distsim.record import record
from distsim.workload.op import Numerics, Work

#: Residuals, factors and scales are fp32.
FP32_BYTES = 4.0


class Exchange(NamedTuple):
    """One collective over the data-parallel group.

    Attributes
    ----------
    collective : str
    size_bytes : float
        As nccl-tests counts it.
    """

    collective: str
    size_bytes: float


@record
class Compression:
    """Gradients as they are, and the base of all that change them.

    Attributes
    ----------
    name : str
    element_bytes : float
        Bytes of an element on the wire.
    collective : str
        What carries the gradients; the first where it takes two (`exchanges`).
    source : str
    """

    name: str = "none"
    element_bytes: float = 4.0
    collective: str = "all_reduce"
    source: str = ""

    def wire_bytes(self, elements: float, ranks: int) -> float:
        """Return the size of `collective` for a bucket."""
        return self.element_bytes * elements

    def exchanges(
        self, elements: float, ranks: int, *, scattered: bool = False
    ) -> tuple[Exchange, ...]:
        """Return the collectives for a bucket, one after another.

        Parameters
        ----------
        elements : float
            Gradients in the bucket.
        ranks : int
            Members of the group.
        scattered : bool
            Each rank needs the sum of its own share only (ZeRO).
        """
        name = "reduce_scatter" if scattered else self.collective
        return (Exchange(name, self.wire_bytes(elements, ranks)),)

    def compress(self, elements: float, numerics: Numerics) -> tuple[Work, ...]:
        """Return the kernels before the first collective."""
        return ()

    def decompress(
        self, elements: float, ranks: int, numerics: Numerics, *, scattered: bool = False
    ) -> tuple[Work, ...]:
        """Return the kernels after the first collective, those between two of them included."""
        return ()

    def state_bytes(self, elements: float) -> float:
        """Return bytes that stay from step to step: what was not sent, and the like."""
        return 0.0
