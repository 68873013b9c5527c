"""Multilayer perceptrons: dense layers with an activation between them.

A dense layer from d to f features takes 2 d f FLOP a sample forward and twice that backward
(Rumelhart 1986): the gradient of its input, which the first layer does not make, and that of its
weights.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from distsim.record import record
from distsim.workload.families.checking import COMMON, Path, choice, count, counts, read, switch
from distsim.workload.families.layers import (
    ACTIVATIONS,
    LOSSES,
    activation,
    dense,
    dropout,
    loss,
)
from distsim.workload.network import Blocks
from distsim.workload.op import Op
from distsim.workload.shape import Shape


@record(kw_only=True)
class Mlp:
    """A multilayer perceptron; a layer is a dense layer with its activation.

    Attributes
    ----------
    inputs : int
        Features of a sample.
    hidden : tuple of int
        Width of each hidden layer. The dense layer after the last one belongs to the head.
    outputs : int
    activation : {"relu", "tanh", "sigmoid", "gelu"}
    bias : bool
    dropout : bool
        Dropout after each activation.
    loss : {"cross_entropy", "squared_error"}
    source : str
    published_parameters : int or None
    """

    name: str
    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    bias: bool = True
    dropout: bool = False
    loss: str = "cross_entropy"
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """``mlp``."""
        return "mlp"

    @property
    def layers(self) -> int:
        """Hidden layers."""
        return len(self.hidden)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the dense layers."""
        return (self.inputs, *self.hidden, self.outputs)

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters: d f + f for each dense layer with a bias."""
        return sum(self.parameters_by_part().values())

    @property
    def default_length(self) -> int:
        """1: a sample is no sequence."""
        return 1

    @property
    def divisions(self) -> dict[str, int]:
        """Nothing: a tensor-parallel group does not divide this family."""
        return {}

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of the hidden layers and of the head."""
        counts = [d * f + (f if self.bias else 0) for d, f in pairwise(self.widths)]
        return {"hidden": sum(counts[:-1]), "head": counts[-1]}

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch of ``shape.sequences`` samples.

        Equal layers share a kind. What passes from layer to layer counts as wide as the widest.
        """
        kinds: dict[str, tuple[Op, ...]] = {}
        order: list[str] = []
        for index, (inputs, width) in enumerate(pairwise(self.widths[:-1])):
            kind = f"{'first' if index == 0 else 'dense'}_{inputs}_{width}"
            order.append(kind)
            if kind not in kinds:
                kinds[kind] = self._layer(shape, inputs, width, first=index == 0)
        rows = shape.sequences
        head = dense("output", shape, rows, self.hidden[-1], self.outputs, bias=self.bias)
        return Blocks(
            tuple(order),
            kinds,
            (),
            (head, loss(self.loss, shape, rows, self.outputs)),
            float(rows * max(self.hidden)),
        )

    def _layer(self, shape: Shape, inputs: int, width: int, *, first: bool) -> tuple[Op, ...]:
        rows = shape.sequences
        # Dropout writes another array than the activation, and the next layer keeps that one.
        ops = [
            dense("dense", shape, rows, inputs, width, bias=self.bias, first=first),
            activation(
                self.activation,
                self.activation,
                shape,
                float(rows * width),
                result_kept=not self.dropout,
            ),
        ]
        if self.dropout:
            ops.append(dropout("dropout", shape, float(rows * width)))
        return tuple(ops)

    def forward_flop(self, length: int = 1) -> float:
        """FLOP of the products of the forward pass of one sample."""
        return 2.0 * sum(d * f for d, f in pairwise(self.widths))

    def model_flop(self, length: int = 1) -> float:
        """FLOP of forward and backward of one sample; data get no gradient."""
        return 3.0 * self.forward_flop(length) - 2.0 * self.inputs * self.hidden[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        keys = ("name", "family", "inputs", "outputs", "activation", "bias", "dropout", "loss")
        return {key: getattr(self, key) for key in keys} | {
            "hidden": list(self.hidden),
            "source": self.source,
            "published_parameters": self.published_parameters,
            "parameters": self.parameters,
            "parameters_by_part": self.parameters_by_part(),
        }


def from_mapping(block: object, path: Path = (), name: str = "inline") -> Mlp:
    """Return the multilayer perceptron that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `Mlp`; ``family: mlp``, ``inputs``, ``hidden`` and ``outputs`` are required.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 to DS205.
    """
    keys = {
        **COMMON,
        "family": choice("mlp"),
        "inputs": count(),
        "hidden": counts(lengths=range(1, 10_001)),
        "outputs": count(),
        "activation": choice(*ACTIVATIONS),
        "bias": switch,
        "dropout": switch,
        "loss": choice(*LOSSES),
    }
    required = {"family": "mlp", "inputs": 784, "hidden": [256], "outputs": 10}
    given = read(block, path, keys, required, "a multilayer perceptron")
    del given["family"]
    return Mlp(**{"name": name, **given})
