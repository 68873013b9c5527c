"""Encoders, encoder-decoders and vision transformers against published and independent counts.

FLOP are counted by running small models in numpy through a product that counts itself;
parameters are those of released checkpoints; saved activations follow Korthikanti 2022 by hand.
"""

from __future__ import annotations

import numpy as np
import pytest

from distsim.files import load_yaml, shipped
from distsim.parallel.division import Division
from distsim.parallel.recompute import layer_unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload.families import encoder, encoder_decoder, vit
from distsim.workload.op import Axis, Fusion, Numerics
from distsim.workload.shape import Shape


def published_blocks(family):
    data, _ = load_yaml(shipped("families", family))
    return {name: {**data["defaults"], **block} for name, block in data["models"].items()}


MODULES = (encoder, encoder_decoder, vit)
UNFUSED = Fusion(flash_attention=False)
PUBLISHED = {module: published_blocks(module.FAMILY) for module in MODULES}
ALL = [(module, name) for module in MODULES for name in PUBLISHED[module]]

#: Small models with no two widths alike.
SMALL = {
    encoder: {"layers": 3, "hidden": 24, "heads": 3, "ffn": 40, "vocab": 67, "max_positions": 20},
    encoder_decoder: {
        "encoder_layers": 3,
        "decoder_layers": 2,
        "hidden": 24,
        "heads": 3,
        "head_dim": 10,
        "ffn": 40,
        "vocab": 67,
        "target_length": 7,
    },
    vit: {
        "layers": 3,
        "hidden": 24,
        "heads": 3,
        "ffn": 40,
        "image": 12,
        "patch": 4,
        "classes": 11,
        "channels": 2,
    },
}


def _published(name, **changes):
    module = next(m for m in MODULES if name in PUBLISHED[m])
    return module.from_mapping({**PUBLISHED[module][name], **changes}, name=name)


def _small(module, **changes):
    return module.from_mapping({**SMALL[module], **changes})


def _shape(sequences=1, length=16, fusion=UNFUSED, **more):
    return Shape(sequences, length, Numerics("fp16"), fusion, **more)


def _ops(spec, shape):
    blocks = spec.blocks(shape)
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    return [*blocks.embedding, *layers, *blocks.head]


# Parameters of released checkpoints.


@pytest.mark.parametrize(
    ("name", "changes", "published"),
    [
        # BertModel (encoder and pooler), then with the masked-LM head, then with both heads.
        ("bert-base", {"mlm_head": False, "nsp_head": False}, 109_482_240),
        ("bert-base", {"nsp_head": False}, 110_104_890),
        ("bert-base", {}, 110_106_428),
        ("bert-large", {"mlm_head": False, "nsp_head": False}, 335_141_888),
        ("bert-large", {}, 336_226_108),
        # RobertaModel with its pooler, and RobertaForMaskedLM, which has none.
        ("roberta-base", {"mlm_head": False, "pooler": True}, 124_645_632),
        ("roberta-base", {}, 124_697_433),
        ("roberta-large", {"mlm_head": False, "pooler": True}, 355_359_744),
        ("t5-small", {}, 60_506_624),
        ("t5-base", {}, 222_903_552),
        ("t5-large", {}, 737_668_096),
        # T5 1.1 small: gated GELU, an LM head of its own, fewer heads than hidden / head_dim.
        (
            "t5-small",
            {
                "encoder_layers": 8,
                "decoder_layers": 8,
                "heads": 6,
                "ffn": 1024,
                "activation": "geglu",
                "tied_embeddings": False,
            },
            76_961_152,
        ),
        # T5 3B: heads * head_dim = 4 hidden.
        (
            "t5-large",
            {"heads": 32, "head_dim": 128, "ffn": 16384},
            2_851_598_336,
        ),
        ("bart-base", {}, 139_420_416),
        ("vit-b-16", {}, 86_567_656),
        ("vit-l-16", {}, 304_326_632),
        ("vit-h-14", {}, 632_045_800),
    ],
)
def test_parameters_are_those_of_the_released_checkpoint(name, changes, published):
    assert _published(name, **changes).parameters == published


@pytest.mark.parametrize(("name", "millions"), [("transformer-base", 65), ("transformer-big", 213)])
def test_original_transformer_has_the_printed_size(name, millions):
    """Vaswani 2017, table 3, rounded; its vocabulary is "about 37000" tokens."""
    assert _published(name).parameters == pytest.approx(millions * 1e6, rel=0.04)


@pytest.mark.parametrize(("module", "name"), ALL)
def test_operators_own_all_parameters(module, name):
    spec = module.from_mapping(PUBLISHED[module][name], name=name)
    ops = _ops(spec, _shape(2))
    assert sum(op.parameters + op.replicated_parameters for op in ops) == spec.parameters
    assert len(spec.blocks(_shape()).layers) == spec.layers
    rounded = spec.published_parameters % 1_000_000 == 0
    assert spec.parameters == pytest.approx(spec.published_parameters, rel=0.04 if rounded else 0)


@pytest.mark.parametrize("variant", [("window", 5), ("linear", 0), ("low_rank", 6)])
def test_operators_own_all_parameters_of_an_attention(variant):
    spec = _small(encoder, attention=variant[0], attention_size=variant[1])
    ops = _ops(spec, _shape())
    assert sum(op.parameters + op.replicated_parameters for op in ops) == spec.parameters
    mixes = 3 * 2 * 6 * 20 if variant[0] == "low_rank" else 0
    assert spec.parameters - _small(encoder).parameters == mixes


# FLOP, counted by running the model.


class Counting:
    """Products that add up 2 m k n."""

    def __init__(self):
        self.flop = 0

    def dot(self, a, b):
        self.flop += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b

    def dense(self, x, width):
        return self.dot(x, np.zeros((x.shape[1], width)))

    def attend(self, x, memory, heads, d):
        q, k, v = (self.dense(of, heads * d) for of in (x, memory, memory))
        out = []
        for i in range(heads):
            cut = slice(i * d, (i + 1) * d)
            out.append(self.dot(self.dot(q[:, cut], k[:, cut].T), v[:, cut]))
        return self.dense(np.concatenate(out, 1), x.shape[1])

    def mlp(self, x, width, gated=False):
        inner = self.dense(x, width)
        if gated:
            inner = inner * self.dense(x, width)
        return self.dense(inner, x.shape[1])


def _run_encoder(spec, length):
    c, x = Counting(), np.zeros((length, spec.hidden))
    for _ in range(spec.layers):
        x = c.mlp(c.attend(x, x, spec.heads, spec.head_dim), spec.ffn)
    c.dense(c.dense(x[: spec.predictions or length], spec.hidden), spec.vocab)
    c.dense(c.dense(x[:1], spec.hidden), 2)
    return c.flop


def _run_encoder_decoder(spec, length):
    gated = spec.activation in ("geglu", "swiglu")
    c, x = Counting(), np.zeros((length, spec.hidden))
    for _ in range(spec.encoder_layers):
        x = c.mlp(c.attend(x, x, spec.heads, spec.head_dim), spec.ffn, gated)
    y = np.zeros((spec.target_length or length, spec.hidden))
    for _ in range(spec.decoder_layers):
        y = c.attend(y, y, spec.heads, spec.head_dim)
        y = c.mlp(c.attend(y, x, spec.heads, spec.head_dim), spec.ffn, gated)
    c.dense(y, spec.vocab)
    return c.flop


def _run_vit(spec, length):
    side = spec.image // spec.patch
    c = Counting()
    x = c.dense(np.zeros((side * side, spec.patch**2 * spec.channels)), spec.hidden)
    x = np.concatenate([np.zeros((1, spec.hidden)), x])
    for _ in range(spec.layers):
        x = c.mlp(c.attend(x, x, spec.heads, spec.head_dim), spec.ffn)
    c.dense(x[:1], spec.classes)
    return c.flop


RUNS = {encoder: _run_encoder, encoder_decoder: _run_encoder_decoder, vit: _run_vit}


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (encoder, {}),
        (encoder, {"predictions": 3}),
        (encoder_decoder, {}),
        (encoder_decoder, {"target_length": 0, "activation": "geglu"}),
        (encoder_decoder, {"positions": "relative", "norm_first": True, "norm": "rmsnorm"}),
        (vit, {}),
        (vit, {"patch": 3}),
    ],
)
@pytest.mark.parametrize("sequences", [1, 3])
def test_forward_flop_is_that_of_a_run(module, changes, sequences):
    spec = _small(module, **changes)
    counted = RUNS[module](spec, 16)
    assert spec.forward_flop(16) == counted
    assert sum(op.forward_flop for op in _ops(spec, _shape(sequences))) == sequences * counted


@pytest.mark.parametrize("module", MODULES)
def test_backward_is_two_products_for_each(module):
    """All but the patch embedding, whose input has no gradient."""
    spec = _small(module)
    ops = _ops(spec, _shape())
    for op in ops:
        factor = 1 if op.name == "patch_embedding" else 2
        assert op.backward_flop == factor * op.forward_flop, op.name
    assert spec.model_flop(16) == sum(op.forward_flop + op.backward_flop for op in ops)


@pytest.mark.parametrize(
    ("name", "giga"), [("vit-b-16", 17.564), ("vit-l-16", 61.555), ("vit-h-14", 167.295)]
)
def test_vit_multiply_adds_are_the_published_ones(name, giga):
    """Multiply-adds of the forward pass that torchvision prints for its weights."""
    assert _published(name).forward_flop(1) / 2e9 == pytest.approx(giga, rel=1e-4)


def test_bert_base_flop_is_the_published_one():
    """22.5 G FLOP at 128 tokens (Sun 2020, arXiv 2004.02984, table 4), which has no LM head."""
    bare = _published("bert-base", mlm_head=False, nsp_head=False)
    assert bare.forward_flop(128) == pytest.approx(22.5e9, rel=0.01)


# Saved activations (Korthikanti 2022, section 4.1), bytes at 16 bit.


def _saved(ops):
    return sum(op.saved_bytes + op.saved_token_bytes for op in ops)


def test_post_norm_layer_keeps_what_a_pre_norm_layer_does():
    spec = _published("bert-base")
    (layer,) = spec.blocks(_shape(4, 512)).kinds.values()
    b, s, h, a = 4, 512, 768, 12
    assert _saved(layer) == s * b * h * (34 + 5 * a * s / h)


def test_decoder_layer_keeps_the_source_once():
    """Self-attention and feed-forward 34 t h + 5 a t^2; cross attention 9 t h + 4 s h + 5 a s t.

    Of 9: inputs of norm, queries and output (2 each), queries (2), dropout mask (1). Keys and
    values are 4 s h, and the source itself 2 s h, in one layer of all.
    """
    spec = _published("bart-base", target_length=128)
    blocks = spec.blocks(_shape(4, 512))
    b, s, t, h, a = 4, 512, 128, 768, 12
    expected = b * (34 * t * h + 5 * a * t * t + 9 * t * h + 4 * s * h + 5 * a * s * t)
    assert _saved(blocks.kinds["decoder"]) == expected
    cross = [op for op in blocks.kinds["decoder_first"] if op.name == "cross_key_value"]
    assert _saved(cross) == 2 * b * s * h


# Tensor parallelism.


def _collectives(ops, parts=4):
    division = Division(TensorParallel(parts, False, False, 2.0))
    unit = layer_unit(division, ops)

    def sizes(steps):
        return sorted(s.collective.size_bytes for s in steps if s.collective)

    return sizes(unit.forward), sizes(unit.backward)


def test_encoder_layer_has_the_all_reduces_of_a_decoder():
    """Two each way (Shoeybi 2019, figure 4)."""
    (layer,) = _published("bert-large").blocks(_shape(2, 512)).kinds.values()
    size = 2.0 * 2 * 512 * 1024
    assert _collectives(layer) == ([size] * 2, [size] * 2)


def test_decoder_layer_reduces_for_cross_attention_too():
    """One more forward; backward one for the queries' input and one for the source."""
    spec = _published("t5-large")
    layer = spec.blocks(_shape(2, 512)).kinds["decoder"]
    source, target = 2.0 * 2 * 512 * 1024, 2.0 * 2 * 114 * 1024
    assert _collectives(layer) == ([target] * 3, [target] * 3 + [source])


@pytest.mark.parametrize(("module", "name"), ALL)
@pytest.mark.parametrize("sequence", [False, True])
def test_ranks_together_do_the_work_and_hold_the_divided_weights(module, name, sequence):
    spec, parts = module.from_mapping(PUBLISHED[module][name], name=name), 4
    ops = _ops(spec, _shape(2, 64))
    tensor = TensorParallel(parts, sequence, False, 2.0)
    shared = [op for op in ops if op.axis is Axis.TOKENS]
    assert not any(op.parameters for op in shared)
    for op in ops:
        mine = sum(w.flop for w in tensor.works(op, op.forward))
        whole = op.axis is Axis.TOKENS and not sequence
        assert mine * (1 if whole else parts) == pytest.approx(op.forward_flop, rel=1e-12), op.name


def test_ranks_divide_the_rows_of_layers_that_all_of_them_hold():
    """With sequence parallelism the weights and their gradients stay whole."""
    ops = {op.name: op for op in _published("bert-base").blocks(_shape(2, 64)).head}
    tensor, op = TensorParallel(4, True, False, 2.0), ops["mlm_dense"]
    assert Division(tensor).matrices(op) == ((768, 768, 1, False),)
    for works, widths in ((op.forward, (32, 768, 768)), (op.backward_data, (32, 768, 768))):
        (work,) = tensor.works(op, works)
        assert (work.m, work.n, work.k) == widths


# Attention.


def test_full_attention_is_twice_causal_when_fused():
    fused = _shape(2, 64, Fusion())
    kinds = _small(encoder_decoder, target_length=64).blocks(fused).kinds
    (full,) = (op for op in kinds["encoder"] if op.name == "flash_attention")
    (causal,) = (op for op in kinds["decoder"] if op.name == "flash_attention")
    (cross,) = (op for op in kinds["decoder"] if op.name == "cross_flash_attention")
    assert full.forward_flop == 2 * causal.forward_flop == 4 * 2 * 3 * 64 * 64 * 10
    assert cross.forward_flop == full.forward_flop
    assert full.backward_flop == 2.5 * full.forward_flop
    assert full.saved_bytes == causal.saved_bytes


def test_relative_positions_read_one_bias_for_all_sequences():
    """2 a s^2 bytes at 16 bit, fused: the array does not grow with the batch."""
    spec = _small(encoder_decoder, positions="relative")

    def bias_bytes(sequences, fusion):
        layer = spec.blocks(_shape(sequences, 16, fusion)).kinds["encoder"]
        (op,) = (op for op in layer if op.name == "pair_bias")
        return sum(w.moved_bytes for w in op.forward)

    assert bias_bytes(5, Fusion()) == bias_bytes(1, Fusion()) == 2 * 3 * 16**2
    assert bias_bytes(5, UNFUSED) == (2 * 5 + 1) * 2 * 3 * 16**2
