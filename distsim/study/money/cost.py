"""Money, energy and CO2 of devices that are held for some time, over arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import ValueProblem, nearest, show
from distsim.study.money.prices import ALIASES, PRICINGS, PriceList, Sourced, unknown

Floats = npt.NDArray[np.float64]

#: Seconds of a year of 365.25 days.
YEAR_S = 365.25 * 86400.0


@dataclass(frozen=True, slots=True)
class Power:
    """What one device draws, and what its electricity emits.

    Attributes
    ----------
    idle_w, active_w : float
        Of the device without kernels, and while they run.
    host_w : float
        Its share of the node.
    pue : float
        Power of the site over that of devices and hosts, at least 1.
    kg_per_j : float
        CO2 of electricity.
    waiting : float
        Where between idle and active a device is that waits for others, 0..1.
    """

    idle_w: float
    active_w: float
    host_w: float
    pue: float = 1.0
    kg_per_j: float = 0.0
    waiting: float = 0.5

    def mean_w(self, busy: npt.ArrayLike = 1.0) -> Floats:
        """Return the mean power at the meter of a device, W.

        Parameters
        ----------
        busy : float array
            Share of the time that counts as active; see `busy_share`.
        """
        share = np.asarray(busy, dtype=np.float64)
        device_w = self.idle_w + share * (self.active_w - self.idle_w)
        return np.asarray(self.pue * (self.host_w + device_w), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Rate:
    """What it costs to hold one device.

    Attributes
    ----------
    pricing : str
        One of `PRICINGS`.
    currency : str
    per_device_s : float
        Money for a device and second.
    per_j : float
        Money for a joule of electricity, 0 where the price includes it.
    parts : tuple of (str, float)
        What `per_device_s` is made of.
    sources : tuple of str
    """

    pricing: str
    currency: str
    per_device_s: float
    per_j: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    sources: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"parts": dict(self.parts), "sources": list(self.sources)}


@dataclass(frozen=True, slots=True, eq=False)
class Bill:
    """What devices cost over some time; arrays of one shape.

    Attributes
    ----------
    device_s : float64[...]
        Device seconds.
    money : float64[...]
    energy_j, co2_kg : float64[...]
        NaN where the power of the device is not known.
    """

    device_s: Floats
    money: Floats
    energy_j: Floats
    co2_kg: Floats


def money_of(
    devices: npt.ArrayLike,
    seconds: npt.ArrayLike,
    prices: Rate,
    power: Power | None = None,
    *,
    busy: npt.ArrayLike = 1.0,
) -> Bill:
    """Return what devices cost that are held for some time; broadcasts.

    Parameters
    ----------
    devices, seconds : array
        How many, and for how long.
    prices : Rate
    power : Power, optional
        Without it energy and CO2 are NaN.
    busy : array
        Share of the time that counts as active.

    Raises
    ------
    ValueError
        Where electricity is paid by the joule and no power is given.
    """
    device_s = np.asarray(devices, dtype=np.float64) * np.asarray(seconds, dtype=np.float64)
    if power is None:
        if prices.per_j:
            raise ValueError("electricity is paid by the joule: the power must be given")
        nothing = np.full(device_s.shape, np.nan)
        return Bill(device_s, device_s * prices.per_device_s, nothing, nothing.copy())
    energy_j = device_s * power.mean_w(busy)
    money = device_s * prices.per_device_s + energy_j * prices.per_j
    return Bill(device_s, money, energy_j, energy_j * power.kg_per_j)


def busy_share(compute: float, exposed: float, waiting: float) -> float:
    """Return the share of a step that counts as active for power.

    Parameters
    ----------
    compute, exposed : float
        Shares of the step in which kernels compute, and in which nothing but communication is
        under way.
    waiting : float
        What communication counts, as `Power.waiting`.
    """
    return min(1.0, compute + waiting * exposed)


def recovery(years: float, interest: float) -> float:
    """Return the yearly payment for each unit of money borrowed.

    The capital recovery factor i / (1 - (1 + i)^-n); 1 / n without interest.
    """
    if interest == 0.0:
        return 1.0 / years
    return float(interest / -np.expm1(-years * np.log1p(interest)))


def pricing_of(text: str) -> str:
    """Return the way of paying that a word means.

    Raises
    ------
    ValueProblem
        DS676.
    """
    word = ALIASES.get(text, text)
    if word in PRICINGS:
        return word
    near = nearest(text, PRICINGS)
    raise ValueProblem(
        "DS676",
        f"no way of paying {show(text)}",
        value=text,
        rule=f"one of {', '.join(PRICINGS)}; reserved is reserved-1y",
        fix=f"did you mean {near}?" if near else "use one of them",
    )


def rate_of(
    prices: PriceList, device: str, pricing: str = "on-demand", currency: str | None = None
) -> Rate:
    """Return what a device costs.

    Parameters
    ----------
    device : str
        Catalogue name.
    pricing : str
        One of `PRICINGS`, or ``reserved``.
    currency : str, optional
        That of the list by default.

    Raises
    ------
    ValueProblem
        DS671 for a currency without a rate, DS672 for a device without a price, DS676.
    """
    pricing, money = pricing_of(pricing), currency or prices.currency
    prices.rates.rate(money)
    if pricing == "owned":
        return _owned(prices, device, money)
    table = prices.devices.get(device, {})
    if pricing in table:
        found = table[pricing]
        value = prices.convert(found, money)
        return Rate(pricing, money, value, 0.0, (("rent", value),), (f"price: {found}",))
    off = prices.discounts.get(pricing)
    if off is None or "on-demand" not in table:
        raise _unpriced(prices, device, pricing)
    found = table["on-demand"]
    value = prices.convert(found, money) * (1.0 - off.value)
    said = (f"price: {found}, less {100 * off.value:.0f} %: {off}",)
    return Rate(pricing, money, value, 0.0, (("rent", value),), said)


def _unpriced(prices: PriceList, device: str, pricing: str) -> ValueProblem:
    key = "purchase" if pricing == "owned" else pricing
    with_price = sorted(name for name, table in prices.devices.items() if key in table)
    return unknown(
        f"price {pricing} of the device",
        device,
        with_price,
        f"state devices.{device}.{key} in a file and give it with --prices FILE",
    )


def _owned(prices: PriceList, device: str, currency: str) -> Rate:
    """Return the price of a device that is owned.

    Purchase with its share of the network, paid back over the years that it serves; repairs as a
    share of the purchase each year; rent of building and cooling by its power: all over the hours
    that jobs use. Electricity comes on top, by the joule.
    """
    bought = prices.devices.get(device, {}).get("purchase")
    if bought is None:
        raise _unpriced(prices, device, "owned")
    terms = prices.ownership
    missing = [key for key in ("years", "utilisation") if key not in terms]
    if missing:
        raise unknown("term of ownership", missing[0], sorted(terms), "state it in the file")
    purchase = prices.convert(bought, currency)
    network = terms["network"].value if "network" in terms else 0.0
    whole = purchase / (1.0 - network)
    used_s = YEAR_S * terms["utilisation"].value
    interest = terms["interest"].value if "interest" in terms else 0.0
    yearly = recovery(terms["years"].value, interest)
    upkeep = terms["maintenance"].value if "maintenance" in terms else 0.0
    parts = {
        "device and node": yearly * purchase / used_s,
        "network": yearly * (whole - purchase) / used_s,
        "maintenance": upkeep * whole / used_s,
        "hosting": _hosting(prices, device, currency) / terms["utilisation"].value,
    }
    electricity = terms.get("electricity")
    per_j = prices.convert(electricity, currency) if electricity else 0.0
    said = [f"purchase: {bought}", *(f"{key}: {number}" for key, number in terms.items())]
    return Rate("owned", currency, sum(parts.values()), per_j, tuple(parts.items()), tuple(said))


def _hosting(prices: PriceList, device: str, currency: str) -> float:
    """Return the rent for the most that a device and its host draw, money a second."""
    rent = prices.ownership.get("hosting")
    if rent is None:
        return 0.0
    table = _power_table(prices, device)
    drawn_w = table["active"].value + (table["host"].value if "host" in table else 0.0)
    return prices.convert(rent, currency) * drawn_w


def _power_table(prices: PriceList, device: str) -> Mapping[str, Sourced]:
    table = prices.power.get(device, {})
    if "active" not in table:
        raise unknown(
            "power of the device",
            device,
            sorted(prices.power),
            f"state power.{device}.active in a file and give it with --prices FILE",
        )
    return table


def power_of(prices: PriceList, device: str, region: str | None = None) -> Power | None:
    """Return what a device draws and what that emits; None where no power is known.

    Parameters
    ----------
    region : str, optional
        Whose grid; that of the list by default.

    Raises
    ------
    ValueProblem
        DS674 for a region that the list lacks.
    """
    name = region or prices.region
    if name not in prices.regions:
        raise unknown("region", name, sorted(prices.regions), "add it under regions in a file")
    if "active" not in prices.power.get(device, {}):
        return None
    table = _power_table(prices, device)

    def watt(key: str, default: float) -> float:
        return table[key].value if key in table else default

    return Power(
        idle_w=watt("idle", 0.0),
        active_w=table["active"].value,
        host_w=watt("host", 0.0),
        pue=prices.pue.value if prices.pue else 1.0,
        kg_per_j=prices.regions[name].value,
        waiting=prices.waiting.value if prices.waiting else 0.5,
    )


def power_sources(prices: PriceList, device: str, region: str | None = None) -> list[str]:
    """Return where the numbers of power and CO2 come from."""
    numbers: dict[str, Sourced | None] = {
        **prices.power.get(device, {}),
        "waiting": prices.waiting,
        "PUE": prices.pue,
        "CO2": prices.regions.get(region or prices.region),
    }
    return [f"{name}: {number}" for name, number in numbers.items() if number]
