"""``distsim whatif``: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from distsim.cli import main
from distsim.errors import DistsimError
from distsim.study.whatif.changes import read_changes

SCENARIO = "megatron-22b-8xa100"
GOOD = {
    "schema": 1,
    "kind": "changes",
    "changes": [
        {"name": "wider", "set": {"plan.tp": 4, "plan.zero_stage": 1}},
        {"name": "HBM", "device": {"memory_bandwidth": 1.5, "peak": "120 %"}},
        {"name": "wires", "links": {"nvlink": 2}, "latency": 2, "set": {"batch.micro_size": 1}},
    ],
}


def write(tmp_path: Path, data: object) -> str:
    file = tmp_path / "changes.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return str(file)


def test_a_file_of_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, GOOD)
    wider, memory, wires = read_changes(file)
    assert wider.set == {"plan": {"tp": 4, "zero_stage": 1}}
    assert wider.hardware is None
    assert memory.hardware.memory_bandwidth == 1.5
    assert memory.hardware.peak == pytest.approx(1.2)
    assert (wires.hardware.links, wires.hardware.latency) == ({"nvlink": 2.0}, 2.0)
    out = tmp_path / "out.csv"
    assert main(["whatif", SCENARIO, "--changes", file, "--json", "-o", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [r["change"] for r in rows] == [c["change"] for c in found["changes"]]
    assert {c["kind"] for c in found["changes"]} == {"plan", "hardware"}
    assert sum(found["critical_path"].values()) == pytest.approx(found["base"]["step_s"])


def of(**changes: object) -> dict:
    return {**GOOD, **changes}


def one(**entry: object) -> dict:
    return of(changes=[{"name": "x", **entry}])


BAD = [
    (of(kind="profile"), "DS710"),
    (of(schema=7), "DS710"),
    (of(extra=1), "DS710"),
    (of(changes=[]), "DS710"),
    (of(changes={"a": 1}), "DS710"),
    (of(changes=["a"]), "DS710"),
    (of(changes=[{"set": {"plan.tp": 4}}]), "DS710"),
    (one(), "DS710"),
    (one(device={"speed": 2}), "DS710"),
    (one(device={"peak": 0}), "DS710"),
    (one(device={"peak": -2}), "DS213"),
    (one(device={"peak": 1e6}), "DS710"),
    (one(device={"peak": "2 GB"}), "DS211"),
    (one(links={"nvlink": "fast"}), "DS212"),
    (one(set={"plan": 4, "plan.tp": 4}), "DS710"),
]


@pytest.mark.parametrize(("data", "code"), BAD)
def test_broken_files(tmp_path: Path, data: dict, code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        read_changes(write(tmp_path, data))
    assert caught.value.code == code
    assert "changes.yaml" in str(caught.value)


def test_what_a_change_gets_wrong_is_said_beside_it(tmp_path: Path, capsys) -> None:
    file = write(tmp_path, of(changes=[
        {"name": "links", "links": {"nvlnk": 2}},
        {"name": "key", "set": {"plan.ttp": 2}},
        {"name": "plan", "set": {"plan.tp": 5}},
    ]))  # fmt: skip
    assert main(["whatif", SCENARIO, "--changes", file]) == 0
    said = capsys.readouterr().out
    for code in ("DS712", "DS201", "DS301", "Not possible"):
        assert code in said


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["whatif", "nothing"], "DS101"),
        (["whatif", SCENARIO, "--changes", "nothing.yaml"], "DS101"),
        (["whatif", SCENARIO, "-o", "missing/x.csv"], "DS630"),
        (["whatif", SCENARIO, "--set", "plan.tp=3"], "DS301"),
    ],
)
def test_it_refuses(words, code, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"{code}:" in capsys.readouterr().err


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", SCENARIO]) == 0
    said = capsys.readouterr().out
    for word in ("What explains the critical path", "matrix rate", "2x memory bandwidth",
                 "tp 8 -> 4", "micro batch 4 -> 2", "recomputation", "estimate"):  # fmt: skip
        assert word in said
    assert "network adapter" not in said  # one node has none
