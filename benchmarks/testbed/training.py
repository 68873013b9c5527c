"""A small transformer trained with PyTorch's DistributedDataParallel, and without."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

#: Ways to train: on one process; gradients reduced beside the backward pass (the default of
#: DistributedDataParallel); and by one all-reduce after it.
MODES = ("single", "overlap", "end")


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder, in the words of distsim.

    Attributes
    ----------
    layers, hidden, heads, vocab, sequence : int
    """

    layers: int
    hidden: int
    heads: int
    vocab: int
    sequence: int


class Layer(nn.Module):
    """Attention and a multi-layer perceptron, each after a norm and beside a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        h = shape.hidden
        self.heads = shape.heads
        self.norm1, self.norm2 = nn.LayerNorm(h), nn.LayerNorm(h)
        self.qkv, self.out = nn.Linear(h, 3 * h), nn.Linear(h, h)
        self.up, self.down = nn.Linear(h, 4 * h), nn.Linear(4 * h, h)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what the next layer gets."""
        b, s, h = x.shape
        parts = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, h // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (h // self.heads) ** -0.5
        weights = scores.masked_fill(mask, float("-inf")).softmax(dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(b, s, h))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return out


class Decoder(nn.Module):
    """GPT-2's form: learned positions, a tied head, no dropout."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.positions = nn.Embedding(shape.sequence, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden)
        above = torch.ones(shape.sequence, shape.sequence, dtype=torch.bool).triu(1)
        self.register_buffer("mask", above, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mean loss of predicting each next token."""
        x = self.tokens(tokens) + self.positions.weight
        for layer in self.layers:
            x = layer(x, self.mask)
        logits = self.norm(x) @ self.tokens.weight.T
        return functional.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, dims=1).flatten())


class Trainer:
    """Two copies of a model, each with its optimizer: one plain, one for several processes.

    Gradients lie one after another in one array, or in the buckets of DistributedDataParallel, so
    that no mode copies them.
    """

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(0)
        self.shape = shape
        self._plain = Decoder(shape)
        self.parameters = sum(p.numel() for p in self._plain.parameters())
        self._gradients = torch.zeros(self.parameters)
        offset = 0
        for weight in self._plain.parameters():
            part = self._gradients[offset : offset + weight.numel()]
            weight.grad = part.view_as(weight)
            offset += weight.numel()
        self._parallel = DistributedDataParallel(Decoder(shape), gradient_as_bucket_view=True)
        self._optimizers = {
            module: torch.optim.AdamW(module.parameters(), lr=1e-4)
            for module in (self._plain, self._parallel)
        }

    def step(self, mode: str, micro_size: int, microbatches: int) -> dict[str, float]:
        """Train one step; return the seconds of its parts."""
        if mode not in MODES:
            raise ValueError(f"no mode {mode}")
        module = self._parallel if mode == "overlap" else self._plain
        optimizer = self._optimizers[module]
        optimizer.zero_grad(set_to_none=False)
        start = time.monotonic()
        for index in range(microbatches):
            tokens = torch.randint(self.shape.vocab, (micro_size, self.shape.sequence))
            with self._sync(mode, last=index == microbatches - 1):
                (module(tokens) / microbatches).backward()
        computed = time.monotonic()
        if mode == "end":
            dist.all_reduce(self._gradients)
            self._gradients /= dist.get_world_size()
        reduced = time.monotonic()
        optimizer.step()
        return {
            "backward_s": computed - start,
            "reduce_s": reduced - computed,
            "update_s": time.monotonic() - reduced,
        }

    def _sync(self, mode: str, last: bool) -> contextlib.AbstractContextManager[None]:
        if mode == "overlap" and not last:
            held_back: contextlib.AbstractContextManager[None] = self._parallel.no_sync()
            return held_back
        return contextlib.nullcontext()
