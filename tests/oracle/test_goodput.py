"""Trainings with failures against closed forms, a clock that goes event by event, and a record."""

from __future__ import annotations

from dataclasses import replace
from math import exp, expm1, sqrt

import numpy as np
import pytest

import distsim as ds
from distsim.prediction.overheads import Checkpoint
from distsim.study.goodput import montecarlo
from distsim.study.goodput.checkpoints import asked, best, every
from distsim.study.goodput.closed import (
    best_interval_s,
    daly_interval_s,
    expected_interval_s,
    goodput_factor,
    young_interval_s,
)
from distsim.study.goodput.montecarlo import PARTS, Draws, draw
from distsim.study.goodput.process import Failures, Spares, Training

HOUR, DAY = 3600.0, 86400.0


# --- the expected time and the best interval --------------------------------------------------


def test_expected_time_is_that_of_daly() -> None:
    """Daly 2006, the complete model: M e^(R/M) (e^((tau + delta)/M) - 1) Ts / tau."""
    m, r, tau, delta = 6 * HOUR, 600.0, 1800.0, 60.0
    daly = m * exp(r / m) * (exp((tau + delta) / m) - 1)
    assert float(expected_interval_s(tau, delta, m, restart_s=r)) == pytest.approx(daly)


@pytest.mark.parametrize("delta", [0.01, 1.0, 30.0, 600.0, 1e4])
@pytest.mark.parametrize("mtbf_s", [1000.0, 3 * HOUR, 30 * DAY])
def test_the_best_interval_is_the_numeric_one_and_that_of_lambert(delta, mtbf_s) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.special import lambertw

    found = float(best_interval_s(delta, mtbf_s))
    # 1 - u = e^(-u - D) is (u - 1) e^(u - 1) = -e^(-1 - D): u = 1 + W(-e^(-1 - D)).
    u = 1 + lambertw(-exp(-1 - delta / mtbf_s)).real
    assert found == pytest.approx(u * mtbf_s, rel=1e-6)

    def per_second(log_tau: float) -> float:
        tau = exp(log_tau)
        return expm1(min((tau + delta) / mtbf_s, 500.0)) / tau

    numeric = minimize_scalar(
        per_second, bounds=(np.log(1e-3 * found), np.log(1e3 * found)), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert found == pytest.approx(exp(numeric.x), rel=1e-4)


def test_young_and_daly_are_near_where_checkpoints_are_cheap() -> None:
    m = 3 * HOUR
    for delta in (0.1, 1.0, 10.0):
        found = float(best_interval_s(delta, m))
        assert found < float(young_interval_s(delta, m)) == sqrt(2 * delta * m)
        assert found == pytest.approx(sqrt(2 * delta * m), rel=sqrt(delta / m))
        assert found == pytest.approx(float(daly_interval_s(delta, m)), rel=1e-4)
    assert float(daly_interval_s(3 * m, m)) == m


def test_the_factor_is_work_over_expected_time() -> None:
    m = 50_000 * HOUR / np.array([64, 1024, 16384])
    found = goodput_factor(
        [64, 1024, 16384], mtbf_device_s=50_000 * HOUR, checkpoint_s=5.0, interval_s=600.0,
        restart_s=300.0, detect_s=120.0, durable_s=30.0,
    )  # fmt: skip
    for value, mtbf in zip(found, m, strict=True):
        time = (mtbf + 120) * exp(330 / mtbf) * (exp(605 / mtbf) - 1)
        assert value == pytest.approx(600 / time)
    assert (goodput_factor([64, 1024, 16384], mtbf_device_s=50_000 * HOUR, checkpoint_s=5.0,
                           durable_s=30.0) > found).all()  # fmt: skip
    assert float(goodput_factor(8, mtbf_device_s=np.inf, checkpoint_s=5.0, interval_s=95.0)) == 0.95
    assert float(goodput_factor(8, mtbf_device_s=np.inf, checkpoint_s=5.0)) == 1.0
    assert float(goodput_factor(8, mtbf_device_s=1e9, checkpoint_s=0.0, restart_s=0, detect_s=0)) \
        == pytest.approx(1.0, abs=1e-6)  # fmt: skip


# --- the Monte Carlo --------------------------------------------------------------------------

CASES = [
    (3 * HOUR, 600.0, 10.0, 0.0, 0.0, 0.0),
    (3 * HOUR, 600.0, 10.0, 300.0, 120.0, 0.0),
    (1 * HOUR, 1200.0, 60.0, 900.0, 300.0, 0.0),
    (2 * HOUR, 300.0, 2.0, 300.0, 60.0, 200.0),
    (2 * HOUR, 300.0, 2.0, 300.0, 60.0, 700.0),  # on storage two intervals later
]


@pytest.mark.parametrize(("m", "tau", "delta", "restart", "detect", "durable"), CASES)
def test_the_mean_is_the_closed_form(m, tau, delta, restart, detect, durable) -> None:
    """Within four standard errors, and what the first start and the last checkpoint are worth."""
    work = 3000 * tau
    failures = Failures(m, detect, restart)
    each = (m + detect) * exp((restart + durable) / m) * (exp((tau + delta) / m) - 1)
    expected = each * work / tau
    runs = draw(
        Training(work, tau, delta, durable), failures, 1000, 1, expected=expected / m
    ).duration_s
    error = runs.std() / sqrt(1000)
    # The first start takes no restart, and the end waits for no checkpoint to be on storage.
    assert abs(runs.mean() - expected) < 4 * error + restart + delta + durable
    assert error < 0.002 * expected


def _by_clock(training, failures, spares, times, shares):
    """One run, event by event, and by another way of counting: a list of what happened."""
    now, done, failed = 0.0, 0.0, 0
    spent = dict.fromkeys(PARTS, 0.0)
    back: list[float] = []
    times, shares = iter(times), iter(shares)
    left, share = next(times), next(shares)
    restarting = False

    def spend(part: str, seconds: float) -> None:
        nonlocal now, left
        spent[part] += seconds
        now += seconds
        left -= seconds

    while True:
        saved, stored = done, []  # what a restart would begin with; what is being written
        if restarting:
            if left < failures.restart_s:
                spend("restart_s", left)
            else:
                spend("restart_s", failures.restart_s)
        missing = max(0, len(back) - spares.nodes) if spares else 0
        slow = 1.0
        if spares and missing:
            gone = -(-missing // spares.nodes_per_replica)
            slow = spares.replicas / max(spares.replicas - gone, 1.0)
        rejoin = min(back) if missing and back else float("inf")
        undone = []  # what was done since `saved`: (part, seconds)
        pause = finished = False
        while left > 0 and not finished and not pause:
            step = min(training.interval_s, training.work_s - done)
            last = done + step >= training.work_s * (1 - 1e-12)
            delay = 0.0 if last else training.checkpoint_s
            whole = step * slow + delay
            if whole > left * (1 + 1e-12):
                spend("lost_s", left)
                break
            now += whole
            left -= whole
            done += step
            undone += [("useful_s", step), ("shrunk_s", step * (slow - 1)),
                       ("checkpoint_s", delay)]  # fmt: skip
            stored.append((now + training.durable_s, done, len(undone)))
            finished = last
            pause = not last and rejoin <= now * (1 + 1e-12)
        if finished or pause:
            for part, seconds in undone:
                spent[part] += seconds
            if finished:
                return spent, failed, now
        else:
            failure = now
            kept = [(d, n) for ready, d, n in stored if ready <= failure * (1 + 1e-12)]
            done, count = kept[-1] if kept else (saved, 0)
            for part, seconds in undone[:count]:
                spent[part] += seconds
            spent["lost_s"] += sum(seconds for _, seconds in undone[count:])
            failed += 1
            if spares and share < spares.hardware_share:
                back.append(now + spares.repair_s)
            spent["detect_s"] += failures.detect_s
            now += failures.detect_s
            if spares:
                back = [b for b in back if b > now]
                least = spares.nodes
                if spares.when_empty == "shrink":
                    least += int((spares.replicas - 1) * spares.nodes_per_replica)
                while len(back) > least:
                    spent["wait_s"] += min(back) - now
                    now = min(back)
                    back = [b for b in back if b > now]
            left, share = next(times), next(shares)
        if spares:
            back = [b for b in back if b > now]
        restarting = True


@pytest.mark.parametrize("block", [1 << 20, 64])
@pytest.mark.parametrize(
    "spares",
    [
        None,
        Spares(0, 3 * HOUR, 0.5),
        Spares(2, 8 * HOUR, 0.78),
        Spares(0, 8 * HOUR, 0.9, "shrink", 4, 2.0),
        Spares(1, 20 * HOUR, 1.0, "shrink", 3, 1.0),
        Spares(50, 8 * HOUR, 1.0),
    ],
)
@pytest.mark.parametrize("durable", [0.0, 100.0])
def test_runs_are_those_of_a_clock(monkeypatch, block, spares, durable) -> None:
    monkeypatch.setattr(montecarlo, "_BLOCK", block)
    training = Training(2.03 * DAY, 600.0, 7.0, durable)
    failures, runs, expected = Failures(2 * HOUR, 60.0, 200.0, shape=0.8), 20, 30.0
    found = draw(training, failures, runs, 5, spares=spares, expected=expected)
    draws = Draws(failures, runs, 5, expected)
    blocks, chances = draws.times(), draws.shares()
    times = np.concatenate([next(blocks) for _ in range(3000 // draws.size + 1)], axis=1)
    share = np.concatenate([next(chances) for _ in range(3000 // draws.size + 1)], axis=1)
    for run in range(runs):
        spent, failed, end = _by_clock(training, failures, spares, times[run], share[run])
        assert found.failures[run] == failed
        assert found.duration_s[run] == pytest.approx(end, rel=1e-9)
        for part, seconds in spent.items():
            assert getattr(found, part)[run] == pytest.approx(seconds, rel=1e-7, abs=1e-3), part


def test_times_between_failures_have_their_mean_and_spread() -> None:
    for shape, cv in ((1.0, 1.0), (0.7, 1.4624)):  # of Weibull(0.7): sqrt(G(1+2/k)/G(1+1/k)^2 - 1)
        block = next(Draws(Failures(HOUR, shape=shape), 1000, 0, 500.0).times())
        assert block.mean() == pytest.approx(HOUR, rel=0.01)
        assert block.std() / block.mean() == pytest.approx(cv, rel=0.02)


def test_a_pool_waits_as_a_queue_does() -> None:
    """With no spare node, every failure of hardware waits for its own repair less detection."""
    failures, repair = Failures(5 * HOUR, 100.0, 50.0), 2 * HOUR
    found = draw(
        Training(20 * DAY, 600.0, 0.0), failures, 50, 2, spares=Spares(0, repair, 1.0), expected=96
    )
    assert found.wait_s == pytest.approx(found.failures * (repair - 100.0))


# --- checkpoints of a scenario ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async", "overlapped"])
@pytest.mark.parametrize(("copy_s", "write_s"), [(0.5, 3.0), (12.0, 95.0), (0.01, 700.0)])
@pytest.mark.parametrize("mtbf_s", [1.5 * HOUR, 100 * HOUR])
def test_the_best_schedule_is_the_best_of_all(mode, copy_s, write_s, mtbf_s) -> None:
    saved = Checkpoint(1, write_s * 1e9, 1e9, mode, copy_s * 2e9, 2e9)
    failures, step_s = Failures(mtbf_s), 8.0
    all_of_them = [every(saved, step_s, n, 10_000) for n in range(1, 3000)]
    least = min(s.expected_s(failures) for s in all_of_them)
    assert best(saved, step_s, failures, 10_000).expected_s(failures) == pytest.approx(least)


def test_an_interval_is_whole_steps() -> None:
    saved, failures = Checkpoint(7, 1e9, 1e9, "sync"), Failures(10 * HOUR)
    assert asked("30min", saved, 8.0, failures, 10_000).every_steps == 225
    assert asked("1s", saved, 8.0, failures, 10_000).every_steps == 1
    assert asked("400d", saved, 8.0, failures, 10_000).every_steps == 10_000
    assert asked("scenario", saved, 8.0, failures, 10_000).every_steps == 7
    taken = asked("30min", saved, 8.0, failures, 10_000)
    assert (taken.interval_s, taken.checkpoint_s, taken.durable_s) == (1800.0, 1.0, 0.0)


# --- the record of Llama 3 --------------------------------------------------------------------

#: Grattafiori 2024, table 5: causes of 419 unexpected interruptions in 54 days on 16,384 H100.
TABLE_5 = (148, 72, 54, 35, 32, 19, 17, 7, 7, 6, 6, 3, 3, 2, 2, 2, 2, 2)
RECORD_S, RECORD_DEVICES = 54 * DAY, 16_384


def test_llama_3_lost_less_than_a_tenth_of_its_time() -> None:
    """Section 3.3.4: more than 90 % effective training time, with the published storage."""
    interruptions = sum(TABLE_5)
    assert interruptions == 419
    mtbf_h = RECORD_S * RECORD_DEVICES / interruptions / HOUR
    assert mtbf_h == pytest.approx(50_676, rel=1e-4)
    scenario = ds.load("llama3-405b-16384xh100")
    steps = int(0.93 * RECORD_S / ds.simulate(scenario).step_s)
    for mode in ("sync", "async"):
        found = ds.goodput(
            scenario, steps=steps, mtbf_device=f"{mtbf_h}h", checkpoint=mode, storage="2 TB/s",
            runs=2000,
        )  # fmt: skip
        assert found.quantiles(found.runs.effective)["p10"] > 0.90, mode
        # As many failures in the time as were recorded, but for those that detection keeps away,
        # and as far apart as chance has them.
        rate = found.runs.failures * RECORD_S / found.runs.duration_s
        assert rate.mean() == pytest.approx(419 / (1 + 120 * 419 / RECORD_S), rel=0.005)
        assert rate.std() == pytest.approx(sqrt(419), rel=0.1)
    # An interval of an hour would not have reached it.
    rare = ds.goodput(scenario, steps=steps, mtbf_device=f"{mtbf_h}h", checkpoint_interval="1h")
    assert rare.quantiles(rare.runs.effective)["p90"] < 0.90


def test_a_run_of_a_scenario_adds_up() -> None:
    scenario = ds.load("llama2-70b-256xh100-checkpoints")
    found = ds.goodput(scenario, tokens="200B", mtbf_device="5000h", runs=200, spares=2)
    seen = ds.simulate(scenario)
    beside = seen.overheads
    assert beside is not None
    step_s = beside.step_s + beside.data_s + beside.evaluation_s
    assert found.training.work_s == pytest.approx(found.steps * step_s)
    assert found.failures.mtbf_s == pytest.approx(5000 * HOUR / 256)
    assert found.checkpoint.size_bytes == pytest.approx(14 * seen.parameters)
    table = found.table
    assert len(table) == 200
    duration = np.asarray(table["duration_s"])
    assert sum(np.asarray(table[part]) for part in PARTS) == pytest.approx(duration)
    # 256 devices and two nodes of 8 in reserve, at the price on demand.
    assert np.asarray(table["money"]) == pytest.approx((256 + 16) * duration / HOUR * 6.155)
    assert found.expected_s == pytest.approx(duration.mean(), rel=0.05)
    factor = goodput_factor(
        256, mtbf_device_s=5000 * HOUR, checkpoint_s=found.training.checkpoint_s,
        interval_s=found.training.interval_s, durable_s=found.training.durable_s,
    )  # fmt: skip
    assert found.training.work_s / float(factor) == pytest.approx(found.expected_s)


def test_the_same_seed_gives_the_same_runs() -> None:
    training, failures = Training(10 * DAY, 600.0, 5.0), Failures(3 * HOUR)
    one, same, other = (draw(training, failures, 100, seed, expected=90.0) for seed in (3, 3, 4))
    assert (one.duration_s == same.duration_s).all()
    assert (one.duration_s != other.duration_s).any()
    slower = draw(training, replace(failures, detect_s=500.0), 100, 3, expected=90.0)
    assert slower.duration_s - one.duration_s == pytest.approx(one.failures * 380.0)
