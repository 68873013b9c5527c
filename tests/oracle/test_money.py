"""Money, energy and CO2 against published accounts, ledgers and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import distsim as ds
from distsim.hardware.catalogue import device_names
from distsim.study.money.cost import (
    PRICINGS,
    Power,
    Rate,
    money_of,
    power_of,
    rate_of,
    recovery,
)
from distsim.study.money.prices import read_prices

KWH = 3.6e6
FREE = Rate("on-demand", "USD", 0.0)


def test_patterson_account_of_gpt3() -> None:
    """Patterson 2021, table 4: 10,000 V100 for 14.8 days at 330 W and PUE 1.1."""
    power = Power(0.0, 330.0, 0.0, pue=1.1, kg_per_j=0.429 / KWH)
    bill = money_of(10_000, 14.8 * 86400, FREE, power)
    assert float(bill.energy_j) / KWH == pytest.approx(1287e3, rel=0.003)
    assert float(bill.co2_kg) == pytest.approx(552.1e3, rel=0.003)


def test_luccioni_account_of_bloom() -> None:
    """Luccioni 2022, table 3: 1,082,990 hours of A100 are 433,196 kWh and 24.69 t at 57 g/kWh."""
    bill = money_of(384, 1_082_990 / 384 * 3600, FREE, Power(0.0, 400.0, 0.0, kg_per_j=57e-3 / KWH))
    assert float(bill.device_s) / 3600 == pytest.approx(1_082_990)
    assert float(bill.energy_j) / KWH == pytest.approx(433_196, rel=1e-5)
    assert float(bill.co2_kg) == pytest.approx(24.69e3, rel=1e-3)


@pytest.mark.parametrize(
    ("hours", "tonnes"), [(1.46e6, 420), (7.0e6, 2040), (30.84e6, 8930)], ids=["8b", "70b", "405b"]
)
def test_shipped_power_and_grid_give_the_emissions_that_llama_3_states(hours, tonnes) -> None:
    """Model card of Llama 3.1: location-based, by thermal design power of the devices alone."""
    shipped = power_of(read_prices(), "h100-80gb-sxm", "usa")
    assert shipped is not None
    alone = Power(0.0, shipped.active_w, 0.0, shipped.pue, shipped.kg_per_j)
    assert float(money_of(1, hours * 3600, FREE, alone).co2_kg) == pytest.approx(
        tonnes * 1e3, rel=0.04
    )


def test_mean_power_is_between_idle_and_active() -> None:
    power = Power(100.0, 700.0, 300.0, pue=1.2)
    assert power.mean_w([0.0, 0.5, 1.0]).tolist() == pytest.approx([480.0, 840.0, 1200.0])


@pytest.mark.parametrize("interest", [0.0, 1e-9, 0.05, 0.12])
def test_yearly_payments_are_worth_the_purchase(interest: float) -> None:
    present = sum(recovery(5, interest) / (1 + interest) ** n for n in range(1, 6))
    assert present == pytest.approx(1.0, rel=1e-6)


def test_owned_devices_cost_what_a_ledger_adds_up(tmp_path: Path) -> None:
    """Four devices bought for 3 years, half used: every payment, by the year."""
    number = {"source": "x", "date": "2026-01-01"}
    terms = {
        "network": "20 %", "years": 3, "utilisation": 0.5, "maintenance": 0.1,
        "hosting": "100 USD/kW/month", "electricity": "0.1 USD/kWh",
    }  # fmt: skip
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({
        "schema": 1, "kind": "prices", "name": "mine", "date": "2026-01-01",
        "ownership": {k: {"value": v, **number} for k, v in terms.items()},
        "devices": {"h100-80gb-sxm": {"purchase": {"value": "8000 USD", **number}}},
        "power": {"h100-80gb-sxm": {k: {"value": v, **number} for k, v in
                  {"active": "0.6 kW", "idle": "200 W", "host": "400 W"}.items()}},
        "pue": {"value": 1.5, **number},
    }))  # fmt: skip
    prices = read_prices(str(file))
    rate, power = rate_of(prices, "h100-80gb-sxm", "owned"), power_of(prices, "h100-80gb-sxm")
    assert power is not None
    used_s = 3 * 365.25 * 86400 * 0.5
    ledger = 0.0
    for _ in range(4):
        whole = 8000 / 0.8
        ledger += whole
        for _ in range(3):
            ledger += 0.1 * whole
            ledger += 12 * 100 * 1.0  # 0.6 + 0.4 kW
            ledger += 0.5 * 8766 * 0.1 * (1.5 * (0.4 + 0.5))  # 0.5 active: 400 W of the device
    bill = money_of(4, used_s, rate, power, busy=0.75)
    assert float(power.mean_w(0.75)) == pytest.approx(1.5 * 900)
    assert float(bill.money) == pytest.approx(ledger, rel=1e-9)


def test_arrays_are_as_one_by_one() -> None:
    rate, power = Rate("owned", "USD", 0.001, 2e-8), Power(100.0, 700.0, 300.0, 1.2, 1e-7)
    devices, seconds = np.array([[8], [64]]), np.array([10.0, 20.0, 30.0])
    bill = money_of(devices, seconds, rate, power, busy=0.5)
    assert bill.money.shape == (2, 3)
    for i, n in enumerate([8, 64]):
        for j, s in enumerate([10.0, 20.0, 30.0]):
            energy = n * s * 1.2 * (300 + 400)
            assert bill.money[i, j] == pytest.approx(n * s * 0.001 + energy * 2e-8)
            assert bill.co2_kg[i, j] == pytest.approx(energy * 1e-7)


def test_every_shipped_price_is_of_a_device_and_grows_dearer_the_shorter_it_binds() -> None:
    prices = read_prices()
    known = set(device_names())
    assert set(prices.devices) <= known
    assert set(prices.power) <= known
    for name in prices.devices:
        rates = [rate_of(prices, name, p).per_device_s for p in PRICINGS[:3]]
        assert rates == sorted(rates, reverse=True), name


def test_a_scenario_costs_its_steps() -> None:
    scenario = ds.load("megatron-22b-8xa100")
    seen = ds.simulate(scenario)
    per_step = 4 * 2048  # sequences and their length
    bill = ds.training_cost(scenario, tokens=1e9)
    steps = -(-(10**9) // per_step)
    assert bill.steps == steps
    assert bill.tokens == steps * per_step
    assert bill.total.duration_s == pytest.approx(steps * seen.step_s)
    assert bill.total.money == pytest.approx(8 * steps * seen.step_s / 3600 * 2.70)
    assert bill.money_per_million_tokens == pytest.approx(bill.total.money / bill.tokens * 1e6)
    again = ds.training_cost(scenario, steps=steps, currency="eur")
    assert again.total.money == pytest.approx(bill.total.money / 1.082)


def test_llama_3_405b_takes_the_device_hours_that_were_published() -> None:
    """Model card of Llama 3.1: 30.84 million hours of H100, on 15.6 T tokens (Grattafiori 2024)."""
    bill = ds.training_cost(ds.load("llama3-405b-16384xh100"), tokens="15.6T")
    assert bill.low is not None
    assert bill.high is not None
    assert bill.low.device_s / 3600 < 30.84e6 < bill.high.device_s / 3600
    assert bill.total.device_s / 3600 == pytest.approx(30.84e6, rel=0.1)
