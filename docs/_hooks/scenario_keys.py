"""The reference of scenario files, from the JSON Schema that their models give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from distsim.scenario.block import Bytes, BytesPerS, Time
from distsim.scenario.jsonschema import scenario_schema

_INTRODUCTION = """# Scenario file

A scenario is a YAML file with the blocks below, made of the models that read it; the
[JSON Schema](../schema/scenario.schema.json) says the same to editors. A key that does not exist, a
value out of range or of another type is an error that names the line. Where a row says *required*
the key has no default. Quantities are texts with their unit: `25 MiB`, `400 Gbit/s`, `2 min`; kB,
MB and GB are powers of 1000, KiB, MiB and GiB powers of 1024.

In a `--set`, and in the columns of a sweep, keys are joined by dots: `plan.tp=4`.
"""
#: Where the keys of blocks stand that the schema leaves open.
_OPEN = {
    ("Scenario", "model"): "Keys of a block: [models](../models.md), [decoders](../decoders.md).",
    ("Scenario", "stack"): "`distsim stacks show NAME` prints the keys.",
    ("Cluster", "library"): "[Collectives](../collectives.md).",
}


def page() -> str:
    """Return the page, as Markdown."""
    schema = scenario_schema()
    blocks: dict[str, Any] = schema["$defs"]
    first = ["Scenario", "Cluster", "Batch", "Plan"]
    last = ["Jobs", "Job", "Fabric"]
    names = [*first, *sorted(set(blocks) - {*first, *last}), *(n for n in last if n in blocks)]
    where = _places(blocks)
    return "\n".join([_INTRODUCTION, *(t for n in names for t in _block(n, blocks, where))])


def _block(name: str, blocks: dict[str, Any], where: dict[str, list[str]]) -> Iterator[str]:
    block = blocks[name]
    yield f"## {_heading(name, where)} {{ #{name.lower()} }}\n"
    description = str(block.get("description", "")).split("\n\n")[0]
    if name not in ("Scenario", "Jobs"):
        yield f"{_cell(description)}\n"
    yield "| key | type | unit | default | meaning |\n|---|---|---|---|---|"
    required = set(block.get("required", ()))
    for key, value in block["properties"].items():
        meaning = value.get("description") or _of_reference(value, blocks)
        more = _OPEN.get((name, key), "")
        default = "*required*" if key in required else _default(value)
        cells = [
            f"`{key}`",
            _type(value),
            _unit(value),
            default,
            f"{_cell(meaning)} {more}".strip(),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _heading(name: str, where: dict[str, list[str]]) -> str:
    if name in ("Scenario", "Jobs"):
        return {"Scenario": "The file", "Jobs": "A file with several jobs"}[name]
    places = where.get(name, [])
    return ", ".join(f"`{place}`" for place in places) or name


def _places(blocks: dict[str, Any]) -> dict[str, list[str]]:
    """Return under which keys each block may stand, seen from the file."""
    found: dict[str, list[str]] = {}

    def visit(block: str, prefix: str, seen: tuple[str, ...]) -> None:
        for key, value in blocks[block].get("properties", {}).items():
            for inner in _references(value):
                path = f"{prefix}{key}"
                if path not in found.setdefault(inner, []):
                    found[inner].append(path)
                if inner not in seen:
                    visit(inner, f"{path}.", (*seen, inner))

    visit("Scenario", "", ("Scenario",))
    known = set(found)
    visit("Jobs", "", ("Jobs", *known))
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _of_reference(value: dict[str, Any], blocks: dict[str, Any]) -> str:
    names = list(_references(value))
    return str(blocks[names[0]].get("description", "")).split("\n\n")[0] if names else ""


def _type(value: dict[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[block](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in value:
            words = [_type(v) for v in value[key] if v.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    if "enum" in value:
        return ", ".join(f"`{v}`" for v in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if _quantity(value):
        return "quantity"
    kind = value.get("type", "any")
    if kind == "array":
        inner = value.get("items") or {}
        return f"list of {_type(inner)}" if inner else "list"
    if kind == "object":
        return "block"
    if kind in ("integer", "number"):
        return f"{kind}{_range(value)}"
    return {"string": "text", "boolean": "true or false"}.get(str(kind), str(kind))


def _range(value: dict[str, Any]) -> str:
    """Return the limits of a number that somebody may meet."""
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    if high is not None and high >= 10_000:
        high = None
    if low == high:
        return ""
    above = ">" if "exclusiveMinimum" in value else ">="
    below = "<" if "exclusiveMaximum" in value else "<="
    words = [
        *([f"{above} {_number(low)}"] if low is not None else []),
        *([f"{below} {_number(high)}"] if high is not None else []),
    ]
    return f" {', '.join(words)}" if words else ""


def _number(value: float) -> str:
    return f"{value:g}"


def _patterns() -> dict[str, str]:
    kinds = {"bytes": Bytes, "bytes/s": BytesPerS, "time": Time}
    return {TypeAdapter(t).json_schema()["pattern"]: name for name, t in kinds.items()}


def _quantity(value: dict[str, Any]) -> str:
    return _patterns().get(value.get("pattern", ""), "")


def _unit(value: dict[str, Any]) -> str:
    for inner in (value, *value.get("anyOf", ()), *value.get("oneOf", ())):
        if _quantity(inner):
            return _quantity(inner)
    return ""


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default == {}:
        return ""
    if isinstance(default, bool | int | float | list):
        return f"`{json.dumps(default)}`"
    return f"`{default}`"


def _cell(text: str) -> str:
    """Return a text of a cell; lone stars are no emphasis."""
    return text.replace("|", "\\|").replace(" * ", " \\* ").replace("``", "`")
