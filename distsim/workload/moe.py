"""The feed-forward block of a mixture of experts as operators.

A router chooses `experts_per_token` of the experts for each token (Shazeer 2017, arXiv 1701.06538).
Tokens are copied into the order of their experts (permute), exchanged with the ranks that hold
these (dispatch), run through all experts of a rank in grouped products, brought back (combine) and
summed up (unpermute). Shared experts see every token, and are a feed-forward block as any other.

Kernels and what is kept follow Megatron-Core: scores of the router in fp32; the weight of an expert
is applied in its activation, so that what comes back need not be kept for the gradient of the
weight. Without a capacity nothing is dropped or padded (Gale 2022, MegaBlocks, arXiv 2211.15841);
with one every expert works on as many rows as fit (Fedus 2021, arXiv 2101.03961, equation 3).

The split of a product along `Axis.EXPERTS` says how tensor parallelism divides one expert; experts
themselves are dealt out along ``batch``. A stream over rows is split by ``bytes`` where it has the
features that are divided and by ``tokens`` where it has all of them; one over weights by ``batch``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distsim.record import record
from distsim.workload.activation import activation
from distsim.workload.linear import cast, linear
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape

#: Scores of the router are fp32; the map of chosen experts has a byte an expert; each choice has a
#: 64-bit index and an fp32 weight.
SCORE_BYTES, MAP_BYTES, CHOICE_BYTES = 4, 1, 12
#: A permutation keeps a 32-bit place for each row.
PLACE_BYTES = 4


def _bias_bytes(e: float) -> tuple[float, ...]:
    """Bytes an element of the passes that add a weighted bias: product, sum, join, cast.

    Megatron-Core (0.15 and 0.16, `TEGroupedMLP._apply_bias`): rows of each expert plus its bias
    times their probabilities, which are fp32, so that the sums are, too, until all are joined.
    """
    return (4.0, e + 8.0, 8.0, 4.0 + e)


def _bias_gradient_bytes(e: float) -> tuple[float, ...]:
    """Bytes an element of their gradients: casts, join, bias and probabilities (product, sum)."""
    return (e + 4.0, 4.0 + e, 2.0 * e, 8.0, 4.0, 8.0, 4.0)


def rows(spec: ModelSpec, shape: Shape) -> float:
    """Rows that all experts work on: each token once for each of its experts, or what fits."""
    factor = 1.0 if spec.capacity_factor is None else spec.capacity_factor
    return shape.tokens * spec.experts_per_token * factor


def router(spec: ModelSpec, shape: Shape) -> Op:
    """Logits, softmax, the choice of the best, and scores and map of the chosen experts.

    It keeps the input of the block, unless shared experts take it too and count it.
    """
    num, tokens, h, n = shape.numerics, shape.tokens, spec.hidden, spec.experts
    e, scores = num.activation_bytes, float(shape.tokens * spec.experts)
    choices = float(tokens * spec.experts_per_token)
    taken = e * tokens * h
    products = {"operand_bytes": e, "result_bytes": e}
    return Op(
        "router",
        Axis.TOKENS,
        forward=(
            gemm(tokens, n, h, split="m", **products),
            stream((e + SCORE_BYTES) * scores),
            stream(SCORE_BYTES * scores + CHOICE_BYTES * choices),
            stream((SCORE_BYTES + MAP_BYTES) * scores),
        ),
        backward_data=(
            stream(SCORE_BYTES * scores + CHOICE_BYTES * choices),
            stream((2 * SCORE_BYTES + e) * scores),
            gemm(tokens, h, n, split="m", **products),
            # The gradient that comes back through the experts is added.
            stream(3 * e * tokens * h),
        ),
        backward_weight=(
            # Written, read again and added into the buffer.
            gemm(
                h,
                n,
                tokens,
                split="k",
                operand_bytes=e,
                result_bytes=2 * e + 2 * num.gradient_bytes,
            ),
        ),
        replicated_parameters=(h + spec.router_bias) * n,
        saved_bytes=(SCORE_BYTES + MAP_BYTES) * scores + CHOICE_BYTES * choices,
        saved_token_bytes=0.0 if spec.shared_experts else taken,
        weight_bytes=e * scores + (0.0 if spec.shared_experts and not num.fp8 else taken),
    )


def permutation(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """Copy tokens to the rows of their experts, or sum up their rows: one pass each way."""
    moved = shape.numerics.activation_bytes * spec.hidden * (shape.tokens + rows(spec, shape))
    places = PLACE_BYTES * shape.tokens * spec.experts_per_token
    return Op(
        name,
        Axis.TOKENS,
        forward=(stream(moved),),
        backward_data=(stream(moved),),
        saved_bytes=float(places) if name == "permute" else 0.0,
    )


def exchange(kind: str, spec: ModelSpec, shape: Shape) -> Op:
    """Send rows to the ranks of their experts (``dispatch``) or back (``combine``).

    What arrives from several ranks is sorted by expert, and back again: one pass each way.
    """
    elements = rows(spec, shape) * spec.hidden
    sort = (_stream(2 * shape.numerics.activation_bytes * elements, "tokens"),)
    return Op(kind, Axis.EXPERTS, sort, sort, region_elements=elements, exchange=kind)


def _stream(traffic_bytes: float, split: str) -> Work:
    return replace(stream(traffic_bytes), split=split)


@record
class _Projection:
    """Products of the rows of each expert with its own weights, in 16 or 32 bit or in fp8."""

    spec: ModelSpec
    shape: Shape
    inputs: int
    outputs: int
    row: bool

    def product(self, m: float, n: float, k: float, split: str, result_bytes: float) -> Work:
        num = self.shape.numerics
        operand = num.fp8.element_bytes if num.fp8 else num.activation_bytes
        work = gemm(
            m,
            n,
            k,
            batch=self.spec.experts,
            split=split,
            operand_bytes=operand,
            result_bytes=result_bytes,
        )
        return replace(work, dtype="fp8") if num.fp8 else work

    def forward(self) -> list[Work]:
        m, e = rows(self.spec, self.shape) / self.spec.experts, self.shape.numerics.activation_bytes
        return [
            *self.cast(self.inputs, narrow=self.row),
            *self.weight_casts(),
            self.product(m, self.outputs, self.inputs, "k" if self.row else "n", e),
            *self.bias_passes(_bias_bytes(e)),
        ]

    def bias_passes(self, element_bytes: Sequence[float]) -> list[Work]:
        """Return the passes over the result that add the bias, where the product does not."""
        if not (self.row and self.spec.biased_mlp) or self.shape.fusion.expert_bias:
            return []
        results = rows(self.spec, self.shape) * self.outputs
        return [_stream(one * results, "tokens") for one in element_bytes]

    def backward_data(self) -> list[Work]:
        m, e = rows(self.spec, self.shape) / self.spec.experts, self.shape.numerics.activation_bytes
        return [
            *self.bias_passes(_bias_gradient_bytes(e)),
            *self.cast(self.outputs, narrow=not self.row),
            self.product(m, self.inputs, self.outputs, "n" if self.row else "k", e),
        ]

    def backward_weight(self) -> list[Work]:
        num, total = self.shape.numerics, rows(self.spec, self.shape)
        e, g = num.activation_bytes, num.gradient_bytes
        fused = self.shape.fusion.weight_gradient_accumulation
        k, result_bytes = total / self.spec.experts, 2 * g if fused else e
        split = "m" if self.row else "n"
        works = [self.product(self.inputs, self.outputs, k, split, result_bytes)]
        if not fused:  # a pass of its own adds the fresh gradient into the buffer
            works.append(_stream((e + 2 * g) * self.weights, "batch"))
        if self.spec.biased_mlp and not self.bias_passes((0.0,)):
            works.append(_stream(e * total * self.outputs, "tokens" if self.row else "bytes"))
        return works

    @property
    def weights(self) -> float:
        """Elements of the weights of all experts."""
        return float(self.spec.experts * self.inputs * self.outputs)

    def cast(self, features: int, *, narrow: bool) -> list[Work]:
        """Cast rows of so many features; `narrow` if these are divided."""
        num = self.shape.numerics
        if num.fp8 is None:
            return []
        elements = rows(self.spec, self.shape) * features
        split = "bytes" if narrow else "tokens"
        return cast(num.fp8, num.activation_bytes, elements, num.fp8.copies, split)

    def weight_casts(self) -> list[Work]:
        num = self.shape.numerics
        if num.fp8 is None or num.fp8.cached_weights:
            return []
        recipe = replace(num.fp8, block=num.fp8.weight_block)
        return cast(recipe, num.weight_bytes, self.weights, recipe.weight_copies, "batch")


def grouped_linear(
    name: str, spec: ModelSpec, shape: Shape, inputs: int, outputs: int, *, row: bool = False
) -> Op:
    """Projection of the rows of each expert by its own weights: one grouped product.

    Parameters
    ----------
    row : bool
        The input features are divided; otherwise the output features.
    """
    num, total = shape.numerics, rows(spec, shape)
    kept = num.fp8.element_bytes if num.fp8 else num.activation_bytes
    x, dy = kept * total * inputs, kept * total * outputs
    projection = _Projection(spec, shape, inputs, outputs, row)
    biases = spec.experts * outputs if spec.biased_mlp else 0
    return Op(
        name,
        Axis.EXPERTS,
        forward=tuple(projection.forward()),
        backward_data=tuple(projection.backward_data()),
        backward_weight=tuple(projection.backward_weight()),
        parameters=spec.experts * inputs * outputs + (0 if row else biases),
        replicated_parameters=biases if row else 0,
        saved_bytes=x if row else 0.0,
        saved_token_bytes=0.0 if row else x,
        weight_bytes=x if row else dy,
        weight_token_bytes=dy if row else x,
    )


def _shared(spec: ModelSpec, shape: Shape) -> tuple[Op, Op, Op]:
    """Shared experts up, activation and down; the router has their input, too."""
    up = linear(
        "shared_up",
        Axis.FFN,
        shape,
        spec.hidden,
        spec.shared_ffn * spec.up_projections,
        bias=spec.biased_mlp,
        opens=True,
        shared_input=True,
        parts=(spec.shared_ffn,) * spec.up_projections,
    )
    down = linear(
        "shared_down",
        Axis.FFN,
        shape,
        spec.shared_ffn,
        spec.hidden,
        bias=spec.biased_mlp,
        row=True,
        closes=True,
    )
    between = activation(
        spec,
        shape,
        name="shared_activation",
        elements=float(shape.tokens * spec.shared_ffn),
    )
    return up, between, down


def _shared_sum(spec: ModelSpec, shape: Shape) -> Op:
    """Add the shared experts to the others, scaled by a gate of each token if there is one.

    Backward adds the gradients of the block's input that come through the shared experts and the
    gate.
    """
    e, tokens, h = shape.numerics.activation_bytes, shape.tokens, spec.hidden
    elements = float(tokens * h)
    add = stream(3 * e * elements)
    if not spec.shared_gate:
        return Op("shared_sum", Axis.TOKENS, (add,), (add,))
    products = {"operand_bytes": e, "result_bytes": e}
    return Op(
        "shared_sum",
        Axis.TOKENS,
        forward=(gemm(tokens, 1, h, split="m", **products), stream(2 * e * elements), add),
        backward_data=(
            stream(3 * e * elements),
            gemm(tokens, h, 1, split="m", **products),
            add,
            add,
        ),
        backward_weight=(gemm(h, 1, tokens, split="k", **products),),
        replicated_parameters=h,
        saved_bytes=e * elements + e * tokens,
        weight_bytes=e * tokens,
    )


def block(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Operators of the block in forward order, for the tokens of one micro batch on one rank.

    Shared experts stand before the exchange that they can run beside: up before dispatch, down
    before combine.
    """
    up, between, down = _shared(spec, shape) if spec.shared_experts else (None, None, None)
    features, total = spec.expert_ffn, rows(spec, shape)
    ops = (
        router(spec, shape),
        permutation("permute", spec, shape),
        up,
        between,
        exchange("dispatch", spec, shape),
        grouped_linear("expert_up", spec, shape, spec.hidden, features * spec.up_projections),
        activation(
            spec, shape, name="expert_activation", axis=Axis.EXPERTS, elements=total * features
        ),
        grouped_linear("expert_down", spec, shape, features, spec.hidden, row=True),
        down,
        exchange("combine", spec, shape),
        permutation("unpermute", spec, shape),
        _shared_sum(spec, shape) if spec.shared_experts else None,
    )
    return tuple(op for op in ops if op is not None)


def weights_of_a_token(spec: ModelSpec) -> int:
    """Return elements of the weight matrices that one token is multiplied with in the block."""
    features = spec.experts_per_token * spec.expert_ffn + spec.shared_ffn
    gate = spec.hidden if spec.shared_gate else 0
    return spec.hidden * (spec.experts + features * (spec.up_projections + 1)) + gate
