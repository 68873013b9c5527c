"""What a schedule returns, and what all schedules share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FORWARD, BACKWARD, WEIGHT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Actions:
    """The order of work of one pipeline stage.

    Attributes
    ----------
    kind : uint8[a]
        FORWARD, BACKWARD, or WEIGHT (a backward split into input and weight gradients).
    microbatch, chunk : int32[a]
        Micro batch and model chunk of each action.
    """

    kind: npt.NDArray[np.uint8]
    microbatch: npt.NDArray[np.int32]
    chunk: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kind)


def make(kind: npt.ArrayLike, microbatch: npt.ArrayLike, chunk: npt.ArrayLike) -> Actions:
    """Build actions from anything array-like."""
    return Actions(
        np.asarray(kind, dtype=np.uint8),
        np.asarray(microbatch, dtype=np.int32),
        np.asarray(chunk, dtype=np.int32),
    )


def one_forward_one_backward(forwards: int, warmup: int) -> npt.NDArray[np.uint8]:
    """Return kinds: `warmup` forwards, then forward and backward in turn, then backwards."""
    warmup = min(warmup, forwards)
    steady = forwards - warmup
    kinds = np.full(2 * forwards, BACKWARD, dtype=np.uint8)
    kinds[:warmup] = FORWARD
    kinds[warmup : warmup + 2 * steady : 2] = FORWARD
    return kinds


def peak_in_flight(actions: Actions) -> int:
    """Return the most forwards whose backward has not run."""
    change = np.where(actions.kind == FORWARD, 1, np.where(actions.kind == BACKWARD, -1, 0))
    return int(np.cumsum(change).max(initial=0))
