"""Whether a plan divides the experts of a model."""

from __future__ import annotations

from distsim.errors import PlanError
from distsim.workload.model import ModelSpec


def check_experts(
    spec: ModelSpec,
    *,
    tp: int,
    cp: int,
    dp: int,
    ep: int,
    etp: int,
    sequence_parallel: bool,
) -> None:
    """Refuse a plan that does not divide the experts of a model.

    Raises
    ------
    PlanError
        DS308 expert parallelism of a dense model; DS306 shared experts and tp; DS320 experts and
        ep; DS321 ranks of a stage and etp * ep; DS322 features of an expert and etp; DS323 tensor
        parallelism without sequence parallelism.
    """
    if not spec.experts:
        _check_dense(spec, ep, etp)
        return
    if spec.experts % ep:
        raise PlanError(
            "DS320",
            f"ep({ep}) does not divide experts({spec.experts})",
            path=("plan", "ep"),
            value=ep,
            rule="experts % ep == 0: each rank holds as many experts",
            fix=f"use ep in {_divisors(spec.experts)}",
        )
    ranks = tp * cp * dp
    if ranks % (etp * ep):
        raise PlanError(
            "DS321",
            f"etp({etp}) * ep({ep}) = {etp * ep} does not divide "
            f"tp({tp}) * cp({cp}) * dp({dp}) = {ranks}",
            path=("plan", "ep" if ep > 1 else "etp"),
            value=etp * ep,
            rule="the ranks of a pipeline stage are tp * cp * dp = etp * ep * edp",
            fix=f"use ep * etp among the divisors of {ranks}, or more devices",
        )
    if spec.expert_ffn % etp:
        raise PlanError(
            "DS322",
            f"etp({etp}) does not divide expert_ffn({spec.expert_ffn})",
            path=("plan", "etp"),
            value=etp,
            rule="expert_ffn % etp == 0: each rank holds as many features of an expert",
            fix=f"use etp in {_divisors(spec.expert_ffn)}",
        )
    if spec.shared_ffn % tp:
        raise PlanError(
            "DS306",
            f"tp({tp}) does not divide shared_ffn({spec.shared_ffn})",
            path=("plan", "tp"),
            value=tp,
            rule="shared_ffn % tp == 0: each rank holds as many features of the shared experts",
            fix=f"use tp in {_divisors(spec.shared_ffn)}",
        )
    if tp > 1 and not sequence_parallel:
        raise PlanError(
            "DS323",
            f"tp({tp}) without sequence_parallel, and {spec.name} has experts",
            path=("plan", "sequence_parallel"),
            value=False,
            rule="tokens are divided over tp before they go to their experts; otherwise each rank "
            "of the tensor-parallel group would send all of them",
            fix="set sequence_parallel: true, or tp: 1",
        )


def _check_dense(spec: ModelSpec, ep: int, etp: int) -> None:
    for name, degree in (("ep", ep), ("etp", etp)):
        if degree > 1:
            raise PlanError(
                "DS308",
                f"{name}({degree}): {spec.name} has no experts",
                path=("plan", name),
                value=degree,
                rule=f"{name} = 1 for a dense model",
                fix=f"set {name}: 1",
            )


def _divisors(count: int) -> list[int]:
    """Return the divisors of a count, those up to 64 if there are many."""
    return [d for d in range(1, min(count, 64) + 1) if count % d == 0]
