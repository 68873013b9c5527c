"""Prices of steps and what actions are laid out as, each found once for all of this process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from distsim.parallel.stages import Chunk
from distsim.parallel.step import Step
from distsim.program.grouped import GATHERS, REDUCES, Codes, different
from distsim.program.pieces import Runs
from distsim.program.segment import Cost, Pricer
from distsim.store import Numbers, Same

T = TypeVar("T")


class _Known:
    """What was priced and laid out, by what it depends on.

    Runs of steps, chunks and stages are told apart by identity: layers, stages and plans share
    theirs, and hashing them would take longer than pricing them. All are forgotten when there are
    too many.
    """

    MOST_RUNS, MOST_ACTIONS = 10_000, 20_000

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget everything."""
        self.prices: dict[Hashable, dict[int, tuple[tuple[Step, ...], Cost]]] = {}
        self.actions: dict[Hashable, tuple[Chunk, Any]] = {}
        self.stages: dict[Hashable, tuple[Sequence[Sequence[Chunk]], list[Any]]] = {}
        self.runs = 0

    def bounded(self) -> None:
        """Forget everything if it is too much."""
        if (
            self.runs > self.MOST_RUNS
            or max(len(self.actions), len(self.stages)) > self.MOST_ACTIONS
        ):
            self.forget()


_KNOWN = _Known()


def _one(
    seen: dict[int, tuple[tuple[Step, ...], Cost]], pricer: Pricer, run: tuple[Step, ...]
) -> Cost:
    found = seen.get(id(run))
    if found is None:
        found = seen[id(run)] = (run, pricer.steps(run))
        _KNOWN.runs += 1
    return found[1]


def price(key: Hashable, pricer: Pricer, runs: Runs) -> Cost:
    """Price runs of steps; `key` says all that the prices depend on."""
    seen = _KNOWN.prices.setdefault(key, {})
    if len(runs) == 1 and runs[0][1] == 1:
        return _one(seen, pricer, runs[0][0])
    compute = tensor = context = expert = host = restart = 0.0
    for steps, times in runs:
        cost = _one(seen, pricer, steps)
        compute += times * cost.compute_s
        tensor += times * cost.tensor_s
        context += times * cost.context_s
        expert += times * cost.expert_s
        host += times * cost.host_s
        restart += times * cost.restart_s
    return Cost(compute, tensor, context, expert, host, restart)


def about(*what: Hashable) -> int:
    """Return a number for what actions depend on beside chunks and kinds, for keys of the below."""
    return _ABOUT.of(what)


_ABOUT = Numbers(4096)


def action(key: Hashable, chunk: Chunk, made: Callable[[], T]) -> T:
    """Return what an action is laid out as; `key` says all that it depends on beside the chunk."""
    at = (key, id(chunk))
    if at not in _KNOWN.actions:
        _KNOWN.actions[at] = (chunk, made())
    value: T = _KNOWN.actions[at][1]
    return value


def stage(
    number: int,
    how: Same,
    codes: Codes,
    variants: Sequence[Sequence[Chunk]],
    made: Callable[[int], T],
) -> list[T]:
    """Return what the kinds of actions of a stage, none of them pairs, are laid out as.

    Parameters
    ----------
    number : int
        See `about`.
    how : Same
        What cuts actions, see `pieces.cutting`.
    variants : sequence of sequence of Chunk
        ``[variant][chunk]``
    made : callable
        Lays out a kind of action, by its code; it is asked once for chunks alike.
    """
    hooked = any([code & (GATHERS | REDUCES) for code, _ in codes])
    at = (number, Same(codes), how if hooked else None, *[id(chunks) for chunks in variants])
    if at not in _KNOWN.stages:
        _KNOWN.bounded()
        chunks: dict[int, int] = {}
        kinds = [chunks.setdefault(id(c), len(chunks)) for held in variants for c in held]
        firsts, which = different(Same(codes), tuple(kinds))
        each = [made(code) for code in firsts]
        _KNOWN.stages[at] = (variants, [each[i] for i in which])
    return _KNOWN.stages[at][1]


__all__ = ["about", "action", "price", "stage"]
