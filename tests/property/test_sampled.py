"""Sampled step times on random graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.engine import graph, sampled
from distsim.engine.levels import levels
from distsim.engine.noise import Noise
from distsim.engine.sampled import sample
from distsim.errors import InfeasibleError
from distsim.program.opgraph import TaskKind
from tests.graphs import op_graph

SIGMA = 0.2
seconds = st.just(0.0) | st.floats(1e-6, 10.0)


@st.composite
def graphs(draw):
    """Random graphs of three classes; a predecessor is any earlier task, also twice."""
    n = draw(st.integers(1, 40))
    tasks = []
    for i in range(n):
        before = draw(st.lists(st.integers(0, i - 1), max_size=4)) if i else []
        kind = draw(st.sampled_from([-1, -1, -1, 0, 1]))
        tasks.append((draw(st.integers(0, 2)), draw(seconds), kind, before))
    tasks[0] = (2, *tasks[0][1:])
    g = op_graph(tasks, [{0: 3.0}, {0: 1.0}], [2.0], factor=[0.0] * 3)
    other = draw(st.sampled_from([TaskKind.COMPUTE, TaskKind.OPTIMIZER, TaskKind.HOST]))
    hosts = (g.transfer < 0) & (g.stream == 1)
    g = replace(g, kind=np.where(hosts, other, g.kind).astype(np.uint8))
    order = np.asarray(draw(st.permutations(range(n))))
    return _renumbered(g, order)


def _renumbered(g, order):
    """Return the same graph with task i at place order[i], so that numbers follow no order."""
    place = np.argsort(order)
    counts = np.diff(g.dep_ptr)[place]
    ptr = np.concatenate([[0], np.cumsum(counts)])
    dep = [order[g.dep[g.dep_ptr[t] : g.dep_ptr[t + 1]]] for t in place]
    return replace(
        g,
        stream=g.stream[place],
        work_s=g.work_s[place],
        kind=g.kind[place],
        transfer=g.transfer[place],
        dep_ptr=ptr,
        dep=np.concatenate(dep).astype(np.int32),
    )


counts = st.lists(st.integers(1, 3), min_size=3, max_size=3)
several = settings(max_examples=60, deadline=None)


@several
@given(graphs(), counts, counts)
def test_without_noise_it_is_the_graph_evaluator_to_the_last_bit(g, lockstep, replicas):
    members = np.multiply(lockstep, replicas)
    samples = sample(g, Noise(), 3, 0, members, lockstep=lockstep)
    assert samples.step_s.tolist() == [graph.evaluate(g).makespan] * 3


@several
@given(graphs(), counts, counts, st.integers(1, 3))
def test_noise_that_is_sure_is_a_slower_device(g, lockstep, replicas, most_copies):
    """All draws are equal, so ranks and replicas wait for nobody, however they are arranged."""
    members = np.multiply(lockstep, replicas)
    noise = Noise(slow_probability=1.0, slow_factor=1.5)
    kernels = (g.transfer < 0) & (g.kind != TaskKind.HOST)
    slow = replace(g, work_s=np.where(kernels, 1.5, 1.0) * g.work_s)
    found = sample(g, noise, 5, 0, members, lockstep=lockstep, most_copies=most_copies)
    expected = graph.evaluate(slow).makespan
    assert found.step_s.tolist() == pytest.approx([expected] * 5, rel=1e-12, abs=1e-12)


@several
@given(graphs(), counts, st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**32))
def test_factors_with_limits_keep_steps_between_them(g, members, share, seed):
    """Truncated factors reach 1 +- 3 sigma, so no step is outside of the scaled one."""
    noise = Noise("normal", SIGMA, share, transfer_sigma=SIGMA)
    base = graph.evaluate(g).makespan
    parts = (noise.device_sigma, noise.task_sigma)
    low, high = (float(np.prod([1 + sign * 3 * s for s in parts])) for sign in (-1, 1))
    step_s = sample(g, noise, 20, seed, members).step_s
    rest = 1 + 3 * SIGMA
    assert (step_s >= base * min(low, 2 - rest) * (1 - 1e-9)).all()
    assert (step_s <= base * max(high, rest) * (1 + 1e-9) + 1e-12).all()


@several
@given(graphs(), counts, st.sampled_from([0.25, 8.0]))
def test_twice_the_times_are_twice_the_steps(g, members, scale):
    noise = Noise(sigma=SIGMA, device_share=0.5, transfer_sigma=0.1)
    slow = replace(g, work_s=g.work_s * scale, capacity_bytes_per_s=g.capacity_bytes_per_s / scale)
    one, other = (sample(x, noise, 6, 7, members).step_s for x in (g, slow))
    assert other.tolist() == (one * scale).tolist()  # a power of two: no rounding


@several
@given(graphs(), counts, st.integers(0, 2**63 - 1))
def test_the_same_seed_gives_the_same_steps(g, members, seed):
    noise = Noise(sigma=SIGMA, device_share=0.5)
    one, again = (sample(g, noise, 4, seed, members).step_s.tolist() for _ in range(2))
    assert one == again


def test_another_seed_gives_other_steps():
    g = op_graph([(0, 1.0, -1, [])])
    one, other = (sample(g, Noise(sigma=SIGMA), 4, seed).step_s for seed in (1, 2))
    assert (one != other).all()


@several
@given(graphs())
def test_a_row_is_kept_until_its_last_reader(g):
    meets = g.kind == TaskKind.DATA
    order = levels(g, meets)
    level = np.empty(g.n_tasks, dtype=np.int64)
    place = np.empty(g.n_tasks, dtype=np.int64)
    place[order.task] = np.arange(g.n_tasks)
    level[order.task] = np.repeat(np.arange(len(order.meet)), np.diff(order.ptr))
    row = order.row[place]
    read_at = level.copy()
    for task in range(g.n_tasks):
        before = g.dep[g.dep_ptr[task] : g.dep_ptr[task + 1]]
        assert (level[before] < level[task]).all()
        assert level[task] == (level[before].max() + 1 if len(before) else 0)
        read_at[before] = np.maximum(read_at[before], level[task])
        span = slice(order.before_ptr[place[task]], order.before_ptr[place[task] + 1])
        assert sorted(order.before[span]) == sorted(before)
        assert (order.before_row[span] == row[order.before[span]]).all()
    for a in range(g.n_tasks):
        for b in range(a):
            if row[a] == row[b]:
                assert level[a] != level[b]
                early, late = (a, b) if level[a] < level[b] else (b, a)
                assert read_at[early] <= level[late]
    for at in range(len(order.meet)):
        own = order.task[order.ptr[at] : order.ptr[at + 1]]
        cut = order.meet[at] - order.ptr[at]
        assert not meets[own[:cut]].any() and meets[own[cut:]].all()
    assert order.rows <= g.n_tasks


def test_blocks_of_samples_are_independent_and_of_one_distribution(monkeypatch):
    g = op_graph([(0, 1.0, -1, []), (1, 1.0, -1, []), (0, 1.0, -1, [0, 1])], factor=[0.0] * 2)
    noise = Noise(sigma=SIGMA)
    at_once = sample(g, noise, 4000, 1).step_s
    monkeypatch.setattr(sampled, "_BLOCK", 2000)
    in_blocks = sample(g, noise, 4000, 1).step_s
    assert len(set(in_blocks.tolist())) == 4000
    error = np.hypot(at_once.std(), in_blocks.std()) / np.sqrt(4000)
    assert abs(at_once.mean() - in_blocks.mean()) < 4.5 * error
    half = len(in_blocks) // 2
    assert abs(np.corrcoef(in_blocks[:half], in_blocks[half:])[0, 1]) < 0.1


def test_a_cycle_is_an_error():
    g = op_graph([(0, 1.0, -1, [1]), (0, 1.0, -1, [0])])
    with pytest.raises(InfeasibleError) as caught:
        sample(g, Noise(sigma=0.1), 2, 0)
    assert caught.value.code == "DS520"


def test_a_graph_of_no_tasks_takes_no_time():
    g = op_graph([(0, 1.0, -1, [])])
    none = replace(
        g,
        stream=g.stream[:0],
        work_s=g.work_s[:0],
        kind=g.kind[:0],
        transfer=g.transfer[:0],
        dep_ptr=g.dep_ptr[:1],
    )
    assert sample(none, Noise(sigma=0.1), 2, 0).step_s.tolist() == [0.0, 0.0]
