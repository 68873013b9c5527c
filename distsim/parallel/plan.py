"""The parallel plan: how ranks divide the work, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from distsim.errors import PlanError


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that multiplies out; names as engineers say them.

    Attributes
    ----------
    devices : int
        dp * tp * pp * cp.
    micro_size : int
        Sequences in a micro batch.
    microbatches : int
        Micro batches a replica runs in one step.
    virtual_stages : int
        Model chunks a pipeline rank holds.
    zero_stage : int
        What is sharded over dp: 1 optimizer, 2 + gradients, 3 + parameters (Rajbhandari 2020).
    layers_per_chunk : tuple of tuple of int
        ``[stage][chunk]``: transformer layers of each model chunk.
    overlap_tensor : bool
        Tensor-parallel collectives of the backward pass run beside the weight gradient.
    bucket_bytes : float
        Gradients are reduced when this much is ready; 0 = one bucket at the end.
    """

    devices: int
    tp: int = 1
    pp: int = 1
    cp: int = 1
    dp: int = 1
    micro_size: int = 1
    microbatches: int = 1
    schedule: str = "1f1b"
    virtual_stages: int = 1
    zero_stage: int = 0
    sequence_parallel: bool = False
    recompute: str = "none"
    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False
    overlap_p2p: bool = False
    overlap_tensor: bool = False
    scatter_gather_p2p: bool = True
    bucket_bytes: float = 0.0
    prefetch_layers: int = 1
    layers_per_chunk: tuple[tuple[int, ...], ...] = ((1,),)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, derived ones included."""
        return {
            name: getattr(self, name) for name in self.__slots__ if name != "layers_per_chunk"
        } | {"layers_per_chunk": [list(stage) for stage in self.layers_per_chunk]}


def resolve_mesh(devices: int, tp: int, pp: int, cp: int, dp: int | None) -> int:
    """Return dp, or say why the plan does not multiply out.

    Raises
    ------
    PlanError
        DS301, with the whole equation and its values.
    """
    model = tp * pp * cp
    derived, rest = divmod(devices, model)
    if rest or derived == 0:
        raise PlanError(
            "DS301",
            f"tp({tp}) * pp({pp}) * cp({cp}) = {model} does not divide devices({devices})",
            path=("plan",),
            value=model,
            rule="devices = dp * tp * pp * cp with whole numbers",
            fix=f"use a multiple of {model} devices, for example "
            f"{model * max(1, round(devices / model))}, or a smaller tp, pp or cp",
        )
    if dp is not None and dp != derived:
        raise PlanError(
            "DS302",
            f"dp({dp}) * tp({tp}) * pp({pp}) * cp({cp}) = {dp * model}, but devices = {devices}",
            path=("plan", "dp"),
            value=dp,
            rule="devices = dp * tp * pp * cp",
            fix=f"leave dp out (it is derived: {derived}) or set devices to {dp * model}",
        )
    return derived


def resolve_microbatches(global_size: int, micro_size: int, dp: int) -> int:
    """Return micro batches a replica, or say why the batch does not divide.

    Raises
    ------
    PlanError
        DS303.
    """
    each = micro_size * dp
    count, rest = divmod(global_size, each)
    if rest or count == 0:
        near = max(1, round(global_size / each)) * each
        raise PlanError(
            "DS303",
            f"global_size({global_size}) is not a multiple of "
            f"micro_size({micro_size}) * dp({dp}) = {each}",
            path=("batch", "global_size"),
            value=global_size,
            rule="global_size = microbatches * micro_size * dp with a whole number >= 1",
            fix=f"use global_size {near}, or another micro_size",
        )
    return count


def divide_layers(
    layers: int,
    pp: int,
    virtual_stages: int,
    explicit: tuple[int, ...] | None = None,
    first: int | None = None,
    last: int | None = None,
) -> tuple[tuple[int, ...], ...]:
    """Return transformer layers of each ``[stage][chunk]``.

    Even by default. `explicit` lists layers of each stage (or of each model chunk in model order:
    chunk 0 of every stage, then chunk 1). `first` and `last` set the layers of the first and the
    last stage, as Megatron-LM's options for uneven pipelines do, and the rest is divided evenly.

    Raises
    ------
    PlanError
        DS304 where the counts do not come out whole, DS305 where they do not sum up.
    """
    if explicit is not None:
        return _explicit_layers(layers, pp, virtual_stages, explicit)
    if first is not None or last is not None:
        return _uneven_ends(layers, pp, virtual_stages, first, last)
    each, rest = divmod(layers, pp * virtual_stages)
    if rest or each == 0:
        raise PlanError(
            "DS304",
            f"{layers} layers do not divide into pp({pp}) * virtual_stages({virtual_stages}) = "
            f"{pp * virtual_stages} chunks",
            path=("plan", "virtual_stages" if virtual_stages > 1 else "pp"),
            value=pp * virtual_stages,
            rule="every model chunk has the same whole number of layers, unless layers_per_stage, "
            "first_stage_layers or last_stage_layers says otherwise",
            fix=f"choose pp * virtual_stages among the divisors of {layers}, "
            "or set layers_per_stage",
        )
    return ((each,) * virtual_stages,) * pp


def _explicit_layers(
    layers: int, pp: int, virtual_stages: int, counts: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    chunks = pp * virtual_stages
    if len(counts) not in (pp, chunks) or sum(counts) != layers or min(counts) < 0:
        raise PlanError(
            "DS305",
            f"layers_per_stage has {len(counts)} entries that sum to {sum(counts)}",
            path=("plan", "layers_per_stage"),
            value=list(counts),
            rule=f"one count >= 0 for each of {pp} stages"
            + (f" or {chunks} model chunks" if virtual_stages > 1 else "")
            + f", summing to the model's {layers} layers",
            fix="change the counts",
        )
    if len(counts) == chunks:
        return tuple(tuple(counts[v * pp + s] for v in range(virtual_stages)) for s in range(pp))
    return tuple(tuple(split) for split in (_even(c, virtual_stages) for c in counts))


def _even(count: int, parts: int) -> list[int]:
    each, rest = divmod(count, parts)
    if rest:
        raise PlanError(
            "DS304",
            f"{count} layers of a stage do not divide into {parts} virtual stages",
            path=("plan", "layers_per_stage"),
            value=count,
            rule="layers of a stage divide by virtual_stages",
            fix="list one count for each model chunk instead",
        )
    return [each] * parts


def _uneven_ends(
    layers: int, pp: int, virtual_stages: int, first: int | None, last: int | None
) -> tuple[tuple[int, ...], ...]:
    middle = pp - (first is not None) - (last is not None)
    rest = layers - (first or 0) - (last or 0)
    if pp < 2 or rest < 0 or (middle == 0) != (rest == 0) or (middle and rest % middle):
        raise PlanError(
            "DS304",
            f"first_stage_layers={first}, last_stage_layers={last} "
            f"leave {rest} layers for {middle} stages",
            path=("plan", "first_stage_layers" if first is not None else "last_stage_layers"),
            value=first if first is not None else last,
            rule="the stages between share the remaining layers evenly (pp >= 2)",
            fix=f"choose counts so that the rest of {layers} divides by {max(middle, 1)}",
        )
    each = rest // middle if middle else 0
    counts = [each] * pp
    if first is not None:
        counts[0] = first
    if last is not None:
        counts[-1] = last
    return tuple(tuple(_even(c, virtual_stages)) for c in counts)


def check_divisions(
    plan: Plan, *, heads: int, kv_heads: int, ffn: int, sequence_length: int
) -> None:
    """Refuse a plan whose tensor parallelism does not divide the model.

    Raises
    ------
    PlanError
        DS306 heads, key/value heads or feed-forward; DS307 sequence parallelism; DS308 strategies
        that are not modelled together.
    """
    for what, count in (("heads", heads), ("kv_heads", kv_heads), ("ffn", ffn)):
        if count % plan.tp:
            divisors = [d for d in range(1, count + 1) if count % d == 0 and d <= 64]
            raise PlanError(
                "DS306",
                f"tp({plan.tp}) does not divide {what}({count})",
                path=("plan", "tp"),
                value=plan.tp,
                rule=f"{what} % tp == 0: each rank holds whole {what}",
                fix=f"use tp in {divisors}",
            )
    if plan.sequence_parallel and plan.tp == 1:
        raise PlanError(
            "DS307",
            "sequence_parallel needs tp > 1",
            path=("plan", "sequence_parallel"),
            value=True,
            rule="sequence parallelism divides tokens over the tensor-parallel group",
            fix="set tp > 1 or sequence_parallel: false",
        )
    if plan.sequence_parallel and sequence_length % plan.tp:
        raise PlanError(
            "DS307",
            f"tp({plan.tp}) does not divide sequence_length({sequence_length})",
            path=("batch", "sequence_length"),
            value=sequence_length,
            rule="sequence_length % tp == 0 with sequence_parallel",
            fix="change tp or sequence_length",
        )
    if plan.cp > 1:
        raise PlanError(
            "DS308",
            f"cp({plan.cp}): context parallelism is not modelled yet",
            path=("plan", "cp"),
            value=plan.cp,
            rule="cp = 1 in this version",
            fix="set cp: 1",
        )


def with_layers(plan: Plan, layers_per_chunk: tuple[tuple[int, ...], ...]) -> Plan:
    """Return `plan` with another division of layers."""
    return replace(plan, layers_per_chunk=layers_per_chunk)
