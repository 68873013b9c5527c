"""Operators of PyTorch as kernels of distsim: GEMMs, attention, and what is bound by memory.

An operator is known by its name and the sizes and types of its inputs, in the order of its schema
(aten/src/ATen/native/native_functions.yaml), as the profiler records them with ``record_shapes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

Dims = list[int]
Shape = dict[str, Any]

#: Types of tensors: name in distsim, and bytes of an element.
TYPES: Mapping[str, tuple[str, int]] = {
    "float": ("fp32", 4),
    "double": ("fp64", 8),
    "c10::Half": ("fp16", 2),
    "half": ("fp16", 2),
    "c10::BFloat16": ("bf16", 2),
    "bfloat16": ("bf16", 2),
    **dict.fromkeys(("c10::Float8_e4m3fn", "c10::Float8_e5m2"), ("fp8", 1)),
    **dict.fromkeys(("c10::Float8_e4m3fnuz", "c10::Float8_e5m2fnuz"), ("fp8", 1)),
    **dict.fromkeys(("bool", "unsigned char", "signed char"), ("int8", 1)),
    "short int": ("int16", 2),
    "int": ("int32", 4),
    "long int": ("int64", 8),
}


#: Types that kernels are timed in.
_DTYPES = ("bf16", "fp16", "fp32", "fp8")


@dataclass(frozen=True, slots=True)
class Op:
    """An operator of a trace.

    Attributes
    ----------
    name : str
    dims : sequence
        Sizes of each input; empty for what is no tensor.
    types : sequence of str
    strides : sequence
        Of each input, where the trace has them.
    values : sequence of str
        Of the inputs that are no tensors ("Concrete Inputs").
    """

    name: str
    dims: Sequence[Any]
    types: Sequence[str]
    strides: Sequence[Any]
    values: Sequence[str]

    def tensor(self, index: int, rank: int) -> Dims | None:
        """Return the sizes of an input of that many dimensions (at least -rank if negative)."""
        dims = self.dims[index] if index < len(self.dims) else None
        if not isinstance(dims, list) or not all(type(n) is int and n > 0 for n in dims):
            return None
        fits = len(dims) == rank if rank > 0 else len(dims) >= -rank
        return dims if fits else None

    def dtype(self, index: int) -> str | None:
        """Return the type of an input."""
        found = TYPES.get(self.types[index]) if index < len(self.types) else None
        return found[0] if found else None


#: Where the two factors of a product stand, and how many dimensions they have.
_GEMMS: Mapping[str, tuple[int, int]] = {
    "aten::mm": (0, 2),
    "aten::addmm": (1, 2),
    "aten::bmm": (0, 3),
    "aten::baddbmm": (1, 3),
    "aten::_scaled_mm": (0, 2),
    "aten::_addmm_activation": (1, 2),
    "aten::linear": (0, -1),
    "aten::matmul": (0, -2),
}


def _gemm(op: Op) -> Shape | None:
    first, rank = _GEMMS[op.name]
    a, b = op.tensor(first, rank), op.tensor(first + 1, -2 if rank < 0 else rank)
    dtype = op.dtype(first)
    if a is None or b is None or dtype is None:
        return None
    k = a[-1]
    if op.name == "aten::linear":
        batch, m, n, inner = 1, prod(a[:-1]), b[0], b[-1]
    elif len(b) == 2:
        batch, m, n, inner = 1, prod(a[:-1]), b[1], b[0]
    elif a[:-2] == b[:-2]:
        batch, m, n, inner = prod(a[:-2]), a[-2], b[-1], b[-2]
    else:
        return None
    if inner != k:
        return None
    shape: Shape = {"batch": batch, "m": m, "n": n, "k": k, "dtype": dtype}
    layout = "tn" if op.name == "aten::linear" else _layout(op, first)
    return shape | ({"layout": layout} if layout else {})


def _layout(op: Op, first: int) -> str | None:
    """Return which factors are transposed, as BLAS names it for arrays stored by columns.

    Of C = A B stored by rows, B is the first factor of BLAS: transposed (t) where its inner
    dimension, the last but one, is contiguous. Of A it is the other way round.
    """
    letters = ""
    for index in (first + 1, first):
        stride = op.strides[index] if index < len(op.strides) else None
        if not isinstance(stride, list) or len(stride) < 2:
            return None
        letters += "t" if stride[-2] == 1 and stride[-1] != 1 else "n"
    return letters if letters in ("tn", "nn", "nt") else None


@dataclass(frozen=True, slots=True)
class _Fused:
    """Where an attention operator has its queries and whether it is causal.

    `heads_first`: arrays are (batch, heads, sequence, head_dim), else (batch, sequence, heads, ..).
    """

    query: int
    causal: int
    heads_first: bool
    direction: str


_ATTENTION: Mapping[str, _Fused] = {
    "aten::_scaled_dot_product_flash_attention": _Fused(0, 4, True, "forward"),
    "aten::_scaled_dot_product_efficient_attention": _Fused(0, 6, True, "forward"),
    "aten::_scaled_dot_product_cudnn_attention": _Fused(0, 6, True, "forward"),
    "aten::_scaled_dot_product_flash_attention_backward": _Fused(1, 11, True, "backward"),
    "aten::_scaled_dot_product_efficient_attention_backward": _Fused(1, 11, True, "backward"),
    "aten::_scaled_dot_product_cudnn_attention_backward": _Fused(1, 14, True, "backward"),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _Fused(0, 4, True, "forward"),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _Fused(1, 7, True, "backward"),
    "aten::_flash_attention_forward": _Fused(0, 8, False, "forward"),
    "aten::_flash_attention_backward": _Fused(1, 11, False, "backward"),
    "aten::_efficient_attention_forward": _Fused(0, 9, False, "forward"),
    "aten::_efficient_attention_backward": _Fused(1, 14, False, "backward"),
    "flash_attn::_flash_attn_forward": _Fused(0, 5, False, "forward"),
    "flash_attn::_flash_attn_backward": _Fused(1, 11, False, "backward"),
}
#: Switches, and kinds of masks of the efficient kernels.
_CAUSAL = {"True": True, "False": False, "1": True, "0": False}


def _attention(op: Op) -> Shape | None:
    where = _ATTENTION[op.name]
    q, k = op.tensor(where.query, 4), op.tensor(where.query + 1, 4)
    causal = _CAUSAL.get(op.values[where.causal]) if where.causal < len(op.values) else None
    dtype = op.dtype(where.query)
    if q is None or k is None or causal is None or dtype is None:
        return None
    heads, length = (1, 2) if where.heads_first else (2, 1)
    if q[length] != k[length] or q[0] != k[0] or q[heads] % k[heads]:
        return None  # cross attention or a cache: no square of a sequence
    return {
        "batch": q[0],
        "heads": q[heads],
        "kv_heads": k[heads],
        "sequence": q[length],
        "head_dim": q[3],
        "causal": causal,
        "direction": where.direction,
        "dtype": dtype,
        "fused": True,
    }


@dataclass(frozen=True, slots=True)
class _Moved:
    """Name in distsim, arrays of the size of the largest input that are written, extra bytes each.

    Inputs are read once; where `written` is 0 the output is among them.
    """

    name: str
    written: int = 1
    extra_bytes: int = 0


def _both(name: str, moved: _Moved) -> dict[str, _Moved]:
    return {f"aten::{name}": moved, f"aten::{name}_": moved}


_MEMORY: Mapping[str, _Moved] = {
    "aten::copy_": _Moved("copy", 0),
    "aten::fill_": _Moved("fill", 0),
    "aten::zero_": _Moved("fill", 0),
    **_both("add", _Moved("add")),
    **_both("sub", _Moved("add")),
    **_both("mul", _Moved("mul")),
    **_both("div", _Moved("mul")),
    **_both("silu", _Moved("silu")),
    **_both("sigmoid", _Moved("sigmoid")),
    "aten::gelu": _Moved("gelu"),
    "aten::gelu_backward": _Moved("gelu_backward"),
    "aten::silu_backward": _Moved("silu_backward"),
    "aten::native_layer_norm": _Moved("layer_norm"),
    "aten::native_layer_norm_backward": _Moved("layer_norm_backward"),
    "aten::_fused_rms_norm": _Moved("rms_norm"),
    "aten::_softmax": _Moved("softmax"),
    "aten::_softmax_backward_data": _Moved("softmax_backward"),
    "aten::native_dropout": _Moved("dropout", 1, 1),
    "aten::native_dropout_backward": _Moved("dropout_backward"),
}


def _memory(op: Op) -> Shape | None:
    """Return the bytes that an operator moves: each input read once, each output written once."""
    moved = _MEMORY[op.name]
    total, largest, bytes_each = 0, 0, 0
    for index, dims in enumerate(op.dims):
        found = TYPES.get(op.types[index]) if index < len(op.types) else None
        if found is None or not isinstance(dims, list) or not dims:
            continue
        if not all(type(n) is int and n >= 0 for n in dims):
            return None
        count = prod(dims)
        total += count * found[1]
        if count > largest:
            largest, bytes_each = count, found[1]
    if not largest or op.dtype(0) is None:
        return None
    total += largest * (moved.written * bytes_each + moved.extra_bytes)
    return {"op": moved.name, "moved_bytes": total, "dtype": op.dtype(0)}


#: Kinds of kernels, the operators of each, and what reads their shapes.
_READERS: Sequence[tuple[str, Mapping[str, object], Callable[[Op], Shape | None]]] = (
    ("gemm", _GEMMS, _gemm),
    ("attention", _ATTENTION, _attention),
    ("memory", _MEMORY, _memory),
)


def kernel(op: Op, on_device: Sequence[str]) -> tuple[str, Shape] | None:
    """Return kind and shape of an operator; None for one that is not known, or not known enough.

    Parameters
    ----------
    on_device : sequence of str
        Names of its kernels.
    """
    for kind, known, read in _READERS:
        if op.name in known:
            shape = read(op)
            if shape is None or shape["dtype"] not in _DTYPES:
                return None
            if shape["dtype"] == "fp32" and any("tf32" in name.lower() for name in on_device):
                shape["dtype"] = "tf32"
            return kind, shape
    return None


def is_leaf(name: str) -> bool:
    """Say whether an operator is read, and calls no other that is read: for traces of a CPU."""
    known = any(name in operators for _, operators, _ in _READERS)
    return known and name not in ("aten::linear", "aten::matmul")
