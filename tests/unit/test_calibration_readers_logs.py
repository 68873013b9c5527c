"""Training logs of torchtitan and DeepSpeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distsim.errors import DistsimError
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers import read_any
from tests.calibration_logs import torchtitan_line

SCENARIO = """\
cluster: {topology: dgx-h100-superpod, devices: 64}
model: llama3-8b
batch: {global_size: 128, sequence_length: 8192}
plan: {zero_stage: 3}
"""
TOKENS = 128 * 8192 / 64  # of a step, for each device


def read(tmp_path: Path, text: str, scenario: str | None = SCENARIO) -> Readings:
    file = tmp_path / "titan.txt"
    file.write_text(text, encoding="utf-8")
    if scenario is not None:
        (tmp_path / "titan.yml").write_text(scenario)
    return read_any(file)


def only(found: Readings) -> Any:
    assert len(found.step_times) == 1
    return found.step_times[0]


# torchtitan


def titan(rates: list[str], prefix: str = "", first: int = 1) -> str:
    return "".join(f"{prefix}{torchtitan_line(i, r)}\n" for i, r in enumerate(rates, first))


RATES = ["311", "2,100", "4,000", *["5,762", "5,760", "5,764"] * 6]


def test_tokens_a_second_and_device_make_a_time(tmp_path: Path) -> None:
    step = only(read(tmp_path, titan(RATES)))
    assert step.time_s == pytest.approx(TOKENS / 5762)
    assert (step.samples, step.source.kind, step.source.line) == (18, "torchtitan", 4)
    assert step.low_s == pytest.approx(TOKENS / 5764) and step.high_s == pytest.approx(
        TOKENS / 5760
    )


def test_colours_between_names_and_values(tmp_path: Path) -> None:
    coloured = titan(RATES).replace("tps: ", "\x1b[34mtps: ").replace("step: ", "\x1b[31mstep: ")
    assert only(read(tmp_path, coloured)).time_s == pytest.approx(TOKENS / 5762)


def test_without_a_length_the_longest_of_the_model_counts(tmp_path: Path) -> None:
    said = SCENARIO.replace(", sequence_length: 8192", "")
    assert only(read(tmp_path, titan(RATES), said)).time_s == pytest.approx(TOKENS / 5762)


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("batch: {global_size: 128, sequence_length: 8192}\n", "batch.global_size"),
        (", devices: 64", "cluster.devices"),
    ],
)
def test_tokens_of_a_step_must_be_known(tmp_path: Path, without: str, missing: str) -> None:
    with pytest.raises(DistsimError, match=missing) as caught:
        read(tmp_path, titan(RATES), SCENARIO.replace(without, ""))
    assert caught.value.code == "DS633"


def test_what_the_trainer_prints_completes_the_scenario(tmp_path: Path) -> None:
    text = (
        "Building 2-D device mesh with ['dp_shard', 'tp'], [8, 4]\n"
        "Trainer is initialized with local batch size 2, global batch size 32, gradient "
        "accumulation steps 2, sequence length 4096, total steps 1000 (warmup 200)\n"
    ) + titan(RATES)
    said = "cluster: {topology: dgx-h100-superpod}\nmodel: llama3-8b\n"
    step = only(read(tmp_path, text, said))
    assert step.time_s == pytest.approx(32 * 4096 / 32 / 5762)
    assert step.scenario["plan"] == {"tp": 4, "zero_stage": 3}
    assert step.scenario["cluster"]["devices"] == 32
    assert step.scenario["batch"] == {"global_size": 32, "micro_size": 2, "sequence_length": 4096}


def test_degrees_as_later_versions_print_them(tmp_path: Path) -> None:
    text = (
        "Building device mesh with parallelism: pp=2, dp_replicate=2, dp_shard=8, cp=1, tp=2\n"
        "Trainer is initialized with local batch size 8, global batch size 128, gradient "
        "accumulation steps 1, sequence length 8192, total steps 10 (warmup 2)\n"
    )
    said = "cluster: {topology: dgx-h100-superpod}\nmodel: llama3-8b\n"
    scenario = only(read(tmp_path, text + titan(RATES), said)).scenario
    assert scenario["plan"] == {"pp": 2, "cp": 1, "tp": 2, "dp_replicas": 2, "zero_stage": 3}
    assert scenario["cluster"]["devices"] == 64 and "micro_size" not in scenario["batch"]


def test_of_several_ranks_one_counts(tmp_path: Path) -> None:
    text = "".join(
        f"[rank{rank}]:{torchtitan_line(i, rate if rank == 0 else '9,999')}\n"
        for i, rate in enumerate(RATES, 1)
        for rank in (0, 1)
    )
    found = read(tmp_path, text)
    assert only(found).time_s == pytest.approx(TOKENS / 5762) and only(found).samples == 18
    assert any("rank 0 count" in note for note in found.notes)


def test_nan_zero_and_a_cut_are_left_out(tmp_path: Path) -> None:
    text = titan([*RATES, "nan", "0", "inf"]) + torchtitan_line(25, "5,762").split(",762")[0]
    found = read(tmp_path, text)
    assert only(found).samples == 18
    by_line = {r.source.line: r.reason for r in found.rejected}
    assert sorted(by_line) == [22, 23, 24, 25]
    assert "nan" in by_line[22] and by_line[25] == "the last line is cut off"


def test_a_restart_and_a_failure(tmp_path: Path) -> None:
    text = titan(RATES) + "Traceback (most recent call last):\n" + titan(RATES, first=10)
    found = read(tmp_path, text)
    assert only(found).samples == 36
    assert any("titan.txt:22: a run fails here" in note for note in found.notes)
    found = read(tmp_path, titan(RATES) + titan(RATES, first=10))
    assert only(found).samples == 36
    assert any("titan.txt:22: steps go back here" in note for note in found.notes)


# DeepSpeed


def deepspeed(times: list[str]) -> str:
    return "".join(
        f"[2025-01-02 03:04:05,678] [INFO] [engine.py:1:train] steps: {10 * i} loss: 7.9000 "
        f"iter time (s): {t} samples/sec: 148.100\n"
        for i, t in enumerate(times, 1)
    )


TIMES = ["30.0", "9.0", "5.0", *["3.456", "3.455", "3.457"] * 6]


def test_iteration_times(tmp_path: Path) -> None:
    step = only(read(tmp_path, deepspeed(TIMES)))
    assert step.time_s == pytest.approx(3.456)
    assert (step.samples, step.source.kind, step.source.line) == (18, "deepspeed", 4)


def test_a_decimal_comma(tmp_path: Path) -> None:
    found = read(tmp_path, deepspeed([t.replace(".", ",") for t in TIMES]))
    assert only(found).time_s == pytest.approx(3.456)


def test_rates_take_the_batch_of_the_scenario(tmp_path: Path) -> None:
    text = "".join(
        f"epoch=0/micro_step={i}/global_step={i}, RunningAvgSamplesPerSec=30.5, "
        "CurrSamplesPerSec=32.0, MemAllocated=20.1GB, MaxMemAllocated=30.2GB\n"
        for i in range(1, 21)
    )
    assert only(read(tmp_path, text)).time_s == pytest.approx(128 / 32.0)
    with pytest.raises(DistsimError, match=r"without batch\.global_size") as caught:
        read(tmp_path, text, SCENARIO.replace("batch: {global_size: 128, ", "batch: {"))
    assert caught.value.code == "DS632"


def test_the_configuration_completes_the_scenario(tmp_path: Path) -> None:
    config = "".join(
        f"[2025-01-02 03:04:05,678] [INFO] [config.py:1:print]   {name} {'.' * 20} {value}\n"
        for name, value in {
            "train_batch_size": 256,
            "train_micro_batch_size_per_gpu": 4,
            "zero_optimization_stage": 2,
            "bfloat16_enabled": True,
            "world_size": 64,
        }.items()
    )
    said = "cluster: {topology: dgx-h100-superpod}\nmodel: llama3-8b\n"
    scenario = only(read(tmp_path, config + deepspeed(TIMES), said)).scenario
    assert scenario["batch"] == {"global_size": 256, "micro_size": 4}
    assert scenario["plan"] == {"zero_stage": 2} and scenario["precision"] == "bf16"
    assert scenario["cluster"]["devices"] == 64


def test_parts_of_a_step_are_added(tmp_path: Path) -> None:
    text = "".join(
        "[INFO] [logging.py:1:log_dist] [Rank 0] time (ms) | fwd: 100.5 | bwd: 200.25 | "
        "bwd_inner: 190.0 | bwd_allreduce: 10.0 | step: 30.25\n"
        for _ in range(12)
    )
    found = read(tmp_path, text)
    assert only(found).time_s == pytest.approx(0.331)
    assert any("sum of its parts" in note for note in found.notes)


def test_iteration_times_count_before_parts(tmp_path: Path) -> None:
    parts = "time (ms) | fwd: 1.0 | bwd: 1.0 | step: 1.0\n" * 30
    assert only(read(tmp_path, parts + deepspeed(TIMES))).time_s == pytest.approx(3.456)


def test_bad_lines_and_a_cut(tmp_path: Path) -> None:
    text = deepspeed([*TIMES, "nan", "inf", "1e9"]) + deepspeed(["3.456"]).split("56 samples")[0]
    found = read(tmp_path, text)
    assert only(found).samples == 18
    assert [r.source.line for r in found.rejected] == [22, 23, 24, 25]
    assert found.rejected[-1].reason == "the last line is cut off"
