"""Pages as files: whole, quiet, and proof against what names hold."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from math import nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.cli import main
from distsim.report.html import page as page_module
from distsim.report.html.page import Number, Page, html, json_text, section
from tests.html_pages import HOSTILE, KINDS, Reader, text_of

#: A search of few plans.
NARROW = ["--set", "plan.tp=2", "--set", "plan.pp=2", "--set", "batch.micro_size=1"]
STATIC = Path(page_module.__file__).parent / "static"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file_that_names_no_other(kind: str) -> None:
    text = text_of(kind)
    reader = Reader(text)
    addresses = set(re.findall(r"https?://[^\s\"'`<>]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a namespace, which nobody fetches
    for tag, attributes in reader.elements:
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("link", "data:,")
    assert "@import" not in text and "url(" not in text


@pytest.mark.parametrize("kind", ["run", "plan", "hostile"])
def test_the_policy_allows_the_script_and_the_style_of_the_page_alone(kind: str) -> None:
    reader = Reader(text_of(kind))
    policy = next(a["content"] for t, a in reader.elements if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    hashes = {
        name: f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for name, text in (
            ("script-src", reader.texts["script"][1]),
            ("style-src", reader.texts["style"][0]),
        )
    }
    assert rules["default-src"] == "'none'"
    assert {name: rules[name] for name in hashes} == hashes
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in (policy or "")


@pytest.mark.parametrize("kind", ["hostile", "hostile-plan"])
def test_hostile_names_come_through_as_they_are(kind: str) -> None:
    reader = Reader(text_of(kind))
    assert reader.data["title"] == HOSTILE
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert [tag for tag, _ in reader.elements].count("title") == 1
    assert reader.texts["title"] == [f"{HOSTILE} - distsim {reader.data['kind']}"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_through(text: str) -> None:
    made = "".join(html(Page(text, "run", [Number(text, text)], [(text, text)], (), [text])))
    reader = Reader(made)
    assert reader.data["title"] == text
    assert reader.data["facts"] == [[text, text]]
    inside = reader.texts["script"][0]
    assert not set("<>&\u2028\u2029") & set(inside)


def test_half_a_pair_of_surrogates_is_no_failure() -> None:
    made = json_text({"name": "\ud800"})
    made.encode("utf-8")
    assert json.loads(made)["name"] == "\ud800"


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text([nan])


def test_every_script_and_style_is_in_the_page() -> None:
    listed = {*page_module.SCRIPTS, *page_module.STYLES}
    assert {path.name for path in STATIC.iterdir()} == listed
    text = text_of("small")
    for name in listed:
        assert (STATIC / name).read_text("utf-8").strip() in text


def test_scripts_make_no_markup_from_text_and_ask_for_nothing() -> None:
    scripts = "\n".join((STATIC / name).read_text("utf-8") for name in page_module.SCRIPTS)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in scripts
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "import(", "EventSource"):
        assert word not in scripts


def test_each_view_is_drawn_by_a_script() -> None:
    scripts = "\n".join((STATIC / name).read_text("utf-8") for name in page_module.SCRIPTS)
    drawn = set(re.findall(r"^views\.(\w+) = ", scripts, re.MULTILINE))
    used = {s["view"] for kind in KINDS for s in Reader(text_of(kind)).data["sections"]}
    assert used == drawn


def test_anchors_of_a_page_are_unique() -> None:
    for kind in KINDS:
        names = [s["id"] for s in Reader(text_of(kind)).data["sections"]]
        assert len(names) == len(set(names))


def test_the_same_result_gives_the_same_bytes() -> None:
    given_page = Page("a", "run", [], (), (section("code", "x", "X", text="1", file="f"),))
    assert "".join(html(given_page)) == "".join(html(given_page))


@pytest.mark.parametrize(
    "command",
    [
        ["run", "gpt2-xl-8xa100"],
        ["run", "two-jobs-128xa100"],
        ["goodput", "llama2-70b-256xh100-checkpoints", "--tokens", "100B", "--runs", "20"],
        ["validate", "--source", "korthikanti-2022"],
        ["sweep", "llama3-8b-32xh100-1f1b", "--devices", "32,64", "--no-cache", "--jobs", "1"],
        ["plan", "llama3-8b-32xh100-1f1b", "--devices", "32", "--tokens", "1T", *NARROW],
    ],
    ids=lambda c: f"{c[0]} {c[1]}",
)
def test_commands_write_their_page_beside_what_they_print(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    alone = capsys.readouterr().out
    target = tmp_path / "page.html"
    assert main([*command, "--html", str(target)]) == 0
    assert capsys.readouterr().out == alone
    assert Reader(target.read_text("utf-8")).data["kind"] == command[0]


def test_a_plan_that_does_not_fit_has_a_page_that_says_so(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    big = ["--set", "batch.micro_size=64", "--html", str(target)]
    assert main(["run", "gpt2-xl-8xa100", *big]) == 1
    numbers = Reader(target.read_text("utf-8")).data["numbers"]
    memory = next(n for n in numbers if n["label"] == "memory peak")
    assert memory["tone"] == "bad" and "does not fit" in memory["note"]


@pytest.mark.parametrize(
    "command",
    [
        ["run", "gpt2-xl-8xa100"],
        ["goodput", "gpt2-xl-8xa100", "--tokens", "100B"],
        ["validate"],
        ["sweep", "gpt2-xl-8xa100", "--devices", "8"],
        ["plan", "gpt2-xl-8xa100", "--devices", "8", "--tokens", "1B"],
    ],
    ids=lambda c: c[0],
)
def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--html", "missing/page.html"]) == 2
    out = capsys.readouterr()
    assert "DS630" in out.err and out.out == ""
    assert list(tmp_path.iterdir()) == []
