"""Placement: which device each rank runs on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

#: packed: consecutive ranks on consecutive devices, as a scheduler fills nodes. strided: one rank
#: after another on the next node, round robin. random: any devices, by the seed.
PLACEMENTS = ("packed", "strided", "random")


def place(kind: str, ranks: int, free: Ints, node_of: Ints, seed: int = 0) -> Ints:
    """Return the device of each rank.

    Parameters
    ----------
    kind : str
        One of `PLACEMENTS`.
    ranks : int
    free : int64[k]
        Devices to choose from, ascending; at least `ranks`.
    node_of : int64[devices]
        Node of every device.
    seed : int
        Of ``random``.

    Returns
    -------
    int64[ranks]

    Examples
    --------
    >>> place("strided", 4, np.arange(8), np.arange(8) // 4).tolist()
    [0, 4, 1, 5]
    """
    if kind == "random":
        generator = np.random.default_rng(seed)
        return generator.permutation(free)[:ranks]
    if kind == "strided":
        node = node_of[free]
        slot = np.arange(len(free)) - np.searchsorted(node, node)
        return free[np.lexsort((node, slot))][:ranks]
    return free[:ranks]
