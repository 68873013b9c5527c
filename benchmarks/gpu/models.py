"""Decoders in plain PyTorch, each operator as the library has it: nothing is fused by hand.

Weights and activations are in bf16. Norms, GELU, SiLU, products and attention are PyTorch's own
kernels; rotary positions and the gated activation are written out, as most published model code
has them; the loss is PyTorch's cross entropy on logits that are cast to fp32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_STD = 0.02


@dataclass(frozen=True)
class Shape:
    """A decoder.

    Attributes
    ----------
    family : {"gpt", "llama"}
        GPT: LayerNorm, GELU, learned positions, biases, one table for embedding and head. LLaMA:
        RMSNorm, SwiGLU, rotary positions, no biases, two tables.
    layers, hidden, heads, ffn, vocab, positions : int
    dropout : float
    """

    family: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    dropout: float = 0.0

    @property
    def head_dim(self) -> int:
        """Features of a head."""
        return self.hidden // self.heads


def rotary_table(shape: Shape, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, (length, head_dim) in bf16 (Su 2021, arXiv 2104.09864)."""
    half = torch.arange(0, shape.head_dim, 2, device=device) / shape.head_dim
    angles = torch.outer(torch.arange(length, device=device).float(), 10000.0**-half)
    both = torch.cat((angles, angles), -1)
    return both.cos().to(torch.bfloat16), both.sin().to(torch.bfloat16)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return queries or keys, (b, heads, s, d), turned by their positions."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Attention(nn.Module):
    """Causal self-attention with one projection to queries, keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        bias = shape.family == "gpt"
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden, bias=bias)
        self.out = nn.Linear(shape.hidden, shape.hidden, bias=bias)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return what attention adds to the residual stream."""
        b, s, h = x.shape
        heads = self.qkv(x).view(b, s, 3, self.shape.heads, self.shape.head_dim)
        q, k, v = (part.transpose(1, 2) for part in heads.unbind(2))
        if table is not None:
            q, k = rotated(q, *table), rotated(k, *table)
        dropped = self.shape.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, s, h))


class FeedForward(nn.Module):
    """GELU between two projections, or SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gated = shape.family == "llama"
        width = 2 * shape.ffn if self.gated else shape.ffn
        self.up = nn.Linear(shape.hidden, width, bias=not self.gated)
        self.down = nn.Linear(shape.ffn, shape.hidden, bias=not self.gated)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block adds to the residual stream."""
        y = self.up(x)
        if self.gated:
            gate, linear = y.chunk(2, -1)
            return self.down(functional.silu(gate) * linear)
        return self.down(functional.gelu(y))


def norm(shape: Shape) -> nn.Module:
    """Return the norm of a family."""
    return nn.LayerNorm(shape.hidden) if shape.family == "gpt" else nn.RMSNorm(shape.hidden)


class Layer(nn.Module):
    """Attention and feed-forward block, each behind a norm and added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.first, self.attention = norm(shape), Attention(shape)
        self.second, self.mlp = norm(shape), FeedForward(shape)
        self.dropout = shape.dropout

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return what the next layer gets."""
        x = x + self._dropped(self.attention(self.first(x), table))
        return x + self._dropped(self.mlp(self.second(x)))


class Head(nn.Module):
    """Last norm, product with the vocabulary and the loss on fp32 logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = norm(shape)
        self.table = nn.Linear(shape.hidden, shape.vocab, bias=False)

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of all tokens."""
        logits = self.table(self.norm(x)).float()
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class Decoder(nn.Module):
    """A decoder whose forward pass returns the loss.

    Parameters
    ----------
    shape : Shape
    recompute : bool
        Each layer runs again in the backward pass.
    compiled : bool
        ``torch.compile`` of each layer and of the head, which then share their code.
    """

    def __init__(self, shape: Shape, *, recompute: bool = False, compiled: bool = False) -> None:
        super().__init__()
        self.shape, self.recompute = shape, recompute
        self.tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.positions = (
            nn.Embedding(shape.positions, shape.hidden) if shape.family == "gpt" else None
        )
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.head = Head(shape)
        if shape.family == "gpt":
            self.head.table.weight = self.tokens.weight
        self._table: tuple[Tensor, Tensor] | None = None
        if compiled:
            for layer in self.layers:
                layer.compile()
            self.head.compile()

    def start(self) -> None:
        """Fill weights with normal random numbers; norms stay at one, biases at zero."""
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of all tokens."""
        length = tokens.shape[1]
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions(torch.arange(length, device=tokens.device))
            x = functional.dropout(x, self.shape.dropout) if self.shape.dropout else x
        elif self._table is None or len(self._table[0]) != length:
            self._table = rotary_table(self.shape, length, tokens.device)
        for layer in self.layers:
            x = self._layer(layer, x)
        loss: Tensor = self.head(x, targets)
        return loss

    def _layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        done: Tensor = (
            checkpoint(layer, x, self._table, use_reentrant=False)
            if self.recompute
            else layer(x, self._table)
        )
        return done
