"""From pydantic's list of errors to the one problem that a person mends next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from distsim.errors import DistsimError, ValueProblem, nearest, show
from distsim.positions import Path, Positions
from distsim.scenario.schema import (
    BLOCK,
    NAME,
    Batch,
    CheckpointBlock,
    Cluster,
    CompressionBlock,
    EvaluationBlock,
    ExpertLoadBlock,
    LoadingBlock,
    NoiseBlock,
    OffloadBlock,
    OptimizerBlock,
    Plan,
    PrecisionBlock,
    RecomputeBlock,
    Scenario,
    SlowLinks,
    UnequalDevices,
)

_BLOCKS: dict[Path, type[BaseModel]] = {
    (): Scenario,
    ("cluster",): Cluster,
    ("batch",): Batch,
    ("plan",): Plan,
    ("plan", "recompute"): RecomputeBlock,
    ("plan", "grad_compression"): CompressionBlock,
    ("plan", "expert_load"): ExpertLoadBlock,
    ("cluster", "unequal"): UnequalDevices,
    ("cluster", "slow_links"): SlowLinks,
    ("plan", "offload"): OffloadBlock,
    ("noise",): NoiseBlock,
    ("loading",): LoadingBlock,
    ("checkpoint",): CheckpointBlock,
    ("evaluation",): EvaluationBlock,
    ("precision",): PrecisionBlock,
    ("optimizer",): OptimizerBlock,
}
#: What frameworks and people call keys that have another name here.
_FOREIGN = {
    "tensor_model_parallel_size": "plan.tp",
    "tensor_parallel_size": "plan.tp",
    "pipeline_model_parallel_size": "plan.pp",
    "pipeline_parallel_size": "plan.pp",
    "context_parallel_size": "plan.cp",
    "expert_model_parallel_size": "plan.ep",
    "data_parallel_size": "plan.dp",
    "micro_batch_size": "batch.micro_size",
    "global_batch_size": "batch.global_size",
    "seq_length": "batch.sequence_length",
    "seq_len": "batch.sequence_length",
    "num_gpus": "cluster.devices",
    "gpus": "cluster.devices",
    "world_size": "cluster.devices",
    "nodes": "cluster.devices",
    "dtype": "precision",
}
_EXAMPLES: dict[Path, str] = {
    ("name",): "name: my-run",
    ("cluster",): "cluster: {topology: dgx-a100-superpod, devices: 8}",
    ("cluster", "topology"): "topology: dgx-a100-superpod",
    ("cluster", "devices"): "devices: 8",
    ("model",): "model: gpt3-175b",
    ("batch",): "batch: {global_size: 512}",
    ("batch", "global_size"): "global_size: 512",
    ("precision", "compute"): "compute: bf16",
    ("optimizer", "name"): "name: adam",
}
_EXPECTED = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys to values",
    "tuple_type": "a list",
}
_LIMITS = {
    "greater_than_equal": (">=", "ge"),
    "less_than_equal": ("<=", "le"),
    "greater_than": (">", "gt"),
    "less_than": ("<", "lt"),
    "string_too_short": ("has at least this many characters:", "min_length"),
    "string_too_long": ("has at most this many characters:", "max_length"),
    "too_short": ("has at least this many entries:", "min_length"),
    "too_long": ("has at most this many entries:", "max_length"),
}


def first_problem(
    error: ValidationError,
    positions: Positions,
    blocks: Mapping[Path, type[BaseModel]] = _BLOCKS,
) -> DistsimError:
    """Return the first problem in the order of the file, which says how many others there are.

    A missing key stands nowhere and comes last: a misspelt one explains it.

    Parameters
    ----------
    blocks : mapping of Path to type
        Model of each block, by its path without the numbers of list entries.
    """
    found = [(_path(e), e) for e in error.errors(include_url=False)]
    path, first = min(found, key=lambda f: (f[1]["type"] == "missing", positions.order(f[0])))
    problem = _problem(path, first, blocks)
    if len(found) > 1:
        others = len(found) - 1
        problem.message += f" (and {others} more problem{'s' if others > 1 else ''})"
    place = positions.place(path, key=first["type"] == "extra_forbidden")
    return problem.at(place) if place else problem


def _path(error: Any) -> Path:
    """Return the key path, without pydantic's tags for the two forms of a value."""
    *inner, last = error["loc"] or ("",)
    path = tuple(part for part in inner if part not in (NAME, BLOCK))
    is_tag = last in (NAME, BLOCK, "") and error["type"] != "extra_forbidden"
    return path if is_tag else (*path, last)


def _problem(path: Path, error: Any, blocks: Mapping[Path, type[BaseModel]]) -> DistsimError:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, value, blocks)
    if kind == "missing":
        return _missing_key(path)
    if kind == "distsim":
        problem: DistsimError = context["error"]
        problem.path = path
        problem.message = f"{path[-1]}: {problem.message}"
        return problem
    if kind == "literal_error":
        return _not_a_choice(path, value, context["expected"])
    if kind in _LIMITS:
        return _out_of_range(path, value, kind, context)
    expected = _EXPECTED.get(kind, error["msg"])
    if error["loc"][-1] in (NAME, BLOCK):
        expected = "a name or a block"
    return _wrong_type(path, value, expected)


def _keys(block: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in block.model_fields.items()]


def _unknown_key(path: Path, value: object, blocks: Mapping[Path, type[BaseModel]]) -> ValueProblem:
    *parents, key = path
    block = blocks[tuple(part for part in parents if isinstance(part, str))]
    known = _keys(block)
    where = ".".join(map(str, parents))
    return ValueProblem(
        "DS201",
        f"unknown key {show(key)}" + (f" in {where}" if where else ""),
        path=path,
        value=value,
        rule=f"{where or 'a scenario'} has the keys {', '.join(known)}",
        fix=_meant(str(key), known),
    )


def _meant(key: str, known: list[str]) -> str:
    elsewhere = {k: f"{p[0]}.{k}" for p, block in _BLOCKS.items() if p for k in _keys(block)}
    elsewhere |= {k: k for k in _keys(Scenario)}
    other = _FOREIGN.get(key) or elsewhere.get(key)
    near = nearest(key, known)
    if other:
        last = other.rpartition(".")[2]
        return f"did you mean {last!r}?" if last in known else f"did you mean {other!r}?"
    if near:
        return f"did you mean {near!r}?"
    far = nearest(key, elsewhere)
    return f"did you mean {elsewhere[far]!r}?" if far else "remove the line"


def _missing_key(path: Path) -> ValueProblem:
    where = ".".join(map(str, path[:-1])) or "the scenario"
    example = _EXAMPLES.get(path, f"{path[-1]}: ...")
    return ValueProblem(
        "DS205",
        f"{where} has no {path[-1]}",
        path=path,
        rule=f"{path[-1]} has no default",
        fix=f"add it, for example {example}",
    )


def _not_a_choice(path: Path, value: object, expected: str) -> ValueProblem:
    # pydantic writes them as 'a', 'b' or 'c'; none of the names holds a quote.
    choices = expected.split("'")[1::2]
    near = nearest(value, choices) if isinstance(value, str) else None
    return ValueProblem(
        "DS204",
        f"{path[-1]} is {_written(value)}",
        path=path,
        value=value,
        rule=f"one of {', '.join(choices)}",
        fix=f"did you mean {near!r}?" if near else f"write one of {', '.join(choices)}",
    )


def _out_of_range(path: Path, value: object, kind: str, context: Any) -> ValueProblem:
    words, key = _LIMITS[kind]
    limit, name = context[key], _name(path)
    rule = f"{name} {words} {limit}"
    is_version = path == ("schema",)
    return ValueProblem(
        "DS203",
        f"{name} is {_written(value)}",
        path=path,
        value=value,
        rule=rule,
        fix="write schema: 1, the only version of the format; a newer file needs a newer distsim"
        if is_version
        else f"change it so that {rule}",
    )


def _wrong_type(path: Path, value: object, expected: str) -> ValueProblem:
    return ValueProblem(
        "DS202",
        f"{_name(path)} is {_written(value)} ({_type(value)}), not {expected}",
        path=path,
        value=value,
        rule=f"{_name(path)} is {expected}",
        fix=_converted(value, expected),
    )


def _name(path: Path) -> str:
    """Return the last key of a path, with its index if it is an entry of a list."""
    if not path:
        return "the scenario"
    return f"{path[-2]}[{path[-1]}]" if isinstance(path[-1], int) else path[-1]


def _written(value: object) -> str:
    """Return a value as the file writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else show(value)


def _type(value: object) -> str:
    names = (
        (bool, "a switch"),
        (int, "a whole number"),
        (float, "a number with a fraction or exponent"),
        (str, "a text"),
        (dict, "a mapping"),
        (list, "a list"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "nothing")


def _converted(value: object, expected: str) -> str:
    """Return what to write instead, where the value shows what was meant."""
    if value is None:
        return "write a value, or remove the line where the key has a default"
    if expected == "a whole number":
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return f"write {int(value)}"
        if isinstance(value, str) and value.strip().isdecimal():
            return f"write {value.strip()[:30]}, without quotes"
    if expected == "true or false" and str(value).lower() in ("true", "false", "1", "0"):
        return f"write {'true' if str(value).lower() in ('true', '1') else 'false'}"
    if expected in ("a text", "a name or a block") and isinstance(value, int | float):
        return f'write "{_written(value)}" in quotes, if that is meant'
    return f"write {expected}"
