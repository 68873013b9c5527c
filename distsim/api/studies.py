"""Studies: many predictions, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from distsim.prediction.predict import Prediction
from distsim.scenario.schema import Scenario

if TYPE_CHECKING:
    from distsim.study.calibration.calibrate import Calibration
    from distsim.study.diff.run import Diff
    from distsim.study.evaluate import Outcome
    from distsim.study.plan.result import Planned
    from distsim.study.sweep.run import Sweep
    from distsim.study.validate import ValidationReport
    from distsim.study.whatif.changes import Change
    from distsim.study.whatif.run import Effect, WhatIf


def validate(source: str | None = None) -> ValidationReport:
    """Compare predictions with published measurements, of one source or of all.

    Parameters
    ----------
    source : str, optional
        Name of a source, ``"korthikanti-2022"``.

    Returns
    -------
    ValidationReport
        Every row with its prediction and error, and the errors by source.

    Raises
    ------
    UsageError
        DS610, an unknown source.
    """
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
) -> Calibration:
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
    on_result: Callable[[int, Outcome], None] | None = None,
) -> Sweep:
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
    on_result: Callable[[object], None] | None = None,
    **options: Any,
) -> Planned:
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
        Called with the number of each plan that is timed, then with the `Outcome` of each that is
        predicted.
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


def whatif(
    scenario: Scenario,
    changes: Sequence[Change] | None = None,
    *,
    on_result: Callable[[Effect], None] | None = None,
) -> WhatIf:
    """Return what each of some small changes gains, the most first.

    Parameters
    ----------
    changes : sequence of Change, optional
        By default the usual ones: faster links and memory, other degrees of parallelism, no
        recomputation (`distsim.study.whatif.changes`).
    on_result : callable, optional
        Called with each `Effect`.

    Returns
    -------
    WhatIf
        What explains the step, in seconds by resource, and the effect of each change: predicted by
        running it, or the reason why it cannot be.

    Raises
    ------
    DistsimError
        Where the scenario itself is not possible.
    """
    from distsim.study.whatif.run import whatif as run

    return run(scenario, changes, on_result=on_result)


def diff(
    a: Scenario | Prediction | str | PathLike[str],
    b: Scenario | Prediction | str | PathLike[str],
    *,
    on_result: Callable[[Outcome], None] | None = None,
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
