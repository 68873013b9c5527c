"""Sequence to sequence by recurrent networks, with additive attention or one fixed context.

An encoder reads the source; a decoder writes the target, each step from the token and the state
before it and a context. With attention (Bahdanau 2014, arXiv 1409.0473) the context is a weighted
sum of all states of the source, so that FLOP, traffic and kept bytes have a part that grows with
the square of the length. Without, it is the encoder's last state (Cho 2014, arXiv 1406.1078).

In training the target is known: products with its tokens are one GEMM for all steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distsim.record import record
from distsim.workload.families.additive_attention import Sizes, attention, context_product, keys
from distsim.workload.families.checking import (
    COMMON,
    SOFTMAX,
    Path,
    choice,
    count,
    read,
    switch,
    take_softmax,
)
from distsim.workload.families.convolution import INDEX_BYTES
from distsim.workload.families.layers import activation, dense, lookup, loss
from distsim.workload.families.recurrent import (
    CELLS,
    MOST_STEPS,
    cell_parameters,
    input_product,
    recurrence,
    step_flop,
)
from distsim.workload.network import Blocks
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape
from distsim.workload.softmax import End, output
from distsim.workload.vocabulary import Softmax

FULL = Softmax()


@record(kw_only=True)
class Seq2Seq:
    """A recurrent encoder and decoder; layers are those of the encoder, then of the decoder.

    Attributes
    ----------
    cell : {"rnn", "lstm", "gru"}
    embedding : int
        Features of a token (m).
    hidden : int
        Features of a state (n).
    depth : int
        Layers of the encoder, and of the decoder. The context goes to the first layer of the
        decoder, whose state asks for it (in Wu 2016, arXiv 1609.08144, section 3, the first layer
        asks for all).
    source_vocab, target_vocab : int
    steps : int
        Tokens of the source, and of the target, where nothing else is said.
    attention : int
        Features of the energies (n'); 0: no attention.
    maxout : int
        Features after the maxout of a deep output of state, token and context (l); 0: the state
        alone is projected to the vocabulary.
    bidirectional : bool
        The encoder reads in both directions.
    bias : bool
        Cells have two biases, as in PyTorch; of dense layers those outside attention have one.
    output_softmax : Softmax
        How the loss deals with the vocabulary; sampled and adaptive ones have no bias.
    source : str
    published_parameters : int or None
    """

    name: str
    cell: str = "gru"
    embedding: int
    hidden: int
    depth: int = 1
    source_vocab: int
    target_vocab: int
    steps: int
    attention: int
    maxout: int = 0
    bidirectional: bool = True
    bias: bool = True
    output_softmax: Softmax = FULL
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """``seq2seq``."""
        return "seq2seq"

    @property
    def layers(self) -> int:
        """Layers of encoder and decoder."""
        return 2 * self.depth

    @property
    def directions(self) -> int:
        """Directions of the encoder."""
        return 2 if self.bidirectional else 1

    @property
    def states(self) -> int:
        """Features of an encoder state, and of a context."""
        return self.directions * self.hidden

    @property
    def joined(self) -> int:
        """Features that a deep output works on."""
        return self.hidden + self.embedding + self.states

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        return sum(self.parameters_by_part().values())

    @property
    def default_length(self) -> int:
        """Tokens of the source, and of the target."""
        return self.steps

    @property
    def divisions(self) -> dict[str, int]:
        """Nothing: a tensor-parallel group does not divide this family."""
        return {}

    def _sizes(self, length: int) -> Sizes:
        return Sizes(length, length, self.hidden, self.states, self.attention)

    def _dense(self, inputs: int, outputs: int) -> int:
        return inputs * outputs + (outputs if self.bias else 0)

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part.

        With G gates a decoder's first layer has G n (m + c + n) weights, c features of a context:
        it is ``torch.nn.GRU(m + c, n)``.
        """
        n, cell = self.hidden, self.cell
        depth = range(self.depth)
        encoder = sum(
            cell_parameters(cell, self.states if i else self.embedding, n, bias=self.bias)
            for i in depth
        )
        decoder = sum(
            cell_parameters(cell, n if i else self.embedding + self.states, n, bias=self.bias)
            for i in depth
        )
        head = self.output_softmax.parameters(self.maxout or n, self.target_vocab, tied=False)
        head += self.target_vocab if self.bias and self.output_softmax == FULL else 0
        if self.maxout:
            head += self._dense(self.joined, 2 * self.maxout)
        return {
            "embeddings": (self.source_vocab + self.target_vocab) * self.embedding,
            "encoder": self.directions * encoder,
            "decoder": decoder + self._dense(n, n),
            "attention": self._sizes(1).parameters if self.attention else 0,
            "head": head,
        }

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch; source and target have ``shape.length``."""
        tokens, depth = shape.sequences * shape.length, self.depth
        kinds = {"encoder_first": self._encoder(shape, 0)}
        if depth > 1:
            kinds["encoder"] = self._encoder(shape, 1)
        kinds["decoder_first"] = self._decoder_first(shape)
        if depth > 1:
            kinds["decoder"] = self._cell(shape, self.hidden, "", first_kept=False)
        order: list[str] = []
        for part in ("encoder", "decoder"):
            order += [f"{part}_first", *[part] * (depth - 1)]
        return Blocks(
            tuple(order),
            kinds,
            (
                lookup("source_embedding", shape, tokens, self.source_vocab, self.embedding),
                lookup("target_embedding", shape, tokens, self.target_vocab, self.embedding),
            ),
            self._head(shape, tokens),
            float(tokens * self.states),
        )

    def _cell(self, shape: Shape, inputs: int, suffix: str, *, first_kept: bool) -> tuple[Op, ...]:
        steps = shape.length
        return (
            input_product(
                f"input{suffix}",
                self.cell,
                shape,
                steps,
                inputs,
                self.hidden,
                bias=self.bias,
                kept=first_kept,
            ),
            recurrence(f"recurrence{suffix}", self.cell, shape, steps, self.hidden, bias=self.bias),
        )

    def _encoder(self, shape: Shape, layer: int) -> tuple[Op, ...]:
        inputs = self.states if layer else self.embedding
        ops: list[Op] = []
        for index, suffix in enumerate(("", "_reverse")[: self.directions]):
            kept = layer == 0 and index == 0
            ops += self._cell(shape, inputs, suffix, first_kept=kept)
        return tuple(ops)

    def _decoder_first(self, shape: Shape) -> tuple[Op, ...]:
        """Return the first state, attention, and the layer that takes tokens and contexts."""
        rows, n = shape.sequences, self.hidden
        start = dense("initial_state", shape, rows, n, n, bias=self.bias, kept=False)
        begin = activation("tanh", "tanh", shape, float(rows * n), result_kept=False)
        sizes = self._sizes(shape.length)
        attends = (keys(sizes, shape), attention(sizes, shape)) if self.attention else ()
        context = context_product(
            self.cell, shape, self.states, n, shape.length, changes=bool(self.attention)
        )
        cell = self._cell(shape, self.embedding, "", first_kept=True)
        return (start, begin, *attends, context, *cell)

    def _head(self, shape: Shape, tokens: int) -> tuple[Op, ...]:
        """Return the projection to the vocabulary and the loss, after a deep output if any.

        The deep output (appendix A.2.2) is max over pairs of 2 l products of state, token and
        context, which are first written side by side.
        """
        end = self._output(shape, tokens)
        if not self.maxout:
            return end
        e, joined = shape.numerics.activation_bytes, float(tokens * self.joined)
        side = stream(2 * e * joined)
        deep = dense("deep_output", shape, tokens, self.joined, 2 * self.maxout, bias=self.bias)
        deep = replace(
            deep, forward=(side, *deep.forward), backward_data=(*deep.backward_data, side)
        )
        pairs = float(tokens * self.maxout)
        traffic = stream((3 * e + INDEX_BYTES) * pairs)
        largest = Op("maxout", Axis.TOKENS, (traffic,), (traffic,), saved_bytes=INDEX_BYTES * pairs)
        return (deep, largest, *end)

    def _output(self, shape: Shape, tokens: int) -> tuple[Op, ...]:
        inputs = self.maxout or self.hidden
        if self.output_softmax != FULL:
            end = End(inputs, self.target_vocab, self.output_softmax)
            return output(end, replace(shape, sequences=tokens, length=1))
        product = dense(
            "output",
            shape,
            tokens,
            inputs,
            self.target_vocab,
            bias=self.bias,
            kept=bool(self.maxout),
        )
        return (product, loss("cross_entropy", shape, tokens, self.target_vocab))

    def forward_flop(self, length: int) -> float:
        """FLOP of the products for one sample of `length` tokens on both sides."""
        n, cell, depth = self.hidden, self.cell, range(self.depth)
        encoder = sum(step_flop(cell, self.states if i else self.embedding, n) for i in depth)
        decoder = sum(step_flop(cell, n if i else self.embedding, n) for i in depth)
        context = 2.0 * CELLS[cell].gates * n * self.states
        inputs = self.maxout or n
        head = 2.0 * self.output_softmax.weights_of_a_token(inputs, self.target_vocab)
        if self.maxout:
            head += 2.0 * self.joined * 2 * self.maxout
        flop = length * (self.directions * encoder + decoder + head) + 2.0 * n * n
        if self.attention:
            return flop + length * context + self._sizes(length).forward_flop
        return flop + context

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one sample: three times those of forward."""
        return 3.0 * self.forward_flop(length)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        keys = (
            *("name", "family", "cell", "embedding", "hidden", "depth", "source_vocab"),
            *("target_vocab", "steps", "attention", "maxout", "bidirectional", "bias", "source"),
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


def from_mapping(block: object, path: Path = (), name: str = "inline") -> Seq2Seq:
    """Return the encoder and decoder that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `Seq2Seq`; ``family: seq2seq``, ``embedding``, ``hidden``, ``source_vocab``,
        ``target_vocab`` and ``steps`` are required. ``attention`` is ``hidden``.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 to DS205, DS220 for a softmax that cannot be.
    """
    check = {
        **COMMON,
        "family": choice("seq2seq"),
        "cell": choice(*CELLS),
        **dict.fromkeys(("embedding", "hidden", "source_vocab", "target_vocab"), count()),
        "depth": count(1_000),
        "steps": count(MOST_STEPS),
        **dict.fromkeys(("attention", "maxout"), count(least=0)),
        **dict.fromkeys(("bidirectional", "bias"), switch),
        **SOFTMAX,
    }
    required = {
        "family": "seq2seq",
        "embedding": 620,
        "hidden": 1000,
        "source_vocab": 30000,
        "target_vocab": 30000,
        "steps": 50,
    }
    given = read(block, path, check, required, "a sequence-to-sequence model")
    del given["family"]
    given["output_softmax"] = take_softmax(given, given["target_vocab"], path)
    return Seq2Seq(**{"name": name, "attention": given["hidden"], **given})
