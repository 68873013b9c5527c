"""What holds of every family, and linear models and multilayer perceptrons by hand."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from distsim.cost.kernel import price
from distsim.errors import WorkloadError
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import device
from distsim.parallel.division import Division
from distsim.parallel.recompute import layer_unit
from distsim.parallel.tensor import TensorParallel
from distsim.workload.families import FAMILIES
from distsim.workload.families.linear_regression import LinearModel
from distsim.workload.families.mlp import Mlp
from distsim.workload.network import Model
from distsim.workload.op import Fusion, Numerics, Op, WorkKind
from distsim.workload.optimizers.spec import Held
from distsim.workload.shape import Shape

BARE = Fusion(weight_gradient_accumulation=False, cross_entropy=False, linear_bias_epilogue=False)
LINEAR = ("linear_regression", "softmax_regression", "perceptron")
SEQ2SEQ = {"embedding": 6, "hidden": 8, "source_vocab": 50, "target_vocab": 60, "steps": 5}
CNN = {
    "image": [3, 33, 29],
    "classes": 7,
    "layers": [
        {"conv": 8, "kernel": 5, "stride": 2, "norm": True},
        {"pool": "max", "kernel": 3, "stride": 2, "padding": 1},
        {"residual": "basic", "channels": 8},
        {"residual": "bottleneck", "channels": 4, "stride": 2, "repeat": 3},
        {"pool": "average", "kernel": 2},
        {"conv": 5, "kernel": 3},
        {"pool": "global"},
        {"dense": 11, "dropout": True},
    ],
}


def _models() -> dict[str, Model]:
    out: dict[str, Model] = {}
    data, _ = load_yaml(shipped("families", "cnn"))
    for name, block in data["models"].items():
        out[name] = FAMILIES["cnn"]({**data["defaults"], **block}, name=name)
    out["cnn"] = FAMILIES["cnn"]({"family": "cnn", **CNN})
    for cell, vocab, both, drop, at, depth in product(
        ("rnn", "lstm", "gru"), (0, 30), (False, True), (False, True), ("every", "last"), (1, 4)
    ):
        block = {"cell": cell, "vocab": vocab, "bidirectional": both, "dropout": drop}
        block |= {"inputs": 12, "hidden": 8, "steps": 5, "outputs": 9, "layers": depth}
        key = f"{cell}-{vocab}-{both}-{drop}-{at}-{depth}"
        out[key] = FAMILIES["rnn"]({"family": "rnn", **block, "output_at": at})
    for cell, attention, maxout, depth in product(("lstm", "gru"), (0, 7), (0, 4), (1, 3)):
        block = {**SEQ2SEQ, "cell": cell, "attention": attention, "maxout": maxout}
        key = f"seq2seq-{cell}-{attention}-{maxout}-{depth}"
        out[key] = FAMILIES["seq2seq"]({"family": "seq2seq", **block, "depth": depth})
    for drop in (False, True):
        block = {"inputs": 20, "hidden": [16, 16, 16, 5], "outputs": 3, "dropout": drop}
        out[f"mlp-{drop}"] = FAMILIES["mlp"]({"family": "mlp", **block})
    for family, outputs in product(LINEAR, (1, 4)):
        block = {"family": family, "features": 20, "outputs": outputs}
        out[f"{family}-{outputs}"] = FAMILIES[family](block)
    return out


MODELS = _models()


def _shape(model: Model, sequences: int = 6, fusion: Fusion | None = None) -> Shape:
    return Shape(sequences, model.default_length, Numerics(), fusion or Fusion())


def _ops(model: Model, shape: Shape) -> list[Op]:
    blocks = model.blocks(shape)
    layers = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    return [*blocks.embedding, *layers, *blocks.head]


def _saved(ops: list[Op]) -> float:
    return sum(op.saved_bytes + op.saved_token_bytes for op in ops)


@pytest.mark.parametrize("name", MODELS)
def test_operators_hold_the_parameters_and_run_the_flop_of_the_model(name: str) -> None:
    model = MODELS[name]
    shape = _shape(model)
    blocks, ops = model.blocks(shape), _ops(model, shape)
    assert len(blocks.layers) == model.layers
    assert set(blocks.layers) == set(blocks.kinds)
    held = sum(op.parameters + op.replicated_parameters for op in ops)
    assert held == model.parameters == sum(model.parameters_by_part().values())
    forward, backward = (
        sum(getattr(op, f"{w}_flop") for op in ops) for w in ("forward", "backward")
    )
    n, length = shape.sequences, model.default_length
    assert forward == pytest.approx(n * model.forward_flop(length), rel=1e-12)
    assert forward + backward == pytest.approx(n * model.model_flop(length), rel=1e-12)
    assert model.to_dict()["parameters"] == model.parameters


@pytest.mark.parametrize("name", MODELS)
def test_backward_runs_each_product_twice_but_for_data(name: str) -> None:
    # dX and dW of Y = X W take as many FLOP as Y; an operator whose input is data makes no dX.
    for op in _ops(MODELS[name], _shape(MODELS[name])):
        data, weight = (
            sum(w.flop for w in works) for works in (op.backward_data, op.backward_weight)
        )
        if op.name == "attention":  # what no weight is part of has both gradients in one pass
            assert data + weight == pytest.approx(2 * op.forward_flop, rel=1e-12)
            continue
        assert weight == pytest.approx(op.forward_flop, rel=1e-12)
        assert data == pytest.approx(op.forward_flop, rel=1e-12) or not op.backward_data


@pytest.mark.parametrize("name", MODELS)
def test_products_that_make_gradients_have_the_shape_of_the_weights(name: str) -> None:
    # Optimizers read matrices off these products: no more elements than the operator has.
    for op in _ops(MODELS[name], _shape(MODELS[name])):
        made = [w for w in op.backward_weight if w.kind is WorkKind.GEMM]
        elements = sum(w.batch * w.m * w.n for w in made)
        assert len(made) <= 1
        assert elements <= op.parameters + op.replicated_parameters
        for work in made:
            assert work.flop == pytest.approx(2 * work.batch * work.m * work.n * work.k, rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_all_counts_are_finite_and_a_larger_batch_keeps_more(name: str) -> None:
    model = MODELS[name]
    small, large = (_ops(model, _shape(model, n, BARE)) for n in (1, 2))
    assert 0 < _saved(small) < _saved(large) <= 2 * _saved(small)
    for op in large:
        for work in (*op.forward, *op.backward_data, *op.backward_weight):
            assert np.isfinite(work.moved_bytes)
            assert work.moved_bytes > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_without_tensor_parallelism_takes_the_operators_as_they_are(name: str) -> None:
    model = MODELS[name]
    ops = _ops(model, _shape(model))
    unit = layer_unit(Division(TensorParallel(1, False, False, 2.0)), ops)
    assert unit.parameters == model.parameters
    assert unit.saved_bytes == _saved(ops)
    # Matrices are some of the parameters, and vectors the rest: an optimizer accepts them.
    held = Held(unit.parameters, unit.matrices, shard=1, gradient_bytes=4, value_bytes=4)
    only_vectors = name.startswith(LINEAR) and name.endswith("-1")
    assert (held.vectors() == model.parameters) == only_vectors
    gpu = device("a100-80gb-sxm")
    forward, backward = (
        sum(price(step.works, gpu, "bf16").device_s for step in steps)
        for steps in (unit.forward, unit.backward)
    )
    floor = model.model_flop(model.default_length) * 6 / gpu.peak_flop_per_s["bf16"]
    assert forward + backward > floor


@pytest.mark.parametrize("name", ["mlp-False", "vgg-16", "lstm-0-True-False-every-4"])
def test_a_stack_that_fuses_nothing_adds_its_passes(name: str) -> None:
    model, e = MODELS[name], 2
    sums = {}
    for fusion in (Fusion(), BARE):
        ops = _ops(model, _shape(model, fusion=fusion))
        sums[fusion] = [
            sum(w.moved_bytes for op in ops for w in works(op))
            for works in (
                lambda op: op.forward,
                lambda op: (*op.backward_data, *op.backward_weight),
            )
        ]
    forward, backward = (b - a for a, b in zip(sums[Fusion()], sums[BARE], strict=True))
    logits = {"mlp-False": 6 * 3, "vgg-16": 6 * 1000}.get(name, 6 * 5 * 9)
    # Logits are shifted, exponentiated, summed and divided apart. A fresh gradient is written and
    # read again; a bias is added to what a product or convolution has written.
    biased = {"mlp-False": 6 * (3 * 16 + 5 + 3), "vgg-16": 6 * (13_547_520 + 2 * 4096 + 1000)}
    assert forward == 28 * logits + 2 * e * biased.get(name, logits)
    matrices = model.parameters - _biases(name)
    assert backward == 16 * logits + 2 * e * matrices


def _biases(name: str) -> int:
    if name == "mlp-False":
        return 3 * 16 + 5 + 3
    if name == "vgg-16":
        return 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 4096 + 1000
    return 4 * 2 * 2 * 4 * 8 + 9  # layers, directions, biases, gates, units; the head


# Linear models.


def _gradients(n: int, d: int, q: int) -> tuple[list[np.ndarray], list[int]]:
    """Return X^T (X w - y) in the three orders, and multiplications of one step of each."""
    rng = np.random.default_rng(1)
    x, w, y = rng.normal(size=(n, d)), rng.normal(size=(d, q)), rng.normal(size=(n, q))
    counted = [0]

    def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        counted[-1] += a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b

    residual = times(x.T, times(x, w) - y)
    counted.append(0)
    gram, target = times(x.T, x), times(x.T, y)
    by_gram = times(gram, w) - target
    counted.append(0)
    return [residual, by_gram, times(gram, w) - target], counted


@pytest.mark.parametrize("q", [1, 3])
def test_the_three_orders_give_one_gradient_with_the_flop_of_their_products(q: int) -> None:
    n, d = 40, 7
    gradients, multiplications = _gradients(n, d, q)
    for order, gradient, count in zip(
        ("residual", "gram", "precomputed"), gradients, multiplications, strict=True
    ):
        assert np.allclose(gradient, gradients[0])
        block = {"family": "linear_regression", "features": d, "outputs": q, "order": order}
        model = FAMILIES["linear_regression"]({**block, "bias": False})
        ops = _ops(model, _shape(model, n))
        flop = sum(op.forward_flop + op.backward_flop for op in ops)
        assert flop == 2 * count
        once = 2 * (multiplications[1] - multiplications[2]) if order == "precomputed" else 0
        assert model.descent_flop(n, 10) == 10 * flop + once
        assert (model.parameters, len(gradient)) == (d * q, d)


def test_precomputing_pays_after_half_as_many_steps_as_features() -> None:
    n, d = 10_000_000, 101
    plain = LinearModel(name="x", features=d, bias=False)
    once = LinearModel(name="x", features=d, bias=False, order="precomputed")
    assert once.descent_flop(n, 51) > plain.descent_flop(n, 51)
    assert once.descent_flop(n, 52) < plain.descent_flop(n, 52)


@pytest.mark.parametrize("family", LINEAR)
def test_a_single_output_is_bounded_by_reading_the_rows_twice(family: str) -> None:
    n, d, e, g = 1000, 300, 2, 4
    model = FAMILIES[family]({"family": family, "features": d, "bias": False})
    op = _ops(model, _shape(model, n))[0]
    assert not op.backward_data
    forward, backward = op.forward[0], op.backward_weight[0]
    assert forward.kind is backward.kind is WorkKind.STREAM
    assert forward.stream_bytes == e * (n * d + d + n)
    assert backward.stream_bytes == e * (n * d + n) + 2 * g * d
    assert op.saved_bytes == e * n * d


# Multilayer perceptrons.


def test_mlp_by_hand() -> None:
    # The textbook's example, 784 - 256 - 10 with biases.
    block = {"family": "mlp", "inputs": 784, "hidden": [256], "outputs": 10}
    model = FAMILIES["mlp"](block)
    assert model.parameters == 203_530
    assert model.forward_flop(1) == 2 * (784 * 256 + 256 * 10)
    assert model.model_flop(1) == 4 * 784 * 256 + 6 * 256 * 10


@pytest.mark.parametrize(("function", "drop"), [*product(("relu", "gelu"), (False, True))])
def test_mlp_keeps_what_autograd_keeps(function: str, drop: bool) -> None:
    n, widths, e = 12, (20, 16, 9, 3), 2
    model = Mlp(name="x", inputs=20, hidden=(16, 9), outputs=3, activation=function, dropout=drop)
    kept: dict[str, int] = {}  # array: bytes; a name appears once however often it is kept
    array = "data"
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        kept[array] = e * n * inputs  # the input of a product
        if index == 2:
            kept["logits"] = 4 * n * outputs
            break
        elements = n * outputs
        array = f"a{index}"
        kept[f"z{index}" if function == "gelu" else array] = e * elements
        if drop:
            kept[f"mask{index}"] = elements
            array = f"dropped{index}"
    assert _saved(_ops(model, _shape(model, n))) == sum(kept.values())


def test_equal_layers_share_a_kind() -> None:
    model = Mlp(name="x", inputs=16, hidden=(16, 16, 16, 8), outputs=3)
    assert len(model.blocks(_shape(model)).kinds) == 3  # the first makes no gradient of data


# Errors.


@pytest.mark.parametrize(
    ("block", "code", "key"),
    [
        ({"family": "mlp", "inputs": 3, "hidden": [4], "outputz": 2}, "DS201", "outputz"),
        ({"family": "mlp", "inputs": 3, "hidden": [4], "outputs": "2"}, "DS202", "outputs"),
        ({"family": "mlp", "inputs": 3, "hidden": 4, "outputs": 2}, "DS202", "hidden"),
        ({"family": "mlp", "inputs": 3, "hidden": [], "outputs": 2}, "DS203", "hidden"),
        ({"family": "mlp", "inputs": True, "hidden": [4], "outputs": 2}, "DS202", "inputs"),
        ({"family": "mlp", "inputs": 3, "hidden": [4, 0], "outputs": 2}, "DS203", "hidden.1"),
        ({"family": "mlp", "inputs": 3, "hidden": [4]}, "DS205", ""),
        ({"family": "perceptron", "features": 0}, "DS203", "features"),
        ({"family": "linear_regression", "features": 2, "order": "grm"}, "DS204", "order"),
        ({"family": "perceptron", "features": 2, "order": "gram"}, "DS206", "order"),
        (
            {"family": "linear_regression", "features": 2, "order": "gram", "bias": True},
            "DS206",
            "order",
        ),
        ({"family": "rnn", "cell": "ltsm"}, "DS204", "cell"),
        ({"family": "rnn", "cell": "gru", "inputs": 2, "hidden": 2, "steps": 3}, "DS205", ""),
        ({"family": "seq2seq", **SEQ2SEQ, "hidden": 1.5}, "DS202", "hidden"),
        ({"family": "cnn", **CNN, "image": [3, 33]}, "DS203", "image"),
        ({"family": "cnn", **CNN, "layers": []}, "DS203", "layers"),
        ({"family": "cnn", **CNN, "layers": [{"pool": "global"}]}, "DS203", "layers"),
        ({"family": "cnn", **CNN, "layers": [3]}, "DS202", "layers.0"),
        ({"family": "cnn", **CNN, "layers": [{"conv": 1, "dense": 2}]}, "DS202", "layers.0"),
        ({"family": "cnn", **CNN, "layers": [{"conv": 3}]}, "DS205", "layers.0"),
        ({"family": "cnn", **CNN, "layers": [{"pool": "max"}]}, "DS205", "layers.0"),
        (
            {"family": "cnn", **CNN, "layers": [{"conv": 3, "kernel": 40, "padding": 3}]},
            "DS203",
            "layers.0.kernel",
        ),
        (
            {"family": "cnn", **CNN, "layers": [{"dense": 3}, {"conv": 3, "kernel": 1}]},
            "DS203",
            "layers.1",
        ),
        (
            {"family": "cnn", **CNN, "layers": [{"pool": "max", "kernel": 2, "padding": 2}]},
            "DS203",
            "layers.0.padding",
        ),
    ],
)
def test_a_wrong_block_is_refused_with_its_place(
    block: dict[str, Any], code: str, key: str
) -> None:
    with pytest.raises(WorkloadError) as caught:
        FAMILIES[block["family"]](block, ("model",))
    assert caught.value.code == code
    assert ".".join(map(str, caught.value.path)) == f"model.{key}".rstrip(".")
    assert caught.value.rule
    assert caught.value.fix


def test_no_mapping_is_refused() -> None:
    for read in FAMILIES.values():
        with pytest.raises(WorkloadError, match="not a mapping"):
            read(3)
