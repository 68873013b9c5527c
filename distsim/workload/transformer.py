"""Decoder-only transformers (GPT and LLaMA) as operators.

A layer is a flat tuple of :class:`~distsim.workload.op.Op` in forward order. Bytes follow the
kernels that frameworks launch; FLOP follow Narayanan et al. 2021 (arXiv 2104.04473, appendix):
24 B s h^2 + 4 B s^2 h for a forward layer with a 4h feed-forward. Saved activations follow
Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1): s b h (34 + 5 a s / h) bytes at 16 bit.
"""

from __future__ import annotations

from distsim.workload.attention import attention
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, gemm, stream
from distsim.workload.shape import MASK_BYTES, Shape


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
) -> Op:
    """Dense projection of every token from `inputs` to `outputs` features.

    The backward pass is two products: dX = dY W^T and dW = X^T dY.

    Parameters
    ----------
    row : bool
        The input features are divided (a row-parallel layer); otherwise the output features.
    bias_pass : bool
        The bias is added by a kernel of its own, not in the product or by the next operator.
    tied : bool
        The weights belong to another operator (LM head tied to the embedding).
    """
    num, fusion, tokens = shape.numerics, shape.fusion, shape.tokens
    e, g = num.activation_bytes, num.gradient_bytes
    forward = [
        gemm(tokens, outputs, inputs, split="k" if row else "n", operand_bytes=e, result_bytes=e)
    ]
    if bias_pass:
        forward.append(stream(2 * e * tokens * outputs))
    data = gemm(tokens, inputs, outputs, split="n" if row else "k", operand_bytes=e, result_bytes=e)
    fused = fusion.weight_gradient_accumulation
    weight = [
        gemm(
            inputs,
            outputs,
            tokens,
            split="m" if row else "n",
            operand_bytes=e,
            result_bytes=2 * g if fused else e,
        )
    ]
    if not fused:  # a pass of its own adds the fresh gradient into the buffer
        weight.append(stream((e + 2 * g) * inputs * outputs))
    if bias:
        weight.append(stream(e * tokens * outputs))
    saved = e * tokens * inputs
    return Op(
        name,
        axis,
        forward=tuple(forward),
        backward_data=(data,),
        backward_weight=tuple(weight),
        parameters=0 if tied else inputs * outputs + (outputs if bias and not row else 0),
        replicated_parameters=outputs if bias and row and not tied else 0,
        saved_bytes=saved if row else 0.0,
        saved_token_bytes=0.0 if row else saved,
        opens=opens,
        closes=closes,
        region_elements=float(tokens * (inputs if opens else outputs)) if opens or closes else 0.0,
    )


def norm(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """LayerNorm or RMSNorm: one pass forward; two backward (input, then scale and bias)."""
    e, elements = shape.numerics.activation_bytes, float(shape.tokens * spec.hidden)
    return Op(
        name,
        Axis.TOKENS,
        forward=(stream(2 * e * elements),),
        backward_data=(stream(3 * e * elements),),
        backward_weight=(stream(2 * e * elements),),
        replicated_parameters=spec.hidden * (2 if spec.norm == "layernorm" else 1),
        saved_bytes=e * elements,
    )


def residual(name: str, spec: ModelSpec, shape: Shape) -> Op:
    """Bias, dropout and residual sum; backward also sums the gradients of the two branches."""
    num, fusion = shape.numerics, shape.fusion
    e, elements = num.activation_bytes, float(shape.tokens * spec.hidden)
    mask = MASK_BYTES if spec.dropout else 0
    if fusion.bias_dropout_add:
        forward = [stream((3 * e + mask) * elements)]
    else:
        forward = [stream(3 * e * elements)]
        forward += [stream((2 * e + mask) * elements)] if spec.dropout else []
        forward += [stream(2 * e * elements)] if spec.bias else []
    backward = [stream(3 * e * elements)]
    if spec.dropout:
        backward.append(stream((2 * e + mask) * elements))
    return Op(name, Axis.TOKENS, tuple(forward), tuple(backward), saved_bytes=mask * elements)


def activation(spec: ModelSpec, shape: Shape) -> Op:
    """GELU with its bias, or SwiGLU, on the feed-forward array."""
    e, elements = shape.numerics.activation_bytes, float(shape.tokens * spec.ffn)
    if spec.activation == "swiglu":
        forward, backward, saved = [3 * e], [5 * e], 2 * e
    else:
        forward, backward, saved = [2 * e], [3 * e], e
    if spec.bias and not shape.fusion.bias_activation:
        forward.append(2 * e)
    return Op(
        spec.activation,
        Axis.FFN,
        tuple(stream(b * elements) for b in forward),
        tuple(stream(b * elements) for b in backward),
        saved_bytes=saved * elements,
    )


def layer(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Operators of one transformer layer in forward order."""
    width = spec.heads * spec.head_dim
    qkv = width + 2 * spec.kv_heads * spec.head_dim
    up = spec.ffn * (2 if spec.activation == "swiglu" else 1)
    return (
        norm("attention_norm", spec, shape),
        linear(
            "qkv",
            Axis.HEADS,
            shape,
            spec.hidden,
            qkv,
            bias=spec.bias,
            opens=True,
            bias_pass=spec.bias and not shape.fusion.linear_bias_epilogue,
        ),
        *attention(spec, shape),
        linear(
            "attention_out",
            Axis.HEADS,
            shape,
            width,
            spec.hidden,
            bias=spec.bias,
            row=True,
            closes=True,
        ),
        residual("attention_residual", spec, shape),
        norm("mlp_norm", spec, shape),
        # The bias is added with the activation, so the projection itself has no pass for it.
        linear("mlp_up", Axis.FFN, shape, spec.hidden, up, bias=spec.bias, opens=True),
        activation(spec, shape),
        linear(
            "mlp_down",
            Axis.FFN,
            shape,
            spec.ffn,
            spec.hidden,
            bias=spec.bias,
            row=True,
            closes=True,
        ),
        residual("mlp_residual", spec, shape),
    )


def embedding(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Token (and learned position) embedding with its dropout; the first stage runs it."""
    num = shape.numerics
    e, elements = num.activation_bytes, float(shape.tokens * spec.hidden)
    mask = MASK_BYTES if spec.dropout else 0
    learned = spec.positions == "learned"
    table = spec.vocab * spec.hidden
    tail = [stream(3 * e * elements)] if learned else []
    tail += [stream((2 * e + mask) * elements)] if spec.dropout else []
    lookup = Op(
        "embedding",
        Axis.VOCAB,
        forward=(stream(2 * e * elements),),
        # Scatter of token gradients into a dense table, then the sum into the buffer.
        backward_weight=(
            stream(2 * e * elements),
            stream((2 * e + 2 * num.gradient_bytes) * table),
        ),
        parameters=table,
        closes=True,
        region_elements=elements,
    )
    if not tail:
        return (lookup,)
    positions = Op(
        "embedding_positions",
        Axis.TOKENS,
        forward=tuple(tail),
        backward_data=(stream((2 * e + mask) * elements),) if spec.dropout else (),
        backward_weight=(stream(2 * e * elements),) if learned else (),
        replicated_parameters=spec.max_positions * spec.hidden if learned else 0,
        saved_bytes=mask * elements,
    )
    return (lookup, positions)


def head(spec: ModelSpec, shape: Shape) -> tuple[Op, ...]:
    """Return final norm, LM head and cross entropy; the last stage runs them.

    The loss works on fp32 logits (4 bytes): copied, reduced to maxima, shifted, exponentiated,
    summed and divided in passes of their own (38 + 22 bytes a logit), or in one fused kernel.
    """
    e = shape.numerics.activation_bytes
    logits = float(shape.tokens * spec.vocab)
    fused = shape.fusion.cross_entropy
    passes = [e + 4, 4] if fused else [e + 4, 4, 8, 8, 4, 8]
    backward = [4 + e] if fused else [8, 8, 4 + e]
    loss = Op(
        "cross_entropy",
        Axis.VOCAB,
        tuple(stream(p * logits) for p in passes),
        tuple(stream(p * logits) for p in backward),
        saved_bytes=4 * logits,
    )
    return (
        norm("final_norm", spec, shape),
        linear(
            "lm_head",
            Axis.VOCAB,
            shape,
            spec.hidden,
            spec.vocab,
            bias=False,
            opens=True,
            tied=spec.tied_embeddings,
        ),
        loss,
    )


def model_flop_per_sequence(spec: ModelSpec, length: int) -> float:
    """FLOP of forward and backward for one sequence, without recomputation.

    Every product counts, attention in full whatever the mask, so that for a 4h feed-forward
    this is 72 s l h^2 (1 + s/6h + V/12lh), the model FLOP of Korthikanti 2022 (appendix A).
    """
    width = spec.heads * spec.head_dim
    up = spec.ffn * (3 if spec.activation == "swiglu" else 2)
    weights = spec.hidden * (2 * width + 2 * spec.kv_heads * spec.head_dim + up)
    per_layer = 2.0 * length * weights + 4.0 * length * length * width
    return 3.0 * (spec.layers * per_layer + 2.0 * length * spec.hidden * spec.vocab)


def attention_flop_per_sequence(spec: ModelSpec, length: int) -> float:
    """FLOP of one forward pass of core attention over all layers, counted in full."""
    return 4.0 * spec.layers * length * length * spec.heads * spec.head_dim
