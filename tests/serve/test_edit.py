"""Changing a value of a text: what is read afterwards is what was meant, and nothing else moved."""

from __future__ import annotations

import base64
import difflib
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.cli import main
from distsim.errors import DistsimError
from distsim.files import read_yaml, shipped_directory
from distsim.scenario.overrides import apply
from distsim.serve.edit import edited
from distsim.serve.scenarios import described
from distsim.serve.share import encoded, fragment
from tests.serving import SMALL

FILES = sorted(shipped_directory("scenarios").rglob("*.yaml"))
CHANGES = (
    *("plan.tp=4", "plan.cp=2", "plan.recompute=full", "plan.offload={where: host}"),
    *("cluster.devices=64", "model=llama3-8b", "batch.micro_size=2", "precision=fp8"),
    *("optimizer=lamb", "stack=torchtitan", "a.b.c=1", "cluster.topology=dgx-h100"),
)


@pytest.mark.parametrize("change", CHANGES)
def test_shipped_scenarios_are_changed_in_their_place(change: str) -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        found = edited(text, change)
        assert found is not None, file.name
        assert read_yaml(found, "")[0] == apply(read_yaml(text, "")[0], [change]), file.name
        # Comments stay, and lines that are not about it.
        lost = [
            line for line in difflib.ndiff(text.split("\n"), found.split("\n")) if line[0] == "-"
        ]
        assert not [line for line in lost if line[2:].lstrip().startswith("#")], file.name
        # A block that is replaced as a whole goes as a whole.
        whole = ("model", "cluster.topology", "plan.offload")
        assert len(lost) <= 1 or change.partition("=")[0] in whole, lost


@pytest.mark.parametrize(
    ("text", "change", "expected"),
    [
        ("a: 1 # one\nb: 2\n", "a=3", "a: 3 # one\nb: 2\n"),
        ("a: 'x: y'\n", "a=3", "a: 3\n"),
        ("a: {b: 1}\n", "a.c=[1, 2]", "a: {b: 1, c: [1, 2]}\n"),
        ("a: {}\n", "a.c=1", "a: {c: 1}\n"),
        ("a:\n  b: 1\n  # end\nc: 2\n", "a.d=3", "a:\n  b: 1\n  d: 3\n  # end\nc: 2\n"),
        ("a:\n  b: 1\n  e: {f: 1}\n", "a=x", "a: x\n"),
        ("a:\n  - 1\n  - 2\nb: 1\n", "a=[3]", "a: [3]\nb: 1\n"),
        ("a:\nb: 1\n", "a=3", "a: 3\nb: 1\n"),
        ("a: 1", "b.c=2", "a: 1\nb: {c: 2}"),
        ("\u2028a: 1\n", "a=2", "\u2028a: 2\n"),
        ("a: \u00e9\u4e00 # \U0001f600\nb: 1\n", "b=2", "a: \u00e9\u4e00 # \U0001f600\nb: 2\n"),
    ],
)
def test_a_value_is_changed(text: str, change: str, expected: str) -> None:
    assert edited(text, change) == expected


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("a: &x 1\nb: *x\n", "b=2"),
        ("a: [1, 2]\n", "a.0=2"),
        ("- 1\n", "a=2"),
        ("", "a=2"),
        ("a: [", "a=2"),
        ("a: 1\n", "a=1\n2"),
        ("a: 1\n", "a="),
    ],
)
def test_what_has_no_place_is_left_to_others(text: str, change: str) -> None:
    assert edited(text, change) is None


@settings(max_examples=150, deadline=None)
@given(
    st.text("ab: \n{}[],#'\"&*1-\u2028\u0085\r\ufeff", max_size=40),
    st.sampled_from(["a=1", "a.b=2", "b.a.b=x", "a=[1]"]),
)
def test_whatever_the_text_a_change_is_made_or_refused(text: str, change: str) -> None:
    try:
        wanted = apply(read_yaml(text, "")[0], [change])
        found = described({"scenario": text, "set": [change]})
    except DistsimError:
        return
    assert read_yaml(found["scenario"], "")[0] == wanted


def test_a_link_carries_a_scenario_as_it_stands(tmp_path) -> None:
    (tmp_path / "own.yaml").write_text(SMALL)
    own = fragment(str(tmp_path / "own.yaml"))
    packed = own.removeprefix("#s=")
    raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    assert json.loads(zlib.decompress(raw, -15)) == {"a": {"scenario": SMALL, "base": ""}}
    assert own == encoded({"a": {"scenario": SMALL, "base": ""}})
    for name in ("gpt3-175b-1024xa100", "textbook/01-08-square-gemm"):
        assert fragment(name) == f"#start={name}"
    assert not set(own.removeprefix("#s=")) & set("+/=#&?")


def test_a_scenario_that_is_wrong_is_said_before_anything_is_served(tmp_path, capsys) -> None:
    (tmp_path / "own.yaml").write_text(SMALL.replace("tp:", "tpp:"))
    assert main(["serve", str(tmp_path / "own.yaml")]) == 2
    assert "DS201: unknown key" in capsys.readouterr().err
