"""Families of models beside decoder-only transformers, by the name that a block gives.

A family answers `distsim.workload.network.Model`; its ``from_mapping(block, path, name)`` reads and
checks a block. Its module is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from distsim.workload.network import Model

#: Called with a block, the path to it and the name of the model; the model answers `Model`.
Reader = Callable[..., Model]


def _in(module: str) -> Reader:
    def read(block: object, path: tuple[str | int, ...] = (), name: str = "inline") -> Model:
        found = import_module(f"{__name__}.{module}")
        model: Model = found.from_mapping(block, path, name)
        return model

    return read


#: Family -> what reads its block, in the module of that name.
FAMILIES: Mapping[str, Reader] = {
    "linear_regression": _in("linear_regression"),
    "softmax_regression": _in("linear_regression"),
    "perceptron": _in("linear_regression"),
    "mlp": _in("mlp"),
    "cnn": _in("cnn_block"),
    "rnn": _in("rnn"),
    "seq2seq": _in("seq2seq"),
    "encoder": _in("encoder"),
    "encoder_decoder": _in("encoder_decoder"),
    "vit": _in("vit"),
}
#: Families whose layers are alike enough to be dealt out over pipeline stages.
PIPELINED = ("encoder", "vit")
