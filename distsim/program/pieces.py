"""Pieces: an action cut where parameters must have arrived and where gradients leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distsim.parallel.data import DataParallel
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Step, Unit
from distsim.schedule import BACKWARD, FORWARD, INPUT


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
) -> list[Piece]:
    """Cut an action.

    Parameters
    ----------
    kind : int
        Of the action: forward, backward, input or weight gradient.
    gather, reduce : bool
        Whether it waits for parameters and whether its gradients leave.
    """
    units = chunk.units if kind == FORWARD else chunk.units[::-1]
    received = chunk.receives_forward if kind == FORWARD else ()
    if kind in (BACKWARD, INPUT):
        received = chunk.receives_backward
    if gather or (reduce and data.per_unit):
        out = _by_unit(units, data, kind, gather, reduce)
    elif reduce:
        out = _by_step(chunk, units, data, kind)
    else:
        out = [Piece(tuple(s for u in units for s in u.steps(kind)))]
    if not out:
        return [Piece(tuple(received))]
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


def _by_step(chunk: Chunk, units: Sequence[Unit], data: DataParallel, kind: int) -> list[Piece]:
    """Cut where a bucket of some domain is full; what is left leaves at the end."""
    left = [domain.parameters(chunk) for domain in data.domains]
    filled = [0.0] * len(data.domains)
    out: list[Piece] = []
    run: list[Step] = []
    for step in (s for u in units for s in u.steps(kind)):
        run.append(step)
        gained = (step.parameters, step.expert_parameters)[: len(filled)]
        filled = [f + g for f, g in zip(filled, gained, strict=True)]
        full = [f * data.reduce_bytes >= data.bucket_bytes > 0.0 for f in filled]
        if any(full):
            leaving = [f if yes else 0.0 for f, yes in zip(filled, full, strict=True)]
            out.append(_leaving(run, leaving, data))
            left = [a - b for a, b in zip(left, leaving, strict=True)]
            filled = [0.0 if yes else f for f, yes in zip(filled, full, strict=True)]
            run = []
    left = [p if p > 0.5 else 0.0 for p in left]
    if run or any(left):
        out.append(_leaving(run, left, data))
    return out


def _leaving(run: Sequence[Step], parameters: Sequence[float], data: DataParallel) -> Piece:
    return Piece(_compressed(tuple(run), parameters, data), (), tuple(parameters))
