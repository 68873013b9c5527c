"""The Python interface: pure functions, no prints, no files written.

>>> import distsim as ds
>>> s = ds.load("gpt3-175b-1024xa100")
>>> r = ds.simulate(s)
>>> faster = ds.simulate(s.with_(plan={"tp": 4, "pp": 16}))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from distsim.prediction.anatomy import case_anatomy
from distsim.prediction.jobs import JobsPrediction, predict_jobs
from distsim.prediction.predict import Memory, Prediction, memory, predict
from distsim.scenario.jobs import Jobs, resolve_jobs
from distsim.scenario.jobs import load_any as _load_any
from distsim.scenario.jobs import load_jobs as _load_jobs
from distsim.scenario.load import load as _load
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.interval import interval, traits

if TYPE_CHECKING:
    from distsim.study.diff.run import Diff


def load(source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()) -> Scenario:
    """Load a scenario from a path, the name of a shipped one, or a mapping.

    Parameters
    ----------
    set_ : sequence of str
        Changes such as ``plan.tp=4``.

    Raises
    ------
    DistsimError
        With code, file, line, value, rule and fix.
    """
    return _load(source, set_)


def simulate(scenario: Scenario, *, evaluator: str | None = None, fold: bool = True) -> Prediction:
    """Predict one optimizer step of a scenario.

    Parameters
    ----------
    evaluator : str, optional
        ``auto``, ``graph`` or ``event``; by default what the scenario says.
    fold : bool
        False simulates every rank instead of one of each kind.
    """
    case = resolve(scenario)
    prediction = predict(case, evaluator=evaluator, fold=fold)
    return replace(prediction, interval=interval(prediction.step_s, traits(case)))


def load_jobs(source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()) -> Jobs:
    """Load a scenario of several jobs on one cluster.

    Raises
    ------
    DistsimError
        As `load`; DS246 where the file has no ``jobs``.
    """
    return _load_jobs(source, set_)


def load_any(
    source: str | PathLike[str] | Mapping[str, Any], set_: Sequence[str] = ()
) -> Scenario | Jobs:
    """Load a scenario of one job or of several, whichever the source is; see `load`."""
    return _load_any(source, set_)


def simulate_jobs(jobs: Jobs, *, fold: bool = True) -> JobsPrediction:
    """Predict the steps of several jobs that share a fabric."""
    return predict_jobs(jobs.name, resolve_jobs(jobs), fold=fold)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a scenario comes to without running it."""

    scenario: str
    model: str
    parameters: int
    plan: dict[str, Any]
    resolved: dict[str, Any]
    memory: Memory
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "scenario": self.scenario,
            "model": self.model,
            "parameters": self.parameters,
            "plan": self.plan,
            "resolved": self.resolved,
            "memory": self.memory.to_dict(),
            "warnings": list(self.warnings),
        }


def check(scenario: Scenario) -> CheckReport:
    """Check a scenario: names, plan, memory."""
    case = resolve(scenario)
    return CheckReport(
        case.name,
        case.model,
        case.parameters,
        case.inputs.plan.to_dict(),
        case.resolved,
        memory(case),
        case.warnings,
    )


def operators(scenario: Scenario) -> dict[str, Any]:
    """Return what one micro batch of a scenario computes, moves and keeps, operator by operator.

    Returns
    -------
    dict
        ``samples, length, forward_flop, forward_and_backward_flop, activation_bytes`` of the micro
        batch, and ``operators``: a dict for each, with ``operator, times, parameters, forward_flop,
        forward_bytes, flop_per_byte, backward_flop, saved_bytes, bound, forward_s, backward_s`` of
        one time that it runs. Of the whole model, before the plan divides it.
    """
    return case_anatomy(resolve(scenario))


def check_jobs(jobs: Jobs) -> list[CheckReport]:
    """Check every job of a scenario of several: names, plan, memory, devices that are free."""
    resolve_jobs(jobs)
    return [check(scenario) for scenario in jobs.scenarios]


def validate(source: str | None = None) -> Any:
    """Compare predictions with published measurements, of one source or of all."""
    from distsim.study.validate import validate as run

    return run(source)


def calibrate(
    files: Sequence[str],
    device: str,
    topology: str | None = None,
    *,
    scenario: str | Mapping[str, Any] | None = None,
    name: str = "calibrated",
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Any:
    """Fit a profile to measurements in files: see `distsim.study.calibration.calibrate`.

    Parameters
    ----------
    files : sequence of str
        Training logs, CSVs of step times, nccl-tests output, profiler traces, operator timings.
    device, topology : str
        Names or files.
    scenario : str or mapping, optional
        What step times are of, as far as the files do not say.
    only, keep : sequence of str
        Keys to fit, all by default, and keys to leave as they are shipped.

    Returns
    -------
    Calibration
    """
    from distsim.study.calibration.calibrate import calibrate as run

    return run(files, device, topology, scenario=scenario, name=name, only=only, keep=keep)


def sweep(
    scenario: str | PathLike[str] | Mapping[str, Any] | Scenario,
    *,
    devices: str | int | Iterable[int] | None = None,
    set_: Mapping[str, object] | Sequence[str] = (),
    along: Mapping[str, object] | Sequence[str] = (),
    weak: bool = False,
    max_points: int = 10_000,
    backend: str = "loky",
    jobs: int | None = None,
    scheduler: str | None = None,
    cache: str | PathLike[str] | None = None,
    on_result: Callable[[int, Any], None] | None = None,
) -> Any:
    """Evaluate every combination of some values of a scenario.

    Parameters
    ----------
    scenario : Scenario, or as `load` takes it
    devices : str, int or iterable of int, optional
        Numbers of devices: ``"8:1024:x2"``, or the numbers.
    set_ : mapping or sequence of str, optional
        What else varies: ``{"plan.tp": [1, 2, 4]}`` or ``["plan.tp=1,2,4"]``.
    along : mapping or sequence of str, optional
        Values that go along with `devices`, one for each.
    weak : bool
        The global batch grows in proportion to the devices; otherwise it stays.
    max_points : int
        Most combinations.
    backend : {"loky", "dask"}
    jobs : int, optional
        Processes; by default one a processor, and none for a few combinations.
    scheduler : str, optional
        Address of a Dask scheduler.
    cache : str or path, optional
        File that keeps results; by default nothing is kept.
    on_result : callable, optional
        Called with index and `Outcome` of each combination, in whatever order they are done.

    Returns
    -------
    Sweep
        Rows, scaling curves, and `table`, which turns into pandas or Arrow. Impossible
        combinations are rows too, with their reason.

    Raises
    ------
    DistsimError
        For values, keys, backends and caches that cannot be; not for single combinations.
    """
    from distsim.study.pool import runner
    from distsim.study.sweep.study import space_of, sweep_of

    found = space_of(
        scenario, devices=devices, set_=set_, along=along, weak=weak, max_points=max_points
    )
    chosen = runner(backend, jobs=jobs, scheduler=scheduler)
    return sweep_of(found, runner=chosen, cache=cache, on_result=on_result)


def training_cost(
    scenario: Scenario,
    *,
    tokens: float | str | None = None,
    steps: int | None = None,
    pricing: str = "on-demand",
    prices: str | None = None,
    region: str | None = None,
    currency: str | None = None,
) -> Any:
    """Return what a whole training costs: see `distsim.study.money.training.cost`."""
    from distsim.study.money.training import cost as run

    return run(
        scenario,
        tokens=tokens,
        steps=steps,
        pricing=pricing,
        prices=prices,
        region=region,
        currency=currency,
    )


def compute_optimal(**question: Any) -> Any:
    """Return what to train: see `distsim.study.money.optimal.compute_optimal`."""
    from distsim.study.money.optimal import compute_optimal as run

    return run(**question)


def goodput(scenario: Scenario, **options: Any) -> Any:
    """Return how long a training takes with failures: see `distsim.study.goodput.run.goodput`."""
    from distsim.study.goodput.run import goodput as run

    return run(scenario, **options)


def plan(
    scenario: str | PathLike[str] | Mapping[str, Any] | Scenario,
    *,
    devices: str | int | Iterable[int],
    tokens: float | str | None = None,
    steps: int | None = None,
    deadline: str | None = None,
    budget: str | None = None,
    objective: str | None = None,
    top: int = 10,
    set_: Sequence[str] = (),
    space: Mapping[str, object] | str | PathLike[str] | None = None,
    jobs: int | None = 1,
    on_result: Callable[[Any], None] | None = None,
    **options: Any,
) -> Any:
    """Find the cluster size and the parallel plan that train a scenario.

    Parameters
    ----------
    scenario : Scenario, or as `load` takes it
        Its plan and its number of devices are what is searched.
    devices : str, int or iterable of int
        Sizes of cluster: ``"64:4096"``, or the numbers.
    tokens, steps : optional
        Length of the training: one of them.
    deadline, budget : str, optional
        ``"30d"``, ``"5M$"``.
    objective : {"time", "cost", "energy"}, optional
        By default ``cost`` with a deadline and no budget, otherwise ``time``.
    top : int
        How many of the best plans to return.
    set_ : sequence of str
        ``plan.tp=4,8`` restricts the search; other keys change the scenario.
    space : mapping, or the path of a YAML file, optional
        Values of keys of the search: ``{"tp": [4, 8]}``.
    jobs : int, optional
        Processes; None for one a processor.
    on_result : callable, optional
        Called with each `Outcome` as it comes.
    **options
        ``pricing``, ``prices``, ``region``, ``currency``, ``start``, ``with_failures``,
        ``mtbf_device``: see `distsim.study.plan.question.Limits`.

    Returns
    -------
    Planned
        ``best``, ``top``, ``pareto``, ``rejected``, ``searched``, and `table`.

    Raises
    ------
    InfeasibleError
        DS691 to DS696: nothing multiplies out or fits, or a limit is missed, and by how much.
    DistsimError
        For questions that cannot be.
    """
    from distsim.study.plan.ask import ask

    limits = {
        "tokens": tokens,
        "steps": steps,
        "deadline": deadline,
        "budget": budget,
        "objective": objective,
        "top": top,
        **options,
    }
    return ask(scenario, devices, limits, set_=set_, space=space, jobs=jobs, on_result=on_result)


def whatif(scenario: Scenario, changes: Any = None, *, on_result: Any = None) -> Any:
    """Return what small changes gain: see `distsim.study.whatif.run.whatif`."""
    from distsim.study.whatif.run import whatif as run

    return run(scenario, changes, on_result=on_result)


def diff(
    a: Scenario | Prediction | str | PathLike[str],
    b: Scenario | Prediction | str | PathLike[str],
    *,
    on_result: Callable[[Any], None] | None = None,
) -> Diff:
    """Return what changed from one scenario or result to another, and what each change did.

    Parameters
    ----------
    a, b : Scenario, Prediction, str or path
        Scenarios, their names or files; predictions, or files of results (``.json``) that
        ``distsim run -o`` wrote. Changes are made one by one only between two scenarios.
    on_result : callable, optional
        Called with the `Outcome` of each change as it is made.

    Returns
    -------
    Diff
        ``changes`` (key, before, after), ``alone`` (an `Outcome` of each change alone on `a`),
        ``steps`` (changes, outcome and ``delta_s`` on the way from `a` to `b`; they sum to the
        whole difference, seconds). `to_dict` is what ``distsim diff --json`` prints.

    Raises
    ------
    DistsimError
        As `load`; DS724 for a file that is no result, DS725 for two that cannot be compared.
    """
    from distsim.study.diff.run import diff as run
    from distsim.study.diff.sides import side_of

    return run(side_of(a), side_of(b), on_result)


def trace(prediction: Prediction) -> Iterator[str]:
    """Yield a prediction's timeline as a trace that Perfetto opens, in pieces of JSON."""
    from distsim.report.trace_prediction import prediction_chunks

    return prediction_chunks(prediction)
