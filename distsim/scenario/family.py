"""What plans the families beside decoder-only transformers can have."""

from __future__ import annotations

from distsim.errors import PlanError
from distsim.scenario.schema import Plan
from distsim.workload.attention_pattern import SUMMED
from distsim.workload.families import PIPELINED
from distsim.workload.model import ModelSpec
from distsim.workload.network import Model
from distsim.workload.op import Numerics


def check_fp8(numerics: Numerics, model: Model) -> None:
    """Refuse fp8 where no linear layer of a transformer would use it.

    Raises
    ------
    PlanError
        DS308.
    """
    if numerics.fp8 is not None and not model.divisions:
        raise PlanError(
            "DS308",
            f"fp8 with {model.name}, a model of the family {model.family}",
            path=("precision",),
            value=numerics.fp8.name,
            rule="fp8 is for the linear layers of transformers",
            fix="set precision: bf16",
        )


def check_attention(plan: Plan, model: ModelSpec) -> None:
    """Refuse context parallelism of attention that sums over all tokens.

    Raises
    ------
    PlanError
        DS308.
    """
    if plan.cp > 1 and model.attention in SUMMED:
        raise PlanError(
            "DS308",
            f"cp({plan.cp}) with {model.attention} attention",
            path=("plan", "cp"),
            value=plan.cp,
            rule="its sums over all tokens are not exchanged between ranks that divide a sequence",
            fix="set cp: 1, or use another kind of attention",
        )


def check_family(plan: Plan, model: Model) -> None:
    """Refuse strategies that a family has no use for, or that are not modelled for it.

    Raises
    ------
    PlanError
        DS308.
    """
    whole = not model.divisions
    found = [
        ("ep", plan.ep, plan.ep > 1, "it has no experts"),
        ("etp", plan.etp, (plan.etp or 1) > 1, "it has no experts"),
        ("expert_load", "given", plan.expert_load is not None, "it has no experts"),
        ("cp", plan.cp, plan.cp > 1, "only decoder-only transformers divide a sequence"),
        ("tp", plan.tp, plan.tp > 1 and whole, "its operators are not divided"),
        (
            "pp",
            plan.pp,
            plan.pp > 1 and model.family not in PIPELINED,
            "its layers are too different to be dealt out over stages",
        ),
    ]
    for key, value, wrong, why in found:
        if wrong:
            raise PlanError(
                "DS308",
                f"{key}({value}) with {model.name}, a model of the family {model.family}",
                path=("plan", key),
                value=value,
                rule=why,
                fix=f"leave {key} out: data parallelism and zero_stage go with every family",
            )
