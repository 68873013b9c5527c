"""Additive attention of a recurrent decoder, and what its context is multiplied with.

Bahdanau 2014 (arXiv 1409.0473, appendix A.1.2): energies e_ij = v^T tanh(W s_i-1 + U h_j) of step i
of the target with state j of the source, weights alpha_i = softmax_j e_ij, contexts
c_i = sum_j alpha_ij h_j. U h_j does not depend on i and is one product for all states (the same
appendix); everything else waits for the state of the step before.

Operators stand one after another here; on the device the kernels of a step alternate. They run on
one stream either way.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.record import record
from distsim.workload.families.layers import product, weight_gradient
from distsim.workload.families.recurrent import CELLS
from distsim.workload.op import Axis, Op, Work, stream
from distsim.workload.shape import Shape


@record
class Sizes:
    """Sizes of an attention.

    Attributes
    ----------
    steps, source : int
        Steps of the target and of the source.
    query, states, width : int
        Features of the decoder's state, of the encoder's states, and of the energies' tanh.
    """

    steps: int
    source: int
    query: int
    states: int
    width: int

    @property
    def parameters(self) -> int:
        """W, U and v."""
        return self.width * (self.query + self.states + 1)

    @property
    def forward_flop(self) -> float:
        """FLOP of one sample: U h_j once; W s, v^T tanh and the weighted sum at each step."""
        once = 2.0 * self.source * self.states * self.width
        each = 2.0 * (self.query * self.width + self.source * (self.width + self.states))
        return once + self.steps * each


def keys(sizes: Sizes, shape: Shape) -> Op:
    """Return U h_j for all states of the source; the encoder keeps its states already."""
    e, rows = shape.numerics.activation_bytes, shape.sequences * sizes.source
    return Op(
        "attention_keys",
        Axis.TOKENS,
        (product(rows, sizes.width, sizes.states, operand_bytes=e),),
        (product(rows, sizes.states, sizes.width, operand_bytes=e),),
        weight_gradient(shape, sizes.states, sizes.width, rows),
        replicated_parameters=sizes.states * sizes.width,
        weight_bytes=e * float(rows * (sizes.states + sizes.width)),
    )


def attention(sizes: Sizes, shape: Shape) -> Op:
    """Return energies, weights and contexts of all steps.

    Kept are the tanh of each pair of steps (sequences * steps * source * width elements) and the
    weights. Gradients of keys and states are added up over the steps: read and written each time.
    """
    e, b = shape.numerics.activation_bytes, shape.sequences
    pairs = float(b * sizes.source)
    inner, states = pairs * sizes.width, pairs * sizes.states
    forward = (
        product(b, sizes.width, sizes.query, operand_bytes=e),
        stream(e * (2 * inner + b * sizes.width)),
        _counted(e * (inner + sizes.width + pairs), 2 * inner),
        stream(2 * e * pairs),
        _counted(e * (states + pairs + b * sizes.states), 2 * states),
    )
    backward = (
        _counted(e * (states + b * sizes.states + pairs), 2 * states),
        _counted(e * (2 * states + b * sizes.states + pairs), 2 * states),
        stream(3 * e * pairs),
        # Gradient of the tanh's argument; it is added to that of the keys, and its sum over the
        # source is the query's.
        _counted(e * (2 * inner + pairs + sizes.width), 2 * inner),
        stream(3 * e * inner),
        stream(e * (inner + b * sizes.width)),
        product(b, sizes.query, sizes.width, operand_bytes=e),
    )
    every = sizes.steps * pairs
    return Op(
        "attention",
        Axis.TOKENS,
        forward * sizes.steps,
        backward * sizes.steps,
        (
            *weight_gradient(shape, sizes.query, sizes.width, b * sizes.steps),
            *weight_gradient(shape, sizes.width, 1, every),
        ),
        replicated_parameters=sizes.width * (sizes.query + 1),
        saved_bytes=e * every * (sizes.width + 1),
        weight_bytes=e * (every * (sizes.width + 1) + b * sizes.steps * 2.0 * sizes.width),
    )


def context_product(
    cell: str, shape: Shape, states: int, hidden: int, steps: int, *, changes: bool
) -> Op:
    """Return the product of contexts with their weights of a cell's gates.

    Parameters
    ----------
    changes : bool
        Each step has a context of its own; otherwise one product does for all steps, and the
        context is a state that the encoder keeps.
    """
    e, b, wide = shape.numerics.activation_bytes, shape.sequences, CELLS[cell].gates * hidden
    times = steps if changes else 1
    return Op(
        "context",
        Axis.TOKENS,
        (product(b, wide, states, operand_bytes=e),) * times,
        (product(b, states, wide, operand_bytes=e),) * times,
        weight_gradient(shape, states, wide, b * times),
        replicated_parameters=states * wide,
        saved_bytes=e * float(b * steps * states) if changes else 0.0,
        weight_bytes=e * float(b * times * states),
    )


def _counted(traffic_bytes: float, flop: float) -> Work:
    """Return products with a vector for each sequence: bounded by memory, with FLOP."""
    return replace(stream(traffic_bytes), flop=flop)
