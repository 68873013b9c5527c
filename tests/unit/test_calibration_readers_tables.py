"""Tables of step times, output of nccl-tests and tables of collectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distsim.errors import DistsimError
from distsim.scenario.load import load
from distsim.scenario.resolve import resolve
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers import read_any
from tests.calibration_logs import nccl_run

BASE = """\
name: base
cluster: {topology: dgx-a100-superpod, devices: 64}
model: gpt3-175b
batch: {global_size: 64, micro_size: 1}
plan: {tp: 8, pp: 8}
precision: fp16
"""


def read(tmp_path: Path, text: str, scenario: str | None = BASE) -> Readings:
    file = tmp_path / "times.csv"
    file.write_text(text, encoding="utf-8")
    if scenario is not None:
        (tmp_path / "times.yaml").write_text(scenario)
    return read_any(file)


def refused(tmp_path: Path, text: str, scenario: str | None = BASE) -> DistsimError:
    with pytest.raises(DistsimError) as caught:
        read(tmp_path, text, scenario)
    return caught.value


# Step times


@pytest.mark.parametrize(
    ("column", "cell", "expected_s"),
    [
        ("measured_s", "8.41", 8.41),
        ("step_s", "8.41", 8.41),
        ("Iter time (s)", "8.41", 8.41),
        ("iter_ms", "8410", 8.41),
        ("elapsed time per iteration (ms)", "8410.0", 8.41),
        ("step_time_us", "8410000", 8.41),
        ("time_min", "0.5", 30.0),
        ("time_s", "8.41", 8.41),
    ],
)
def test_the_unit_is_in_the_name(tmp_path: Path, column: str, cell: str, expected_s: float) -> None:
    step = read(tmp_path, f"tp,{column}\n8,{cell}\n").step_times[0]
    assert step.time_s == pytest.approx(expected_s)
    assert (step.source.line, step.source.kind, step.samples) == (2, "step_csv", 1)


@pytest.mark.parametrize(
    "header", ["tp,step_time", "tp,time", "tp,elapsed", "tp,step_s,iter_ms", "tp,measured"]
)
def test_a_time_that_is_not_clear_is_refused(tmp_path: Path, header: str) -> None:
    error = refused(tmp_path, f"# remark\n{header}\n8,1.5,1\n8,1.5,1\n")
    assert error.code == "DS635"
    assert error.place is not None and error.place.line == 2


def test_measured_s_counts_before_other_columns(tmp_path: Path) -> None:
    found = read(tmp_path, "measured_s,step_ms\n1.5,9\n")
    assert found.step_times[0].time_s == 1.5
    assert any("step_ms" in note for note in found.notes)


def test_columns_are_keys_of_the_scenario(tmp_path: Path) -> None:
    text = (
        "id,gpus,tp,pp,vpp,plan.sequence_parallel,mbs,batch.global_size,seq,recompute,precision,"
        "zero,weight,samples,low_s,high_s,remarks,step_s\n"
        "a,128,4,8,3,true,2,256,1024,full,bf16,1,0.5,20,1.9,2.2,fast,2.0\n"
        ",,,,,,,,,,,,,,,,,3.0\n"
    )
    found = read(tmp_path, text)
    first, second = found.step_times
    assert first.scenario == {
        "name": "a",
        "cluster": {"topology": "dgx-a100-superpod", "devices": 128},
        "model": "gpt3-175b",
        "batch": {"global_size": 256, "micro_size": 2, "sequence_length": 1024},
        "plan": {
            "tp": 4,
            "pp": 8,
            "virtual_stages": 3,
            "sequence_parallel": True,
            "recompute": "full",
            "zero_stage": 1,
        },
        "precision": "bf16",
    }
    assert (first.weight, first.samples, first.low_s, first.high_s) == (0.5, 20, 1.9, 2.2)
    # What a row does not state is as in the scenario beside the table.
    assert second.scenario["plan"] == {"tp": 8, "pp": 8} and second.scenario["name"] == "times-3"
    assert any("columns that are not read: remarks" in note for note in found.notes)


def test_a_model_by_its_sizes_or_by_what_differs(tmp_path: Path) -> None:
    text = "layers,step_s\n48,2.0\n"
    scenario = read(tmp_path, text).step_times[0].scenario
    assert scenario["model"] == {"base": "gpt3-175b", "layers": 48}
    text = "model,layers,hidden,step_s\ngpt2-xl,48,3200,2.0\n"
    scenario = read(tmp_path, text).step_times[0].scenario
    assert scenario["model"] == {"base": "gpt2-xl", "layers": 48, "hidden": 3200}
    text = (
        "family,layers,hidden,heads,ffn,vocab,max_positions,step_s\n"
        "llama,32,4096,32,11008,32000,4096,2.0\n"
    )
    whole = BASE.replace("model: gpt3-175b\n", "")
    model = read(tmp_path, text, whole).step_times[0].scenario["model"]
    assert model["ffn"] == 11008 and model["family"] == "llama"


def test_cells_may_be_blocks_and_lists(tmp_path: Path) -> None:
    text = (
        "precision,plan.layers_per_stage,model,step_s\n"
        '"{compute: bf16, fp8: delayed}","[12, 12]","{base: gpt3-175b, layers: 24}",2.0\n'
        '"{compute: bf16","[12, 12]",gpt3-175b,2.0\n'
    )
    found = read(tmp_path, text)
    scenario = found.step_times[0].scenario
    assert scenario["precision"] == {"compute": "bf16", "fp8": "delayed"}
    assert scenario["plan"]["layers_per_stage"] == [12, 12]
    assert scenario["model"] == {"base": "gpt3-175b", "layers": 24}
    assert found.rejected[0].source.line == 3 and "DS110" in found.rejected[0].reason


def test_devices_follow_from_the_degrees(tmp_path: Path) -> None:
    scenario = read(tmp_path, "dp,tp,pp,step_s\n4,8,2,2.0\n").step_times[0].scenario
    assert scenario["cluster"]["devices"] == 64 and scenario["plan"]["dp"] == 4
    scenario = read(tmp_path, "dp,tp,pp,step_s\n8,8,2,2.0\n").step_times[0].scenario
    assert scenario["cluster"]["devices"] == 128


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("tp;step_s\n8;1,5\n4;1.234,5\n", [1.5, 1234.5]),
        ("tp\tstep_s\n8\t1.5\n", [1.5]),
        ("tp;step_ms\n8;1500\n", [1.5]),
        ('tp,step_ms\n8,"1,500"\n', [1.5]),
        ("\ufefftp,step_s\r\n8,1.5\r\n", [1.5]),
        ("# made by hand\n\ntp, step_s\n8, 1.5\n# end\n", [1.5]),
    ],
)
def test_delimiters_and_locales(tmp_path: Path, text: str, times: list[float]) -> None:
    assert [s.time_s for s in read(tmp_path, text).step_times] == pytest.approx(times)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("8,nan", "step_s: the time is nan"),
        ("8,inf", "step_s: the time is inf"),
        ("8,", "the row has no time"),
        ("8,fast", "'fast' is no number"),
        ("8,-1", "no time of a step"),
        ("8", "1 cells in 2 columns"),
        ("8,1,2", "3 cells in 2 columns"),
        ("eight,1.5", "DS202"),
        ("0,1.5", "DS203"),
    ],
)
def test_a_bad_row_is_left_out_by_its_line(tmp_path: Path, row: str, why: str) -> None:
    found = read(tmp_path, f"tp,step_s\n8,1.0\n{row}\n4,2.0\n")
    assert [s.time_s for s in found.step_times] == [1.0, 2.0]
    assert [r.source.line for r in found.rejected] == [3]
    assert why in found.rejected[0].reason


def test_a_quote_that_is_not_closed_takes_its_own_row_alone(tmp_path: Path) -> None:
    rows = ['8,1.0,"a, b"', '8,2.0,"over', 'lines"', '8,3.0,"open', "8,4.0,x", '8,5.0,"y"']
    found = read(tmp_path, "\n".join(["tp,step_s,notes", *rows]) + "\n")
    assert [s.time_s for s in found.step_times] == [1.0, 2.0, 4.0, 5.0]
    assert [r.source.line for r in found.rejected] == [5]
    assert found.step_times[1].source.line == 3


def test_a_last_row_that_is_cut_off(tmp_path: Path) -> None:
    found = read(tmp_path, "tp,step_s\n8,1.0\n4")
    assert len(found.step_times) == 1
    assert "cut off" in found.rejected[0].reason and found.rejected[0].source.line == 3


def test_a_table_that_no_scenario_completes(tmp_path: Path) -> None:
    error = refused(tmp_path, "tp,step_s\n8,1.0\n", None)
    assert error.code == "DS633" and "cluster.topology, cluster.devices, model" in error.message
    assert error.place is not None and error.place.line == 2
    error = refused(tmp_path, "model,step_s\ngpt5,1.0\n")
    assert error.code == "DS222" and str(error.place).endswith("times.csv:2")
    error = refused(tmp_path, "model,step_s\ngpt5,1.0\ngpt5,2.0\n")
    assert str(error.place).endswith("times.csv:2")
    error = refused(tmp_path, "tp,step_s\n8,1.0\n", BASE.replace("gpt3-175b", "gpt5"))
    assert error.code == "DS222" and str(error.place).endswith("times.yaml:3")
    error = refused(tmp_path, "tp,step_s\n8,1.0\n", BASE.replace("pp: 8", "pp: eight"))
    assert error.code == "DS202" and str(error.place).endswith("times.yaml:5")
    assert refused(tmp_path, "tp,step_s\n8,nan\n").code == "DS632"
    assert refused(tmp_path, "tp,step_s\n").code == "DS632"


def test_a_table_of_published_runs_is_such_a_table(tmp_path: Path) -> None:
    text = (
        "id,source,model,topology,devices,global_batch,micro_batch,sequence,tp,pp,virtual_stages,"
        "schedule,zero_stage,sequence_parallel,recompute,precision,stack,measured_s,derived\n"
        "22b,a paper,megatron-22b,dgx-a100,8,4,4,2048,8,1,1,1f1b,0,false,full,fp16,"
        "megatron-2022,1.42,false\n"
    )
    step = read(tmp_path, text, None).step_times[0]
    resolve(load(step.scenario))
    assert step.time_s == 1.42 and step.scenario["plan"]["sequence_parallel"] is False


# nccl-tests

ROWS = [(1048576, "92.79"), (2097152, "120.5"), (4194304, "200.1")]


def collectives(found: Readings) -> list[tuple[Any, ...]]:
    return [(c.op, c.size_bytes, c.ranks, c.nodes) for c in found.collectives]


@pytest.mark.parametrize(
    ("name", "op"),
    [("all_reduce", "all_reduce"), ("alltoall", "alltoall"), ("sendrecv", "sendrecv")],
)
def test_rows_of_nccl_tests(tmp_path: Path, name: str, op: str) -> None:
    found = read(tmp_path, nccl_run(name, 16, 2, ROWS), None)
    assert collectives(found) == [(op, size, 16, 2) for size, _ in ROWS]
    assert [c.time_s for c in found.collectives] == pytest.approx([92.79e-6, 120.5e-6, 200.1e-6])
    # The remark, 16 ranks and the header come before the rows.
    assert [c.source.line for c in found.collectives] == [19, 20, 21]
    assert found.rejected == ()


def test_several_runs_each_have_their_own_hosts(tmp_path: Path) -> None:
    text = nccl_run("all_reduce", 16, 2, ROWS[:1]) + nccl_run("all_gather", 8, 1, ROWS[:1])
    found = collectives(read(tmp_path, text, None))
    assert found == [("all_reduce", 1048576, 16, 2), ("all_gather", 1048576, 8, 1)]


def test_ranks_follow_from_the_bandwidths_but_nodes_do_not(tmp_path: Path) -> None:
    row = "1048576 262144 float sum -1 92.79 11.30 19.78 0 92.15 11.38 19.91 0\n"  # 2 x 7 / 8
    found = read(tmp_path, "# Avg bus bandwidth : 1\n" + row, None)
    assert collectives(found) == [("all_reduce", 1048576, 8, None)]
    assert any("how many nodes" in note for note in found.notes)


def test_a_row_that_is_cut_off_or_has_no_time(tmp_path: Path) -> None:
    text = nccl_run("all_reduce", 8, 1, [*ROWS, (8388608, "nan")])
    cut = text.split("# Out of")[0] + "    16777216       4194304     float     sum      -1   92.7"
    found = read(tmp_path, cut, None)
    assert len(found.collectives) == 3
    assert [r.source.line for r in found.rejected] == [14, 15]


def test_rows_with_a_decimal_comma(tmp_path: Path) -> None:
    text = nccl_run("all_reduce", 8, 1, ROWS)
    head, rows = text.split("#wrong\n")
    found = read(tmp_path, f"{head}#wrong\n" + rows.replace(".", ","), None)
    assert [c.time_s for c in found.collectives] == pytest.approx([92.79e-6, 120.5e-6, 200.1e-6])
    assert found.rejected == () and any("decimal comma" in note for note in found.notes)


def test_a_run_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    row = "1048576 262144 float 92.79 11.30 9.89 0 92.15 11.38 9.96 0\n"  # 7 / 8: one of three
    with pytest.raises(DistsimError, match="all_gather, reduce_scatter or all_to_all") as caught:
        read(tmp_path, "# Avg bus bandwidth : 1\n" + row, None)
    assert caught.value.code == "DS632" and caught.value.place is not None
    assert caught.value.place.line == 2


def test_tables_of_collectives(tmp_path: Path) -> None:
    text = (
        "op,size_bytes,nranks,nodes,placement,time_us,busbw_GBps\n"
        "all_reduce,1048576,16,2,out_of_place,50,\n"
        "all_reduce,1048576,16,2,in_place,49,\n"
        "all_gather,1048576,16,,out_of_place,,100\n"
        "swap,1048576,16,2,out_of_place,50,\n"
        "all_reduce,1048576,16,2,out_of_place,nan,\n"
    )
    found = read(tmp_path, text, None)
    assert collectives(found) == [
        ("all_reduce", 1048576, 16, 2),
        ("all_gather", 1048576, 16, None),
    ]
    # busbw is size over time, times 15 / 16.
    assert [c.time_s for c in found.collectives] == pytest.approx([50e-6, 1048576e-11 * 15 / 16])
    assert [r.source.line for r in found.rejected] == [5, 6]


def test_several_systems_are_refused(tmp_path: Path) -> None:
    text = "system,op,size_bytes,ranks,time_us\na,all_reduce,8,2,5\nb,all_reduce,8,2,6\n"
    assert refused(tmp_path, text, None).code == "DS243"
    assert "ranks" in refused(tmp_path, "op,size_bytes,time_us\nall_reduce,8,5\n", None).message
