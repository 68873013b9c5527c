"""The function between the two projections of a feed-forward block."""

from __future__ import annotations

from distsim.workload import eager
from distsim.workload.model import ModelSpec
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape


def activation(
    spec: ModelSpec,
    shape: Shape,
    *,
    name: str = "",
    axis: Axis = Axis.FFN,
    elements: float | None = None,
) -> Op:
    """GELU with its bias, or SwiGLU.

    Parameters
    ----------
    name : str, optional
        By default that of the function.
    axis : Axis, optional
    elements : float, optional
        Elements of the result; by default those of a dense layer.
    """
    e = shape.numerics.activation_bytes
    count = float(shape.tokens * spec.ffn) if elements is None else elements
    if spec.activation == "swiglu" and not shape.fusion.gated_activation:
        # Gate, up and the function of the gate are kept.
        (forward, backward), saved = map(list, eager.gated(e)), 3 * e
    elif spec.activation == "swiglu":
        forward, backward, saved = [3 * e], [5 * e], 2 * e
    else:
        forward, backward, saved = [2 * e], [3 * e], e
    if spec.biased_mlp and not shape.fusion.bias_activation:
        forward.append(2 * e)
    return Op(
        name or spec.activation,
        axis,
        tuple(stream(b * count) for b in forward),
        tuple(stream(b * count) for b in backward),
        saved_bytes=saved * count,
    )
