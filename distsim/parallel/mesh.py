"""Ranks and their coordinates: tp varies fastest, then cp, dp, pp (Megatron-LM's order)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

#: From the fastest to the slowest axis.
ORDER = ("tp", "cp", "dp", "pp")


@dataclass(frozen=True, slots=True)
class Mesh:
    """A four-dimensional grid of ranks."""

    tp: int = 1
    cp: int = 1
    dp: int = 1
    pp: int = 1

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.tp * self.cp * self.dp * self.pp

    def grid(self) -> IntArray:
        """Return ranks as an array of shape (pp, dp, cp, tp)."""
        return np.arange(self.size).reshape(self.pp, self.dp, self.cp, self.tp)

    def stage_of(self) -> IntArray:
        """Return the pipeline stage of each rank, shape (size,)."""
        return np.arange(self.size) // (self.size // self.pp)

    def groups(self, axis: str) -> IntArray:
        """Return the groups along one axis, shape (size / n, n), in rank order.

        Parameters
        ----------
        axis : str
            ``tp``, ``cp``, ``dp`` or ``pp``; ``dp_cp`` joins data and context ranks, over which
            gradients are reduced and optimizer states are sharded.
        """
        grid = self.grid()
        if axis == "dp_cp":
            return np.moveaxis(grid, 3, 1).reshape(-1, self.dp * self.cp)
        position = {"pp": 0, "dp": 1, "cp": 2, "tp": 3}[axis]
        return np.moveaxis(grid, position, -1).reshape(-1, grid.shape[position])

    def peer(self, ranks: IntArray, stage: int) -> IntArray:
        """Return the ranks with the same other coordinates on another pipeline stage."""
        per_stage = self.size // self.pp
        return ranks % per_stage + stage * per_stage
