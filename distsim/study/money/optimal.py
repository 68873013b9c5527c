"""What to train for a budget, and how long to train a model, by published scaling laws."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distsim.errors import UsageError, ValueProblem
from distsim.hardware.catalogue import device as load_device
from distsim.hardware.device import Device
from distsim.study.money.amount import fmt_money, parse_amount, parse_count
from distsim.study.money.cost import Power, Rate, money_of, power_of, rate_of
from distsim.study.money.laws import FLOP_PER_PARAMETER_AND_TOKEN, LAWS, Law, tokens_for
from distsim.study.money.prices import PriceList, read_prices
from distsim.workload.network import Model
from distsim.workload.zoo import network

#: Model FLOP over the dense peak where nobody says: Llama 3 405B reached 38 to 43 %
#: (Grattafiori 2024, table 4).
MFU = 0.40
#: Format of matrix products whose peak counts, the first that a device has.
_FORMATS = ("bf16", "fp16", "tf32", "fp32")
_EMBEDDINGS = ("token_embedding", "position_embedding", "lm_head")


@dataclass(frozen=True, slots=True)
class Size:
    """What one law says.

    Attributes
    ----------
    law, source : str
    parameters, tokens, flop : float
    loss : float or None
        Nats a token.
    without_embeddings : bool
        Whether `parameters` leaves embeddings out.
    device_s, money, energy_j, co2_kg : float or None
        Where a device is named.
    """

    law: str
    source: str
    parameters: float
    tokens: float
    flop: float
    loss: float | None
    without_embeddings: bool
    device_s: float | None = None
    money: float | None = None
    energy_j: float | None = None
    co2_kg: float | None = None

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens over parameters."""
        return self.tokens / self.parameters


@dataclass(frozen=True, slots=True)
class Sizing:
    """What to train.

    Attributes
    ----------
    question : str
    flop : float or None
        The budget, where there is one.
    model : str or None
    device, mfu, rate : optional
        What money and time are of.
    sizes : tuple of Size
        One of each law.
    notes : tuple of str
    """

    question: str
    flop: float | None
    model: str | None
    device: str | None
    mfu: float | None
    rate: Rate | None
    sizes: tuple[Size, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        out = asdict(self)
        out["sizes"] = [
            asdict(s) | {"tokens_per_parameter": s.tokens_per_parameter} for s in self.sizes
        ]
        rate = self.rate.to_dict() if self.rate else None
        return out | {"rate": rate, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class _Machine:
    """Devices that FLOP are bought of."""

    name: str
    flop_per_s: float
    rate: Rate
    power: Power | None

    def flop_for(self, money: float) -> float:
        """Return the model FLOP that so much money buys."""
        return money / float(money_of(1, 1, self.rate, self.power).money) * self.flop_per_s

    def priced(self, flop: float) -> dict[str, float | None]:
        """Return time, money, energy and CO2 of so many model FLOP."""
        bill = money_of(1, flop / self.flop_per_s, self.rate, self.power)
        out: dict[str, float | None] = {
            "device_s": float(bill.device_s),
            "money": float(bill.money),
            "energy_j": float(bill.energy_j),
            "co2_kg": float(bill.co2_kg),
        }
        return {key: None if value is None or np.isnan(value) else value
                for key, value in out.items()}  # fmt: skip


def compute_optimal(
    *,
    model: str | None = None,
    flop: float | str | None = None,
    budget: str | None = None,
    device: str | None = None,
    mfu: float = MFU,
    pricing: str = "on-demand",
    prices: str | PriceList | None = None,
    region: str | None = None,
) -> Sizing:
    """Return what to train: tokens for a model, or the model for a budget.

    Parameters
    ----------
    model : str, optional
        Catalogue name, or path to a Hugging Face config.json.
    flop : float or str, optional
        Budget of model FLOP.
    budget : str, optional
        Budget of money, ``5M USD``; needs `device`.
    device : str, optional
        What is rented or owned; with it every size has its time and money.
    mfu : float
        Model FLOP over the dense peak of the device, in (0, 1].

    Raises
    ------
    UsageError
        DS676 where not exactly one of model, flop and budget is given, or a budget without a
        device.
    DistsimError
        DS670 to DS675 for values.
    """
    given = {"--model": model, "--flops": flop, "--budget": budget}
    _check(given, device, mfu)
    found = prices if isinstance(prices, PriceList) else read_prices(prices)
    machine = _machine(found, device, mfu, pricing, region) if device else None
    notes: tuple[str, ...] = ()
    count: float | None = None
    if model is not None:
        shape, notes = _model(model)
        sizes = [_of_model(name, law, shape, machine) for name, law in LAWS.items()]
        question = f"tokens for {shape.name}"
    else:
        if budget is not None and machine is not None:
            amount = parse_amount(budget, default=found.currency)
            money = found.rates.convert(amount, found.currency)
            count = machine.flop_for(money)
            question = f"a model for {fmt_money(amount.value, amount.currency)}"
        else:
            count = parse_count(flop, "FLOP")
            question = f"a model for {count:.4g} FLOP"
        sizes = [_of_budget(name, law, count, machine) for name, law in LAWS.items()]
    return Sizing(
        question,
        count,
        shape.name if model is not None else None,
        device,
        mfu if machine else None,
        machine.rate if machine else None,
        tuple(sizes),
        notes,
    )


def _check(given: dict[str, Any], device: str | None, mfu: float) -> None:
    chosen = [key for key, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise UsageError(
            "DS676",
            f"{' and '.join(chosen)} are given together" if chosen else "there is nothing to size",
            rule="exactly one of --model, --flops, --budget",
            fix="leave the others out" if chosen else "write for example --flops 1e24",
        )
    if chosen == ["--budget"] and device is None:
        raise UsageError(
            "DS676",
            "a budget of money without a device",
            value=given["--budget"],
            rule="how much FLOP money buys depends on the device",
            fix="add for example --device h100-80gb-sxm",
        )
    if not 0.0 < mfu <= 1.0:
        raise ValueProblem(
            "DS675",
            f"an MFU of {mfu:g}",
            value=mfu,
            rule="0 < MFU <= 1: model FLOP over the dense peak",
            fix="write for example 40%",
        )


def _machine(
    prices: PriceList, device: str, mfu: float, pricing: str, region: str | None
) -> _Machine:
    profile: Device = load_device(device)
    peak = next(profile.peak_flop_per_s[f] for f in _FORMATS if f in profile.peak_flop_per_s)
    name = profile.name
    return _Machine(
        name, mfu * peak, rate_of(prices, name, pricing), power_of(prices, name, region)
    )


def _model(name: str) -> tuple[Model, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if name.endswith(".json"):
        from distsim.scenario.importers.huggingface import model_from_config

        found, notes = model_from_config(name)
    else:
        found = network(name)
    if found.to_dict().get("active_parameters") is not None:
        notes = (
            *notes,
            "the laws were fitted on dense models: of the experts, the parameters that a token "
            "uses are taken",
        )
    return found, notes


def _counted(model: Model, without_embeddings: bool) -> float:
    shape = model.to_dict()
    count = float(shape.get("active_parameters") or model.parameters)
    if without_embeddings:
        count -= sum(model.parameters_by_part().get(part, 0) for part in _EMBEDDINGS)
    return count


def _of_model(name: str, law: Law, model: Model, machine: _Machine | None) -> Size:
    n = _counted(model, law.without_embeddings)
    return _size(name, law, n, float(tokens_for(law, n)), machine)


def _of_budget(name: str, law: Law, flop: float, machine: _Machine | None) -> Size:
    n = float(law.model_for(flop))
    return _size(name, law, n, flop / (FLOP_PER_PARAMETER_AND_TOKEN * n), machine)


def _size(name: str, law: Law, n: float, d: float, machine: _Machine | None) -> Size:
    flop, loss = FLOP_PER_PARAMETER_AND_TOKEN * n * d, law.loss(n, d)
    priced = machine.priced(flop) if machine else {}
    return Size(
        name, law.source, n, d, flop, None if loss is None else float(loss),
        law.without_embeddings, **priced,
    )  # fmt: skip
