"""docs/collectives.md says something of everything there is, and its numbers are right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from distsim.collectives.algorithms import ALGORITHMS, schedule
from distsim.collectives.costs import bus_bandwidth_factor
from distsim.collectives.unequal import SKEWS, UNEQUAL
from distsim.study import names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "collectives.md").read_text(encoding="utf-8")
ABOVE, BELOW = PAGE.split("### By numbers")
ROWS = dict(re.findall(r"^\| `(\w+/\w+)` \| (.*) \|$", BELOW.split("## Unequal")[0], re.MULTILINE))
KEYS = [f"{collective}/{algorithm}" for collective, algorithm in ALGORITHMS]


@pytest.mark.parametrize("key", KEYS)
def test_every_algorithm_is_described(key: str) -> None:
    assert f"`{key}`" in ABOVE


def test_the_page_describes_no_algorithm_that_is_not_there() -> None:
    assert set(re.findall(r"`([a-z_]+/[a-z_]+0?)`", ABOVE)) <= {*KEYS, "collectives/costs"}
    assert list(ROWS) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_numbers_of_the_table(key: str) -> None:
    collective, algorithm = key.split("/")
    shape = {"nvls": (8,), "p2p": (2,) if collective == "send" else (8, 2)}.get(algorithm, (8, 2))
    plan = schedule(collective, algorithm, shape)
    sent, steps, messages = np.zeros(plan.n), 0, 0
    for r in plan.rounds:
        np.add.at(sent, r.src, r.fraction * r.repeat)
        steps, messages = steps + r.repeat, messages + r.repeat * len(r.src)
    chunks = " c" if plan.pipelined else ""
    assert ROWS[key] == f"{steps}{chunks} | {messages:,} | {sent.max():g}"


#: What the page writes for 8 members.
FACTORS = {"2 (n - 1) / n": 1.75, "(n - 1) / n": 0.875, "1": 1.0, "0": 0.0}


def test_names_of_nccl_tests_and_their_factors() -> None:
    table = re.findall(r"^\| (`\w+`.*) \| (.*) \| (.*) \|$", PAGE.split("## Algo")[0], re.MULTILINE)
    described = []
    for first, others, factor in table:
        ours = re.findall(r"`(\w+)`", first)
        assert {names.collective_of(w) for w in re.findall(r"`(\w+)`", others)} <= set(ours)
        assert all(bus_bandwidth_factor(name, 8) == FACTORS[factor] for name in ours)
        described += ours
    assert sorted(described) == sorted(names.collectives())


def test_unequal_shares_are_described() -> None:
    below = PAGE.split("## Unequal shares")[1]
    assert all(f"`{name}`" in below for name in UNEQUAL)
    assert all(f"`{name}:" in below for name in SKEWS)


def test_files_that_the_page_names_exist() -> None:
    for name in re.findall(r"`((?:collectives|prediction)/\w+\.py)`", PAGE):
        assert (ROOT / "distsim" / name).is_file(), name
    for name in re.findall(r"(?:tests|docs)/[\w/]+\.(?:py|md)", PAGE):
        assert (ROOT / name).is_file(), name
