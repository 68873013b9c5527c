"""Orders as runs of a few actions that repeat, micro batches numbered as they come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.schedule.actions import BACKWARD, INPUT

#: ``[:, 0]`` kind, ``[:, 1]`` chunk.
Steps = npt.NDArray[np.int64]


def run(times: int, *steps: tuple[int, int]) -> Steps:
    """Return actions (kind, chunk) that repeat; none where `times` is not positive."""
    return np.tile(np.asarray(steps, dtype=np.int64), (max(times, 0), 1))


def count(steps: Steps) -> npt.NDArray[np.int64]:
    """Return micro batches: how many actions of the same kind and chunk came before.

    Input gradients count with whole backward passes.
    """
    kind = np.where(steps[:, 0] == INPUT, BACKWARD, steps[:, 0])
    code = kind + 4 * steps[:, 1]
    out = np.zeros(len(steps), dtype=np.int64)
    for one in np.unique(code):
        mine = code == one
        out[mine] = np.arange(np.count_nonzero(mine))
    return out
