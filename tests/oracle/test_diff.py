"""What changed between two scenarios, against running each state by itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from distsim.api import load, simulate
from distsim.cli import main
from distsim.errors import DistsimError
from distsim.study.diff.changes import MISSING, applied, differences
from distsim.study.diff.run import Diff, diff, side, work

MODEL = {"family": "gpt", "layers": 8, "hidden": 512, "heads": 8, "vocab": 4096,
         "max_positions": 512}  # fmt: skip
BEFORE: dict[str, Any] = {
    "schema": 1,
    "name": "before",
    "cluster": {"topology": "dgx-a100-superpod", "devices": 16},
    "model": MODEL,
    "batch": {"global_size": 32, "micro_size": 1, "sequence_length": 512},
    "plan": {"tp": 2, "pp": 4},
}


def _write(path: Path, **blocks: Any) -> str:
    data = {k: dict(v) if isinstance(v, dict) else v for k, v in BEFORE.items()}
    for key, value in blocks.items():
        data[key] = data[key] | value if isinstance(value, dict) and key in data else value
    path.write_text(yaml.safe_dump(data))
    return str(path)


@pytest.fixture
def before(tmp_path: Path) -> str:
    return _write(tmp_path / "before.yaml")


def _compared(a: str, b: str) -> Diff:
    return diff(side(a), side(b))


def _step_s(source: str, *changes: str) -> float:
    return simulate(load(source, changes)).step_s


def test_each_change_alone_and_in_turn(tmp_path: Path, before: str) -> None:
    after = _write(tmp_path / "after.yaml", name="after", batch={"micro_size": 2},
                   plan={"pp": 2, "recompute": "full"})  # fmt: skip
    found = _compared(before, after)
    keys = [change.key for change in found.changes]
    assert keys == ["batch.micro_size", "plan.pp", "plan.recompute"]
    assert [(c.before, c.after) for c in found.changes] == [(1, 2), (4, 2), ("none", "full")]
    sets = [f"{c.key}={c.after}" for c in found.changes]
    for outcome, change in zip(found.alone, sets, strict=True):
        assert outcome.step_s == _step_s(before, change)
    for n, step in enumerate(found.steps):
        assert step.outcome.step_s == _step_s(before, *sets[: n + 1])
    total = math.fsum(step.delta_s for step in found.steps)
    assert total == pytest.approx(_step_s(after) - _step_s(before), rel=1e-9)
    assert found.steps[-1].outcome.step_s == _step_s(after)


def test_changes_that_are_only_possible_together_are_made_together(
    tmp_path: Path, before: str
) -> None:
    # 8 devices and 2 x 4 ranks: with one of the two changes alone nothing multiplies out.
    after = _write(tmp_path / "after.yaml", cluster={"devices": 4}, plan={"tp": 1})
    found = _compared(before, after)
    assert [c.key for c in found.changes] == ["cluster.devices", "plan.tp"]
    assert not found.alone[0].possible and found.alone[0].code and found.alone[1].possible
    assert [[c.key for c in step.changes] for step in found.steps] == [
        ["cluster.devices", "plan.tp"]
    ]
    assert found.steps[0].delta_s == pytest.approx(_step_s(after) - _step_s(before))


def test_blocks_that_come_and_go(tmp_path: Path, before: str) -> None:
    after = _write(
        tmp_path / "after.yaml", optimizer={"name": "sgd"}, stack="megatron-2021",
        plan={"schedule": "interleaved", "virtual_stages": 2},
    )  # fmt: skip
    there, back = _compared(before, after), _compared(after, before)
    assert {c.key for c in there.changes} == {c.key for c in back.changes}
    stack = next(c for c in there.changes if c.key == "stack")
    assert stack.before is MISSING and stack.after == "megatron-2021"
    assert back.steps[-1].outcome.step_s == _step_s(before)
    assert sum(s.delta_s for s in there.steps) == pytest.approx(-sum(s.delta_s for s in back.steps))


def test_nothing_but_a_name(tmp_path: Path, before: str) -> None:
    found = _compared(before, _write(tmp_path / "b.yaml", name="b"))
    assert found.changes == () and found.steps == ()


def test_differences_and_their_application_are_inverse() -> None:
    a = {"x": {"y": 1, "z": [1, 2]}, "same": 0, "gone": {"a": 1}, "kind": "adam", "flag": 1}
    b = {"x": {"y": 2, "z": [1, 3]}, "same": 0, "new": {"b": 2}, "kind": {"name": "sgd"},
         "flag": True}  # fmt: skip
    changes = list(differences(a, b))
    assert [c.key for c in changes] == ["x.y", "x.z", "gone", "kind", "flag", "new"]
    assert applied(a, changes) == b
    assert applied(b, list(differences(b, a))) == a
    assert a["x"] == {"y": 1, "z": [1, 2]}


def test_stored_results(tmp_path: Path, before: str) -> None:
    after = _write(tmp_path / "after.yaml", plan={"recompute": "full"})
    stored = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for source, target in zip((before, after), stored, strict=True):
        assert main(["run", source, "--json", "-o", target]) == 0
    found = _compared(*stored)
    assert [c.key for c in found.changes] == ["plan.recompute"] or {
        c.key.split(".")[0] for c in found.changes
    } == {"plan", "resolved"}
    assert work(side(stored[0]), side(stored[1])) == 0 and found.steps == ()
    parts = {name: (a, b) for name, a, b in found.parts()}
    assert sum(a for a, _ in parts.values()) == pytest.approx(_step_s(before))
    assert sum(b for _, b in parts.values()) == pytest.approx(_step_s(after))
    mixed = _compared(before, stored[1])
    assert {c.key for c in mixed.changes} == {c.key for c in found.changes}


def test_a_topology_beside_the_scenario_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(load_topology_file()).read_text()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.yaml").write_text(text)
        _write(tmp_path / name / "s.yaml", cluster={"topology": "net.yaml"})
    monkeypatch.chdir(tmp_path)
    found = _compared("a/s.yaml", "b/s.yaml")
    assert [c.key for c in found.changes] == ["cluster.topology"]
    assert found.steps[0].delta_s == 0.0


def load_topology_file() -> str:
    return str(Path(__file__).parents[2] / "topologies" / "dgx-a100-superpod.yaml")


def test_json_and_text(tmp_path: Path, before: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", before, "--set", "plan.tp=1", "--set", "plan.pp=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["delta_s"] == pytest.approx(sum(s["delta_s"] for s in found["sequence"]))
    for one in found["sequence"]:
        assert sum(one["breakdown"].values()) == pytest.approx(one["step_s"])
    assert sum(p["delta_s"] for p in found["breakdown"]) == pytest.approx(found["delta_s"])
    assert [c["alone"]["possible"] for c in found["changes"]] == [True, True]
    assert main(["diff", before, "--set", "plan.tp=1"]) == 0
    text = capsys.readouterr().out
    assert "plan.tp: 2 -> 1" in text and "Where the time goes" in text
    assert max(map(len, text.splitlines())) <= 100


def test_fail_if_compares_with_the_first(before: str, capsys: pytest.CaptureFixture[str]) -> None:
    slower = ["diff", before, "--set", "plan.recompute=full"]
    assert main([*slower, "--fail-if", "step_s > 1.05 * base.step_s"]) == 1
    assert "DS730" in capsys.readouterr().err
    assert main([*slower, "--fail-if", "step_s < base.step_s"]) == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not JSON"),
        ("[]", "no mapping"),
        ("{}", "it has no scenario"),
        ('{"jobs": []}', "several jobs"),
        ('{"step_s": NaN}', "NaN"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, before: str, content: str, why: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DistsimError) as caught:
        side(str(path))
    assert caught.value.code == "DS724" and why in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step_s", "fast"), ("step_s", 0), ("mfu", None), ("memory", []), ("breakdown", [1]),
        ("breakdown", {"x": "y"}), ("tokens_per_s", "many"), ("scenario", 3),
        ("memory", {"peak_bytes": 1, "capacity_bytes": 2, "fits": "yes"}),
    ],
)  # fmt: skip
def test_results_with_values_of_another_type(
    tmp_path: Path, before: str, key: str, value: Any
) -> None:
    path = tmp_path / "x.json"
    assert main(["run", before, "--json", "-o", str(path)]) == 0
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DistsimError) as caught:
        side(str(path))
    assert caught.value.code == "DS724"


def test_command_lines_that_make_no_sense(tmp_path: Path, before: str) -> None:
    stored = str(tmp_path / "a.json")
    assert main(["run", before, "--json", "-o", stored]) == 0
    assert main(["diff", before]) == 2
    assert main(["diff", before, stored, "--set", "plan.tp=1"]) == 2
    assert main(["diff", before, str(tmp_path / "missing.yaml")]) == 2
    assert main(["diff", before, before, "--fail-if", "mfu <"]) == 2
