"""Decoder-only transformers of the LLaMA kind in PyTorch, dense and with routed experts."""

from __future__ import annotations

from dataclasses import dataclass

from tests.torch.required import functional, nn, torch
from tests.torch.transformers import Attention, FeedForward, Gpt, rotated


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a decoder; `experts` > 0 makes mixtures of all layers after `dense_layers`.

    `kv_lora_rank` > 0 makes keys and values from a latent vector, and queries too if they have a
    rank. `gated` experts are those of a LLaMA, the others have GELU and biases as in a GPT.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    head_dim: int = 0
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    shared_gate: bool = False
    dense_layers: int = 0
    gated: bool = True
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    v_head_dim: int = 0


class Mixture(nn.Module):
    """A router, experts of which each token takes the best k, and shared experts.

    Rows are sorted by expert, and each expert runs on its own. Where tensors hold no numbers
    (``device="meta"``) experts get equal shares: however tokens are routed, each takes k experts.
    """

    def __init__(self, of: Sizes) -> None:
        super().__init__()

        def expert(width: int) -> nn.Module:
            function = functional.silu if of.gated else functional.gelu
            return FeedForward(of.hidden, width, function, gated=of.gated, bias=not of.gated)

        self.chosen = of.experts_per_token
        self.router = nn.Linear(of.hidden, of.experts, bias=False)
        self.experts = nn.ModuleList(expert(of.expert_ffn) for _ in range(of.experts))
        self.shared_experts = nn.ModuleDict()
        if of.shared_ffn:
            self.shared_experts["block"] = expert(of.shared_ffn)
        if of.shared_gate:
            self.shared_experts["gate"] = nn.Linear(of.hidden, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1)
        weights, experts = self.router(rows).softmax(-1).topk(self.chosen)
        order = experts.flatten().argsort()
        sent = rows[order // self.chosen].split(self._counts(experts.flatten()))
        came = torch.cat([run(part) for run, part in zip(self.experts, sent, strict=True)])
        came = came * weights.flatten()[order][:, None]
        out = torch.zeros_like(rows).index_add(0, order // self.chosen, came)
        if "block" in self.shared_experts:
            shared = self.shared_experts["block"](rows)
            if "gate" in self.shared_experts:
                shared = shared * self.shared_experts["gate"](rows).sigmoid()
            out = out + shared
        return out.view_as(x)

    def _counts(self, experts: torch.Tensor) -> list[int]:
        number = len(self.experts)
        if experts.device.type == "meta":
            each, rest = divmod(experts.numel(), number)
            return [each + (i < rest) for i in range(number)]
        return torch.bincount(experts, minlength=number).tolist()


class LatentAttention(nn.Module):
    """Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, section 2.1).

    All heads share the features of keys that are rotated. As in training, keys and values are made
    anew from the latent vector, and not multiplied into queries and output.
    """

    def __init__(self, of: Sizes) -> None:
        super().__init__()
        self.plain, self.rope, self.value = of.head_dim, of.rope_head_dim, of.v_head_dim
        self.rank = of.kv_lora_rank
        queries = of.heads * (of.head_dim + of.rope_head_dim)
        self.query_down = nn.Identity()
        if of.q_lora_rank:
            down = nn.Linear(of.hidden, of.q_lora_rank, bias=False)
            self.query_down = nn.Sequential()
            self.query_down.add_module("product", down)
            self.query_down.add_module("norm", nn.RMSNorm(of.q_lora_rank))
        self.query = nn.Linear(of.q_lora_rank or of.hidden, queries, bias=False)
        self.down = nn.Linear(of.hidden, of.kv_lora_rank + of.rope_head_dim, bias=False)
        self.norm = nn.RMSNorm(of.kv_lora_rank)
        self.up = nn.Linear(of.kv_lora_rank, of.heads * (self.plain + self.value), bias=False)
        self.out = nn.Linear(of.heads * self.value, of.hidden, bias=False)
        self.heads = of.heads

    def forward(self, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
        latent, shared = self.down(x).split((self.rank, self.rope), -1)
        keys, v = self._split(self.up(self.norm(latent))).split((self.plain, self.value), -1)
        q, turned = self._split(self.query(self.query_down(x))).split((self.plain, self.rope), -1)
        shared = rotated(shared[:, None]).expand(-1, self.heads, -1, -1)
        q, k = torch.cat((q, rotated(turned)), -1), torch.cat((keys, shared), -1)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, of: Sizes, *, mixture: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(of.hidden) for _ in range(2))
        self.attention = LatentAttention(of) if of.kv_lora_rank else _grouped(of)
        self.mlp = (
            Mixture(of) if mixture else FeedForward(of.hidden, of.ffn, functional.silu, gated=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x), causal=True)
        return x + self.mlp(self.norms[1](x))


def _grouped(of: Sizes) -> nn.Module:
    return Attention(
        of.hidden,
        of.heads,
        kv_heads=of.kv_heads,
        head_dim=of.head_dim,
        bias=of.qkv_bias,
        qk_norm=of.qk_norm,
        rotary=True,
    )


class Llama(nn.Module):
    """Touvron 2023 (arXiv 2302.13971), with grouped keys and values, and experts if any."""

    def __init__(self, of: Sizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(of.vocab, of.hidden)
        self.layers = nn.ModuleList(
            Layer(of, mixture=bool(of.experts) and i >= of.dense_layers) for i in range(of.layers)
        )
        self.norm = nn.RMSNorm(of.hidden)
        self.lm_head = nn.Linear(of.hidden, of.vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def gpt_with_experts(of: Sizes, positions: int, every: int) -> nn.Module:
    """Return a GPT of which every so many a layer is a mixture (Lepikhin 2020, arXiv 2006.16668).

    A mixture takes the place of the first projection of PyTorch's layer, nothing that of the
    activation and of the second one.
    """
    module = Gpt(of.layers, of.hidden, of.heads, of.vocab, positions)
    for layer in list(module.layers.layers)[every - 1 :: every]:
        layer.linear1, layer.linear2, layer.activation = Mixture(of), nn.Identity(), nn.Identity()
    return module
