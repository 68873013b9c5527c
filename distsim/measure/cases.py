"""What is timed: one operator of one shape, with the work that it does.

Shapes are written as in the file of timings, so that a case and its timing say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("gemm", "attention", "memory", "launch", "host", "collective")
#: Bytes of an element by number format; tf32 is kept in 32 bits.
ELEMENT_BYTES: Mapping[str, int] = {"bf16": 2, "fp16": 2, "tf32": 4, "fp32": 4, "fp8": 1}
#: How the operands of a product lie: forward, gradient of the input, gradient of the weight.
LAYOUTS = ("tn", "nn", "nt")


@dataclass(frozen=True, slots=True)
class Case:
    """One operator of one shape.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    shape : Mapping[str, Any]
        The keys of the kind in a file of timings (docs/measure.md).
    flop : float
        Floating-point operations of one call; 0 where memory or links limit it.
    footprint_bytes : int
        Memory that one set of operands and results takes.
    extent : Mapping[str, int]
        What the operator needs to know beyond `shape`: rows and columns of a memory-bound one.
    """

    kind: str
    shape: Mapping[str, Any]
    flop: float = 0.0
    footprint_bytes: int = 0
    extent: Mapping[str, int] = field(default_factory=dict)


def gemm(m: int, n: int, k: int, dtype: str, layout: str = "tn", batch: int = 1) -> Case:
    """Return a product with a result of m x n and an inner dimension k: 2 m n k FLOP.

    Parameters
    ----------
    m, n, k : int
    dtype : str
    layout : {"tn", "nn", "nt"}
        How the rows lie in memory. ``tn``: (m, k) and (n, k), the forward pass of a linear layer
        with m tokens, n outputs and k inputs. ``nn``: (m, k) and (k, n), the gradient of its input.
        ``nt``: (k, m) and (k, n), the gradient of its weight, where k counts tokens.
    batch : int, optional
        Independent products of this shape.
    """
    shape = {"batch": batch, "m": m, "n": n, "k": k, "dtype": dtype, "layout": layout}
    operands = batch * (m * k + k * n) * ELEMENT_BYTES[dtype]
    result = batch * m * n * max(ELEMENT_BYTES[dtype], 2)  # products of fp8 are written as bf16
    return Case("gemm", shape, 2.0 * batch * m * n * k, operands + result)


def attention(
    batch: int,
    heads: int,
    sequence: int,
    head_dim: int,
    dtype: str,
    *,
    kv_heads: int | None = None,
    causal: bool = True,
    direction: str = "forward",
    fused: bool = True,
    kernel: str = "",
) -> Case:
    """Return scaled dot-product attention.

    `kernel` names a fused kernel that is not PyTorch's flash kernel: ``cudnn``.

    FLOP are counted as Dao 2023 (arXiv 2307.08691, section 4.1) counts them: 4 s^2 d for each head,
    half of it with a causal mask, and 2.5 times as many backward because the scores are computed
    again. Unfused, nothing is left out under the mask and the scores are kept, so the backward pass
    is four products: twice the forward pass.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    shape = {
        "batch": batch,
        "heads": heads,
        "kv_heads": kv_heads,
        "sequence": sequence,
        "head_dim": head_dim,
        "causal": causal,
        "direction": direction,
        "dtype": dtype,
        "fused": fused,
    }
    if kernel:
        shape["kernel"] = kernel
    forward = 4.0 * batch * heads * sequence**2 * head_dim * (0.5 if causal and fused else 1.0)
    backward = 2.5 if fused else 2.0
    element = ELEMENT_BYTES[dtype]
    operands = 2 * batch * sequence * head_dim * (heads + kv_heads) * element
    # Queries, keys, values and result, twice for their gradients; unfused, about four arrays of
    # scores beside them, of which the softmax of 16 bit ones may be in 32.
    scores = 0 if fused else 4 * batch * heads * sequence**2 * max(element, 4)
    footprint = operands * (2 if direction == "backward" else 1) + scores
    return Case(
        "attention", shape, forward * (backward if direction == "backward" else 1.0), footprint
    )


#: Memory-bound operators: elements read and written for each element of the input, in the number
#: format of the case, and bytes beside them. PyTorch runs one kernel for each of them but swiglu,
#: whose two elementwise kernels read 3 and write 2 elements for each of its result (half an input).
MOVED: Mapping[str, tuple[float, float]] = {
    "copy": (2, 0),
    "add": (3, 0),
    "gelu": (2, 0),
    "swiglu": (2.5, 0),
    "layer_norm": (2, 0),
    "rms_norm": (2, 0),
    "softmax": (2, 0),
    "dropout": (2, 1),  # and a mask of one byte an element
    "adam": (7, 0),  # weight, two moments: read and written; gradient: read; all in 32 bit
}


def memory(op: str, rows: int, columns: int, dtype: str) -> Case:
    """Return a memory-bound operator over rows x columns elements.

    ``moved_bytes`` is what the operator has to read and write, once each; weights of norms are left
    out as too small.
    """
    elements, (passes, beside) = rows * columns, MOVED[op]
    moved = round(elements * (passes * ELEMENT_BYTES[dtype] + beside))
    shape = {"op": op, "moved_bytes": moved, "dtype": dtype}
    return Case("memory", shape, 0.0, moved, {"rows": rows, "columns": columns})


def launch() -> Case:
    """Return a tiny kernel that depends on the one before it: the gap that each costs."""
    return Case("launch", {"op": "empty_kernel"})


def host() -> Case:
    """Return a tiny operator that is only issued: what the host needs for it."""
    return Case("host", {"op": "dispatch"})


#: Bus bandwidth over algorithm bandwidth for n ranks, as nccl-tests defines it (PERFORMANCE.md).
BUS_FACTORS: Mapping[str, tuple[float, bool]] = {
    "all_reduce": (2.0, True),
    "all_gather": (1.0, True),
    "reduce_scatter": (1.0, True),
    "broadcast": (1.0, False),
    "alltoall": (1.0, True),
    "sendrecv": (1.0, False),
}


def bus_factor(op: str, ranks: int) -> float:
    """Return bus bandwidth over size / time: 2 (n-1)/n of an all-reduce, and so on."""
    factor, shared = BUS_FACTORS[op]
    return factor * (ranks - 1) / ranks if shared else factor


def collective(
    op: str, size_bytes: int, ranks: int, nodes: int, backend: str, dtype: str = "fp32"
) -> Case:
    """Return a collective.

    Parameters
    ----------
    op : str
        One of `BUS_FACTORS`.
    size_bytes : int
        As nccl-tests counts it: the whole received array of an all-gather, the whole sent one of a
        reduce-scatter, the array of a rank of an all-to-all. Rounded down to what the ranks can
        share equally.
    ranks, nodes : int
    backend : str
    dtype : str, optional
    """
    unit = ELEMENT_BYTES[dtype] * ranks
    size = max(size_bytes // unit, 1) * unit
    shape = {
        "op": op,
        "size_bytes": size,
        "ranks": ranks,
        "nodes": nodes,
        "dtype": dtype,
        "backend": backend,
    }
    return Case("collective", shape, 0.0, size if op in ("all_reduce", "broadcast") else 2 * size)
