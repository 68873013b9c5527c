"""The tests of pages can fail: each way in which a page may be wrong is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from distsim.errors import DistsimError
from tests.docs import blocks as module
from tests.docs import reader
from tests.docs import refresh as refreshing
from tests.docs.compare import elided, matches
from tests.docs.reader import Difference, Failure, Reader
from tests.docs.shown import check


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for place in (module, reader, refreshing):
        monkeypatch.setattr(place, "ROOT", tmp_path)
    return tmp_path / "page.md"


def _run(page: Path, text: str) -> list[Difference]:
    page.write_text(text, encoding="utf-8")
    directory = page.parent / "directory"
    directory.mkdir()
    return Reader(page, directory).run()


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a b", "a b", True),
        ("a b", "a c", False),
        ("a ...", "a b", True),
        ("a ...", "b b", False),
        ("...", "a\nb\nc", True),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nb\nd", False),
        ("a ... c", "a b\nb c", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("a  \n", "a", True),
        ("", "", True),
        ("1.5 s", "1x5 s", False),
    ],
)
def test_elisions(shown: str, printed: str, same: bool) -> None:
    assert matches(shown.splitlines(), printed.splitlines()) is same


@pytest.mark.parametrize(
    ("shown", "printed", "kept"),
    [
        (
            "time 1.5 s\n...\nmemory 7 GB",
            "time 2.5 s\nMFU 3 %\nmemory 8 GB",
            "time 2.5 s\n...\nmemory 8 GB",
        ),
        ("...\nmemory 7 GB\n...", "time 2 s\nx\nmemory 8 GB\nlinks", "...\nmemory 8 GB\n..."),
        ("time 1.5 s\n...", "memory 8 GB\nlinks", None),
        ("distsim ...\ntime 1 s", "distsim 0.2\ntime 2 s", "distsim ...\ntime 2 s"),
        ("a\nb", "c\nd", None),
        ("time 1 s", "time 2 s\nmemory 8 GB", None),
    ],
)
def test_what_is_left_out_stays_so(shown: str, printed: str, kept: str | None) -> None:
    found = elided(shown.splitlines(), printed.splitlines())
    assert found == (None if kept is None else kept.splitlines())


def test_right_output_passes(page: Path) -> None:
    assert not _run(page, "```console\n$ distsim --version\ndistsim ...\n```\n")


def test_wrong_output_is_seen(page: Path) -> None:
    (found,) = _run(page, "# T\n\n```console\n$ echo right\nwrong\n```\n")
    assert found == Difference("page.md:4", (4, 5), ("wrong",), ("right",))


def test_a_failing_command_is_seen(page: Path) -> None:
    with pytest.raises(Failure, match=r"page\.md:2: exit code 2"):
        _run(page, "```bash\ndistsim run nothing.yaml\n```\n")


def test_a_failure_on_purpose_is_held_to_its_code(page: Path) -> None:
    assert not _run(page, "```bash\ndistsim run nothing.yaml  # exit code 2\n```\n")
    with pytest.raises(Failure):
        (page.parent / "directory").rmdir()
        _run(page, "```bash\ndistsim run nothing.yaml  # exit code 1\n```\n")


def test_errors_are_output_too(page: Path) -> None:
    assert not _run(page, "```console\n$ distsim run nothing.yaml\nerror: DS101...\n...\n```\n")


def test_wrong_python_is_seen(page: Path) -> None:
    assert len(_run(page, "```python\nx = 2\n```\n\n```pycon\n>>> x + 1\n4\n>>> x\n2\n```\n")) == 1


def test_what_python_prints_is_compared(page: Path) -> None:
    (found,) = _run(page, "```python\nprint(1)\n```\n\n```text\n2\n```\n")
    assert found.printed == ("1",)


def test_python_that_prints_unseen_is_refused(page: Path) -> None:
    with pytest.raises(Failure, match="no text block"):
        _run(page, "```python\nprint(1)\n```\n")


def test_files_of_a_page_are_there(page: Path) -> None:
    text = '```yaml title="a/b.yaml"\nx: 1\n```\n\n```console\n$ cat a/b.yaml\nx: 1\n```\n'
    assert not _run(page, text)


def test_redirected_output_is_in_the_file(page: Path) -> None:
    text = "```console\n$ distsim --version > v.txt\n$ cat v.txt\ndistsim ...\n```\n"
    assert not _run(page, text)


def test_indented_code_is_refused(page: Path) -> None:
    with pytest.raises(AssertionError, match="indented code"):
        _run(page, "Text\n\n    distsim run nothing.yaml\n")


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("```yaml\nplan: {tp: 8, colour: red}\n```", "'colour' was unexpected"),
        ("```yaml\nplan: {tp: true}\n```", "True is not of type"),
        ("```yaml\nfamily: mlp\ninputs: 784\nhidden: none\n```", "hidden is 'none', not a list"),
        ("```usage\ndistsim run SCENARIO [--colour red]\n```", "run has no option --colour"),
        ("```usage\ndistsim walk SCENARIO\n```", "no such command: distsim walk"),
        ("```text\n$ distsim run mine.yaml\n```", "a block of text is not run"),
        ("```json\n{1}\n```", "Expecting property name"),
    ],
)
def test_wrong_blocks_are_refused(page: Path, block: str, says: str) -> None:
    page.write_text(f"{block}\n", encoding="utf-8")
    with pytest.raises((AssertionError, DistsimError, ValueError), match=says):
        check(module.blocks(page)[0])


def test_refresh_writes_what_is_printed(page: Path) -> None:
    text = "# T\n\n```console\n$ echo right\nwrong\n\n$ echo 1 2\n1 ...\n```\n\nText\n"
    page.write_text(text, encoding="utf-8")
    assert refreshing.refresh(page, page.parent) == 1
    assert page.read_text(encoding="utf-8") == text.replace("wrong", "right")
    assert refreshing.refresh(page, page.parent) == 0


def test_an_error_that_the_page_does_not_show_is_no_output(page: Path) -> None:
    with pytest.raises(Failure):
        _run(page, "```console\n$ distsim run nothing.yaml\n```\n")
