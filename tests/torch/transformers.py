"""Transformers in PyTorch, from the papers and without distsim.

BERT, BART, GPT-2 and ViT are made of ``torch.nn.TransformerEncoderLayer`` and ``DecoderLayer``.
torch has no layers with norms, biases and heads as the original Transformer, T5 and LLaMA have
them; those are written out here.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.torch.required import functional, nn, torch


def _layer(hidden: int, heads: int, *, norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(
        hidden, heads, 4 * hidden, activation="gelu", batch_first=True, norm_first=norm_first
    )


class Bert(nn.Module):
    """Devlin 2019 (arXiv 1810.04805) for pre-training; RoBERTa without pooler and second head."""

    def __init__(
        self,
        layers: int,
        hidden: int,
        heads: int,
        vocab: int,
        *,
        positions: int = 512,
        segments: int = 2,
        sentences: bool = True,
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, hidden)
        self.position_embedding = nn.Embedding(positions, hidden)
        self.segment_embedding = nn.Embedding(segments, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.layers = nn.TransformerEncoder(
            _layer(hidden, heads, norm_first=False), layers, enable_nested_tensor=False
        )
        self.mlm_head = nn.ModuleDict(
            {"dense": nn.Linear(hidden, hidden), "scale": nn.LayerNorm(hidden)}
        )
        self.mlm_head.register_parameter("bias", nn.Parameter(torch.zeros(vocab)))
        self.pooler = nn.Linear(hidden, hidden) if sentences else None
        self.nsp_head = nn.Linear(hidden, 2) if sentences else None

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        x = self.layers(self.norm(x + self.segment_embedding(torch.zeros_like(tokens))))
        guess = self.mlm_head["scale"](functional.gelu(self.mlm_head["dense"](x)))
        words = functional.linear(guess, self.token_embedding.weight, self.mlm_head.bias)
        if self.pooler is None:
            return (words,)
        return words, self.nsp_head(torch.tanh(self.pooler(x[:, 0])))


class Gpt(nn.Module):
    """Radford 2019: pre-norm layers with a causal mask, a last norm, a tied LM head."""

    def __init__(self, layers: int, hidden: int, heads: int, vocab: int, positions: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, hidden)
        self.position_embedding = nn.Embedding(positions, hidden)
        self.layers = nn.TransformerEncoder(
            _layer(hidden, heads, norm_first=True),
            layers,
            norm=nn.LayerNorm(hidden),
            enable_nested_tensor=False,
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        places = torch.arange(length, device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.layers(x, mask=mask, is_causal=True)
        return functional.linear(x, self.token_embedding.weight)


class Bart(nn.Module):
    """Lewis 2019 (arXiv 1910.13461): post-norm, GELU, learned positions, normalized embeddings."""

    def __init__(self, layers: int, hidden: int, heads: int, vocab: int, positions: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, hidden)
        self.position_embedding = nn.ModuleList(nn.Embedding(positions, hidden) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.encoder = nn.TransformerEncoder(
            _layer(hidden, heads, norm_first=False), layers, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(
                hidden, heads, 4 * hidden, activation="gelu", batch_first=True
            ),
            layers,
        )

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        encoded = self.encoder(self._embed(source, 0))
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        x = self.decoder(self._embed(target, 1), encoded, tgt_mask=mask, tgt_is_causal=True)
        return functional.linear(x, self.token_embedding.weight)

    def _embed(self, tokens: torch.Tensor, side: int) -> torch.Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        places = self.position_embedding[side](places)
        return self.norms[side](self.token_embedding(tokens) + places)


class Vit(nn.Module):
    """Dosovitskiy 2020 (arXiv 2010.11929) with a linear classifier on the class token."""

    def __init__(
        self,
        layers: int,
        hidden: int,
        heads: int,
        patch: int,
        image: int = 224,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, hidden, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        places = (image // patch) ** 2 + 1
        self.position_embedding = nn.Parameter(torch.zeros(1, places, hidden))
        self.layers = nn.TransformerEncoder(
            _layer(hidden, heads, norm_first=True),
            layers,
            norm=nn.LayerNorm(hidden),
            enable_nested_tensor=False,
        )
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(images.shape[0], -1, -1)
        x = self.layers(torch.cat((first, patches), 1) + self.position_embedding)
        return self.head(x[:, 0])


class Attention(nn.Module):
    """Heads of queries, as many or fewer of keys and values, and the projection back."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        *,
        kv_heads: int = 0,
        head_dim: int = 0,
        bias: bool = False,
        qk_norm: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim, self.rotary = head_dim or hidden // heads, rotary
        self.groups = heads // (kv_heads or heads)
        narrow = (kv_heads or heads) * self.head_dim
        self.query = nn.Linear(hidden, heads * self.head_dim, bias=bias)
        self.key = nn.Linear(hidden, narrow, bias=bias)
        self.value = nn.Linear(hidden, narrow, bias=bias)
        self.out = nn.Linear(heads * self.head_dim, hidden, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(self.head_dim) for _ in range(2 * qk_norm))

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor | None = None,
        *,
        bias: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        memory = x if memory is None else memory
        q, k, v = self._split(self.query(x)), self._split(self.key(memory)), self.value(memory)
        if len(self.norms):
            q, k = self.norms[0](q), self.norms[1](k)
        if self.rotary:
            q, k = rotated(q), rotated(k)
        k, v = (t.repeat_interleave(self.groups, 1) for t in (k, self._split(v)))
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


def rotated(x: torch.Tensor) -> torch.Tensor:
    """Turn pairs of features by an angle that grows with the place (Su 2021, arXiv 2104.09864)."""
    length, half = x.shape[-2], x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(length, device=x.device)[:, None] * rates
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class FeedForward(nn.Module):
    """Two projections with an activation between them, or three where one gates."""

    def __init__(
        self,
        hidden: int,
        width: int,
        activation: Callable[[torch.Tensor], torch.Tensor],
        *,
        gated: bool,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(hidden, width, bias=bias)
        self.gate = nn.Linear(hidden, width, bias=bias) if gated else None
        self.down = nn.Linear(width, hidden, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))


class EncoderDecoder(nn.Module):
    """The original Transformer (Vaswani 2017) or T5 (Raffel 2020), one table for all tokens.

    Parameters
    ----------
    relative : bool
        T5: RMSNorm before the blocks and after each stack, a learned bias of the scores by
        distance, no other biases. Otherwise LayerNorm after the sums, and sinusoids.
    gated, tied : bool
        A gated feed-forward block with GELU; an LM head that uses the table of tokens.
    """

    def __init__(
        self,
        layers: int,
        hidden: int,
        heads: int,
        ffn: int,
        vocab: int,
        *,
        head_dim: int = 0,
        relative: bool = False,
        gated: bool = False,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.relative = relative
        norm = nn.RMSNorm if relative else nn.LayerNorm
        self.token_embedding = nn.Embedding(vocab, hidden)
        self.relative_bias = nn.ModuleList(nn.Embedding(32, heads) for _ in range(2 * relative))
        self.lm_head = None if tied else nn.Linear(hidden, vocab, bias=False)
        self.ends = nn.ModuleDict({f"norm{i}": norm(hidden) for i in range(2 * relative)})

        def layer(names: tuple[str, ...]) -> nn.Module:
            function = functional.gelu if gated else functional.relu
            mlp = FeedForward(hidden, ffn, function, gated=gated, bias=not relative)
            parts = {name: Attention(hidden, heads, head_dim=head_dim) for name in names}
            norms = nn.ModuleList(norm(hidden) for _ in range(len(names) + 1))
            return nn.ModuleDict({**parts, "mlp": mlp, "norms": norms})

        self.encoder = nn.ModuleList(layer(("attention",)) for _ in range(layers))
        both = ("attention", "cross_attention")
        self.decoder = nn.ModuleList(layer(both) for _ in range(layers))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x, bias = self._embed(source), self._bias(source.shape[1], 0, causal=False)
        for layer in self.encoder:
            x = self._add(layer, 0, x, lambda y, of=layer: of["attention"](y, bias=bias))
            x = self._add(layer, 1, x, layer["mlp"])
        encoded = self.ends["norm0"](x) if self.relative else x
        x, mask = self._embed(target), self._bias(target.shape[1], 1, causal=True)
        for layer in self.decoder:
            x = self._add(layer, 0, x, lambda y, of=layer: of["attention"](y, bias=mask))
            x = self._add(layer, 1, x, lambda y, of=layer: of["cross_attention"](y, encoded))
            x = self._add(layer, 2, x, layer["mlp"])
        x = self.ends["norm1"](x) if self.relative else x
        if self.lm_head is not None:
            return self.lm_head(x)
        return functional.linear(x, self.token_embedding.weight)

    def _add(
        self,
        layer: nn.Module,
        index: int,
        x: torch.Tensor,
        block: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        norm = layer["norms"][index]
        return x + block(norm(x)) if self.relative else norm(x + block(x))

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(tokens)
        if self.relative:
            return x
        length, hidden = x.shape[1:]
        rates = 10_000.0 ** (-torch.arange(0, hidden, 2, device=x.device) / hidden)
        angles = torch.arange(length, device=x.device)[:, None] * rates
        return x * hidden**0.5 + torch.cat((angles.sin(), angles.cos()), -1)

    def _bias(self, length: int, stack: int, *, causal: bool) -> torch.Tensor | None:
        """What is added to the scores: a bias by bucket of distance, minus infinity ahead.

        T5 widens its buckets with the distance; equal ones here change no product.
        """
        device = self.token_embedding.weight.device
        ahead = torch.full((length, length), -torch.inf, device=device).triu(1) if causal else None
        if not self.relative:
            return ahead
        places = torch.arange(length, device=device)
        bucket = (places[None] - places[:, None]).clamp(-16, 15) + 16
        bias = self.relative_bias[stack](bucket).permute(2, 0, 1)[None]
        return bias if ahead is None else bias + ahead
