"""What an evaluator returns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.record import record


@record
class Run:
    """Instants of all tasks.

    Attributes
    ----------
    start_s, end_s : float64[n]
    evaluator : str
        ``graph`` or ``event``.
    n_events : int
        Events that the engine processed (0 for ``graph``).
    """

    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    evaluator: str
    n_events: int

    @property
    def makespan(self) -> float:
        """Instant at which the last task ends, seconds."""
        return float(self.end_s.max(initial=0.0))
