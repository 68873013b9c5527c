"""One micro batch, and how a framework stores and fuses it."""

from __future__ import annotations

from dataclasses import replace

from distsim.record import record
from distsim.workload.op import Fusion, Numerics

#: A dropout mask is one byte an element (Korthikanti 2022, section 4.1).
MASK_BYTES = 1


@record
class Shape:
    """What one micro batch is and how a framework stores and fuses it.

    Attributes
    ----------
    sequences : int
        Sequences in the micro batch (b).
    length : int
        Tokens in a sequence (s), or in a row of packed sequences.
    segment_length : float
        In packed rows, where attention stays inside each sequence: the sum of squared sequence
        lengths over `length` (`distsim.workload.lengths`); 0: one sequence fills the row.
    context : int
        Ranks over which the tokens of a sequence are divided.
    """

    sequences: int
    length: int
    numerics: Numerics
    fusion: Fusion
    segment_length: float = 0.0
    context: int = 1

    @property
    def keys(self) -> float:
        """Keys that a query meets on average, before the causal mask."""
        return self.segment_length or float(self.length)

    @property
    def tokens(self) -> int:
        """Tokens in the micro batch on one rank."""
        return self.sequences * self.length // self.context

    @property
    def whole(self) -> Shape:
        """The micro batch over all ranks that divide its tokens."""
        return replace(self, context=1)
