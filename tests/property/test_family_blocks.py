"""Blocks of families, right and wrong: nothing but a model or a `WorkloadError` comes out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import WorkloadError
from distsim.workload.families import FAMILIES
from distsim.workload.op import Fusion, Numerics
from distsim.workload.shape import Shape

COUNTS = st.integers(1, 40)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 60), st.floats(), st.text(max_size=4), COUNTS
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.sampled_from(["lstm", "gru", "every", "last", "relu", "gram", "fused"]),
)
ENTRIES = st.one_of(
    SCALARS,
    st.dictionaries(st.sampled_from(["conv", "pool", "dense", "kernel", "norm"]), VALUES),
    st.fixed_dictionaries({"conv": COUNTS, "kernel": st.integers(1, 7)}),
    st.fixed_dictionaries(
        {"pool": st.sampled_from(["max", "global"]), "kernel": COUNTS},
        optional={"stride": COUNTS, "padding": st.integers(0, 3)},
    ),
    st.fixed_dictionaries(
        {"residual": st.sampled_from(["basic", "bottleneck"]), "channels": COUNTS},
        optional={"stride": st.integers(1, 4), "repeat": st.integers(1, 3)},
    ),
    st.fixed_dictionaries({"dense": COUNTS}),
)
KEYS = (
    *("inputs", "hidden", "outputs", "features", "order", "bias", "dropout", "cell", "layers"),
    *("steps", "vocab", "output_at", "loss", "activation", "classes", "winograd", "odd"),
    *("embedding", "source_vocab", "target_vocab", "attention", "maxout", "depth"),
)
RIGHT: dict[str, dict[str, Any]] = {
    "linear_regression": {"features": 8},
    "softmax_regression": {"features": 8, "outputs": 3},
    "perceptron": {"features": 8},
    "mlp": {"inputs": 8, "hidden": [4, 4], "outputs": 2},
    "cnn": {"image": [3, 16, 16], "classes": 5, "layers": [{"conv": 4, "kernel": 3}]},
    "rnn": {"cell": "gru", "inputs": 4, "hidden": 4, "steps": 3, "outputs": 2},
    "seq2seq": {"embedding": 4, "hidden": 4, "source_vocab": 9, "target_vocab": 9, "steps": 3},
}


def _holds(family: str, block: object) -> None:
    try:
        model = FAMILIES[family](block, ("model",))
    except WorkloadError as error:
        assert error.path[0] == "model"
        assert error.rule
        return
    shape = Shape(2, model.default_length, Numerics(), Fusion())
    blocks = model.blocks(shape)
    ops = [op for kind in blocks.layers for op in blocks.kinds[kind]]
    ops += [*blocks.embedding, *blocks.head]
    assert len(blocks.layers) == model.layers
    assert sum(op.replicated_parameters for op in ops) == model.parameters > 0
    assert 0 < model.forward_flop(model.default_length) < model.model_flop(model.default_length)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(RIGHT)), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_keys_beside_right_ones(family: str, changes: dict[str, Any]) -> None:
    _holds(family, {"family": family, **RIGHT[family], **changes})


@settings(max_examples=200, deadline=None)
@given(st.lists(ENTRIES, max_size=6), st.tuples(COUNTS, COUNTS, COUNTS))
def test_any_layers_of_a_convolutional_network(
    layers: list[object], image: tuple[int, int, int]
) -> None:
    _holds("cnn", {"family": "cnn", "image": list(image), "classes": 3, "layers": layers})


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(RIGHT)), VALUES)
def test_no_block_at_all(family: str, block: object) -> None:
    _holds(family, block)
