"""Recurrent layers as operators: simple cells, LSTM and GRU.

A cell with G gates of h features multiplies its input by (d, G h) and its last state by (h, G h).
The inputs of all steps are known before the layer runs, so that their products are one GEMM; the
other product waits for the step before it and reads its weights again each time (Appleyard 2016,
arXiv 1604.01946, section 3). Backward, gradients of the gates are made step by step;
with all of them, the gradients of inputs and of both weights are one GEMM each.

Bytes of the elementwise kernel of a step are the arrays that a fused cell reads and writes, as
PyTorch's does: it keeps the gates for its backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.record import record
from distsim.workload.families.layers import gradient_sum, product, weight_gradient
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape

#: Steps of a sample: kernels of a layer grow with them, and each of them is priced.
MOST_STEPS = 10_000


@record
class Cell:
    """What distinguishes one kind of cell from another.

    Attributes
    ----------
    gates : int
        G: products of h features for input and for state.
    forward, backward : int
        Arrays of h features that the elementwise kernel of a step reads and writes.
    kept : int
        Arrays of h features that a step keeps beside its output.
    gradients : int
        Arrays of h features of gate gradients: those of the products with the input and with the
        state differ in one gate of a GRU, and are the same arrays elsewhere.
    """

    gates: int
    forward: int
    backward: int
    kept: int
    gradients: int


#: ====  ====================================  =====================================  ============
#: cell  forward                               backward                               kept
#: ====  ====================================  =====================================  ============
#: rnn   products 2, state 1                   dh 2, state 1; gate 1                  none
#: lstm  products 8, c 1; gates 4, c 1, h 1    dh 2, dc 1, gates 4, c 2; gates 4, c 1  gates 4, c 1
#: gru   products 6, h 1; workspace 4, h 1     dh 2, workspace 4, h 1; gates 6, dh 1  workspace 4
#: ====  ====================================  =====================================  ============
#:
#: LSTM: Hochreiter 1997 with the forget gate of Gers 2000. GRU: Cho 2014, arXiv 1406.1078, with the
#: reset gate after the product, as cuDNN and PyTorch have it; its workspace is both gates, the
#: candidate and the candidate's product with the state.
CELLS: Mapping[str, Cell] = {
    "rnn": Cell(gates=1, forward=3, backward=4, kept=0, gradients=1),
    "lstm": Cell(gates=4, forward=15, backward=14, kept=5, gradients=4),
    "gru": Cell(gates=3, forward=12, backward=14, kept=4, gradients=6),
}


def cell_parameters(cell: str, inputs: int, hidden: int, *, bias: bool) -> int:
    """Return the parameters of one direction of one layer: G h (d + h), and two G h of biases.

    cuDNN and PyTorch keep a bias for each of the two products.
    """
    rows = CELLS[cell].gates * hidden
    return rows * (inputs + hidden) + (2 * rows if bias else 0)


def step_flop(cell: str, inputs: int, hidden: int) -> float:
    """Return FLOP of the products of one step of one sequence: 2 G h (d + h)."""
    return 2.0 * CELLS[cell].gates * hidden * (inputs + hidden)


def input_product(
    name: str,
    cell: str,
    shape: Shape,
    steps: int,
    inputs: int,
    hidden: int,
    *,
    bias: bool,
    first: bool = False,
    kept: bool = True,
) -> Op:
    """Return the product of the inputs of all steps with their weights.

    Parameters
    ----------
    first : bool
        The input is data: its gradient is not computed.
    kept : bool
        The input counts as kept here; False where it is what the operator before keeps.
    """
    e, rows, wide = shape.numerics.activation_bytes, shape.sequences * steps, _wide(cell, hidden)
    gradient = product(rows, inputs, wide, operand_bytes=e)
    return Op(
        name,
        Axis.TOKENS,
        (product(rows, wide, inputs, operand_bytes=e),),
        () if first else (gradient,),
        (
            *weight_gradient(shape, inputs, wide, rows),
            *(gradient_sum(shape, rows, wide) if bias else ()),
        ),
        replicated_parameters=inputs * wide + (wide if bias else 0),
        saved_bytes=e * float(rows * inputs) if kept else 0.0,
        weight_bytes=e * float(rows * (inputs + wide)),
    )


def recurrence(name: str, cell: str, shape: Shape, steps: int, hidden: int, *, bias: bool) -> Op:
    """Return the steps of one direction: each a product with the state and an elementwise kernel.

    Its output of every step is kept: the next step and the weight gradient need it.
    """
    e, batch, wide = shape.numerics.activation_bytes, shape.sequences, _wide(cell, hidden)
    kind, elements, rows = CELLS[cell], float(batch * hidden), batch * steps
    forward = (
        product(batch, wide, hidden, operand_bytes=e),
        stream(kind.forward * e * elements),
    )
    backward = (
        stream(kind.backward * e * elements),
        product(batch, hidden, wide, operand_bytes=e),
    )
    return Op(
        name,
        Axis.TOKENS,
        forward * steps,
        backward * steps,
        (
            *weight_gradient(shape, hidden, wide, rows),
            *(gradient_sum(shape, rows, wide) if bias else ()),
        ),
        replicated_parameters=hidden * wide + (wide if bias else 0),
        saved_bytes=e * elements * steps * (kind.kept + 1),
        # The input product's gradient is the same array but in a GRU, whose own counts here.
        weight_bytes=e * elements * steps * (1 + kind.gradients - kind.gates),
    )


def _wide(cell: str, hidden: int) -> int:
    return CELLS[cell].gates * hidden
