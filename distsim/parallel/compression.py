"""Compression of gradients: what is sent in place of them, and what it costs to make it.

A compression turns the gradients of a bucket into something smaller, sends that over the
data-parallel group, and turns what arrives into averaged gradients. What can be summed as it is
(16 bit, low-rank factors) goes by all-reduce. Codes with scales cannot: they are exchanged, summed
by their owners and gathered. Nor can a selection, which differs from rank to rank: all is gathered
everywhere.

Sizes are those of nccl-tests (docs/collectives.md): the gathered whole of an all-gather, what one
rank sends, its own part included, of an all-to-all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from distsim.errors import ValueProblem, nearest
from distsim.parallel.compressions.base import FP32_BYTES, Compression, Exchange
from distsim.parallel.compressions.half import Half
from distsim.parallel.compressions.low_rank import LowRank
from distsim.parallel.compressions.quantized import INT8_BLOCK, Quantized
from distsim.parallel.compressions.top_k import TopK
from distsim.record import record
from distsim.workload.optimizers.spec import Matrix


@record
class Options:
    """What a compression may be told.

    Attributes
    ----------
    reduce_bytes : float
        Bytes of a gradient that is sent as it is.
    density : float
        Share of the gradients that ``topk`` sends, in (0, 1].
    rank : int
        Of ``powersgd``, at least 1.
    matrices : sequence of Matrix
        Weights of a rank that are two-dimensional, for ``powersgd``.
    parameters : float
        All parameters of the rank, vectors included; 0 = those of the matrices.
    """

    reduce_bytes: float = FP32_BYTES
    density: float = 0.001
    rank: int = 4
    matrices: Sequence[Matrix] = ()
    parameters: float = 0.0


_HOOK = "PyTorch, torch.distributed DDP communication hooks"


def _none(options: Options) -> Compression:
    return Compression("none", options.reduce_bytes)


def _fp16(options: Options) -> Compression:
    return Half("fp16", 2.0, source=_HOOK)


def _bf16(options: Options) -> Compression:
    return Half("bf16", 2.0, source=_HOOK)


def _int8(options: Options) -> Compression:
    source = "Alistarh 2017 (arXiv 1610.02132); Dettmers 2022 (arXiv 2110.02861)"
    return Quantized("int8", 1.0 + FP32_BYTES / INT8_BLOCK, "all_to_all", source)


def _top_k(options: Options) -> Compression:
    source = "Lin 2018 (arXiv 1712.01887)"
    return TopK("topk", FP32_BYTES, "all_gather", source, density=options.density)


def _low_rank(options: Options) -> Compression:
    """Return PowerSGD for a model; a bucket holds its matrices in the model's proportions."""
    left = right = own = 0.0
    for m in options.matrices:
        if options.rank * (m.rows + m.columns) < m.rows * m.columns:
            left += options.rank * m.rows * m.number
            right += options.rank * m.columns * m.number
            own += m.elements
    total = options.parameters or sum(m.elements for m in options.matrices) or 1.0
    return LowRank(
        "powersgd",
        source="Vogels 2019 (arXiv 1905.13727), algorithm 1",
        rank=options.rank,
        left=left / total,
        right=right / total,
        whole=max(1.0 - own / total, 0.0),
    )


#: Name -> function of the options.
COMPRESSIONS: Mapping[str, Callable[[Options], Compression]] = {
    "none": _none,
    "fp16": _fp16,
    "bf16": _bf16,
    "int8": _int8,
    "topk": _top_k,
    "powersgd": _low_rank,
}


def compression(
    name: str,
    options: Options = Options(),
    path: tuple[str | int, ...] = ("precision", "compression"),
) -> Compression:
    """Return a compression with its options.

    Parameters
    ----------
    name : str
        A key of `COMPRESSIONS`.
    options : Options
    path : tuple
        Where it is named.

    Raises
    ------
    ValueProblem
        DS248 for a compression that does not exist, DS249 for an option out of its range.
    """
    if name not in COMPRESSIONS:
        near = nearest(name, COMPRESSIONS)
        raise ValueProblem(
            "DS248",
            f"unknown gradient compression {name!r}",
            path=path,
            value=name,
            rule=f"one of {', '.join(COMPRESSIONS)}",
            fix=f"did you mean {near!r}?" if near else "choose one of them, or leave it out",
        )
    if not 0.0 < options.density <= 1.0:
        fix = "write for example 0.001 to send a thousandth"
        raise _out_of_range("density", options.density, "0 < density <= 1", fix, path)
    if options.rank < 1:
        fix = "write for example 2 or 4"
        raise _out_of_range("rank", options.rank, "rank >= 1", fix, path)
    return COMPRESSIONS[name](options)


def _out_of_range(
    key: str, value: float, rule: str, fix: str, path: tuple[str | int, ...]
) -> ValueProblem:
    return ValueProblem(
        "DS249", f"{key} is {value}", path=(*path, key), value=value, rule=rule, fix=fix
    )


__all__ = [
    "COMPRESSIONS",
    "Compression",
    "Exchange",
    "Half",
    "LowRank",
    "Options",
    "Quantized",
    "TopK",
    "compression",
]
