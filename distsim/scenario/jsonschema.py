"""The JSON Schema of scenario files, for editors and other tools."""

from __future__ import annotations

from typing import Any

from distsim.scenario.schema import Scenario


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file."""
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = "distsim scenario"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
