"""Lists of prices: a dated file whose every number has its source, and that users replace.

A file of one's own may state a few numbers; the others are then those of the shipped list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from distsim.errors import DistsimError, HardwareError, ValueProblem, nearest, show
from distsim.files import find, load_yaml, shipped
from distsim.hardware.block import Block
from distsim.study.money.amount import Amount, Exchange, parse_amount

#: How devices are paid for.
PRICINGS = ("on-demand", "reserved-1y", "reserved-3y", "owned")
#: What people also write.
ALIASES = {"reserved": "reserved-1y"}
SHIPPED = "list-2025"

_SCHEMA = 1
_TABLES = ("exchange", "discounts", "ownership", "devices", "power", "regions")
_HEADER = ("schema", "kind", "name", "date", "currency", "region", "waiting", "pue")
_DATE = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?")
#: Keys of ``ownership``: what a price is of, or None for a plain number and its highest value.
_OWNERSHIP: Mapping[str, tuple[str | None, float | None]] = {
    "network": (None, 0.99),
    "years": (None, 100.0),
    "utilisation": (None, 1.0),
    "maintenance": (None, 10.0),
    "interest": (None, 1.0),
    "hosting": ("kW/month", None),
    "electricity": ("kWh", None),
}
_RENTED = PRICINGS[:-1]
_PER_DEVICE = (*_RENTED, "purchase")
_POWERS = ("active", "idle", "host")
_WATT = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(W|kW)")
_INTENSITY = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(g|kg)/kWh")


@dataclass(frozen=True, slots=True)
class Sourced:
    """A number, where it comes from and of what date it is.

    Attributes
    ----------
    value : float
        SI: W, kg/J, fractions; money by the second, joule, or watt and second.
    currency : str
        Of money; empty for anything else.
    """

    value: float
    source: str
    date: str
    currency: str = ""

    @property
    def amount(self) -> Amount:
        """The number as money."""
        return Amount(self.value, self.currency)

    def __str__(self) -> str:
        return f"{self.source} ({self.date})"


Table = Mapping[str, Sourced]


@dataclass(frozen=True, slots=True)
class PriceList:
    """What things cost, and what power they draw.

    Attributes
    ----------
    name, date : str
    currency : str
        What results are in.
    exchange, discounts, ownership, regions : mapping of str to Sourced
    devices, power : mapping of str to mapping of str to Sourced
        By device: prices by way of paying, and power by state.
    region : str
        Whose grid is taken where none is named.
    waiting, pue : Sourced or None
    """

    name: str
    date: str
    currency: str
    exchange: Table
    discounts: Table
    ownership: Table
    devices: Mapping[str, Table]
    power: Mapping[str, Table]
    regions: Table
    region: str = ""
    waiting: Sourced | None = None
    pue: Sourced | None = None

    @property
    def rates(self) -> Exchange:
        """Rates of exchange into the list's currency, also through a third one."""
        worth = {self.currency: 1.0}
        for _ in self.exchange:  # each round finds one more, or there are no more
            for name, rate in self.exchange.items():
                if name not in worth and rate.currency in worth:
                    worth[name] = rate.value * worth[rate.currency]
                elif name in worth and rate.currency not in worth:
                    worth[rate.currency] = worth[name] / rate.value
        del worth[self.currency]
        return Exchange(self.currency, MappingProxyType(worth))

    def convert(self, number: Sourced, currency: str | None = None) -> float:
        """Return a number of money in the list's currency, or in another.

        Raises
        ------
        ValueProblem
            DS671 for a currency without a rate.
        """
        return self.rates.convert(number.amount, currency or self.currency)


def read_prices(source: str | None = None) -> PriceList:
    """Return a list of prices.

    Parameters
    ----------
    source : str, optional
        A file, or the name of a shipped list. What it leaves out is as in the shipped list.

    Raises
    ------
    FileError
        DS101 for a file that does not exist.
    ValueProblem
        DS670 to DS673, and DS21x for quantities, with the line in the file.
    """
    base = _read_file(str(shipped("prices", SHIPPED)))
    return base if source is None else _over(base, _read_file(str(find("prices", source))))


def _over(base: PriceList, own: PriceList) -> PriceList:
    """Return a list whose numbers come before those of another."""
    changed: dict[str, Any] = {"name": own.name, "date": own.date}
    for key in ("exchange", "discounts", "ownership", "regions"):
        changed[key] = MappingProxyType({**getattr(base, key), **getattr(own, key)})
    for key in ("devices", "power"):
        tables = dict(getattr(base, key))
        for name, table in getattr(own, key).items():
            tables[name] = MappingProxyType({**tables.get(name, {}), **table})
        changed[key] = MappingProxyType(tables)
    for key in ("currency", "region", "waiting", "pue"):
        changed[key] = getattr(own, key) or getattr(base, key)
    return replace(base, **changed)


@lru_cache(maxsize=8)
def _read_file(file: str) -> PriceList:
    data, positions = load_yaml(file)
    try:
        return _read(data)
    except DistsimError as error:
        found = _as_prices(error) if isinstance(error, HardwareError) else error
        place = positions.place(error.path)
        raise (found.at(place) if place else found) from None


def _as_prices(error: HardwareError) -> ValueProblem:
    """Return a problem of a block as one of a list of prices."""
    return ValueProblem(
        "DS673", error.message, path=error.path, value=error.value, rule=error.rule, fix=error.fix
    )


def _read(data: object) -> PriceList:
    block = Block(data)
    if not block.has("kind") or block.raw("kind") != "prices":
        raise block.error(
            "DS673",
            "this file is no list of prices",
            key="kind" if block.has("kind") else None,
            rule="a list of prices has kind: prices",
            fix="start from distsim/data/prices, or write kind: prices",
        )
    block.only(*_HEADER, *_TABLES)
    if block.integer("schema", _SCHEMA) != _SCHEMA:
        raise block.error(
            "DS673",
            f"prices of schema {block.raw('schema')}",
            key="schema",
            rule=f"this version reads schema {_SCHEMA}",
            fix=f"write schema: {_SCHEMA}",
        )
    return PriceList(
        name=block.text("name"),
        date=_date(block),
        currency=block.text("currency", "").upper(),
        exchange=_table(block, "exchange", _money),
        discounts=_table(block, "discounts", _fraction, _RENTED),
        ownership=_ownership(block),
        devices=_tables(block, "devices", _PER_DEVICE, _price),
        power=_tables(block, "power", _POWERS, _watt),
        regions=_table(block, "regions", _intensity),
        region=block.text("region", ""),
        waiting=_fraction(block, "waiting") if block.has("waiting") else None,
        pue=_number(block, "pue", 1.0, 10.0) if block.has("pue") else None,
    )


def _date(block: Block) -> str:
    text = block.text("date")
    if not _DATE.fullmatch(text):
        raise block.error(
            "DS673",
            f"{show(text)} is not a date",
            key="date",
            value=text,
            rule="year, month and day: 2025-06-30",
            fix="write the day on which the number was read",
        )
    return text


def _entry(block: Block, key: str) -> Block:
    entry = block.block(key)
    entry.only("value", "source", "date")
    return entry


def _sourced(entry: Block, value: float, currency: str = "") -> Sourced:
    return Sourced(value, entry.text("source"), _date(entry), currency)


def _table(block: Block, key: str, read: Any, known: tuple[str, ...] = ()) -> Table:
    if not block.has(key):
        return MappingProxyType({})
    inner = block.block(key)
    if known:
        inner.only(*known)
    return MappingProxyType({name: read(inner, name) for name in inner.names()})


def _tables(block: Block, key: str, known: tuple[str, ...], read: Any) -> Mapping[str, Table]:
    if not block.has(key):
        return MappingProxyType({})
    inner = block.block(key)
    return MappingProxyType({name: _table(inner, name, read, known) for name in inner.names()})


def _money(block: Block, name: str, per: str = "") -> Sourced:
    entry = _entry(block, name)
    found = parse_amount(entry.raw("value"), per=per, path=(*entry.path, "value"))
    if found.value == 0 and not per:
        raise _range(entry, f"{name} > 0")
    return _sourced(entry, found.value, found.currency)


def _price(block: Block, name: str) -> Sourced:
    return _money(block, name, "" if name == "purchase" else "h")


def _fraction(block: Block, name: str) -> Sourced:
    entry = _entry(block, name)
    return _sourced(entry, entry.quantity("value", "1", zero=True, high=1.0))


def _number(block: Block, name: str, low: float, high: float) -> Sourced:
    entry = _entry(block, name)
    value = entry.quantity("value", "1", zero=True, high=high)
    if value < low:
        raise _range(entry, f"{low:g} <= {name} <= {high:g}")
    return _sourced(entry, value)


def _ownership(block: Block) -> Table:
    if not block.has("ownership"):
        return MappingProxyType({})
    inner = block.block("ownership")
    inner.only(*_OWNERSHIP)
    out = {}
    for name in inner.names():
        per, high = _OWNERSHIP[name]
        if per is not None:
            out[name] = _money(inner, name, per)
        else:
            above = name in ("years", "utilisation")
            entry = _entry(inner, name)
            out[name] = _sourced(entry, entry.quantity("value", "1", zero=not above, high=high))
    return MappingProxyType(out)


def _range(entry: Block, rule: str) -> HardwareError:
    return entry.error(
        "DS405",
        f"{show(entry.raw('value'))} is out of range",
        key="value",
        value=entry.raw("value"),
        rule=rule,
        fix="write a value in that range",
    )


def _measured(
    block: Block, name: str, form: re.Pattern[str], rule: str
) -> tuple[Block, float, str]:
    """Return number and unit of a dimension that nothing else has."""
    entry = _entry(block, name)
    text = entry.raw("value")
    match = form.fullmatch(text.strip()) if isinstance(text, str) and len(text) < 100 else None
    if match is None:
        raise entry.error(
            "DS673", f"{show(text)} is not {rule}", key="value", value=text, rule=rule,
            fix="write a number and its unit",
        )  # fmt: skip
    return entry, float(match[1]), match[2]


def _watt(block: Block, name: str) -> Sourced:
    entry, number, unit = _measured(block, name, _WATT, "a power such as 700 W")
    return _sourced(entry, number * (1e3 if unit == "kW" else 1.0))


def _intensity(block: Block, name: str) -> Sourced:
    entry, number, unit = _measured(block, name, _INTENSITY, "a mass of CO2 such as 370 g/kWh")
    return _sourced(entry, number / (3.6e6 if unit == "kg" else 3.6e9))


def unknown(kind: str, name: str, known: list[str], fix: str) -> ValueProblem:
    """Return the error for a device or a region that the list lacks (DS672, DS674)."""
    near = nearest(name, known)
    return ValueProblem(
        "DS674" if kind == "region" else "DS672",
        f"the list of prices has no {kind} {show(name)}",
        value=name,
        rule=f"it has {', '.join(known)}",
        fix=(f"did you mean {near}? Or " if near else "") + fix,
    )
