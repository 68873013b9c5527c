"""Attention without an array of all pairs, in place of that of PyTorch's encoder layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.torch.required import functional, nn, torch


class _Heads(nn.Module):
    """Projections to queries, keys and values, and back; called as ``nn.MultiheadAttention``."""

    batch_first = True

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor, *_: torch.Tensor, **__: Any) -> tuple[torch.Tensor, None]:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.inward(x).chunk(3, -1)
        )
        return self.out(self.core(q, k, v).transpose(1, 2).flatten(2)), None

    def core(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return what queries see, (batch, heads, places, features) as they are."""
        raise NotImplementedError


class KernelAttention(_Heads):
    """Katharopoulos 2020 (arXiv 2006.16236, equation 5) with `features` of a feature map.

    Here the map takes the first features and repeats them: it makes no product.
    """

    def __init__(self, hidden: int, heads: int, features: int) -> None:
        super().__init__(hidden, heads)
        self.features = features

    def core(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = self._map(q), self._map(k)
        state, total = k.transpose(-1, -2) @ v, k.sum(-2)[..., None]
        return (q @ state) / (q @ total)

    def _map(self, x: torch.Tensor) -> torch.Tensor:
        times = -(-self.features // x.shape[-1])
        return functional.elu(x.repeat(1, 1, 1, times)[..., : self.features]) + 1


class LowRankAttention(_Heads):
    """Wang 2020 (arXiv 2006.04768, equation 7): keys and values of all places become `rows`."""

    def __init__(self, hidden: int, heads: int, rows: int, positions: int) -> None:
        super().__init__(hidden, heads)
        self.mix = nn.ParameterList(torch.zeros(rows, positions) for _ in range(2))

    def core(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        k, v = (mix[:, : k.shape[-2]] @ t for mix, t in zip(self.mix, (k, v), strict=True))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return scores.softmax(-1) @ v


def with_attention(module: nn.Module, attention: Callable[[], nn.Module]) -> nn.Module:
    """Return a module of PyTorch's encoder layers with another attention in each."""
    for layer in module.layers.layers:
        layer.self_attn = attention()
    return module
