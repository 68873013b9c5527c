"""Bytes an element that elementwise operators move one by one, where no kernel joins them.

Each operator reads its arrays and writes its result; numbers a row or a feature are left out.
Counted from the operators that PyTorch 2.6 runs for ``nn.RMSNorm`` (which had no kernel of its own
before 2.9), for rotary positions as complex numbers in fp32, and for ``silu(gate) * up``, as
Llama's model code has them (torchtitan 0.1.0, models/llama3/model/model.py).
"""

from __future__ import annotations

Bytes = tuple[float, ...]


def rms_norm(e: float) -> tuple[Bytes, Bytes, Bytes]:
    """Return passes of the output, of the input gradient and of the gradient of the scale.

    Forward: cast, square, mean, product with the inverse root, cast back, product with the scale.
    Backward: product with the scale, cast; products with the inverse root and with the input, sum
    of the latter over a row; twice the input, times the gradient of its square; their sum; cast.
    The scale: product with the normalized input, sum over rows.
    """
    forward = (e + 4, 8.0, 4.0, 8.0, 4 + e, 2 * e)
    data = (2 * e, e + 4, 8.0, 12.0, 4.0, 8.0, 8.0, 12.0, 4 + e)
    return forward, data, (3 * e, e)


def rms_norm_kept(e: float) -> float:
    """Return bytes an element that its gradient needs: the input in fp32, the normalized one."""
    return 4.0 + e


def rotary(e: float) -> Bytes:
    """Return passes of one way: cast to fp32, complex product, cast back."""
    return (e + 4, 8.0, 4 + e)


def gated(e: float) -> tuple[Bytes, Bytes]:
    """Return passes forward (function, product) and backward (two products, function)."""
    return (2 * e, 3 * e), (3 * e, 3 * e, 3 * e)


def log_softmax(e: float) -> tuple[Bytes, Bytes, float]:
    """Return passes of the loss forward and backward, and bytes a logit at their peak.

    Forward: cast to fp32, log-softmax. Backward: gradient of the picked ones, of log-softmax, cast.
    With the latter the result, its gradient and that of the logits are there, all in fp32.
    """
    return (e + 4, 8.0), (4.0, 12.0, 4 + e), 12.0
