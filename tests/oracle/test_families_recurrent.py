"""Recurrent networks against PyTorch's counts, published sizes, and steps carried out by hand."""

from __future__ import annotations

from itertools import product

import pytest

from distsim.cost.kernel import price
from distsim.hardware.catalogue import device
from distsim.workload.families import FAMILIES
from distsim.workload.families.rnn import Rnn
from distsim.workload.families.seq2seq import Seq2Seq
from distsim.workload.network import Blocks
from distsim.workload.op import Fusion, Numerics, Op, WorkKind
from distsim.workload.shape import Shape

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
#: Arrays of h features that the elementwise kernel of a step reads and writes, by name.
FORWARD = {
    "rnn": "Wx Uh h",
    "lstm": "Wx.i Wx.f Wx.g Wx.o Uh.i Uh.f Uh.g Uh.o c0 i f g o c h",
    "gru": "Wx.r Wx.z Wx.n Uh.r Uh.z Uh.n h0 r z n hn h",
}
BACKWARD = {
    "rnn": "dh.above dh.later h dgate",
    "lstm": "dh.above dh.later dc i f g o c0 c di df dg do dc0",
    "gru": "dh.above dh.later r z n hn h0 dx.r dx.z dx.n du.r du.z du.n dh0",
}
KEPT = {"rnn": "h", "lstm": "i f g o c h", "gru": "r z n hn h"}
#: Zaremba 2014 (arXiv 1409.2329): two layers, 10,000 words; sizes as printed by Merity 2017 (arXiv
#: 1708.02182, table 1).
ZAREMBA = {650: 20e6, 1500: 66e6}


def _rnn(**values: object) -> Rnn:
    block = {"family": "rnn", "cell": "lstm", "inputs": 12, "hidden": 8, "steps": 5, "outputs": 3}
    model = FAMILIES["rnn"]({**block, **values})
    assert isinstance(model, Rnn)
    return model


def _blocks(model: Rnn | Seq2Seq, sequences: int = 4) -> Blocks:
    return model.blocks(Shape(sequences, model.default_length, Numerics(), Fusion()))


def _layers(blocks: Blocks) -> list[Op]:
    return [op for kind in blocks.layers for op in blocks.kinds[kind]]


def _torch_parameters(cell: str, d: int, h: int, layers: int, directions: int, bias: bool) -> int:
    """Elements of weight_ih, weight_hh, bias_ih and bias_hh, as PyTorch documents them."""
    total = 0
    for layer, _ in product(range(layers), range(directions)):
        rows = GATES[cell] * h
        total += rows * (d if layer == 0 else directions * h) + rows * h
        total += 2 * rows if bias else 0
    return total


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_cells_hold_what_pytorch_holds(cell: str, layers: int, both: bool, bias: bool) -> None:
    model = _rnn(cell=cell, layers=layers, bidirectional=both, bias=bias)
    expected = _torch_parameters(cell, 12, 8, layers, 2 if both else 1, bias)
    assert model.parameters_by_part()["cells"] == expected
    held = sum(op.replicated_parameters for op in _layers(_blocks(model)))
    assert held == expected


@pytest.mark.parametrize("hidden", ZAREMBA)
def test_language_models_have_their_published_size(hidden: int) -> None:
    model = _rnn(inputs=hidden, hidden=hidden, layers=2, vocab=10_000, outputs=10_000, steps=35)
    assert round(model.parameters, -6) == ZAREMBA[hidden]


@pytest.mark.parametrize(("cell", "d", "h"), [*product(GATES, (12, 40), (8, 24))])
def test_a_step_takes_2_g_h_h_plus_d_flop(cell: str, d: int, h: int) -> None:
    model = _rnn(cell=cell, inputs=d, hidden=h)
    expected = {"rnn": 2, "lstm": 8, "gru": 6}[cell] * h * (h + d)
    assert model.forward_flop(1) - 2 * h * 3 == expected
    assert model.forward_flop(7) == 7 * model.forward_flop(1)
    flop = sum(op.forward_flop for op in _layers(_blocks(model)))
    assert flop == 4 * 5 * expected  # sequences * steps


@pytest.mark.parametrize("cell", GATES)
def test_inputs_are_one_product_and_states_one_a_step(cell: str) -> None:
    b, steps, d, h, e = 4, 5, 12, 8, 2
    wide = GATES[cell] * h
    inputs, states = _blocks(_rnn(cell=cell)).kinds["first"]
    (work,) = inputs.forward
    assert (work.m, work.n, work.k) == (b * steps, wide, d)
    assert inputs.backward_data == ()  # the inputs are data
    steps_of = [w for w in states.forward if w.kind is WorkKind.GEMM]
    assert [(w.m, w.n, w.k) for w in steps_of] == [(b, wide, h)] * steps
    back = [w for w in states.backward_data if w.kind is WorkKind.GEMM]
    assert [(w.m, w.n, w.k) for w in back] == [(b, h, wide)] * steps
    # The weights of the states are read at each step, those of the inputs once.
    assert sum(w.moved_bytes for w in steps_of) == steps * e * (h * wide + b * h + b * wide)
    # Gradients of both weights wait for all steps, and are one product each.
    for op, rows in ((inputs, d), (states, h)):
        (weight,) = (w for w in op.backward_weight if w.kind is WorkKind.GEMM)
        assert (weight.m, weight.n, weight.k) == (rows, wide, b * steps)


@pytest.mark.parametrize("cell", GATES)
def test_a_step_moves_and_keeps_the_arrays_of_its_cell(cell: str) -> None:
    array = 2 * 4 * 8  # bytes of one array of h features
    _, states = _blocks(_rnn(cell=cell)).kinds["first"]
    for works, names in ((states.forward, FORWARD), (states.backward_data, BACKWARD)):
        streams = [w.stream_bytes for w in works if w.kind is WorkKind.STREAM]
        assert streams == [len(names[cell].split()) * array] * 5
    assert states.saved_bytes == len(KEPT[cell].split()) * array * 5


@pytest.mark.parametrize(
    ("both", "drop", "at"), [*product((False, True), (False, True), ("every", "last"))]
)
def test_each_array_is_kept_once(both: bool, drop: bool, at: str) -> None:
    b, steps, d, h, e, depth = 4, 5, 12, 8, 2, 3
    directions = 2 if both else 1
    array = e * b * steps * h
    kept = e * b * steps * d  # the inputs
    for layer in range(depth):
        kept += directions * len(KEPT["lstm"].split()) * array
        if drop and layer < depth - 1:  # a mask, and what the next layer reads
            kept += directions * array // e + directions * array
    rows = b * steps if at == "every" else b
    kept += 4 * rows * 3
    blocks = _blocks(_rnn(layers=depth, bidirectional=both, dropout=drop, output_at=at))
    ops = [*_layers(blocks), *blocks.head]
    assert sum(op.saved_bytes + op.saved_token_bytes for op in ops) == kept


def test_a_recurrence_takes_no_less_than_reading_its_weights_each_step() -> None:
    h, b, steps = 4096, 32, 50
    model = _rnn(inputs=h, hidden=h, steps=steps)
    inputs, states = _blocks(model, b).kinds["first"]
    gpu = device("a100-80gb-sxm")
    once = 2 * 4 * h * h / gpu.memory_bandwidth_bytes_per_s
    recurrent = price(states.forward, gpu, "bf16").device_s
    assert recurrent > steps * once
    # The same FLOP in one product for all steps are several times as fast.
    assert inputs.forward_flop == states.forward_flop
    assert recurrent > 3 * price(inputs.forward, gpu, "bf16").device_s


# Sequence to sequence.


def _seq2seq(**values: object) -> Seq2Seq:
    block = {"family": "seq2seq", "embedding": 6, "hidden": 8, "steps": 5}
    model = FAMILIES["seq2seq"]({**block, "source_vocab": 50, "target_vocab": 60, **values})
    assert isinstance(model, Seq2Seq)
    return model


def test_rnnsearch_by_the_appendix_of_its_paper() -> None:
    # Bahdanau 2014, appendix A.2: matrices, and sizes in A.2.3; biases are left out there.
    n, m, a, l, vocab = 1000, 620, 1000, 500, 30_000  # noqa: E741
    encoder = 2 * 3 * (n * m + n * n)
    decoder = 3 * (n * m + n * n + n * 2 * n) + n * n
    alignment = a * n + a * 2 * n + a
    output = 2 * l * (n + m + 2 * n) + vocab * l
    model = _seq2seq(
        embedding=m, hidden=n, source_vocab=vocab, target_vocab=vocab, maxout=l, bias=False
    )
    assert model.parameters_by_part() == {
        "embeddings": 2 * vocab * m,
        "encoder": encoder,
        "decoder": decoder,
        "attention": alignment,
        "head": output,
    }


def test_the_decoder_with_attention_is_pytorchs_cell_of_token_and_context() -> None:
    model = _seq2seq(attention=7)
    start = 8 * 8 + 8
    decoder = _torch_parameters("gru", 6 + 16, 8, 1, 1, True)
    assert model.parameters_by_part()["decoder"] == start + decoder


@pytest.mark.parametrize("length", [5, 11])
def test_attention_step_by_step(length: int) -> None:
    b, n, c, a, e = 4, 8, 16, 7, 2
    model = _seq2seq(attention=a, steps=length)
    multiplications = tanh = weights = 0
    for _ in range(b):
        multiplications += length * c * a  # U h_j, once for all steps
        for _ in range(length):
            multiplications += n * a  # W s
            for _ in range(length):
                multiplications += a + c  # v^T tanh(..), and a share of the context
                tanh, weights = tanh + a, weights + 1
    ops = {op.name: op for op in _blocks(model, b).kinds["decoder_first"]}
    flop = ops["attention"].forward_flop + ops["attention_keys"].forward_flop
    assert flop == 2 * multiplications
    assert ops["attention"].saved_bytes == e * (tanh + weights)
    assert ops["attention"].replicated_parameters == a * n + a


def test_a_step_of_attention_moves_these_arrays() -> None:
    b, length, n, c, a, e = 4, 5, 8, 16, 7, 2
    pair = b * length  # energies, weights: one for each state of the source
    tanh = keys = argument = pair * a
    states, context, query, v = pair * c, b * c, b * a, a
    forward = (keys + query + tanh) + (tanh + v + pair) + (pair + pair)
    forward += states + pair + context
    backward = (states + context + pair) + (pair + context + 2 * states)  # of weights, of states
    backward += 3 * pair + (pair + v + tanh + argument)  # of energies, of the tanh's argument
    backward += (argument + 2 * keys) + (argument + query)
    (op,) = (
        op
        for op in _blocks(_seq2seq(attention=a), b).kinds["decoder_first"]
        if op.name == "attention"
    )
    for works, elements in ((op.forward, forward), (op.backward_data, backward)):
        streams = sum(w.stream_bytes for w in works if w.kind is WorkKind.STREAM)
        assert streams == e * elements * length
        (shape,) = {(w.m, w.n, w.k) for w in works if w.kind is WorkKind.GEMM}
        assert shape == ((b, a, n) if works is op.forward else (b, n, a))


def test_attention_adds_a_part_that_grows_with_the_square_of_the_length() -> None:
    c, a = 16, 7
    model = _seq2seq(attention=a)
    second = [
        model.forward_flop(t + 2) - 2 * model.forward_flop(t + 1) + model.forward_flop(t)
        for t in (5, 9)
    ]
    assert second == [2 * 2 * (a + c)] * 2  # the second difference of 2 (a + c) T^2
    fixed = _seq2seq(attention=0)
    assert fixed.forward_flop(7) - 2 * fixed.forward_flop(6) + fixed.forward_flop(5) == 0


@pytest.mark.parametrize(("a", "l"), [(0, 0), (7, 0), (0, 4), (7, 4)])
def test_encoder_and_decoder_keep_each_array_once(a: int, l: int) -> None:  # noqa: E741
    b, length, m, n, c, e = 4, 5, 6, 8, 16, 2
    tokens = b * length
    cell = len(KEPT["gru"].split()) * tokens * n
    kept = tokens * m + 2 * cell  # source, both directions
    kept += b * n + tokens * m + cell  # first state, target, decoder
    if a:
        kept += b * length**2 * (a + 1) + tokens * c  # tanh, weights, contexts
    if l:
        kept += tokens * (n + m + c + l)  # side by side; after the maxout
    kept_bytes = e * kept + (8 * tokens * l) + 4 * tokens * 60  # indices, logits
    blocks = _blocks(_seq2seq(attention=a, maxout=l))
    ops = [*blocks.embedding, *_layers(blocks), *blocks.head]
    assert sum(op.saved_bytes for op in ops) == kept_bytes


def test_a_deep_output_writes_its_inputs_side_by_side() -> None:
    tokens, joined, e = 4 * 5, 8 + 6 + 16, 2
    deep, largest, *_ = _blocks(_seq2seq(maxout=3)).head
    product_bytes = e * (tokens * joined + joined * 6 + tokens * 6)
    for works in (deep.forward, deep.backward_data):
        assert sum(w.moved_bytes for w in works) == product_bytes + 2 * e * tokens * joined
    assert largest.forward == largest.backward_data  # two of three arrays, and indices
    assert largest.forward[0].stream_bytes == (3 * e + 8) * tokens * 3


def test_a_fixed_context_is_multiplied_once() -> None:
    ops = {op.name: op for op in _blocks(_seq2seq(attention=0)).kinds["decoder_first"]}
    assert "attention" not in ops
    assert len(ops["context"].forward) == 1
    assert ops["context"].forward_flop == 2 * 4 * 16 * 3 * 8
