"""Layers over stages, and counts of actions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from distsim.schedule import FORWARD, actions
from distsim.study.plan.pipes import _counts, counts, fitted, short


def _heaviest(layers, pp, ends):
    load = [float(sum(layers[s::pp])) for s in range(pp)]
    return max(load[0] + ends[0], *load[1:-1], load[-1] + ends[1])


@pytest.mark.parametrize("layers", [5, 7, 10])
@pytest.mark.parametrize("ends", [(0.001, 0.3), (0.2, 1.4), (0.001, 0.0)])
def test_layers_are_dealt_out_as_evenly_as_can_be(layers, ends):
    """Against all divisions over three stages."""
    found = fitted(layers, 3, 1, ends)
    assert sum(found) == layers
    every = [c for c in product(range(layers + 1), repeat=3) if sum(c) == layers]
    assert _heaviest(found, 3, ends) == pytest.approx(min(_heaviest(c, 3, ends) for c in every))


def test_llama_3_has_one_layer_a_chunk_and_none_at_the_ends():
    """126 layers on 16 stages of 8 chunks (Grattafiori 2024, section 3.3.2)."""
    found = fitted(126, 16, 8, (0.001, 0.6))
    assert found == (0, *[1] * 126, 0)


@pytest.mark.parametrize("name", ["1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v"])
@pytest.mark.parametrize("stages", [2, 3, 8])
def test_a_few_micro_batches_stand_for_many(name, stages):
    """Spans grow by one action of each kind a micro batch, and nothing more is kept."""
    v = {"interleaved": 3, "zb-v": 2}.get(name, 1)
    for many in (4 * stages, 5 * stages, 9 * stages, 16 * stages):
        few = short(name, stages, many, v)
        brief, whole = counts(name, stages, many, v), _counts(name, stages, many, v)
        assert brief.extra == many - few > 0
        per = np.where(whole.span.max(axis=(0, 1, 2, 3)) > 0, brief.extra, 0)
        np.testing.assert_array_equal(brief.span + per, whole.span)
        np.testing.assert_array_equal(brief.hooked + per, whole.hooked)
        for one, other in zip(brief.kept, whole.kept, strict=True):
            assert {tuple(r) for r in one.tolist()} == {tuple(r) for r in other.tolist()}


def test_kept_micro_batches_of_1f1b():
    """Stage s keeps p - s micro batches (Narayanan 2021, section 2.2.1)."""
    kept = counts("1f1b", 4, 16, 1).kept
    assert [int(rows[:, 0].max()) for rows in kept] == [4, 3, 2, 1]


def test_spans_count_the_order():
    """From the first forward pass on to the end a stage runs everything."""
    found = counts("interleaved", 4, 8, 2)
    for stage, order in enumerate(actions("interleaved", 4, 8, 2)):
        assert found.span[stage, 0, 2].sum() == len(order.kind)
        assert found.span[stage, 0, 2][:, FORWARD].tolist() == [8, 8]
