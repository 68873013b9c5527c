"""What a scenario costs over a whole training: time, device hours, money, energy, CO2."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from math import ceil
from typing import Any

from distsim.errors import UsageError, ValueProblem
from distsim.prediction.case import Case
from distsim.prediction.predict import Memory, Prediction, predict
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.interval import interval, traits
from distsim.study.money.amount import parse_count
from distsim.study.money.cost import (
    Power,
    Rate,
    busy_share,
    money_of,
    power_of,
    power_sources,
    rate_of,
)
from distsim.study.money.prices import PriceList, read_prices
from distsim.units import REL_TOL

#: Parts of the breakdown in which kernels compute, and in which only communication is under way.
_COMPUTE = ("compute_s", "optimizer_s")
_EXPOSED = ("tensor_s", "pipeline_s", "data_s", "context_s", "expert_s", "offload_s")


@dataclass(frozen=True, slots=True)
class Totals:
    """What a training comes to.

    Attributes
    ----------
    duration_s, device_s : float
    money : float
    energy_j, co2_kg : float or None
        None where the power of the device is not known.
    """

    duration_s: float
    device_s: float
    money: float
    energy_j: float | None
    co2_kg: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a scenario costs over so many steps.

    Attributes
    ----------
    scenario, model, device : str
    devices, parameters : int
    sample : str
        What a training consists of: ``sequence``, or a kind that has no tokens.
    step_s : float
        From step to step, with what comes beside the step where the scenario states it.
    steps : int
    tokens : float
        Over all steps.
    total : Totals
    low, high : Totals or None
        At the ends of the interval of the step time.
    busy : float
        Share of the time that counts as active.
    rate : Rate
    power : Power or None
    prices, region : str
    sources : tuple of str
    warnings : tuple of str
    memory : Memory
        Whether the plan fits.
    """

    scenario: str
    model: str
    device: str
    devices: int
    parameters: int
    sample: str
    step_s: float
    steps: int
    tokens: float
    total: Totals
    low: Totals | None
    high: Totals | None
    busy: float
    rate: Rate
    power: Power | None
    prices: str
    region: str
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    memory: Memory = field(repr=False)

    @property
    def money_per_million_tokens(self) -> float:
        """Money for 10^6 tokens."""
        return self.total.money / self.tokens * 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "memory"}
        for key in ("total", "low", "high", "power"):
            out[key] = asdict(out[key]) if out[key] is not None else None
        return out | {
            "rate": self.rate.to_dict(),
            "fits": self.memory.fits,
            "money_per_million_tokens": self.money_per_million_tokens,
            "sources": list(self.sources),
            "warnings": list(self.warnings),
        }


def steps_for(
    tokens: float | str | None, steps: int | None, tokens_a_step: float, sample: str
) -> int:
    """Return how many steps a training has.

    Parameters
    ----------
    tokens : float or str, optional
        ``15T``; the last step may go beyond it.
    steps : int, optional
        In place of tokens.

    Raises
    ------
    ValueProblem, UsageError
        DS675 for what is no count; DS676 where not exactly one is given, or tokens of what has
        none.
    """
    if (tokens is None) == (steps is None):
        raise UsageError(
            "DS676",
            "tokens and steps are both given" if steps is not None else "no length of the training",
            rule="--tokens or --steps says how long the training is",
            fix="write for example --tokens 15T",
        )
    if steps is not None:
        return int(parse_count(steps, "steps"))
    count = parse_count(tokens, "tokens")
    if sample != "sequence":
        raise ValueProblem(
            "DS676",
            f"a step trains on {sample}s, which have no tokens",
            value=tokens,
            rule="tokens are of sequences",
            fix="give --steps",
        )
    return max(1, ceil(count / tokens_a_step * (1 - REL_TOL)))


def activity(prediction: Prediction, waiting: float) -> float:
    """Return the share of a step that counts as active for the power that it draws."""
    parts, step_s = prediction.breakdown.to_dict(), prediction.step_s
    compute, exposed = (sum(parts[k] for k in keys) / step_s for keys in (_COMPUTE, _EXPOSED))
    return busy_share(compute, exposed, waiting)


def paced_step_s(prediction: Prediction, *, checkpoints: bool = True) -> float:
    """Return the time from step to step, s.

    Parameters
    ----------
    checkpoints : bool
        With what the scenario's own checkpoints take.
    """
    beside = prediction.overheads
    if beside is None:
        return prediction.step_s
    return beside.step_with_overheads_s - (0.0 if checkpoints else beside.checkpoint_s)


def cost(
    scenario: Scenario,
    *,
    tokens: float | str | None = None,
    steps: int | None = None,
    pricing: str = "on-demand",
    prices: str | PriceList | None = None,
    region: str | None = None,
    currency: str | None = None,
) -> Cost:
    """Return what a training costs, without failures.

    Parameters
    ----------
    tokens, steps : optional
        Length of the training: one of them.
    pricing : str
        ``on-demand``, ``reserved-1y``, ``reserved-3y`` or ``owned``.
    prices : str or PriceList, optional
        A file; what it leaves out is as in the shipped list.
    region, currency : str, optional
        Whose grid, and what money is in; those of the list by default.

    Raises
    ------
    DistsimError
        DS670 to DS676, and those of `distsim.load`.
    """
    found = prices if isinstance(prices, PriceList) else read_prices(prices)
    case = resolve(scenario)
    device = str(case.resolved["device"])
    rate = rate_of(found, device, pricing, currency and currency.upper())
    power = power_of(found, device, region)
    count = steps_for(tokens, steps, case.tokens, str(case.resolved["sample"]))
    return _cost(case, predict(case), count, rate, power, found, region)


def _cost(
    case: Case,
    prediction: Prediction,
    steps: int,
    rate: Rate,
    power: Power | None,
    prices: PriceList,
    region: str | None,
) -> Cost:
    step_s = paced_step_s(prediction)
    busy = activity(prediction, power.waiting if power else 0.5) * prediction.step_s / step_s
    devices, device = prediction.devices, str(case.resolved["device"])

    def totals(of_step_s: float) -> Totals:
        duration_s = steps * of_step_s
        bill = money_of(devices, duration_s, rate, power, busy=busy)
        known = power is not None
        return Totals(
            duration_s,
            float(bill.device_s),
            float(bill.money),
            float(bill.energy_j) if known else None,
            float(bill.co2_kg) if known else None,
        )

    between = interval(prediction.step_s, traits(case))
    beside_s = step_s - prediction.step_s
    return Cost(
        scenario=case.name,
        model=case.model,
        device=device,
        devices=devices,
        parameters=case.parameters,
        sample=str(case.resolved["sample"]),
        step_s=step_s,
        steps=steps,
        tokens=steps * case.tokens,
        total=totals(step_s),
        low=totals(between.low_s + beside_s) if between else None,
        high=totals(between.high_s + beside_s) if between else None,
        busy=busy,
        rate=rate,
        power=power,
        prices=f"{prices.name} of {prices.date}",
        region=region or prices.region,
        sources=(*rate.sources, *power_sources(prices, device, region)),
        warnings=(*prediction.warnings, *_notes(case, power)),
        memory=prediction.memory,
    )


def _notes(case: Case, power: Power | None) -> tuple[str, ...]:
    out = []
    if len(case.inputs.devices) > 1:
        out.append(f"devices of other types are priced as {case.resolved['device']}")
    if power is None:
        out.append("no power is known for this device: energy and CO2 are left out")
    return tuple(out)
