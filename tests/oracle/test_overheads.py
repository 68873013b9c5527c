"""Loading, checkpoints and evaluation against published sizes and a clock that counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import ValueProblem
from distsim.prediction.overheads import (
    Checkpoint,
    Evaluation,
    Loading,
    checkpoint_bytes,
    overheads,
    writing_devices,
    writing_nodes,
)

#: A busy machine takes longer, and is no failure.
RELAXED = settings(deadline=None)

MODES = ["sync", "async", "overlapped"]
seconds = st.floats(1e-3, 1e3)


def checkpoint(mode: str, n: int, copy_s: float, write_s: float) -> Checkpoint:
    return Checkpoint(n, write_s * 1e9, 1e9, mode, copy_s * 2e9, 2e9)


@pytest.mark.parametrize(
    ("parameters", "published", "rel"),
    [
        (176.247e9, 2.3 * 2**40, 0.03),  # BLOOM (Le Scao 2022): 2.3 TB with optimizer states
        (1.008e12, 13.8e12, 0.03),  # Narayanan 2021, section 5.10: 13.8 terabytes
    ],
)
def test_checkpoints_are_as_large_as_published(parameters, published, rel) -> None:
    assert checkpoint_bytes(parameters, 2, 12) == pytest.approx(published, rel=rel)


def test_a_published_save_takes_its_bytes_over_its_bandwidth() -> None:
    """Narayanan 2021, section 5.10: 13.8 TB at 273 GB/s."""
    saved = Checkpoint(100, 13.8e12, 273e9, "sync")
    assert overheads(30.0, checkpoint=saved).checkpoint_s == pytest.approx(13.8e12 / 273e9 / 100)


def test_who_writes() -> None:
    # 64 devices, tp 4: 16 replicas of 4 devices.
    assert writing_devices("all", 64, 16) == 64
    assert writing_devices("first_replica", 64, 16) == 4
    assert [writing_nodes(n, 8) for n in (1, 8, 9, 64)] == [1, 1, 2, 8]


def _by_clock(saved: Checkpoint, step_s: float, checkpoints: int = 50) -> float:
    """Run steps and checkpoints one after another and return what a step takes on average."""
    now = written = 0.0
    for _ in range(checkpoints):
        now = max(now, written)  # one checkpoint is under way at a time
        if saved.mode == "sync":
            now += saved.copy_s + saved.write_s
            written = now
        elif saved.mode == "async":
            now += saved.copy_s
            written = now + saved.write_s
        else:
            written = now + saved.copy_s + saved.write_s
        for step in range(saved.every_steps):
            begin, now = now, now + step_s
            if step == 0 and saved.mode == "overlapped":
                now = max(now, begin + saved.copy_s)  # weights change once they are copied
    return max(now, written) / (checkpoints * saved.every_steps)


@RELAXED
@given(st.sampled_from(MODES), st.integers(1, 20), seconds, seconds, seconds)
def test_checkpoints_cost_what_a_clock_counts(mode, n, copy_s, write_s, step_s) -> None:
    saved = checkpoint(mode, n, copy_s, write_s)
    found = overheads(step_s, checkpoint=saved)
    assert found.step_with_overheads_s == pytest.approx(_by_clock(saved, step_s), rel=1e-9)


@RELAXED
@given(st.integers(1, 100), st.integers(1, 10), seconds, seconds, seconds)
def test_background_costs_less_and_so_do_fewer_checkpoints(
    n, more, copy_s, write_s, step_s
) -> None:
    cost = {
        (mode, every): overheads(
            step_s, checkpoint=checkpoint(mode, every, copy_s, write_s)
        ).checkpoint_s
        for mode in MODES
        for every in (n, n * more)
    }
    for every in (n, n * more):
        ordered = [cost[mode, every] for mode in reversed(MODES)]
        assert ordered[0] <= ordered[1] * (1 + 1e-12) <= ordered[2] * (1 + 2e-12)
    assert all(cost[mode, n * more] <= cost[mode, n] * (1 + 1e-12) for mode in MODES)


@RELAXED
@given(st.sampled_from(MODES), st.integers(1, 20), seconds, seconds, seconds, seconds)
def test_checkpoints_are_written_while_steps_wait_for_data(
    mode, n, copy_s, write_s, step_s, load_s
) -> None:
    saved, loading = checkpoint(mode, n, copy_s, write_s), Loading(load_s, 1.0)
    found = overheads(step_s, loading=loading, checkpoint=saved)
    expected = _by_clock(saved, max(step_s, load_s))
    assert found.step_with_overheads_s == pytest.approx(expected, rel=1e-9)


def _loaded_by_clock(loading: Loading, step_s: float, steps: int = 400) -> float:
    """A loader that is one batch ahead, and a trainer: mean time of a step once they run."""
    loaded = load_begin = now = start = 0.0
    for i in range(steps):
        loaded = load_begin + loading.load_s
        begin = max(now, loaded)
        now = begin + step_s
        load_begin = begin if loading.prefetch else now
        if i == steps // 2:
            start = now
    return (now - start) / (steps - 1 - steps // 2)


@RELAXED
@given(seconds, seconds, st.booleans())
def test_loading_costs_what_a_clock_counts(load_s, step_s, prefetch) -> None:
    loading = Loading(load_s * 8 * 100.0, 100.0, loaders=8, prefetch=prefetch)
    found = overheads(step_s, loading=loading)
    assert found.load_s == pytest.approx(load_s)
    assert found.step_with_overheads_s == pytest.approx(_loaded_by_clock(loading, step_s), rel=1e-9)


@RELAXED
@given(seconds, seconds, st.floats(1, 10))
def test_a_faster_loader_never_costs_more(load_s, step_s, faster) -> None:
    slow = Loading(load_s * 100.0, 100.0)
    quick = replace(slow, rate_per_s=100.0 * faster)
    assert quick.exposed_s(step_s) <= slow.exposed_s(step_s)


def test_evaluation_is_a_third_of_as_many_steps() -> None:
    found = overheads(6.0, evaluation=Evaluation(every_steps=100, batches=10))
    assert found.evaluation_s == pytest.approx(10 * 6.0 / 3 / 100)


def test_nothing_beside_the_step_costs_nothing() -> None:
    found = overheads(2.5).to_dict()
    assert found.pop("step_s") == found.pop("step_with_overheads_s") == 2.5
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loading(1.0, 0.0),
        lambda: Loading(1.0, 1.0, loaders=0),
        lambda: Checkpoint(0, 1.0, 1.0),
        lambda: Checkpoint(1, 1.0, 0.0),
        lambda: Evaluation(0, 1.0),
    ],
)
def test_numbers_that_cannot_be(make) -> None:
    with pytest.raises(ValueProblem) as caught:
        make()
    assert caught.value.code == "DS203"
    assert caught.value.rule
