"""Max-min rates: the certificate holds, two solvers agree, bytes are conserved."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from distsim.engine import event, graph
from distsim.engine.maxmin import certificate, solve_few, solve_many
from tests.graphs import op_graph

ROWS = 6
demand = st.dictionaries(st.integers(0, ROWS - 1), st.floats(0.1, 100.0), min_size=1, max_size=ROWS)


@dataclass(frozen=True)
class Problem:
    """Transfers with demands, weights and limits on rows."""

    demands: list[list[tuple[int, float]]]
    capacity: list[float]
    weight: list[float]
    limit: list[float]

    def few(self) -> list[float]:
        return solve_few(self.demands, self.capacity, self.weight, self.limit)

    def many(self) -> list[float]:
        """The same by arrays, where a limit is a row of its own that only one transfer crosses."""
        flat, capacity = [], list(self.capacity)
        for o, (entries, most) in enumerate(zip(self.demands, self.limit, strict=True)):
            flat += [(o, row, b) for row, b in entries]
            if most < inf:
                flat.append((o, len(capacity), 1.0))
                capacity.append(most)
        transfer, row, size = (np.asarray(column) for column in zip(*flat, strict=True))
        rates = solve_many(
            transfer, row, size.astype(float), np.asarray(capacity), np.asarray(self.weight)
        )
        return rates.tolist()

    def holds(self, rates: list[float]) -> bool:
        return certificate(self.demands, self.capacity, rates, limit=self.limit, weight=self.weight)


@st.composite
def problems(
    draw: st.DrawFn,
    sizes: st.SearchStrategy[float],
    capacities: st.SearchStrategy[float],
    shares: st.SearchStrategy[float],
    most: int = 14,
    rows: int = ROWS,
) -> Problem:
    """Problems of any size up to one of `most` transfers, of which half have no limit.

    `shares` is drawn for the weight over the largest demand, and for the limit over what the
    transfer would have alone.
    """
    n_rows = draw(st.integers(1, rows))
    entries = st.dictionaries(st.integers(0, n_rows - 1), sizes, min_size=1, max_size=n_rows)
    demands = [list(d.items()) for d in draw(st.lists(entries, min_size=1, max_size=most))]
    capacity = draw(st.lists(capacities, min_size=n_rows, max_size=n_rows))
    alone = [min(capacity[row] / b for row, b in d) for d in demands]
    return Problem(
        demands,
        capacity,
        [max(b for _, b in d) * draw(shares) for d in demands],
        [draw(st.one_of(st.just(inf), shares.map(lambda x, a=a: x * a))) for a in alone],
    )


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda x: 10.0**x)


TIES = problems(
    st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([1.0, 2.0, 8.0]), st.sampled_from([0.5, 1.0])
)
WIDE = problems(powers(-3, 3), powers(-3, 15), powers(-1, 1))
MANY = problems(st.floats(0.5, 2.0), st.floats(1e9, 4e11), st.just(1.0), most=60)
ONE_ROW = problems(powers(-1, 1), powers(-3, 15), powers(-2, 2), most=30, rows=1)
#: A linear program's own tolerance asks for numbers of one size.
SMALL = problems(st.floats(0.5, 4.0), st.floats(1.0, 4.0), st.floats(0.3, 3.0), most=5, rows=4)


@settings(max_examples=400, deadline=None)
@given(st.one_of(TIES, WIDE, MANY, ONE_ROW, SMALL))
def test_rates_of_both_solvers_carry_their_certificate_and_agree(problem: Problem) -> None:
    few, many = problem.few(), problem.many()
    assert problem.holds(few)
    assert problem.holds(many)
    np.testing.assert_allclose(many, few, rtol=1e-9)


def lexicographic(problem: Problem) -> list[float]:
    """Return rates by linear programs: raise the least pace, fix who cannot go faster, repeat.

    The definition of max-min fairness (Bertsekas and Gallager 1992, section 6.5.2) without levels
    or rounds of filling: a transfer is fixed when its own maximum, with all others at the least
    pace or more, is that pace.
    """
    n, rows = len(problem.demands), len(problem.capacity)
    use = np.zeros((rows, n + 1))
    for o, entries in enumerate(problem.demands):
        for row, b in entries:
            use[row, o] = b / problem.weight[o] / problem.capacity[row]
    fixed: dict[int, float] = {}
    most = [x * w for x, w in zip(problem.limit, problem.weight, strict=True)]

    def highest(column: int, least: float | None) -> float:
        """Maximise a pace, or the least one (the last column) where no least is given."""
        above = [o for o in range(n) if o not in fixed and least is None]
        ahead = np.zeros((len(above), n + 1))
        ahead[np.arange(len(above)), above], ahead[:, n] = -1.0, 1.0
        bounds = [(fixed.get(o, least or 0.0), fixed.get(o, most[o])) for o in range(n)]
        bounds = [(low, None if high == inf else max(low, high)) for low, high in bounds]
        done = linprog(
            -np.eye(n + 1)[column],
            A_ub=np.concatenate([use, ahead]),
            b_ub=np.concatenate([np.ones(rows), np.zeros(len(above))]),
            bounds=[*bounds, (0, None)],
        )
        assert done.success, done.message
        return float(-done.fun)

    while len(fixed) < n:
        # A hair below, so that the tolerances of two programs do not make one infeasible.
        least = highest(n, None) * (1 - 1e-9)
        own = {o: highest(o, least) for o in range(n) if o not in fixed}
        found = [o for o, pace in own.items() if pace <= least * (1 + 1e-6)]
        fixed |= dict.fromkeys(found or [min(own, key=lambda o: own[o])], least)
    return [fixed[o] / problem.weight[o] for o in range(n)]


@settings(max_examples=60, deadline=None)
@given(SMALL)
def test_rates_are_those_of_linear_programs(problem: Problem) -> None:
    reference = lexicographic(problem)
    np.testing.assert_allclose(problem.few(), reference, rtol=1e-5)
    np.testing.assert_allclose(problem.many(), reference, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.one_of(TIES, WIDE), st.lists(st.integers(1, 5), min_size=14, max_size=14))
def test_siblings_folded_into_one_get_the_rate_of_each(problem: Problem, counts: list[int]) -> None:
    """A fold sums demands and keeps the weight of one: each sibling competes as itself."""
    kinds = list(zip(problem.demands, problem.weight, problem.limit, counts, strict=False))
    folded = Problem(
        [[(row, b * k) for row, b in d] for d, _, _, k in kinds],
        problem.capacity,
        problem.weight,
        problem.limit,
    )
    apart = [kind for kind, (*_, k) in enumerate(kinds) for _ in range(k)]
    unfolded = Problem(
        [problem.demands[kind] for kind in apart],
        problem.capacity,
        [problem.weight[kind] for kind in apart],
        [problem.limit[kind] for kind in apart],
    )
    rates = unfolded.few()
    assert unfolded.holds(rates)
    assert folded.holds(folded.few())
    for of_kind in (folded.few(), folded.many()):
        np.testing.assert_allclose([of_kind[kind] for kind in apart], rates, rtol=1e-9)


def test_rounds_grow_with_what_waits_for_what_and_not_with_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = []
    divide = np.divide
    monkeypatch.setattr(np, "divide", lambda *a, **k: rounds.append(1) or divide(*a, **k))
    # A thousand ports of different speeds, each with two transfers.
    row, capacity = np.arange(2000) // 2, np.linspace(1.0, 2.0, 1000)
    rates = solve_many(np.arange(2000), row, np.ones(2000), capacity)
    np.testing.assert_allclose(rates, np.repeat(capacity / 2, 2), rtol=1e-15)
    assert len(rounds) == 1
    # A chain: transfer i crosses ports i and i + 1, and has what transfer i - 1 leaves it.
    transfer, row = np.repeat(np.arange(3), 2), np.array([0, 1, 1, 2, 2, 3])
    rates = solve_many(transfer, row, np.ones(6), np.array([1.0, 3.0, 5.0, 9.0]))
    assert rates == pytest.approx([1.0, 2.0, 3.0])
    assert len(rounds) == 1 + 3


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
