"""The testbed's pure parts: commands, tidying up, splitting, predicting. Nothing needs root."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.testbed import commands, fit, measure, network, predict, report
from benchmarks.testbed.commands import Names
from benchmarks.testbed.fit import Row
from benchmarks.testbed.fleet import Fleet, WorkerError, elapsed_s
from benchmarks.testbed.measure import Collective, Samples, Step
from benchmarks.testbed.parameters import FRAMING, Core
from benchmarks.testbed.parameters import Network as Fitted
from benchmarks.testbed.quiet import Watch
from distsim.collectives.binomial import broadcast
from distsim.hardware.libraries import library

RATE = 200e6
MIB = 1 << 20
SHAPE = {"layers": 4, "hidden": 512, "heads": 8, "vocab": 2048, "sequence": 128}
CORE = Core(90e9, 20e9, 0.9, 0.1, 20.0, 3e-6, 0.2)


class Noted:
    """A runner that notes commands, and fails at one of them."""

    def __init__(self, fail_at: int = -1, answers: dict[str, str] | None = None) -> None:
        self.seen: list[tuple[str, ...]] = []
        self._fail_at = fail_at
        self._answers = answers or {}

    def __call__(self, command: Sequence[str]) -> str:
        self.seen.append(tuple(command))
        if len(self.seen) - 1 == self._fail_at:
            raise network.NetworkError("refused")
        return self._answers.get(" ".join(command), "")


def made(seen: Sequence[tuple[str, ...]]) -> list[str]:
    return [c[3] for c in seen if c[:3] == ("ip", "netns", "add")]


def removed(seen: Sequence[tuple[str, ...]]) -> list[str]:
    return [c[3] for c in seen if c[:3] == ("ip", "netns", "del")]


# Commands


def test_every_command_stays_inside_namespaces_of_its_own() -> None:
    names = Names(77, 3)
    for command in [*commands.build(names), *commands.limit(names, RATE)]:
        if command[1] == "netns":
            assert command[2] in ("add", "exec")
            assert command[3] in names.all()
        else:
            assert command[1] == "-n"
            assert command[2] in names.all()


def test_names_are_made_before_they_are_used() -> None:
    known: set[str] = set()
    for command in commands.build(Names(77, 4)):
        if command[2] == "add" and command[1] == "netns":
            known.add(command[3])
        else:
            used = {word for word in command if word.startswith(commands.PREFIX)}
            assert used <= known


def test_names_of_interfaces_fit_the_kernel() -> None:
    # IFNAMSIZ is 16 with the zero at the end.
    for command in commands.build(Names(2**22, 8)):
        for key in ("dev", "name", "master"):
            if key in command:
                assert len(command[command.index(key) + 1]) <= 15


def test_both_ends_of_each_pair_are_limited() -> None:
    names = Names(77, 3)
    limits = commands.limit(names, RATE)
    ends = {(c[2], c[6]) for c in limits}
    hosts = {(names.host(i), "eth0") for i in range(3)}
    assert ends == hosts | {(names.switch, f"h{i}") for i in range(3)}
    assert all(c[c.index("rate") + 1] == "200000000bit" for c in limits)


def test_the_bucket_holds_the_largest_segment() -> None:
    # tbf drops or cuts what is larger than its bucket.
    for command in commands.limit(Names(77, 1), RATE):
        assert float(command[command.index("burst") + 1][:-1]) > commands.SEGMENT_BYTES
    sizes = [
        c[c.index("gso_max_size") + 1] for c in commands.build(Names(77, 1)) if "gso" in str(c)
    ]
    assert sizes == [str(commands.SEGMENT_BYTES)] * 2


def test_addresses_are_those_for_documentation() -> None:
    # RFC 5737: 192.0.2.0/24 is routed nowhere.
    assert [commands.address(i) for i in (0, 7)] == ["192.0.2.1", "192.0.2.8"]


@pytest.mark.parametrize(("text", "rate"), [("200mbit", 2e8), ("1gbit", 1e9), ("1.5Mbit", 1.5e6)])
def test_rates(text: str, rate: float) -> None:
    assert commands.parse_rate(text) == pytest.approx(rate, rel=1e-15)


@pytest.mark.parametrize("text", ["", "200", "-1mbit", "0mbit", "1 Gbit/s", "mbit", "nanmbit"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        commands.parse_rate(text)


def test_only_namespaces_of_testbeds_are_found() -> None:
    listing = (
        "distsim-testbed-12-h0 (id: 3)\ndistsim-testbed-12-sw\nother\n\n"
        "distsim-testbed-x-h0\nmy-distsim-testbed-1-sw\ndistsim-testbed-5-h1-more\n"
    )
    assert commands.of_testbeds(listing) == {
        "distsim-testbed-12-h0": 12,
        "distsim-testbed-12-sw": 12,
    }


# Tidying up


def test_what_was_made_is_removed() -> None:
    run = Noted()
    with network.Network(3, RATE, run, process=77):
        assert removed(run.seen) == []
    assert sorted(removed(run.seen)) == sorted(made(run.seen)) == sorted(Names(77, 3).all())


BUILDING = len(commands.build(Names(77, 2))) + len(commands.limit(Names(77, 2), RATE))


@pytest.mark.parametrize("fail_at", range(BUILDING))
def test_a_failure_at_any_command_leaves_nothing(fail_at: int) -> None:
    run = Noted(fail_at)
    with pytest.raises(network.NetworkError), network.Network(2, RATE, run, process=77):
        raise AssertionError("it was not built")
    assert set(made(run.seen)) <= set(removed(run.seen))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_inside_leaves_nothing(error: type[BaseException]) -> None:
    run = Noted()
    with pytest.raises(error), network.Network(2, RATE, run, process=77):
        raise error
    assert set(made(run.seen)) == set(removed(run.seen))


def test_one_that_is_gone_does_not_keep_the_others() -> None:
    run = Noted(BUILDING)
    with network.Network(2, RATE, run, process=77):
        pass
    assert set(removed(run.seen)) == set(Names(77, 2).all())


def test_signals_wait_while_things_are_tidied_up() -> None:
    with pytest.raises(KeyboardInterrupt):
        tidy(done := [])
    assert done == ["tidied"]


def tidy(done: list[str]) -> None:
    with network.uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("tidied")


def test_clean_removes_what_ended_processes_left() -> None:
    listing = "distsim-testbed-1-h0\ndistsim-testbed-1-sw\ndistsim-testbed-2-sw\nother\n"
    run = Noted(
        answers={
            "ip netns list": listing,
            "ip netns pids distsim-testbed-1-h0": "41\n42\n",
        }
    )
    killed: list[tuple[int, int]] = []
    left = network.clean(run, lambda process: process == 2, lambda p, s: killed.append((p, s)))
    assert left == removed(run.seen) == ["distsim-testbed-1-h0", "distsim-testbed-1-sw"]
    assert killed == [(41, signal.SIGKILL), (42, signal.SIGKILL)]


def test_a_command_that_does_not_exist_is_one_message() -> None:
    with pytest.raises(network.NetworkError, match="no-such-command"):
        network.run(("no-such-command", "x"))


# Processes


class Pipes(Fleet):
    """A fleet whose hosts are commands on this machine."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(network.Network(1, RATE, Noted(), process=77), (1,))
        self._command = command

    def _inside(self, host: int, command: Sequence[str]) -> Sequence[str]:
        return self._command


@pytest.fixture
def fleet_of() -> Iterator[Any]:
    started: list[Pipes] = []

    def start(program: str) -> Pipes:
        fleet = Pipes((sys.executable, "-c", program))
        started.append(fleet)
        fleet._processes.append(fleet._start(0))
        return fleet

    yield start
    for fleet in started:
        fleet.stop()


def test_a_process_that_ends_is_an_error(fleet_of: Any) -> None:
    fleet = fleet_of("pass")
    fleet._processes[0].wait()
    with pytest.raises(WorkerError, match="host 0 has ended"):
        fleet.tell([0], [{"do": "x"}], timeout_s=20)


def test_a_process_that_says_nothing_is_an_error(fleet_of: Any) -> None:
    fleet = fleet_of("import time; time.sleep(60)")
    with pytest.raises(WorkerError, match="did not answer in time"):
        fleet.tell([0], [{"do": "x"}], timeout_s=0.05)
    fleet.stop()
    assert fleet._processes[0].returncode == -signal.SIGKILL


def test_an_error_of_a_process_is_passed_on(fleet_of: Any) -> None:
    fleet = fleet_of("""input(); print('{"error": "no such thing"}', flush=True); input()""")
    with pytest.raises(WorkerError, match="host 0: no such thing"):
        fleet.tell([0], [{"do": "x"}], timeout_s=20)


def test_a_collective_lasts_until_the_last_end() -> None:
    early, late = {"at": 10.0, "start": 10.1, "end": 10.5}, {"at": 10.0, "start": 10.2, "end": 10.9}
    assert elapsed_s([early, late]) == pytest.approx(0.7)


# Measuring


def test_the_watch_waits_for_a_free_core_and_counts() -> None:
    times = iter([1.0, 1.0, 1.0, 2.0, 1.1, 1.2])
    watch = Watch((0,), 5.0, lambda core: next(times), pause=lambda seconds: None)
    assert watch.wait() and watch.wait() and watch.wait()
    assert (watch.looks, watch.busy, watch.unfree) == (3, 0, 0)
    assert watch.wait()
    assert (watch.looks, watch.busy, watch.unfree) == (5, 1, 0)


def test_the_watch_gives_up_when_its_time_is_spent() -> None:
    times = iter([1.0] + [9.0] * 100)
    watch = Watch((0,), 0.1, lambda core: next(times), pause=lambda seconds: None)
    assert watch.wait()
    assert not watch.wait()
    assert watch.unfree == 1


def test_a_quarter_of_the_samples_are_faster() -> None:
    assert measure.low_quantile([5.0, 1.0, 4.0, 2.0, 3.0]) == 2.0
    assert measure.low_quantile([7.0]) == 7.0


def test_like_collectives_are_apart_in_time() -> None:
    cases = list(measure.collectives((2, 4, 8), 16 * MIB))
    assert len(cases) == len(set(cases)) == 11 * 4 * 3
    for one, other in pairwise(cases):
        assert (one.op, one.n) != (other.op, other.n)


def test_halves_are_chosen_by_position_alone() -> None:
    cases = list(measure.collectives((2, 4, 8), 16 * MIB))
    used = [c for c in cases if fit.split_of_collective(c) == "calibration"]
    assert {c.n for c in used} == {2, 4}
    assert sorted({c.size_bytes for c in used}) == [
        *(1 << 10, 16 << 10, 256 << 10),
        *(MIB, 4 * MIB, 16 * MIB),
    ]
    steps = measure.steps((2e8, 5e8, 1e9), (4, 2, 8), 3)
    assert [c for c, part in fit.splits_of_steps(steps).items() if part == "calibration"] == [
        Step("single", 4, 1, 2e8),
        Step("overlap", 4, 1, 1e9),
    ]


# Predicting


def test_a_broadcast_reaches_everyone_once_over_the_edges_of_the_binomial_tree() -> None:
    for n in (2, 3, 5, 8):
        ours, theirs = predict.broadcast_at_once(n), broadcast((1, n))
        edges = [sorted(zip(r.src.tolist(), r.dst.tolist(), strict=True)) for r in ours.rounds]
        flat = [edge for each in edges for edge in each]
        assert sorted(child for _, child in flat) == list(range(1, n))
        have = {0}
        for each in edges:
            assert {parent for parent, _ in each} <= have
            have |= {child for _, child in each}
        if n & (n - 1) == 0:
            # As many hosts send as often, whichever way the bits are taken.
            parents = [p for r in theirs.rounds for p in r.src.tolist()]
            count = sorted(parents.count(p) for p in set(parents))
            mine = [p for p, _ in flat]
            assert sorted(mine.count(p) for p in set(mine)) == count


NO_LATENCY = Fitted(FRAMING, 1e-9, 1e-9, 1e-9, 1.0)


@pytest.mark.parametrize(
    ("op", "n", "copies"),
    [
        # Thakur 2005, sections 4.1 and 4.5: what a ring sends, over the bandwidth.
        ("all_reduce", 2, 1.0),
        ("all_reduce", 8, 2 * 7 / 8),
        ("all_gather", 8, 7 / 8),
        # PyTorch reduces and scatters by an all-reduce over gloo.
        ("reduce_scatter", 8, 2 * 7 / 8),
        # Two halves of a block, of which the first and the last pass alone.
        ("all_gather", 2, 3 / 4),
        # One link carries log2 n copies, then one fewer, and so on: 3 + 2 + 1.
        ("broadcast", 2, 1.0),
        ("broadcast", 4, 3.0),
        ("broadcast", 8, 6.0),
    ],
)
def test_bytes_of_collectives(op: str, n: int, copies: float) -> None:
    size = 64 * MIB
    expected_s = copies * size / (RATE / 8 * 1448 / 1514)
    predicted_s = predict.collective_s(Collective(op, n, size), RATE, NO_LATENCY)
    assert predicted_s == pytest.approx(expected_s, rel=1e-6)


@pytest.mark.parametrize(("op", "n", "hops"), [("all_reduce", 8, 14), ("broadcast", 8, 3)])
def test_hops_of_collectives(op: str, n: int, hops: int) -> None:
    slow = Fitted(FRAMING, 5e-3, 1e-9, 1e-9, 1.0)
    assert predict.collective_s(Collective(op, n, 8), RATE, slow) == pytest.approx(
        hops * 5e-3, rel=1e-2
    )


def test_the_fit_finds_the_numbers_that_made_the_measurements() -> None:
    truth = Fitted(FRAMING, 8e-4, 4e-4, 2e-4, 0.97)
    cases = measure.collectives((2, 4), 16 * MIB)
    measured = {c: predict.collective_s(c, RATE, truth) for c in cases}
    found, fitted = fit.fit_network(measured, RATE)
    assert not any(each.at_bound for each in fitted.values())
    for name in Fitted.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.02), name


def test_the_fit_does_not_look_at_what_is_held_out() -> None:
    truth = Fitted(FRAMING, 8e-4, 4e-4, 2e-4, 0.97)
    measured = {}
    for case in measure.collectives((2, 4, 8), 4 * MIB):
        wrong = 1.0 if fit.split_of_collective(case) == "calibration" else 3.0
        measured[case] = wrong * predict.collective_s(case, RATE, truth)
    found, _ = fit.fit_network(measured, RATE)
    assert found.hop_s == pytest.approx(truth.hop_s, rel=0.02)


def test_a_core_is_as_fast_as_its_products() -> None:
    def product(m: int, n: int, k: int) -> dict[str, Any]:
        time_s = 2.0 * m * n * k / 80e9
        return {
            "kind": "gemm",
            "batch": 1,
            "m": m,
            "n": n,
            "k": k,
            "time_s": time_s,
            "low_s": time_s,
        }

    timings = [product(1024, 1024, 1024), product(512, 2048, 512), product(2048, 512, 512)]
    timings.append({"kind": "memory", "moved_bytes": 1e9, "low_s": 0.1})
    timings.append({"kind": "host", "time_s": 1e-9})
    core, _ = fit.fit_core(timings)
    assert core.peak_flop_per_s == pytest.approx(80e9)
    assert core.memory_bandwidth_bytes_per_s == pytest.approx(10e9)
    assert core.gemm_efficiency == pytest.approx(1.0, abs=0.01)


@pytest.fixture(scope="module")
def steps() -> dict[str, float]:
    cases = {
        "alone": Step("single", 4, 1, RATE),
        "overlap": Step("overlap", 4, 1, RATE),
        "end": Step("end", 4, 1, RATE),
        "three": Step("end", 4, 3, RATE),
    }
    return {k: predict.step_s(c, SHAPE, NO_LATENCY, CORE) for k, c in cases.items()}


def test_gradients_after_the_backward_pass_take_their_bytes(steps: dict[str, float]) -> None:
    # GPT-2's form: 12 h^2 + 13 h a layer, a tied head, positions, a last norm; ring of two: S/B.
    h, layers = SHAPE["hidden"], SHAPE["layers"]
    parameters = layers * (12 * h * h + 13 * h) + (SHAPE["vocab"] + SHAPE["sequence"]) * h + 2 * h
    reduce_s = 4 * parameters / (RATE / 8 * FRAMING)
    assert steps["end"] - steps["alone"] == pytest.approx(reduce_s, rel=1e-3)


def test_accumulation_reduces_once(steps: dict[str, float]) -> None:
    passes = steps["three"] - steps["end"]
    assert 1.5 * steps["alone"] < passes < 2.0 * steps["alone"]


def test_overlap_hides_no_more_than_there_is(steps: dict[str, float]) -> None:
    reduce_s = steps["end"] - steps["alone"]
    assert reduce_s < steps["overlap"] < steps["end"] + CORE.contention_factor * steps["alone"]


def test_step_parameters_are_found_again() -> None:
    cases = measure.steps((2e8, 1e9), (4, 2), 3)
    measured = {c: predict.step_s(c, SHAPE, NO_LATENCY, CORE) for c in cases}
    wrong = replace(CORE, memory_efficiency=0.9, contention_factor=0.0)
    found, _ = fit.fit_steps(measured, SHAPE, NO_LATENCY, wrong)
    assert found.memory_efficiency == pytest.approx(CORE.memory_efficiency, rel=0.01)
    assert found.contention_factor == pytest.approx(CORE.contention_factor, rel=0.05)


def test_a_number_at_its_bound_is_marked() -> None:
    # As slow as no memory would be.
    cases = measure.steps((2e8, 1e9), (4, 2), 3)
    measured = {c: 50.0 for c in cases}
    _, fitted = fit.fit_steps(measured, SHAPE, NO_LATENCY, CORE)
    assert fitted["memory_efficiency"].at_bound
    assert fitted["memory_efficiency"].value == fit.BOUNDS["memory_efficiency"][0]


def test_the_shipped_profile_of_gloo() -> None:
    gloo = library("gloo")
    assert gloo.choices("all_reduce") == ("ring",)
    assert gloo.choices("broadcast") == ("binomial",)
    # Framing, not gloo, is what keeps payload from the whole rate.
    assert 0.8 < gloo.runner("ring").bandwidth <= 1.0
    (wire,) = gloo.protocols
    assert 10e-6 < wire.network_hop_s < 5e-3


# Reporting


def test_measurements_survive_being_saved() -> None:
    samples = Samples()
    cases = [Collective("all_reduce", 2, MIB), Step("single", 4, 1, 2e8)]
    for case in cases:
        for seconds in (0.3, 0.1, 0.2):
            samples.add(case, seconds)
    saved = json.loads(json.dumps(report.samples_to_list(samples)))
    assert report.measured(saved) == dict.fromkeys(cases, 0.1) | dict.fromkeys(
        cases, measure.low_quantile([0.1, 0.2, 0.3])
    )


@pytest.mark.parametrize("entry", [{}, {"op": "x", "samples_s": [1.0]}, {"samples_s": []}])
def test_what_is_no_measurement(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no measurement"):
        report.measured([entry])


def test_errors_are_of_held_out_rows() -> None:
    def row(size: int, split: str, error: float) -> Row:
        return Row(Collective("broadcast", 2, size), split, 1.0, 1.0 + error)

    rows = [
        row(MIB, "held_out", 0.1),
        row(MIB, "held_out", -0.3),
        row(MIB, "held_out", 0.2),
        row(1024, "held_out", 9.0),
        row(MIB, "calibration", 5.0),
    ]
    found = report.summary(rows)["collectives >= 256 KiB, held out"]
    assert found == {"rows": 3, "median": 0.2, "worst": 0.3, "signed_mean": 0.0}
