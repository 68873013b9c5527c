"""Running a module under ``torch.utils.flop_counter``, and its parameters by part.

Modules stand on the meta device: shapes without numbers, so that no size costs memory or time.
There attention and recurrent layers run as separate products, each of which is counted; their
fused kernels for processors are not known to the counter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distsim.workload.network import Model
from distsim.workload.zoo import network, network_from_block
from tests.torch.required import FlopCounterMode, nn, torch

#: Names in PyTorch's own layers, and in modules of these tests, of what distsim calls a part.
_ALIASES = {
    "self_attn": "attention",
    "multihead_attn": "cross_attention",
    "linear1": "mlp",
    "linear2": "mlp",
    "initial_state": "decoder",
    "weight": "weights",
    "bias": "biases",
}
_BY_TYPE = {nn.Conv2d: "convolutions", nn.BatchNorm2d: "norms", nn.Linear: "dense"}


@dataclass(kw_only=True)
class Case:
    """A model here and the same in PyTorch.

    Attributes
    ----------
    ours : str or dict
        Name of a published model, or a block.
    build : callable
        Returns the module.
    inputs : callable
        Returns the tensors of a batch; made on the device of the case.
    samples, length : int
    unmade_flop : float
        FLOP of the gradients of states that are zeros before the first step. PyTorch makes none,
        distsim counts all steps alike.
    device : {"meta", "cpu"}
    """

    ours: str | dict[str, Any]
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[torch.Tensor, ...]]
    samples: int = 2
    length: int = 1
    unmade_flop: float = 0.0
    device: str = "meta"

    @cached_property
    def model(self) -> Model:
        """The model of distsim."""
        return network(self.ours) if isinstance(self.ours, str) else network_from_block(self.ours)

    def module(self) -> nn.Module:
        """Return the module on its device."""
        with torch.device(self.device):
            return self.build()

    @cached_property
    def counted(self) -> tuple[int, int]:
        """FLOP of a forward pass, and of forward and backward, of all samples."""
        module = self.module()
        with torch.device(self.device):
            inputs = self.inputs()
        attention = torch.nn.attention
        math = attention.sdpa_kernel(attention.SDPBackend.MATH)
        with math, FlopCounterMode(display=False) as counter:
            results = module(*inputs)
            forward = counter.get_total_flops()
            results = results if isinstance(results, tuple) else (results,)
            sum(result.sum() for result in results).backward()
        return forward, counter.get_total_flops()


def parameters(module: nn.Module) -> int:
    """Return the number of trained parameters; what is shared counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def parameters_by_part(module: nn.Module, parts: Iterable[str]) -> dict[str, int]:
    """Return the number of parameters of each part, parts without any left out.

    A parameter belongs to the norms if some module around it is called so, else to the innermost
    one that is called as a part; in an image network, whose modules have numbers, to the part of
    its type.
    """
    known, counts = tuple(parts), Counter[str]()
    for name, parameter in module.named_parameters():
        counts[_part(module, name, known)] += parameter.numel()
    return dict(counts)


def _part(module: nn.Module, name: str, parts: tuple[str, ...]) -> str:
    if "convolutions" in parts:
        return _BY_TYPE[type(module.get_submodule(name.rpartition(".")[0]))]
    words = name.split(".")
    if any(word.startswith("norm") for word in words):
        return "norms"
    for word in reversed(words):
        part = _ALIASES.get(word, word)
        if part in parts:
            return part
    raise LookupError(f"{name} belongs to none of {', '.join(parts)}")
