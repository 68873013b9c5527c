"""What people get wrong about money: one clear error, its code, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distsim.cli import main
from distsim.errors import DistsimError
from distsim.study.money.amount import parse_amount, parse_count
from distsim.study.money.cost import power_of, rate_of
from distsim.study.money.prices import read_prices

NUMBER = {"source": "x", "date": "2026-01-01"}
GOOD = {"schema": 1, "kind": "prices", "name": "mine", "date": "2026-01-01"}


def of(value: object, **changes: object) -> dict:
    return {"value": value, **NUMBER, **changes}


def write(tmp_path: Path, **parts: object) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**GOOD, **parts}, sort_keys=False))
    return str(file)


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("5M$", 5e6, "USD"),
        ("$5M", 5e6, "USD"),
        ("5 M$", 5e6, "USD"),
        ("5M USD", 5e6, "USD"),
        ("5 MUSD", 5e6, "USD"),
        ("3.2M EUR", 3.2e6, "EUR"),
        ("€1.5bn", 1.5e9, "EUR"),
        ("250000 gbp", 250e3, "GBP"),
        ("7 BRL", 7.0, "BRL"),
        ("0 USD", 0.0, "USD"),
    ],
)
def test_amounts(text: str, value: float, currency: str) -> None:
    found = parse_amount(text)
    assert (found.value, found.currency) == (pytest.approx(value), currency)


@pytest.mark.parametrize(
    "text", ["5M", "", "$", "-5M$", "1,000 USD", "5M$ EUR 3", "$5M USD", "1e999 USD", None, 5, [5]]
)
def test_what_is_no_amount(text: object) -> None:
    with pytest.raises(DistsimError) as caught:
        parse_amount(text)
    assert caught.value.code == "DS670"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "value"),
    [("15T", 15e12), ("300B tokens", 300e9), ("1e12", 1e12), ("2.5 M", 2.5e6), (7e9, 7e9)],
)
def test_counts(text: object, value: float) -> None:
    assert parse_count(text, "tokens") == pytest.approx(value)


@pytest.mark.parametrize("text", ["0", "-1T", "15 tons", "T", "", None, "1e999", "15,000", True])
def test_what_is_no_count(text: object) -> None:
    with pytest.raises(DistsimError) as caught:
        parse_count(text, "tokens")
    assert caught.value.code == "DS675"


PRICES = [
    ({"kind": "device"}, "DS673"),
    ({"schema": 2}, "DS673"),
    ({"price": 1}, "DS673"),
    ({"date": "yesterday"}, "DS673"),
    ({"devices": []}, "DS673"),
    ({"devices": {"h100-80gb-sxm": {"spot": of("1 USD/h")}}}, "DS673"),
    ({"devices": {"h100-80gb-sxm": {"on-demand": {"value": "1 USD/h"}}}}, "DS673"),
    ({"devices": {"h100-80gb-sxm": {"on-demand": of("1 USD")}}}, "DS670"),
    ({"devices": {"h100-80gb-sxm": {"on-demand": of("-1 USD/h")}}}, "DS670"),
    ({"devices": {"h100-80gb-sxm": {"purchase": of("0 USD")}}}, "DS673"),
    ({"devices": {"h100-80gb-sxm": {"on-demand": of("1 USD/h", date="2026-13-01")}}}, "DS673"),
    ({"discounts": {"reserved-1y": of("120 %")}}, "DS673"),
    ({"ownership": {"utilisation": of(0)}}, "DS673"),
    ({"ownership": {"years": of("4 h")}}, "DS211"),
    ({"power": {"h100-80gb-sxm": {"active": of("700")}}}, "DS673"),
    ({"regions": {"home": of("12 kg")}}, "DS673"),
    ({"pue": of(0.9)}, "DS673"),
    ({"exchange": {"SEK": of("0 USD")}}, "DS673"),
]


@pytest.mark.parametrize(("parts", "code"), PRICES)
def test_broken_lists_of_prices(tmp_path: Path, parts: dict, code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        read_prices(write(tmp_path, **parts))
    assert caught.value.code == code
    assert "mine.yaml" in str(caught.value)


def test_a_list_of_ones_own_replaces_what_it_states(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        currency="EUR",
        region="home",
        exchange={"SEK": of("0.09 EUR")},
        devices={"h100-80gb-sxm": {"on-demand": of("18 SEK/h")}},
        regions={"home": of("36 g/kWh")},
    )
    prices = read_prices(file)
    rate = rate_of(prices, "h100-80gb-sxm")
    assert rate.currency == "EUR"
    assert rate.per_device_s * 3600 == pytest.approx(18 * 0.09)
    # A price of the shipped list, in dollars, through its own rate.
    assert rate_of(prices, "a100-80gb-sxm").per_device_s * 3600 == pytest.approx(2.70 / 1.082)
    dollars = rate_of(prices, "h100-80gb-sxm", currency="USD")
    assert dollars.per_device_s * 3600 == pytest.approx(18 * 0.09 * 1.082)
    power = power_of(prices, "h100-80gb-sxm")
    assert power is not None
    assert power.kg_per_j == pytest.approx(36e-3 / 3.6e6)


SCENARIO = "megatron-22b-8xa100"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["cost", SCENARIO], "DS676"),
        (["cost", SCENARIO, "--tokens", "1T", "--steps", "5"], "DS676"),
        (["cost", SCENARIO, "--tokens", "many"], "DS675"),
        (["cost", SCENARIO, "--tokens", "-1T"], "DS675"),
        (["cost", SCENARIO, "--tokens", "1T", "--currency", "XYZ"], "DS671"),
        (["cost", SCENARIO, "--tokens", "1T", "--region", "mars"], "DS674"),
        (["cost", SCENARIO, "--tokens", "1T", "--prices", "none.yaml"], "DS101"),
        (["cost", SCENARIO, "--tokens", "1T", "--pricing", "stolen"], "DS602"),
        (["cost", "resnet-50-8xa100", "--tokens", "1T"], "DS676"),
        (["compute-optimal"], "DS676"),
        (["compute-optimal", "--flops", "1e24", "--model", "llama3-8b"], "DS676"),
        (["compute-optimal", "--flops", "much"], "DS675"),
        (["compute-optimal", "--budget", "5M$"], "DS676"),
        (["compute-optimal", "--budget", "5M XYZ", "--device", "h100-80gb-sxm"], "DS671"),
        (["compute-optimal", "--budget", "5 apples", "--device", "h100-80gb-sxm"], "DS670"),
        (["compute-optimal", "--budget", "5M$", "--device", "gb300-279gb"], "DS672"),
        (["compute-optimal", "--flops", "1e24", "--device", "tpu-v4", "--mfu", "0"], "DS675"),
        (["compute-optimal", "--flops", "1e24", "--device", "h100"], "DS101"),
        (["compute-optimal", "--model", "llama9"], "DS"),
    ],
)  # fmt: skip
def test_commands_refuse(words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    result = capsys.readouterr()
    assert result.out == ""
    assert result.err.startswith(f"error: {code}")
    assert "fix:" in result.err


def test_an_unknown_currency_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    main(["compute-optimal", "--budget", "5M EURO", "--device", "h100-80gb-sxm"])
    main(["compute-optimal", "--budget", "5M EUT", "--device", "h100-80gb-sxm"])
    said = capsys.readouterr().err
    assert "DS670" in said
    assert "USD, AUD, CAD, CHF, CNY, EUR, GBP, INR, JPY" in said
    assert "did you mean EUR?" in said


def test_a_device_without_power_leaves_energy_out(tmp_path: Path, capsys) -> None:
    assert power_of(read_prices(), "tpu-v5p") is None
    assert main(["compute-optimal", "--flops", "1e24", "--device", "tpu-v5p"]) == 0
    assert main(["compute-optimal", "--flops", "1e24", "--device", "tpu-v5p", "--json"]) == 0
    assert '"co2_kg": null' in capsys.readouterr().out


def test_costs_are_printed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", SCENARIO, "--tokens", "1B", "--pricing", "owned"]) == 0
    said = capsys.readouterr().out
    for word in ("device hours", "CO2", "as a100-40gb-sxm", "Sources", "maintenance"):
        assert word in said


def test_a_plan_that_does_not_fit_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", SCENARIO, "--set", "plan.recompute=none", "--set", "batch.micro_size=4",
                 "--set", "plan.sequence_parallel=false", "--tokens", "1B"]) == 1  # fmt: skip
    assert "does not fit" in capsys.readouterr().out
