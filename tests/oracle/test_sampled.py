"""Step times under jitter against closed forms, integrals and graphs with every rank in them.

Seeds are fixed. Means are compared within 4.5 standard errors (one false alarm in 150,000), whole
distributions with the two-sample test of Kolmogorov and Smirnov at 0.1%.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, pi, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from scipy import integrate, special, stats

from distsim.api import load
from distsim.engine import event, graph
from distsim.engine.gaussian import largest_scores, normal_quantile
from distsim.engine.noise import NOISE, Noise
from distsim.engine.sampled import sample, times
from distsim.errors import ValueProblem
from distsim.prediction.jitter import (
    distribution,
    kernel_times,
    quantile_interval,
    ranks_in_lockstep,
    summary,
)
from distsim.prediction.predict import evaluate
from distsim.program.build import build
from distsim.scenario.resolve import resolve
from tests.graphs import op_graph

NORMAL = NormalDist()
N = 20_000


def _near(values, expected, errors=4.5):
    assert abs(values.mean() - expected) < errors * values.std(ddof=1) / sqrt(len(values))


def _same_distribution(a, b):
    assert stats.ks_2samp(a, b).pvalue > 0.001
    error = sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    assert abs(a.mean() - b.mean()) < 4.5 * error


def _graph(tasks, *, meets=(), classes=1):
    """Return an op graph of compute tasks (stream, seconds, predecessors); `meets` are DATA."""
    rows = [(s, w, 0 if i in meets else -1, p) for i, (s, w, p) in enumerate(tasks)]
    return op_graph(rows, [{}] if meets else [], factor=[0.0] * classes)


def _chain(length, *, meets=()):
    return _graph([(0, 1.0, [i - 1] if i else []) for i in range(length)], meets=meets)


def _largest(k, quantile):
    """Return the mean of the largest of k draws with this quantile function."""
    return integrate.quad(lambda u: k * u ** (k - 1) * quantile(u), 0.0, 1.0, limit=400)[0]


def _lognormal(sigma):
    return lambda u: exp(sigma * special.ndtri(u) - sigma**2 / 2)


# Distributions


def test_normal_quantiles():
    p = np.concatenate([np.logspace(-300, -1, 300), np.linspace(0.001, 0.999, 999)])
    expected = [NORMAL.inv_cdf(x) for x in p]
    np.testing.assert_allclose(normal_quantile(p), expected, rtol=1e-14)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
def test_gamma_factors_have_gamma_quantiles(sigma):
    z = np.linspace(-6.0, 6.0, 241)
    shape = 1 / sigma**2
    below = special.gammaincinv(shape, special.ndtr(z)) / shape
    above = special.gammainccinv(shape, special.ndtr(-z)) / shape
    factor = np.exp(NOISE["gamma"][0](sigma)(z.copy()))
    np.testing.assert_allclose(factor, np.where(z < 0, below, above), rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(set(NOISE) - {"none"}))
@pytest.mark.parametrize("sigma", [0.05, 0.25])
def test_factors_have_mean_one_and_the_sigma_that_was_asked_for(kind, sigma):
    of_score = Noise(kind, sigma).log_factor(sigma)

    def moment(power):
        def density(z):
            return exp(power * of_score(np.asarray([z]))[0]) * NORMAL.pdf(z)

        return integrate.quad(density, -8, 8, limit=400, epsabs=1e-9)[0]

    spread = {
        "lognormal": sqrt(exp(sigma**2) - 1),
        "gamma": sigma,
        # Of a normal that is cut off at 3 sigma (Johnson, Kotz and Balakrishnan 1994, 13.10).
        "normal": sigma * sqrt(1 - 6 * NORMAL.pdf(3) / (1 - 2 * NORMAL.cdf(-3))),
    }[kind]
    assert moment(1) == pytest.approx(1.0, abs=1e-6)
    assert sqrt(moment(2) - moment(1) ** 2) == pytest.approx(spread, rel=1e-3)


@pytest.mark.parametrize(("k", "mean"), [(2, 1 / sqrt(pi)), (3, 1.5 / sqrt(pi)), (1000, None)])
def test_the_largest_of_several_scores(k, mean):
    # For 2 and 3, David and Nagaraja 2003, section 3.2.
    mean = mean or _largest(k, special.ndtri)
    scores = largest_scores(np.random.default_rng(3), np.asarray(k), (N,))
    _near(scores, mean)
    assert stats.kstest(scores, lambda z: special.ndtr(z) ** k).pvalue > 0.001


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "lognorml"},
        {"sigma": -0.1},
        {"sigma": float("nan")},
        {"device_share": 1.1},
        {"slow_probability": 2.0},
        {"slow_factor": 0.5},
        {"kind": "normal", "sigma": 0.4},
    ],
)
def test_noise_that_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueProblem) as caught:
        Noise(**wrong)
    assert caught.value.code == "DS446"


# Small graphs


@pytest.mark.parametrize("kind", ["lognormal", "gamma"])
def test_a_join_takes_the_expected_maximum_of_two_devices(kind):
    sigma = 0.3
    g = _graph([(0, 1.0, []), (1, 1.0, []), (0, 0.0, [0, 1])], classes=2)
    shape = 1 / sigma**2
    of_u = {
        "lognormal": _lognormal(sigma),
        "gamma": lambda u: special.gammaincinv(shape, u) / shape,
    }[kind]
    samples = sample(g, Noise(kind, sigma), N, 11)
    _near(samples.step_s, _largest(2, of_u))
    assert samples.step_s.mean() > 1.1 > graph.evaluate(g).makespan


def test_a_join_of_unequal_normals_is_that_of_clark():
    # Clark 1961, "The greatest of a finite set of random variables", equations (2) and (3).
    a, b, sigma = 1.0, 1.05, 0.1
    spread = sigma * sqrt(a * a + b * b)
    alpha = (a - b) / spread
    clark = a * NORMAL.cdf(alpha) + b * NORMAL.cdf(-alpha) + spread * NORMAL.pdf(alpha)
    g = _graph([(0, a, []), (1, b, [])], classes=2)
    step_s = sample(g, Noise("normal", sigma), 50_000, 5).step_s
    # Cutting at 3 sigma takes 0.006 sigma from the mean of the largest of two equal ones.
    error = step_s.std() / sqrt(50_000)
    assert step_s.mean() == pytest.approx(clark, abs=0.007 * sigma + 4.5 * error)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mean_and_variance_of_a_chain(share):
    sigma, length = 0.2, 12
    v_device, v_task = exp(share * sigma**2) - 1, exp((1 - share) * sigma**2) - 1
    variance = (1 + v_device) * (length**2 + length * v_task) - length**2
    step_s = sample(_chain(length), Noise(sigma=sigma, device_share=share), N, 2).step_s
    _near(step_s, length)
    _near((step_s - length) ** 2, variance)


@pytest.mark.parametrize(("share", "k"), [(0.0, 8), (1.0, 8), (1.0, 3)])
def test_lockstep_takes_the_slowest_at_each_task(share, k):
    sigma, length = 0.1, 5
    noise = Noise(sigma=sigma, device_share=share)
    step_s = sample(_chain(length), noise, N, 4, [k], lockstep=[k]).step_s
    _near(step_s, length * _largest(k, _lognormal(sigma)))


def test_slow_devices_slow_whole_steps():
    p, factor, length, k, replicas = 0.01, 1.5, 4, 8, 16
    noise = Noise(slow_probability=p, slow_factor=factor)
    step_s = sample(_chain(length), noise, N, 9, [k * replicas], lockstep=[k]).step_s
    assert set(np.round(step_s, 9)) == {length, factor * length}
    hit = int((step_s > length).sum())
    assert stats.binomtest(hit, N, 1 - (1 - p) ** (k * replicas)).pvalue > 0.001


def test_only_transfers_vary_where_only_they_do():
    g = op_graph([(0, 1.0, -1, []), (0, 0.5, 0, [0])], [{0: 10.0}], [5.0])
    step_s = sample(g, Noise(transfer_sigma=0.2), N, 6).step_s
    _near(step_s, 1.0 + 2.5)
    _near((step_s - 3.5) ** 2, 2.5**2 * (exp(0.04) - 1))


def test_kernels_first_use_up_what_their_segment_waits_for():
    # 1 s of kernels in a segment of 1.6 s, 0.6 s of which is a wait for the host.
    g = _chain(1)
    of = replace(times(g), duration_s=np.asarray([1.6]), slack_s=np.asarray([0.6]))
    of = replace(of, noisy_s=np.asarray([1.0]))
    for factor, expected in ((1.5, 1.6), (2.0, 2.0)):
        noise = Noise(slow_probability=1.0, slow_factor=factor)
        assert sample(g, noise, 3, 1, times_s=of).step_s.tolist() == pytest.approx([expected] * 3)


# Folded classes against graphs with every rank


def _replicas(chain, count, meets):
    """Return `count` copies of a chain that wait for each other at the positions `meets`."""
    tasks, last = [], [[] for _ in range(count)]
    data = []
    for position, seconds in enumerate(chain):
        if position in meets:
            everyone = [t for ends in last for t in ends]
            tasks.append((0, seconds, everyone))
            data.append(len(tasks) - 1)
            last = [[len(tasks) - 1] for _ in range(count)]
            continue
        for r in range(count):
            tasks.append((r, seconds, last[r]))
            last[r] = [len(tasks) - 1]
    return _graph(tasks, meets=data, classes=count)


@pytest.mark.parametrize(
    "noise",
    [
        Noise(sigma=0.1),
        Noise(sigma=0.1, device_share=0.7),
        Noise("gamma", 0.15, device_share=0.3, slow_probability=0.02, slow_factor=1.4),
    ],
)
@pytest.mark.parametrize("meets", [(), (6,), (0, 2, 5)])
def test_folded_replicas_are_those_of_the_whole_graph(noise, meets):
    seconds, count = [1.0, 2.0, 0.5, 1.0, 1.0, 1.5, 0.2], 6
    whole = sample(_replicas(seconds, count, meets), noise, 4000, 1).step_s
    one = _graph([(0, s, [i - 1] if i else []) for i, s in enumerate(seconds)], meets=meets)
    # Transfers of a hand-made graph carry their seconds as latency.
    folded = sample(one, noise, 4000, 2, [count]).step_s
    _same_distribution(whole, folded)
    assert folded.mean() > 1.03 * sum(seconds)


def test_ranks_in_lockstep_are_those_of_the_whole_graph():
    k, length = 4, 6
    tasks = []
    for step in range(length):
        before = list(range(len(tasks) - k, len(tasks))) if step else []
        tasks += [(r, 1.0, before) for r in range(k)]
    noise = Noise(sigma=0.15, device_share=0.5)
    whole = sample(_graph(tasks, classes=k), noise, 4000, 1).step_s
    _same_distribution(whole, sample(_chain(length), noise, 4000, 2, [k], lockstep=[k]).step_s)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_classes_may_have_different_ranks_in_lockstep(share):
    # One rank, then four together: its factor, then the largest of four.
    sigma = 0.2
    g = _graph([(0, 1.0, []), (1, 1.0, [0])], classes=2)
    noise = Noise(sigma=sigma, device_share=share)
    step_s = sample(g, noise, N, 3, [1, 4], lockstep=[1, 4]).step_s
    _near(step_s, 1.0 + _largest(4, _lognormal(sigma)))


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_borrowed_replicas_are_like_simulated_ones(share):
    seconds, meets, noise = [1.0] * 12, (3, 7, 11), Noise(sigma=0.1, device_share=share)
    g = _graph([(0, s, [i - 1] if i else []) for i, s in enumerate(seconds)], meets=meets)
    whole = sample(g, noise, 2000, 1, [400], most_copies=400)
    some = sample(g, noise, 2000, 2, [400], most_copies=100)
    few = sample(g, noise, 2000, 3, [400], most_copies=1)
    assert (whole.independent, some.independent) == (2000.0, 500.0)
    grown = whole.step_s.mean() - 12.0
    assert some.step_s.mean() - 12.0 == pytest.approx(grown, rel=0.05)
    assert some.step_s.std() == pytest.approx(whole.step_s.std(), rel=0.25)
    assert few.independent == 5.0


def test_classes_may_have_different_numbers_of_replicas():
    # Two classes that meet at the end: 3 replicas of a slow one, 5 of a fast one.
    noise = Noise(sigma=0.1)
    whole = _graph([(i, 1.0 if i < 3 else 0.95, []) for i in range(8)], classes=8)
    folded = _graph([(0, 1.0, []), (1, 0.95, [])], classes=2)
    a, b = sample(whole, noise, 6000, 1).step_s, sample(folded, noise, 6000, 2, [3, 5]).step_s
    _same_distribution(a, b)


SMALL = {"family": "gpt", "layers": 8, "hidden": 512, "heads": 8, "vocab": 4096}


def _case(devices, zero=1, overlap=False, **plan):
    experts = {"experts": 4, "experts_per_token": 2} if "ep" in plan else {}
    return resolve(
        load(
            {
                "schema": 1,
                "name": "jitter",
                "cluster": {"topology": "dgx-a100-superpod", "devices": devices},
                "model": SMALL | {"max_positions": 512} | experts,
                "batch": {"global_size": 4 * devices, "sequence_length": 512},
                "plan": plan
                | {"zero_stage": zero, "overlap_grad_reduce": overlap}
                | {"overlap_param_gather": overlap, "bucket_size": "1 MB"},
            }
        )
    )


@pytest.mark.parametrize(
    ("case", "lockstep"),
    [
        ({"devices": 8}, 1),
        ({"devices": 8, "tp": 4}, 4),
        ({"devices": 8, "cp": 2}, 2),
        ({"devices": 8, "ep": 4}, 4),
        ({"devices": 8, "pp": 2}, 1),
        ({"devices": 8, "zero": 3, "overlap": True}, 1),
        ({"devices": 16, "tp": 2, "pp": 2, "zero": 2, "overlap": True}, 2),
    ],
)
def test_folded_programs_are_those_with_every_rank(case, lockstep):
    inputs = _case(**case).inputs
    noise = Noise(sigma=0.1, device_share=0.5, slow_probability=0.01, slow_factor=1.3)
    found = []
    for seed, folded in ((1, True), (2, False)):
        program = build(inputs, fold_enabled=folded)
        assert set(ranks_in_lockstep(program)) == {lockstep if folded else 1}
        found.append(distribution(program, evaluate(program, "auto"), noise, 2000, seed))
    _same_distribution(found[0].step_s, found[1].step_s)
    assert found[0].slowdown > 1.02


def test_ranks_joined_over_two_axes_and_stages_are_an_upper_estimate():
    # Tensor- and context-parallel peers of a peer meet a task later than the fold says, and sends
    # leave before peers are done.
    inputs, noise = _case(16, tp=2, cp=2, pp=2).inputs, Noise(sigma=0.1, device_share=0.2)
    programs = [build(inputs, fold_enabled=folded) for folded in (True, False)]
    assert ranks_in_lockstep(programs[0]).tolist() == [4, 4]
    folded, whole = (distribution(p, evaluate(p, "auto"), noise, 2000, 3) for p in programs)
    assert whole.mean_s < folded.mean_s
    assert folded.slowdown - 1 < 1.3 * (whole.slowdown - 1)


def test_without_noise_steps_take_as_long_as_the_run_that_is_given():
    program = build(_case(16, zero=3, overlap=True, tp=2).inputs)
    shared, alone = event.evaluate(program.graph), graph.evaluate(program.graph)
    assert shared.makespan > alone.makespan
    for run in (shared, alone):
        still = distribution(program, run, Noise(), 3)
        assert still.step_s.tolist() == pytest.approx([run.makespan] * 3, rel=1e-12)
        assert (kernel_times(program, run).noisy_s >= 0.0).all()
    assert sample(program.graph, Noise(), 2, 0).step_s.tolist() == [alone.makespan] * 2


def test_jitter_of_kernels_leaves_communication_and_host_alone():
    """One class runs its segments one after another; each is as long as device or host needs."""
    inputs = _case(8, tp=8).inputs
    slow_host = replace(inputs.device, host_launch_s=inputs.device.host_launch_s * 4)
    hidden = []
    for device in (inputs.device, slow_host):
        program = build(replace(inputs, devices=(device,)))
        run = evaluate(program, "auto")
        costs = [program.segment_cost[label] for label in program.graph.segment]
        grown_s = sum(
            max(c.compute_s + c.device_s, c.host_s) - max(c.device_s, c.host_s) for c in costs
        )
        slow = distribution(program, run, Noise(slow_probability=1.0, slow_factor=2.0), 1)
        assert slow.mean_s == pytest.approx(run.makespan + grown_s, rel=1e-12)
        hidden.append(sum(c.compute_s for c in costs) - grown_s)
    assert hidden[0] == pytest.approx(0.0, abs=1e-12) and hidden[1] > 1e-4


# Quantiles


@pytest.mark.parametrize("n", [36, 100, 357])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_intervals_have_the_binomial_ranks(n, q):
    low, high = quantile_interval(np.arange(1.0, n + 1), q, n)
    lower = max(k for k in range(1, n + 1) if stats.binom.cdf(k - 1, n, q) <= 0.025)
    upper = min(k for k in range(1, n + 1) if stats.binom.sf(k - 1, n, q) <= 0.025)
    assert (low, high) == (lower, upper)


def test_intervals_hold_the_true_quantile_as_often_as_they_say():
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(1000):
        low, high = quantile_interval(np.sort(rng.exponential(size=60)), 0.5, 60)
        held += low <= np.log(2) <= high
    assert stats.binomtest(held, 1000, 0.95, alternative="less").pvalue > 0.001


def test_few_samples_bound_no_tail_and_borrowed_ones_bound_it_wider():
    ordered = np.sort(np.random.default_rng(1).normal(size=400))
    assert quantile_interval(ordered[:20], 0.9, 20)[1] is None
    sure, unsure = (quantile_interval(ordered, 0.5, n) for n in (400, 40))
    assert unsure[0] < sure[0] < np.median(ordered) < sure[1] < unsure[1]
    assert quantile_interval(ordered, 0.5, 1.0) == (None, None)


def test_a_distribution_says_what_its_samples_do():
    samples = sample(_chain(3), Noise(sigma=0.1), 200, 5)
    found = summary(samples, 3.0)
    assert found.mean_s == pytest.approx(samples.step_s.mean())
    assert found.min_s <= found.p10_s < found.p50_s < found.p90_s <= found.max_s
    assert (samples.step_s <= found.p90_s).sum() == 180
    assert found.mean_error_s == pytest.approx(samples.step_s.std(ddof=1) / sqrt(200))
    plain = found.to_dict(samples=True)
    assert plain["slowdown"] == found.mean_s / 3.0
    assert len(plain["step_s"]) == plain["n"] == 200
    assert "step_s" not in found.to_dict()


def test_counts_that_do_not_go_together_are_refused():
    for members, lockstep in (([0], None), ([6], [4]), ([1, 1], None)):
        with pytest.raises(ValueError, match="lockstep"):
            sample(_chain(1), Noise(sigma=0.1), 1, 0, members, lockstep=lockstep)
    with pytest.raises(ValueError, match="at least 1"):
        sample(_chain(1), Noise(sigma=0.1), 0, 0)
