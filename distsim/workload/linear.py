"""Linear layers: dense projections of every token, in 16 or 32 bit or in fp8.

In fp8 the three products read operands of one byte an element, and casts come before them: of the
input before the output, of the output gradient before the input gradient. Each writes what
`Fp8.copies` says. For the backward pass the input is kept in fp8, a byte an element.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from distsim.workload.op import Axis, Numerics, Op, Work, gemm, stream
from distsim.workload.optimizers.spec import Matrix
from distsim.workload.precision import Fp8
from distsim.workload.shape import Shape

#: A kernel that turns a largest value into a scale reads one fp32 number and writes one.
SCALE_UPDATE_BYTES = 8.0


def linear(
    name: str,
    axis: Axis,
    shape: Shape,
    inputs: int,
    outputs: int,
    *,
    bias: bool,
    row: bool = False,
    opens: bool = False,
    closes: bool = False,
    bias_pass: bool = False,
    tied: bool = False,
    fp8: bool = True,
    shared_input: bool = False,
    parts: tuple[float, ...] = (),
) -> Op:
    """Dense projection of every token from `inputs` to `outputs` features.

    The backward pass is two products: dX = dY W^T and dW = X^T dY. Between them, where a schedule
    runs them apart, X and dY are kept: 32 s b h bytes for the layers of a GPT at 16 bit
    (Qi 2023, arXiv 2401.10241, table 1).

    Parameters
    ----------
    row : bool
        The input features are divided (a row-parallel layer); otherwise the output features.
    bias_pass : bool
        The bias is added by a kernel of its own, not in the product or by the next operator.
    tied : bool
        The weights belong to another operator (LM head tied to the embedding).
    fp8 : bool
        The products are in fp8 if the numerics have a recipe. False for what stays in 16 bit
        whatever the recipe: LM head, router.
    shared_input : bool
        The operator before keeps the input in 16 bits for its own backward pass (fused attention
        keeps its output). At 16 bit the array is the same one and counts here.
    parts : tuple of float
        See `Op.parts`.
    """
    num, fusion, tokens = shape.numerics, shape.fusion, shape.tokens
    e, g = num.activation_bytes, num.gradient_bytes
    recipe = num.fp8 if fp8 else None
    fused = fusion.weight_gradient_accumulation
    forward = [_product(recipe, tokens, outputs, inputs, "k" if row else "n", e, e)]
    if bias_pass:
        forward.append(stream(2 * e * tokens * outputs))
    data = [_product(recipe, tokens, inputs, outputs, "n" if row else "k", e, e)]
    weight = [
        _product(recipe, inputs, outputs, tokens, "m" if row else "n", e, 2 * g if fused else e)
    ]
    if not fused:  # a pass of its own adds the fresh gradient into the buffer
        weight.append(stream((e + 2 * g) * inputs * outputs))
    if bias:
        # In fp8 the gradient is there in 16 bits only until it is cast.
        (weight if recipe is None else data).append(stream(e * tokens * outputs))
    late = recipe is not None and _cast_late(recipe, shared_input)
    x, dy = float(tokens * inputs), float(tokens * outputs)
    kept, gradient, saved = e * x, e * dy, e * x
    if recipe is not None:
        before, between, after = _casts(recipe, shape, x, dy, row=row, late=late)
        forward, data, weight = [*before, *forward], [*between, *data], [*after, *weight]
        if not recipe.cached_weights:
            forward = [*_weight_cast(recipe, num, float(inputs * outputs)), *forward]
        kept, gradient = (e if late else recipe.element_bytes) * x, recipe.element_bytes * dy
        saved = kept + (e * x if shared_input and not late else 0.0)
    return Op(
        name,
        axis,
        forward=tuple(forward),
        backward_data=tuple(data),
        backward_weight=tuple(weight),
        parameters=0 if tied else inputs * outputs + (outputs if bias and not row else 0),
        replicated_parameters=outputs if bias and row and not tied else 0,
        saved_bytes=(saved if row else 0.0) + _saved_weights(recipe, inputs * outputs),
        saved_token_bytes=0.0 if row else saved,
        opens=opens,
        closes=closes,
        region_elements=float(tokens * (inputs if opens else outputs)) if opens or closes else 0.0,
        weight_bytes=kept if row else gradient,
        weight_token_bytes=gradient if row else kept,
        parts=parts,
    )


def _product(
    recipe: Fp8 | None, m: int, n: int, k: int, split: str, e: float, result: float
) -> Work:
    """Return a product of activations, weights or gradients; the result is never fp8."""
    if recipe is None:
        return gemm(m, n, k, split=split, operand_bytes=e, result_bytes=result)
    work = gemm(m, n, k, split=split, operand_bytes=recipe.element_bytes, result_bytes=result)
    return replace(work, dtype="fp8")


def _cast_late(recipe: Fp8, shared_input: bool) -> bool:
    """Say whether the input is kept in 16 bits and cast a second time for the weight gradient.

    Frameworks do so where attention keeps that array anyway, unless the scale belongs to the
    moment of the first cast (Transformer Engine, ``save_original_input``).
    """
    return shared_input and not recipe.amax_history


def _casts(
    recipe: Fp8, shape: Shape, x: float, dy: float, *, row: bool, late: bool
) -> tuple[list[Work], list[Work], list[Work]]:
    """Return the casts before output, input gradient and weight gradient.

    What is not divided along the axis of the layer is divided with the tokens: the input of a
    column-parallel layer is cast before it is gathered, and so is the gradient of a row-parallel
    layer's output.

    Parameters
    ----------
    x, dy : float
        Elements of the input and of the gradient of the output.
    late : bool
        See `_cast_late`.
    """
    of_input, of_gradient = ("bytes", "tokens") if row else ("tokens", "bytes")
    e = shape.numerics.activation_bytes
    before = cast(recipe, e, x, 1 if late else recipe.copies, of_input)
    between = cast(recipe, e, dy, recipe.copies, of_gradient)
    return before, between, cast(recipe, e, x, 1, of_input) if late else []


def cast(recipe: Fp8, source_bytes: float, elements: float, copies: int, split: str) -> list[Work]:
    """Return the kernels that cast an activation or a gradient to fp8.

    One kernel reads it and writes all copies, with the scales of blocks. Scaling by the tensor's
    own largest value takes two more before it: one reads all, one makes the scale.

    Parameters
    ----------
    source_bytes : float
        Bytes of an element before the cast.
    split : str
        How the array is divided: ``bytes`` along the axis of its operator, ``tokens``.
    """
    return _cast(recipe, source_bytes, recipe.element_bytes, elements, copies, split)


def _cast(
    recipe: Fp8, read: float, written: float, elements: float, copies: int, split: str
) -> list[Work]:
    works = [stream((read + copies * written) * elements)]
    if recipe.amax_pass:
        works = [stream(read * elements), stream(SCALE_UPDATE_BYTES), *works]
    return [replace(w, split=split) for w in works]


def _weight_cast(recipe: Fp8, num: Numerics, elements: float) -> list[Work]:
    written = recipe.weight_element_bytes
    return _cast(recipe, num.weight_bytes, written, elements, recipe.weight_copies, "bytes")


def _saved_weights(recipe: Fp8 | None, elements: int) -> float:
    """Bytes of fp8 weights that stay from a forward pass to its backward pass."""
    if recipe is None or recipe.cached_weights:
        return 0.0
    return recipe.weight_copies * recipe.weight_element_bytes * elements


def weight_casts(
    recipe: Fp8 | None, numerics: Numerics, matrices: Iterable[Matrix]
) -> tuple[Work, ...]:
    """Return the kernels that cast all weights once a step, if they are kept.

    Parameters
    ----------
    matrices : iterable of Matrix
        Weights of a rank after gathering, divided by tensor parallelism; tables stay in 16 bit.
    """
    if recipe is None or not recipe.cached_weights:
        return ()
    works: list[Work] = []
    for matrix in matrices:
        if not matrix.table:
            works += _weight_cast(recipe, numerics, matrix.rows * matrix.columns) * matrix.number
    return tuple(works)


def scale_updates(recipe: Fp8 | None, layers: int) -> tuple[Work, ...]:
    """Return the kernels that make new scales from remembered largest values.

    With delayed scaling, after a forward pass (inputs and weights) and after a backward pass
    (output gradients) of a micro batch, one kernel each for all `layers` linear layers of a model
    chunk; each follows an all-reduce of 4 bytes a tensor over the ranks (Transformer Engine). It
    reads and writes the history of every tensor.
    """
    if recipe is None or not recipe.amax_history:
        return ()
    history = 2 * 4.0 * recipe.amax_history * layers
    return stream(2 * history), stream(history)
