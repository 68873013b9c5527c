"""The exact number of parameters of a decoder-only transformer, part by part."""

from __future__ import annotations

from functools import lru_cache

from distsim.workload.model import MOE, NORM_PLACES, NORMS, ModelSpec


def feed_forward(spec: ModelSpec, width: int) -> int:
    """Return parameters of a feed-forward block with `width` features between its projections."""
    up = width * spec.up_projections
    biases = up + spec.hidden if spec.biased_mlp else 0
    return spec.hidden * up + width * spec.hidden + biases


def attention_weights(spec: ModelSpec) -> int:
    """Return elements of the weight matrices of one layer's attention."""
    h = spec.hidden
    out = spec.heads * spec.value_dim * h
    if not spec.latent:
        return h * (spec.heads + 2 * spec.kv_heads) * spec.head_dim + out
    query = spec.heads * spec.key_dim
    rank = spec.q_lora_rank
    queries = h * rank + rank * query if rank else h * query
    keys = h * (spec.kv_lora_rank + spec.rope_head_dim)
    return queries + keys + spec.kv_lora_rank * spec.heads * (spec.head_dim + spec.v_head_dim) + out


def _attention(spec: ModelSpec) -> int:
    """Parameters of one layer's projections, norms inside them left out."""
    count = attention_weights(spec)
    if spec.biased_qkv:
        if spec.latent:  # Biases of the projections down; those up have none (DeepSeek-V3).
            count += spec.q_lora_rank + spec.kv_lora_rank + spec.rope_head_dim
        else:
            count += (spec.heads + 2 * spec.kv_heads) * spec.head_dim
    count += spec.hidden if spec.biased_out else 0
    return count + (spec.heads if spec.attention_sinks else 0)


def _norms(spec: ModelSpec) -> int:
    vectors, layers = NORMS[spec.norm], spec.layers
    each = 1 if spec.parallel_block else NORM_PLACES[spec.norm_place]
    count = (each * layers + 1 + spec.embedding_norm) * spec.hidden * vectors
    if spec.qk_norm:
        heads = spec.heads + spec.kv_heads if spec.qk_norm_scales == "each" else 2
        count += layers * heads * spec.head_dim * vectors
    if spec.latent:  # RMSNorm of both latent vectors (DeepSeek-V2, appendix D.2)
        count += layers * (spec.q_lora_rank + spec.kv_lora_rank)
    return count


@lru_cache(maxsize=256)
def total(spec: ModelSpec) -> int:
    """Return the exact number of parameters."""
    return sum(by_part(spec).values())


def by_part(spec: ModelSpec) -> dict[str, int]:
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
    router              h experts a layer with experts        experts
    experts             as mlp with expert_ffn, each of them  likewise, each
    shared_experts      as mlp with shared_ffn; h if gated    likewise
    norms               h each: two a layer and a final one   h for LayerNorm
    norms, qk_norm      2 head_dim a layer beside these       2 head_dim
    lm_head             V h, none if tied                     V
    ==================  ====================================  =================

    Latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C), with a heads of
    d + r features of a query and v of a value, ranks c and c': h c' + c' a (d + r) for queries,
    h (c + r) + c a (d + v) for keys and values, a v h for the output, and c + c' for norms.

    For a GPT this is 12 l h^2 (1 + 13/12h + (V + s)/12lh), equation 2 of Narayanan 2021
    (arXiv 2104.04473), and 2h for the final norm, which that equation leaves out.
    """
    h, layers = spec.hidden, spec.layers
    mixtures = spec.layer_kinds.count(MOE)
    shared = feed_forward(spec, spec.shared_ffn) if spec.shared_experts else 0
    learned = spec.positions == "learned"
    mixes = sum(spec.variant_of(i).parameters(spec.max_positions) for i in range(layers))
    router = (h + spec.router_bias) * spec.experts
    parts = {
        "token_embedding": spec.vocab * h,
        "position_embedding": (spec.max_positions + spec.extra_positions) * h if learned else 0,
        "attention": layers * _attention(spec) + mixes,
        "mlp": (layers - mixtures) * feed_forward(spec, spec.ffn),
        "router": mixtures * router,
        "experts": mixtures * spec.experts * feed_forward(spec, spec.expert_ffn),
        "shared_experts": mixtures * (shared + (h if spec.shared_gate else 0)),
        "norms": _norms(spec),
        "lm_head": spec.output_softmax.parameters(h, spec.vocab, tied=spec.tied_embeddings)
        + (spec.vocab if spec.head_bias else 0),
    }
    absent = () if mixtures else ("router", "experts", "shared_experts")
    return {part: count for part, count in parts.items() if part not in absent}
