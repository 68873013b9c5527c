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
    _check_division("DS320", "ep", ep, "experts", spec.experts, "as many experts")
    _check_ranks(tp, cp, dp, ep, etp)
    part = "as many features of an expert"
    _check_division("DS322", "etp", etp, "expert_ffn", spec.expert_ffn, part)
    part = "as many features of the shared experts"
    _check_division("DS306", "tp", tp, "shared_ffn", spec.shared_ffn, part)
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


def _check_division(code: str, name: str, degree: int, what: str, count: int, part: str) -> None:
    if count % degree:
        raise PlanError(
            code,
            f"{name}({degree}) does not divide {what}({count})",
            path=("plan", name),
            value=degree,
            rule=f"{what} % {name} == 0: each rank holds {part}",
            fix=f"use {name} in {_divisors(count)}",
        )


def _check_ranks(tp: int, cp: int, dp: int, ep: int, etp: int) -> None:
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
