"""`distsim plan` from the command line and from Python: answers, files, and what it refuses."""

from __future__ import annotations

import json

import jsonschema
import pytest

import distsim as ds
from distsim.cli import main
from distsim.errors import DistsimError, InfeasibleError, UsageError
from distsim.report.plan_schema import plan_schema

_SCENARIO = {
    "schema": 1,
    "name": "small",
    "cluster": {"topology": "dgx-a100-superpod", "devices": 8},
    "model": "gpt2-large",
    "batch": {"global_size": 64, "micro_size": 1, "sequence_length": 1024},
}
_SPACE = {"tp": [1, 2], "pp": [1, 2], "micro_size": [1, 2], "zero_stage": [1], "recompute": "none"}


@pytest.fixture
def scenario(tmp_path):
    """Return the path of a scenario, in YAML that is JSON."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(_SCENARIO))
    return str(path)


@pytest.fixture
def space(tmp_path):
    """Return the path of a space."""
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(_SPACE))
    return str(path)


def _planned(**question):
    return ds.plan(_SCENARIO, **{"space": _SPACE, "tokens": "1B", "devices": "8:32"} | question)


def test_json_has_the_answer_and_what_was_searched(capsys, scenario, space):
    code = main(
        ["plan", scenario, "--devices", "8:32", "--tokens", "1B", "--space", space, "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    jsonschema.validate(found, plan_schema())
    counts = found["searched"]
    assert set(counts) == {"candidates", "does_not_fit", "bounded", "pruned", "evaluated"}
    assert counts["candidates"] == counts["does_not_fit"] + counts["pruned"] + counts["evaluated"]
    best = found["best"]
    assert best["time_s"] == pytest.approx(found["steps"] * best["step_s"])
    assert found["steps"] == -(-(10**9) // (64 * 1024))
    assert best["devices"] == min(found["top"], key=lambda c: c["time_s"])["devices"]


def test_text_begins_with_the_size_of_the_cluster(capsys, scenario, space):
    assert main(["plan", scenario, "--devices", "8,16", "--tokens", "1B", "--space", space]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("16 a100-80gb-sxm train gpt2-large on 1B tokens in")


def test_the_file_that_is_written_runs_and_takes_as_long(capsys, scenario, space, tmp_path):
    out = str(tmp_path / "sub" / "plan.yaml")
    (tmp_path / "sub").mkdir()
    args = ["plan", scenario, "--devices", "16", "--tokens", "1B", "--space", space, "--json"]
    assert main([*args, "-o", out]) == 0
    best = json.loads(capsys.readouterr().out)["best"]
    assert main(["run", out, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["step_s"] == best["step_s"]
    assert again["plan"]["tp"] == best["plan"]["tp"]


def test_set_restricts_the_search_and_changes_the_rest(capsys, scenario):
    args = ["--devices", "16", "--tokens", "1B", "--set", "plan.tp=2", "--set", "plan.pp=1,2"]
    more = ["--set", "batch.micro_size=2", "--set", "optimizer=sgd", "--set", "plan.zero_stage=1"]
    assert main(["plan", scenario, *args, *more, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["space"]["tp"] == [2]
    assert found["best"]["plan"]["tp"] == 2
    assert found["best"]["plan"]["micro_size"] == 2
    assert found["best"]["scenario"]["optimizer"] == "sgd"


def test_a_deadline_makes_the_cheapest_plan_the_best():
    free = _planned(objective="time")
    late = _planned(deadline=f"{1.01 * free.best.total.time_s:.0f} s")
    assert (late.objective, late.best.devices) == ("cost", free.best.devices)
    slow = _planned(deadline="1000d")
    assert slow.best.total.money <= min(c.total.money for c in slow.pareto) * (1 + 1e-9)
    assert slow.best.devices < free.best.devices


def test_neighbours_say_why_they_lose():
    planned = _planned(devices=16)
    said = {(r.key, str(r.to)): r for r in planned.rejected}
    assert len(said) == len(planned.rejected) > 5
    for r in planned.rejected:
        assert r.reason
        if r.step_s is not None and not r.code and "slower" in r.reason:
            assert r.step_s > planned.best.outcome.step_s * 0.999
    heads = [r for r in planned.rejected if "does not divide heads" in r.reason]
    assert all(r.code == "DS306" for r in heads)


def test_too_little_memory_is_said_in_numbers():
    """2 + 4 + 12 / 4 bytes for each of 69e9 / (4 * 2) parameters leave nothing of 80 GB."""
    large = _SCENARIO | {"model": "llama2-70b"}
    space = {"tp": [4, 8], "pp": [1, 2], "micro_size": [1], "zero_stage": [1]}
    planned = ds.plan(large, devices=32, tokens="1B", space=space)
    over = {(r.key, r.to): r for r in planned.rejected if r.code == "DS501"}
    assert over
    for rejected in over.values():
        assert rejected.reason.startswith("out of memory by ")
        assert 0.0 < float(rejected.reason.split()[4]) < 200.0


def test_failures_take_time():
    without, failing = _planned(devices=16), _planned(devices=16, with_failures=True)
    often = _planned(devices=16, with_failures=True, mtbf_device="100h")
    times = [p.best.total.time_s for p in (without, failing, often)]
    assert times[0] < times[1] < times[2]
    assert failing.best.outcome.step_s == without.best.outcome.step_s


def test_start_gives_the_day_of_the_end():
    planned = _planned(devices=8, steps=None, tokens="100B", start="2027-01-01")
    days = planned.best.total.time_s / 86400
    assert planned.finish(planned.best) > "2027-01-01"
    assert days > 1


def test_table_has_a_row_for_each_plan_shown():
    planned = _planned(top=3)
    assert len(planned.table) == len(planned.top) + len(planned.pareto)
    assert planned.table["plan.tp"][0] == planned.best.plan()["tp"]


@pytest.mark.parametrize(
    ("question", "code", "kind"),
    [
        ({"devices": "64:8"}, "DS660", UsageError),
        ({"devices": "9,12"}, "DS690", UsageError),
        ({"tokens": "lots"}, "DS675", DistsimError),
        ({"tokens": None}, "DS676", DistsimError),
        ({"budget": "5 florins"}, "DS670", DistsimError),
        ({"budget": "5M XYZ"}, "DS671", DistsimError),
        ({"deadline": "30 parsecs"}, "DS212", DistsimError),
        ({"deadline": "0 s"}, "DS697", UsageError),
        ({"objective": "speed"}, "DS697", UsageError),
        ({"start": "tomorrow"}, "DS697", UsageError),
        ({"space": {"tq": [1]}}, "DS694", UsageError),
        ({"space": {"tp": ["many"]}}, "DS694", UsageError),
        ({"space": {"schedule": ["1f2b"]}}, "DS694", UsageError),
        ({"space": {"tp": [3]}}, "DS691", InfeasibleError),
        ({"deadline": "1 s"}, "DS695", InfeasibleError),
        ({"budget": "0.01 USD"}, "DS696", InfeasibleError),
        ({"deadline": "1 min", "budget": "1 USD"}, "DS695", InfeasibleError),
    ],
)
def test_what_cannot_be_asked(question, code, kind):
    with pytest.raises(kind) as error:
        _planned(**question)
    assert error.value.code == code
    assert error.value.exit_code == (1 if kind is InfeasibleError else 2)


def test_a_missed_deadline_says_by_how_much():
    with pytest.raises(InfeasibleError) as error:
        _planned(deadline="60 s")
    best = _planned(objective="time").best
    assert f"on {best.devices} devices" in error.value.message
    assert "too long" in error.value.message


def test_nothing_fits():
    huge = _SCENARIO | {"model": "megatron-1t"}
    with pytest.raises(InfeasibleError) as error:
        ds.plan(huge, devices=8, steps=10, space=_SPACE)
    assert error.value.code == "DS692"
    assert "GB" in error.value.message


def test_unequal_devices_are_not_covered():
    mixed = _SCENARIO | {
        "cluster": _SCENARIO["cluster"] | {"unequal": [{"devices": [0], "speed": 0.5}]}
    }
    with pytest.raises(DistsimError) as error:
        ds.plan(mixed, devices=8, steps=10)
    assert error.value.code == "DS693"
