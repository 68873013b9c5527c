"""Bad files: each gives one error with its code, line, value, rule and fix, and gives it soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distsim import yamlparse
from distsim.errors import CODES, DistsimError
from distsim.scenario.load import load

HEAD = """\
schema: 1
name: small
cluster: {topology: dgx-a100, devices: 8}
model: gpt3-175b
batch: {global_size: 16}
"""  # five lines: what a case adds begins on line 6


def refused(tmp_path: Path, content: str | bytes) -> DistsimError:
    """Return the problem of a file of that content."""
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DistsimError) as caught:
        load(file)
    return caught.value


def check(error: DistsimError, code: str, line: int, shown: str, rule: str) -> None:
    """Assert what every error of a file has."""
    text = str(error)
    assert error.code == code, text
    assert code in CODES
    assert error.place is not None and error.place.line == line, text
    assert error.place.file.endswith("bad.yaml")
    assert shown in text
    assert rule in error.rule
    assert error.fix
    assert "Traceback" not in text and "pydantic" not in text
    assert len(text) < 1000


# What is added to HEAD, code, line, text of the value, part of the rule.
VALUES = [
    ("plan: {zer_stage: 1}", "DS201", 6, "zer_stage", "zero_stage"),
    ("plan:\n  tp: 2\n  tpp: 8", "DS201", 8, "tpp", "tp, pp"),
    ("tp: 8", "DS201", 6, "'tp'", "plan"),
    ("gpus: 8", "DS201", 6, "gpus", "cluster"),
    ("precision: {compte: bf16}", "DS201", 6, "compte", "compute"),
    ("optimizer: {lr: 0.1}", "DS201", 6, "lr", "clip_grad_norm"),
    ("precision: {gradients: fp32}", "DS205", 6, "compute", "no default"),
    ("<name>: 3", "DS201", 6, "<name>", "schema, name"),
    ("plan: {tp: true}", "DS202", 6, "true", "whole number"),
    ("plan: {tp: 1.5}", "DS202", 6, "1.5", "whole number"),
    ('plan: {tp: "8"}', "DS202", 6, "'8'", "whole number"),
    ("plan: {tp: 1e1}", "DS202", 6, "10.0", "whole number"),
    ("plan: {tp: }", "DS202", 6, "null", "whole number"),
    ("plan: {tp: [8]}", "DS202", 6, "[8]", "whole number"),
    ("plan: {tp: {a: 8}}", "DS202", 6, "{'a': 8}", "whole number"),
    ("plan: {tp: 3 GB}", "DS202", 6, "'3 GB'", "whole number"),
    ("plan:", "DS202", 6, "null", "mapping"),
    ("plan: 3", "DS202", 6, "3", "mapping"),
    ("plan: [tp, 8]", "DS202", 6, "['tp', 8]", "mapping"),
    ("plan: {sequence_parallel: 1}", "DS202", 6, "1", "true or false"),
    ('plan: {overlap_p2p: "true"}', "DS202", 6, "'true'", "true or false"),
    ("plan: {layers_per_stage: 4}", "DS202", 6, "4", "a list"),
    ("plan:\n  layers_per_stage:\n  - 4\n  - x", "DS202", 9, "'x'", "whole number"),
    ("stack: 3", "DS202", 6, "3", "a name or a block"),
    ("plan: {tp: 0}", "DS203", 6, "0", "tp >= 1"),
    ("plan: {pp: -4}", "DS203", 6, "-4", "pp >= 1"),
    ("plan: {zero_stage: 4}", "DS203", 6, "4", "zero_stage <= 3"),
    ("plan: {tp: 99999999999999999999}", "DS203", 6, "99999999999999999999", "tp <= 1000000"),
    ("plan: {layers_per_stage: []}", "DS203", 6, "[]", "at least"),
    ("seed: -1", "DS203", 6, "-1", "seed >= 0"),
    ("plan: {schedule: 1f2b}", "DS204", 6, "1f2b", "gpipe, 1f1b, interleaved"),
    ("precision: bf17", "DS204", 6, "bf17", "bf16, fp16, fp32, tf32"),
    ("precision: {compute: int8}", "DS204", 6, "int8", "bf16"),
    ("optimizer: sdg", "DS204", 6, "sdg", "adam, adamw, sgd"),
    ("evaluator: events", "DS204", 6, "events", "auto, graph, event"),
    ("evaluator: 3", "DS204", 6, "3", "auto, graph, event"),
    ("plan: {bucket_size: 25}", "DS210", 6, "25", "unit"),
    ("plan: {bucket_size: 25 GB/s}", "DS211", 6, "25 GB/s", "a size"),
    ("plan: {bucket_size: 25 Mb}", "DS212", 6, "25 Mb", "B is a byte"),
    ("plan: {bucket_size: [25 MB]}", "DS212", 6, "25 MB", "number and its unit"),
    ("plan: {bucket_size: -25 MB}", "DS213", 6, "-25 MB", ">= 0"),
    ("seed: .inf", "DS213", 6, ".inf", "finite"),
    ("seed: .nan", "DS213", 6, ".nan", "finite"),
    ("seed: 1e999", "DS213", 6, "1e999", "finite"),
    ("seed: " + "9" * 5000, "DS213", 6, "9999", "at most 100 digits"),
]
SYNTAX = [
    ("plan: {tp: 8", "DS110", 6, "plan", "brackets"),
    ("plan: 'tp", "DS110", 6, "plan", "quotes"),
    ("plan: a: b", "DS110", 6, "plan", "key: value"),
    ("plan: @8", "DS110", 6, "cannot start", "YAML"),
    ("  plan: {}", "DS110", 6, "plan", "YAML"),
    ("plan: \x00", "DS110", 6, "control characters", "YAML"),
    ("plan:\n\ttp: 8", "DS111", 7, "tab", "blanks"),
    ("plan: " + "[" * 40 + "]" * 40, "DS112", 6, "32", "at most 32"),
    ("plan: " + "[" * 10_000, "DS112", 6, "deep", "at most 32"),
    ("plan: " + "{a: " * 10_000, "DS112", 6, "deep", "at most 32"),
    ("plan:\n" + "- " * 10_000, "DS112", 7, "deep", "at most 32"),
    ("plan: [" + "1," * 200_000 + "]", "DS113", 6, "100000", "at most 100000"),
    ("seed: 1\nseed: 2", "DS114", 7, "'seed'", "once"),
    ("plan: {tp: 1,\n tp: 2}", "DS114", 7, "'tp'", "once"),
    ("---\nname: other", "DS115", 6, "second document", "one document"),
    ("plan: !!python/object/apply:os.system [ls]", "DS116", 6, "python/object", "no tags"),
    ("plan: !!map {tp: 1}", "DS116", 6, "map", "no tags"),
    ("plan: !include other.yaml", "DS116", 6, "include", "no tags"),
    ("<<: {seed: 1}", "DS117", 6, "<<", "written out"),
    ("1: 2", "DS118", 6, "1", "a key is a text"),
    ("null: 2", "DS118", 6, "None", "a key is a text"),
    ("? [a]\n: 2", "DS118", 6, "collection", "a key is a text"),
    ("&a b: 1\n*a : 2", "DS118", 7, "alias", "a key is a text"),
    ("plan: {sequence_parallel: on}", "DS120", 6, "'on'", "true or false"),
    ("plan: {sequence_parallel: No}", "DS120", 6, "'No'", "true or false"),
    ("plan: {tp: 1_000}", "DS120", 6, "'1_000'", "decimal"),
    ("plan: {tp: 010}", "DS120", 6, "'010'", "decimal"),
    ("plan: {tp: 0x10}", "DS120", 6, "'0x10'", "decimal"),
    ("plan: {tp: 0b11}", "DS120", 6, "'0b11'", "decimal"),
    ("name2: 1:30", "DS120", 6, "'1:30'", "quotes"),
    ("plan: *plan", "DS121", 6, "*plan", "marked"),
    ("plan: &plan [*plan]", "DS121", 6, "*plan", "complete"),
]


@pytest.mark.parametrize(
    ("added", "code", "line", "shown", "rule"), VALUES + SYNTAX, ids=lambda v: str(v)[:30]
)
def test_a_bad_line(
    tmp_path: Path, added: str, code: str, line: int, shown: str, rule: str
) -> None:
    check(refused(tmp_path, HEAD + added + "\n"), code, line, shown, rule)


@pytest.mark.parametrize(("added", "code"), [case[:2] for case in SYNTAX], ids=lambda v: v[:30])
def test_the_python_scanner_refuses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: str, code: str
) -> None:
    monkeypatch.setattr(yamlparse, "_LOADER", yamlparse.yaml.SafeLoader)
    assert refused(tmp_path, HEAD + added[:50_000] + "\n").code in (code, "DS110")


@pytest.mark.parametrize(
    ("content", "code", "line", "shown", "rule"),
    [
        ("", "DS106", 0, "empty", "a mapping"),
        ("  \n\n", "DS106", 0, "empty", "a mapping"),
        ("# only words\n", "DS106", 0, "comments", "a mapping"),
        ("- a\n- b\n", "DS119", 1, "list", "a mapping"),
        ("\n\njust words\n", "DS119", 3, "str", "a mapping"),
        (HEAD.encode() + b"x: \xff\n", "DS105", 6, "0xff", "UTF-8"),
        (HEAD.encode("utf-16"), "DS105", 1, "0x", "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "DS105", 1, "0x89", "UTF-8"),
        (b"a: " + b"x" * 10_000_000, "DS104", 0, "10000003", "at most 1000000 bytes"),
        (HEAD.replace("name: small\n", ""), "DS205", 1, "name", "no default"),
        (HEAD.replace(", devices: 8", ""), "DS205", 3, "devices", "no default"),
        (HEAD.replace("schema: 1", "schema: 2"), "DS203", 1, "2", "schema <= 1"),
        (HEAD.replace("small", "12"), "DS202", 2, "12", "a text"),
        (HEAD.replace("small", "''"), "DS203", 2, "''", "at least"),
        (HEAD.replace("devices: 8", "devices: 1000001"), "DS203", 3, "1000001", "<= 1000000"),
        (HEAD.replace("gpt3-175b", "[gpt]"), "DS202", 4, "['gpt']", "a name or a block"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_bad_file(
    tmp_path: Path, content: str | bytes, code: str, line: int, shown: str, rule: str
) -> None:
    check(refused(tmp_path, content), code, line, shown, rule)


def test_nested_aliases_are_counted_not_expanded(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    bomb = "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *levels])
    # Level n has 11 * 10^n values or so: the fourth level passes the limit.
    check(refused(tmp_path, bomb), "DS113", 5, "100000", "at most 100000")


def test_depth_is_counted_through_aliases(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} {'[' * 20}*a{n - 1}{']' * 20}" for n in range(1, 100)]
    check(refused(tmp_path, "\n".join(["a0: &a0 x", *levels])), "DS112", 3, "32", "at most 32")


def test_the_first_problem_by_line_is_shown_with_the_number_of_others(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + "plan:\n  zero_stage: 9\n  tp: 0\n  dp: -1\nevaluator: x\n")
    check(error, "DS203", 7, "zero_stage is 9 (and 3 more problems)", "zero_stage <= 3")


def test_a_misspelt_key_is_shown_before_the_missing_one(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD.replace("devices:", "devcies:"))
    check(error, "DS201", 3, "'devcies' in cluster (and 1 more problem)", "topology, devices")
    assert error.fix == "did you mean 'devices'?"


def test_a_hundred_thousand_unknown_keys_are_one_error(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + "".join(f"k{n}: 1\n" for n in range(60_000)))
    check(error, "DS201", 6, "59999 more", "schema, name")


def test_a_file_that_is_not_there_names_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(DistsimError) as caught:
        load(tmp_path / "none.yaml")
    assert caught.value.code == "DS101"
    assert "none.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-scenario", "", "a\nb", "x" * 10_000, "\udcff", "a\0b"])
def test_a_name_that_is_not_shipped(name: str) -> None:
    with pytest.raises(DistsimError) as caught:
        load(name)
    assert caught.value.code == "DS101"
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 10_000 + ".yaml"])
def test_a_path_that_the_system_refuses(name: str) -> None:
    with pytest.raises(DistsimError) as caught:
        load(name)
    assert caught.value.code == "DS103"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DistsimError, match="is a directory") as caught:
        load(tmp_path)
    assert caught.value.code == "DS102"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(DistsimError, match="is a pipe") as caught:
        load(tmp_path / "pipe.yaml")
    assert caught.value.code == "DS102"


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device")
def test_a_device_is_not_read() -> None:
    with pytest.raises(DistsimError, match="is a device") as caught:
        load("/dev/zero")
    assert caught.value.code == "DS102"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(HEAD)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    # The tests may run as a user whom no mode stops.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DistsimError, match="permission denied") as caught:
        load(file)
    assert caught.value.code == "DS103"


@pytest.mark.parametrize("source", [None, 3, b"bytes", ["a"]])
def test_what_is_no_source(source: object) -> None:
    with pytest.raises(DistsimError) as caught:
        load(source)  # type: ignore[arg-type]  # what a caller without types may do
    assert caught.value.code == "DS202"


@pytest.mark.parametrize(
    ("assignment", "code", "shown"),
    [
        ("plan.tp", "DS620", "plan.tp"),
        ("=4", "DS620", "''"),
        ("plan..tp=4", "DS620", "plan..tp"),
        ("model.layers=2", "DS621", "gpt3-175b"),
        ("plan.tp.x=2", "DS202", "{'x': 2}"),
        ("plan.tp=[", "DS110", "not YAML"),
        ("plan.tp=on", "DS120", "'on'"),
        ("plan.tp=\udcff", "DS105", "UTF-8"),
        ("plan.tp=0", "DS203", "0"),
        ("plan.zero=1", "DS201", "zero"),
        ("plann.tp=1", "DS201", "plann"),
        ("cluster={topology: dgx-a100}", "DS205", "devices"),
        ("cluster.devices=" + "9" * 5000, "DS213", "999"),
        ("name='" + "x" * 5000 + "'", "DS203", "xxx"),
    ],
    ids=lambda v: v[:30].encode("ascii", "replace").decode(),
)
def test_a_bad_change_is_placed_at_the_change(
    tmp_path: Path, assignment: str, code: str, shown: str
) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(HEAD)
    with pytest.raises(DistsimError) as caught:
        load(file, ["seed=1", assignment])
    text = str(caught.value)
    assert caught.value.code == code, text
    assert str(caught.value.place).startswith("--set "), text
    assert shown in text and caught.value.rule and caught.value.fix
    assert len(text) < 1000
    text.encode()
