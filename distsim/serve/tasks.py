"""What a worker process does for a request: messages out, one after another.

Each task takes what was asked and a function that sends a message: its event and its data. What a
person should see first is sent first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from distsim.engine import passes
from distsim.prediction.case import Case
from distsim.prediction.jobs import predict_jobs
from distsim.prediction.predict import Prediction, memory, predict
from distsim.program.outline import outline
from distsim.report.html.diff import diff_page, timelines_of
from distsim.report.html.run import jobs_page, makers, run_page
from distsim.report.layout import percent
from distsim.scenario.jobs import Jobs, resolve_jobs
from distsim.scenario.schema import Scenario
from distsim.serve.catalogue import catalogue as everything
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import too_much
from distsim.serve.scenarios import case_of, described, scenario_of, single_of
from distsim.study.diff.changes import differences
from distsim.study.diff.run import Side, diff, work
from distsim.study.interval import interval, traits
from distsim.units import fmt_bytes, fmt_s

Ask = Mapping[str, Any]
Send = Callable[[str, Any], None]
Task = Callable[[Ask, Send], None]
#: Drawing a topology takes longest, so it is sent last.
_ORDER = ("timeline", "memory", "roofline", "accuracy", "network")


def catalogue(_: Ask, send: Send) -> None:
    """Say what can be picked: ``catalogue``."""
    send("catalogue", everything())


def scenario(ask: Ask, send: Send) -> None:
    """Make changes of a scenario: ``scenario`` with its text, its values and its first problem."""
    send("scenario", described(ask))


def result(ask: Ask, send: Send) -> None:
    """Predict: ``result``, as ``distsim run --json`` prints it."""
    found = scenario_of(ask)
    if isinstance(found, Jobs):
        send("result", predict_jobs(found.name, resolve_jobs(found)).to_dict())
    else:
        send("result", _predicted(found)[1].to_dict())


def page(ask: Ask, send: Send) -> None:
    """Predict, bit by bit.

    ``preview`` with the longest path where that is known at once, ``page`` with numbers, facts and
    where the time goes, then each ``section`` with its place (``at``).
    """
    found = scenario_of(ask)
    if isinstance(found, Jobs):
        send("page", jobs_page(predict_jobs(found.name, resolve_jobs(found)), found).to_dict())
        return
    case = case_of(found)
    _preview(case, send)
    prediction = _complete(case, predict(case))
    made = makers(prediction)
    names = list(made)
    drawn = prediction.tasks <= LIMITS.spans
    losses = made["losses"]()
    first = run_page(prediction, [losses] if losses else []).to_dict()
    if not drawn:
        first["warnings"].append(
            f"the timeline has {prediction.tasks:,} spans, and up to {LIMITS.spans:,} are drawn "
            "here; distsim run --html draws it"
        )
    send("page", first)
    for name in _ORDER:
        section = made[name]() if drawn or name != "timeline" else None
        if section is not None:
            send("section", {"at": names.index(name), "section": section})


def _complete(case: Case, prediction: Prediction) -> Prediction:
    return replace(prediction, interval=interval(prediction.step_s, traits(case)))


def _predicted(scenario: Scenario) -> tuple[Case, Prediction]:
    case = case_of(scenario)
    return case, _complete(case, predict(case))


def _preview(case: Case, send: Send) -> None:
    """Send what the longest path says, which takes a tenth of the whole prediction."""
    found = outline(case.inputs)
    if found is None:
        return
    step_s, needs = passes.step_s(found), memory(case)
    send(
        "preview",
        {
            "step_s": step_s,
            "numbers": [
                ["step time", fmt_s(step_s)],
                ["MFU", percent(case.model_flop / step_s / case.peak_flop_per_s)],
                ["memory peak", fmt_bytes(needs.peak_bytes)],
            ],
        },
    )


def compare(ask: Ask, send: Send) -> None:
    """Compare ``a`` and ``b``: ``progress`` while changes are evaluated, then the ``page``."""
    a, b = (single_of({**ask[key], "file": f"{key.upper()}.yaml"}) for key in ("a", "b"))
    keys = len(list(differences(a.to_dict(), b.to_dict())))
    if keys > LIMITS.changed_keys:
        raise too_much(
            f"A and B differ in {keys:,} keys",
            f"up to {LIMITS.changed_keys} changes are told apart here",
            fix="begin B as a copy of A, or use distsim diff",
        )
    first, second = _predicted(a)[1], _predicted(b)[1]
    sides = (
        Side("A", first.to_dict(), a, a.to_dict()),
        Side("B", second.to_dict(), b, b.to_dict()),
    )
    total, done = work(*sides), 0
    send("progress", {"done": done, "total": total})

    def told(_: object) -> None:
        nonlocal done
        done += 1
        send("progress", {"done": done, "total": total})

    difference = diff(sides[0], sides[1], on_result=told)
    drawn = first.tasks + second.tasks <= LIMITS.spans
    timelines = timelines_of(first, second) if drawn else []
    send("page", diff_page(difference, timelines).to_dict())
