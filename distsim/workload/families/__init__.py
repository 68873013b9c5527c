"""Families of models beside decoder-only transformers, by the name that a block gives.

A family answers `distsim.workload.network.Model`; its ``from_mapping(block, path, name)`` reads and
checks a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distsim.workload.families import (
    cnn_block,
    encoder,
    encoder_decoder,
    linear_regression,
    mlp,
    rnn,
    seq2seq,
    vit,
)
from distsim.workload.network import Model

#: Called with a block, the path to it and the name of the model; the model answers `Model`.
FAMILIES: Mapping[str, Callable[..., Model]] = {
    "linear_regression": linear_regression.from_mapping,
    "softmax_regression": linear_regression.from_mapping,
    "perceptron": linear_regression.from_mapping,
    "mlp": mlp.from_mapping,
    "cnn": cnn_block.from_mapping,
    "rnn": rnn.from_mapping,
    "seq2seq": seq2seq.from_mapping,
    "encoder": encoder.from_mapping,
    "encoder_decoder": encoder_decoder.from_mapping,
    "vit": vit.from_mapping,
}
#: Families whose layers are alike enough to be dealt out over pipeline stages.
PIPELINED = ("encoder", "vit")
