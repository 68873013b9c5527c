"""A scenario's training with failures: from options to runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from distsim.errors import DistsimError, InfeasibleError, UsageError, ValueProblem, show
from distsim.prediction.case import Case
from distsim.prediction.predict import Prediction, predict
from distsim.scenario.schema import Scenario
from distsim.study.goodput import checkpoints as taking
from distsim.study.goodput.closed import daly_interval_s, young_interval_s
from distsim.study.goodput.montecarlo import draw
from distsim.study.goodput.process import Failures, Spares, Training, WhenEmpty, check
from distsim.study.goodput.result import Goodput, Intervals
from distsim.study.money.cost import Power, Rate, power_of, rate_of
from distsim.study.money.prices import PriceList, read_prices
from distsim.study.money.training import activity, paced_step_s, steps_for
from distsim.units import fmt_s, parse

#: Useful share of the time below which a training does not end.
LEAST = 1e-3
MOST_RUNS = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """What fails how often, and what is done about it.

    Attributes
    ----------
    mtbf_device : str
        Mean time between failures of one device with all that belongs to it. 50,000 h by default:
        Llama 3's 419 unexpected interruptions of 16,384 devices in 54 days are one in 50,676 h
        (Grattafiori 2024, section 3.3.4).
    shape : float
        Of the Weibull distribution of times between failures.
    checkpoint_interval : str
        ``auto``, ``scenario`` or a duration.
    checkpoint : str, optional
        ``sync``, ``async`` or ``overlapped``.
    storage : str, optional
        Bandwidth of the storage.
    detect, restart, repair : str
    spares : int, optional
        Spare nodes; always enough by default.
    hardware_share : float
    when_empty : {"wait", "shrink"}
    runs, seed : int
    """

    mtbf_device: str = "50000h"
    shape: float = 1.0
    checkpoint_interval: str = "auto"
    checkpoint: str | None = None
    storage: str | None = None
    detect: str = "2min"
    restart: str = "5min"
    repair: str = "24h"
    spares: int | None = None
    hardware_share: float = 0.78
    when_empty: WhenEmpty = "wait"
    runs: int = 1000
    seed: int = 0


def goodput(
    scenario: Scenario,
    *,
    tokens: float | str | None = None,
    steps: int | None = None,
    options: Options | None = None,
    pricing: str = "on-demand",
    prices: str | PriceList | None = None,
    region: str | None = None,
    start: str | None = None,
    **changes: Any,
) -> Goodput:
    """Return how long a training takes with failures.

    Parameters
    ----------
    tokens, steps : optional
        Length of the training: one of them.
    options : Options, optional
    pricing, prices, region : optional
        As `distsim.study.money.training.cost`.
    start : str, optional
        Day on which the training starts, ``2027-01-31``; without it there are no dates.
    **changes
        Fields of `Options`.

    Raises
    ------
    DistsimError
        DS675 to DS679, and those of `distsim.load`.
    """
    wanted = Options(**{**(asdict(options) if options else {}), **changes})
    begins = _date(start)
    if not 1 <= wanted.runs <= MOST_RUNS:
        raise _bad_runs(wanted.runs)
    _check_mode(wanted.checkpoint)
    case, checkpoint, assumed = taking.with_checkpoints(scenario, wanted.checkpoint, wanted.storage)
    sample, devices = str(case.resolved["sample"]), case.inputs.plan.devices
    mtbf_s = parse(wanted.mtbf_device, "s")
    check("the time between failures of a device", mtbf_s, above=True)
    failures = Failures(
        mtbf_s / devices, parse(wanted.detect, "s"), parse(wanted.restart, "s"), wanted.shape
    )
    spares = _spares(case, wanted)
    count = steps_for(tokens, steps, case.tokens, sample)
    prediction = predict(case)
    step_s = paced_step_s(prediction, checkpoints=False)
    taken = taking.asked(wanted.checkpoint_interval, checkpoint, step_s, failures, count)
    best = taking.best(checkpoint, step_s, failures, count)
    training = Training(count * step_s, taken.interval_s, taken.checkpoint_s, taken.durable_s)
    expected_s = _expected(training, taken.expected_s(failures), failures)
    drawn = draw(
        training, failures, wanted.runs, wanted.seed,
        spares=spares, expected=expected_s / failures.mtbf_s,
    )  # fmt: skip
    rate, power, said = _prices(case, prices, pricing, region)
    return Goodput(
        scenario=case.name,
        device=str(case.resolved["device"]),
        devices=devices,
        spare_devices=(wanted.spares or 0) * case.inputs.topology.devices_per_node,
        steps=count,
        step_s=step_s,
        tokens=count * case.tokens,
        failures=failures,
        spares=spares,
        training=training,
        checkpoint=checkpoint,
        intervals=_intervals(taken, best, failures),
        runs=drawn,
        start=begins,
        expected_s=expected_s,
        rate=rate,
        power=power,
        busy=_busy(prediction, power, step_s),
        seed=wanted.seed,
        warnings=(*prediction.warnings, *assumed, *said),
        memory=prediction.memory,
    )


def _busy(prediction: Prediction, power: Power | None, step_s: float) -> float:
    waiting = power.waiting if power else 0.5
    return activity(prediction, waiting) * prediction.step_s / step_s


def _check_mode(mode: str | None) -> None:
    if mode is not None and mode not in taking.MODES:
        raise UsageError(
            "DS679", f"no checkpoints {show(mode)}", value=mode,
            rule=f"one of {', '.join(taking.MODES)}", fix="use one of them",
        )  # fmt: skip


def _bad_runs(runs: int) -> ValueProblem:
    return ValueProblem(
        "DS677",
        f"{runs:,} runs",
        value=runs,
        rule=f"1 <= runs <= {MOST_RUNS:,}",
        fix="ask for about 1000",
    )


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueProblem(
            "DS677",
            f"{show(text)} is not a date",
            value=text,
            rule="year, month and day: 2027-01-31",
            fix="write the day on which the training starts",
        ) from None


def _spares(case: Case, wanted: Options) -> Spares | None:
    """Return the pool of spare nodes; None where nobody limits it."""
    repair_s = parse(wanted.repair, "s")
    plan, per_node = case.inputs.plan, case.inputs.topology.devices_per_node
    pool = Spares(
        wanted.spares or 0,
        repair_s,
        wanted.hardware_share,
        wanted.when_empty,
        plan.dp,
        plan.devices / plan.dp / per_node,
    )
    return None if wanted.spares is None else pool


def _expected(training: Training, factor: float, failures: Failures) -> float:
    """Return the expected duration; the last interval has no checkpoint.

    Raises
    ------
    InfeasibleError
        DS678 where less than `LEAST` of the time is useful.
    """
    if not factor <= 1.0 / LEAST:
        raise InfeasibleError(
            "DS678",
            f"a failure comes every {fmt_s(failures.mtbf_s)}, and an interval takes "
            f"{fmt_s(training.interval_s)} of work after {fmt_s(failures.restart_s)} of restart",
            rule=f"at least {100 * LEAST:.1f} % of the time is useful",
            fix="take checkpoints more often (--checkpoint-interval auto), restart faster, or use "
            "fewer devices",
        )
    return training.work_s * factor


def _intervals(taken: taking.Schedule, best: taking.Schedule, failures: Failures) -> Intervals:
    return Intervals(
        taken.interval_s,
        taken.every_steps,
        best.interval_s,
        best.every_steps,
        float(young_interval_s(best.checkpoint_s, failures.mtbf_s)),
        float(daly_interval_s(best.checkpoint_s, failures.mtbf_s)),
    )


def _prices(
    case: Case, prices: str | PriceList | None, pricing: str, region: str | None
) -> tuple[Rate | None, Power | None, Sequence[str]]:
    """Return price and power of the devices; a device without a price costs nothing that is known.

    A list of one's own must have it.
    """
    found = prices if isinstance(prices, PriceList) else read_prices(prices)
    device = str(case.resolved["device"])
    power = power_of(found, device, region)
    try:
        return rate_of(found, device, pricing), power, ()
    except DistsimError as error:
        if error.code != "DS672" or prices is not None:
            raise
        return None, power, (f"no money: {error.message}",)
