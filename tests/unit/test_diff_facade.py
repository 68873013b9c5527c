"""``ds.diff`` and ``ds.trace``: what the commands print, as objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import distsim as ds
from distsim.cli import main

A, B = "gpt2-xl-8xa100", "gpt2-xl-8xa100-gpipe"


def test_a_diff_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", A, B, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    made = []
    found = ds.diff(A, B, on_result=made.append)
    assert json.loads(json.dumps(found.to_dict())) == printed
    assert len(made) == len(found.alone) + len(found.changes) - 1
    # Steps of the way sum to the whole difference, by another count of the two ends.
    whole_s = ds.simulate(ds.load(B)).step_s - ds.simulate(ds.load(A)).step_s
    assert sum(step.delta_s for step in found.steps) == pytest.approx(whole_s, rel=1e-9)


def test_scenarios_predictions_and_files_compare_alike(tmp_path: Path) -> None:
    before = ds.load(A)
    after = before.with_(plan={"recompute": "full"})
    by_scenario = ds.diff(before, after)
    assert [(c.key, c.before, c.after) for c in by_scenario.changes] == [
        ("plan.recompute", "none", "full")
    ]
    assert [step.delta_s for step in by_scenario.steps] == pytest.approx(
        [ds.simulate(after).step_s - ds.simulate(before).step_s]
    )
    stored = tmp_path / "after.json"
    assert main(["run", A, "--set", "plan.recompute=full", "-o", str(stored)]) == 0
    for other in (stored, str(stored), ds.simulate(after)):
        found = ds.diff(ds.simulate(before), other)
        assert ("plan.recompute", "none", "full") in {
            (c.key, c.before, c.after) for c in found.changes
        }
        assert (found.alone, found.steps) == ((), ())
        assert found.to_dict()["delta_s"] == pytest.approx(by_scenario.to_dict()["delta_s"])


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{}")
    for source, code in ((tmp_path / "broken.json", "DS724"), ("no-such-scenario", "DS101")):
        with pytest.raises(ds.DistsimError) as caught:
            ds.diff(A, source)
        assert caught.value.code == code


def test_a_trace_is_what_the_command_writes(tmp_path: Path) -> None:
    target = tmp_path / "trace.json"
    assert main(["run", A, "--trace", str(target)]) == 0
    text = "".join(ds.trace(ds.simulate(ds.load(A))))
    written = json.loads(target.read_text(encoding="utf-8"))
    assert len(json.loads(text)["traceEvents"]) == len(written["traceEvents"]) > 100
