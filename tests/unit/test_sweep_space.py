"""The space of a sweep: every combination is there, as a scenario or with its reason."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import distsim as ds
from distsim.errors import DistsimError
from distsim.study.evaluate import evaluate
from distsim.study.sweep.run import sweep
from distsim.study.sweep.space import Space
from distsim.study.sweep.study import space_of
from tests.sweeping import SMALL, Counting, made_up


def _of(**options: Any) -> Space:
    return space_of(SMALL, **options)


def test_every_combination_is_there_in_order() -> None:
    points = _of(set_=["plan.tp=1,2", "batch.micro_size=1,2,4"], devices="8:32").points()
    expected = list(product((8, 16, 32), (1, 2), (1, 2, 4)))
    found = [tuple(p.values.values()) for p in points]
    assert found == expected
    assert [p.index for p in points] == list(range(18))
    for (devices, tp, micro), point in zip(expected, points, strict=True):
        assert point.scenario is not None
        same = ds.load(SMALL).with_(
            cluster={"devices": devices}, plan={"tp": tp}, batch={"micro_size": micro}
        )
        assert point.scenario == same


def test_what_cannot_be_is_a_row_with_its_reason() -> None:
    found = ds.sweep(SMALL, set_={"plan.tp": [0, 2, 3], "plan.schedule": ["1f1b"]}, jobs=1)
    assert len(found) == 3
    refused, fine, impossible = found.rows
    assert fine.outcome.possible
    assert (refused.outcome.code, refused.outcome.key) == ("DS203", "plan.tp")
    assert impossible.outcome.code.startswith("DS3")
    assert impossible.outcome == evaluate(ds.load(SMALL).with_(plan={"tp": 3}))
    table = found.table
    assert table["status"] == ("not possible", "ok", "not possible")
    assert table["step_s"][0] is None
    assert str(table["reason"][2]).startswith(impossible.outcome.code)


def test_a_plan_that_does_not_fit_keeps_its_numbers() -> None:
    outcome = made_up(peak_bytes=83.1e9, capacity_bytes=80e9)
    assert (outcome.possible, outcome.fits, outcome.status) == (True, False, "does not fit")
    assert outcome.reason == "DS501: out of memory by 3.1 GB a device"
    found = sweep(_of(), Counting(lambda _: outcome))
    assert found.table["step_s"] == (2.0,)
    assert found.table["over_bytes"][0] == pytest.approx(3.1e9)
    assert found.best.points == ()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"set_": ["plan.tq=1,2"]}, "DS201"),
        ({"set_": ["pln.tp=1,2"]}, "DS201"),
        ({"set_": ["plan.recompute=none,{mod: full}"]}, "DS201"),  # though the first is fine
        ({"set_": ["plan.tp.x=1,2"]}, "DS621"),
        ({"set_": ["plan.tp=a,b"]}, "DS202"),
        ({"set_": ["plan.tp=1,2", "plan.tp=4"]}, "DS661"),
        ({"set_": ["plan.recompute=none", "plan.recompute.mode=full"]}, "DS661"),
        ({"set_": ["cluster.devices=8,16"], "devices": "8:16"}, "DS661"),
        ({"along": ["cluster.devices=8,16"], "devices": "8:16"}, "DS661"),
        ({"set_": ["seed=0:10000:+1"]}, "DS662"),
        ({"set_": ["seed=0:99:+1", "plan.tp=1,2"], "max_points": 199}, "DS662"),
        ({"weak": True}, "DS666"),
        ({"along": ["plan.tp=1,2"]}, "DS666"),
        ({"along": ["plan.tp=1,2"], "devices": "8:32"}, "DS666"),
        ({"devices": "8:1"}, "DS660"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        _of(**options).points()
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert caught.value.fix


def test_an_unknown_key_is_placed_at_its_option() -> None:
    with pytest.raises(DistsimError, match=r"^--set plan.tq=1: DS201.*tq"):
        _of(set_=["plan.tq=1,2"]).points()


def test_a_scenario_that_is_wrong_by_itself_is_no_row() -> None:
    wrong = SMALL | {"batch": {"global_size": -1}}
    with pytest.raises(DistsimError) as caught:
        space_of(wrong, set_=["plan.tp=1,2"]).points()
    assert caught.value.path == ("batch", "global_size")
    # Unless the sweep is what mends it, if only in part.
    half = space_of(wrong, set_=["batch.global_size=-1,8"]).points()
    assert [p.scenario is not None for p in half] == [False, True]
    mended = space_of(wrong, set_=["batch.global_size=8,16"]).points()
    assert all(p.scenario is not None for p in mended)


def test_the_scenario_need_not_say_what_varies() -> None:
    without = SMALL | {"cluster": {"topology": "dgx-a100-superpod"}}
    points = space_of(without, devices="8,16").points()
    assert [p.scenario.cluster.devices for p in points if p.scenario] == [8, 16]


def test_the_source_stays_as_it_is() -> None:
    scenario = ds.load(SMALL)
    before = scenario.to_dict()
    space_of(scenario, devices="8:32", set_=["plan.tp=1,2"]).points()
    assert scenario.to_dict() == before


def test_a_weak_batch_grows_from_that_of_the_scenario() -> None:
    points = _of(devices="8:64", weak=True).points()
    sizes = [p.scenario.batch.global_size for p in points if p.scenario]
    assert sizes == [16, 32, 64, 128]  # 2 sequences a device, as 32 on 16


def test_a_weak_batch_that_would_be_no_whole_number_is_a_row() -> None:
    odd = SMALL | {"batch": SMALL["batch"] | {"global_size": 24}}
    found = sweep(space_of(odd, devices="2,3,4", weak=True), Counting(lambda s: made_up()))
    assert [r.outcome.code for r in found] == ["", "DS664", ""]
    assert "24 * 3 / 16 = 4.5" in found.rows[1].outcome.message


def test_what_goes_along_takes_its_value_by_the_count() -> None:
    space = _of(
        devices="8,16,32",
        along=["plan.tp=1,2,2", "batch.global_size=8,8,64"],
        set_=["batch.micro_size=1,2"],
        weak=True,
    )
    points = space.points()
    assert len(points) == 6
    found = [
        (s.cluster.devices, s.plan.tp, s.batch.global_size, s.batch.micro_size)
        for p in points
        if (s := p.scenario)
    ]
    assert found == [
        (8, 1, 8, 1), (8, 1, 8, 2), (16, 2, 8, 1), (16, 2, 8, 2), (32, 2, 64, 1), (32, 2, 64, 2),
    ]  # fmt: skip


def test_results_come_in_order_whoever_is_first() -> None:
    space = _of(devices="8:64", set_=["plan.tp=1,2"])
    runner = Counting(lambda s: made_up(s.cluster.devices, 1.0 / s.cluster.devices / s.plan.tp))
    told: list[int] = []
    found = sweep(space, runner, on_result=lambda index, _: told.append(index))
    assert [r.outcome.devices for r in found] == [8, 8, 16, 16, 32, 32, 64, 64]
    assert sorted(told) == list(range(8))
    assert told == list(reversed(range(8)))


def test_equal_scenarios_are_evaluated_once() -> None:
    runner = Counting(lambda s: made_up())
    found = sweep(_of(set_=["precision=bf16,{compute: bf16}", "plan.cp=1"]), runner)
    names = sweep(_of(set_=["name=a,b,c"]), other := Counting(lambda s: made_up()))
    assert (len(names), len(other.asked), names.evaluated, names.found) == (3, 1, 1, 2)
    assert len(found) == 2
