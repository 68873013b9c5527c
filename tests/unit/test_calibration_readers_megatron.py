"""Training logs of Megatron-LM: steps, arguments, and what real logs have beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distsim.errors import DistsimError
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers import read_any
from distsim.workload.model import ModelSpec
from distsim.workload.zoo import network_from_block
from tests.calibration_logs import (
    CLUSTER,
    megatron,
    megatron_arguments,
    megatron_line,
    settled,
)


def read(tmp_path: Path, text: str | bytes, scenario: str | None = CLUSTER) -> Readings:
    file = tmp_path / "run.log"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    if scenario is not None:
        (tmp_path / "run.yaml").write_text(scenario)
    return read_any(file)


def only(found: Readings) -> Any:
    assert len(found.step_times) == 1
    return found.step_times[0]


def test_the_median_of_the_steps_after_warm_up(tmp_path: Path) -> None:
    step = only(read(tmp_path, megatron(settled(1200.0, 23))))
    assert step.time_s == pytest.approx(1.2)
    assert step.low_s == pytest.approx(1.199) and step.high_s == pytest.approx(1.201)
    assert (step.samples, step.weight) == (20, 1.0)
    assert (step.source.kind, step.source.file[-7:]) == ("megatron", "run.log")
    # Two headings and the arguments, then three lines of warm-up.
    assert step.source.line == len(megatron_arguments()) + 4


def test_arguments_make_a_scenario_that_resolves(tmp_path: Path) -> None:
    scenario = only(read(tmp_path, megatron(settled(1200.0)))).scenario
    assert scenario["batch"] == {"global_size": 512, "micro_size": 1, "sequence_length": 4096}
    assert scenario["cluster"] == {"topology": "dgx-h100-superpod", "devices": 64}
    assert scenario["plan"] == {
        "tp": 8,
        "pp": 2,
        "cp": 1,
        "virtual_stages": 4,  # 32 layers over 2 stages of 4 layers a chunk
        "zero_stage": 1,
        "sequence_parallel": True,
        "overlap_grad_reduce": True,
        "recompute": "none",
    }
    assert scenario["precision"] == {"compute": "bf16", "gradients": "fp32"}
    resolve(load(scenario))
    # The arguments are those of Llama 3 8B; the count is that of its released checkpoint.
    model = network_from_block(scenario["model"])
    assert isinstance(model, ModelSpec) and model.parameters == 8_030_261_248


@pytest.mark.parametrize(
    ("changes", "where", "expected"),
    [
        ({"recompute_granularity": "selective"}, ("plan", "recompute"), "selective"),
        (
            {
                "recompute_granularity": "full",
                "recompute_method": "uniform",
                "recompute_num_layers": 1,
            },
            ("plan", "recompute"),
            "full",
        ),
        (
            {
                "recompute_granularity": "full",
                "recompute_method": "uniform",
                "recompute_num_layers": 4,
            },
            ("plan", "recompute"),
            {"mode": "full", "every": 4},
        ),
        (
            {
                "recompute_granularity": "full",
                "recompute_method": "block",
                "recompute_num_layers": 3,
            },
            ("plan", "recompute"),
            {"mode": "full", "first": 3},
        ),
        ({"use_distributed_optimizer": False}, ("plan", "zero_stage"), 0),
        ({"zero_stage": 2, "deepspeed": True}, ("plan", "zero_stage"), 2),
        (
            {
                "use_megatron_fsdp": True,
                "data_parallel_sharding_strategy": "optim_grads_params",
            },
            ("plan", "zero_stage"),
            3,
        ),
        ({"virtual_pipeline_model_parallel_size": 2}, ("plan", "virtual_stages"), 2),
        ({"cp_comm_type": "a2a"}, ("plan", "cp_mode"), "all_to_all"),
        ({"ddp_bucket_size": 40000000}, ("plan", "bucket_size"), "160000000 B"),
        ({"bf16": False, "fp16": True}, ("precision", "compute"), "fp16"),
        ({"fp8": "hybrid", "fp8_recipe": "tensorwise"}, ("precision", "fp8"), "current"),
        ({"swiglu": False, "normalization": "LayerNorm"}, ("model", "family"), "gpt"),
        ({"hidden_dropout": 0.1}, ("model", "dropout"), True),
        ({"add_qkv_bias": True}, ("model", "qkv_bias"), True),
        ({"group_query_attention": False}, ("model", "kv_heads"), None),
        # 50257 padded to a multiple of 128 x 8
        ({"padded_vocab_size": None, "vocab_size": 50257}, ("model", "vocab"), 51200),
        (
            {"num_experts": 8, "moe_router_topk": 2, "expert_model_parallel_size": 8},
            ("model", "experts_per_token"),
            2,
        ),
        (
            {"num_experts": 8, "moe_router_topk": 2, "moe_layer_freq": "([0]*3+[1]*29)"},
            ("model", "dense_layers"),
            3,
        ),
        (
            {"num_experts": 8, "moe_router_topk": 2, "moe_layer_freq": "[0, 1, 1]"},
            ("model", "dense_layers"),
            1,
        ),
        ({"num_experts": 8, "moe_router_topk": 2, "moe_layer_freq": 2}, ("model", "moe_every"), 2),
    ],
)
def test_arguments_become_keys(
    tmp_path: Path, changes: dict[str, object], where: tuple[str, str], expected: object
) -> None:
    scenario = only(read(tmp_path, megatron(settled(1200.0), **changes))).scenario
    load(scenario)
    assert scenario[where[0]].get(where[1]) == expected


def test_the_padded_vocabulary_that_is_printed_later_counts(tmp_path: Path) -> None:
    text = megatron(settled(1200.0), padded_vocab_size=None)
    said = " > padded vocab (size: 50257) with 943 dummy tokens (new size: 51200)\n"
    head, tail = text.split(" [2025", 1)
    assert only(read(tmp_path, head + said + " [2025" + tail)).scenario["model"]["vocab"] == 51200


def test_a_log_without_arguments_takes_all_from_the_scenario(tmp_path: Path) -> None:
    text = "\n".join(megatron_line(i, t) for i, t in enumerate(settled(900.0), 1)) + "\n"
    step = only(
        read(
            tmp_path,
            text,
            "name: mine\ncluster: {topology: dgx-a100, devices: 8}\nmodel: gpt3-175b\n"
            "batch: {global_size: 512}\nplan: {tp: 8}\n",
        )
    )
    assert step.scenario["name"] == "mine" and step.scenario["plan"] == {"tp": 8}
    assert step.time_s == pytest.approx(0.9)


def test_the_scenario_overrules_the_log_and_a_disagreement_is_noted(tmp_path: Path) -> None:
    said = CLUSTER + "plan: {tp: 4}\nprecision: bf16\n"
    found = read(tmp_path, megatron(settled(1200.0)), said)
    assert only(found).scenario["plan"]["tp"] == 4 and only(found).scenario["plan"]["pp"] == 2
    assert only(found).scenario["precision"] == "bf16"
    notes = [note for note in found.notes if "plan.tp is 8 in the log and 4 in" in note]
    assert len(notes) == 1 and "run.yaml" in notes[0]
    assert not any("precision" in note for note in found.notes)


def test_a_named_model_counts_and_is_compared(tmp_path: Path) -> None:
    found = read(tmp_path, megatron(settled(1200.0)), CLUSTER + "model: llama3-70b\n")
    assert only(found).scenario["model"] == "llama3-70b"
    assert any("model.layers is 32 in the log and 80 in llama3-70b" in n for n in found.notes)
    same = read(tmp_path, megatron(settled(1200.0)), CLUSTER + "model: llama3-8b\n")
    assert not any("model." in note for note in same.notes)


def test_a_batch_that_ramps_up_is_several_step_times(tmp_path: Path) -> None:
    small = [megatron_line(i, 400.0 + i % 2, 128) for i in range(1, 13)]
    large = [megatron_line(i, 1200.0 + i % 2, 512) for i in range(13, 33)]
    text = "\n".join([*megatron_arguments(rampup_batch_size="[128, 384, 1536]"), *small, *large])
    found = read(tmp_path, text + "\n", CLUSTER + "batch: {global_size: 512}\n")
    by_batch = {s.scenario["batch"]["global_size"]: s.time_s for s in found.step_times}
    assert by_batch == {128: pytest.approx(0.4, rel=0.003), 512: pytest.approx(1.2, rel=0.003)}
    assert any("the global batch grows: 128, 512" in note for note in found.notes)
    assert any("128 in the log and 512 in" in note for note in found.notes)


def test_two_runs_of_one_log_are_two_step_times(tmp_path: Path) -> None:
    text = megatron(settled(1200.0)) + megatron(settled(700.0), tensor_model_parallel_size=4)
    found = read(tmp_path, text)
    assert {(s.scenario["plan"]["tp"], round(s.time_s, 9)) for s in found.step_times} == {
        (8, 1.2),
        (4, 0.7),
    }


def test_a_restart_has_a_warm_up_of_its_own(tmp_path: Path) -> None:
    lines = [megatron_line(i, t) for i, t in enumerate(settled(1200.0, 13), 101)]
    text = megatron(settled(1200.0, 23), first=90) + "\n".join(lines) + "\n"
    found = read(tmp_path, text)
    assert only(found).samples == 20 + 10
    line = text.count("\n", 0, text.index(lines[0])) + 1
    assert any(f"run.log:{line}: iterations go back here" in note for note in found.notes)


@pytest.mark.parametrize(
    "failure",
    [
        "Traceback (most recent call last):",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "died with <Signals.SIGTERM: 15>.",
        "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2025 DUE TO TIME LIMIT ***",
    ],
)
def test_a_failed_run_is_noted_with_its_line_and_its_steps_count(
    tmp_path: Path, failure: str
) -> None:
    text = megatron(settled(1200.0, 23)) + f"{failure}\n  File x\nRuntimeError: CUDA error: no\n"
    found = read(tmp_path, text)
    assert only(found).samples == 20
    failed = [note for note in found.notes if "a run fails here" in note]
    assert len(failed) == 1
    assert f"run.log:{text[: text.index(failure)].count(chr(10)) + 1}: " in failed[0]
    assert "its 23 steps before count" in failed[0]
    # After it another start, whose warm-up is dropped too.
    again = read(tmp_path, text + "\n".join(megatron_line(i, t) for i, t in
                                            enumerate(settled(1200.0, 13), 24)) + "\n")  # fmt: skip
    assert only(again).samples == 20 + 10


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"time_ms": "nan"}, "the time is nan"),
        ({"time_ms": "inf"}, "the time is inf"),
        ({"time_ms": "-3.0"}, "no time of a step"),
        ({"time_ms": "abc"}, "'abc' is no number"),
        ({"time_ms": 1200.0, "number_of_skipped_iterations": "  1"}, "was skipped"),
        ({"time_ms": 1200.0, "number_of_nan_iterations": "  2"}, "was skipped"),
    ],
)
def test_a_bad_line_is_left_out_by_its_number(
    tmp_path: Path, bad: dict[str, Any], why: str
) -> None:
    good = [megatron_line(i, t) for i, t in enumerate(settled(1200.0, 23), 1)]
    time = bad.pop("time_ms")
    lines = [*megatron_arguments(), *good, megatron_line(24, time, **bad)]
    found = read(tmp_path, "\n".join(lines) + "\n")
    assert only(found).samples == 20
    assert [r.source.line for r in found.rejected] == [len(lines)]
    assert why in found.rejected[0].reason


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    text = megatron(settled(1200.0, 23)) + megatron_line(24, 1200.0)
    cut = text[: text.rindex("00.0")]  # of 1200.0 there is 12
    found = read(tmp_path, cut)
    assert only(found).samples == 20
    assert [(r.source.line, r.reason) for r in found.rejected] == [
        (cut.count("\n") + 1, "the last line is cut off")
    ]
    # A line without its end whose time is whole counts.
    assert only(read(tmp_path, text)).samples == 21


@pytest.mark.parametrize(
    ("shown", "expected_s"),
    [
        (lambda t: t.replace(".", ","), 1.2345),
        (lambda t: f"1.{t[1:]}".replace("1.234.5", "1.234,5"), 1.2345),
        (lambda t: f"1,{t[1:]}", 1.2345),
        (lambda t: f"1\u202f{t[1:]}".replace(".", ","), 1.2345),
        (lambda t: f"1'{t[1:]}", 1.2345),
    ],
)
def test_numbers_of_other_locales(tmp_path: Path, shown: Any, expected_s: float) -> None:
    times = [shown("1234.5") for _ in range(20)]
    assert only(read(tmp_path, megatron(times))).time_s == pytest.approx(expected_s)


def test_a_decimal_comma_elsewhere_decides_what_a_comma_is(tmp_path: Path) -> None:
    """1,234 is a fraction beside 0,987, and a thousand where nothing says so."""
    fractions = [t.replace(".", ",") for t in ("1.234", "1.234", "0.9", "1.234", "1.234")]
    found = read(tmp_path, megatron(fractions))
    assert only(found).time_s == pytest.approx(0.001234)
    assert any("decimal comma" in note for note in found.notes)
    assert only(read(tmp_path, megatron(["1,234"] * 5))).time_s == pytest.approx(1.234)


@pytest.mark.parametrize(
    "prefix", ["[rank63]: ", "63: ", "[1,63]<stdout>:", "node-7: ", "2025-01-02T03:04:05Z ", "w | "]
)
def test_prefixes_colours_and_line_ends(tmp_path: Path, prefix: str) -> None:
    lines = megatron(settled(1200.0, 23)).splitlines()
    text = "".join(f"{prefix}\x1b[32m{line}\x1b[0m\r\n" for line in lines)
    step = only(read(tmp_path, text))
    assert (step.samples, step.scenario["plan"]["tp"]) == (20, 8)


def test_latin_1_and_utf_16(tmp_path: Path) -> None:
    text = megatron(settled(1200.0, 23))
    latin = read(tmp_path, b"h\xf4te: n\xb0 1\n" + text.encode())
    assert only(latin).samples == 20
    assert any("run.log:1: byte 0xf4 is not UTF-8" in note for note in latin.notes)
    assert only(read(tmp_path, text.encode("utf-16"))).samples == 20


def test_fields_of_unknown_versions_and_other_units(tmp_path: Path) -> None:
    lines = [
        f"iteration {i}/ 100 | new thing: 7 | elapsed time per iteration (s): 1.2 | x: |"
        for i in range(1, 21)
    ]
    assert only(read(tmp_path, "\n".join([*megatron_arguments(), *lines]) + "\n")).time_s == 1.2
    lines = [line.replace(" (s)", " (fortnights)") for line in lines]
    with pytest.raises(DistsimError, match="no time behind") as caught:
        read(tmp_path, "\n".join([*megatron_arguments(), *lines]) + "\n")
    assert caught.value.code == "DS632" and caught.value.place is not None
    assert caught.value.place.line == len(megatron_arguments()) + 1


def test_lines_that_ran_into_one_another_are_told_apart(tmp_path: Path) -> None:
    lines = [megatron_line(i, t) for i, t in enumerate(settled(1200.0, 23), 1)]
    lines[10:12] = [lines[10] + lines[11]]
    found = read(tmp_path, "\n".join([*megatron_arguments(), *lines]) + "\n")
    assert only(found).samples == 20


def test_iterations_that_several_processes_print_count_once(tmp_path: Path) -> None:
    lines = [megatron_line(i, t) for i, t in enumerate(settled(1200.0, 23), 1) for _ in range(2)]
    found = read(tmp_path, "\n".join([*megatron_arguments(), *lines]) + "\n")
    assert only(found).samples == 20
    assert any("count once" in note for note in found.notes)


def test_without_a_topology_one_error_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DistsimError) as caught:
        read(tmp_path, megatron(settled(1200.0)), None)
    assert caught.value.code == "DS633"
    assert "cluster.topology" in caught.value.message and "run.yaml" in caught.value.fix
    assert caught.value.place is not None and caught.value.place.line


def test_a_wrong_value_of_the_scenario_is_shown_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(DistsimError) as caught:
        read(tmp_path, megatron(settled(1200.0)), CLUSTER + "plan: {tp: 8, zro: 1}\n")
    assert caught.value.code == "DS201"
    assert str(caught.value.place).endswith("run.yaml:2")
