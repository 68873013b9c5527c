"""Checks of blocks that are shown and not run: files, pieces of scenarios, lines of usage."""

from __future__ import annotations

import csv
import json
import re
from functools import lru_cache
from typing import Any

import click
import jsonschema
import yaml

import distsim as ds
from distsim.cli import cli
from distsim.scenario.jsonschema import scenario_schema
from tests.docs.blocks import Block

#: What else a YAML file of the project may be: the key that says so.
_KINDS = ("kind", "changes")
#: Families whose samples are no sequences.
_NO_SEQUENCES = ("linear_regression", "softmax_regression", "perceptron", "mlp", "cnn", "vit")


def check(block: Block) -> None:
    """Hold a block to its kind.

    Raises
    ------
    AssertionError
        With the place and the reason.
    """
    checks = {"yaml": _yaml, "json": _json, "csv": _csv, "usage": _usage, "text": _text}
    checks[block.info](block)


def _json(block: Block) -> None:
    json.loads(block.text)


def _csv(block: Block) -> None:
    rows = list(csv.reader(block.text.splitlines()))
    widths = {len(row) for row in rows}
    assert len(widths) == 1 or block.title, f"{block.where}: rows of {sorted(widths)} cells"


def _text(block: Block) -> None:
    typed = [line for line in block.text.splitlines() if re.match(r"\$ |distsim \w+ ", line)]
    assert not typed, f"{block.where}: a command in a block of text is not run: {typed[0]}"


def _yaml(block: Block) -> None:
    """Read YAML; what are keys of a scenario, one by one, must be valid there."""
    for piece in re.split(r"^(?=\w)", block.text, flags=re.MULTILINE):
        data = yaml.safe_load(piece)
        for key, value in data.items() if isinstance(data, dict) else ():
            if key in _KINDS:
                return
            if key in _properties():
                _check_key(block, key, value)
    if block.title:
        return  # commands of its page run with it
    whole = _whole(block)
    if isinstance(whole, dict) and "family" in whole:
        _check_model(block, whole)
    elif isinstance(whole, dict) and isinstance(whole.get("model"), dict):
        _check_model(block, whole["model"])


def _whole(block: Block) -> Any:
    try:
        return yaml.safe_load(block.text)
    except yaml.YAMLError:
        return None  # pieces with a word between them: each was read by itself


@lru_cache
def _schema() -> dict[str, Any]:
    return scenario_schema()


def _properties() -> dict[str, Any]:
    properties: dict[str, Any] = _schema()["$defs"]["Scenario"]["properties"]
    return properties


def _check_key(block: Block, key: str, value: Any) -> None:
    """Hold the value of a key to the schema, whatever is left out of it."""
    schema = {**_properties()[key], "$defs": _schema()["$defs"]}
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        missing = error.validator == "required"
        assert missing, f"{block.where}: {key}: {error.json_path}: {error.message}"


def _check_model(block: Block, model: dict[str, Any]) -> None:
    """Build a model that a page shows."""
    batch = {"global_size": 1, "micro_size": 1}
    if model.get("family") not in _NO_SEQUENCES:
        batch["sequence_length"] = 256
    ds.check(
        ds.load(
            {
                "schema": 1,
                "name": block.where,
                "cluster": {"topology": "dgx-h100", "devices": 1},
                "model": model,
                "batch": batch,
            }
        )
    )


def _usage(block: Block) -> None:
    """Look for every command and every option that a block names."""
    command: click.Command = cli
    for line in block.text.splitlines():
        if line.startswith("distsim"):
            command = cli
            for word in line.split()[1:]:
                context = click.Context(command)
                found = command.get_command(context, word) if _group(command) else None
                if found is None:
                    break
                command = found
            assert command is not cli, f"{block.where}: no such command: {line}"
        if not line.startswith("pip "):
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line):
                assert option in known, f"{block.where}: {command.name} has no option {option}"


def _group(command: click.Command) -> bool:
    return isinstance(command, click.Group)
