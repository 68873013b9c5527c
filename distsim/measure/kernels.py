"""The operators themselves: operands in memory, and a call that runs one of them.

Each maker returns a call for one set of operands; `prepare` makes several sets, which take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distsim.measure.cases import Case
from distsim.measure.timing import Call

#: Random numbers that all operands are filled from, again and again: drawing them would take
#: longer than the timing. Not zeros, for the power of a GPU, and with it its clock, depends on the
#: bits that change.
_POOL = 1 << 20
_STRIDE = 7919


class Operands:
    """Tensors of one device, filled with normal random numbers."""

    def __init__(self, torch: Any, device: Any) -> None:
        self.torch = torch
        self.device = device
        self.dtypes = {
            "bf16": torch.bfloat16,
            "fp16": torch.float16,
            "fp32": torch.float32,
            "tf32": torch.float32,
            "fp8": getattr(torch, "float8_e4m3fn", None),
        }
        self._pool: Any = None
        self._first = 0

    def random(self, *shape: int, dtype: str) -> Any:
        """Return a tensor of normal random numbers; two of them begin at different ones."""
        if self._pool is None:
            generator = self.torch.Generator().manual_seed(0)
            drawn = self.torch.randn(_POOL, generator=generator).to(self.device)
            self._pool = self.torch.cat([drawn, drawn])
        out = self.empty(*shape, dtype=dtype)
        flat = out.view(-1)
        for begin in range(0, flat.numel(), _POOL):
            part = flat[begin : begin + _POOL]
            part.copy_(self._pool[self._first : self._first + part.numel()])
        self._first = (self._first + _STRIDE) % _POOL
        return out

    def empty(self, *shape: int, dtype: str) -> Any:
        """Return a tensor without values."""
        return self.torch.empty(*shape, dtype=self.dtypes[dtype], device=self.device)


@contextmanager
def prepare(operands: Operands, case: Case, sets: int) -> Iterator[Call]:
    """Return a context with a call that takes the next of some sets of operands each time.

    Whatever PyTorch raises for operands or operators that it does not have passes through.
    """
    torch = operands.torch
    with _switches(torch, case), torch.no_grad():
        calls = [_MAKERS[case.kind](operands, case) for _ in range(sets)]
        if len(calls) == 1:
            only = calls[0]
            yield lambda number: only()
        else:
            yield lambda number: calls[number % sets]()


@contextmanager
def _switches(torch: Any, case: Case) -> Iterator[None]:
    """Set what decides between kernels: precision of 32 bit products, and which attention."""
    cuda, precision = torch.backends.cuda, torch.get_float32_matmul_precision()
    names = ("flash_sdp", "math_sdp", "mem_efficient_sdp", "cudnn_sdp")
    before = {name: getattr(cuda, f"{name}_enabled")() for name in names}
    fused = bool(case.shape.get("fused"))
    kernel = f"{case.shape.get('kernel', 'flash')}_sdp" if fused else "math_sdp"
    try:
        torch.set_float32_matmul_precision(
            "high" if case.shape.get("dtype") == "tf32" else "highest"
        )
        if case.kind == "attention":
            for name in names:
                getattr(cuda, f"enable_{name}")(name == kernel)
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for name, on in before.items():
            getattr(cuda, f"enable_{name}")(on)


def _gemm(operands: Operands, case: Case) -> Callable[[], object]:
    torch, shape = operands.torch, case.shape
    batch, m, n, k, dtype = (shape[key] for key in ("batch", "m", "n", "k", "dtype"))
    leading = () if batch == 1 else (batch,)
    product = torch.mm if batch == 1 else torch.bmm
    if dtype == "fp8":
        return _fp8_gemm(operands, m, n, k)
    if shape["layout"] == "tn":
        a = operands.random(*leading, m, k, dtype=dtype)
        b = operands.random(*leading, n, k, dtype=dtype).mT
    elif shape["layout"] == "nn":
        a = operands.random(*leading, m, k, dtype=dtype)
        b = operands.random(*leading, k, n, dtype=dtype)
    else:
        a = operands.random(*leading, k, m, dtype=dtype).mT
        b = operands.random(*leading, k, n, dtype=dtype)
    out = operands.empty(*leading, m, n, dtype=dtype)
    return lambda: product(a, b, out=out)


def _fp8_gemm(operands: Operands, m: int, n: int, k: int) -> Callable[[], object]:
    """Return a product of e4m3 operands with one scale each and a result in bf16.

    Sums are kept as the matrix units keep them, as Transformer Engine does in forward passes.
    """
    torch = operands.torch
    a = operands.random(m, k, dtype="fp8")
    b = operands.random(n, k, dtype="fp8").mT
    one = torch.ones((), device=operands.device)
    multiply = torch._scaled_mm
    return lambda: multiply(
        a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _attention(operands: Operands, case: Case) -> Callable[[], object]:
    torch, shape = operands.torch, case.shape
    batch, s, d, dtype = (shape[key] for key in ("batch", "sequence", "head_dim", "dtype"))
    heads, kv_heads = shape["heads"], shape["kv_heads"]
    q = operands.random(batch, heads, s, d, dtype=dtype)
    k, v = (operands.random(batch, kv_heads, s, d, dtype=dtype) for _ in range(2))
    options: dict[str, Any] = {"is_causal": shape["causal"]}
    if kv_heads != heads:
        options["enable_gqa"] = True
    attend = torch.nn.functional.scaled_dot_product_attention
    if shape["direction"] == "forward":
        return lambda: attend(q, k, v, **options)
    inputs = tuple(tensor.requires_grad_() for tensor in (q, k, v))
    with torch.enable_grad():
        out = attend(*inputs, **options)
    gradient = operands.random(batch, heads, s, d, dtype=dtype)
    return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)


def _memory(operands: Operands, case: Case) -> Callable[[], object]:
    torch, op, dtype = operands.torch, case.shape["op"], case.shape["dtype"]
    rows, columns = case.extent["rows"], case.extent["columns"]
    functional = torch.nn.functional
    x = operands.random(rows, columns, dtype=dtype)
    if op == "adam":
        return _adam(operands, x)
    if op in ("copy", "add"):
        y = operands.random(rows, columns, dtype=dtype)
        out = operands.empty(rows, columns, dtype=dtype)
        return (lambda: out.copy_(x)) if op == "copy" else (lambda: torch.add(x, y, out=out))
    if op == "swiglu":
        gate, up = x.chunk(2, -1)
        return lambda: functional.silu(gate) * up
    weight = operands.random(columns, dtype=dtype)
    makers: dict[str, Callable[[], object]] = {
        "gelu": lambda: functional.gelu(x),
        "layer_norm": lambda: functional.layer_norm(x, (columns,), weight, weight),
        "rms_norm": lambda: functional.rms_norm(x, (columns,), weight),
        "softmax": lambda: torch.softmax(x, -1),
        "dropout": lambda: torch.native_dropout(x, 0.1, True),
    }
    return makers[op]


def _adam(operands: Operands, weight: Any) -> Callable[[], object]:
    """Return the fused kernel of AdamW, without the optimizer's Python around it."""
    torch = operands.torch
    gradient, mean, square = (operands.random(*weight.shape, dtype="fp32") for _ in range(3))
    square.abs_()
    step = torch.ones((), device=operands.device)
    update = torch._fused_adamw_

    def run() -> None:
        update(
            [weight],
            [gradient],
            [mean],
            [square],
            [],
            [step],
            lr=1e-4,
            beta1=0.9,
            beta2=0.95,
            weight_decay=0.1,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    return run


def _launch(operands: Operands, case: Case) -> Callable[[], object]:
    x = operands.random(1, dtype="fp32")
    return lambda: x.add_(1.0)


def _host(operands: Operands, case: Case) -> Callable[[], object]:
    x, y = operands.random(1, dtype="fp32"), operands.random(1, dtype="fp32")
    return lambda: x + y


_MAKERS: dict[str, Callable[[Operands, Case], Callable[[], object]]] = {
    "gemm": _gemm,
    "attention": _attention,
    "memory": _memory,
    "launch": _launch,
    "host": _host,
}
