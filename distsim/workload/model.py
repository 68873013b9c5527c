"""The shape of a decoder-only transformer, and its exact number of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

#: Kinds of layers by their feed-forward block.
DENSE, MOE = "dense", "moe"

if TYPE_CHECKING:
    from distsim.workload.network import Blocks
    from distsim.workload.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
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
    norm : {"layernorm", "rmsnorm"}
    activation : {"gelu", "swiglu"}
        SwiGLU has two projections up, one of which gates the other (Shazeer 2020,
        arXiv 2002.05202).
    positions : {"learned", "rotary"}
    tied_embeddings : bool
        The LM head uses the token embedding.
    bias : bool
        Projections add a bias. The LM head and the router never do.
    qkv_bias : bool
        The projections to queries, keys and values add one, whatever `bias` says (Qwen).
    qk_norm : bool
        Queries and keys are normalized head by head before the product (Dehghani 2023,
        arXiv 2302.05442); all heads share one vector of scales for each.
    dropout : bool
        Trained with dropout on attention, residual branches and embedding.
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
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_experts: int = 0
    shared_ffn: int = 0
    shared_gate: bool = False
    dense_layers: int = 0
    moe_every: int = 1
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
    def up_projections(self) -> int:
        """Projections up of a feed-forward block: two where one gates the other."""
        return 2 if self.activation == "swiglu" else 1

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters, the sum of `parameters_by_part`."""
        return sum(self.parameters_by_part().values())

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: all but those of the experts it is not routed to."""
        idle = self.layer_kinds.count(MOE) * (self.experts - self.experts_per_token)
        return self.parameters - idle * self._feed_forward(self.expert_ffn)

    def _feed_forward(self, width: int) -> int:
        """Parameters of one feed-forward block with `width` features between the projections."""
        up = width * self.up_projections
        biases = up + self.hidden if self.bias else 0
        return self.hidden * up + width * self.hidden + biases

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        Returns
        -------
        dict of str to int
            ``token_embedding, position_embedding, attention, mlp, norms, lm_head``; with experts
            also ``router, experts, shared_experts`` after ``mlp``.

        Notes
        -----
        With h = hidden, f = ffn, V = vocab, q = heads * head_dim, k = kv_heads * head_dim:

        ==================  ====================================  =================
        part                weights                               biases, if any
        ==================  ====================================  =================
        token_embedding     V h                                   none
        position_embedding  max_positions * h, if learned         none
        attention           h (q + 2k) + q h a layer              q + 2k + h
        mlp, gelu           h f + f h a dense layer               f + h
        mlp, swiglu         h 2f + f h a dense layer              2f + h
        router              h experts a layer with experts        none
        experts             as mlp with expert_ffn, each of them  likewise, each
        shared_experts      as mlp with shared_ffn; h if gated    likewise
        norms               h each: two a layer and a final one   h for LayerNorm
        norms, qk_norm      2 head_dim a layer beside these       none
        lm_head             V h, none if tied                     none
        ==================  ====================================  =================

        For a GPT this is 12 l h^2 (1 + 13/12h + (V + s)/12lh), equation 2 of Narayanan 2021
        (arXiv 2104.04473), and 2h for the final norm, which that equation leaves out.
        """
        h, layers = self.hidden, self.layers
        query, pair = self.heads * self.head_dim, 2 * self.kv_heads * self.head_dim
        attention = h * (query + pair) + query * h
        attention += query + pair if self.bias or self.qkv_bias else 0
        attention += h if self.bias else 0
        norms = (2 * layers + 1) * h * (2 if self.norm == "layernorm" else 1)
        mixtures = self.layer_kinds.count(MOE)
        shared = self._feed_forward(self.shared_ffn) if self.shared_experts else 0
        parts = {
            "token_embedding": self.vocab * h,
            "position_embedding": self.max_positions * h if self.positions == "learned" else 0,
            "attention": layers * attention,
            "mlp": (layers - mixtures) * self._feed_forward(self.ffn),
            "router": mixtures * h * self.experts,
            "experts": mixtures * self.experts * self._feed_forward(self.expert_ffn),
            "shared_experts": mixtures * (shared + (h if self.shared_gate else 0)),
            "norms": norms + (layers * 2 * self.head_dim if self.qk_norm else 0),
            "lm_head": 0 if self.tied_embeddings else self.vocab * h,
        }
        absent = () if mixtures else ("router", "experts", "shared_experts")
        return {part: count for part, count in parts.items() if part not in absent}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with counts of parameters; of experts only if there are any."""
        counts: dict[str, Any] = {"parameters": self.parameters}
        if self.experts:
            counts["active_parameters"] = self.active_parameters
        keys = KEYS if self.experts else [key for key in KEYS if key not in EXPERT_KEYS]
        return (
            {key: getattr(self, key) for key in keys}
            | counts
            | {"parameters_by_part": self.parameters_by_part()}
        )


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
)
#: Keys that say something only of a model with experts, and what they are where it is silent.
EXPERT_KEYS = {
    field.name: field.default for field in fields(ModelSpec) if field.name in _ABOUT_EXPERTS
}
