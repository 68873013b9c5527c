"""Patterns: the tasks of one action (a micro batch through a model chunk, one direction).

Most actions are one segment. An action is cut where something outside meets it: before a unit
whose parameters must be gathered, after a unit whose gradients are ready, and around every
tensor-parallel collective if others use the same links at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Collective, Step, Unit
from distsim.program.opgraph import TaskKind
from distsim.program.segment import Cost, Pricer


@dataclass(slots=True)
class Entry:
    """One task of a pattern.

    Attributes
    ----------
    cost : Cost
        Of a compute task (its total is the duration).
    steps : tuple of Step
        What a compute task stands for.
    collective : Collective or None
        Set for a tensor-parallel transfer.
    after : tuple of int
        Earlier entries to wait for, as negative offsets; -1 is the entry before, which for the
        first entry is the last of the action before.
    gather_bytes : float
        The entry waits for parameters of this size.
    reduce_bytes : float
        Gradients of this size are ready after the entry.
    """

    label: str
    cost: Cost = field(default_factory=Cost)
    steps: tuple[Step, ...] = ()
    collective: Collective | None = None
    after: tuple[int, ...] = (-1,)
    gather_bytes: float = 0.0
    reduce_bytes: float = 0.0

    @property
    def kind(self) -> TaskKind:
        """Compute, or tensor-parallel transfer."""
        return TaskKind.COMPUTE if self.collective is None else TaskKind.TENSOR


Pattern = list[Entry]


@dataclass(frozen=True, slots=True)
class Piece:
    """Units of an action that stay together."""

    steps: tuple[Step, ...]
    gather_bytes: float
    reduce_bytes: float


def _steps(unit: Unit, forward: bool) -> tuple[Step, ...]:
    return unit.forward if forward else unit.backward


def pieces(
    chunk: Chunk, data: DataParallel, *, forward: bool, gather: bool, reduce: bool
) -> list[Piece]:
    """Cut an action at gathers and reductions.

    Parameters
    ----------
    gather, reduce : bool
        Whether this action waits for parameters and whether its gradients leave.
    """
    units = chunk.units if forward else chunk.units[::-1]
    received = chunk.receives_forward if forward else chunk.receives_backward
    whole = [list(range(len(units)))] if units else []
    groups = data.buckets(units) if gather or reduce else whole
    out = []
    for index, group in enumerate(groups):
        members = [units[i] for i in group]
        parameters = sum(u.parameters for u in members)
        steps = tuple(s for u in members for s in _steps(u, forward))
        out.append(
            Piece(
                (*received, *steps) if index == 0 else steps,
                parameters * data.gather_bytes if gather else 0.0,
                parameters * data.reduce_bytes if reduce else 0.0,
            )
        )
    return out or [Piece(tuple(received), 0.0, 0.0)]


def pattern(
    label: str,
    cuts: Sequence[Piece],
    pricer: Pricer,
    *,
    expand: bool,
    cost_of: Callable[[tuple[Step, ...]], Cost],
) -> Pattern:
    """Turn pieces into entries, one each, or one for each step if `expand`."""
    out: Pattern = []
    for piece in cuts:
        entries = (
            _expanded(label, piece, pricer)
            if expand
            else [Entry(label, cost_of(piece.steps), piece.steps)]
        )
        entries[0].gather_bytes = piece.gather_bytes
        entries[-1].reduce_bytes = piece.reduce_bytes
        out += entries
    return out


def _expanded(label: str, piece: Piece, pricer: Pricer) -> Pattern:
    """Give every tensor-parallel collective a task of its own; join kernels between them."""
    out: Pattern = []
    run: list[Step] = []

    def flush() -> None:
        if run:
            out.append(Entry(label, pricer.steps(run), tuple(run), after=_ends(out)))
            run.clear()

    for step in piece.steps:
        kernels = Step(step.op, step.works)
        if step.collective is None:
            run.append(kernels)
            continue
        flush()
        host = Cost(host_s=pricer.device.host_launch_s)
        before = _ends(out)
        out.append(Entry(step.op, host, (), step.collective, after=before))
        if not step.works:
            continue
        if step.beside:
            # Kernels start with the transfer, so they wait for what the transfer waits for.
            after = tuple(o - 1 for o in before)
            out.append(Entry(label, pricer.step(kernels), (kernels,), after=after))
        else:
            run.append(kernels)
    flush()
    if not out or len(_ends(out)) > 1:
        out.append(Entry(label, Cost(), after=_ends(out)))
    return out


def _ends(entries: Pattern) -> tuple[int, ...]:
    """Return offsets of the entries that the next one waits for."""
    if len(entries) > 1 and entries[-2].collective is not None and -1 not in entries[-1].after:
        return (-1, -2)
    return (-1,)
