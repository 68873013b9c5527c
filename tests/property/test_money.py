"""Amounts and rates of exchange: any text, any rates."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import DistsimError
from distsim.study.money.amount import Amount, Exchange, parse_amount, parse_count
from distsim.study.money.cost import Power, Rate, money_of

RELAXED = settings(deadline=None)
positive = st.floats(1e-6, 1e6)
rates = st.dictionaries(st.sampled_from(["EUR", "GBP", "JPY", "SEK"]), positive, min_size=2)


@RELAXED
@given(st.text(max_size=20) | st.from_regex(r"[$€]?[-0-9.eE ]{0,8}[kMBT]?[ A-Z$/h]{0,6}"))
def test_a_text_is_an_amount_or_a_clear_error(text: str) -> None:
    for read in (parse_amount, lambda t: parse_amount(t, per="h"), lambda t: parse_count(t, "x")):
        try:
            read(text)
        except DistsimError as error:
            assert error.code in ("DS670", "DS675")


@RELAXED
@given(st.floats(0, 1e12), st.sampled_from(["USD", "EUR", "GBP"]), st.sampled_from("kMBT"))
def test_amounts_are_read_back(value: float, currency: str, prefix: str) -> None:
    factor = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[prefix]
    found = parse_amount(f"{value!r}{prefix} {currency}")
    assert found.value == pytest.approx(value * factor)
    assert found.currency == currency


@RELAXED
@given(rates, positive)
def test_exchange_there_and_back_and_around(given_rates: dict[str, float], value: float) -> None:
    exchange = Exchange("USD", MappingProxyType(given_rates))
    one, other = sorted(given_rates)[:2]
    there = exchange.convert(Amount(value, one), other)
    assert exchange.convert(Amount(there, other), one) == pytest.approx(value)
    through = exchange.convert(Amount(exchange.convert(Amount(value, one), "USD"), "USD"), other)
    assert there == pytest.approx(through)


@RELAXED
@given(positive, positive, st.floats(0, 1), st.floats(1, 3))
def test_money_is_linear_and_energy_between_idle_and_active(devices, seconds, busy, pue) -> None:
    rate, power = Rate("owned", "USD", 1e-3, 1e-8), Power(50.0, 500.0, 100.0, pue, 1e-7)
    once = money_of(devices, seconds, rate, power, busy=busy)
    twice = money_of(2 * devices, seconds, rate, power, busy=busy)
    for name in ("device_s", "money", "energy_j", "co2_kg"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name))
    assert 150 * pue * (1 - 1e-9) <= once.energy_j / once.device_s <= 600 * pue * (1 + 1e-9)
