"""The JSON Schema of what ``distsim run --json`` prints."""

from __future__ import annotations

from typing import Any

_SECONDS = {"type": "number", "minimum": 0, "description": "seconds"}
_BYTES = {"type": "number", "minimum": 0, "description": "bytes on one device"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT = {"type": "integer", "minimum": 0}
_RATE = {"type": "number", "exclusiveMinimum": 0}
_TEXTS = {"type": "array", "items": {"type": "string"}}

_PARTS = (
    "compute",
    "tensor",
    "pipeline",
    "data",
    "context",
    "expert",
    "bubble",
    "optimizer",
    "offload",
    "host",
)
_MEMORY = ("weights", "gradients", "optimizer", "activations", "buffers", "peak")
_DEGREES = ("devices", "dp", "tp", "pp", "cp", "micro_size", "microbatches", "virtual_stages")


def block(description: str, properties: dict[str, Any], *, closed: bool = True) -> dict[str, Any]:
    """Return the schema of an object all of whose properties are there.

    Parameters
    ----------
    closed : bool
        False where later versions may add more.
    """
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": not closed,
    }


def prediction_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a prediction: of one job, or of several.

    The plan and the resolved names are open: later versions add keys there.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distsim prediction",
        "anyOf": [{"$ref": "#/$defs/prediction"}, {"$ref": "#/$defs/jobs"}],
        "$defs": {"prediction": _prediction(), "jobs": _jobs()},
    }


def _jobs() -> dict[str, Any]:
    job = block(
        "One job among others.",
        {
            "name": {"type": "string"},
            "placement": {"type": "string"},
            "devices": _COUNT,
            "nodes": _COUNT,
            "step_s": {**_RATE, "description": "mean over steps during which all jobs run"},
            "alone_s": {**_RATE, "description": "with the fabric to itself"},
            "slowdown": {**_RATE, "description": "step_s / alone_s"},
            "steps": {**_COUNT, "description": "over which step_s is the mean"},
            "prediction": {"$ref": "#/$defs/prediction"},
        },
    )
    return block(
        "Jobs that share a fabric.",
        {
            "scenario": {"type": "string", "description": "name of the scenario"},
            "topology": {"type": "string"},
            "devices": _COUNT,
            "jobs": {"type": "array", "minItems": 1, "items": job},
            "links": {**_links(), "description": "In the longest step of a job."},
            "events": _COUNT,
        },
    )


def _or_null(description: str) -> dict[str, Any]:
    return {"type": ["object", "null"], "description": description}


def _prediction() -> dict[str, Any]:
    at_least_one = {"type": "integer", "minimum": 1}
    return block(
        "What one optimizer step takes, where its time goes, and whether it fits. SI units.",
        {
            "scenario": {"type": "string", "description": "name of the scenario"},
            "model": {"type": "string"},
            "parameters": {**_COUNT, "description": "parameters of the whole model"},
            "evaluator": {"enum": ["graph", "event"], "description": "the one that was used"},
            "devices": at_least_one,
            "plan": block(
                "The parallel plan, derived values included.",
                dict.fromkeys(_DEGREES, at_least_one)
                | {"schedule": {"type": "string"}, "zero_stage": {"enum": [0, 1, 2, 3]}},
                closed=False,
            ),
            "resolved": {
                "type": "object",
                "description": "names and sizes that the scenario stands for",
            },
            "step_s": {**_RATE, "description": "seconds of one optimizer step"},
            "tokens_per_s": {**_RATE, "description": "over all devices"},
            "tokens_per_s_per_device": _RATE,
            "model_flop_per_s_per_device": {**_RATE, "description": "without recomputation"},
            "mfu": {**_SHARE, "description": "model FLOP over the dense peak"},
            "hfu": {**_SHARE, "description": "model and recomputed FLOP over the dense peak"},
            "breakdown": block(
                "Parts of the step, mean over devices; they sum to step_s.",
                {f"{part}_s": _SECONDS for part in _PARTS},
            ),
            "memory": _memory(),
            "links": _links(),
            "bounds": block(
                "lower_s <= step_s <= upper_s", {"lower_s": _SECONDS, "upper_s": _SECONDS}
            ),
            "bottleneck": {"type": "string", "description": "one sentence"},
            "warnings": _TEXTS,
            "events": {**_COUNT, "description": "events of the engine; 0 for graph"},
            "tasks": {**_COUNT, "description": "tasks that were simulated"},
            "classes": {**at_least_one, "description": "classes of ranks that do the same"},
            "overheads": _or_null("loading, checkpoints and evaluation; null where none is stated"),
            "interval": _or_null(
                "between what times the step lies, by the errors of validated runs that are near; "
                "null in jobs"
            ),
            "distribution": _or_null("step times with random variation; null without noise"),
        },
    )


def _links() -> dict[str, Any]:
    of_class = block(
        "Links of one class.",
        {
            "name": {"type": "string"},
            "links": _COUNT,
            "bytes": {
                "type": "number",
                "minimum": 0,
                "description": "of tensors, over all of them",
            },
            "mean_utilisation": {**_SHARE, "description": "of the stated bandwidth"},
            "max_utilisation": _SHARE,
            "busiest": {"type": "string", "description": "name of a link; empty for none"},
        },
    )
    link = block(
        "One link.",
        {"link": {"type": "string"}, "class": {"type": "string"}, "utilisation": _SHARE},
    )
    return block(
        "What the links carry in a step.",
        {
            "classes": {"type": "array", "items": of_class},
            "busiest": {"type": "array", "items": link},
        },
    )


def _memory() -> dict[str, Any]:
    stage = block(
        "One pipeline stage.",
        {f"{part}_bytes": _BYTES for part in _MEMORY}
        | {
            "fragmentation_reserve_bytes": {
                **_BYTES,
                "description": "what the caching allocator may hold beyond the peak",
            },
            "peak_s": {**_SECONDS, "description": "when memory is fullest, first instant"},
            "holds": {"type": "string", "description": "what is there for a while and then is"},
        },
    )
    return block(
        "Memory of a device of every pipeline stage.",
        {
            "peak_bytes": {**_BYTES, "description": "bytes on a device of the fullest stage"},
            "capacity_bytes": {**_BYTES, "description": "bytes that a device has"},
            "fits": {"type": "boolean"},
            "stages": {"type": "array", "minItems": 1, "items": stage},
            "advice": {**_TEXTS, "description": "what is over and what would make it fit"},
        },
    )
