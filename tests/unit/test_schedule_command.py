"""``distsim schedule``: what it lists, draws and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distsim.api import load, simulate
from distsim.cli import main
from distsim.report.schedule import Grid
from distsim.schedule import REGISTRY
from distsim.schedule.csv_actions import write
from distsim.schedule.schedule import looped
from distsim.schedule.summary import summary


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["schedule", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_schedules_are_listed_and_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    rows = printed(capsys)["schedules"]
    assert rows == printed(capsys, "list")["schedules"]
    assert [row["name"] for row in rows] == list(REGISTRY)
    for name in REGISTRY:
        assert main(["schedule", "show", name]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{name}: {REGISTRY[name].summary}"[:90])
        assert all(len(line) <= 100 for line in lines), name
        assert sum(line.startswith("stage ") for line in lines) == 1 + 4


def test_the_record_says_what_a_schedule_costs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("zb-h1", "--stages", "4", "--microbatches", "6", "--forward", "2", "--input", "3")
    record = printed(capsys, "show", *words, "--weight", "1")
    assert (record["forward"], record["input"], record["weight"]) == (2.0, 3.0, 1.0)
    bubble = 3 * (2 + 3 - 1) / (6 * 6)
    assert record["bubble"]["measured"] == pytest.approx(bubble)
    assert record["bubble"]["closed_form"] == pytest.approx(bubble)
    assert record["bubble"]["paired"] is None
    assert record["makespan"] == pytest.approx(36 * (1 + bubble))
    assert [row["peak_held"] for row in record["order"]] == [4] * 4
    assert record["order"][0]["actions"][0] == {
        "action": "0F0",
        "start": 0.0,
        "end": 2.0,
        "paired": False,
    }


def test_a_pipeline_without_a_flush_is_measured_in_steady_state(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = printed(capsys, "show", "pipedream-2bw")
    assert record["bubble"]["measured"] == record["bubble"]["closed_form"] == 0.0
    assert record["makespan"] == 3 * (8 + 3)


def test_peaks_are_whole_micro_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """1 + (p - 1)/(p v) of 1F1B's p micro batches (Korthikanti 2022, appendix B)."""
    record = printed(capsys, "show", "interleaved", "--virtual-stages", "3")
    assert record["order"][0]["peak_in_flight"] == pytest.approx(4 * (1 + 3 / 12))
    record = printed(capsys, "show", "dualpipe")
    assert [row["peak_held"] for row in record["order"]] == [5] * 4
    assert record["bubble"]["paired"] == pytest.approx(record["bubble"]["closed_form"])


@pytest.mark.parametrize("more", [[], ["--communication"]])
def test_a_file_that_is_written_is_read(
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = printed(capsys, "show", "zb-v", "--stages", "3", "-o", "v.csv", *more)
    schedule = REGISTRY["zb-v"]
    text = write(schedule.order(3, 8, 2), schedule.placement(3, 2), communication=bool(more))
    assert Path("v.csv").read_text() == text
    found = printed(capsys, "show", "v.csv")
    assert found["bubble"].pop("closed_form") is None
    wanted["bubble"].pop("closed_form")
    for key in ("stages", "microbatches", "virtual_stages", "makespan", "bubble", "order"):
        assert found[key] == wanted[key], key


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["naiv"], "DS318", "did you mean naive?"),
        (["pipeline"], "DS318", "'pipeline'"),
        (["none.csv"], "DS101", "none.csv"),
        (["bad.csv"], "DS125", "bad.csv:1: DS125: rank 0, column 2: 'x' is no action"),
        (["good.csv", "--stages", "2"], "DS316", "is for stages = 1, but the plan has 2"),
        (["good.csv", "--virtual-stages", "2"], "DS310", "virtual_stages is 2"),
        (["good.csv", "-o", "good.csv"], "DS630", "good.csv"),
        (["1f1b", "--communication"], "DS602", "needs -o FILE"),
        (["1f1b", "--weight", "nan"], "DS602", "between"),
        (["1f1b", "--stages", "0"], "DS602", "0"),
        (["1f1b", "--stages", "1024", "--microbatches", "65536"], "DS319", "1,048,576"),
        (["dualpipe", "--stages", "3"], "DS315", "pp is 3"),
        (["interleaved", "--microbatches", "6"], "DS311", "6 micro batches"),
    ],
)
def test_what_cannot_be_shown(
    words: list[str],
    code: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("0F0,0B0\n")
    Path("bad.csv").write_text("0F0,x\n")
    assert main(["schedule", "show", *words]) == 2
    error = capsys.readouterr().err
    assert f"{code}: " in error and shown in error
    assert Path("good.csv").read_text() == "0F0,0B0\n"


# The grid.


def drawn(width: int, **times: float) -> list[str]:
    """Return the grid of 1F1B on two stages with three micro batches."""
    record = summary(REGISTRY["1f1b"], 2, 3, 1, **times)
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(Grid(record["order"]))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_grid_is_the_schedule() -> None:
    assert drawn(80)[:2] == [
        "stage 0 F0 F1 .  .  B0 -  F2 B1 -  .  B2 -",
        "stage 1 .  F0 B0 -  F1 B1 -  F2 B2 -  .  .",
    ]
    assert drawn(80)[2].startswith("F forward, B backward, micro batch after it")


def test_slots_are_the_greatest_time_that_all_are_multiples_of() -> None:
    rows = drawn(80, forward=1.0, input_=0.75, weight=0.75)  # slots of a half
    assert rows[0] == "stage 0 F0 -  F1 -  .  .  .  B0 -  -  F2 -  B1 -  -  .  .  B2 -  -"
    assert "a slot is 0.5" in " ".join(rows)


def test_times_without_a_common_slot_are_rounded() -> None:
    rows = drawn(120, forward=1.0, input_=0.7071, weight=1.0)
    # B0 from 3.7 to 5.4, B1 from 6.4 to 8.1, B2 from 9.1 to 10.8.
    assert rows[0] == "stage 0 F0 F1 .  .  B0 F2 B1 -  .  B2 -"
    assert "a slot is 1, to which times are rounded" in " ".join(rows)


def test_a_grid_that_does_not_fit_is_cut_and_says_so() -> None:
    rows = drawn(30)
    assert rows[0] == "stage 0 F0 F1 .  .  B0 -  F2"
    assert any("note: 5 of 12 slots" in row for row in rows)
    assert all(len(row) <= 30 for row in rows)
    assert drawn(1)  # one slot at least, however narrow


def test_many_stages_are_cut_too() -> None:
    record = summary(REGISTRY["naive"], 70, 1, 1)
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(Grid(record["order"]))
    assert captured.get().count("stage ") == 64
    assert "6 of 70 stages" in captured.get()


def test_pairs_and_chunks_are_marked() -> None:
    record = summary(REGISTRY["dualpipe"], 2, 4, 2)
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(Grid(record["order"]))
    rows = captured.get().splitlines()
    assert rows[0].rstrip().startswith("stage 0 0F0 3F2 0F1 3B2 -")
    assert "&" in rows[0] and "pairs an action with the next" in captured.get()


def test_kinds_have_colours_of_their_own() -> None:
    record = summary(REGISTRY["zb-h1"], 2, 2, 1)
    console = Console(width=100, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        console.print(Grid(record["order"]))
    first = captured.get().splitlines()[0]
    assert {first.split(label)[0][-3:] for label in ("F0", "I0", "W0")} == {"36m", "33m", "35m"}


def test_a_summary_needs_no_more_than_a_schedule() -> None:
    record = summary(REGISTRY["gpipe"], 3, 5, 1, closed_form=False)
    assert record["bubble"]["closed_form"] is None
    assert record["bubble"]["measured"] == pytest.approx(2 / 5)
    assert [row["chunks"] for row in record["order"]] == [list(c) for c in looped(3, 1)]


def test_a_file_of_the_working_directory_serves_a_shipped_scenario_and_may_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    times = []
    for schedule in ("1f1b", "gpipe"):
        printed(capsys, "show", schedule, "--stages", "8", "--microbatches", "12", "-o", "own.csv")
        changes = ["plan.virtual_stages=1", "plan.schedule=own.csv", "batch.global_size=192"]
        by_file = simulate(load("gpt3-175b-1024xa100", changes))
        changes[1] = f"plan.schedule={schedule}"
        times.append((by_file.step_s, simulate(load("gpt3-175b-1024xa100", changes)).step_s))
        Path("own.csv").unlink()
    assert all(a == pytest.approx(b, rel=1e-12) for a, b in times)
