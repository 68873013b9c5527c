"""The shape of a decoder-only transformer, and its exact number of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from distsim.record import record
from distsim.workload.attention_pattern import VARIANTS, Variant
from distsim.workload.vocabulary import SOFTMAXES, Softmax

#: Kinds of layers by their feed-forward block.
DENSE, MOE = "dense", "moe"
#: Norms and the vectors of `hidden` parameters that each has: scale and bias, or less.
NORMS = {"layernorm": 2, "rmsnorm": 1, "layernorm_no_bias": 1, "layernorm_plain": 0}
#: Where norms stand, and how many a layer has: before each branch, after it, or both.
NORM_PLACES = {"before": 2, "after": 2, "both": 4}

if TYPE_CHECKING:
    from distsim.workload.network import Blocks
    from distsim.workload.shape import Shape


@record(kw_only=True)
class ModelSpec:
    """A decoder-only transformer, some or all of whose layers may be mixtures of experts.

    Attributes
    ----------
    family : {"gpt", "llama"}
        Whose conventions fill in what a block does not say (`FAMILIES`); nothing else depends
        on it.
    layers, hidden, heads, vocab : int
    kv_heads : int
        Heads of keys and values: `heads` = multi-head, fewer = grouped-query attention
        (Ainslie 2023, arXiv 2305.13245).
    head_dim : int
        Features of one head; ``heads * head_dim`` need not be `hidden`.
    ffn : int
        Features between the two projections of the feed-forward block of a dense layer.
    max_positions : int
        Tokens of the longest sequence. With learned positions there is one vector for each.
    norm : str
        One of `NORMS`; those of LayerNorm may lack the bias (Cohere) or both vectors (OLMo).
    norm_place : {"before", "after", "both"}
        Norms before each branch of a layer, behind it (OLMo 2), or both (Gemma 2). The sum of
        branches is not normalized.
    embedding_norm : bool
        One more norm after the embedding (BLOOM).
    parallel_block : bool
        Attention and feed-forward block stand side by side behind one norm, and both are added to
        the input (Wang 2021, GPT-J; Chowdhery 2022, PaLM, arXiv 2204.02311, section 2).
    activation : {"gelu", "swiglu"}
        SwiGLU has two projections up, one of which gates the other (Shazeer 2020,
        arXiv 2002.05202).
    positions : {"learned", "rotary", "alibi", "none"}
        ``alibi`` adds a fixed bias to the scores (Press 2021, arXiv 2108.12409).
    extra_positions : int
        Rows of the table of learned positions that no token has (OPT: 2).
    tied_embeddings : bool
        The LM head uses the token embedding.
    bias : bool
        Projections add a bias, unless the next three say otherwise.
    qkv_bias, out_bias, mlp_bias : bool or None
        Those to queries, keys and values (Qwen), from the heads back, and those of feed-forward
        blocks and experts; None: as `bias`.
    head_bias, router_bias : bool
        The LM head (GPT-J, Phi) and the router (GPT-OSS) add a bias.
    qk_norm : bool
        Queries and keys are normalized before the product (Dehghani 2023, arXiv 2302.05442).
    qk_norm_scales : {"shared", "each"}
        All heads share the parameters of that norm, or each has its own (OLMo 2, whose norm is
        over all heads; the all-reduce of a divided one is not modelled).
    dropout : bool
        Trained with dropout on attention, residual branches and embedding.
    attention : str
        One of `distsim.workload.attention_pattern.VARIANTS`.
    attention_size, attention_stride, attention_global : int
        Numbers of that kind (`Variant`): keys or features, stride, global tokens.
    full_attention_every : int
        A layer whose number, counted from 1, is a multiple of this attends in full whatever
        `attention` says (Gemma 2: 2; Gemma 3: 6); 0: none does.
    attention_sinks : bool
        Each head has a learned score beside those of the keys (GPT-OSS).
    kv_lora_rank : int
        Features of the latent vector from which keys and values are made: multi-head latent
        attention (DeepSeek-V2, arXiv 2405.04434, section 2.1); 0: keys and values are projected.
    q_lora_rank : int
        Likewise of queries; 0: queries are projected.
    rope_head_dim : int
        With latent attention: features of a head with rotary positions, beside `head_dim` without;
        all heads share those of the key.
    v_head_dim : int
        With latent attention: features of a value.
    softmax : str
        One of `distsim.workload.vocabulary.SOFTMAXES`.
    softmax_samples : int
        ``sampled``: words beside the target (Jean 2015, arXiv 1412.2007).
    softmax_cutoffs : tuple of int
        ``adaptive``: words of the head, then where clusters end (Grave 2017, arXiv 1609.04309).
    softmax_shares : tuple of float
        ``adaptive``: part of the tokens whose target is in each cluster.
    experts : int
        Experts of a layer that tokens are routed to; 0 = all layers are dense.
    experts_per_token : int
        Experts that each token goes to (the k of top-k routing, Shazeer 2017, arXiv 1701.06538).
    expert_ffn : int
        Features between the two projections of one expert.
    shared_experts : int
        Experts that every token passes through (Dai 2024, arXiv 2401.06066, section 3.2).
    shared_ffn : int
        Features of the shared experts, all together.
    shared_gate : bool
        The output of the shared experts is scaled by a learned gate (Qwen).
    dense_layers : int
        The first layers, which are dense.
    moe_every : int
        A layer after these is a mixture of experts if its number, counted from 1, is a multiple
        of this (every other layer: 2, Lepikhin 2020, arXiv 2006.16668).
    routing_groups, routing_groups_per_token : int
        Groups of experts, and how many of them a token may use (DeepSeek-V2, arXiv 2405.04434,
        section 2.2.2); 0: all.
    capacity_factor : float or None
        Each expert takes this many times the mean number of tokens, is padded up to it and drops
        what is beyond (Fedus 2021, arXiv 2101.03961, equation 3). None = nothing is dropped.
    source : str
        Where the shape was published.
    published_parameters : int or None
        What the source prints; a rounded figure ends in zeros.
    """

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    norm: str
    activation: str
    positions: str
    tied_embeddings: bool
    bias: bool
    dropout: bool
    norm_place: str = "before"
    embedding_norm: bool = False
    parallel_block: bool = False
    extra_positions: int = 0
    qkv_bias: bool | None = None
    out_bias: bool | None = None
    mlp_bias: bool | None = None
    head_bias: bool = False
    router_bias: bool = False
    qk_norm: bool = False
    qk_norm_scales: str = "shared"
    attention: str = VARIANTS[0]
    attention_size: int = 0
    attention_stride: int = 0
    attention_global: int = 0
    full_attention_every: int = 0
    attention_sinks: bool = False
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    rope_head_dim: int = 0
    v_head_dim: int = 0
    softmax: str = SOFTMAXES[0]
    softmax_samples: int = 0
    softmax_cutoffs: tuple[int, ...] = ()
    softmax_shares: tuple[float, ...] = ()
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_experts: int = 0
    shared_ffn: int = 0
    shared_gate: bool = False
    dense_layers: int = 0
    moe_every: int = 1
    routing_groups: int = 0
    routing_groups_per_token: int = 0
    capacity_factor: float | None = None
    source: str
    published_parameters: int | None = None

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """``dense`` or ``moe`` for each layer, in order."""
        if not self.experts:
            return (DENSE,) * self.layers
        return tuple(
            MOE if i >= self.dense_layers and (i + 1) % self.moe_every == 0 else DENSE
            for i in range(self.layers)
        )

    @property
    def default_length(self) -> int:
        """Tokens of a sequence where nothing else is said."""
        return self.max_positions

    @property
    def divisions(self) -> Mapping[str, int]:
        """What a tensor-parallel degree must divide."""
        heads = {"heads": self.heads, "kv_heads": self.kv_heads}
        return heads | ({"ffn": self.ffn} if DENSE in self.layer_kinds else {})

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch."""
        from distsim.workload import transformer  # knows this class

        return transformer.blocks(self, shape)

    def forward_flop(self, length: int) -> float:
        """FLOP of the forward pass of one sequence."""
        return self.model_flop(length) / 3

    def model_flop(self, length: int) -> float:
        """FLOP of forward and backward for one sequence, without recomputation."""
        from distsim.workload import transformer

        return transformer.model_flop_per_sequence(self, length)

    @property
    def biased_qkv(self) -> bool:
        """The projections to queries, keys and values add a bias."""
        return self.bias if self.qkv_bias is None else self.qkv_bias

    @property
    def biased_out(self) -> bool:
        """The projection from the heads adds a bias."""
        return self.bias if self.out_bias is None else self.out_bias

    @property
    def biased_mlp(self) -> bool:
        """The projections of feed-forward blocks and experts add biases."""
        return self.bias if self.mlp_bias is None else self.mlp_bias

    @property
    def up_projections(self) -> int:
        """Projections up of a feed-forward block: two where one gates the other."""
        return 2 if self.activation == "swiglu" else 1

    @property
    def latent(self) -> bool:
        """Keys and values are made from a latent vector."""
        return self.kv_lora_rank > 0

    @property
    def key_dim(self) -> int:
        """Features of a query and of a key of one head."""
        return self.head_dim + (self.rope_head_dim if self.latent else 0)

    @property
    def value_dim(self) -> int:
        """Features of a value of one head."""
        return self.v_head_dim if self.latent else self.head_dim

    @property
    def core_dim(self) -> float:
        """Half the features of a key and a value together: 4 s^2 of it is what a head costs."""
        return (self.key_dim + self.value_dim) / 2

    def variant_of(self, layer: int) -> Variant:
        """Return the kind of core attention of a layer, counted from 0."""
        every = self.full_attention_every
        if every and (layer + 1) % every == 0:
            return Variant()
        return Variant(
            self.attention, self.attention_size, self.attention_stride, self.attention_global
        )

    @property
    def output_softmax(self) -> Softmax:
        """How the loss deals with the vocabulary."""
        return Softmax(
            self.softmax, self.softmax_samples, self.softmax_cutoffs, self.softmax_shares
        )

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters, the sum of `parameters_by_part`."""
        from distsim.workload.parameters import total  # knows this class

        return total(self)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: all but those of the experts it is not routed to."""
        from distsim.workload.parameters import feed_forward

        idle = self.layer_kinds.count(MOE) * (self.experts - self.experts_per_token)
        return self.parameters - idle * feed_forward(self, self.expert_ffn)

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        See `distsim.workload.parameters.by_part`.
        """
        from distsim.workload.parameters import by_part  # knows this class

        return by_part(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with counts of parameters.

        What only some models have is there where it says something.
        """
        counts: dict[str, Any] = {"parameters": self.parameters}
        if self.experts:
            counts["active_parameters"] = self.active_parameters
        values = {key: getattr(self, key) for key in KEYS}
        silent = _SILENT if self.experts else _SILENT | EXPERT_KEYS
        shown = {k: v for k, v in values.items() if k not in silent or v != silent[k]}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()}
        return plain | counts | {"parameters_by_part": self.parameters_by_part()}


#: What a family says where a block is silent (Radford 2019; Touvron 2023, arXiv 2302.13971).
FAMILIES: Mapping[str, Mapping[str, str | bool]] = {
    "gpt": {
        "norm": "layernorm",
        "activation": "gelu",
        "positions": "learned",
        "tied_embeddings": True,
        "bias": True,
        "dropout": True,
    },
    "llama": {
        "norm": "rmsnorm",
        "activation": "swiglu",
        "positions": "rotary",
        "tied_embeddings": False,
        "bias": False,
        "dropout": False,
    },
}

#: Keys of a model block, in the order of `ModelSpec`.
KEYS = tuple(field.name for field in fields(ModelSpec))

_ABOUT_EXPERTS = (
    "experts",
    "experts_per_token",
    "expert_ffn",
    "shared_experts",
    "shared_ffn",
    "shared_gate",
    "dense_layers",
    "moe_every",
    "capacity_factor",
    "router_bias",
    "routing_groups",
    "routing_groups_per_token",
)
_DEFAULTS = {field.name: field.default for field in fields(ModelSpec)}
#: Keys that say something only of a model with experts, and what they are where it is silent.
EXPERT_KEYS = {key: _DEFAULTS[key] for key in _ABOUT_EXPERTS}
_USUAL = (
    *("published_parameters", "qkv_bias", "qk_norm", *_ABOUT_EXPERTS),
    *(key for key, value in _DEFAULTS.items() if value is MISSING),
)
#: What only a few models have, and what stands there for all others.
_SILENT = {key: value for key, value in _DEFAULTS.items() if key not in _USUAL} | {"qkv_bias": None}
