"""One member sends to another."""

from __future__ import annotations

from distsim.collectives.flows import Pattern, flows


def send(n: int, local: int) -> Pattern:
    """Position 0 sends all bytes to position 1, directly.

    Raises
    ------
    ValueError
        For a group that is not a pair.
    """
    if n != 2:
        raise ValueError(f"a send joins 2 members, not {n}")
    return flows(2, [0], [1], 1.0, 1.0, 0)
