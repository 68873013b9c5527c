"""Operator timings: the method against a simulated clock, the work against independent counts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import distsim.measure
from distsim.cli import main
from distsim.errors import CheckFailed, UsageError
from distsim.hardware.catalogue import device, device_names
from distsim.measure import Request, Timings, read_request
from distsim.measure.cases import (
    KINDS,
    MOVED,
    Case,
    attention,
    bus_factor,
    collective,
    gemm,
    host,
    launch,
    memory,
)
from distsim.measure.document import Measured, Skipped
from distsim.measure.grid import collective_cases, compute_cases, interleaved
from distsim.measure.group import Collectives, Group
from distsim.measure.kernels import _switches
from distsim.measure.machine import CudaClock, TorchMachine
from distsim.measure.session import _document, run_cases
from distsim.measure.summary import profile_of, skipped_lines, tables
from distsim.measure.timing import (
    FEWEST,
    Call,
    Method,
    Timing,
    TooLongError,
    UnavailableError,
    time_call,
)

METHOD = Method(batch_s=0.02, max_calls=100, batches=20)
ALONE = tuple(kind for kind in KINDS if kind != "collective")


class Simulated:
    """A clock that moves only when a batch runs: `times(j)` is the time of a call in batch j."""

    def __init__(self, times: Callable[[int], float]) -> None:
        self.times = times
        self.at_s = 0.0
        self.batches: list[int] = []

    def now_s(self) -> float:
        return self.at_s

    def batch_s(self, call: Call, calls: int) -> float:
        took_s = self.times(len(self.batches)) * calls
        self.batches.append(calls)
        for number in range(calls):
            call(number)
        self.at_s += took_s
        return took_s


def _nothing(number: int) -> None:
    return None


# --- the method ---------------------------------------------------------------------------------


def test_warm_up_goes_on_until_times_agree_and_is_not_counted() -> None:
    # Ten times as slow at first, halving: within 3 % of the end after nine batches.
    clock = Simulated(lambda j: 1e-3 * (1 + 9 * 0.5**j))
    found = time_call(_nothing, clock, METHOD, limit_s=10.0, most_s=10.0)
    assert found.settled
    assert found.time_s == pytest.approx(1e-3, rel=0.01)
    assert found.high_s < 1.02e-3


def test_median_and_percentiles_are_those_of_the_timed_batches() -> None:
    noise = 1e-3 * (1 + 0.01 * np.random.default_rng(0).random(500))
    clock = Simulated(lambda j: float(noise[j]))
    found = time_call(_nothing, clock, METHOD, limit_s=10.0, most_s=10.0)
    timed = np.sort(noise[len(clock.batches) - 20 : len(clock.batches)])
    assert found.time_s == pytest.approx((timed[9] + timed[10]) / 2, rel=1e-12)
    assert timed[1] <= found.low_s <= timed[2] and timed[17] <= found.high_s <= timed[18]
    assert found.repeats == sum(clock.batches[-20:])


def test_a_batch_is_as_long_as_asked_and_holds_no_more_calls_than_the_queue() -> None:
    for call_s, calls in ((1e-3, 20), (1.0, 1), (1e-7, 100)):
        clock = Simulated(lambda j, call_s=call_s: call_s)
        time_call(_nothing, clock, METHOD, limit_s=100.0, most_s=1000.0)
        assert clock.batches[-1] == pytest.approx(calls, abs=1)


def test_times_that_never_agree_end_at_the_limit_and_say_so() -> None:
    clock = Simulated(lambda j: 1e-3 * (1 + j % 2))
    found = time_call(_nothing, clock, METHOD, limit_s=1.0, most_s=10.0)
    assert not found.settled
    assert clock.at_s < 1.0 + 2 * 0.04
    assert found.low_s < found.high_s


def test_however_short_the_limit_some_batches_are_timed() -> None:
    found = time_call(_nothing, Simulated(lambda j: 0.01), METHOD, limit_s=0.0, most_s=10.0)
    assert found.repeats == FEWEST


def test_a_call_that_does_not_fit_into_what_is_left_is_refused() -> None:
    clock = Simulated(lambda j: 4.0)
    with pytest.raises(TooLongError):
        time_call(_nothing, clock, METHOD, limit_s=1.0, most_s=10.0)
    assert len(clock.batches) == 2


class Pretended:
    """A machine whose cases take `cost_s(case)` a call."""

    def __init__(self, cost_s: Callable[[Case], float], lacks: Sequence[str] = ()) -> None:
        self.current = 0.0
        self.cost_s, self.lacks = cost_s, lacks
        self.simulated = Simulated(lambda j: self.current)

    def clock(self, kind: str) -> Simulated:
        return self.simulated

    @contextmanager
    def prepared(self, case: Case) -> Iterator[Call]:
        if case.kind in self.lacks:
            raise UnavailableError("out of memory")
        self.current = self.cost_s(case)
        yield _nothing


def test_a_run_that_is_cut_short_still_covers_all_kinds_in_proportion() -> None:
    order = compute_cases("cuda", ALONE, ("bf16",), quick=False)
    found = list(run_cases(order, Pretended(lambda c: 0.01), METHOD, 20.0, 0.1))
    done = [entry for entry in found if isinstance(entry, Measured)]
    left = [entry for entry in found if isinstance(entry, Skipped)]
    assert 0.2 < len(done) / len(order) < 0.8 and len(found) == len(order)
    reasons = [entry.reason for entry in left]
    assert reasons[-1] == "the time was up" and reasons.count("the time was up") > 0.9 * len(left)
    for kind in ("gemm", "attention", "memory"):
        share = sum(e.case.kind == kind for e in done) / sum(c.kind == kind for c in order)
        assert share == pytest.approx(len(done) / len(order), abs=0.12), kind
    assert {entry.case.kind for entry in done} == set(ALONE)


def test_the_budget_is_kept_to_a_case_and_used() -> None:
    order = [gemm(m, 64, 64, "bf16") for m in range(1, 51)]
    machine = Pretended(lambda c: 0.01)
    found = list(run_cases(order, machine, METHOD, 25.0, 0.05))
    assert all(isinstance(entry, Measured) for entry in found)
    assert 0.8 * 25 < machine.simulated.at_s < 25 + 0.5


def test_what_cannot_run_is_skipped_with_its_reason_and_the_rest_is_measured() -> None:
    order = [gemm(8, 8, 8, "bf16"), memory("copy", 8, 8, "bf16"), launch()]
    found = list(run_cases(order, Pretended(lambda c: 1e-4, ["gemm"]), METHOD, 10.0, 0.1))
    assert [type(entry) for entry in found] == [Skipped, Measured, Measured]
    assert isinstance(found[0], Skipped) and found[0].reason == "out of memory"


# --- what is timed ------------------------------------------------------------------------------


def test_the_order_is_the_same_every_time_and_loses_nothing() -> None:
    order = compute_cases("cuda", ALONE, ("bf16", "fp8"), quick=False)
    assert order == compute_cases("cuda", ALONE, ("bf16", "fp8"), quick=False)
    assert sorted(map(repr, interleaved(order[::-1]))) == sorted(map(repr, order))
    assert len({repr(case) for case in order}) == len(order)


def test_linear_layers_of_a_transformer_add_up_to_24_s_h_h() -> None:
    # Narayanan 2021 (SC21), section 3.4: 24 B s h^2 FLOP a layer forward, without attention.
    m, h = 4096, 8192
    found = {
        (c.shape["n"], c.shape["k"]): c.flop
        for c in compute_cases("cuda", ("gemm",), ("bf16",), quick=False)
        if (c.shape["m"], c.shape["layout"], c.shape["batch"]) == (m, "tn", 1)
    }
    layers = ((3 * h, h), (h, h), (4 * h, h), (h, 4 * h))
    assert sum(found[layer] for layer in layers) == 24 * m * h**2


@pytest.mark.parametrize("dev", ["cuda", "cpu"])
def test_each_product_backward_does_the_work_of_the_forward_one(dev: str) -> None:
    shapes = [c.shape for c in compute_cases(dev, ("gemm",), ("fp16",), quick=False)]
    single = [s for s in shapes if s["batch"] == 1]
    of = {lay: {(s["m"], s["n"], s["k"]) for s in single if s["layout"] == lay} for lay in LAYOUTS}
    # tokens x inputs, contracted over outputs; outputs x inputs, contracted over tokens.
    if dev == "cuda":  # on a processor one of the two may be above the largest product
        assert {(k, n, m) for m, n, k in of["nn"]} == of["nt"]
    forward = {(n, k) for _, n, k in of["tn"]}
    assert {(k, n) for _, n, k in of["nn"]} <= forward
    assert {(m, n) for m, n, _ in of["nt"]} <= forward


LAYOUTS = ("tn", "nn", "nt")


def test_operands_of_fp8_fill_whole_units_of_16() -> None:
    shapes = [c.shape for c in compute_cases("cuda", ALONE, ("fp8",), quick=False)]
    products = [s for s in shapes if s.get("dtype") == "fp8"]
    assert products and all(s[x] % 16 == 0 for s in products for x in "mnk")
    assert {(s["layout"], s["batch"]) for s in products} == {("tn", 1)}


def test_a_batch_of_products_is_that_many_products() -> None:
    assert gemm(8, 16, 32, "bf16", "nn", 5).flop == 5 * gemm(8, 16, 32, "bf16", "nn").flop


def test_quick_is_much_less_on_every_device() -> None:
    for dev in ("cuda", "cpu"):
        full, quick = (len(compute_cases(dev, ALONE, ("bf16",), quick=q)) for q in (False, True))
        assert quick < full / 4


def test_attention_counts_the_products_under_the_mask() -> None:
    b, h, s, d = 2, 3, 64, 16
    pairs = sum(1 for query in range(s) for key in range(s) if key <= query)
    full = attention(b, h, s, d, "bf16", causal=False).flop
    assert full == 2 * (2 * b * h * s * s * d)  # scores, and scores times values
    causal = attention(b, h, s, d, "bf16").flop
    assert causal == pytest.approx(4 * b * h * pairs * d, rel=1 / s)
    # Backward: scores again, and gradients of scores, queries, keys, values.
    assert attention(b, h, s, d, "bf16", causal=False, direction="backward").flop == full / 2 * 5
    unfused = attention(b, h, s, d, "bf16", direction="backward", fused=False)
    assert unfused.flop == full / 2 * 4


def test_collectives_have_sizes_that_ranks_share_and_the_factors_of_nccl_tests() -> None:
    for ranks in (2, 3, 7, 8):
        for case in collective_cases(ranks, 1, "nccl", quick=False):
            size = case.shape["size_bytes"]
            assert size % (4 * ranks) == 0
        sizes = [c.shape["size_bytes"] for c in collective_cases(ranks, 1, "nccl", quick=False)]
        assert min(sizes) == pytest.approx(1024, rel=0.03)
        assert max(sizes) == pytest.approx(2**30, rel=1e-6)
    # A ring: each rank sends (n-1)/n of the array for every time that it goes round.
    n = 8
    sent = {"all_reduce": 2 * (n - 1), "all_gather": n - 1, "reduce_scatter": n - 1}
    assert {op: bus_factor(op, n) * n for op in sent} == sent
    assert bus_factor("broadcast", n) == bus_factor("sendrecv", n) == 1


# --- what is asked for --------------------------------------------------------------------------


def test_a_request_is_read() -> None:
    found = read_request("cuda:1", "gemm, host,gemm", "BF16", quick=True)
    assert found == Request("cuda:1", ("gemm", "host"), ("bf16",), True, None)
    assert read_request(None, None, None).kinds == KINDS
    assert (found.limit_s("cuda"), Request().limit_s("cpu")) == (30.0, 45.0)
    assert Request(budget_s=7.0).limit_s("cpu") == 7.0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tpu", None, None), "DS642", "cuda, cuda:N or cpu"),
        (("cpu:0", None, None), "DS642", "'cpu:0'"),
        (("cuda:x", None, None), "DS642", "'cuda:x'"),
        (("cuda:", None, None), "DS642", "'cuda:'"),
        (("", None, None), "DS642", "''"),
        ((None, "gem", None), "DS643", "did you mean gemm"),
        ((None, "", None), "DS643", "--kinds"),
        ((None, None, "bf61"), "DS643", "did you mean bf16"),
    ],
)
def test_a_request_that_cannot_be_says_what_can(
    arguments: tuple[Any, ...], code: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_request(*arguments)
    assert caught.value.code == code and said in str(caught.value)


@pytest.mark.parametrize("budget_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_time(budget_s: float) -> None:
    with pytest.raises(UsageError) as caught:
        read_request(None, None, None, budget_s=budget_s)
    assert caught.value.code == "DS644"


def test_a_group_is_read_from_the_environment() -> None:
    assert Group.from_environment({}) == Group(0, 1, 0, 0)
    under = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}
    assert Group.from_environment(under) == Group(9, 16, 1, 8)


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"},
     {"RANK": "-1", "WORLD_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "two"}],
)  # fmt: skip
def test_a_group_that_cannot_be(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Group.from_environment(environment)
    assert caught.value.code == "DS645"


# --- what is written and printed ----------------------------------------------------------------

TIMING = Timing(1e-3, 0.9e-3, 1.2e-3, 60, True)
CASES = (
    gemm(4096, 8192, 8192, "bf16"),
    attention(2, 32, 8192, 128, "bf16", kv_heads=8),
    memory("copy", 1024, 1024, "bf16"),
    launch(),
    host(),
    collective("all_reduce", 1 << 20, 8, 1, "nccl"),
)


def _timings(name: str = "NVIDIA H100 80GB HBM3", kind: str = "cuda") -> Timings:
    return Timings(
        "2026-11-26",
        {"name": name, "kind": kind, "memory_bytes": 85_000_000_000, "multiprocessors": 132,
         "threads": 16},
        {"torch": "2.13.0"},
        {"budget_s": 300.0},
        tuple(Measured(case, TIMING) for case in CASES),
        (Skipped(CASES[0], "out of memory"), Skipped(CASES[0], "out of memory")),
        ("a note",),
    )  # fmt: skip


def test_the_document_has_the_keys_of_its_format() -> None:
    document = json.loads(json.dumps(_timings().to_dict(), allow_nan=False))
    assert document["format"] == "distsim-timings/1"
    assert {"date", "device", "versions", "timings"} <= set(document)
    times = {"kind", "time_s", "low_s", "high_s", "repeats"}
    keys = {
        "gemm": {"batch", "m", "n", "k", "dtype", "layout"},
        "attention": {"batch", "heads", "kv_heads", "sequence", "head_dim", "causal", "direction",
                      "dtype", "fused"},
        "memory": {"op", "moved_bytes", "dtype"},
        "launch": {"op"},
        "host": {"op"},
        "collective": {"op", "size_bytes", "ranks", "nodes", "dtype", "backend"},
    }  # fmt: skip
    for entry in document["timings"]:
        assert set(entry) == times | keys[entry["kind"]]
        assert (entry["time_s"], entry["low_s"], entry["high_s"]) == (1e-3, 0.9e-3, 1.2e-3)


def test_tables_show_rates_and_the_share_of_the_peak() -> None:
    found = {table.title.split()[0]: table for table in tables(_timings(), device("h100-80gb-sxm"))}
    # 2 x 4096 x 8192 x 8192 FLOP in 1 ms; the H100's dense bf16 peak is 989.4 TFLOP/s.
    assert found["Matrix"].rows[0][-2:] == ("549.8 TFLOP/s", "55.6 %")
    # 4 MiB in 1 ms, of 3.35 TB/s.
    assert found["Memory-bound"].rows[0][-2:] == ("4.194 GB/s", "0.1 %")
    assert found["Collectives"].rows[0][-2:] == ("1.049 GB/s", "1.835 GB/s")
    bare = tables(_timings(), None)[0]
    assert bare.heads[-1] == "rate" and bare.rows[0][-1] == "549.8 TFLOP/s"
    assert skipped_lines(_timings()) == ["2 of kind gemm skipped: out of memory"]


@pytest.mark.parametrize(
    ("name", "gib", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 79.1, "h100-80gb-sxm"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "a100-40gb-sxm"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "a100-80gb-sxm"),
        ("NVIDIA A100 80GB PCIe", 79.2, "a100-80gb-pcie"),
        ("Tesla V100-SXM2-32GB", 31.7, "v100-32gb-sxm"),
        ("NVIDIA H200", 139.8, "h200-141gb-sxm"),
        ("AMD Instinct MI300X", 191.7, "mi300x"),
        ("NVIDIA H100 NVL", 93.1, None),
        ("NVIDIA GeForce RTX 4090", 23.6, None),
        ("AMD EPYC", 80.0, None),
    ],
)
def test_the_profile_of_a_device_is_found_by_its_name(
    name: str, gib: float, expected: str | None
) -> None:
    profiles = [device(known) for known in device_names()]
    found = profile_of(name, gib * 2**30, profiles)
    assert (found and found.name) == expected


def test_nothing_measured_is_no_result() -> None:
    machine: Any = SimpleNamespace(kind="cpu", notes=[])
    skipped = [Skipped(CASES[0], "out of memory")]
    with pytest.raises(CheckFailed, match="nothing was measured: out of memory") as caught:
        _document(Request(), machine, skipped, [])
    assert caught.value.code == "DS646"


def _without_profile(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> None:
    for key in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(distsim.measure, "measure", run)


def test_the_command_prints_tables_and_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Request] = []
    _without_profile(monkeypatch, lambda request, progress: asked.append(request) or _timings())
    target = tmp_path / "timings.json"
    assert main(["measure", "--kinds", "gemm", "--budget", "9", "-o", str(target)]) == 0
    assert asked == [Request("", ("gemm",), (), False, 9.0)]
    assert json.loads(target.read_text()) == _timings().to_dict()
    printed = capsys.readouterr().out
    for text in ("4096 x 8192 x 8192", "55.6 %", "peaks of h100-80gb-sxm", "note: a note"):
        assert text in printed
    assert main(["measure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == _timings().to_dict()


def test_an_interrupt_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(request: Request, progress: object) -> Timings:
        raise KeyboardInterrupt

    _without_profile(monkeypatch, stopped)
    target = tmp_path / "timings.json"
    target.write_text("old")
    assert main(["measure", "-o", str(target)]) == 130
    assert [f.name for f in tmp_path.iterdir()] == ["timings.json"]
    assert target.read_text() == "old"
    assert "interrupted" in capsys.readouterr().err


def test_only_the_first_process_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _without_profile(monkeypatch, lambda request, progress: None)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["measure", "-o", str(tmp_path / "missing" / "t.json")]) == 0
    assert capsys.readouterr().out == ""


def test_the_command_refuses_what_excludes_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--quick", "--budget", "3"]) == 2
    assert "DS602" in capsys.readouterr().err


def test_without_torch_the_package_is_imported_and_the_command_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; import distsim.measure; "
        "from distsim.cli import main; sys.exit(main(['measure', '--device', 'cpu']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=_alone()
    )
    assert result.returncode == 2
    assert "DS640" in result.stderr and "pip install 'distsim-train[torch]'" in result.stderr
    assert "Traceback" not in result.stderr


def _alone() -> dict[str, str]:
    """Return the environment of one process."""
    ranks = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return {key: value for key, value in os.environ.items() if key not in ranks}


# --- a GPU that is not there --------------------------------------------------------------------


class PretendedGpu:
    """A device that works through a queue: `kernel_s` a call, issued by the host in `issue_s`."""

    def __init__(self, kernel_s: float, issue_s: float) -> None:
        self.kernel_s, self.issue_s = kernel_s, issue_s
        self.host_s = self.done_s = 0.0
        self.spins: list[float] = []
        self.cuda = SimpleNamespace(
            Event=lambda enable_timing: PretendedEvent(self),
            synchronize=self.synchronize,
            _sleep=self.sleep,
        )

    def synchronize(self) -> None:
        self.host_s = max(self.host_s, self.done_s)

    def sleep(self, cycles: int) -> None:
        self.spins.append(cycles / 1.8e9)
        self.done_s = max(self.host_s, self.done_s) + cycles / 1.8e9

    def kernel(self, number: int) -> None:
        self.host_s += self.issue_s
        self.done_s = max(self.host_s, self.done_s) + self.kernel_s


class PretendedEvent:
    """An instant of the device."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self.gpu, self.at_s = gpu, 0.0

    def record(self) -> None:
        self.at_s = max(self.gpu.host_s, self.gpu.done_s)

    def query(self) -> bool:
        return self.at_s <= self.gpu.host_s

    def synchronize(self) -> None:
        self.gpu.synchronize()

    def elapsed_time(self, end: PretendedEvent) -> float:
        return 1e3 * (end.at_s - self.at_s)


@pytest.mark.parametrize(("kernel_s", "issue_s"), [(2e-6, 8e-6), (7e-6, 8e-6), (1e-3, 8e-6)])
def test_short_kernels_are_timed_on_the_device_and_not_by_the_host(
    kernel_s: float, issue_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = PretendedGpu(kernel_s, issue_s)
    monkeypatch.setattr("distsim.measure.machine.now_s", lambda: gpu.host_s)
    clock = CudaClock(gpu)
    for _ in range(3):
        assert clock.batch_s(gpu.kernel, 100) / 100 == pytest.approx(kernel_s, rel=1e-3)
    assert len(gpu.spins) <= 3  # one after the first time; a long kernel needs none at first


def test_without_a_spin_the_host_limits_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = PretendedGpu(2e-6, 8e-6)
    del gpu.cuda._sleep
    monkeypatch.setattr("distsim.measure.machine.now_s", lambda: gpu.host_s)
    assert CudaClock(gpu).batch_s(gpu.kernel, 100) / 100 == pytest.approx(8e-6, rel=0.05)


@pytest.mark.parametrize(
    ("capability", "lacking"),
    [((7, 0), {"bf16", "tf32", "fp8"}), ((8, 0), {"fp8"}), ((8, 9), set()), ((9, 0), set())],
)
def test_number_formats_of_a_gpu_follow_its_generation(
    capability: tuple[int, int], lacking: set[str]
) -> None:
    machine: Any = TorchMachine.__new__(TorchMachine)
    machine.kind, machine.device = "cuda", 0
    machine.torch = SimpleNamespace(
        cuda=SimpleNamespace(get_device_capability=lambda device: capability)
    )
    names = ("bf16", "fp16", "tf32", "fp32", "fp8")
    machine._operands = SimpleNamespace(dtypes=dict.fromkeys(names, 1))
    assert {dtype for dtype in names if machine.lacks(dtype)} == lacking


# --- several processes that are not there -------------------------------------------------------


class Told:
    """A tensor of one number."""

    def __init__(self, values: list[float], dtype: object = None) -> None:
        self.value = values[0]

    def item(self) -> float:
        return self.value


class Beside:
    """The other processes: their clock says 7 s, and they report `most` when asked."""

    ReduceOp = SimpleNamespace(MAX="max")

    def __init__(self, most: float) -> None:
        self.most = most
        self.calls = 0

    def broadcast(self, told: Told, root: int) -> None:
        told.value = 7.0

    def all_reduce(self, told: Any, op: str = "sum") -> None:
        if isinstance(told, Told):
            told.value = max(told.value, self.most)
        else:
            self.calls += 1


def _collectives(most: float) -> tuple[Collectives, Beside]:
    beside = Beside(most)
    machine: Any = TorchMachine.__new__(TorchMachine)
    machine.kind, machine.device = "cpu", "cpu"
    cuda = SimpleNamespace(OutOfMemoryError=MemoryError)
    names = ("bfloat16", "float16", "float32", "float64")
    machine.torch = SimpleNamespace(
        distributed=beside, tensor=Told, cuda=cuda, **dict.fromkeys(names)
    )
    found = Collectives(Group(1, 4, 1, 2), machine, "gloo")
    found._operands = SimpleNamespace(random=lambda count, dtype: [0.0] * count)  # type: ignore[assignment]
    return found, beside


def test_processes_decide_alike_by_one_clock_and_the_slowest_of_them() -> None:
    found, _ = _collectives(most=5.0)
    assert found.now_s() == 7.0
    assert found.batch_s(_nothing, 3) == 5.0
    assert found.nodes == 2


def test_if_one_process_cannot_take_part_none_waits_for_it() -> None:
    found, beside = _collectives(most=1.0)  # another one reports a failure
    with (
        pytest.raises(UnavailableError, match="another process"),
        found.prepared(collective("all_reduce", 1024, 4, 2, "gloo")),
    ):
        pass
    assert beside.calls == 0
    found, beside = _collectives(most=0.0)
    with found.prepared(collective("all_reduce", 1024, 4, 2, "gloo")) as call:
        call(0)
    assert beside.calls == 2  # once to see that it runs


# --- with PyTorch -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine() -> TorchMachine:
    pytest.importorskip(
        "torch", reason="torch is not installed: pip install 'distsim-train[torch]'"
    )
    return TorchMachine("cpu")


@contextmanager
def _counting_products() -> Iterator[list[int]]:
    """Collect 2 m n k of every product that PyTorch really runs, from the shapes it is given."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[int] = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func._schema.name in ("aten::mm", "aten::bmm"):
                found.append(2 * args[0].numel() * args[1].shape[-1])
            return func(*args, **(kwargs or {}))

    with Count():
        yield found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_products_do_the_work_that_they_are_counted_with(
    machine: TorchMachine, layout: str, batch: int
) -> None:
    case = gemm(24, 40, 16, "fp32", layout, batch)
    with machine.prepared(case) as call, _counting_products() as counted:
        result: Any = call(0)
    assert sum(counted) == case.flop
    assert tuple(result.shape) == ((24, 40) if batch == 1 else (batch, 24, 40))
    assert float(result.abs().min()) > 0  # operands are not zeros


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_attention_does_the_work_that_it_is_counted_with(
    machine: TorchMachine, direction: str
) -> None:
    case = attention(2, 4, 32, 8, "fp32", causal=False, direction=direction, fused=False)
    with machine.prepared(case) as call, _counting_products() as counted:
        call(0)
    assert sum(counted) == case.flop and len(counted) == (2 if direction == "forward" else 4)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_gives_gradients_of_all_three(
    machine: TorchMachine, kv_heads: int, fused: bool
) -> None:
    case = attention(1, 4, 32, 16, "fp32", kv_heads=kv_heads, direction="backward", fused=fused)
    with machine.prepared(case) as call:
        shapes = [tuple(gradient.shape) for gradient in call(0)]  # type: ignore[attr-defined]
    assert shapes == [(1, 4, 32, 16), (1, kv_heads, 32, 16), (1, kv_heads, 32, 16)]


@pytest.mark.parametrize("op", [op for op in MOVED if op not in ("rms_norm", "adam")])
def test_memory_bound_operators_move_what_their_kernels_read_and_write(
    machine: TorchMachine, op: str
) -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = {"bytes": 0}

    def tensors(value: object) -> list[Any]:
        if isinstance(value, torch.Tensor):
            return [value]
        return [t for v in value for t in tensors(v)] if isinstance(value, list | tuple) else []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            schema = func._schema
            written = [] if schema.is_mutable else tensors(out)
            for argument, value in zip(schema.arguments, args, strict=False):
                alias = argument.alias_info
                overwrites = op == "copy"  # its target is not read
                times = 1 if alias is None or overwrites else 2
                written += tensors(value) * times
            for value in tensors((kwargs or {}).get("out")):
                written.append(value)
            found["bytes"] += sum(t.numel() * t.element_size() for t in written)
            return out

    case = memory(op, 256, 1024, "fp32")
    with machine.prepared(case) as call, Count():
        call(0)
    assert found["bytes"] == pytest.approx(case.shape["moved_bytes"], rel=0.01)


def test_the_optimizer_reads_four_arrays_and_writes_three(machine: TorchMachine) -> None:
    with machine.prepared(memory("adam", 64, 1024, "fp32")) as call:
        arrays: list[Any] = [cell.cell_contents for cell in _cells(call)]
        tensors = [a for a in arrays if getattr(a, "shape", None) == (64, 1024)]
        before = [t.clone() for t in tensors]
        call(0)
    changed = sum(not bool((a == b).all()) for a, b in zip(before, tensors, strict=True))
    assert (len(tensors), changed) == (4, 3)
    assert memory("adam", 64, 1024, "fp32").shape["moved_bytes"] == (4 + 3) * 64 * 1024 * 4


def _cells(call: Any) -> list[Any]:
    """Return what a call and the first of the calls in it hold."""
    found = list(call.__closure__ or ())
    for cell in list(found):
        first = cell.cell_contents
        first = first[0] if isinstance(first, list) else first
        found += list(getattr(first, "__closure__", None) or ())
    return found


def test_operands_take_turns_over_more_than_the_cache(machine: TorchMachine) -> None:
    case = memory("copy", 1024, 1024, "fp32")
    with machine.prepared(case) as call:
        results: list[Any] = [call(number) for number in range(machine._sets(case))]
    apart = {result.data_ptr() for result in results}
    assert len(apart) * case.footprint_bytes >= machine.rotation_bytes
    with machine.prepared(launch()) as call:  # a chain: each depends on the one before
        assert call(0).data_ptr() == call(1).data_ptr()  # type: ignore[attr-defined]


def test_what_pytorch_refuses_is_unavailable_and_its_switches_come_back(
    machine: TorchMachine,
) -> None:
    import torch

    flash = torch.backends.cuda.flash_sdp_enabled()
    with pytest.raises(UnavailableError), machine.prepared(gemm(8, 8, 8, "fp8")):
        raise RuntimeError("no kernel for this")
    with pytest.raises(UnavailableError, match="do not fit"):
        machine.check_room(1 << 60)
    assert torch.backends.cuda.flash_sdp_enabled() == flash
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("fused", "kernel", "wanted"),
    [(True, "", "flash"), (True, "cudnn", "cudnn"), (False, "", "math")],
)
def test_one_kernel_of_attention_alone_is_left_on(
    machine: TorchMachine, fused: bool, kernel: str, wanted: str
) -> None:
    import torch

    case = attention(1, 2, 8, 16, "fp32", fused=fused, kernel=kernel)
    assert case.shape.get("kernel", "") == kernel
    with _switches(torch, case):
        on = {
            name
            for name in ("flash", "math", "mem_efficient", "cudnn")
            if getattr(torch.backends.cuda, f"{name}_sdp_enabled")()
        }
    assert on == {wanted}


def test_a_gpu_that_is_not_there_is_named(machine: TorchMachine) -> None:
    if machine.torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError) as caught:
        TorchMachine("cuda")
    assert caught.value.code == "DS642" and "sees no GPU" in str(caught.value)


def test_a_real_run_begins_with_every_kind_and_says_what_it_skipped(
    machine: TorchMachine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    target = tmp_path / "timings.json"
    words = ["measure", "--device", "cpu", "--budget", "0.5", "-o", str(target)]  # cut
    assert main(words) == 0, capsys.readouterr().err
    document = json.loads(target.read_text())
    assert {entry["kind"] for entry in document["timings"]} >= {"launch", "host"}
    assert document["skipped"]
    assert all(0 < t["low_s"] <= t["time_s"] <= t["high_s"] for t in document["timings"])
    assert document["device"]["kind"] == "cpu" and document["device"]["threads"] >= 1
    assert "run distsim under torchrun" in capsys.readouterr().out


def test_two_processes_time_collectives(
    machine: TorchMachine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "measure",
        "--device",
        "cpu",
        "--kinds",
        "collective",
        "--budget",
        ".5",
        "-o",
        "c.json",
    ]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
              "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}  # fmt: skip
    second = subprocess.Popen(
        [sys.executable, "-m", "distsim", *words],
        cwd=tmp_path,
        env=_alone() | shared | {"RANK": "1", "LOCAL_RANK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for key, value in (shared | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    with second:
        code = main(words)
        told = second.communicate(timeout=60)
    printed = capsys.readouterr()
    assert (code, second.returncode, told[0]) == (0, 0, ""), (printed.err, told)
    assert "busbw" in printed.out
    document = json.loads((tmp_path / "c.json").read_text())
    assert {(t["ranks"], t["nodes"], t["backend"]) for t in document["timings"]} == {(2, 1, "gloo")}
