"""What a kernel of a real run is for: the kind of work of distsim that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from distsim.study.names import collective_of

COMPUTE, OPTIMIZER, OFFLOAD, UNKNOWN = "compute", "optimizer", "offload", "communication"
#: Kinds of communication, in the order in which exposed time is given to them.
COMMUNICATION = ("tensor", "context", "expert", "pipeline", "data", UNKNOWN)
#: All kinds, in the order in which an instant is given to one of those under way: who computes
#: exposes nothing.
KINDS = (COMPUTE, OPTIMIZER, *COMMUNICATION, OFFLOAD)

#: Words in the description of a process group -> kind, the first that fits: Megatron-LM's
#: ``EXPERT_DATA_PARALLEL_GROUP``, torchtitan's ``mesh_tp``, ``mesh_dp_shard``.
_WORDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"data", "dp", "fsdp", "hsdp", "ddp", "replicate", "shard", "optimizer"}), "data"),
    (frozenset({"expert", "ep", "moe"}), "expert"),
    (frozenset({"context", "cp"}), "context"),
    (frozenset({"tensor", "tp", "etp"}), "tensor"),
    (frozenset({"pipeline", "pp"}), "pipeline"),
)
_SPLIT = re.compile(r"[^a-z]+")
_SPELLINGS = re.compile(r"^_|_base$|_into_tensor|_tensor|_coalesced$|_single")
#: ``ncclDevKernel_AllReduce_Sum_bf16_RING_LL(...)``, ``ncclKernel_SendRecv_...``.
_NCCL = re.compile(r"^nccl(?:Dev)?(?:Kernel)?_?([A-Za-z]+)?")
_OPTIMIZER = re.compile(r"multi_tensor_apply|FusedOptimizer|FusedAdam|multi_tensor_adam", re.ASCII)
#: Axes of a plan by the kind that communicates along them.
_AXES = {"tensor": "tp", "data": "dp", "context": "cp", "expert": "ep"}


def is_nccl(name: str) -> bool:
    """Say whether a kernel communicates."""
    return name.startswith(("ncclDevKernel", "ncclKernel", "ncclDev", "rcclDevKernel"))


def kind_of_kernel(
    name: str, category: str, args: Mapping[str, Any], plan: Mapping[str, Any]
) -> str:
    """Return the kind of a kernel by its name and details.

    Parameters
    ----------
    category : str
        ``kernel``, ``gpu_memcpy``, ``gpu_memset``.
    plan : mapping
        ``tp``, ``dp``, ... of the run, by which groups without a description are told apart; empty
        where nothing is known.
    """
    if category == "gpu_memcpy":
        return COMPUTE if "DtoD" in name or "Device -> Device" in name else OFFLOAD
    if is_nccl(name):
        return _communication(name, args, plan)
    return OPTIMIZER if _OPTIMIZER.search(name) else COMPUTE


def _communication(name: str, args: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    described = str(args.get("Process Group Description", ""))[:200].lower()
    words = frozenset(_SPLIT.split(described))
    for wanted, kind in _WORDS:
        if words & wanted:
            return kind
    said = str(args.get("Collective name", ""))[:100]
    match = _NCCL.match(name)
    collective = collective_of(_SPELLINGS.sub("", said)) if said else None
    if collective is None and match is not None and match[1]:
        collective = collective_of(match[1])
    if collective in ("send", "send_recv") or said in ("send", "recv"):
        return "pipeline"
    size = args.get("Group size")
    fitting = [kind for kind, axis in _AXES.items() if size == plan.get(axis) and size != 1]
    if type(size) is int and len(fitting) == 1:
        return fitting[0]
    return "expert" if collective == "all_to_all" and plan.get("ep", 1) > 1 else UNKNOWN
