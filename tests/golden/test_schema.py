"""The shipped JSON Schemas, against what the program prints."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from distsim.cli import main
from distsim.files import shipped_names

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def _printed(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(argv) == 0
    return json.loads(capsys.readouterr().out)


def _schema(which: str) -> Any:
    return json.loads((SCHEMAS / f"{which}.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("which", ["scenario", "prediction", "collective", "sweep", "plan"])
def test_the_file_is_what_the_program_prints(
    which: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    assert main(["schema", which]) == 0
    text = capsys.readouterr().out
    if request.config.getoption("--update-goldens"):
        (SCHEMAS / f"{which}.schema.json").write_text(text, encoding="utf-8")
    assert json.loads(text) == _schema(which)
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", shipped_names("scenarios"))
def test_shipped_scenarios_and_their_predictions_hold(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _printed(capsys, "run", name, "--json", "--evaluator", "graph")
    jsonschema.validate(result, _schema("prediction"))
    scenario = _printed(capsys, "scenarios", "show", name, "--json")
    jsonschema.validate(scenario, _schema("scenario"))


@pytest.mark.parametrize("more", [[], ["--skew", "zipf:1.2"], ["--compare", "nccl.log"]])
def test_collectives_hold(
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = "1048576 262144 float none -1 92.79 11.30 9.89 0 92.15 11.38 9.96 0\n"
    (tmp_path / "nccl.log").write_text(row)
    monkeypatch.chdir(tmp_path)
    words = ["collective", "all-to-all", "--topology", "dgx-a100", "--devices", "8", "--json"]
    result = _printed(capsys, *words, *more)
    jsonschema.validate(result, _schema("collective"))
    keys = ("size_bytes", "time_s", "algbw_bytes_per_s", "busbw_bytes_per_s", "algorithm")
    assert list(result["rows"][0]) == [*keys, "protocol", "bottleneck"]
    hashed = ["--topology", "fat-tree-1024xh100-hashed", "--devices", "64", *words[-1:]]
    if not more:
        tree = _printed(capsys, *words[:2], *hashed)
        assert tree["collisions"]
        jsonschema.validate(tree, _schema("collective"))
    result["rows"][0]["misspelt"] = result["rows"][0].pop("time_s")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(result, _schema("collective"))


@pytest.mark.parametrize("path", ["step_s", "breakdown.bubble_s", "memory.stages.0.peak_bytes"])
def test_a_missing_or_unknown_key_is_noticed(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = _printed(capsys, "run", "gpt2-xl-8xa100", "--json")
    broken = copy.deepcopy(whole)
    *outer, last = path.split(".")
    block = broken
    for key in outer:
        block = block[int(key) if key.isdecimal() else key]
    block["misspelt"] = block.pop(last)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, _schema("prediction"))
