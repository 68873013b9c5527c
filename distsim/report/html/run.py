"""The page of `distsim run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from distsim.prediction.jobs import JobsPrediction
from distsim.prediction.predict import Prediction
from distsim.report.described import facts, unit_of
from distsim.report.html.accuracy import accuracy_section
from distsim.report.html.charts import code, column, table
from distsim.report.html.losses import losses_section
from distsim.report.html.memory import memory_section
from distsim.report.html.network import network_section
from distsim.report.html.page import Number, Page, Section, html
from distsim.report.html.roofline import roofline_section
from distsim.report.html.spans import timeline_section
from distsim.report.layout import percent
from distsim.report.plan_scenario import scenario_yaml
from distsim.units import fmt_bytes, fmt_count, fmt_flop_per_s, fmt_s

if TYPE_CHECKING:
    from distsim.scenario.jobs import Jobs
    from distsim.scenario.schema import Scenario

_EVALUATORS = {"graph": "longest path, exact for this plan", "event": "discrete events"}


def run_html(prediction: Prediction, scenario: Scenario) -> Iterator[str]:
    """Yield the page of a prediction in pieces.

    Parameters
    ----------
    scenario : Scenario
        What was predicted; the page shows it as YAML.
    """
    named = scenario_section(scenario)
    yield from html(run_page(prediction, [*sections(prediction), named]))


def run_page(prediction: Prediction, found: Sequence[Section]) -> Page:
    """Return the page of a prediction with some of its sections."""
    return Page(
        title=prediction.scenario,
        kind="run",
        numbers=numbers(prediction),
        facts=[*facts(prediction).items(), ("bottleneck", prediction.bottleneck)],
        sections=found,
        warnings=prediction.warnings,
    )


def scenario_section(scenario: Scenario) -> Section:
    """Return the section with a scenario to copy."""
    about = "Save it and run it with distsim run; names of files are whole paths."
    return code("scenario", "Scenario", about, scenario_yaml(scenario), "scenario.yaml")


def numbers(prediction: Prediction) -> list[Number]:
    """Return the numbers that matter."""
    p, found = prediction, prediction.interval
    unit = unit_of(p.resolved)
    each = p.resolved["sequence_length"] if unit != "tokens" else 1
    between = ""
    if found is not None:
        between = (
            f"{fmt_s(found.low_s)} to {fmt_s(found.high_s)}, {100 * found.level:.0f} % interval"
        )
    share = p.memory.peak_bytes / p.memory.capacity_bytes
    return [
        Number("step time", fmt_s(p.step_s), between),
        Number("MFU", percent(p.mfu), f"of the dense peak; HFU {percent(p.hfu)}"),
        Number(
            f"{unit} a second",
            fmt_count(float(f"{p.tokens_per_s / each:.4g}")),
            f"{p.tokens_per_s_per_device / each:,.1f} per device",
        ),
        Number("model FLOP rate", fmt_flop_per_s(p.model_flop_per_s_per_device), "per device"),
        Number(
            "memory peak",
            fmt_bytes(p.memory.peak_bytes),
            f"{percent(share)} of {fmt_bytes(p.memory.capacity_bytes)}"
            + ("" if p.memory.fits else ": does not fit"),
            "" if p.memory.fits else "bad",
        ),
        Number(
            "evaluator",
            p.evaluator,
            f"{_EVALUATORS.get(p.evaluator, '')}; {p.tasks:,} tasks of "
            f"{p.classes:,} {'class' if p.classes == 1 else 'classes'} of ranks",
        ),
    ]


def sections(prediction: Prediction) -> list[Section]:
    """Return all sections of a prediction but the scenario."""
    made = [make() for make in makers(prediction).values()]
    return [one for one in made if one is not None]


def makers(prediction: Prediction) -> dict[str, Callable[[], Section | None]]:
    """Return what makes each section of a prediction, by its anchor, in the order of the page."""
    timeline = prediction.timeline
    network = timeline.program.network
    return {
        "losses": lambda: losses_section(prediction),
        "timeline": lambda: timeline_section(prediction),
        "memory": lambda: memory_section(prediction),
        "network": lambda: network_section(network.topology, prediction.links),
        "roofline": lambda: roofline_section(timeline),
        "accuracy": lambda: accuracy_section(prediction),
    }


def _shared(prediction: JobsPrediction) -> Section:
    return table(
        "jobs",
        "Jobs",
        "Step times while all jobs run, and on the same devices with the fabric to themselves.",
        [
            column("job", "text"),
            column("placement", "text"),
            column("devices", number=True),
            column("step, shared", "s", number=True),
            column("step, alone", "s", number=True),
            column("slowdown", "x", number=True),
            column("MFU", "%", number=True),
            column("memory peak", "B", number=True),
        ],
        [
            [
                job.name,
                job.placement,
                job.prediction.devices,
                job.step_s,
                job.alone_s,
                job.slowdown,
                job.prediction.mfu,
                job.prediction.memory.peak_bytes,
            ]
            for job in prediction.jobs
        ],
    )


def jobs_html(prediction: JobsPrediction, jobs: Jobs) -> Iterator[str]:
    """Yield the page of several jobs on one fabric: what sharing costs, then each job."""
    yield from html(jobs_page(prediction, jobs))


def jobs_page(prediction: JobsPrediction, jobs: Jobs) -> Page:
    """Return the page of several jobs on one fabric."""
    of_jobs: list[Section] = []
    for number, (job, scenario) in enumerate(zip(prediction.jobs, jobs.scenarios, strict=True)):
        for one in (losses_section(job.prediction), scenario_section(scenario)):
            title = f"{job.name}: {one['title'][0].lower()}{one['title'][1:]}"
            of_jobs.append(one | {"id": f"{one['id']}-{number}", "title": title})
    worst = max(prediction.jobs, key=lambda job: job.slowdown)
    return Page(
        title=prediction.scenario,
        kind="run",
        numbers=[
            Number("jobs", f"{len(prediction.jobs)}", f"on {prediction.topology}"),
            Number("devices", f"{prediction.devices:,}"),
            Number("largest slowdown", f"{worst.slowdown:.3f}", worst.name),
        ],
        sections=[
            _shared(prediction),
            network_section(
                prediction.jobs[0].prediction.timeline.program.network.topology, prediction.links
            ),
            *of_jobs,
        ],
        warnings=[
            f"{job.name}: {text}" for job in prediction.jobs for text in job.prediction.warnings
        ],
    )
