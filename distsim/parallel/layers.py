"""How many layers each model chunk has: evenly, as listed, or balanced by cost."""

from __future__ import annotations

from collections.abc import Sequence

from distsim.errors import PlanError
from distsim.schedule import Placement


def divide_layers(
    layers: int,
    placement: Placement,
    replicas: int = 1,
    explicit: tuple[int, ...] | None = None,
    first: int | None = None,
    last: int | None = None,
) -> tuple[int, ...]:
    """Return transformer layers of each model chunk of one copy of the model, in model order.

    Even by default. `explicit` lists layers of each stage or of each model chunk in model order.
    `first` and `last` set the layers of the first and the last stage, as Megatron-LM's options for
    uneven pipelines do, and the rest is divided evenly.

    Raises
    ------
    PlanError
        DS304 where the counts do not come out whole, DS305 where they do not sum up.
    """
    pp, each = len(placement), len(placement[0])
    chunks = pp * each // replicas
    if explicit is not None:
        return _explicit(layers, placement, chunks, explicit)
    if first is not None or last is not None:
        # Where chunks of a copy lie on two stages each, its first chunk stands for the stage.
        counts = _uneven_ends(layers, chunks if replicas > 1 else pp, first, last)
        return tuple(counts) if replicas > 1 else _of_stages(counts, placement)
    count, rest = divmod(layers, chunks)
    if rest or count == 0:
        raise PlanError(
            "DS304",
            f"{layers} layers do not divide into pp({pp}) * virtual_stages({chunks // pp}) = "
            f"{chunks} chunks",
            path=("plan", "virtual_stages" if chunks > pp else "pp"),
            value=chunks,
            rule="every model chunk has the same whole number of layers, unless layers_per_stage, "
            "first_stage_layers, last_stage_layers or balance says otherwise",
            fix=f"choose pp * virtual_stages among the divisors of {layers}, "
            "or set layers_per_stage or balance: cost",
        )
    return (count,) * chunks


def _explicit(
    layers: int, placement: Placement, chunks: int, counts: tuple[int, ...]
) -> tuple[int, ...]:
    pp = len(placement)
    if len(counts) not in (pp, chunks) or sum(counts) != layers or min(counts) < 0:
        raise PlanError(
            "DS305",
            f"layers_per_stage has {len(counts)} entries that sum to {sum(counts)}",
            path=("plan", "layers_per_stage"),
            value=list(counts),
            rule=f"one count >= 0 for each of {pp} stages"
            + (f" or {chunks} model chunks" if chunks != pp else "")
            + f", summing to the model's {layers} layers",
            fix="change the counts",
        )
    return tuple(counts) if len(counts) == chunks else _of_stages(counts, placement)


def _of_stages(counts: Sequence[int], placement: Placement) -> tuple[int, ...]:
    """Divide the layers of each stage evenly over its chunks."""
    each = len(placement[0])
    out = [0] * (len(placement) * each)
    for count, held in zip(counts, placement, strict=True):
        part, rest = divmod(count, each)
        if rest:
            raise PlanError(
                "DS304",
                f"{count} layers of a stage do not divide into {each} virtual stages",
                path=("plan", "layers_per_stage"),
                value=count,
                rule="layers of a stage divide by virtual_stages",
                fix="list one count for each model chunk instead",
            )
        for number in held:
            out[number] = part
    return tuple(out)


def _uneven_ends(layers: int, stages: int, first: int | None, last: int | None) -> list[int]:
    middle = stages - (first is not None) - (last is not None)
    rest = layers - (first or 0) - (last or 0)
    if stages < 2 or rest < 0 or (middle == 0) != (rest == 0) or (middle and rest % middle):
        raise PlanError(
            "DS304",
            f"first_stage_layers={first}, last_stage_layers={last} "
            f"leave {rest} layers for {middle} stages",
            path=("plan", "first_stage_layers" if first is not None else "last_stage_layers"),
            value=first if first is not None else last,
            rule="the stages between share the remaining layers evenly (pp >= 2)",
            fix=f"choose counts so that the rest of {layers} divides by {max(middle, 1)}",
        )
    counts = [rest // middle if middle else 0] * stages
    if first is not None:
        counts[0] = first
    if last is not None:
        counts[-1] = last
    return counts


def balanced_layers(
    costs_s: Sequence[float], chunks: int, first_s: float, last_s: float
) -> tuple[int, ...]:
    """Cut layers into consecutive chunks so that the slowest chunk is as fast as can be.

    The linear partition problem: the least bound under which greedy filling needs no more than
    `chunks`, found by bisection (Pinar and Aykanat 2004, section 3). Each chunk has a layer, if
    there are enough, unless a first or last chunk with none is faster.

    Parameters
    ----------
    costs_s : sequence of float
        Time of each layer.
    chunks : int
    first_s, last_s : float
        Time of what the first and the last chunk do beside layers (embedding, head).
    """
    low = max([*costs_s, first_s, last_s])
    high = sum(costs_s) + first_s + last_s
    for _ in range(60):
        middle = (low + high) / 2
        if _fill(costs_s, chunks, first_s, last_s, middle) is None:
            low = middle
        else:
            high = middle
    found = _fill(costs_s, chunks, first_s, last_s, high)
    assert found is not None, "all layers in one chunk always fit under their sum"
    return found


def _fill(
    costs_s: Sequence[float], chunks: int, first_s: float, last_s: float, bound_s: float
) -> tuple[int, ...] | None:
    """Return layers of each chunk under a bound, filled from the end, or None.

    Each chunk leaves a layer for every one before; where that does not fit, for all but the first.
    """
    for empty in (0, 1, chunks):
        counts, left = [0] * chunks, len(costs_s)
        for chunk in reversed(range(chunks)):
            room = bound_s * (1 + 1e-12) - (last_s if chunk == chunks - 1 else 0.0)
            room -= first_s if chunk == 0 else 0.0
            least = max(chunk - empty, 0)
            while left > least and costs_s[left - 1] <= room:
                room -= costs_s[left - 1]
                left -= 1
                counts[chunk] += 1
        if left == 0:
            return tuple(counts)
    return None
