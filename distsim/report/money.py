"""Costs and sizes of trainings as text."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading, pairs, percent
from distsim.study.money.amount import fmt_money
from distsim.study.money.optimal import Sizing
from distsim.study.money.training import Cost, Totals
from distsim.units import fmt_count, fmt_s

_HOUR_S = 3600.0
_ENERGY = ((3.6e15, "TWh"), (3.6e12, "GWh"), (3.6e9, "MWh"), (3.6e6, "kWh"))
_MASS = ((1e6, "kt"), (1e3, "t"), (1.0, "kg"))


def fmt_energy(value_j: float) -> str:
    """Return an amount of electricity for people: ``24.3 GWh``."""
    factor, unit = next((s for s in _ENERGY if value_j >= s[0]), _ENERGY[-1])
    return f"{value_j / factor:.4g} {unit}"


def fmt_mass(value_kg: float) -> str:
    """Return a mass for people: ``8.93 kt``."""
    factor, unit = next((s for s in _MASS if value_kg >= s[0]), _MASS[-1])
    return f"{value_kg / factor:.4g} {unit}"


def device_hours(value_s: float) -> str:
    """Return device hours for people: ``33.03M``."""
    return fmt_count(float(f"{value_s / _HOUR_S:.4g}"))


def cost_text(cost: Cost) -> RenderableType:
    """Return all that `distsim cost` prints."""
    facts = {
        "training": f"{fmt_count(cost.tokens)} {_unit(cost)} in {cost.steps:,} steps of "
        f"{fmt_s(cost.step_s)}",
        "cluster": f"{cost.devices:,} x {cost.device}",
        "price": f"{fmt_money(cost.rate.per_device_s * _HOUR_S, cost.rate.currency)} an hour of a "
        f"device, {cost.rate.pricing}; {cost.prices}",
        **_made_of(cost),
        **_power(cost),
    }
    return Group(
        heading(cost.scenario),
        pairs(facts),
        Text(),
        columns(("", "total", "90 % interval", "for 1M tokens"), _rows(cost), left=(0,)),
        Text(),
        heading("Sources"),
        pairs(dict(source.split(": ", 1) for source in cost.sources)),
        *(Text(f"warning: {text}", style="yellow") for text in cost.warnings),
    )


def _unit(cost: Cost) -> str:
    return "tokens" if cost.sample == "sequence" else f"tokens of {cost.sample}s"


def _made_of(cost: Cost) -> dict[str, str]:
    """Return what the price of an owned device is made of."""
    rate = cost.rate
    if rate.pricing != "owned":
        return {}
    parts = [f"{name} {fmt_money(v * _HOUR_S, rate.currency)}" for name, v in rate.parts if v]
    drawn = rate.per_j * float(cost.power.mean_w(cost.busy)) * _HOUR_S if cost.power else 0.0
    parts.append(f"electricity {fmt_money(drawn, rate.currency)} more")
    return {"  of which": ", ".join(parts)}


def _power(cost: Cost) -> dict[str, str]:
    power = cost.power
    if power is None:
        return {}
    return {
        "power": f"{power.mean_w(cost.busy):,.0f} W at the meter for a device: "
        f"{power.active_w:g} W active, {power.idle_w:g} W idle, {percent(cost.busy)} active, "
        f"host {power.host_w:g} W, PUE {power.pue:g}",
        "electricity": f"{power.kg_per_j * 3.6e9:.4g} g CO2/kWh, {cost.region}",
    }


def _rows(cost: Cost) -> list[list[str | Text]]:
    millions = cost.tokens / 1e6
    ends = (cost.low, cost.high) if cost.low and cost.high else None

    def row(name: str, key: str, write: Callable[[float], str]) -> list[str | Text]:
        def said(totals: Totals, by: float = 1.0) -> str:
            value = getattr(totals, key)
            return "-" if value is None else write(value / by)

        between = f"{said(ends[0])} .. {said(ends[1])}" if ends else "-"
        return [name, Text(said(cost.total), style="bold"), between, said(cost.total, millions)]

    return [
        row("time", "duration_s", fmt_s),
        row("device hours", "device_s", device_hours),
        row("money", "money", lambda v: fmt_money(v, cost.rate.currency)),
        row("energy", "energy_j", fmt_energy),
        row("CO2", "co2_kg", fmt_mass),
    ]


def sizing_text(sizing: Sizing) -> RenderableType:
    """Return all that `distsim compute-optimal` prints."""
    priced = sizing.rate is not None
    heads = ["law", "parameters", "tokens", "tokens each", "FLOP", "loss"]
    heads += ["device hours", "money", "CO2"] if priced else []
    rows: list[list[str | Text]] = []
    for size in sizing.sizes:
        row: list[str | Text] = [
            size.law + ("*" if size.without_embeddings else ""),
            fmt_count(size.parameters),
            fmt_count(size.tokens),
            f"{size.tokens_per_parameter:.3g}",
            f"{size.flop:.3g}",
            "-" if size.loss is None else f"{size.loss:.3f}",
        ]
        if size.device_s is not None and size.money is not None and sizing.rate is not None:
            row += [device_hours(size.device_s), fmt_money(size.money, sizing.rate.currency)]
            row.append("-" if size.co2_kg is None else fmt_mass(size.co2_kg))
        rows.append(row)
    return Group(
        heading(f"Compute-optimal: {sizing.question}"),
        *_assumed(sizing),
        columns(heads, rows),
        Text("* without embeddings", style="dim"),
        Text(),
        heading("Sources"),
        pairs({size.law: size.source for size in sizing.sizes}),
        *(Text(f"note: {text}", style="yellow") for text in sizing.notes),
    )


def _assumed(sizing: Sizing) -> list[RenderableType]:
    rate = sizing.rate
    if rate is None or sizing.mfu is None:
        return []
    hour = fmt_money(rate.per_device_s * _HOUR_S, rate.currency)
    text = f"{sizing.device} at {percent(sizing.mfu)} MFU, {rate.pricing}, {hour} an hour"
    return [Text(f"  {text}"), Text()]
