"""The exit code of a plan that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.errors import InfeasibleError

if TYPE_CHECKING:
    from distsim.prediction.predict import Memory


def exit_unless_fits(memory: Memory, *, reported: bool) -> None:
    """Leave with exit code 1 if the plan does not fit.

    Parameters
    ----------
    reported : bool
        Whether the output says so to a person; otherwise standard error does.

    Raises
    ------
    InfeasibleError
        DS501.
    """
    if memory.fits:
        return
    if reported:
        raise click.exceptions.Exit(InfeasibleError.exit_code)
    over, *changes = memory.advice
    raise InfeasibleError(
        "DS501",
        over,
        value=memory.peak_bytes,
        rule="every stage fits into the memory of a device",
        fix="; ".join(changes),
    )
