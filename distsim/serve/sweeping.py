"""Sweeps in pieces: what varies is spread over the worker processes, combination by combination."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from distsim.errors import DistsimError
from distsim.report.html.sweep import sweep_page
from distsim.scenario.schema import Scenario
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import too_much
from distsim.serve.scenarios import case_of, check_size, data_of, single_of
from distsim.serve.tasks import Ask, Send
from distsim.study.cache import Cache
from distsim.study.digest import Keys
from distsim.study.evaluate import Outcome, evaluate, impossible
from distsim.study.sweep.run import sweep as run
from distsim.study.sweep.space import Space
from distsim.study.sweep.study import space_of


@dataclass(frozen=True, slots=True)
class Known:
    """Hands out outcomes that came from elsewhere, in the order of the scenarios."""

    outcomes: Sequence[Outcome]

    def run(
        self,
        scenarios: Sequence[Scenario],
        on_result: Callable[[int, Outcome], None] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield index and outcome of each scenario; see `Runner`."""
        for index, (_, outcome) in enumerate(zip(scenarios, self.outcomes, strict=True)):
            if on_result is not None:
                on_result(index, outcome)
            yield index, outcome


def opened(ask: Ask, send: Send) -> None:
    """Say how many combinations there are: ``space``, those to ``evaluate`` among them."""
    space, scenarios = _space(_key(ask))
    send("space", {"total": len(space), "evaluate": len(scenarios)})


def points(ask: Ask, send: Send, cache: Cache | None) -> None:
    """Evaluate some combinations: ``outcome`` of each index, as soon as it is known."""
    _, scenarios = _space(_key(ask))
    for index in ask["indices"]:
        outcome, known = _outcome(scenarios[index], cache)
        send("outcome", {"index": index, "known": known, "outcome": outcome.to_dict()})


def closed(ask: Ask, send: Send) -> None:
    """Put the outcomes of all combinations together: ``page``, as ``distsim sweep --html``."""
    space, _ = _space(_key(ask))
    found = [Outcome.from_dict(values) for values in ask["outcomes"]]
    send("page", sweep_page(run(space, Known(_distinct(space, found)))).to_dict())


def _distinct(space: Space, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of the scenarios that `run` asks for: of equal ones, the first."""
    keys, seen = Keys(), dict[str, Outcome]()
    possible = [p.scenario for p in space.points() if p.scenario is not None]
    for scenario, outcome in zip(possible, outcomes, strict=True):
        seen.setdefault(keys(scenario), outcome)
    return list(seen.values())


def _key(ask: Ask) -> str:
    """Return what a space depends on: most requests are about one and the same."""
    names = ("scenario", "set", "base", "devices", "vary", "along", "weak")
    return json.dumps({name: ask.get(name) for name in names})


@lru_cache(maxsize=2)
def _space(key: str) -> tuple[Space, list[Scenario]]:
    """Return the space of a sweep, and the combinations that are scenarios.

    Raises
    ------
    DistsimError
        For what is wrong with the scenario itself, or with what varies.
    Refused
        DS728 for too many combinations.
    """
    ask: Mapping[str, Any] = json.loads(key)
    data, positions = data_of(ask)
    if "jobs" in data:
        single_of(ask)  # says so
    space = space_of(
        data,
        devices=ask["devices"] or None,
        set_=ask["vary"] or (),
        along=ask["along"] or (),
        weak=bool(ask["weak"]),
        max_points=10**12,
    )
    if len(space) > LIMITS.points:
        raise too_much(
            f"{len(space):,} combinations",
            f"at most {LIMITS.points:,} here",
            fix="give fewer values, or use distsim sweep",
        )
    space = Space(space.data, positions, space.axes, space.along, space.weak)
    found = [p.scenario for p in space.points() if p.scenario is not None]
    return space, found


def _outcome(scenario: Scenario, cache: Cache | None) -> tuple[Outcome, bool]:
    """Return the outcome of a scenario, and whether it was known."""
    key = Keys()(scenario) if cache is not None else ""
    known = cache.get(key) if cache is not None else None
    if known is not None:
        return known, True
    try:
        check_size(scenario)
        case_of(scenario)
    except DistsimError as error:
        return impossible(scenario.cluster.devices, error), False
    outcome = evaluate(scenario)
    if cache is not None:
        cache.put(key, outcome)
    return outcome, False
