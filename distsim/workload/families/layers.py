"""Operators that several families share: dense layers, activations, dropout, losses.

Nothing here is divided over a tensor-parallel group, so every operator has the axis ``tokens`` and
its parameters are on every rank. An operator keeps for its backward pass what autograd keeps of
its own; an array that two neighbours keep is one array and counts where it goes in.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.workload import eager
from distsim.workload.linear import linear
from distsim.workload.op import Axis, Op, Work, WorkKind, gemm, stream
from distsim.workload.shape import MASK_BYTES, Shape

#: Activations whose gradient follows from their result: tanh' = 1 - y^2, sigmoid' = y (1 - y).
FROM_RESULT = ("relu", "tanh", "sigmoid")
#: Activations whose gradient needs their input.
FROM_INPUT = ("gelu",)
ACTIVATIONS = (*FROM_RESULT, *FROM_INPUT)
LOSSES = ("cross_entropy", "squared_error")


def product(
    m: float, n: float, k: float, *, operand_bytes: float, result_bytes: float | None = None
) -> Work:
    """Return the kernel of a product (m, k) x (k, n); one with a vector is bounded by memory."""
    result = operand_bytes if result_bytes is None else result_bytes
    return of_vectors(gemm(m, n, k, operand_bytes=operand_bytes, result_bytes=result))


def of_vectors(work: Work) -> Work:
    """Return a product with a vector (GEMV) as a stream of its bytes, others as they are.

    It has one or two FLOP for each element read, far below what any device can do beside reading
    it, and libraries have kernels of their own for it that do not pad the vector to a tile.
    """
    if work.kind is not WorkKind.GEMM or work.batch != 1 or min(work.m, work.n) > 1:
        return work
    return replace(stream(work.moved_bytes), flop=work.flop)


def dense(
    name: str,
    shape: Shape,
    rows: int,
    inputs: int,
    outputs: int,
    *,
    bias: bool,
    first: bool = False,
    kept: bool = True,
) -> Op:
    """Dense layer of `rows` rows: three products of 2 rows inputs outputs FLOP.

    Parameters
    ----------
    first : bool
        The input is data: nobody asks for its gradient, and autograd makes none.
    kept : bool
        The input counts as kept here; False where the operator before keeps the same array.
    """
    op = linear(
        name,
        Axis.TOKENS,
        replace(shape, sequences=rows, length=1, context=1, segment_length=0.0),
        inputs,
        outputs,
        bias=bias,
        bias_pass=bias and not shape.fusion.linear_bias_epilogue,
        fp8=False,
    )
    return replace(
        op,
        forward=tuple(of_vectors(w) for w in op.forward),
        backward_data=() if first else tuple(of_vectors(w) for w in op.backward_data),
        backward_weight=tuple(of_vectors(w) for w in op.backward_weight),
        parameters=0,
        replicated_parameters=op.parameters,
        saved_bytes=op.saved_token_bytes if kept else 0.0,
        saved_token_bytes=0.0,
        weight_bytes=op.weight_bytes + op.weight_token_bytes,
        weight_token_bytes=0.0,
    )


def activation(
    name: str, function: str, shape: Shape, elements: float, *, result_kept: bool = True
) -> Op:
    """Return an elementwise activation.

    Parameters
    ----------
    function : str
        One of `ACTIVATIONS`.
    result_kept : bool
        The operator after it keeps the result, which then does not count here.
    """
    e = shape.numerics.activation_bytes
    alone = function in FROM_INPUT or not result_kept
    return Op(
        name,
        Axis.TOKENS,
        (stream(2 * e * elements),),
        (stream(3 * e * elements),),
        saved_bytes=e * elements if alone else 0.0,
    )


def dropout(name: str, shape: Shape, elements: float) -> Op:
    """Return dropout (Srivastava 2014): the mask is written, kept and read again."""
    traffic = (2 * shape.numerics.activation_bytes + MASK_BYTES) * elements
    return Op(
        name, Axis.TOKENS, (stream(traffic),), (stream(traffic),), saved_bytes=MASK_BYTES * elements
    )


def lookup(name: str, shape: Shape, tokens: int, vocab: int, width: int) -> Op:
    """Return the embedding of tokens: rows of a table; its gradient is scattered into a dense one.

    The kernels are those of a transformer's embedding.
    """
    e, elements = shape.numerics.activation_bytes, float(tokens * width)
    table = float(vocab * width)
    return Op(
        name,
        Axis.TOKENS,
        forward=(stream(2 * e * elements),),
        backward_weight=(
            stream(2 * e * elements),
            stream((2 * e + 2 * shape.numerics.gradient_bytes) * table),
        ),
        replicated_parameters=vocab * width,
        table=(float(vocab), float(width)),
    )


def loss_passes(shape: Shape) -> tuple[eager.Bytes, eager.Bytes, float]:
    """Return bytes a logit of the passes of cross entropy both ways, and of what is kept."""
    e = shape.numerics.activation_bytes
    if shape.fusion.cross_entropy:
        return (e + 4, 4.0), (4 + e,), 4.0
    if shape.fusion.log_softmax:
        return eager.log_softmax(e)
    return (e + 4, 4.0, 8.0, 8.0, 4.0, 8.0), (8.0, 8.0, 4 + e), 4.0


def loss(function: str, shape: Shape, rows: int, outputs: int) -> Op:
    """Return softmax and cross entropy, or the squared error.

    Cross entropy works on fp32 logits and keeps them, with the passes of a transformer's head.
    The squared error reads and keeps predictions and targets.
    """
    e, elements = shape.numerics.activation_bytes, float(rows * outputs)
    forward: eager.Bytes = (2 * e,)
    backward: eager.Bytes = (3 * e,)
    saved = 2 * e
    if function == "cross_entropy":
        forward, backward, saved = loss_passes(shape)
    return Op(
        function,
        Axis.TOKENS,
        tuple(stream(p * elements) for p in forward),
        tuple(stream(p * elements) for p in backward),
        saved_bytes=saved * elements,
    )


def gradient_sum(shape: Shape, rows: float, outputs: float) -> tuple[Work, ...]:
    """Return the kernel that sums the gradient of `outputs` biases over `rows` rows."""
    return (stream(shape.numerics.activation_bytes * rows * outputs),)


def weight_gradient(shape: Shape, inputs: float, outputs: float, rows: float) -> tuple[Work, ...]:
    """Return the product X^T dY (inputs, rows) x (rows, outputs), added into the buffer."""
    e, g = shape.numerics.activation_bytes, shape.numerics.gradient_bytes
    fused = shape.fusion.weight_gradient_accumulation
    works = [product(inputs, outputs, rows, operand_bytes=e, result_bytes=2 * g if fused else e)]
    if not fused:  # a pass of its own adds the fresh gradient into the buffer
        works.append(stream((e + 2 * g) * inputs * outputs))
    return tuple(works)
