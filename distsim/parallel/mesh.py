"""Ranks and their coordinates: tp varies fastest, then cp, dp, pp (Megatron-LM's order)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.record import record

IntArray = npt.NDArray[np.int64]

#: From the fastest to the slowest axis.
ORDER = ("tp", "cp", "dp", "pp")


@record
class Mesh:
    """A grid of ranks, and a second one on the same ranks for experts.

    The ranks of a stage are tp x cp x dp for everything but experts, and etp x ep x edp for these
    (parallel folding, Liu 2025, arXiv 2504.14960): etp varies fastest, then ep, then edp.

    Attributes
    ----------
    ep, etp : int
        Expert-parallel degree; tensor-parallel degree of each expert.
    replicas : int
        Groups of data-parallel ranks among which states are replicated, not sharded (hybrid
        sharding); the ranks of a shard group are neighbours.
    """

    tp: int = 1
    cp: int = 1
    dp: int = 1
    pp: int = 1
    ep: int = 1
    etp: int = 1
    replicas: int = 1

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.tp * self.cp * self.dp * self.pp

    @property
    def edp(self) -> int:
        """Ranks that hold the same part of the same experts."""
        return self.tp * self.cp * self.dp // (self.ep * self.etp)

    def grid(self) -> IntArray:
        """Return ranks as an array of shape (pp, dp, cp, tp)."""
        return np.arange(self.size).reshape(self.pp, self.dp, self.cp, self.tp)

    def expert_grid(self) -> IntArray:
        """Return ranks as an array of shape (pp, edp, ep, etp)."""
        return np.arange(self.size).reshape(self.pp, self.edp, self.ep, self.etp)

    def stage_of(self) -> IntArray:
        """Return the pipeline stage of each rank, shape (size,)."""
        return np.arange(self.size) // (self.size // self.pp)

    def groups(self, axis: str) -> IntArray:
        """Return the groups along one axis, shape (size / n, n), in rank order.

        Parameters
        ----------
        axis : str
            ``tp``, ``cp``, ``dp``, ``pp``, ``ep``, ``etp`` or ``edp``; ``dp_cp`` joins data and
            context ranks, over which gradients are reduced; ``shard`` and ``replica`` divide those
            into the ranks that share the states and the ranks that hold the same share, and
            ``expert_shard`` and ``expert_replica`` do so for ``edp``.
        """
        if axis in ("ep", "etp", "edp"):
            grid = self.expert_grid()
            position = {"pp": 0, "edp": 1, "ep": 2, "etp": 3}[axis]
            return np.moveaxis(grid, position, -1).reshape(-1, grid.shape[position])
        if axis in ("shard", "replica"):
            return self._halves(self.groups("dp_cp"), axis == "shard")
        if axis in ("expert_shard", "expert_replica"):
            return self._halves(self.groups("edp"), axis == "expert_shard")
        grid = self.grid()
        if axis == "dp_cp":
            return np.moveaxis(grid, 3, 1).reshape(-1, self.dp * self.cp)
        position = {"pp": 0, "dp": 1, "cp": 2, "tp": 3}[axis]
        return np.moveaxis(grid, position, -1).reshape(-1, grid.shape[position])

    def _halves(self, groups: IntArray, shard: bool) -> IntArray:
        parts = groups.reshape(len(groups), self.replicas, -1)
        if shard:
            return parts.reshape(-1, parts.shape[2])
        return np.moveaxis(parts, 1, 2).reshape(-1, self.replicas)

    def peer(self, ranks: IntArray, stage: int) -> IntArray:
        """Return the ranks with the same other coordinates on another pipeline stage."""
        per_stage = self.size // self.pp
        return ranks % per_stage + stage * per_stage
