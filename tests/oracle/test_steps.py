"""Collectives message by message, against closed forms and an event loop of plain Python."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distsim.collectives import costs
from distsim.engine.maxmin import solve_few
from distsim.engine.steps import MAX_MESSAGES, Messages, run_steps

LATENCY_S, BANDWIDTH = 2e-6, 10e9


def messages(
    pairs: list[tuple[int, int]],
    sizes: list[float],
    rows: list[list[int]],
    *,
    latency_s: float | np.ndarray = LATENCY_S,
    repeat: int = 1,
    previous: list[int] | None = None,
) -> Messages:
    src, dst = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Messages(
        src,
        dst,
        np.array(sizes, dtype=float),
        np.broadcast_to(latency_s, len(sizes)),
        np.cumsum([0, *map(len, rows)]),
        np.array([r for row in rows for r in row], dtype=np.int64),
        repeat,
        np.array(previous if previous is not None else [-1] * len(sizes), dtype=np.int64),
    )


def star(n: int, pairs: list[tuple[int, int]], size: float, **more) -> Messages:
    """Messages between members that each have a port out (row i) and a port in (row n + i)."""
    return messages(pairs, [size] * len(pairs), [[a, n + b] for a, b in pairs], **more)


def ports(n: int) -> np.ndarray:
    return np.full(2 * n, BANDWIDTH)


@pytest.mark.parametrize("n", [2, 3, 8, 17, 64])
@pytest.mark.parametrize("size_bytes", [0.0, 1e3, 1e9])
def test_a_ring_takes_its_closed_form(n, size_bytes):
    ring = star(n, [(i, (i + 1) % n) for i in range(n)], size_bytes / n, repeat=2 * (n - 1))
    run = run_steps([ring], n, ports(n))
    closed = costs.ring_all_reduce_s(n, size_bytes, LATENCY_S, BANDWIDTH)
    assert run.time_s == pytest.approx(closed, rel=1e-9)
    assert run.messages == 2 * (n - 1) * n
    # In lock step: when messages begin to move and when they end, always at the same rates.
    assert run.instants == (2 if size_bytes else 1) * 2 * (n - 1)
    assert run.solves == (1 if size_bytes else 0)
    np.testing.assert_allclose(run.sent_bytes, 2 * (n - 1) / n * size_bytes, rtol=1e-12)


def test_a_ring_of_a_thousand_devices_has_two_instants_a_step():
    """2 n (n - 1) messages, all of them simulated; their cost is that of the instants."""
    n = 1024
    ring = star(n, [(i, (i + 1) % n) for i in range(n)], 1e6, repeat=2 * (n - 1))
    run = run_steps([ring], n, ports(n))
    assert (run.messages, run.instants, run.solves) == (2 * n * (n - 1), 4 * (n - 1), 1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_recursive_doubling_takes_its_closed_form(k):
    """log2(n) exchanges of the whole array (Thakur 2005, section 4.5)."""
    n = 2**k
    rounds = [star(n, [(i, i ^ (1 << b)) for i in range(n)], 1e6) for b in range(k)]
    run = run_steps(rounds, n, ports(n))
    assert run.time_s == pytest.approx(k * (LATENCY_S + 1e6 / BANDWIDTH), rel=1e-9)
    assert (run.messages, run.instants, run.solves) == (k * n, 2 * k, k)


def test_rounds_without_messages_of_its_own_cost_a_member_nothing():
    """An array handed down a chain: n - 1 rounds of one message, of n - 1 members each idle."""
    n = 2000
    rounds = [star(n, [(i, i + 1)], 1e6) for i in range(n - 1)]
    run = run_steps(rounds, n, ports(n))
    assert run.time_s == pytest.approx((n - 1) * (LATENCY_S + 1e6 / BANDWIDTH), rel=1e-9)
    assert (run.messages, run.instants, run.solves) == (n - 1, 2 * (n - 1), n - 1)


def test_more_messages_than_can_be_simulated_are_refused():
    pair = star(2, [(0, 1)], 1.0, repeat=MAX_MESSAGES + 1)
    with pytest.raises(ValueError, match=str(MAX_MESSAGES)):
        run_steps([pair], 2, ports(2))


def test_messages_on_one_link_share_it():
    both = messages([(0, 2), (1, 2)], [1e6, 3e6], [[0, 2], [1, 2]])
    run = run_steps([both], 3, np.full(3, BANDWIDTH))
    # Equal shares until the small one ends, then all for the other: 4 MB through one port.
    assert run.time_s == pytest.approx(LATENCY_S + 4e6 / BANDWIDTH, rel=1e-9)


def test_members_do_not_wait_for_rounds_of_others():
    """0 -> 1 is slow and 2 -> 3 fast: 3 answers 2 long before 1 has anything."""
    first = messages([(0, 1), (2, 3)], [1e9, 1e6], [[0], [1]])
    second = messages([(3, 2)], [1e6], [[2]])
    run = run_steps([first, second], 4, np.full(3, BANDWIDTH))
    assert run.time_s == pytest.approx(LATENCY_S + 1e9 / BANDWIDTH, rel=1e-9)


def test_a_chain_of_chunks_is_a_pipeline():
    """c chunks over h hops take h + c - 1 times a chunk: members are one per hop and chunk."""
    hops, chunks, size = 3, 5, 1e6
    members = (hops + 1) * chunks
    rounds = []
    for hop in range(hops):
        pairs = [(hop + lane * (hops + 1), hop + 1 + lane * (hops + 1)) for lane in range(chunks)]
        rounds.append(
            messages(
                pairs,
                [size] * chunks,
                [[hop]] * chunks,
                latency_s=0.0,
                previous=[lane - 1 for lane in range(chunks)],
            )
        )
    run = run_steps(rounds, members, np.full(hops, BANDWIDTH))
    assert run.time_s == pytest.approx((hops + chunks - 1) * size / BANDWIDTH, rel=1e-9)


def slow_run(rounds: list[Messages], members: int, capacity: np.ndarray) -> float:
    """The same rules in plain Python, one message at a time."""
    sequence = [(r, k) for r in rounds for k in range(r.repeat)]
    step, now = [0] * members, 0.0
    state: dict[tuple[int, int], str] = {}
    due: dict[tuple[int, int], float] = {}
    left: dict[tuple[int, int], float] = {}

    def may_begin(at: int, i: int) -> bool:
        r, k = sequence[at]
        src, dst = int(r.src[i]), int(r.dst[i])
        # A round that repeats has buffers ready but for its first time.
        there = step[src] == at and (k > 0 or step[dst] == at)
        before = int(r.previous[i])
        return there and (before < 0 or state.get((at, before)) in ("latent", "done"))

    def settle() -> None:
        moved = True
        while moved:
            moved = False
            for at, (r, _) in enumerate(sequence):
                for i in range(len(r.src)):
                    if (at, i) not in state and may_begin(at, i):
                        state[at, i], left[at, i] = "moving", r.size_bytes[i]
                        moved = True
            for member in range(members):
                at = step[member]
                if at == len(sequence):
                    continue
                r, _ = sequence[at]
                sent = all(
                    state.get((at, i)) in ("latent", "done")
                    for i in np.flatnonzero(r.src == member)
                )
                got = all(state.get((at, i)) == "done" for i in np.flatnonzero(r.dst == member))
                if sent and got:
                    step[member] += 1
                    moved = True

    settle()
    while any(s != "done" for s in state.values()):
        moving = [k for k, s in state.items() if s == "moving"]
        demand = []
        for at, i in moving:
            r, _ = sequence[at]
            demand.append([(int(x), 1.0) for x in r.row[r.ptr[i] : r.ptr[i + 1]]])
        rate = (
            dict(zip(moving, solve_few(demand, capacity.tolist()), strict=True)) if moving else {}
        )
        ends = {k: now + left[k] / rate[k] for k in moving}
        at = min([*ends.values(), *(due[k] for k, s in state.items() if s == "latent")])
        for k in moving:
            left[k] -= rate[k] * (at - now)
        now = at
        for k in moving:
            if ends[k] <= now * (1 + 1e-12):
                state[k], due[k] = "latent", now + sequence[k[0]][0].latency_s[k[1]]
        for k, s in state.items():
            if s == "latent" and due[k] <= now * (1 + 1e-12):
                state[k] = "done"
        settle()
    return now


@pytest.mark.parametrize("seed", range(40))
def test_random_rounds_agree_with_a_slow_event_loop(seed):
    rng = np.random.default_rng(seed)
    members, links = 6, 5
    rounds = []
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(1, 9))
        pairs = [tuple(rng.choice(members, 2, replace=False).tolist()) for _ in range(count)]
        rows = [rng.choice(links, int(rng.integers(1, 4)), replace=False).tolist() for _ in pairs]
        sizes = rng.uniform(1e5, 1e7, count).tolist()
        latency = rng.choice(rng.uniform(0, 1e-4, 2), count)
        chained = seed % 2 == 1
        rounds.append(
            messages(
                pairs,
                sizes,
                rows,
                latency_s=latency,
                repeat=1 if chained else int(rng.integers(1, 4)),
                # Two chains of messages, each of which waits for the one before.
                previous=[max(i - 2, -1) for i in range(count)] if chained else None,
            )
        )
    capacity = rng.uniform(1e9, 2e10, links)
    fast = run_steps(rounds, members, capacity)
    assert fast.time_s == pytest.approx(slow_run(rounds, members, capacity), rel=1e-9)


def test_time_does_not_run_backwards_where_nothing_moves():
    empty = star(4, [(i, (i + 1) % 4) for i in range(4)], 0.0, repeat=3)
    times = [run_steps([empty] * k, 4, ports(4)).time_s for k in range(1, 4)]
    assert [b - a for a, b in pairwise([0.0, *times])] == pytest.approx([3 * LATENCY_S] * 3)
