"""The JSON Schema of what ``distsim sweep --json`` prints."""

from __future__ import annotations

from typing import Any

from distsim.report.schema import block
from distsim.study.sweep.run import PARTS

_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": ["number", "null"], "minimum": 0, "description": "seconds"}
_NUMBER = {"type": ["number", "null"], "minimum": 0}
_TEXT = {"type": ["string", "null"]}
_DEGREE = {"type": ["integer", "null"], "minimum": 1}
_SECOND_KEYS = ("step_s", *PARTS, "lower_s", "upper_s", "low_s", "high_s")
_NUMBER_KEYS = (
    "tokens_per_s",
    "tokens_per_s_per_device",
    "model_flop_per_s_per_device",
    "mfu",
    "hfu",
    "speedup",
    "efficiency",
    "peak_bytes",
    "capacity_bytes",
    "over_bytes",
    "tokens",
)
_DEGREES = ("dp", "tp", "pp", "cp", "ep", "virtual_stages", "micro_size", "microbatches")
_TEXT_KEYS = ("model", "device", "evaluator", "code", "reason")


def sweep_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a sweep.

    Rows also have a column for each key that varies, named as it is in the scenario.
    """
    axes = {
        "type": "array",
        "items": block("What varies.", {"key": {"type": "string"}, "values": {"type": "array"}}),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distsim sweep",
        **block(
            "Every combination of some values of a scenario.",
            {
                "scenario": {"type": "string"},
                "scaling": {"enum": ["strong", "weak", None]},
                "axes": axes,
                "along": axes,
                "combinations": _COUNT,
                "ok": _COUNT,
                "does_not_fit": _COUNT,
                "not_possible": _COUNT,
                "rows": {"type": "array", "items": _row()},
                "curves": {"type": "array", "items": _curve()},
                "best": _curve(),
            },
        ),
    }


def _row() -> dict[str, Any]:
    return block(
        "A combination; numbers are null where it is not possible.",
        {
            "devices": _COUNT,
            "status": {"enum": ["ok", "does not fit", "not possible"]},
            "best": {"type": "boolean", "description": "of its number of devices"},
            **dict.fromkeys(_SECOND_KEYS, _SECONDS),
            **dict.fromkeys(_NUMBER_KEYS, _NUMBER),
            **dict.fromkeys(_DEGREES, _DEGREE),
            **dict.fromkeys(_TEXT_KEYS, _TEXT),
        },
        closed=False,
    )


def _curve() -> dict[str, Any]:
    rate = {"type": "number", "exclusiveMinimum": 0}
    point = block(
        "A number of devices.",
        {
            "row": {**_COUNT, "description": "index in rows"},
            "devices": _COUNT,
            "step_s": rate,
            "speedup": {**rate, "description": "model FLOP/s over that of the smallest count"},
            "linear": {**rate, "description": "devices over the smallest count"},
            "efficiency": {**rate, "description": "speedup / linear"},
            "least_efficiency": {**rate, "description": "if nothing of the step overlapped"},
        },
    )
    return block(
        "Scaling of combinations that are alike but for the number of devices.",
        {"series": {"type": "object"}, "points": {"type": "array", "items": point}},
    )
