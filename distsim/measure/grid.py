"""Which shapes are timed: those of transformers, spread over what plans make of them.

A grid is a list in a fixed order; `interleaved` deals it out so that every beginning of it holds
each kind in proportion, and a run that is cut short still covers all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np

from distsim.measure import cases
from distsim.measure.cases import Case

#: Orders of shapes come from this seed, so that two runs measure in the same order.
SEED = 20231
#: Largest product on a processor: about 0.1 s on two cores at 50 GFLOP/s.
_CPU_FLOP = 5e9


def compute_cases(
    device: str, kinds: Sequence[str], dtypes: Sequence[str], *, quick: bool
) -> list[Case]:
    """Return what one process measures by itself, in the order of measuring.

    Parameters
    ----------
    device : {"cuda", "cpu"}
    kinds, dtypes : sequence of str
        Number formats in which a kind does not exist are left out (attention in fp8).
    quick : bool
        A tenth of the shapes.
    """
    found = [cases.launch()] if "launch" in kinds else []
    found += [cases.host()] if "host" in kinds else []
    if "gemm" in kinds:
        shapes = _cpu_gemms if device == "cpu" else _gemms
        found += [case for dtype in dtypes for case in shapes(dtype, quick)]
    if "attention" in kinds:
        attentions = _cpu_attentions if device == "cpu" else _attentions
        found += [c for d in dtypes if d not in ("fp8", "tf32") for c in attentions(d, quick)]
    if "memory" in kinds:
        found += _memory(device, [d for d in dtypes if d not in ("fp8", "tf32")], quick)
    return interleaved(found)


def collective_cases(ranks: int, nodes: int, backend: str, *, quick: bool) -> list[Case]:
    """Return collectives of 1 KiB to 1 GiB (64 MiB over gloo; less if quick)."""
    largest = 30 if backend == "nccl" else 26
    exponents = range(10, largest - 5, 6) if quick else range(10, largest + 1, 2)
    return interleaved(
        [
            cases.collective(op, 1 << exponent, ranks, nodes, backend)
            for op, exponent in product(cases.BUS_FACTORS, exponents)
        ]
    )


def interleaved(found: Iterable[Case]) -> list[Case]:
    """Return cases in a random but fixed order in which every beginning holds all kinds.

    The j-th of the N cases of a kind (of each operator, for those that have several) stands at
    j / N of the way, so that a cut leaves the same share of each.
    """
    groups: dict[str, list[Case]] = {}
    for case in found:
        group = f"{case.kind} {case.shape.get('op', '')}"
        groups.setdefault(group, []).append(case)
    placed: list[tuple[float, int, Case]] = []
    rng = np.random.default_rng(SEED)
    for number, group_cases in enumerate(groups.values()):
        order = rng.permutation(len(group_cases))
        placed += [(j / len(order), number, group_cases[i]) for j, i in enumerate(order)]
    return [case for _, _, case in sorted(placed, key=lambda place: place[:2])]


def _layers(hidden: int, vocabulary: int) -> Iterator[tuple[int, int]]:
    """Yield outputs and inputs of the linear layers of a transformer."""
    gated = -(-8 * hidden // 3 // 256) * 256  # width of a gated MLP with as many weights as 4h
    yield 3 * hidden, hidden  # queries, keys and values in one
    yield hidden, hidden
    yield 4 * hidden, hidden
    yield hidden, 4 * hidden
    yield 2 * gated, hidden
    yield vocabulary, hidden


def _backward(tokens: int, outputs: int, inputs: int, dtype: str) -> Iterator[Case]:
    """Yield the two products of the backward pass of a linear layer."""
    if dtype == "fp8":  # the matrix units take fp8 operands in one layout only
        return
    yield cases.gemm(tokens, inputs, outputs, dtype, "nn")
    yield cases.gemm(outputs, inputs, tokens, dtype, "nt")


def _gemms(dtype: str, quick: bool) -> list[Case]:
    """Return products for a GPU: 128 to 16,384 tokens, hidden sizes from 1,024 to 16,384."""
    if quick:
        return _linear(dtype, (1024, 4096, 8192), (512, 4096), (4096,), only=4096)
    hiddens = (1024, 2048, 4096, 5120, 8192, 12288, 16384)
    found = _linear(dtype, hiddens, (128, 1024, 4096, 16384), (2048, 8192))
    return [*found, *_slices(dtype), *_odd_ones(dtype)]


def _linear(
    dtype: str,
    hiddens: Sequence[int],
    forward: Sequence[int],
    backward: Sequence[int],
    *,
    only: int | None = None,
) -> list[Case]:
    """Return the products of linear layers for some numbers of tokens forward and backward.

    With `only`, the backward pass of that hidden size alone.
    """
    found = []
    for hidden in hiddens:
        for n, k in _layers(hidden, 50304 if hidden < 4096 else 128256):
            found += [cases.gemm(m, n, k, dtype) for m in forward]
            for m in backward if only in (None, hidden) else ():
                found += _backward(m, n, k, dtype)
    return found


def _slices(dtype: str) -> Iterator[Case]:
    """Yield the products of one of eight tensor-parallel ranks."""
    for hidden, tokens in product((8192, 12288, 16384), (2048, 8192)):
        for n, k in (
            (3 * hidden // 8, hidden),
            (hidden, hidden // 8),
            (hidden // 2, hidden),
            (hidden, hidden // 2),
        ):
            yield cases.gemm(tokens, n, k, dtype)
            if tokens == 8192:
                yield from _backward(tokens, n, k, dtype)


def _odd_ones(dtype: str) -> Iterator[Case]:
    """Yield products of few tokens, of sizes that fill no tile, and of many small matrices."""
    for m, hidden in product((16, 32, 64), (4096, 8192)):
        yield cases.gemm(m, hidden, hidden, dtype)
        yield cases.gemm(m, 4 * hidden, hidden, dtype)
    if dtype == "fp8":  # operands of fp8 need multiples of 16, and come one matrix at a time
        return
    for m, (n, k) in product((1000, 4095), ((4096, 4096), (11008, 4096), (6400, 1600))):
        yield cases.gemm(m, n, k, dtype)
    yield cases.gemm(4096, 50257, 1600, dtype)
    for batch, sequence, dim in ((64, 512, 64), (64, 2048, 128), (16, 4096, 128)):
        yield cases.gemm(sequence, sequence, dim, dtype, "tn", batch)  # scores
        yield cases.gemm(sequence, dim, sequence, dtype, "nn", batch)  # scores times values


def _cpu_gemms(dtype: str, quick: bool) -> list[Case]:
    """Return products for a processor, up to `_CPU_FLOP`: the two of an MLP alone if quick."""
    hiddens: tuple[int, ...] = (256, 768) if quick else (256, 1024, 2048)
    found = []
    for hidden in hiddens:
        layers = list(_layers(hidden, 8192))[2:4] if quick else _layers(hidden, 8192)
        for n, k in layers:
            found += [cases.gemm(m, n, k, dtype) for m in ((32, 256) if quick else (16, 128, 1024))]
            found += _backward(256, n, k, dtype) if not quick or n > k else ()
    if not quick:
        found.append(cases.gemm(256, 256, 64, dtype, "tn", 16))
        found.append(cases.gemm(256, 64, 256, dtype, "nn", 16))
    return [case for case in found if case.flop <= _CPU_FLOP]


def _attentions(dtype: str, quick: bool) -> list[Case]:
    """Return attention for a GPU, over 16,384 tokens: (heads, heads of keys, head dimension)."""
    heads = ((32, 32, 128),) if quick else ((16, 16, 64), (32, 32, 128), (32, 8, 128))
    sequences = (2048, 8192) if quick else (512, 1024, 2048, 4096, 8192, 16384)
    found = [
        cases.attention(16384 // s, h, s, d, dtype, kv_heads=kv, causal=causal, direction=direction)
        for s, (h, kv, d), causal, direction in product(
            sequences, heads, (True, False), ("forward", "backward")
        )
    ]
    unfused = (1024,) if quick else (512, 1024, 2048)
    return found + [
        cases.attention(4, 16, s, 64, dtype, direction=direction, fused=False)
        for s, direction in product(unfused, ("forward", "backward"))
    ]


def _cpu_attentions(dtype: str, quick: bool) -> list[Case]:
    """Return attention for a processor, fused and not."""
    sequences, kv_heads = ((256,), (8,)) if quick else ((128, 256, 512), (8, 2))
    ways = [(True, True), (False, True), (True, False)]  # causal, fused
    return [
        cases.attention(
            1, 8, s, 64, dtype, kv_heads=kv, causal=causal, direction=direction, fused=fused
        )
        for s, kv, (causal, fused), direction in product(
            sequences, kv_heads, ways, ("forward", "backward")
        )
    ]


def _memory(device: str, dtypes: Sequence[str], quick: bool) -> list[Case]:
    """Return memory-bound operators; the optimizer keeps 32 bit whatever the step computes in."""
    columns = 1024 if device == "cpu" else 4096
    exponents: Sequence[int]
    if device == "cpu":
        exponents = (20,) if quick else (18, 20, 22)
    else:
        exponents = (26,) if quick else (20, 22, 24, 26, 28)
    pairs = [(op, d) for op in cases.MOVED if op != "adam" for d in dtypes] + [("adam", "fp32")]
    return [
        cases.memory(op, (1 << exponent) // columns, columns, dtype)
        for (op, dtype), exponent in product(pairs, exponents)
    ]
