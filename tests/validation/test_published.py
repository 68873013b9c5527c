"""Predictions against published runs; the targets are the project's own."""

from __future__ import annotations

import pytest

from distsim.api import validate
from distsim.hardware.catalogue import device, load_topology, topology_names

#: Mean absolute error that each source must not exceed, percent.
TARGETS = {"korthikanti-2022": 3.0, "narayanan-2021": 4.0}


@pytest.fixture(scope="module")
def report():
    return {name: validate(name).sources[0] for name in TARGETS}


@pytest.mark.parametrize(("source", "target"), TARGETS.items())
def test_mean_error_is_within_the_target(report, source, target):
    assert report[source].mape_percent() <= target


@pytest.mark.parametrize(("source", "target"), TARGETS.items())
def test_rows_that_calibrated_nothing_are_as_good(report, source, target):
    assert report[source].mape_percent("held_out") <= target


def test_all_rows_are_there(report):
    assert [len(report[s].cases) for s in TARGETS] == [8, 10]


def test_fitted_parameters_are_plausible():
    a100 = device("a100-80gb-sxm")
    for name in ("gemm_efficiency", "memory_efficiency", "attention_efficiency"):
        assert 0.5 < getattr(a100, name) < 0.9, name
    assert 0 <= a100.contention_factor < 0.5
    for name in topology_names():
        topology = load_topology(name, 4)
        assert (topology.capacity_bytes_per_s <= topology.bandwidth_bytes_per_s).all()
