"""The JSON Schema of what ``distsim plan --json`` prints."""

from __future__ import annotations

from typing import Any

from distsim.report.schema import block

_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number", "minimum": 0}
_MAYBE = {"type": ["number", "null"], "minimum": 0}
_TEXT = {"type": "string"}
_DAY = {"type": ["string", "null"], "format": "date"}


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a plan; plans and spaces are open."""
    choices = {"type": "array", "items": _choice()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distsim plan",
        **block(
            "The best cluster sizes and plans of a search.",
            {
                "scenario": _TEXT,
                "model": _TEXT,
                "device": _TEXT,
                "parameters": _COUNT,
                "objective": {"enum": ["time", "cost", "energy"]},
                "tokens": _NUMBER,
                "steps": _COUNT,
                "deadline_s": _MAYBE,
                "budget": _MAYBE,
                "currency": _TEXT,
                "prices": _TEXT,
                "pricing": _TEXT,
                "start": _DAY,
                "finish": _DAY,
                "best": _choice(scenario={"type": "object", "description": "as a file has it"}),
                "top": choices,
                "pareto": choices,
                "rejected": {"type": "array", "items": _rejected()},
                "searched": block(
                    "How many candidates came to what.",
                    dict.fromkeys(
                        ("candidates", "does_not_fit", "bounded", "pruned", "evaluated"), _COUNT
                    ),
                ),
                "space": {"type": "object", "description": "values of each key that varied"},
                "failures": {
                    "type": ["object", "null"],
                    "description": "time with failures over time without, by devices",
                    "additionalProperties": {"type": "number", "minimum": 1},
                },
                "notes": {"type": "array", "items": _TEXT},
            },
        ),
    }


def _choice(**more: Any) -> dict[str, Any]:
    return block(
        "A plan on a size of cluster, and what a training with it comes to.",
        {
            "devices": _COUNT,
            "step_s": _NUMBER,
            "mfu": _NUMBER,
            "hfu": _NUMBER,
            "tokens_per_s": _NUMBER,
            "peak_bytes": _NUMBER,
            "capacity_bytes": _NUMBER,
            "evaluator": {"enum": ["graph", "event"]},
            "time_s": _NUMBER,
            "money": _NUMBER,
            "energy_j": _MAYBE,
            "co2_kg": _MAYBE,
            "plan": {"type": "object"},
            **more,
        },
    )


def _rejected() -> dict[str, Any]:
    return block(
        "A plan that differs from the best in one thing, and why it is not chosen.",
        {
            "key": _TEXT,
            "from": True,
            "to": True,
            "reason": _TEXT,
            "code": {**_TEXT, "description": "empty where it is possible"},
            "step_s": _MAYBE,
        },
    )
