"""Pieces: an action cut where parameters must have arrived and where gradients leave."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from distsim.parallel.data import DataParallel, Domain
from distsim.parallel.stages import Chunk
from distsim.parallel.step import Step, Unit
from distsim.record import record
from distsim.schedule import BACKWARD, FORWARD, INPUT
from distsim.store import Interned, Same
from distsim.workload.op import stream

#: Weights of fewer parameters (norms, biases) are never dropped: they go with the next larger one.
#: Source: default of ``stage3_param_persistence_threshold`` of DeepSpeed.
LEAST_WEIGHT = 100_000


#: Steps in runs, and how often each is done one after another: most are all steps of a unit in one
#: direction, one object for all units alike, so that they are priced once.
Runs = tuple[tuple[tuple[Step, ...], int], ...]


def joined(runs: Runs) -> tuple[Step, ...]:
    """Return the steps of runs, in order."""
    return tuple(chain.from_iterable([steps * times for steps, times in runs]))


def _longer(runs: Runs, steps: tuple[Step, ...]) -> Runs:
    """Return runs with one more at their end."""
    if runs and runs[-1][0] is steps:
        return (*runs[:-1], (steps, runs[-1][1] + 1))
    return (*runs, (steps, 1))


def _alike(runs: Runs) -> Hashable:
    """Return what is the same for the same runs, and for no others that are kept."""
    return tuple([(id(steps), times) for steps, times in runs])


@record
class Piece:
    """Steps of an action that stay together.

    Attributes
    ----------
    runs : tuple of (tuple of Step, int)
        Steps, and how often they are done.
    gathers, reduces : tuple of float
        Parameters that must have arrived before, parameters whose gradients leave after: of each
        domain, or empty.
    """

    runs: Runs = ()
    gathers: tuple[float, ...] = ()
    reduces: tuple[float, ...] = ()

    def between(self, before: tuple[Step, ...], after: tuple[Step, ...]) -> Piece:
        """Return the piece with more steps before and after it."""
        if not before and not after:
            return self
        first, last = ([(steps, 1)] if steps else [] for steps in (before, after))
        return Piece((*first, *self.runs, *last), self.gathers, self.reduces)


def pieces(chunk: Chunk, how: Same, *, kind: int, gather: bool, reduce: bool) -> Sequence[Piece]:
    """Cut an action.

    Parameters
    ----------
    how : Same
        See `cutting`.
    kind : int
        Of the action: forward, backward, input or weight gradient.
    gather, reduce : bool
        Whether it waits for parameters and whether its gradients leave.
    """
    return _pieces(Same(chunk), how, kind, gather, reduce)


def cutting(data: DataParallel) -> Same:
    """Return what matters where actions are cut, the same for all data parallelism alike in that.

    How many ranks there are does not, unless gradients are compressed or copied to lists.
    """
    return _cutting(Same(data))


@lru_cache(maxsize=2048)
def _cutting(of: Same) -> Same:
    data: DataParallel = of.of
    domains = data.domains
    if data.compression is None and not data.handover.lists:
        domains = tuple([Domain(d.name, 1) for d in domains])
    alike = replace(
        data,
        domains=domains,
        reduce="",
        gather="",
        collective="",
        blocking=False,
        prefetch=0,
        limit_bytes=0.0,
    )
    return Same(_CUTTING.of(alike))


_CUTTING = Interned(2048)


@lru_cache(maxsize=8192)
def _pieces(of: Same, how: Same, kind: int, gather: bool, reduce: bool) -> tuple[Piece, ...]:
    """Cut an action, once for those who ask for sizes and those who ask for steps."""
    chunk: Chunk = of.of
    data: DataParallel = how.of
    return tuple(_cut(chunk, data, kind, gather, reduce))


def amounts(
    chunk: Chunk, how: Same, *, kind: int, gather: bool, reduce: bool
) -> tuple[list[frozenset[float]], list[frozenset[float]]]:
    """Return what the pieces of an action wait for and what leaves after them, by domain.

    Returns
    -------
    gathers, reduces : list of frozenset of float
        Parameters; none of 0.
    """
    return _amounts(Same(chunk), how, kind, gather, reduce)


@lru_cache(maxsize=8192)
def _amounts(
    of: Same, how: Same, kind: int, gather: bool, reduce: bool
) -> tuple[list[frozenset[float]], list[frozenset[float]]]:
    made = _pieces(of, how, kind, gather, reduce)
    domains = range(len(how.of.domains))
    gathers = {p.gathers for p in made if p.gathers}
    reduces = {p.reduces for p in made if p.reduces}
    return (
        [frozenset([held[d] for held in gathers]) - {0.0} for d in domains],
        [frozenset([held[d] for held in reduces]) - {0.0} for d in domains],
    )


def _cut(
    chunk: Chunk, data: DataParallel, kind: int, gather: bool, reduce: bool
) -> Sequence[Piece]:
    back = (chunk.receives_backward, chunk.ends_backward)
    around = {FORWARD: (chunk.receives_forward, chunk.ends_forward), BACKWARD: back, INPUT: back}
    received, ends = around.get(kind, ((), ()))
    if gather or (reduce and data.per_unit):
        cut = _by_weight if data.handover.by_weight else _by_unit
        out = cut(chunk, data, kind, gather, reduce)
        if data.handover.lists or data.handover.blocking:
            handed = {key: list(_handed(p, data)) for key, p in {id(p): p for p in out}.items()}
            out = [part for piece in out for part in handed[id(piece)]]
    elif reduce:
        out = _by_step(chunk, data, kind)
    else:
        out = [Piece(tuple([(unit.steps(kind), times) for unit, times in _turns(chunk, kind)]))]
    if not out:
        return [Piece(((received, 1),))]
    out[-1] = out[-1].between((), ends)
    out[0] = out[0].between(received, ())
    return out


def _turns(chunk: Chunk, kind: int) -> Sequence[tuple[Unit, int]]:
    """Return the units of a chunk in the order of a pass, those alike one after another as one."""
    return chunk.turns if kind == FORWARD else chunk.turns[::-1]


def buckets(units: Sequence[Unit], data: DataParallel) -> list[list[Unit]]:
    """Group whole units into buckets.

    A bucket closes at the first unit that brings it to `bucket_bytes`; the rest is the last.
    """
    out: list[list[Unit]] = []
    current: list[Unit] = []
    filled, last, size = 0.0, None, 0.0
    for unit in units:
        current.append(unit)
        if unit is not last:
            last, size = unit, sum([d.parameters(unit) for d in data.domains]) * data.reduce_bytes
        filled += size
        if filled >= data.bucket_bytes:
            out.append(current)
            current, filled = [], 0.0
    return out + ([current] if current else [])


def _compressed(runs: Runs, parameters: Sequence[float], data: DataParallel) -> Runs:
    """Return runs with the compression of the gradients that then leave."""
    if data.compression is None:
        return runs
    works = [
        data.compression.compress(count, data.numerics)
        for domain, count in zip(data.domains, parameters, strict=True)
        if count and domain.size > 1
    ]
    return (*runs, (tuple(Step("compress", w) for w in works if w), 1))


def _by_unit(
    chunk: Chunk, data: DataParallel, kind: int, gather: bool, reduce: bool
) -> list[Piece]:
    """Cut between units that are sharded one by one, or between buckets of them."""
    if data.per_unit:
        known = {
            id(unit): _of_units([unit], data, kind, gather, reduce) for unit, _ in chunk.counted
        }
        turns = _turns(chunk, kind)
        return list(chain.from_iterable([[known[id(unit)]] * times for unit, times in turns]))
    alike: dict[tuple[int, ...], Piece] = {}
    out = []
    for members in buckets(chunk.units if kind == FORWARD else chunk.units[::-1], data):
        key = tuple([id(u) for u in members])
        if key not in alike:
            alike[key] = _of_units(members, data, kind, gather, reduce)
        out.append(alike[key])
    return out


def _of_units(
    members: Sequence[Unit], data: DataParallel, kind: int, gather: bool, reduce: bool
) -> Piece:
    held = tuple([sum([d.parameters(u) for u in members]) for d in data.domains])
    runs: Runs = tuple([(u.steps(kind), 1) for u in members])
    runs = _compressed(runs, held, data) if reduce else runs
    return Piece(runs, held if gather else (), held if reduce else ())


def _handed(piece: Piece, data: DataParallel) -> Iterator[Piece]:
    """Add what a framework does around the collectives of a piece, as pieces of their own.

    The device waits for the host at a list of arrays, which otherwise launches ahead; and where
    each collective blocks, nothing that comes next, gathers included, begins before it is done.
    """
    how = data.handover
    if how.lists and piece.gathers:
        copies = _copies("unpack", piece.gathers, data.gather_bytes, data)
        yield Piece(((copies, 1),), piece.gathers)
        piece = replace(piece, gathers=())
    if how.lists and piece.reduces:
        yield replace(piece, reduces=())
        copies = _copies("pack", piece.reduces, data.reduce_bytes, data)
        piece = Piece(((copies, 1),), (), piece.reduces)
    yield piece
    if how.blocking and piece.reduces:
        yield Piece()


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
    chunk: Chunk, data: DataParallel, kind: int, gather: bool, reduce: bool
) -> list[Piece]:
    """Cut before each operator whose weight must arrive and after each whose gradient leaves.

    A weight is there until another one arrives, so it is not gathered twice where its operator is
    recomputed and its backward pass follows at once.
    """
    nothing: _Amounts = (0.0,) * len(data.domains)
    arriving, waiting, leaving = nothing, nothing, nothing
    out: list[Piece] = []
    run: list[Step] = []

    def close(left: Sequence[float]) -> None:
        if run or any(arriving) or any(left):
            runs = _compressed(((tuple(run), 1),), left, data)
            out.append(Piece(runs, _some(arriving), _some(left)))
        run.clear()

    for unit in chunk.units if kind == FORWARD else chunk.units[::-1]:
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


def _by_step(chunk: Chunk, data: DataParallel, kind: int) -> list[Piece]:
    """Cut where a bucket of some domain is full; what is left leaves at the end.

    Layers alike have the same pieces, each one object.
    """
    filled = gone = (0.0,) * len(data.domains)
    out: list[Piece] = []
    runs: Runs = ()
    known: dict[Hashable, Piece] = {}
    for unit, times in chunk.turns[::-1]:
        steps = Same(unit.steps(kind))
        for done in range(times):
            before, begin = (_alike(runs), filled), len(out)
            closed, rest, filled, left = _filled(
                steps, filled, data.bucket_bytes, data.reduce_bytes
            )
            gone = _added(gone, left)
            for run, leaving in closed:
                runs = _longer(runs, run)
                key = (_alike(runs), leaving)
                if key not in known:
                    known[key] = _leaving(runs, leaving, data)
                out.append(known[key])
                runs = ()
            runs = _longer(runs, rest) if rest else runs
            if (_alike(runs), filled) == before:
                # So it goes on.
                more = times - 1 - done
                out += out[begin:] * more
                gone = _added(gone, [more * of for of in left])
                break
    total = [domain.parameters(chunk) for domain in data.domains]
    rest_of = [a - b if a - b > 0.5 else 0.0 for a, b in zip(total, gone, strict=True)]
    if runs or any(rest_of):
        out.append(_leaving(runs, rest_of, data))
    return out


_Amounts = tuple[float, ...]
_Closed = tuple[tuple[tuple[Step, ...], _Amounts], ...]


@lru_cache(maxsize=4096)
def _filled(
    steps: Same, filled: _Amounts, bucket_bytes: float, reduce_bytes: float
) -> tuple[_Closed, tuple[Step, ...], _Amounts, _Amounts]:
    """Fill buckets, of each domain, with the gradients of steps.

    Returns
    -------
    closed : tuple of (steps, parameters that leave after them)
    rest : tuple of Step
    filled, left : tuple of float
        Parameters in the buckets that are open at the end, and in all that were closed.
    """
    every: tuple[Step, ...] = steps.of
    begin, closed = 0, []
    left = (0.0,) * len(filled)
    for place, step in enumerate(every):
        if not step.parameters and not step.expert_parameters:
            continue
        complete = (step.parameters, step.expert_parameters)[: len(filled)]
        filled = _added(filled, complete)
        full = [f * reduce_bytes >= bucket_bytes > 0.0 for f in filled]
        if any(full):
            leaving = tuple(f if yes else 0.0 for f, yes in zip(filled, full, strict=True))
            left = _added(left, leaving)
            closed.append((every[begin : place + 1], leaving))
            begin = place + 1
            filled = tuple(0.0 if yes else f for f, yes in zip(filled, full, strict=True))
    return tuple(closed), every[begin:], filled, left


def _some(parameters: Sequence[float]) -> tuple[float, ...]:
    return tuple(parameters) if any(parameters) else ()


def _completed(step: Step, data: DataParallel) -> tuple[float, ...]:
    """Return the parameters of each domain whose gradients are complete after a step."""
    return (step.parameters, step.expert_parameters)[: len(data.domains)]


def _added(one: Sequence[float], other: Sequence[float]) -> _Amounts:
    return tuple([a + b for a, b in zip(one, other, strict=True)])


def _leaving(runs: Runs, parameters: Sequence[float], data: DataParallel) -> Piece:
    return Piece(_compressed(runs, parameters, data), (), tuple(parameters))
