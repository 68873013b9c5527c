"""One micro batch, and how a framework stores and fuses it."""

from __future__ import annotations

from dataclasses import dataclass

from distsim.workload.op import Fusion, Numerics

#: A dropout mask is one byte an element (Korthikanti 2022, section 4.1).
MASK_BYTES = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What one micro batch is and how a framework stores and fuses it.

    Attributes
    ----------
    sequences : int
        Sequences in the micro batch (b).
    length : int
        Tokens in a sequence (s).
    """

    sequences: int
    length: int
    numerics: Numerics
    fusion: Fusion

    @property
    def tokens(self) -> int:
        """Tokens in the micro batch."""
        return self.sequences * self.length
