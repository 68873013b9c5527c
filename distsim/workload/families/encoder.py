"""Encoder-only transformers: BERT and RoBERTa.

Devlin 2019 (arXiv 1810.04805), Liu 2019 (arXiv 1907.11692). Layers are those of Vaswani 2017:
post-norm, full attention, GELU, biases everywhere. Embeddings of tokens, places and segments are
summed and normalized. A pooler (dense, tanh) reads the first token of a sequence; the masked-LM
head is a dense layer, GELU, a norm, and a product with the token table that has a bias of its own;
the next-sentence head tells two classes apart from the pooled vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distsim.record import record
from distsim.workload.attention_pattern import VARIANTS, Variant
from distsim.workload.families import layers
from distsim.workload.families.checking import (
    COMMON,
    Check,
    Path,
    choice,
    count,
    out_of_range,
    read,
    switch,
)
from distsim.workload.families.transformer_parts import (
    Widths,
    feed_forward,
    fill_head_dim,
    parts,
    plain,
    self_attention,
    sublayer,
    whole_dense,
)
from distsim.workload.model import ModelSpec
from distsim.workload.model_checks import check_variant
from distsim.workload.network import Blocks
from distsim.workload.norms import norm
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape
from distsim.workload.transformer import embedding, head

#: Key of this family in the registry.
FAMILY = "encoder"
_CLASSES = 2  # is the second sentence the next one, or not


@record(kw_only=True)
class EncoderSpec:
    """An encoder-only transformer.

    Attributes
    ----------
    name : str
    layers, hidden, heads, head_dim, ffn, vocab : int
    max_positions : int
        Rows of the table of learned positions.
    default_length : int
        Tokens of a sequence where a scenario does not say.
    segments : int
        Rows of the table of segments; 0: none.
    pooler : bool
        A dense layer and tanh on the first token of a sequence.
    mlm_head : bool
        The masked-LM head, and its loss.
    nsp_head : bool
        The next-sentence head on the pooled vector, and its loss.
    predictions : int
        Tokens of a sequence that the masked-LM head sees; 0: all of them, as implementations do
        that select masked tokens in the loss. BERT's gathers at most 80 of 512 before the head.
    dropout : bool
    attention : str
        One of `distsim.workload.attention_pattern.VARIANTS`.
    attention_size, attention_stride, attention_global : int
        Its numbers (`Variant`).
    source : str
    published_parameters : int or None
    """

    name: str
    layers: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    default_length: int
    segments: int = 2
    pooler: bool = True
    mlm_head: bool = True
    nsp_head: bool = True
    predictions: int = 0
    dropout: bool = True
    attention: str = VARIANTS[0]
    attention_size: int = 0
    attention_stride: int = 0
    attention_global: int = 0
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """Key of the registry of families."""
        return FAMILY

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        return sum(self.parameters_by_part().values())

    @property
    def divisions(self) -> Mapping[str, int]:
        """What a tensor-parallel degree must divide."""
        return {"heads": self.heads, "ffn": self.ffn}

    @property
    def variant(self) -> Variant:
        """The kind of core attention."""
        return Variant(
            self.attention, self.attention_size, self.attention_stride, self.attention_global
        )

    @property
    def _widths(self) -> Widths:
        return Widths(self.hidden, self.heads, self.head_dim, self.ffn)

    @property
    def _parts(self) -> ModelSpec:
        return parts(
            self._widths, vocab=self.vocab, positions=self.max_positions, dropout=self.dropout
        )

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        With h = hidden, f = ffn, V = vocab, q = heads * head_dim:

        ==================  =======================================
        token_embedding     V h
        position_embedding  max_positions h
        segment_embedding   segments h
        attention           4 h q + 3 q + h a layer
        mlp                 2 h f + f + h a layer
        norms               4h a layer, and 2h after the embeddings
        pooler              h^2 + h
        mlm_head            h^2 + h, 2h for its norm, V
        nsp_head            2h + 2
        ==================  =======================================
        """
        h, w = self.hidden, self._widths
        mix = self.variant.parameters(self.max_positions)
        return {
            "token_embedding": self.vocab * h,
            "position_embedding": self.max_positions * h,
            "segment_embedding": self.segments * h,
            "attention": self.layers * (w.attention + w.attention_biases + mix),
            "mlp": self.layers * (w.mlp + w.mlp_biases),
            "norms": (2 * self.layers + 1) * 2 * h,
            "pooler": h * h + h if self.pooler else 0,
            "mlm_head": h * h + 3 * h + self.vocab if self.mlm_head else 0,
            "nsp_head": _CLASSES * (h + 1) if self.nsp_head else 0,
        }

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch."""
        spec = self._parts
        attention = self_attention(spec, shape, variant=self.variant)
        layer = (
            *sublayer("attention_norm", spec, shape, attention, norm_first=False),
            *sublayer("mlp_norm", spec, shape, feed_forward(spec, shape, "gelu"), norm_first=False),
        )
        return Blocks(
            ("encoder",) * self.layers,
            {"encoder": layer},
            self._embedding(shape),
            self._head(shape),
            float(shape.tokens * self.hidden),
        )

    def _embedding(self, shape: Shape) -> tuple[Op, ...]:
        spec, e = self._parts, shape.numerics.activation_bytes
        elements = float(shape.tokens * self.hidden)
        segments = Op(
            "embedding_segments",
            Axis.TOKENS,
            (stream(3 * e * elements),),
            (),
            (stream(e * elements),),
            replicated_parameters=self.segments * self.hidden,
        )
        return (
            *embedding(spec, shape),
            *((segments,) if self.segments else ()),
            norm("embedding_norm", spec, shape),
        )

    def _predicted(self, length: int) -> int:
        return min(self.predictions or length, length)

    def _head(self, shape: Shape) -> tuple[Op, ...]:
        b, h = shape.sequences, self.hidden
        ops: list[Op] = []
        if self.mlm_head:
            ops += self._mlm_head(shape)
        if self.pooler:
            ops.append(whole_dense("pooler", shape, b, h, h))
            ops.append(layers.activation("pooler_tanh", "tanh", shape, float(b * h)))
        if self.nsp_head:
            ops.append(whole_dense("nsp_head", shape, b, h, _CLASSES))
            ops.append(replace(layers.loss("cross_entropy", shape, b, _CLASSES), name="nsp_loss"))
        return tuple(ops)

    def _mlm_head(self, shape: Shape) -> tuple[Op, ...]:
        spec = self._parts
        seen = replace(shape, length=self._predicted(shape.length))
        bias = shape.numerics.activation_bytes * float(seen.tokens) * self.vocab
        apart = () if shape.fusion.linear_bias_epilogue else (stream(2 * bias),)
        _, product, loss = head(spec, seen)
        return (
            whole_dense("mlm_dense", seen, seen.tokens, self.hidden, self.hidden),
            layers.activation("mlm_gelu", "gelu", seen, float(seen.tokens * self.hidden)),
            norm("mlm_norm", spec, seen),
            product,
            Op("mlm_bias", Axis.VOCAB, apart, (), (stream(bias),), parameters=self.vocab),
            loss,
        )

    def forward_flop(self, length: int) -> float:
        """FLOP of the forward pass of one sequence: 2 a weight and token, and core attention."""
        w, h = self._widths, self.hidden
        weights = float(self.layers * (w.attention + w.mlp) * length)
        if self.mlm_head:
            weights += self._predicted(length) * h * (h + self.vocab)
        weights += h * h if self.pooler else 0
        weights += _CLASSES * h if self.nsp_head else 0
        core = self.variant.flop(length, self.heads, self.head_dim)
        return 2.0 * weights + self.layers * core

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one sequence, without recomputation."""
        return 3.0 * self.forward_flop(length)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        return plain(self)


_KEYS: Mapping[str, Check] = {
    **COMMON,
    "family": choice(FAMILY),
    "layers": count(10_000),
    "hidden": count(1_000_000),
    "heads": count(100_000),
    "head_dim": count(100_000),
    "ffn": count(),
    "vocab": count(),
    "max_positions": count(100_000_000),
    "default_length": count(100_000_000),
    "segments": count(least=0),
    "pooler": switch,
    "mlm_head": switch,
    "nsp_head": switch,
    "predictions": count(100_000_000, least=0),
    "dropout": switch,
    "attention": choice(*VARIANTS),
    **dict.fromkeys(
        ("attention_size", "attention_stride", "attention_global"), count(100_000_000, least=0)
    ),
}
_REQUIRED = {"layers": 12, "hidden": 768, "heads": 12, "vocab": 30522, "max_positions": 512}


def from_mapping(block: object, path: Path = (), name: str = "inline") -> EncoderSpec:
    """Return the encoder that a block describes.

    ``layers, hidden, heads, vocab, max_positions`` are required; ``head_dim`` is hidden / heads,
    ``ffn`` is 4 hidden, ``default_length`` is max_positions, and the rest is as in BERT.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range, DS204 no such choice, DS205 keys
        missing, DS223 heads that do not divide hidden, DS239 attention that cannot be.
    """
    values = read(block, path, _KEYS, _REQUIRED, "an encoder")
    values.pop("family", None)
    fill_head_dim(values, path)
    values.setdefault("name", name)
    values.setdefault("ffn", 4 * values["hidden"])
    values.setdefault("default_length", values["max_positions"])
    spec = EncoderSpec(**values)
    _check(spec, path)
    return spec


def _check(spec: EncoderSpec, path: Path) -> None:
    if spec.default_length > spec.max_positions:
        rule = f"default_length <= max_positions ({spec.max_positions})"
        raise out_of_range("default_length", spec.default_length, (*path, "default_length"), rule)
    if spec.nsp_head and not spec.pooler:
        rule = "without a pooler there is no vector to classify: nsp_head: false, or pooler: true"
        raise out_of_range("nsp_head", spec.nsp_head, (*path, "nsp_head"), rule)
    check_variant(spec, path)
