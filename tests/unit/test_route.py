"""The order of passes of a route: valid, and the same for each stage however it was found."""

from __future__ import annotations

import pytest

from distsim.api import load
from distsim.engine import passes
from distsim.program import route
from distsim.program.outline import outline
from distsim.scenario.resolve import resolve
from distsim.store import Store

#: Schedule, stages, virtual stages, micro batches of a replica; whether passes run in step.
CASES = [
    ("1f1b", 1, 1, 3, True),
    ("1f1b", 2, 1, 1, True),
    ("1f1b", 4, 1, 4, True),
    ("1f1b", 6, 1, 13, True),
    ("gpipe", 4, 1, 9, True),
    ("interleaved", 4, 2, 8, True),
    ("interleaved", 6, 4, 12, True),
    ("interleaved", 3, 8, 30, True),
    ("breadth-first", 4, 3, 8, None),
    ("zb-h1", 4, 1, 9, None),
    ("zb-h2", 4, 1, 11, None),
    ("zb-v", 4, 2, 9, None),
    ("naive", 4, 1, 3, None),
]


def _inputs(schedule: str, pp: int, v: int, micros: int):
    scenario = load("gpt3-175b-1024xa100").with_(
        cluster={"devices": 8 * pp},
        batch={"global_size": micros, "micro_size": 1},
        plan={"tp": 8, "pp": pp, "virtual_stages": v, "schedule": schedule},
    )
    return resolve(scenario).inputs


def _walk(monkeypatch, inputs, by_steps: bool):
    """Return the route and the step time; without what is remembered of other routes."""
    monkeypatch.setattr(route, "_ROUTES", Store(1 << 20))
    used = []
    found = route._in_step

    def in_step(*args):
        out = found(*args) if by_steps else None
        used.append(out is not None)
        return out

    monkeypatch.setattr(route, "_in_step", in_step)
    made = outline(inputs)
    monkeypatch.undo()
    assert made is not None, "no outline"
    return made.route, passes.step_s(made), used


@pytest.mark.parametrize(("schedule", "pp", "v", "micros", "in_step"), CASES)
def test_passes_come_after_what_they_wait_for(monkeypatch, schedule, pp, v, micros, in_step):
    inputs = _inputs(schedule, pp, v, micros)
    quick, quick_s, used = _walk(monkeypatch, inputs, by_steps=True)
    slow, slow_s, not_used = _walk(monkeypatch, inputs, by_steps=False)
    assert in_step is None or all(used) == in_step
    assert not any(not_used)
    for made in (quick, slow):
        filled = set()
        for _, _, slot, _, _, into in made.passes():
            assert slot == made.slots or slot in filled, "a pass before what it waits for"
            filled.add(into)
    own = [
        [[p for p in made.passes() if p[0] == stage] for stage in range(pp)]
        for made in (quick, slow)
    ]
    assert own[0] == own[1], "stages that do not keep to their order"
    assert quick_s == slow_s
