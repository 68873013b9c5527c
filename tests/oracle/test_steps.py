"""Collectives message by message, against closed forms and an event loop of plain Python."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distsim.collectives import costs
from distsim.engine.maxmin import solve_few
from distsim.engine.steps import Messages, run_steps

LATENCY_S, BANDWIDTH = 2e-6, 10e9


def messages(
    pairs: list[tuple[int, int]],
    sizes: list[float],
    rows: list[list[int]],
    *,
    latency_s: float = LATENCY_S,
    repeat: int = 1,
    previous: list[int] | None = None,
) -> Messages:
    src, dst = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Messages(
        src,
        dst,
        np.array(sizes, dtype=float),
        np.full(len(sizes), latency_s),
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
    # In lock step: when messages begin to move and when they end.
    assert run.instants == (2 if size_bytes else 1) * 2 * (n - 1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_recursive_doubling_takes_its_closed_form(k):
    """log2(n) exchanges of the whole array (Thakur 2005, section 4.5)."""
    n = 2**k
    rounds = [star(n, [(i, i ^ (1 << b)) for i in range(n)], 1e6) for b in range(k)]
    run = run_steps(rounds, n, ports(n))
    assert run.time_s == pytest.approx(k * (LATENCY_S + 1e6 / BANDWIDTH), rel=1e-9)


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
    sequence = [r for r in rounds for _ in range(r.repeat)]
    step, now = [0] * members, 0.0
    open_: dict[tuple[int, int], str] = {}
    due: dict[tuple[int, int], float] = {}
    left: dict[tuple[int, int], float] = {}
    done: set[tuple[int, int]] = set()

    def begin(member: int) -> None:
        at = step[member]
        if at < len(sequence):
            r = sequence[at]
            for i, (src, dst) in enumerate(zip(r.src, r.dst, strict=True)):
                key = (at, i)
                fresh = key not in open_ and key not in done
                if member in (src, dst) and step[src] == step[dst] == at and fresh:
                    open_[key], due[key] = "latent", now + r.latency_s[i]

    def settle() -> None:
        moved = True
        while moved:
            moved = False
            for member in range(members):
                at = step[member]
                if at == len(sequence):
                    continue
                r = sequence[at]
                mine = [i for i in range(len(r.src)) if member in (r.src[i], r.dst[i])]
                if all((at, i) in done for i in mine):
                    step[member] += 1
                    begin(member)
                    moved = True

    for member in range(members):
        begin(member)
    settle()
    while open_:
        moving = [k for k, state in open_.items() if state == "moving"]
        demand = []
        for at, i in moving:
            r = sequence[at]
            demand.append([(int(x), 1.0) for x in r.row[r.ptr[i] : r.ptr[i + 1]]])
        rate = (
            dict(zip(moving, solve_few(demand, capacity.tolist()), strict=True)) if moving else {}
        )
        ends = {k: now + left[k] / rate[k] for k in moving}
        at = min([*ends.values(), *(due[k] for k, s in open_.items() if s == "latent")])
        for k in moving:
            left[k] -= rate[k] * (at - now)
        now = at
        for k, state in list(open_.items()):
            if state == "latent" and due[k] <= now * (1 + 1e-12):
                open_[k], left[k] = "moving", sequence[k[0]].size_bytes[k[1]]
            elif state == "moving" and ends[k] <= now * (1 + 1e-12):
                del open_[k]
                done.add(k)
        settle()
    return now


@pytest.mark.parametrize("seed", range(25))
def test_random_rounds_agree_with_a_slow_event_loop(seed):
    rng = np.random.default_rng(seed)
    members, links = 6, 5
    rounds = []
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(1, 9))
        pairs = [tuple(rng.choice(members, 2, replace=False).tolist()) for _ in range(count)]
        rows = [rng.choice(links, int(rng.integers(1, 4)), replace=False).tolist() for _ in pairs]
        sizes = rng.uniform(1e5, 1e7, count).tolist()
        latency = float(rng.uniform(0, 1e-4))
        repeat = int(rng.integers(1, 4))
        rounds.append(messages(pairs, sizes, rows, latency_s=latency, repeat=repeat))
    capacity = rng.uniform(1e9, 2e10, links)
    fast = run_steps(rounds, members, capacity)
    assert fast.time_s == pytest.approx(slow_run(rounds, members, capacity), rel=1e-9)


def test_time_does_not_run_backwards_where_nothing_moves():
    empty = star(4, [(i, (i + 1) % 4) for i in range(4)], 0.0, repeat=3)
    times = [run_steps([empty] * k, 4, ports(4)).time_s for k in range(1, 4)]
    assert [b - a for a, b in pairwise([0.0, *times])] == pytest.approx([3 * LATENCY_S] * 3)
