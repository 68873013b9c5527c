"""Max-min rates: the certificate holds, two solvers agree, bytes are conserved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.engine import event, graph
from distsim.engine.maxmin import certificate, solve_few, solve_many
from tests.graphs import op_graph

ROWS = 6
demand = st.dictionaries(st.integers(0, ROWS - 1), st.floats(0.1, 100.0), min_size=1, max_size=ROWS)
problems = st.tuples(
    st.lists(demand, min_size=1, max_size=12),
    st.lists(st.floats(0.5, 50.0), min_size=ROWS, max_size=ROWS),
)


@settings(max_examples=300, deadline=None)
@given(problems)
def test_rates_carry_their_certificate(problem):
    demands, capacity = [list(d.items()) for d in problem[0]], problem[1]
    assert certificate(demands, capacity, solve_few(demands, capacity))


@settings(max_examples=300, deadline=None)
@given(problems)
def test_both_solvers_agree(problem):
    demands, capacity = [list(d.items()) for d in problem[0]], problem[1]
    flat = [(o, row, b) for o, d in enumerate(demands) for row, b in d]
    many = solve_many(
        np.asarray([f[0] for f in flat]),
        np.asarray([f[1] for f in flat]),
        np.asarray([f[2] for f in flat]),
        np.asarray(capacity),
    )
    np.testing.assert_allclose(many, solve_few(demands, capacity), rtol=1e-9)


def test_the_certificate_refuses_unfair_and_impossible_rates():
    demands, capacity = [[(0, 1.0)], [(0, 1.0)]], [1.0]
    assert certificate(demands, capacity, [0.5, 0.5])
    assert not certificate(demands, capacity, [0.6, 0.4])
    assert not certificate(demands, capacity, [0.6, 0.6])
    assert not certificate(demands, capacity, [0.4, 0.4])


def test_siblings_compete_one_by_one():
    """Two siblings of 1 byte, folded into 2 bytes of weight 1, against one: a third each."""
    folded = solve_few([[(0, 2.0)], [(0, 1.0)]], [3.0], [1.0, 1.0])
    apart = solve_few([[(0, 1.0)]] * 3, [3.0])
    assert folded == pytest.approx([apart[0], apart[2]])


transfers = st.lists(
    st.tuples(demand, st.floats(0.0, 3.0), st.integers(0, 2)), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(transfers, st.lists(st.floats(0.5, 50.0), min_size=ROWS, max_size=ROWS))
def test_event_is_never_earlier_than_graph_and_equal_where_valid(spec, capacity):
    """Slower transfers delay what waits for them and nothing else: orders are fixed."""
    tasks, last = [], {}
    for kind, (_, latency, stream) in enumerate(spec):
        tasks.append((stream, latency, kind, [last[stream]] if stream in last else []))
        last[stream] = kind
    g = op_graph(tasks, [s[0] for s in spec], capacity)
    by_path, by_event = graph.evaluate(g), event.evaluate(g)
    slack = 1e-9 * by_path.makespan
    assert (by_event.end_s >= by_path.end_s - slack).all()
    if graph.is_valid(g, by_path):
        np.testing.assert_allclose(by_event.end_s, by_path.end_s, rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(demand, min_size=1, max_size=8),
    st.lists(st.floats(0.5, 50.0), min_size=ROWS, max_size=ROWS),
)
def test_no_row_moves_more_than_its_capacity(demands, capacity):
    """Over the whole run: bytes on a row <= capacity * makespan, and the last row is busy."""
    g = op_graph([(i, 0.0, i, []) for i in range(len(demands))], demands, capacity)
    makespan = event.evaluate(g).makespan
    moved = np.zeros(ROWS)
    for d in demands:
        for row, b in d.items():
            moved[row] += b
    busy = moved / np.asarray(capacity)
    assert makespan >= busy.max() * (1 - 1e-9)
    assert makespan <= busy.sum() * (1 + 1e-9)
