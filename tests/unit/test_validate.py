"""The report of `distsim validate`: errors, groups, filters, exit codes, plot, extended steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distsim.cli import main
from distsim.cli.validate import KINDS as CHOICES
from distsim.errors import UsageError
from distsim.prediction.predict import predict
from distsim.scenario.resolve import resolve
from distsim.study.validate import KINDS, ComparedRow, Errors, ValidationReport, validate
from distsim.study.validate_rows import ValidationRow, rows, sources
from distsim.study.validation_run import LONG, predict_all, predicted, step_s

TITAN = "torchtitan-2024"


def case(id_: str, split: str, measured: float, predicted_: float) -> ComparedRow:
    return ComparedRow("s", id_, split, measured, predicted_, None, False, "d", 8, "bf16", ("moe",))


def test_errors_are_those_of_the_definition() -> None:
    measured, found = np.array([1.0, 2.0, 4.0, 5.0]), np.array([1.1, 1.8, 4.0, 6.5])
    split = ["calibration", "held_out", "calibration", "held_out"]
    cases = tuple(map(case, "abcd", split, measured, found))
    percent = 100 * (found - measured) / measured
    numbers = Errors("x", cases).to_dict()
    assert numbers["mape_percent"] == pytest.approx(np.abs(percent).mean())
    assert numbers["calibrated_mape_percent"] == pytest.approx(np.abs(percent[::2]).mean())
    assert numbers["held_out_mape_percent"] == pytest.approx(np.abs(percent[1::2]).mean())
    assert numbers["median_percent"] == pytest.approx(np.median(np.abs(percent)))
    assert numbers["signed_mean_percent"] == pytest.approx(percent.mean())
    assert numbers["worst_percent"] == pytest.approx(30.0)
    assert (numbers["rows"], numbers["calibrated_rows"], numbers["held_out_rows"]) == (4, 2, 2)


@pytest.fixture(scope="module")
def titan() -> ValidationReport:
    return validate(TITAN)


def test_every_row_is_of_one_device_and_precision_and_dense_or_moe(titan: ValidationReport) -> None:
    totals = titan.totals()
    for name in ("device", "precision"):
        assert sum(group["rows"] for group in totals[name]) == len(titan.steps) == 13
    kinds = {group["name"]: group["rows"] for group in totals["kind"]}
    assert kinds == {"dense": 13, "context": 2, "zero3": 13, "long": 3}


def test_filters_keep_rows_and_their_numbers(titan: ValidationReport) -> None:
    chosen = validate(TITAN, kind="context", device="h100-96gb-hbm2e")
    assert [c for c in titan.steps if "context" in c.kinds] == list(chosen.steps)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"source": "torchtitan"}, "torchtitan-2024"),
        ({"source": TITAN, "device": "h100"}, "h100-96gb-hbm2e"),
        ({"source": TITAN, "kind": "moe"}, "dense"),
    ],
)
def test_what_no_row_has_is_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate(**given)
    assert caught.value.code == "DS610" and says in caught.value.rule


def test_equal_scenarios_are_predicted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(sources()["opt-2022"]) * 3
    calls = []

    def counted(row: ValidationRow) -> object:
        calls.append(row)
        return predicted(row)

    monkeypatch.setattr("distsim.study.validation_run.predicted", counted)
    assert len(set(predict_all(table))) == 1 and len(calls) == 1


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(sources()["internevo-2024"])[:4]
    alone = predict_all(table)
    monkeypatch.setattr("distsim.study.validation_run.MANY", 2)
    assert predict_all(table, processes=2) == alone


@pytest.mark.parametrize(
    ("source", "id_"),
    [
        ("korthikanti-2022", "175b-sp-selective"),
        ("bloom-2022", "bloom-176b-384xa100"),
        ("bloom-2022-search", "200b-160xa100"),
        ("dgxc-25.04", "llama-3-70b-64xh100-fp8"),
        ("dgxc-24.11", "grok-1-314b-128xh100-fp8"),
    ],
)
def test_extended_steps_are_those_of_whole_runs(source: str, id_: str) -> None:
    (row,) = [row for row in rows(sources()[source]) if row.id == id_]
    scenario = row.load()
    plan = resolve(scenario).inputs.plan
    assert plan.microbatches > LONG * plan.pp
    assert step_s(scenario) == pytest.approx(predict(resolve(scenario)).step_s, rel=4e-3)


def test_choices_of_the_command_are_the_kinds() -> None:
    assert CHOICES == KINDS


def test_a_source_prints_its_rows_and_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--source", TITAN]) == 0
    text = capsys.readouterr().out
    assert main(["validate", "--source", TITAN, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (source,) = report["sources"]
    for row in source["cases"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"{row['id']} ")]
        assert f"{row['error_percent']:+.2f} %" in line
        ratio = row["predicted_s"] / row["measured_s"]
        assert row["error_percent"] == pytest.approx(100 * (ratio - 1))


@pytest.mark.parametrize(("share", "code"), [("0.1%", 1), ("0.1", 1), ("1000%", 0), ("x", 2)])
def test_fail_above_sets_the_exit_code(
    share: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--source", "opt-2022", "--fail-above", share]) == code
    said = capsys.readouterr().err
    assert ("opt-2022" in said) == (code == 1)


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_plot_has_every_run(tmp_path: Path, ending: str, titan: ValidationReport) -> None:
    from distsim.report.validation_plot import validation_figure

    file = tmp_path / f"plot.{ending}"
    assert main(["validate", "--source", "opt-2022", "--plot", str(file)]) == 0
    assert file.stat().st_size > 1000
    above, below = validation_figure(titan.to_dict()).axes
    for axes in (above, below):
        marks = [tuple(xy) for drawn in axes.collections for xy in np.asarray(drawn.get_offsets())]
        times = {x for x, _ in marks}
        assert times >= {c.measured for c in titan.steps}
    assert (above.get_xscale(), above.get_yscale()) == ("log", "log")


def test_a_plot_of_another_format_is_refused(tmp_path: Path) -> None:
    assert main(["validate", "--plot", str(tmp_path / "plot.gif")]) == 2
