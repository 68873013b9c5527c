"""What tests of HTML reports share: pages of every kind, and a reader of what is inside a page."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import distsim as ds
from distsim.report.html.goodput import goodput_html
from distsim.report.html.plan import plan_html
from distsim.report.html.run import jobs_html, run_html
from distsim.report.html.sweep import sweep_html
from distsim.report.html.validate import validate_html
from distsim.study.evaluate import evaluate
from distsim.study.plan.meter import Totals
from distsim.study.plan.result import Choice, Planned, Rejected
from distsim.study.pool import Serial
from distsim.study.sweep.study import space_of, sweep_of
from distsim.study.validate import validate
from tests.sweeping import SMALL

#: A name that tries to be markup, script, style, a comment and an entity.
HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>"
    "</style><!-- \"quoted' &amp; \\u003c `tick` ${1} \N{SMILING FACE WITH SUNGLASSES}"
    "\N{LINE SEPARATOR}\N{RIGHT-TO-LEFT OVERRIDE}end"
)


def small(name: str = "small", **changes: Any) -> ds.Scenario:
    """Return a scenario that is predicted in milliseconds, with a pipeline of two stages."""
    plan = {"tp": 2, "pp": 2, "schedule": "1f1b", "zero_stage": 1, **changes}
    return ds.load({**SMALL, "name": name, "plan": plan})


def planned(name: str = "small") -> Planned:
    """Return what a search might have found: three sizes on a front and one plan off it."""
    choices = []
    for devices, tp in ((8, 2), (16, 2), (32, 2), (16, 4)):
        scenario = ds.load(
            {**SMALL, "name": name, "cluster": SMALL["cluster"] | {"devices": devices}},
            [f"plan.tp={tp}"],
        )
        outcome = evaluate(scenario)
        time_s = 4e5 * outcome.step_s / 0.01 * 10
        money = devices * time_s * 2.0 / 3600 * (1.0 if tp == 2 else 1.4)
        total = Totals(time_s, money, devices * 400.0 * time_s, devices * 0.1 * time_s / 3600)
        choices.append(Choice(scenario, outcome, total))
    front, off = choices[:3], choices[3]
    return Planned(
        scenario=name,
        model="small",
        device="a100-80gb-sxm",
        parameters=10**7,
        objective="cost",
        tokens=3e12,
        steps=10**6,
        deadline_s=1.5 * max(c.total.time_s for c in front),
        budget=float("inf"),
        currency="USD",
        prices="list",
        pricing="on-demand",
        top=(front[0], off),
        pareto=(replace(front[0]), *front[1:]),  # equal plans, not the same objects
        rejected=(Rejected("plan.tp", 2, 4, "0.5 s a step more", "", 1.5),),
        searched={
            "candidates": 100,
            "does_not_fit": 10,
            "bounded": 90,
            "pruned": 60,
            "evaluated": 30,
        },
        space={},
        notes=("a note",),
    )


@cache
def text_of(kind: str) -> str:
    """Return a page of a kind."""
    return "".join(_PAGES[kind]())


def _run(scenario: ds.Scenario) -> Any:
    return run_html(ds.simulate(scenario), scenario)


def _sweep() -> Any:
    space = space_of(SMALL, devices="8,16,32", set_=["plan.tp=2,4,16", "batch.micro_size=1,2"])
    return sweep_html(sweep_of(space, runner=Serial()))


def _flat_sweep() -> Any:
    space = space_of(SMALL, set_=["plan.zero_stage=0,1,2,3", "batch.micro_size=1,2,3"])
    return sweep_html(sweep_of(space, runner=Serial()))


def _goodput() -> Any:
    scenario = ds.load("llama2-70b-256xh100-checkpoints")
    found = ds.goodput(scenario, tokens="300B", runs=300, start="2027-01-31")
    return goodput_html(found, scenario)


def _jobs() -> Any:
    jobs = ds.load_jobs("two-jobs-128xa100")
    return jobs_html(ds.simulate_jobs(jobs), jobs)


_PAGES = {
    "run": lambda: _run(ds.load("gpt3-175b-1024xa100")),
    "experts": lambda: _run(ds.load("deepseek-moe-16b-64xh100-dualpipe")),
    "ring": lambda: _run(ds.load("llama3-8b-64xh100-ring-131072")),
    "torus": lambda: _run(ds.load("llama2-7b-64xtpu-v4-adafactor")),
    "images": lambda: _run(ds.load("resnet-50-8xa100")),
    "small": lambda: _run(small()),
    "too-large": lambda: _run(ds.load("gpt2-xl-8xa100", ["batch.micro_size=64"])),
    "hostile": lambda: _run(small(HOSTILE)),
    "jobs": _jobs,
    "sweep": _sweep,
    "flat-sweep": _flat_sweep,
    "plan": lambda: plan_html(planned()),
    "hostile-plan": lambda: plan_html(planned(HOSTILE)),
    "goodput": _goodput,
    "validate": lambda: validate_html(validate("korthikanti-2022").to_dict()),
    "validate-memory": lambda: validate_html(validate("torchtitan-2024-memory").to_dict()),
}
KINDS = tuple(_PAGES)


class Reader(HTMLParser):
    """Reads a page as a browser does.

    Attributes
    ----------
    elements : list of (str, dict)
        Tags with their attributes.
    texts : dict of str to list of str
        Text inside scripts, styles and titles.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag in ("script", "style", "title"):
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data

    @property
    def data(self) -> dict[str, Any]:
        """What the page shows."""
        found: dict[str, Any] = json.loads(self.texts["script"][0])
        return found


def section(text: str, name: str) -> dict[str, Any]:
    """Return a section of a page by its anchor."""
    found: dict[str, Any] = next(s for s in Reader(text).data["sections"] if s["id"] == name)
    return found
