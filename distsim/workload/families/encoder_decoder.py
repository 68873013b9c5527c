"""Encoder-decoder transformers: the original one, T5 and BART.

Vaswani 2017 (arXiv 1706.03762), Raffel 2020 (arXiv 1910.10683), Lewis 2019 (arXiv 1910.13461). An
encoder layer is full self-attention and a feed-forward block; a decoder layer is causal
self-attention, attention to the encoder's output, and a feed-forward block. Encoder and decoder
share one token table, and the LM head uses it too where `tied_embeddings` says so.

`length` is the tokens of the source; the target has `target_length`, or as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distsim.record import record
from distsim.workload.families.checking import COMMON, Check, Path, choice, count, read, switch
from distsim.workload.families.transformer_parts import (
    ACTIVATIONS,
    GATED,
    Widths,
    bucket_bias,
    cross_attention,
    feed_forward,
    fill_head_dim,
    parts,
    plain,
    self_attention,
    sublayer,
)
from distsim.workload.model import ModelSpec
from distsim.workload.network import Blocks
from distsim.workload.norms import norm
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape
from distsim.workload.transformer import embedding, head

#: Key of this family in the registry.
FAMILY = "encoder_decoder"
POSITIONS = ("sinusoidal", "learned", "relative")


@record(kw_only=True)
class EncoderDecoderSpec:
    """An encoder-decoder transformer.

    Attributes
    ----------
    name : str
    encoder_layers, decoder_layers : int
    hidden, heads, head_dim, ffn, vocab : int
    max_positions : int
        Rows of each of the two tables of learned positions, if there are any.
    default_length : int
        Tokens of the source where a scenario does not say.
    target_length : int
        Tokens of the target; 0: as many as the source has.
    norm : {"layernorm", "rmsnorm"}
    norm_first : bool
        Norms stand before the blocks, and one more after each stack; otherwise after the sums.
    embedding_norm : bool
        Embeddings are normalized (BART).
    activation : {"gelu", "relu", "geglu", "swiglu"}
    positions : {"sinusoidal", "learned", "relative"}
        Relative: a learned bias of the scores for each head and bucket of distances, one table
        for each stack, no bias in cross attention (Raffel 2020, section 2.1).
    relative_buckets : int
    attention_bias, ffn_bias : bool
        Projections of attention, of feed-forward blocks add a bias.
    tied_embeddings : bool
        The LM head uses the token table.
    dropout : bool
        On attention, residual branches and embeddings.
    source : str
    published_parameters : int or None
    """

    name: str
    encoder_layers: int
    decoder_layers: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int = 0
    default_length: int = 512
    target_length: int = 0
    norm: str = "layernorm"
    norm_first: bool = False
    embedding_norm: bool = False
    activation: str = "relu"
    positions: str = POSITIONS[0]
    relative_buckets: int = 32
    attention_bias: bool = False
    ffn_bias: bool = True
    tied_embeddings: bool = True
    dropout: bool = True
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """Key of the registry of families."""
        return FAMILY

    @property
    def layers(self) -> int:
        """Layers of both stacks."""
        return self.encoder_layers + self.decoder_layers

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        return sum(self.parameters_by_part().values())

    @property
    def divisions(self) -> Mapping[str, int]:
        """What a tensor-parallel degree must divide."""
        return {"heads": self.heads, "ffn": self.ffn}

    @property
    def _widths(self) -> Widths:
        return Widths(
            self.hidden, self.heads, self.head_dim, self.ffn, gated=self.activation in GATED
        )

    @property
    def _parts(self) -> ModelSpec:
        spec = parts(
            self._widths,
            vocab=self.vocab,
            positions=self.max_positions if self.positions == "learned" else 0,
            norm=self.norm,
            bias=self.attention_bias,
            dropout=self.dropout,
        )
        return replace(spec, tied_embeddings=self.tied_embeddings)

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        With h = hidden, f = ffn, V = vocab, q = heads * head_dim, E and D layers, n = h for an
        RMSNorm and 2h for a LayerNorm:

        ==================  ===========================================  ======================
        part                weights                                      biases, if any
        ==================  ===========================================  ======================
        token_embedding     V h                                          none
        position_embedding  2 max_positions h, if learned                none
        relative_bias       2 relative_buckets heads, if relative        none
        attention           4 h q a layer                                3 q + h
        cross_attention     4 h q a decoder layer                        3 q + h
        mlp                 2 h f a layer, 3 h f if gated                f + h, 2 f + h if gated
        norms               2 n a layer of the encoder, 3 n of the
                            decoder; 2 n if norm_first; 2 n after
                            embeddings
        lm_head             V h, none if tied                            none
        ==================  ===========================================  ======================
        """
        h, w, (e, d) = self.hidden, self._widths, (self.encoder_layers, self.decoder_layers)
        attention = w.attention + (w.attention_biases if self.attention_bias else 0)
        mlp = w.mlp + (w.mlp_biases if self.ffn_bias else 0)
        scales = 2 * e + 3 * d + 2 * self.norm_first + 2 * self.embedding_norm
        learned, relative = self.positions == "learned", self.positions == "relative"
        return {
            "token_embedding": self.vocab * h,
            "position_embedding": 2 * self.max_positions * h if learned else 0,
            "relative_bias": 2 * self.relative_buckets * self.heads if relative else 0,
            "attention": self.layers * attention,
            "cross_attention": d * attention,
            "mlp": self.layers * mlp,
            "norms": scales * h * (2 if self.norm == "layernorm" else 1),
            "lm_head": 0 if self.tied_embeddings else self.vocab * h,
        }

    def target(self, length: int) -> int:
        """Return the tokens of the target of a source of `length` tokens."""
        return self.target_length or length

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch.

        The first decoder layer also ends the encoder and looks up the target's tokens.
        """
        source = shape
        target = replace(shape, length=self.target(shape.length), segment_length=0.0)
        middle = (*self._end(source, "encoder_norm"), *self._embedding(target, "target_"))
        kinds = {
            "encoder": self._encoder_layer(source),
            "decoder_first": (*middle, *self._decoder_layer(target, source, first=True)),
            "decoder": self._decoder_layer(target, source, first=False),
        }
        layers = ("encoder",) * self.encoder_layers + ("decoder_first",)
        layers += ("decoder",) * (self.decoder_layers - 1)
        _, product, loss = head(self._parts, target)
        return Blocks(
            layers,
            {kind: kinds[kind] for kind in dict.fromkeys(layers)},
            self._embedding(source, ""),
            (*self._end(target, "decoder_norm"), product, loss),
            float(max(source.tokens, target.tokens) * self.hidden),
        )

    def _end(self, shape: Shape, name: str) -> tuple[Op, ...]:
        return (norm(name, self._parts, shape),) if self.norm_first else ()

    def _embedding(self, shape: Shape, prefix: str) -> tuple[Op, ...]:
        spec, elements = self._parts, float(shape.tokens * self.hidden)
        lookup, *rest = embedding(spec, shape)
        if prefix:  # the same table as for the source
            lookup = replace(lookup, parameters=0)
        ops = [lookup]
        if self.positions == "sinusoidal":
            added = stream(3 * shape.numerics.activation_bytes * elements)
            ops.append(Op("embedding_sinusoids", Axis.TOKENS, (added,)))
        ops += rest
        if self.embedding_norm:
            ops.append(norm("embedding_norm", spec, shape))
        if self.positions == "relative":
            ops.append(bucket_bias(spec, shape.whole, self.relative_buckets, "relative_bias"))
        return tuple(replace(op, name=prefix + op.name) for op in ops)

    def _sublayer(self, name: str, shape: Shape, ops: tuple[Op, ...]) -> tuple[Op, ...]:
        return sublayer(name, self._parts, shape, ops, norm_first=self.norm_first)

    def _feed_forward(self, shape: Shape) -> tuple[Op, ...]:
        spec = replace(self._parts, bias=self.ffn_bias)
        return self._sublayer("mlp_norm", shape, feed_forward(spec, shape, self.activation))

    def _encoder_layer(self, shape: Shape) -> tuple[Op, ...]:
        relative = self.positions == "relative"
        attention = self_attention(self._parts, shape, relative=relative)
        return (*self._sublayer("attention_norm", shape, attention), *self._feed_forward(shape))

    def _decoder_layer(self, shape: Shape, source: Shape, *, first: bool) -> tuple[Op, ...]:
        spec, relative = self._parts, self.positions == "relative"
        attention = self_attention(spec, shape, causal=True, relative=relative)
        cross = cross_attention(spec, shape, source, keeps_source=first)
        return (
            *self._sublayer("attention_norm", shape, attention),
            *self._sublayer("cross_norm", shape, cross),
            *self._feed_forward(shape),
        )

    def forward_flop(self, length: int) -> float:
        """FLOP of the forward pass of one pair of sequences: every product counts, in full.

        With s tokens of source and t of target: 2 s and 2 t a weight of the stack that they pass,
        cross attention's keys and values at 2 s; core attention 4 s^2 q, 4 t^2 q, 4 s t q a layer.
        """
        w, s, t = self._widths, length, self.target(length)
        own = w.attention + w.mlp
        # Half of the weights of cross attention are for keys and values.
        cross = w.attention * (s + t) / 2
        weights = self.encoder_layers * own * s + self.decoder_layers * (own * t + cross)
        weights += t * self.hidden * self.vocab
        pairs = self.encoder_layers * s * s + self.decoder_layers * (t * t + s * t)
        return 2.0 * weights + 4.0 * pairs * w.query

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one pair of sequences, without recomputation."""
        return 3.0 * self.forward_flop(length)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        return plain(self)


_KEYS: Mapping[str, Check] = {
    **COMMON,
    "family": choice(FAMILY),
    "encoder_layers": count(10_000),
    "decoder_layers": count(10_000),
    "hidden": count(1_000_000),
    "heads": count(100_000),
    "head_dim": count(100_000),
    "ffn": count(),
    "vocab": count(),
    "max_positions": count(100_000_000, least=0),
    "default_length": count(100_000_000),
    "target_length": count(100_000_000, least=0),
    "norm": choice("layernorm", "rmsnorm"),
    "norm_first": switch,
    "embedding_norm": switch,
    "activation": choice(*ACTIVATIONS),
    "positions": choice(*POSITIONS),
    "relative_buckets": count(100_000),
    "attention_bias": switch,
    "ffn_bias": switch,
    "tied_embeddings": switch,
    "dropout": switch,
}
_REQUIRED = {"encoder_layers": 6, "decoder_layers": 6, "hidden": 512, "heads": 8, "vocab": 37000}


def from_mapping(block: object, path: Path = (), name: str = "inline") -> EncoderDecoderSpec:
    """Return the encoder-decoder that a block describes.

    ``encoder_layers, decoder_layers, hidden, heads, vocab`` are required, and ``max_positions``
    with learned positions; ``head_dim`` is hidden / heads, ``ffn`` is 4 hidden, and the rest is as
    in the original Transformer.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range, DS204 no such choice, DS205 keys
        missing, DS223 heads that do not divide hidden.
    """
    learned = isinstance(block, Mapping) and block.get("positions") == "learned"
    keys, required = _KEYS, _REQUIRED
    if learned:
        keys = {**keys, "max_positions": count(100_000_000)}
        required = {**required, "max_positions": 1024}
    values = read(block, path, keys, required, "an encoder-decoder")
    values.pop("family", None)
    fill_head_dim(values, path)
    values.setdefault("name", name)
    values.setdefault("ffn", 4 * values["hidden"])
    return EncoderDecoderSpec(**values)
