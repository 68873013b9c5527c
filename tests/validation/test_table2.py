"""ZeRO-3 against PTD-P, row by row: Narayanan 2021 (arXiv 2104.04473), table 2."""

from __future__ import annotations

import pytest

from distsim.api import load, simulate, validate
from distsim.study.validate_rows import rows, sources

SOURCE = "narayanan-2021-table2"
ROWS = {row.id: row for row in rows(sources()[SOURCE])}
#: Layers and hidden size of the two models, as the table prints them.
SHAPES = {"megatron-175b": (96, 12288), "megatron-529.6b": (105, 20480)}
#: ZeRO-3 and PTD-P on about as many devices, fewest first.
PAIRS = (
    [("174.6b-384-zero3", "174.6b-384-ptd"), ("174.6b-768-zero3", "174.6b-768-ptd"),
     ("174.6b-1536-zero3", "174.6b-1536-ptd")],
    [("529.6b-640-zero3", "529.6b-560-ptd"), ("529.6b-1120-zero3", "529.6b-1120-ptd"),
     ("529.6b-2240-zero3", "529.6b-2240-ptd")],
)  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    (source,) = validate(SOURCE).sources
    return {case.id: case for case in source.cases}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_predicted_within_15_percent(cases, name):
    assert abs(cases[name].error_percent) <= 15.0


@pytest.mark.parametrize("name", [name for name in ROWS if name.endswith("zero3")])
def test_what_ran_fits_into_memory(name):
    assert simulate(load(ROWS[name].scenario), evaluator="graph").memory.fits


@pytest.mark.parametrize("name", ROWS)
def test_printed_times_and_rates_agree(name):
    """96 B s l h^2 (1 + s/6h + V/16lh) FLOP (equation 3) over devices and time is the rate."""
    row = ROWS[name]
    layers, hidden = SHAPES[row.scenario["model"]]
    tokens = row.scenario["batch"]["global_size"] * 2048
    flop = 96 * tokens * layers * hidden**2
    flop *= 1 + 2048 / (6 * hidden) + 51200 / (16 * layers * hidden)
    rate = flop / row.scenario["cluster"]["devices"] / row.measured_s
    assert rate / 1e12 == pytest.approx(row.tflops_per_device, abs=0.51)


def _advantage(seconds, zero3: str, ptd: str) -> float:
    """Sequences a second and device with PTD-P over those with ZeRO-3."""

    def cost(name: str) -> float:
        scenario = ROWS[name].scenario
        return seconds(name) * scenario["cluster"]["devices"] / scenario["batch"]["global_size"]

    return cost(zero3) / cost(ptd)


@pytest.mark.parametrize("pairs", PAIRS)
def test_ptd_wins_and_its_lead_grows_with_devices(cases, pairs):
    predicted = [_advantage(lambda n: cases[n].predicted_s, *pair) for pair in pairs]
    measured = [_advantage(lambda n: cases[n].measured_s, *pair) for pair in pairs]
    for ratios in (predicted, measured):
        assert min(ratios) > 1
        assert ratios == sorted(ratios)


@pytest.mark.parametrize("model", SHAPES)
def test_twice_the_devices_gain_zero3_little(cases, model):
    """At one global batch (micro batch halved) the table's time stands still, PTD-P's halves."""
    for strategy, low, high in (("zero3", 0.85, 1.15), ("ptd", 0.5, 0.56)):
        half, full = [
            cases[name].predicted_s
            for name, row in ROWS.items()
            if row.scenario["model"] == model and name.endswith(strategy)
        ][1:]
        assert low <= full / half <= high


def test_only_two_rows_calibrated():
    fitted = [name for name, row in ROWS.items() if row.split == "calibration"]
    assert fitted == ["174.6b-768-zero3", "529.6b-1120-zero3"]
    assert len(ROWS) == 12
