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


@pytest.mark.parametrize("which", ["scenario", "prediction"])
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
