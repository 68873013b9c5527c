"""``distsim sweep``: files, exit codes, and every mistake with its message."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

import distsim as ds
from distsim.cli import main
from distsim.cli.output_progress import progress
from distsim.report.sweep import sweep_text
from distsim.report.sweep_plot import drawn_curves, sweep_figure
from distsim.report.sweep_schema import sweep_schema
from distsim.study.sweep.run import Sweep, sweep
from distsim.study.sweep.study import space_of
from tests.sweeping import SMALL, Counting, made_up

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "small.yaml").write_text(json.dumps(SMALL))
    monkeypatch.chdir(tmp_path)
    return "small.yaml"


def test_the_three_files_hold_the_same(scenario: str, capsys: Capsys) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["sweep", scenario, "--devices", "8:32", "--set", "plan.tp=1,2,3", "--json"]
    for name in ("t.csv", "t.json", "t.parquet"):
        assert main([*words, "-o", name]) == 0
    printed = json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")
    rows = json.loads(Path("t.json").read_text())
    assert printed["rows"] == rows
    assert parquet.read_table("t.parquet").to_pylist() == rows
    text = list(csv.DictReader(io.StringIO(Path("t.csv").read_text())))
    assert len(text) == len(rows) == 9
    for written, row in zip(text, rows, strict=True):
        for key, value in row.items():
            if isinstance(value, float):
                assert float(written[key]) == value
            else:
                assert written[key] == ("" if value is None else str(value))
    jsonschema.validate(printed, sweep_schema())
    assert not list(Path().glob(".*tmp"))


def test_rows_are_those_of_run(scenario: str, capsys: Capsys) -> None:
    assert main(["sweep", scenario, "--devices", "16", "--set", "plan.tp=1,2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    for row in rows:
        assert main(["run", scenario, "--set", f"plan.tp={row['plan.tp']}", "--json"]) == 0
        single = json.loads(capsys.readouterr().out)
        for key in ("step_s", "tokens_per_s", "mfu", "hfu", "model_flop_per_s_per_device"):
            assert row[key] == single[key]
        assert {k: row[k] for k in single["breakdown"]} == single["breakdown"]
        assert row["peak_bytes"] == single["memory"]["peak_bytes"]
        assert (row["lower_s"], row["upper_s"]) == tuple(single["bounds"].values())
        assert (row["low_s"], row["high_s"]) == (
            single["interval"]["low_s"], single["interval"]["high_s"],
        )  # fmt: skip
        assert row["dp"] == single["plan"]["dp"]


def test_a_second_time_nothing_is_evaluated(scenario: str, capsys: Capsys) -> None:
    words = ["sweep", scenario, "--devices", "8:32", "--cache", "c.sqlite"]
    assert main(words) == 0
    assert "3 evaluated now, 0 known" in capsys.readouterr().out
    assert main([*words, "--set", "plan.tp=1,2"]) == 0
    assert "3 evaluated now, 3 known" in capsys.readouterr().out
    assert main([*words[:-2], "--no-cache"]) == 0
    assert "3 evaluated now, 0 known" in capsys.readouterr().out


def test_a_default_cache_that_is_corrupt_is_a_warning(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setattr("distsim.study.cache.default_path", lambda: tmp_path / "damaged")
    (tmp_path / "damaged").write_text("damaged")
    assert main(["sweep", scenario, "--devices", "8:32"]) == 0
    captured = capsys.readouterr()
    assert "3 evaluated now, 0 known" in captured.out
    assert captured.err.startswith("warning: the cache") and captured.err.count("\n") == 1
    assert (tmp_path / "damaged").read_text() == "damaged"


def test_several_jobs_are_not_swept(capsys: Capsys, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("jobs: []\n")
    assert main(["sweep", str(tmp_path / "jobs.yaml"), "--devices", "8:64"]) == 2
    assert "DS245" in capsys.readouterr().err


def test_nothing_that_fits_is_exit_code_1(scenario: str, capsys: Capsys) -> None:
    words = ["sweep", scenario, "--devices", "8,16", "--set", "plan.tp=3,5", "--no-cache"]
    assert main([*words, "-o", "t.csv", "--plot", "t.svg"]) == 1
    out = capsys.readouterr().out
    assert out.count("DS301") == 4
    assert Path("t.csv").read_text().count("not possible") == 4
    assert "nothing fits" in Path("t.svg").read_text()
    assert main([*words, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["not_possible"] == 4
    assert "DS663: none of 4 combinations fits; the first: DS301" in captured.err


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--devices", "64:8"], "DS660"),
        (["--devices", "8:x"], "DS660"),
        (["--devices", ""], "DS660"),
        (["--devices", "8:64:x0"], "DS660"),
        (["--set", "plan.tp"], "DS620"),
        (["--set", "plan.tp="], "DS660"),
        (["--set", "plan.tq=1,2"], "DS201"),
        (["--set", "plan.tp=[1"], "DS110"),
        (["--set", "plan.tp=a,b"], "DS202"),
        (["--set", "seed=0:99999:+1"], "DS662"),
        (["--set", "seed=0:1000000:+1"], "DS660"),
        (["--weak"], "DS666"),
        (["--along", "plan.tp=1,2"], "DS666"),
        (["-o", "table.xlsx"], "DS665"),
        (["-o", "table"], "DS665"),
        (["-o", "missing/t.csv"], "DS630"),
        (["-o", "small.yaml"], "DS630"),
        (["--plot", "p.bmp"], "DS641"),
        (["--plot", "."], "DS630"),
        (["-o", "t.csv", "--plot", "t.csv"], "DS630"),
        (["--cache", "small.yaml"], "DS681"),
        (["--cache", "/dev/full"], "DS680"),
        (["--cache", "c.sqlite", "--no-cache"], "DS602"),
        (["--backend", "dask"], "DS686"),
        (["--scheduler", "tcp://x:1"], "DS686"),
        (["--backend", "spark"], "DS602"),
        (["--jobs", "0"], "DS602"),
        (["--max-points", "0"], "DS602"),
    ],
)
def test_mistakes(scenario: str, more: list[str], code: str, capsys: Capsys) -> None:
    before = sorted(os.listdir())
    assert main(["sweep", scenario, *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{code}: " in captured.err
    assert "fix:" in captured.err
    assert "Traceback" not in captured.err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", ["missing.yaml", "gpt3-175b-1024xa1000"])
def test_a_scenario_that_is_not_there(name: str, capsys: Capsys) -> None:
    assert main(["sweep", name, "--devices", "8:64"]) == 2
    assert "DS101" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("more", [["-o", "full.csv"], ["--plot", "full.svg"]])
def test_a_full_disk_is_said_and_nothing_is_lost(
    scenario: str, more: list[str], capsys: Capsys
) -> None:
    Path(more[1]).symlink_to("/dev/full")
    words = ["sweep", scenario, "--devices", "8:32", "--cache", "c.sqlite"]
    assert main([*words, *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "DS630" in captured.err and "no space left" in captured.err
    assert main(words) == 0
    assert "0 evaluated now, 3 known" in capsys.readouterr().out


def test_an_error_in_distsim_is_exit_code_70(
    scenario: str, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("distsim.study.evaluate.predict", broken)
    assert main(["sweep", scenario, "--devices", "8", "--no-cache"]) == 70
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.out
    assert "please report it" in captured.err


def test_an_interrupt_is_130_and_leaves_no_file(
    scenario: str, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("distsim.study.evaluate.predict", interrupted)
    words = ["sweep", scenario, "--devices", "8", "--cache", "c.sqlite", "-o", "t.csv"]
    assert main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not Path("t.csv").exists()


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    with progress(10) as done:
        assert done is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("TERM", "dumb")  # cannot write over what it wrote
    with progress(10) as done:
        assert done is None
    monkeypatch.setenv("TERM", "xterm")
    with progress(3) as done:
        assert done is not None
        for index in range(3):
            done(index, made_up())
    assert "3/3" in capsys.readouterr().err


def _text(found: Sweep, **options: Any) -> str:
    console = Console(width=100, record=True, file=io.StringIO(), color_system=None)
    console.print(sweep_text(found, **options))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _invented() -> Sweep:
    """Return a sweep of 8 to 32 devices whose numbers anyone can check."""

    def of(scenario: ds.Scenario) -> Any:
        devices, tp = scenario.cluster.devices, scenario.plan.tp
        if tp == 4:
            return made_up(devices, 2.0, peak_bytes=83.1e9)
        return made_up(devices, {8: 4.0, 16: 2.5, 32: 2.0}[devices] * tp)

    return sweep(space_of(SMALL, devices="8:32", set_=["plan.tp=1,2,4,0"]), Counting(of))


def test_the_text_of_all_rows() -> None:
    assert (
        _text(_invented(), evaluated=9)
        == """\
small
  sweep    8 .. 32 devices (3) x plan.tp 1, 2, 4, 0: 12 combinations
  scaling  strong: the global batch stays
  result   6 fit, 3 do not fit, 3 are not possible; 9 evaluated now, 0 known

devices  tp  step time  tokens/s     MFU  speed-up  of linear   memory  why not
      8   1        4 s       250  50.0 %      1.00    100.0 %   50.0 %
      8   2        8 s       125  50.0 %      1.00    100.0 %   50.0 %
      8   4        2 s       500  50.0 %         -          -  103.9 %  DS501: out of memory by 3.1
                                                                        GB a device
      8   0          -         -       -         -          -        -  DS203: tp is 0
     16   1      2.5 s       400  50.0 %      1.60     80.0 %   50.0 %
     16   2        5 s       200  50.0 %      1.60     80.0 %   50.0 %
     16   4        2 s       500  50.0 %         -          -  103.9 %  DS501: out of memory by 3.1
                                                                        GB a device
     16   0          -         -       -         -          -        -  DS203: tp is 0
     32   1        2 s       500  50.0 %      2.00     50.0 %   50.0 %
     32   2        4 s       250  50.0 %      2.00     50.0 %   50.0 %
     32   4        2 s       500  50.0 %         -          -  103.9 %  DS501: out of memory by 3.1
                                                                        GB a device
     32   0          -         -       -         -          -        -  DS203: tp is 0

Where the time of a step goes, the best of each count
devices  tp  compute  bubble
      8   1   75.0 %  25.0 %
     16   1   75.0 %  25.0 %
     32   1   75.0 %  25.0 %

From 8 to 32 devices: 4 times as many, 2 times as fast, 50.0 % of linear.
Fastest: 32 devices, tp 1, 2 s a step."""
    )


def test_the_text_of_the_best() -> None:
    assert (
        _text(_invented(), best=True)
        == """\
small
  sweep    8 .. 32 devices (3) x plan.tp 1, 2, 4, 0: 12 combinations
  scaling  strong: the global batch stays
  result   6 fit, 3 do not fit, 3 are not possible

devices  tp  step time  tokens/s     MFU  speed-up  of linear  memory
      8   1        4 s       250  50.0 %      1.00    100.0 %  50.0 %
     16   1      2.5 s       400  50.0 %      1.60     80.0 %  50.0 %
     32   1        2 s       500  50.0 %      2.00     50.0 %  50.0 %

Why the others cannot run
code   number  the first
DS501       3  8 devices, tp 4: out of memory by 3.1 GB a device
DS203       3  8 devices, tp 0: tp is 0

Where the time of a step goes, the best of each count
devices  tp  compute  bubble
      8   1   75.0 %  25.0 %
     16   1   75.0 %  25.0 %
     32   1   75.0 %  25.0 %

From 8 to 32 devices: 4 times as many, 2 times as fast, 50.0 % of linear.
Fastest: 32 devices, tp 1, 2 s a step."""
    )


def test_many_rows_are_the_best_of_each_and_never_silently() -> None:
    found = sweep(
        space_of(SMALL, devices="8:64", set_=["seed=0:99:+1"]),
        Counting(lambda s: made_up(s.cluster.devices, 4.0 + s.seed)),
    )
    text = _text(found)
    assert "400 combinations" in text
    assert "More than 200 rows: the best of each; -o FILE has them all." in text
    assert text.count("4 s") == 4 + 1
    assert len(found.table) == 400


def test_models_that_grow_are_compared_by_their_flop() -> None:
    space = space_of(SMALL, devices="8:32", along=["model=gpt2,gpt2-medium,gpt2-large"], weak=True)
    found = sweep(
        space,
        Counting(lambda s: made_up(s.cluster.devices, model=str(s.model), tokens_per_s=1.0)),
    )
    text = _text(found)
    assert "along    with the devices: model" in text
    assert "weak: the global batch grows" in text
    first = next(line.split() for line in text.splitlines() if "gpt2 " in line)
    assert first == ["8", "gpt2", "2", "s", "62.5", "M", "50.0", "%", "1.00", "100.0", "%",
                     "50.0", "%"]  # fmt: skip
    assert "FLOP/s a device" in text and "tokens/s" not in text
    step, rate, *_ = sweep_figure(found).axes
    assert len(step.get_lines()) == 1  # what would be linear is not known
    assert list(rate.get_lines()[1].get_ydata()) == pytest.approx([5e-7, 2e-6])  # PFLOP/s


def test_samples_that_are_no_sequences_are_counted_as_such() -> None:
    of = made_up(sample="image", sequence_length=100)
    text = _text(sweep(space_of(SMALL, devices="8"), Counting(lambda _: of)))
    assert "images/s" in text
    assert "         5  50.0 %" in text


def test_the_plot_has_what_the_sweep_has() -> None:
    pytest.importorskip("matplotlib")
    found = _invented()
    assert [name for name, _ in drawn_curves(found)] == ["tp 1", "tp 2"]
    step, rate, share, parts = sweep_figure(found).axes
    times = [list(line.get_ydata()) for line in step.get_lines()]
    assert times[:2] == [[4.0, 2.5, 2.0], [8.0, 5.0, 4.0]]
    assert times[2:] == [[4.0, 1.0], [8.0, 2.0]]  # linear
    assert list(rate.get_lines()[0].get_ydata()) == [250.0, 400.0, 500.0]
    assert list(share.get_lines()[0].get_ydata()) == pytest.approx([100.0, 80.0, 50.0])
    heights = [[bar.get_height() for bar in part] for part in parts.containers]
    assert heights == [[75.0] * 3, [25.0] * 3]
    assert [t.get_text() for t in parts.get_legend().get_texts()] == ["bubble", "compute"]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
@pytest.mark.parametrize("devices", [None, "8:32", "8"])
def test_plots_are_the_same_every_time(
    scenario: str, ending: str, devices: str | None, capsys: Capsys
) -> None:
    pytest.importorskip("matplotlib")
    words = ["sweep", scenario, "--set", "batch.micro_size=1,2", "--cache", "c.sqlite"]
    words += ["--devices", devices] if devices else []
    for name in ("a", "b"):
        assert main([*words, "--plot", f"{name}.{ending}"]) == 0
    first, second = (Path(f"{n}.{ending}").read_bytes() for n in "ab")
    assert first == second and len(first) > 5000
