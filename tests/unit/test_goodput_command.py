"""``distsim goodput``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import distsim as ds
from distsim.cli import main
from distsim.errors import DistsimError
from distsim.study.goodput.process import Failures, Spares, Training

SCENARIO = "llama2-70b-256xh100-checkpoints"
LENGTH = ["--tokens", "100B", "--runs", "50"]


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        ([], "DS676", 2),
        (["--tokens", "1T", "--steps", "10"], "DS676", 2),
        (["--tokens", "lots"], "DS675", 2),
        ([*LENGTH, "--mtbf-device", "50000"], "DS210", 2),
        ([*LENGTH, "--mtbf-device", "0h"], "DS677", 2),
        ([*LENGTH, "--mtbf-device", "-5h"], "DS213", 2),
        ([*LENGTH, "--mtbf-device", "5 GB"], "DS211", 2),
        ([*LENGTH, "--mtbf-device", "1min"], "DS678", 1),
        ([*LENGTH, "--checkpoint-interval", "0s"], "DS679", 2),
        ([*LENGTH, "--checkpoint-interval", "often"], "DS212", 2),
        ([*LENGTH, "--checkpoint-interval", "90d", "--mtbf-device", "100h"], "DS678", 1),
        ([*LENGTH, "--checkpoint", "never"], "DS602", 2),
        ([*LENGTH, "--storage", "2 TB"], "DS211", 2),
        ([*LENGTH, "--storage", "0 B/s"], "DS213", 2),
        ([*LENGTH, "--restart", "-1s"], "DS213", 2),
        ([*LENGTH, "--weibull", "0"], "DS677", 2),
        ([*LENGTH, "--weibull", "nan"], "DS677", 2),
        ([*LENGTH, "--hardware-share", "150%"], "DS677", 2),
        ([*LENGTH, "--runs", "0"], "DS677", 2),
        ([*LENGTH, "--spares", "-1"], "DS602", 2),
        ([*LENGTH, "--start", "tomorrow"], "DS677", 2),
        ([*LENGTH, "--region", "mars"], "DS674", 2),
        ([*LENGTH, "--prices", "none.yaml"], "DS101", 2),
        (["--tokens", "900T", "--runs", "1000000", "--mtbf-device", "300h"], "DS677", 2),
        ([*LENGTH, "-o", "missing/out.csv"], "DS630", 2),
    ],
)
def test_it_refuses(words, code, exit_code, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["goodput", SCENARIO, *words]) == exit_code
    result = capsys.readouterr()
    assert result.out == ""
    assert result.err.startswith(f"error: {code}"), result.err
    assert "fix:" in result.err


@pytest.mark.parametrize(
    "make",
    [
        lambda: Failures(0.0),
        lambda: Failures(float("inf")),
        lambda: Failures(1.0, detect_s=float("nan")),
        lambda: Training(1.0, 0.0, 1.0),
        lambda: Training(1.0, 1.0, -1.0),
        lambda: Spares(1, hardware_share=2.0),
    ],
)
def test_processes_that_cannot_be(make) -> None:
    with pytest.raises(DistsimError) as caught:
        make()
    assert caught.value.code == "DS677"


def test_json_and_a_row_of_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs.csv"
    words = ["goodput", SCENARIO, *LENGTH, "--mtbf-device", "3000h", "--spares", "1",
             "--start", "2027-01-31", "--json", "-o", str(out)]  # fmt: skip
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == found["runs"] == 50
    mean = sum(float(row["duration_s"]) for row in rows) / 50
    assert found["duration_s"]["mean"] == pytest.approx(mean)
    assert sum(found["parts"].values()) == pytest.approx(mean)
    assert found["duration_s"]["p10"] <= found["duration_s"]["p50"] <= found["duration_s"]["p90"]
    assert found["finish"]["p10"] <= found["finish"]["p90"]
    assert found["finish"]["p10"].startswith("2027-0")
    assert found["currency"] == "USD"


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["goodput", SCENARIO, *LENGTH, "--when-empty", "shrink", "--spares", "0",
                 "--mtbf-device", "2000h"]) == 0  # fmt: skip
    said = capsys.readouterr().out
    for word in ("fewer replicas", "Young", "Daly", "p90", "useful share", "0 spare nodes", "+-"):
        assert word in said
    assert main(["goodput", "megatron-22b-8xa100", "--steps", "1000", "--runs", "5"]) == 0
    assert "1 GB/s of each node to the" in capsys.readouterr().out


def test_a_device_without_a_price_has_no_money(capsys: pytest.CaptureFixture[str]) -> None:
    found = ds.goodput(ds.load("megatron-22b-8xa100", ["cluster.device=h100-96gb-hbm2e"]),
                       steps=100, runs=5)  # fmt: skip
    assert "money" not in found.table.names
    assert any("no money" in text for text in found.warnings)


def test_the_end_of_the_calendar() -> None:
    found = ds.goodput(ds.load(SCENARIO), tokens="900T", runs=5, start="9999-01-01")
    assert found.finish()["p50"] == "after the year 9999"
