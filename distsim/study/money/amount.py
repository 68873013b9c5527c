"""Amounts as people write them: money with its currency, counts of tokens and FLOP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from distsim.errors import ValueProblem, nearest, show

Path = tuple[str | int, ...]

_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP"}
_PREFIXES = {
    "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "B": 1e9, "b": 1e9, "bn": 1e9, "G": 1e9,
    "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21, "Y": 1e24,
}  # fmt: skip
_NUMBER = r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_CURRENCY = r"[$€£]|[A-Za-z]{3}"
_MONEY = re.compile(
    rf"(?P<before>{_CURRENCY})?\s*{_NUMBER}\s*(?P<prefix>bn|[kKMmBbT])?\s*(?P<after>{_CURRENCY})?"
)
_COUNT = re.compile(rf"{_NUMBER}\s*(?P<prefix>bn|[kKMBbGTPEZY])?\s*(?P<word>[A-Za-z]+)?", re.ASCII)
#: What a price is of, and how many of its SI unit that is.
_PER = {
    "": 1.0,
    "h": 3600.0,
    "kWh": 3.6e6,
    "kW/month": 1e3 * 8766 * 3600 / 12,  # a year of 365.25 days
}
#: What the unit of a price measures, in words.
_OF = {"": "an amount", "h": "a price an hour", "kWh": "a price of energy",
       "kW/month": "a rent for power"}  # fmt: skip
_EXAMPLES = {"": "5M USD", "h": "2.5 USD/h", "kWh": "0.08 USD/kWh", "kW/month": "180 USD/kW/month"}


@dataclass(frozen=True, slots=True)
class Amount:
    """Money in a currency (ISO 4217)."""

    value: float
    currency: str


def parse_amount(
    text: object, *, per: str = "", path: Path = (), default: str | None = None
) -> Amount:
    """Return an amount of money, or a price.

    Parameters
    ----------
    text : object
        ``5M$``, ``$5M``, ``5M USD``, ``3.2M EUR``, ``250000 GBP``; with `per` also its unit:
        ``2.5 USD/h``. k, M, B (or bn) and T are 10^3 to 10^12.
    per : {"", "h", "kWh", "kW/month"}
        What it is a price of; the result is by the second, joule, or watt and second.
    default : str, optional
        Currency where none is written; without it, that is an error.

    Raises
    ------
    ValueProblem
        DS670 for what is no amount, is negative or has no currency.
    """
    body = text.strip() if isinstance(text, str) and len(text) < 100 else ""
    if per and body.endswith(f"/{per}"):
        body = body.removesuffix(f"/{per}").strip()
    elif per:
        raise _no_amount(text, per, path, f"is not {_OF[per]}")
    match = _MONEY.fullmatch(body)
    if match is None:
        raise _no_amount(text, per, path, "is not an amount of money")
    before, after = match["before"], match["after"]
    word = before or after or default
    if word is None or (before and after):
        raise _no_amount(text, per, path, "has no currency" if word is None else "has two of them")
    value = float(match["number"]) * _PREFIXES[match["prefix"] or ""]
    if not isfinite(value) or value < 0:
        raise _no_amount(text, per, path, "is out of range")
    return Amount(value / _PER[per], _SYMBOLS.get(word, word.upper()))


def _no_amount(text: object, per: str, path: Path, what: str) -> ValueProblem:
    example = _EXAMPLES[per]
    return ValueProblem(
        "DS670",
        f"{show(text)} {what}",
        path=path,
        value=text,
        rule=f"a number >= 0 and a currency, such as {example}"
        + ("; $5M, 5M$ and 3.2M EUR work too" if not per else ""),
        fix="write it so, without commas between digits",
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """Rates of one list of prices: there are no others.

    Attributes
    ----------
    base : str
        Currency that rates are in.
    rates : mapping of str to float
        What one unit of each other currency is worth.
    """

    base: str
    rates: Mapping[str, float]

    @property
    def known(self) -> tuple[str, ...]:
        """Currencies that can be converted, the base first."""
        return (self.base, *sorted(self.rates))

    def rate(self, currency: str, *, path: Path = ()) -> float:
        """Return what one unit of a currency is worth in the base.

        Raises
        ------
        ValueProblem
            DS671 for a currency without a rate.
        """
        if currency == self.base:
            return 1.0
        if currency in self.rates:
            return self.rates[currency]
        near = nearest(currency, self.known)
        raise ValueProblem(
            "DS671",
            f"no exchange rate for the currency {show(currency)}",
            path=path,
            value=currency,
            rule=f"the list of prices has {', '.join(self.known)}",
            fix=(f"did you mean {near}? Or " if near else "")
            + "add its rate under exchange in a file for --prices",
        )

    def convert(self, amount: Amount, currency: str, *, path: Path = ()) -> float:
        """Return an amount in another currency.

        Raises
        ------
        ValueProblem
            DS671 for a currency without a rate.
        """
        if amount.currency == currency:
            self.rate(currency, path=path)
            return amount.value
        return amount.value * self.rate(amount.currency, path=path) / self.rate(currency, path=path)


def parse_count(text: object, noun: str, *, path: Path = ()) -> float:
    """Return a count: ``15T``, ``300B tokens``, ``1e24``, ``3.8e25 FLOP``.

    Parameters
    ----------
    text : object
    noun : str
        What is counted: ``tokens``, ``FLOP``. It may be written behind the number.

    Raises
    ------
    ValueProblem
        DS675 for what is no count above 0.
    """
    written = str(text).strip() if isinstance(text, str | int | float) else ""
    match = _COUNT.fullmatch(written) if len(written) < 100 else None
    word = match["word"] if match else None
    right = word is None or word.lower().rstrip("s") == noun.lower().rstrip("s")
    value = float(match["number"]) * _PREFIXES[match["prefix"] or ""] if match and right else 0.0
    if value > 0 and isfinite(value):
        return value
    raise ValueProblem(
        "DS675",
        f"{show(text)} is no number of {noun}",
        path=path,
        value=text,
        rule="a number above 0, with k, M, B, T for 10^3 to 10^12",
        fix="write for example 15T" if noun == "tokens" else "write for example 1e24",
    )


def fmt_money(value: float, currency: str) -> str:
    """Return an amount for people: ``4.21M USD``, ``0.38 USD``."""
    for factor, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= 0.99995 * factor:
            return f"{value / factor:.4g}{name} {currency}"
    if abs(value) >= 100:
        return f"{value:,.0f} {currency}"
    return f"{value:.3g} {currency}"
