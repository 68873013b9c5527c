"""Scenarios as they come over HTTP: read, changed, and held to what a server does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distsim import files
from distsim.errors import DistsimError
from distsim.positions import Positions
from distsim.prediction.case import Case
from distsim.scenario.jobs import Jobs, build_any
from distsim.scenario.load import build
from distsim.scenario.overrides import apply
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.serve.edit import edited
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import error_dict, too_much

_YAML = files.Limits(LIMITS.body_bytes, files.LIMITS.depth, LIMITS.yaml_nodes)
_ELSEWHERE = "ask for less, or use distsim run, which has no such limit"


def data_of(given: Mapping[str, Any]) -> tuple[dict[str, Any], Positions]:
    """Return the content of a scenario and where its values stand.

    Parameters
    ----------
    given : mapping
        ``scenario``, a YAML text; ``set``, changes as of ``--set``; ``base``, the name of the
        shipped scenario that it began as, beside which files that it names are looked for;
        ``file``, its name in messages.

    Raises
    ------
    DistsimError
        As the command line.
    """
    name = given.get("file") or "scenario.yaml"
    data, positions = files.read_yaml(given["scenario"], name, _YAML)
    if given.get("base"):
        positions.directory = str(files.find_shipped("scenarios", given["base"]).parent)
    if given.get("set"):
        data = apply(data, given["set"], positions)
    return data, positions


def scenario_of(given: Mapping[str, Any]) -> Scenario | Jobs:
    """Return a scenario of one job or of several that the server would evaluate."""
    found = build_any(*data_of(given))
    for one in found.scenarios if isinstance(found, Jobs) else (found,):
        check_size(one)
    return found


def single_of(given: Mapping[str, Any]) -> Scenario:
    """Return a scenario of one job that the server would evaluate."""
    found = build(*data_of(given))
    check_size(found)
    return found


def check_size(scenario: Scenario) -> None:
    """Refuse what is too large to be resolved.

    Raises
    ------
    Refused
        DS728.
    """
    cluster, most = scenario.cluster, LIMITS.devices
    devices = max(cluster.devices, cluster.of or 0)
    if devices > most:
        raise too_much(f"{devices:,} devices", f"at most {most:,} here", fix=_ELSEWHERE)
    samples = scenario.noise.samples if scenario.noise else 0
    if samples > LIMITS.samples:
        rule = f"at most {LIMITS.samples:,} samples of noise here"
        raise too_much(f"{samples:,} samples", rule, fix=_ELSEWHERE)


def case_of(scenario: Scenario) -> Case:
    """Return a resolved scenario whose evaluation is no more work than the server does.

    Raises
    ------
    Refused
        DS728.
    """
    case = resolve(scenario)
    plan = case.inputs.plan
    passes = plan.microbatches * plan.pp * plan.chunks
    if passes > LIMITS.passes:
        raise too_much(
            f"{plan.microbatches:,} micro batches through {plan.pp * plan.chunks:,} model chunks "
            f"are {passes:,} passes",
            f"at most {LIMITS.passes:,} here",
            fix=_ELSEWHERE,
        )
    return case


def described(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scenario with its changes made, as text and as values.

    Returns
    -------
    dict
        ``scenario``: the text, which keeps its comments; ``values``: all values, with the defaults
        where it is valid; ``error``: why it is not, or None.

    Raises
    ------
    DistsimError
        For a text that is no YAML, and changes that cannot be made.
    """
    data, positions = data_of(given)
    text = _changed(given["scenario"], given.get("set") or (), data)
    values, error = data, None
    try:
        found = build_any(data, positions)
        values = found.to_dict()
        if isinstance(found, Scenario):
            values["plan"]["dp"] = case_of(found).inputs.plan.dp
    except DistsimError as problem:
        error = error_dict(problem)
    return {"scenario": text, "values": values, "error": error}


def _changed(text: str, changes: Sequence[str], data: Mapping[str, Any]) -> str:
    """Return a text with changes made in their places, or written anew where that cannot be."""
    found: str | None = text
    for change in changes:
        found = None if found is None else edited(found, change)
    if found is not None and _same(found, data):
        return found
    import yaml

    return str(yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=100))


def _same(text: str, data: Mapping[str, Any]) -> bool:
    try:
        return files.read_yaml(text, "", _YAML)[0] == data
    except DistsimError:
        return False
