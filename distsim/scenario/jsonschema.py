"""The JSON Schema of scenario files, for editors and other tools."""

from __future__ import annotations

from typing import Any

from distsim.scenario.jobs import Jobs
from distsim.scenario.schema import Scenario


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file: of one job, or of several."""
    one = Scenario.model_json_schema(by_alias=True, mode="validation")
    several = Jobs.model_json_schema(by_alias=True, mode="validation")
    parts = {**several.pop("$defs"), **one.pop("$defs")}
    # What a job says of its model, batch and plan is what a scenario says of them.
    job = parts["Job"]["properties"]
    job |= {key: one["properties"][key] for key in job if key in one["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distsim scenario",
        "anyOf": [{"$ref": "#/$defs/Scenario"}, {"$ref": "#/$defs/Jobs"}],
        "$defs": {**parts, "Scenario": one, "Jobs": several},
    }
