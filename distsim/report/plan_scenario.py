"""A plan as a scenario file that runs."""

from __future__ import annotations

import os
from typing import Any

from distsim.scenario.schema import Scenario
from distsim.study.plan.result import Planned

#: Keys of ``cluster`` that may be paths beside the scenario's own file.
_PATHS = ("topology", "library", "profile", "host", "device")


def scenario_yaml(scenario: Scenario, planned: Planned | None = None) -> str:
    """Return a scenario as YAML, with a few words about where it comes from.

    Values that are the defaults are left out. Files that stand beside the original scenario are
    named by their whole path, so that the new file may be anywhere.
    """
    import yaml

    values: dict[str, Any] = scenario.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    values = {"schema": scenario.schema_version} | values
    for key in _PATHS:
        given = values["cluster"].get(key)
        if isinstance(given, str):
            values["cluster"][key] = _absolute(scenario, given)
    if isinstance(values["model"], str):
        values["model"] = _absolute(scenario, values["model"])
    body = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    return (_about(planned) if planned else "") + body


def _absolute(scenario: Scenario, name: str) -> str:
    near = scenario.beside(name)
    return os.path.abspath(near) if near != name or os.path.exists(near) else name


def _about(planned: Planned) -> str:
    best = planned.best
    days = best.total.time_s / 86400
    return (
        f"# distsim plan: the best by {planned.objective} of {planned.searched['candidates']:,} "
        f"plans.\n# {planned.tokens / 1e12:.4g}T tokens take {days:.4g} d on {best.devices:,} "
        f"devices, {best.outcome.step_s:.4g} s a step.\n"
    )
