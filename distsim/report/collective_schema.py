"""The JSON Schema of what ``distsim collective --json`` prints."""

from __future__ import annotations

from typing import Any

from distsim.report.schema import block

_BYTES = {"type": "number", "minimum": 0, "description": "bytes"}
_SECONDS = {"type": "number", "minimum": 0, "description": "seconds"}
_RATE = {"type": "number", "minimum": 0}
_NAME = {"type": "string"}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_AT_LEAST_ONE = {"type": "integer", "minimum": 1}


def collective_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a timed collective."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distsim collective",
        **block(
            "A collective by size, as nccl-tests measures it. SI units.",
            {
                "collective": _NAME,
                "topology": _NAME,
                "library": {**_NAME, "description": "communication library"},
                "devices": _AT_LEAST_ONE,
                "nodes": {**_AT_LEAST_ONE, "description": "on which they are"},
                "detail": {"enum": ["fluid", "steps"]},
                "rows": {"type": "array", "minItems": 1, "items": _row()},
                "messages": {**_COUNT, "description": "simulated for the last size; 0 for fluid"},
                "collisions": {"type": "array", "items": _collisions()},
                "shares": _or_null(_shares()),
                "comparison": _or_null(_comparison()),
            },
        ),
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _row() -> dict[str, Any]:
    return block(
        "One size.",
        {
            "size_bytes": {
                **_BYTES,
                "description": "bytes, of the whole array as nccl-tests counts",
            },
            "time_s": _SECONDS,
            "algbw_bytes_per_s": {**_RATE, "description": "size over time"},
            "busbw_bytes_per_s": {**_RATE, "description": "as nccl-tests defines it"},
            "algorithm": _NAME,
            "protocol": _NAME,
            "bottleneck": {**_NAME, "description": "name of the busiest link; empty for none"},
        },
    )


def _collisions() -> dict[str, Any]:
    load = {"type": "number", "minimum": 0, "description": "bytes over the size"}
    return block(
        "The links between two tiers of a tree with hashed paths, in one direction.",
        {
            "tier": {**_NAME, "description": "class of the links"},
            "up": {"type": "boolean"},
            "parallel": {**_AT_LEAST_ONE, "description": "links of a bundle"},
            "total": {**load, "description": "bytes over the size, on all of them"},
            "most": load,
            "mean": load,
            "even": {**load, "description": "on the fullest if each bundle were loaded evenly"},
            "link": {**_COUNT, "description": "number of the fullest"},
            "name": _NAME,
            "ratio": {**_RATE, "description": "most over even"},
        },
    )


def _shares() -> dict[str, Any]:
    ratio = {"type": "number", "minimum": 1 - 1e-9, "description": "most over mean"}
    return block(
        "Unequal shares of an all-to-all.",
        {
            "label": {**_NAME, "description": "a file, or a skew and its seed"},
            "slowest_member": {**_COUNT, "description": "that sends or receives the most"},
            "slowest_device": _NAME,
            "side": {"enum": ["sends", "receives"]},
            "imbalance": {**ratio, "description": "what that is, over the mean"},
            "sent_imbalance": ratio,
            "received_imbalance": ratio,
        },
    )


def _comparison() -> dict[str, Any]:
    row = block(
        "One measured size.",
        {
            "size_bytes": _BYTES,
            "measured_s": _SECONDS,
            "predicted_s": _SECONDS,
            "error_percent": {**_NUMBER, "description": "signed, of the measurement"},
        },
    )
    summary = block(
        "Absolute errors of the sizes from one on, percent.",
        {
            "from_bytes": _BYTES,
            "sizes": _AT_LEAST_ONE,
            "median_percent": _RATE,
            "p90_percent": {**_RATE, "description": "90th percentile"},
            "worst_percent": {**_NUMBER, "description": "the largest one, with its sign"},
            "worst_bytes": _BYTES,
        },
    )
    return block(
        "Predictions beside measurements.",
        {
            "file": _NAME,
            "in_place": {"type": "boolean"},
            "rows": {"type": "array", "minItems": 1, "items": row},
            "summaries": {"type": "array", "minItems": 1, "items": summary},
            "notes": {"type": "array", "items": _NAME},
        },
    )
