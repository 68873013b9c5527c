"""What each change between two scenarios did to the step.

Changes are applied one by one: each alone on the first scenario, and one after another from the
first to the second. The steps of the way from one to the other sum to the whole difference; what a
change does there depends on those before it, which is why both are shown. States on the way that
are not possible (half of two degrees that only multiply out together) are passed over, together
with the next change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distsim.errors import DistsimError, Place, UsageError, ValueProblem
from distsim.files import read_text
from distsim.positions import Positions
from distsim.prediction.predict import predict
from distsim.scenario.load import build, load
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.calibration.readers.base import see_from_here
from distsim.study.diff.changes import Change, applied, differences
from distsim.study.evaluate import Outcome, evaluate, impossible

#: Changes beyond which the two have too little in common to be told apart one by one.
MOST_CHANGES = 100
#: What a result has at least.
_NEEDED = ("scenario", "step_s", "mfu", "breakdown", "memory", "plan", "resolved")
_INPUTS = ("model", "devices", "plan", "resolved")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: a scenario with its prediction, or a stored result.

    Attributes
    ----------
    name : str
        As it was given.
    result : dict
        As ``distsim run --json`` prints it.
    scenario : Scenario or None
        None for a stored result.
    data : dict
        What is compared: the scenario's values, or the plan and names of a result.
    """

    name: str
    result: Mapping[str, Any]
    scenario: Scenario | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Changes made together on the way from the first scenario to the second.

    Attributes
    ----------
    outcome : Outcome
        With these changes and all before them.
    delta_s : float
        What they add to the step.
    """

    changes: tuple[Change, ...]
    outcome: Outcome
    delta_s: float


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two sides.

    Attributes
    ----------
    alone : tuple of Outcome
        Each change alone on the first scenario; empty for stored results.
    steps : tuple of Step
        From the first to the second; empty for stored results.
    """

    a: Side
    b: Side
    changes: tuple[Change, ...]
    alone: tuple[Outcome, ...] = ()
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        base_s = self.a.result["step_s"]
        changes = []
        for n, change in enumerate(self.changes):
            alone = _alone(self.alone[n], base_s) if self.alone else None
            changes.append(change.to_dict() | {"alone": alone})
        return {
            "a": _side(self.a),
            "b": _side(self.b),
            "delta_s": self.b.result["step_s"] - base_s,
            "changes": changes,
            "sequence": [
                {
                    "keys": [change.key for change in step.changes],
                    "delta_s": step.delta_s,
                    **_numbers(step.outcome),
                }
                for step in self.steps
            ],
            "breakdown": [
                {"part": name.removesuffix("_s"), "a_s": a, "b_s": b, "delta_s": b - a}
                for name, a, b in self.parts()
            ],
        }

    def parts(self) -> list[tuple[str, float, float]]:
        """Return name and seconds of each part of the step on both sides."""
        a, b = self.a.result["breakdown"], self.b.result["breakdown"]
        names = [*a, *(name for name in b if name not in a)]
        return [(name, float(a.get(name, 0.0)), float(b.get(name, 0.0))) for name in names]


def _side(side: Side) -> dict[str, Any]:
    result, memory = side.result, side.result["memory"]
    return {
        "name": side.name,
        "scenario": result["scenario"],
        "kind": "result" if side.scenario is None else "scenario",
        "step_s": result["step_s"],
        "tokens_per_s": result.get("tokens_per_s"),
        "mfu": result["mfu"],
        "peak_bytes": memory["peak_bytes"],
        "capacity_bytes": memory["capacity_bytes"],
        "fits": memory["fits"],
    }


def _numbers(outcome: Outcome) -> dict[str, Any]:
    return {
        "step_s": outcome.step_s,
        "tokens_per_s": outcome.tokens_per_s,
        "mfu": outcome.mfu,
        "peak_bytes": outcome.peak_bytes,
        "fits": outcome.fits,
        "breakdown": dict(outcome.breakdown),
    }


def _alone(outcome: Outcome, base_s: float) -> dict[str, Any]:
    if not outcome.possible:
        return {"possible": False, "code": outcome.code, "message": outcome.message}
    return {"possible": True, "delta_s": outcome.step_s - base_s, **_numbers(outcome)}


def side(source: str, overrides: Sequence[str] = ()) -> Side:
    """Return one side from the name or file of a scenario, or the file of a result.

    Raises
    ------
    DistsimError
        As `distsim.scenario.load.load`, and where the scenario is not possible.
    ValueProblem
        DS724 for a JSON file that is no result of one job.
    UsageError
        DS725 for changes of a stored result.
    """
    if source.endswith(".json"):
        result = _stored(source)
        if overrides:
            raise UsageError(
                "DS725",
                f"{source} is a stored result, which --set cannot change",
                value=source,
                rule="--set changes scenarios",
                fix="give the scenario that it is of",
            )
        data = {key: result[key] for key in _INPUTS if key in result}
        return Side(source, result, None, data)
    scenario = load(source, overrides)
    data = scenario.to_dict()
    see_from_here(data, scenario.positions.directory)
    prediction = predict(resolve(scenario))
    return Side(source, prediction.to_dict(), scenario, data)


def _stored(path: str) -> dict[str, Any]:
    text = read_text(path)
    why = ""
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why, found = f"it is not JSON: {str(error)[:100]}", None
    if not why and (not isinstance(found, dict) or "jobs" in found):
        why = "it holds several jobs" if isinstance(found, dict) else "it holds no mapping"
    if not why:
        missing = [key for key in _NEEDED if key not in found]
        why = f"it has no {', '.join(missing)}" if missing else _wrong(found)
    if why:
        raise ValueProblem(
            "DS724",
            f"{os.path.basename(path)} is no result of distsim run: {why}",
            value=path,
            rule="what distsim run --json prints, or -o writes, for one job",
            fix="write it again with distsim run SCENARIO -o FILE",
            place=Place(path),
        )
    return dict(found)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _wrong(found: Mapping[str, Any]) -> str:
    """Say what is of a wrong type; nothing if all is well."""
    memory, parts = found["memory"], found["breakdown"]
    wanted = ("peak_bytes", "capacity_bytes")
    if not isinstance(memory, dict) or not all(_is_number(memory.get(key)) for key in wanted):
        return "memory has no peak_bytes and capacity_bytes"
    if not isinstance(memory.get("fits"), bool):
        return "memory.fits is neither true nor false"
    if not isinstance(parts, dict) or not all(map(_is_number, parts.values())):
        return "breakdown has no seconds by part"
    for key in ("step_s", "mfu"):
        if not _is_number(found[key]) or found[key] <= 0:
            return f"{key} is no number above 0"
    rate = found.get("tokens_per_s")
    if rate is not None and not _is_number(rate):
        return "tokens_per_s is no number"
    return "" if isinstance(found["scenario"], str) else "scenario is no name"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def diff(a: Side, b: Side, on_result: Callable[[Any], None] | None = None) -> Diff:
    """Compare two sides, and apply the changes between two scenarios one by one.

    Parameters
    ----------
    on_result : callable, optional
        Called after each of the `work` evaluations.

    Raises
    ------
    UsageError
        DS725 for more than `MOST_CHANGES` changes.
    """
    changes = tuple(differences(a.data, b.data))
    if a.scenario is None or b.scenario is None:
        if (a.scenario is None) != (b.scenario is None):
            changes = tuple(differences(_inputs(a), _inputs(b)))
        return Diff(a, b, changes)
    if len(changes) > MOST_CHANGES:
        raise UsageError(
            "DS725",
            f"{a.name} and {b.name} differ in {len(changes)} keys",
            value=len(changes),
            rule=f"up to {MOST_CHANGES} changes are told apart",
            fix="compare their results: distsim run SCENARIO -o FILE.json, then distsim diff",
        )

    def outcome(made: Sequence[Change]) -> Outcome:
        found = _evaluated(a, made)
        if on_result is not None:
            on_result(found)
        return found

    alone = tuple(outcome([change]) for change in changes)
    return Diff(a, b, changes, alone, tuple(_way(a, changes, alone, outcome)))


def work(a: Side, b: Side) -> int:
    """Return how many evaluations `diff` makes."""
    if a.scenario is None or b.scenario is None:
        return 0
    count = sum(1 for _ in differences(a.data, b.data))
    return max(0, 2 * count - 1)


def _inputs(of: Side) -> dict[str, Any]:
    return {key: of.result[key] for key in _INPUTS if key in of.result}


def _way(
    a: Side,
    changes: Sequence[Change],
    alone: Sequence[Outcome],
    outcome: Callable[[Sequence[Change]], Outcome],
) -> list[Step]:
    """Make the changes one after another; those that are only possible together, together."""
    out: list[Step] = []
    last_s, begun = float(a.result["step_s"]), 0
    for n in range(len(changes)):
        found = alone[0] if n == 0 else outcome(changes[: n + 1])
        if found.possible:
            out.append(Step(tuple(changes[begun : n + 1]), found, found.step_s - last_s))
            last_s, begun = found.step_s, n + 1
    return out


def _evaluated(a: Side, made: Sequence[Change]) -> Outcome:
    try:
        scenario = build(applied(a.data, made), Positions())
    except DistsimError as error:
        return impossible(int(a.result["devices"]), error)
    return evaluate(scenario)
