"""What a plan cannot do with a model, and which strategies do not go together.

Each rule is one that a framework has, or that the algorithm needs; its error says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distsim.errors import PlanError
from distsim.parallel.plan import Plan


def check_divisions(
    plan: Plan,
    divisions: Mapping[str, int],
    *,
    sequence_length: int,
    flash_attention: bool = True,
) -> None:
    """Refuse a plan that does not divide the model.

    Parameters
    ----------
    divisions : mapping of str to int
        What tp must divide: heads, kv_heads, ffn.

    Raises
    ------
    PlanError
        DS306 heads, key/value heads or feed-forward; DS307 sequence parallelism; DS309 context
        parallelism; DS308 strategies that do not go together.
    """
    for what, count in divisions.items():
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
    _check_sequence(plan, sequence_length)
    if plan.cp > 1:
        heads, kv_heads = (divisions.get(key, plan.tp * plan.cp) for key in ("heads", "kv_heads"))
        _check_context(plan, heads, kv_heads, sequence_length, flash_attention)
    for error in _refused(plan):
        raise error


def _check_sequence(plan: Plan, sequence_length: int) -> None:
    if plan.sequence_parallel and plan.tp == 1:
        raise PlanError(
            "DS307",
            "sequence_parallel needs tp > 1",
            path=("plan", "sequence_parallel"),
            value=True,
            rule="sequence parallelism divides tokens over the tensor-parallel group",
            fix="set tp > 1 or sequence_parallel: false",
        )
    if plan.sequence_parallel and sequence_length % (plan.tp * plan.cp):
        each = f" * cp({plan.cp})" if plan.cp > 1 else ""
        raise PlanError(
            "DS307",
            f"tp({plan.tp}){each} does not divide sequence_length({sequence_length})",
            path=("batch", "sequence_length"),
            value=sequence_length,
            rule="sequence_length % (tp * cp) == 0 with sequence_parallel",
            fix="change tp or sequence_length",
        )


def _check_context(
    plan: Plan, heads: int, kv_heads: int, sequence_length: int, flash_attention: bool
) -> None:
    parts = 2 * plan.cp if plan.context_balanced and plan.context_mode != "all_to_all" else plan.cp
    if sequence_length % parts:
        raise PlanError(
            "DS309",
            f"sequence_length({sequence_length}) does not divide into {parts} parts",
            path=("plan", "cp"),
            value=plan.cp,
            rule="sequence_length % (2 * cp) == 0: each rank holds an early and a late part"
            if parts > plan.cp
            else "sequence_length % cp == 0: each rank holds a whole number of tokens",
            fix=f"use a sequence_length that is a multiple of {parts}",
        )
    if not flash_attention:
        raise PlanError(
            "DS309",
            f"cp({plan.cp}) needs fused attention, which the stack does not use",
            path=("plan", "cp"),
            value=plan.cp,
            rule="blocks of a divided sequence are joined by the statistics that flash attention "
            "keeps",
            fix="set stack: {fused: {flash_attention: true}}, or cp: 1",
        )
    if plan.context_mode == "all_to_all":
        for what, count in (("heads", heads), ("kv_heads", kv_heads)):
            if count % (plan.tp * plan.cp):
                raise PlanError(
                    "DS309",
                    f"tp({plan.tp}) * cp({plan.cp}) does not divide {what}({count})",
                    path=("plan", "cp"),
                    value=plan.cp,
                    rule=f"{what} % (tp * cp) == 0: the all-to-all deals out whole {what}",
                    fix="use cp_mode: ring, or a smaller cp or tp",
                )


def _refusal(key: str, value: object, message: str, rule: str, fix: str) -> PlanError:
    return PlanError("DS308", message, path=("plan", key), value=value, rule=rule, fix=fix)


def _refused(plan: Plan) -> Iterator[PlanError]:
    """Yield an error for each pair of strategies that do not go together."""
    yield from _refused_tensor(plan)
    if plan.dp_replicas > 1:
        yield from _refused_hybrid(plan)
    yield from _refused_pipeline(plan)


def _refused_tensor(plan: Plan) -> Iterator[PlanError]:
    if plan.async_tensor and not plan.sequence_parallel:
        yield _refusal(
            "async_tensor",
            True,
            "async_tensor without sequence_parallel",
            "only gathers and scatters of tokens can be cut into parts beside their product",
            "set sequence_parallel: true (with tp > 1)",
        )


def _refused_hybrid(plan: Plan) -> Iterator[PlanError]:
    ranks, replicas = plan.dp * plan.cp, plan.dp_replicas
    edp = plan.tp * ranks // (plan.ep * plan.etp) if plan.experts else replicas
    found: list[tuple[bool, str, str, str]] = [
        (
            bool(ranks % replicas),
            f"dp_replicas({replicas}) does not divide dp * cp = {ranks}",
            "dp * cp = dp_replicas * ranks of a shard group",
            f"use a divisor of {ranks}",
        ),
        (
            plan.zero_stage == 0,
            f"dp_replicas({replicas}) with zero_stage 0",
            "without sharding every rank is a replica already",
            "set zero_stage: 1, 2 or 3, or leave dp_replicas out",
        ),
        (
            bool(edp % replicas),
            f"dp_replicas({replicas}) does not divide the {edp} ranks that hold the same experts",
            "tp * cp * dp / (ep * etp) = dp_replicas * ranks of a shard group",
            f"use a divisor of {edp}",
        ),
        (
            bool(ranks // replicas % plan.cp),
            f"dp_replicas({replicas}) leaves shard groups of {ranks // replicas}, which "
            f"cp({plan.cp}) does not divide",
            "the ranks that divide a sequence are in one shard group",
            f"use a divisor of dp({plan.dp})",
        ),
    ]
    for wrong, message, rule, fix in found:
        if wrong:
            yield _refusal("dp_replicas", replicas, message, rule, fix)
    if plan.grad_compression != "none":
        yield _refusal(
            "grad_compression",
            plan.grad_compression,
            f"grad_compression {plan.grad_compression} with dp_replicas({replicas})",
            "a compression exchanges codes over one group; hybrid sharding reduces over two",
            "set precision.grad_communication: bf16 instead, or leave dp_replicas out",
        )


def _refused_pipeline(plan: Plan) -> Iterator[PlanError]:
    with_zero = f"schedule {plan.schedule} with zero_stage {plan.zero_stage}"
    if plan.pipeline.replicas > 1 and plan.zero_stage >= 2:
        yield _refusal(
            "zero_stage",
            plan.zero_stage,
            with_zero,
            "both copies of the model add up their gradients on the last micro batch, so neither "
            "can give parts of them away before",
            "use zero_stage 0 or 1, or another schedule",
        )
    if not plan.pipeline.flush and plan.zero_stage > 0:
        yield _refusal(
            "zero_stage",
            plan.zero_stage,
            with_zero,
            "each stage keeps two versions of whole weights while batches overlap",
            "use zero_stage 0, or a schedule that flushes",
        )
