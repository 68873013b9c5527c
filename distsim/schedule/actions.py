"""What a schedule returns, and what all schedules share."""

from __future__ import annotations

from dataclasses import field

import numpy as np
import numpy.typing as npt

from distsim.record import record

#: Forward pass; whole backward pass; weight gradient alone; input gradient alone.
FORWARD, BACKWARD, WEIGHT, INPUT = 0, 1, 2, 3
#: Letters of the kinds, as PyTorch's schedules write them.
LETTERS = "FBWI"


@record
class Actions:
    """The order of work of one pipeline stage.

    Attributes
    ----------
    kind : uint8[a]
        FORWARD, BACKWARD (both gradients), INPUT or WEIGHT (one of them).
    microbatch, chunk : int32[a]
        Micro batch of each action, and chunk: which of those that the stage holds.
    paired : bool[a]
        The action and the next one run together, so that the communication of each hides behind
        the kernels of the other (DualPipe: a forward and a backward pass).
    """

    kind: npt.NDArray[np.uint8]
    microbatch: npt.NDArray[np.int32]
    chunk: npt.NDArray[np.int32]
    paired: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def nbytes(self) -> int:
        """Roughly what it takes in memory."""
        arrays = (self.kind, self.microbatch, self.chunk, self.paired)
        return 1024 + sum(a.nbytes for a in arrays)


def make(
    kind: npt.ArrayLike,
    microbatch: npt.ArrayLike,
    chunk: npt.ArrayLike,
    paired: npt.ArrayLike | None = None,
) -> Actions:
    """Build actions from anything array-like."""
    kinds = np.asarray(kind, dtype=np.uint8)
    return Actions(
        kinds,
        np.asarray(microbatch, dtype=np.int32),
        np.asarray(chunk, dtype=np.int32),
        np.zeros(len(kinds), dtype=np.bool_) if paired is None else np.asarray(paired, np.bool_),
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
    """Return the most forwards whose backward (or input gradient) has not run."""
    back = (actions.kind == BACKWARD) | (actions.kind == INPUT)
    change = np.where(actions.kind == FORWARD, 1, np.where(back, -1, 0))
    return int(np.cumsum(change).max(initial=0))
