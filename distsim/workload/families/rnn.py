"""Recurrent networks: stacked RNN, LSTM or GRU layers, one or both directions, and a dense head.

A sample is a sequence: of feature vectors, or of tokens where there is a vocabulary. Steps of a
layer run one after another, and so do layers and the two directions of a layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distsim.record import record
from distsim.workload.families.checking import (
    COMMON,
    SOFTMAX,
    Path,
    choice,
    count,
    out_of_range,
    read,
    switch,
    take_softmax,
)
from distsim.workload.families.layers import LOSSES, dense, dropout, lookup, loss
from distsim.workload.families.recurrent import (
    CELLS,
    MOST_STEPS,
    cell_parameters,
    input_product,
    recurrence,
    step_flop,
)
from distsim.workload.network import Blocks
from distsim.workload.op import Op
from distsim.workload.shape import Shape
from distsim.workload.softmax import End, output
from distsim.workload.vocabulary import Softmax

FULL = Softmax()


@record(kw_only=True)
class Rnn:
    """A recurrent network; a layer is both directions of one, with the dropout after it.

    Attributes
    ----------
    cell : {"rnn", "lstm", "gru"}
    inputs : int
        Features of a step, or of the embedding of a token.
    hidden, layers : int
    outputs : int
        Of the dense head.
    steps : int
        Steps of a sample where nothing else is said.
    vocab : int
        Tokens that the network embeds; 0: a step is a vector.
    output_at : {"every", "last"}
        The head works on every step (a language model) or on the last (a classifier).
    bidirectional, bias, dropout : bool
        Dropout stands between layers, not after the last.
    loss : {"cross_entropy", "squared_error"}
    output_softmax : Softmax
        How the loss deals with the vocabulary; sampled and adaptive ones have no bias.
    source : str
    published_parameters : int or None
    """

    name: str
    cell: str
    inputs: int
    hidden: int
    layers: int
    outputs: int
    steps: int
    vocab: int = 0
    output_at: str = "every"
    bidirectional: bool = False
    bias: bool = True
    dropout: bool = False
    loss: str = "cross_entropy"
    output_softmax: Softmax = FULL
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """``rnn``."""
        return "rnn"

    @property
    def directions(self) -> int:
        """Two if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """Features of a layer's output, directions side by side."""
        return self.directions * self.hidden

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        return sum(self.parameters_by_part().values())

    @property
    def default_length(self) -> int:
        """Steps of a sample."""
        return self.steps

    @property
    def divisions(self) -> dict[str, int]:
        """Nothing: a tensor-parallel group does not divide this family."""
        return {}

    def _inputs_of(self, layer: int) -> int:
        return self.width if layer else self.inputs

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of embedding, cells and head.

        The cells are those of ``torch.nn.LSTM``, ``GRU`` or ``RNN``: G h (d + h) weights and 2 G h
        biases for each direction of each layer.
        """
        cells = sum(
            cell_parameters(self.cell, self._inputs_of(i), self.hidden, bias=self.bias)
            for i in range(self.layers)
        )
        head = self.output_softmax.parameters(self.width, self.outputs, tied=False)
        head += self.outputs if self.bias and self.output_softmax == FULL else 0
        return {
            "embedding": self.vocab * self.inputs,
            "cells": self.directions * cells,
            "head": head,
        }

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch of ``shape.length`` steps."""
        tokens = shape.sequences * shape.length
        kinds = {"first": self._layer(shape, 0)}
        if self.layers > 2:
            kinds["inner"] = self._layer(shape, 1)
        if self.layers > 1:
            kinds["last"] = self._layer(shape, self.layers - 1)
        order = ("first", *("inner",) * (self.layers - 2), *("last",) * (self.layers > 1))
        rows = tokens if self.output_at == "every" else shape.sequences
        return Blocks(
            order,
            kinds,
            (lookup("embedding", shape, tokens, self.vocab, self.inputs),) if self.vocab else (),
            self._head(shape, rows),
            float(tokens * self.width),
        )

    def _head(self, shape: Shape, rows: int) -> tuple[Op, ...]:
        if self.output_softmax != FULL:
            end = End(self.width, self.outputs, self.output_softmax)
            return output(end, replace(shape, sequences=rows, length=1))
        # The last layer keeps its outputs already, the last step's among them.
        head = dense("output", shape, rows, self.width, self.outputs, bias=self.bias, kept=False)
        return (head, loss(self.loss, shape, rows, self.outputs))

    def _layer(self, shape: Shape, layer: int) -> tuple[Op, ...]:
        """Return the operators of a layer: for each direction its two products; dropout.

        What goes in is kept by the layer before, unless dropout has made another array of it.
        Both directions keep the same one.
        """
        ops: list[Op] = []
        fresh = layer == 0 or self.dropout
        for index, suffix in enumerate(("", "_reverse")[: self.directions]):
            ops.append(
                input_product(
                    f"input{suffix}",
                    self.cell,
                    shape,
                    shape.length,
                    self._inputs_of(layer),
                    self.hidden,
                    bias=self.bias,
                    first=layer == 0 and not self.vocab,
                    kept=fresh and index == 0,
                )
            )
            ops.append(
                recurrence(
                    f"recurrence{suffix}",
                    self.cell,
                    shape,
                    shape.length,
                    self.hidden,
                    bias=self.bias,
                )
            )
        if self.dropout and layer < self.layers - 1:
            elements = float(shape.sequences * shape.length * self.width)
            ops.append(dropout("dropout", shape, elements))
        return tuple(ops)

    def forward_flop(self, length: int) -> float:
        """FLOP of the products for one sample of `length` steps."""
        return length * self._cells_flop() + self._head_flop(length)

    def _cells_flop(self) -> float:
        """FLOP of all cells for one step: 8 h (d + h) for each LSTM, 6 for a GRU, 2 for an RNN."""
        layers = (step_flop(self.cell, self._inputs_of(i), self.hidden) for i in range(self.layers))
        return self.directions * sum(layers)

    def _head_flop(self, length: int) -> float:
        times = length if self.output_at == "every" else 1
        return 2.0 * times * self.output_softmax.weights_of_a_token(self.width, self.outputs)

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one sample; inputs that are data get no gradient."""
        wide = self.directions * CELLS[self.cell].gates * self.hidden
        data = 0.0 if self.vocab else 2.0 * length * self.inputs * wide
        return 3.0 * self.forward_flop(length) - data

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        keys = (
            *("name", "family", "cell", "inputs", "hidden", "layers", "outputs", "steps", "vocab"),
            *("output_at", "bidirectional", "bias", "dropout", "loss", "source"),
            "published_parameters",
        )
        return (
            {key: getattr(self, key) for key in keys}
            | self.output_softmax.to_dict()
            | {
                "parameters": self.parameters,
                "parameters_by_part": self.parameters_by_part(),
            }
        )


def from_mapping(block: object, path: Path = (), name: str = "inline") -> Rnn:
    """Return the recurrent network that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `Rnn`; ``family: rnn``, ``cell``, ``inputs``, ``hidden``, ``steps`` are required,
        and ``outputs`` where there is no ``vocab``, whose size it is otherwise. ``layers`` is 1.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 to DS205, DS220 for a softmax that cannot be.
    """
    keys = {
        **COMMON,
        "family": choice("rnn"),
        "cell": choice(*CELLS),
        **dict.fromkeys(("inputs", "hidden", "outputs"), count()),
        "layers": count(1_000),
        "steps": count(MOST_STEPS),
        "vocab": count(least=0),
        "output_at": choice("every", "last"),
        **dict.fromkeys(("bidirectional", "bias", "dropout"), switch),
        "loss": choice(*LOSSES),
        **SOFTMAX,
    }
    required = {"family": "rnn", "cell": "lstm", "inputs": 256, "hidden": 256, "steps": 100}
    what = "a recurrent network"
    given = read(block, path, keys, required, what)
    if "outputs" not in given and given.get("vocab"):
        given["outputs"] = given["vocab"]
    if "outputs" not in given:
        read(block, path, keys, {**required, "outputs": 10}, what)
    del given["family"]
    given["output_softmax"] = take_softmax(given, given["outputs"], path)
    if given["output_softmax"] != FULL and given.get("loss") == "squared_error":
        rule = "only cross entropy is over a vocabulary"
        raise out_of_range("loss", given["loss"], (*path, "loss"), rule)
    return Rnn(**{"name": name, "layers": 1, **given})
