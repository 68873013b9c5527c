"""Which steps are measured, and how distsim states each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Keys of `distsim` model blocks. Biases are added inside the products (the epilogue of cuBLAS), so
#: `bias`, which also gives residual sums a pass for it, is off and the projections have their own.
MODELS: Mapping[str, Mapping[str, Any]] = {
    # GPT-2 small (Radford 2019) and GPT-3 XL (Brown 2020, table 2.1, with heads of 128).
    "gpt-125m": {"family": "gpt", "layers": 12, "hidden": 768, "heads": 12, "vocab": 50304},
    "gpt-1.3b": {"family": "gpt", "layers": 24, "hidden": 2048, "heads": 16, "vocab": 50304},
    # Layers of LLaMA 7B (Touvron 2023, table 2) between its embedding and its head.
    "llama-7b": {
        "family": "llama",
        "layers": 32,
        "hidden": 4096,
        "heads": 32,
        "ffn": 11008,
        "vocab": 32000,
    },
}
_GPT = {"bias": False, "qkv_bias": True, "out_bias": True, "mlp_bias": True}


@dataclass(frozen=True)
class Case:
    """A training step.

    Attributes
    ----------
    model : str
        A key of `MODELS`.
    micro : int
        Sequences of a micro batch.
    sequence : int
    layers : int
        In place of the model's own; 0: those.
    accumulation : int
        Micro batches of a step.
    recompute : bool
        Every layer runs again in the backward pass.
    dropout : bool
        A tenth of the elements behind embedding, attention and feed-forward block.
    attention : {"flash", "cudnn"}
        Backend of ``scaled_dot_product_attention``.
    compiled : bool
        ``torch.compile`` on every layer and the head.
    """

    model: str
    micro: int
    sequence: int
    layers: int = 0
    accumulation: int = 1
    recompute: bool = False
    dropout: bool = False
    attention: str = "flash"
    compiled: bool = False

    @property
    def name(self) -> str:
        """A short name."""
        parts = [self.model]
        parts += [f"{self.layers} layers"] if self.layers else []
        parts.append(f"{self.micro} x {self.sequence}")
        parts += [f"{self.accumulation} micro batches"] if self.accumulation > 1 else []
        parts += ["recomputed"] if self.recompute else []
        parts += ["dropout"] if self.dropout else []
        parts += [self.attention] if self.attention != "flash" else []
        parts += ["compiled"] if self.compiled else []
        return ", ".join(parts)

    @property
    def block(self) -> dict[str, Any]:
        """The model as a scenario has it."""
        block = dict(MODELS[self.model]) | {"max_positions": self.sequence}
        if self.layers:
            block["layers"] = self.layers
        if block["family"] == "gpt":
            block |= _GPT | {"dropout": self.dropout}
        return block

    @property
    def record(self) -> dict[str, Any]:
        """All of it as plain values, from which `case_of` makes it again."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


def case_of(record: Mapping[str, Any]) -> Case:
    """Return the case of a record of results."""
    return Case(**{key: record[key] for key in Case.__dataclass_fields__})


def _gpt() -> Iterator[Case]:
    small = "gpt-125m"
    yield from (Case(small, micro, 1024) for micro in (4, 8, 16, 32))
    yield Case(small, 8, 2048)
    yield Case(small, 8, 1024, accumulation=4)
    yield Case(small, 32, 1024, recompute=True)
    yield Case(small, 16, 1024, dropout=True)
    yield Case(small, 16, 1024, attention="cudnn")
    large = "gpt-1.3b"
    yield from (Case(large, micro, 2048) for micro in (1, 2, 4))
    yield Case(large, 8, 1024)
    yield Case(large, 2, 2048, accumulation=4)
    yield Case(large, 8, 2048, recompute=True)
    yield Case(large, 4, 2048, attention="cudnn")


def _llama() -> Iterator[Case]:
    model = "llama-7b"
    for layers in (2, 4, 8):
        yield Case(model, 2, 2048, layers)
        yield Case(model, 1, 4096, layers)
    yield Case(model, 4, 2048, 4)
    yield Case(model, 2, 4096, 4)
    yield Case(model, 1, 2048, 4, accumulation=4)
    yield Case(model, 4, 2048, 8, recompute=True)
    yield Case(model, 1, 2048, 12)
    yield Case(model, 2, 4096, 4, attention="cudnn")


def _compiled() -> Iterator[Case]:
    yield Case("gpt-125m", 16, 1024, compiled=True)
    yield Case("gpt-1.3b", 4, 2048, compiled=True)
    yield Case("llama-7b", 2, 2048, 4, compiled=True)
    yield Case("llama-7b", 2, 4096, 4, compiled=True)
    yield Case("llama-7b", 4, 2048, 8, recompute=True, compiled=True)


def _short() -> Iterator[Case]:
    """Yield steps so short that the host may set the pace."""
    yield Case("gpt-125m", 1, 512)
    yield Case("gpt-125m", 1, 1024)
    yield Case("gpt-125m", 2, 1024)
    yield Case("gpt-1.3b", 1, 512)
    yield Case("llama-7b", 1, 512, 4)
    yield Case("gpt-125m", 2, 1024, compiled=True)


EAGER = (*_gpt(), *_llama())
SHORT = tuple(_short())
COMPILED = tuple(_compiled())
#: A look at everything, to find what does not run.
FIRST = (
    Case("gpt-125m", 8, 1024),
    Case("gpt-125m", 4, 1024, accumulation=2, recompute=True, dropout=True),
    Case("llama-7b", 1, 2048, 2),
    Case("llama-7b", 1, 2048, 2, attention="cudnn"),
    Case("gpt-125m", 8, 1024, compiled=True),
)
#: Steps of which the kernels are listed.
TRACED = (
    Case("gpt-125m", 4, 1024),
    Case("gpt-125m", 16, 1024),
    Case("gpt-1.3b", 4, 2048),
    Case("llama-7b", 2, 2048, 4),
    Case("llama-7b", 2, 4096, 4),
    Case("gpt-125m", 1, 1024),
    Case("gpt-125m", 16, 1024, compiled=True),
    Case("llama-7b", 4, 2048, 8, recompute=True),
    Case("llama-7b", 4, 2048, 8, recompute=True, compiled=True),
    Case("llama-7b", 2, 2048, 4, compiled=True),
)
#: Steps that are nearly all products.
AGAIN = (
    Case("gpt-125m", 16, 1024, compiled=True),
    Case("llama-7b", 4, 2048, 8, recompute=True),
    Case("llama-7b", 4, 2048, 8, recompute=True, compiled=True),
    Case("llama-7b", 2, 2048, 4, compiled=True),
)
GROUPS: Mapping[str, tuple[Case, ...]] = {
    "first": FIRST,
    "eager": EAGER,
    "compiled": COMPILED,
    "short": SHORT,
    "traced": AGAIN,
}
