"""A second evaluator of schedules, slow and plain, and which plans each schedule takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from distsim.errors import PlanError
from distsim.schedule import REGISTRY, Actions, Placement, Schedule

#: What a schedule says of a number of stages or micro batches that it cannot run.
UNFIT = {"DS311", "DS312", "DS314", "DS315"}

Key = tuple[str, int, int]


def plans(
    stages: Sequence[int], microbatches: Sequence[int], chunks: Sequence[int] = (1, 2, 3)
) -> Iterator[tuple[str, int, int, int]]:
    """Yield schedule, stages, micro batches and chunks that fit each other."""
    for name, schedule in REGISTRY.items():
        for p in stages:
            for m in microbatches:
                for v in chunks if schedule.chunks is None else (schedule.chunks,):
                    if fits(schedule, p, m, v):
                        yield name, p, m, v


def fits(schedule: Schedule, p: int, m: int, v: int) -> bool:
    """Say whether a schedule takes these numbers."""
    try:
        schedule.order(p, m, v)
    except PlanError as error:
        assert error.code in UNFIT
        assert error.rule and error.fix
        return False
    return True


def listed(order: Actions, chunks: Sequence[int]) -> list[Key]:
    """Return letter, model chunk and micro batch of each action of a stage."""
    return [
        ("FBWI"[kind], chunks[chunk], microbatch)
        for kind, chunk, microbatch in zip(
            order.kind.tolist(), order.chunk.tolist(), order.microbatch.tolist(), strict=True
        )
    ]


def is_complete(rows: list[list[Key]], chunks: int, replicas: int = 1) -> bool:
    """Say whether every micro batch passes every chunk of its copy once each way."""
    seen = Counter(key for row in rows for key in row)
    m = 1 + max((b for _, _, b in seen), default=-1)
    if not m or m % replicas or max(seen.values()) > 1:
        return False
    per_copy, block = chunks // replicas, m // replicas
    wanted = {(k, b) for k in range(chunks) for b in range(m) if k // per_copy == b // block}
    by_letter = {x: {(k, b) for letter, k, b in seen if letter == x} for x in "FBIW"}
    return (
        by_letter["F"] == wanted
        and by_letter["B"] | by_letter["I"] == wanted
        and not by_letter["B"] & by_letter["I"]
        and by_letter["W"] == by_letter["I"]
    )


def sweep(
    rows: list[list[Key]], chunks: int, replicas: int, took: dict[str, float], hop: float = 0.0
) -> list[list[tuple[float, float]]] | None:
    """Return begin and end of all actions, found by asking every stage again and again.

    None if the stages wait for each other, or for what is not there.
    """
    per_copy = chunks // replicas
    stage_of = {k: stage for stage, row in enumerate(rows) for _, k, _ in row}
    done: dict[Key, float] = {}
    out: list[list[tuple[float, float]]] = [[] for _ in rows]
    moved = True
    while moved:
        moved = False
        for stage, row in enumerate(rows):
            while len(out[stage]) < len(row):
                letter, k, b = row[len(out[stage])]
                last = k % per_copy == per_copy - 1
                if letter == "F":
                    needs = [[("F", k - 1, b)]] if k % per_copy else []
                elif letter == "W":
                    needs = [[("I", k, b)]]
                else:
                    needs = [[("F", k, b)]]
                    needs += [] if last else [[("B", k + 1, b), ("I", k + 1, b)]]
                found = [next((n for n in either if n in done), None) for either in needs]
                if None in found:
                    break
                arrivals = [done[n] + (hop if stage_of[n[1]] != stage else 0.0) for n in found if n]
                begin = max([out[stage][-1][1] if out[stage] else 0.0, *arrivals])
                done[letter, k, b] = begin + took[letter]
                out[stage].append((begin, done[letter, k, b]))
                moved = True
    return out if all(len(o) == len(r) for o, r in zip(out, rows, strict=True)) else None


def rows_of(orders: Sequence[Actions], placement: Placement) -> list[list[Key]]:
    """Return `listed` of every stage."""
    return [listed(order, chunks) for order, chunks in zip(orders, placement, strict=True)]
