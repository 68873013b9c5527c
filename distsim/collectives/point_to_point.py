"""One member sends to another, everyone to the next; and all wait for all."""

from __future__ import annotations

from math import prod

import numpy as np

from distsim.collectives.flows import Schedule, Shape, in_turn, messages, together


def send(shape: Shape) -> Schedule:
    """Position 0 sends all bytes to position 1, directly.

    Raises
    ------
    ValueError
        For a group that is not a pair.
    """
    if prod(shape) != 2:
        raise ValueError(f"a send joins 2 members, not {prod(shape)}")
    return in_turn(2, [messages([0], [1], 1.0, 1.0)])


def send_recv(shape: Shape) -> Schedule:
    """Everyone sends S to the next position and receives from the one before, all at once.

    What nccl-tests calls sendrecv (``src/sendrecv.cu``), and a pipeline or ring attention a shift.
    """
    n = prod(shape)
    here = np.arange(n)
    return in_turn(n, [together(shape, here, (here + 1) % n, 1.0)])


def barrier(shape: Shape) -> Schedule:
    """Dissemination: in round t everyone tells the member 2^t places on; no bytes.

    Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", 1988.
    """
    n = prod(shape)
    here = np.arange(n)
    rounds = [
        together(shape, here, (here + (1 << t)) % n, 0.0) for t in range((n - 1).bit_length())
    ]
    return in_turn(n, rounds)
