"""Bytes that PyTorch really holds: kept for the backward pass, at the loss, and at the update."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.torch.required import functional, nn, torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu.models import Layer, Shape
from distsim.api import load
from distsim.cost.stack import load_stack
from distsim.scenario.resolve import resolve
from distsim.workload.eager import log_softmax

HIDDEN, HEADS, VOCAB, TOKENS = 256, 4, 4096, 512


def kept_bytes(module: nn.Module, run: Callable[[], Any]) -> int:
    """Return the bytes that autograd keeps of `run`, each storage once, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    found: dict[int, int] = {}
    held: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(found.values())


class Living(TorchDispatchMode):
    """The most bytes of arrays that were made inside and are there at once."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: dict[StorageWeakRef, int] = {}
        self.peak_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            t.untyped_storage().data_ptr()
            for t in tree_leaves((args, kwargs or {}))
            if isinstance(t, torch.Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in known:
                    self.arrays[StorageWeakRef(storage)] = storage.nbytes()
        self.arrays = {r: n for r, n in self.arrays.items() if not r.expired()}
        self.peak_bytes = max(self.peak_bytes, sum(self.arrays.values()))
        return out


def _layer_bytes() -> float:
    case = resolve(
        load(
            {
                "schema": 1,
                "name": "kept",
                "cluster": {"topology": "dgx-h100-superpod", "devices": 1},
                "model": {
                    "family": "gpt",
                    "layers": 2,
                    "hidden": HIDDEN,
                    "heads": HEADS,
                    "vocab": VOCAB,
                    "max_positions": TOKENS,
                    "dropout": False,
                },
                "batch": {"global_size": 1, "micro_size": 1, "sequence_length": TOKENS},
                "precision": "bf16",
                "stack": "pytorch-eager",
            }
        )
    )
    units = case.inputs.chunks[0][0].units
    return next(u.saved_bytes for u in units if u.name == "layer")


def test_a_layer_keeps_what_autograd_keeps() -> None:
    """32 s b h (Korthikanti 2022, equation 1, less its masks and scores), and statistics."""
    layer = Layer(Shape("gpt", 2, HIDDEN, HEADS, 4 * HIDDEN, VOCAB, TOKENS)).to(torch.bfloat16)
    x = torch.randn(1, TOKENS, HIDDEN, dtype=torch.bfloat16, requires_grad=True)
    kept = kept_bytes(layer, lambda: layer(x, None))
    assert kept == pytest.approx(_layer_bytes(), rel=0.01)
    assert kept == pytest.approx(32 * TOKENS * HIDDEN, rel=0.02)


def test_the_loss_has_three_arrays_of_logits() -> None:
    """Log-softmax, its gradient, that of the logits: 12 bytes a logit, beside 2 of the logits."""
    logits = torch.randn(TOKENS, VOCAB, dtype=torch.bfloat16, requires_grad=True)
    with Living() as living:
        loss = functional.cross_entropy(logits.float(), torch.zeros(TOKENS, dtype=torch.long))
        loss.backward()
    assert living.peak_bytes / logits.numel() == pytest.approx(log_softmax(2)[2], rel=0.01)


def test_adam_by_elementwise_operators_makes_two_arrays() -> None:
    """Root of the second moment and its sum with epsilon, beside gradients in fp32 (4 bytes)."""
    weight = nn.Parameter(torch.randn(1 << 16))
    optimizer = torch.optim.AdamW([weight], foreach=False, fused=False)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    with Living() as living:
        optimizer.step()
    stated = load_stack("internevo-2023").footprint.update["bf16"]
    assert 4 + living.peak_bytes / weight.numel() == pytest.approx(stated, rel=0.01)
