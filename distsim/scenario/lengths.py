"""How long a sample is, what it is called, and how a vocabulary is padded."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import ceil

from distsim.errors import ValueProblem
from distsim.store import Same
from distsim.workload.families.encoder import EncoderSpec
from distsim.workload.families.encoder_decoder import EncoderDecoderSpec
from distsim.workload.families.vit import VitSpec
from distsim.workload.model import ModelSpec
from distsim.workload.network import Model

#: Megatron-LM pads the vocabulary to a multiple of this times tp.
VOCAB_MULTIPLE = 128


def sample_of(model: Model) -> str:
    """Return what a sample is called."""
    if model.family in ("cnn", "vit"):
        return "image"
    if model.default_length > 1:
        return "sequence"
    return "sample"


def check_length(model: Model, given: int | None, length: int) -> list[str]:
    """Return what a person should know of a length.

    Raises
    ------
    ValueProblem
        DS230 for a length that the model does not have.
    """
    if model.default_length == 1 or isinstance(model, VitSpec):
        if given is None or given == model.default_length:
            return []
        raise ValueProblem(
            "DS230",
            f"sequence_length {given} of {model.name}, whose samples are {sample_of(model)}s",
            path=("batch", "sequence_length"),
            value=given,
            rule="only a model of sequences has a sequence_length",
            fix="remove it",
        )
    if not isinstance(model, ModelSpec | EncoderSpec) or length <= model.max_positions:
        return []
    if getattr(model, "positions", "learned") == "learned":
        raise ValueProblem(
            "DS230",
            f"sequence_length {length} is longer than the {model.max_positions} positions "
            f"of {model.name}",
            path=("batch", "sequence_length"),
            value=length,
            rule="learned positions end at max_positions",
            fix=f"use sequence_length <= {model.max_positions}, or a model with more positions",
        )
    text = f"sequence_length {length} is longer than {model.name}'s max_positions"
    return [f"{text} {model.max_positions}"]


def padded_vocabulary(model: Model, tp: int) -> tuple[Model, list[str]]:
    """Pad the vocabulary where ranks divide it, as Megatron-LM does."""
    unit = VOCAB_MULTIPLE * tp
    if not isinstance(model, ModelSpec | EncoderSpec | EncoderDecoderSpec):
        return model, []
    if tp == 1 or model.vocab % unit == 0:
        return model, []
    vocab = ceil(model.vocab / unit) * unit
    multiple = f"a multiple of {VOCAB_MULTIPLE} * tp({tp})"
    note = f"vocabulary padded from {model.vocab} to {vocab}, {multiple}"
    return _with_vocabulary(Same(model), vocab), [note]


@lru_cache(maxsize=256)
def _with_vocabulary(of: Same, vocab: int) -> Model:
    """Return a model with another vocabulary, the same object for the same one."""
    model: ModelSpec | EncoderSpec | EncoderDecoderSpec = of.of
    if isinstance(model, ModelSpec):
        return replace(model, vocab=vocab)
    if isinstance(model, EncoderSpec):
        return replace(model, vocab=vocab)
    return replace(model, vocab=vocab)
