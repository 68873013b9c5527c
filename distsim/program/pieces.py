"""Pieces: an action cut where parameters must have arrived and where gradients leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Step, Unit
from distsim.schedule import BACKWARD, FORWARD, INPUT
from distsim.store import Same
from distsim.workload.op import stream

#: Weights of fewer parameters (norms, biases) are never dropped: they go with the next larger one.
#: Source: default of ``stage3_param_persistence_threshold`` of DeepSpeed.
LEAST_WEIGHT = 100_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Steps of an action that stay together.

    Attributes
    ----------
    gathers, reduces : tuple of float
        Parameters that must have arrived before, parameters whose gradients leave after: of each
        domain, or empty.
    """

    steps: tuple[Step, ...]
    gathers: tuple[float, ...] = ()
    reduces: tuple[float, ...] = ()


def pieces(
    chunk: Chunk, data: DataParallel, *, kind: int, gather: bool, reduce: bool
) -> Sequence[Piece]:
    """Cut an action.

    Parameters
    ----------
    kind : int
        Of the action: forward, backward, input or weight gradient.
    gather, reduce : bool
        Whether it waits for parameters and whether its gradients leave.
    """
    return _pieces(Same(chunk), Same(data), kind, gather, reduce)


@lru_cache(maxsize=512)
def _pieces(of: Same, how: Same, kind: int, gather: bool, reduce: bool) -> tuple[Piece, ...]:
    """Cut an action, once for those who ask for sizes and those who ask for steps."""
    chunk: Chunk = of.of
    data: DataParallel = how.of
    return tuple(_cut(chunk, data, kind, gather, reduce))


def _cut(
    chunk: Chunk, data: DataParallel, kind: int, gather: bool, reduce: bool
) -> Sequence[Piece]:
    units = chunk.units if kind == FORWARD else chunk.units[::-1]
    received = chunk.receives_forward if kind == FORWARD else ()
    if kind in (BACKWARD, INPUT):
        received = chunk.receives_backward
    if gather or (reduce and data.per_unit):
        cut = _by_weight if data.handover.by_weight else _by_unit
        made = cut(units, data, kind, gather, reduce)
        out = [part for piece in made for part in _handed(piece, data)]
    elif reduce:
        out = _by_step(chunk, units, data, kind)
    else:
        out = [Piece(tuple(s for u in units for s in u.steps(kind)))]
    if not out:
        return [Piece(tuple(received))]
    ends = {FORWARD: chunk.ends_forward, BACKWARD: chunk.ends_backward, INPUT: chunk.ends_backward}
    out[-1] = replace(out[-1], steps=(*out[-1].steps, *ends.get(kind, ())))
    first = out[0]
    return [
        Piece((*received, *first.steps), first.gathers, first.reduces),
        *out[1:],
    ]


def buckets(units: Sequence[Unit], data: DataParallel) -> list[list[Unit]]:
    """Group whole units into buckets: one each if they are sharded one by one.

    A bucket closes at the first unit that brings it to `bucket_bytes`; the rest is the last.
    """
    if data.per_unit:
        return [[unit] for unit in units]
    out: list[list[Unit]] = []
    current: list[Unit] = []
    filled = 0.0
    for unit in units:
        current.append(unit)
        filled += sum(d.parameters(unit) for d in data.domains) * data.reduce_bytes
        if filled >= data.bucket_bytes:
            out.append(current)
            current, filled = [], 0.0
    return out + ([current] if current else [])


def _compressed(
    steps: tuple[Step, ...], parameters: Sequence[float], data: DataParallel
) -> tuple[Step, ...]:
    """Return steps with the compression of the gradients that then leave."""
    if data.compression is None:
        return steps
    works = [
        data.compression.compress(count, data.numerics)
        for domain, count in zip(data.domains, parameters, strict=True)
        if count and domain.size > 1
    ]
    return (*steps, *(Step("compress", w) for w in works if w))


def _by_unit(
    units: Sequence[Unit], data: DataParallel, kind: int, gather: bool, reduce: bool
) -> list[Piece]:
    out = []
    for members in buckets(units, data):
        held = tuple(sum(d.parameters(u) for u in members) for d in data.domains)
        steps = tuple(s for u in members for s in u.steps(kind))
        steps = _compressed(steps, held, data) if reduce else steps
        out.append(Piece(steps, held if gather else (), held if reduce else ()))
    return out


def _handed(piece: Piece, data: DataParallel) -> Iterator[Piece]:
    """Add what a framework does around the collectives of a piece, as pieces of their own.

    The device waits for the host at a list of arrays, which otherwise launches ahead; and where
    each collective blocks, nothing that comes next, gathers included, begins before it is done.
    """
    how = data.handover
    if how.lists and piece.gathers:
        yield Piece(_copies("unpack", piece.gathers, data.gather_bytes, data), piece.gathers)
        piece = replace(piece, gathers=())
    if how.lists and piece.reduces:
        yield replace(piece, reduces=())
        piece = Piece(_copies("pack", piece.reduces, data.reduce_bytes, data), (), piece.reduces)
    yield piece
    if how.blocking and piece.reduces:
        yield Piece(())


def _copies(
    op: str, parameters: Sequence[float], element_bytes: float, data: DataParallel
) -> tuple[Step, ...]:
    """Copy an array into a list of arrays or back: read and written once."""
    return tuple(
        Step(
            op,
            (stream(2 * count * element_bytes),),
            operators=data.handover.operators(domain.shard) - 1,
        )
        for count, domain in zip(parameters, data.domains, strict=True)
        if count and domain.shard > 1
    )


def _by_weight(
    units: Sequence[Unit], data: DataParallel, kind: int, gather: bool, reduce: bool
) -> list[Piece]:
    """Cut before each operator whose weight must arrive and after each whose gradient leaves.

    A weight is there until another one arrives, so it is not gathered twice where its operator is
    recomputed and its backward pass follows at once.
    """
    nothing = [0.0] * len(data.domains)
    arriving, waiting, leaving = nothing, nothing, nothing
    out: list[Piece] = []
    run: list[Step] = []

    def close(left: Sequence[float]) -> None:
        if run or any(arriving) or any(left):
            steps = _compressed(tuple(run), left, data)
            out.append(Piece(steps, _some(arriving), _some(left)))
        run.clear()

    for unit in units:
        held = {s.op: c for s in unit.backward if any(c := _completed(s, data))}
        there = ""
        for step in unit.steps(kind):
            if gather and step.op in held and step.op != there:
                waiting = _added(waiting, held[step.op])
                if max(waiting) >= LEAST_WEIGHT:
                    close(nothing)
                    arriving, waiting, there = waiting, nothing, step.op
            run.append(step)
            if reduce:
                leaving = _added(leaving, _completed(step, data))
                if max(leaving) >= LEAST_WEIGHT:
                    close(leaving)
                    arriving, leaving = nothing, nothing
    arriving = _added(arriving, waiting)
    close(leaving)
    return out


def _by_step(chunk: Chunk, units: Sequence[Unit], data: DataParallel, kind: int) -> list[Piece]:
    """Cut where a bucket of some domain is full; what is left leaves at the end."""
    left = [domain.parameters(chunk) for domain in data.domains]
    filled = [0.0] * len(data.domains)
    out: list[Piece] = []
    run: list[Step] = []
    for unit in units:
        steps, begin = unit.steps(kind), 0
        for place in _completing(Same(steps)):
            filled = _added(filled, _completed(steps[place], data))
            full = [f * data.reduce_bytes >= data.bucket_bytes > 0.0 for f in filled]
            if any(full):
                run += steps[begin : place + 1]
                begin = place + 1
                leaving = [f if yes else 0.0 for f, yes in zip(filled, full, strict=True)]
                out.append(_leaving(run, leaving, data))
                left = [a - b for a, b in zip(left, leaving, strict=True)]
                filled = [0.0 if yes else f for f, yes in zip(filled, full, strict=True)]
                run = []
        run += steps[begin:]
    left = [p if p > 0.5 else 0.0 for p in left]
    if run or any(left):
        out.append(_leaving(run, left, data))
    return out


@lru_cache(maxsize=1024)
def _completing(steps: Same) -> tuple[int, ...]:
    """Return the places of the steps after which gradients are complete."""
    return tuple(i for i, s in enumerate(steps.of) if s.parameters or s.expert_parameters)


def _some(parameters: Sequence[float]) -> tuple[float, ...]:
    return tuple(parameters) if any(parameters) else ()


def _completed(step: Step, data: DataParallel) -> tuple[float, ...]:
    """Return the parameters of each domain whose gradients are complete after a step."""
    return (step.parameters, step.expert_parameters)[: len(data.domains)]


def _added(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _leaving(run: Sequence[Step], parameters: Sequence[float], data: DataParallel) -> Piece:
    return Piece(_compressed(tuple(run), parameters, data), (), tuple(parameters))
