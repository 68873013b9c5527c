"""How a framework hands sharded parameters and gradients to collectives."""

from __future__ import annotations

from distsim.record import record


@record
class Handover:
    """What a framework release does around the collectives of sharded arrays.

    Attributes
    ----------
    blocking : bool
        Host and device meet around each of them, so nothing runs beside them unless the plan says
        so.
    by_weight : bool
        Each weight is gathered by itself just before an operator uses it and dropped after, so a
        layer that is recomputed is gathered three times (Rajbhandari 2021, arXiv 2104.07857,
        section 4, counts four moves of the parameters a step with checkpoints: three gathers and
        the gradients); a weight that the next operator uses again stays. Otherwise whole layers
        are gathered, twice.
    lists : bool
        Collectives take a list of arrays, one for each rank: the host cuts the array into a view
        for each and launches a copy for each, while the device waits.
    bandwidth : float
        Share of the links' bandwidth that these collectives reach, in (0, 1].
    """

    blocking: bool = False
    by_weight: bool = False
    lists: bool = False
    bandwidth: float = 1.0

    def operators(self, ranks: int) -> int:
        """Return how many operators the host dispatches around one collective over `ranks`."""
        return 2 * ranks if self.lists else 0


#: Layers as they are, one contiguous array each.
PLAIN = Handover()
