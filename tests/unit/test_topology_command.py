"""``distsim topology``: what only shows when it runs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from distsim.cli import main
from distsim.hardware.catalogue import load_topology, topology_names
from distsim.hardware.header import TooManyDevices
from distsim.hardware.reach import broken_route, reach_of
from distsim.hardware.topology import Ints, Router, Routes, Topology

ROOT = Path(__file__).parents[2]
DUMPS = sorted((ROOT / "tests" / "data" / "nccl").glob("*.xml"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_is_that_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "topology", "list")["topologies"]
    assert [row["name"] for row in rows] == list(topology_names())
    assert rows == printed(capsys, "topologies")["topologies"]
    assert all(row["kind"] and row["device"] and row["description"] for row in rows)


def test_both_shows_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("show", "example-torus-2d", "--devices", "32")
    assert printed(capsys, "topology", *words) == printed(capsys, "topologies", *words)


@pytest.mark.parametrize(
    ("name", "devices"),
    [("example-dragonfly", 72), ("dgx2-v100", 16), ("dgx-h100-superpod", 256)],
)
def test_as_many_devices_as_fit_are_shown(
    name: str, devices: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "topology", "show", name)["devices"] == devices


@pytest.mark.parametrize("name", topology_names())
def test_an_error_of_too_many_devices_says_how_many_there_are(name: str) -> None:
    with pytest.raises(TooManyDevices) as caught:
        load_topology(name, 1 << 20)
    assert load_topology(name, caught.value.most).n_devices == caught.value.most


@pytest.mark.parametrize("name", topology_names())
def test_every_shipped_topology_passes_the_check(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = printed(capsys, "topology", "check", name, "--devices", "4")
    assert (record["ok"], record["devices"], record["warnings"]) == (True, 4, [])


def test_a_device_that_is_not_shipped_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    text = (ROOT / "topologies" / "example-ring.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("a100-80gb-sxm", "mine"), encoding="utf-8")
    (warning,) = printed(capsys, "topology", "check", str(file))["warnings"]
    assert "mine is not shipped" in warning


@dataclass(frozen=True)
class Astray:
    """Routes of another router with the first or the last link of one pair changed."""

    router: Router
    pair: tuple[int, int]
    wrong: int
    last: bool

    def route(self, src: Ints, dst: Ints) -> Routes:
        routes = self.router.route(src, dst)
        link = routes.link.copy()
        at = np.flatnonzero((src == self.pair[0]) & (dst == self.pair[1]))
        link[routes.ptr[at + 1] - 1 if self.last else routes.ptr[at]] = self.wrong
        return Routes(routes.ptr, link)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.router, name)


@pytest.mark.parametrize(("wrong", "last"), [(0, True), (15, True), (3, False), (9, False)])
def test_a_route_that_leads_elsewhere_is_found(wrong: int, last: bool) -> None:
    """Links 0 to 7 lead to the switch, 8 to 15 back."""
    good = load_topology("dgx-h100", 8)
    assert broken_route(good, reach_of(good)) is None
    bad: Topology = replace(good, router=Astray(good.router, (2, 5), wrong, last))
    assert broken_route(bad, reach_of(bad)) == (2, 5)


def test_a_drawing_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.svg"
    assert main(["topology", "draw", "dgx-h100-superpod", "--devices", "64", "-o", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 64 devices of dgx-h100-superpod on 8 nodes\n"
    assert file.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_without_matplotlib_one_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    file = tmp_path / "a.svg"
    assert main(["topology", "draw", "dgx-h100", "-o", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: DS640") and "pip install" in err and err.count("error") == 1
    assert not file.exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "dgx-h10"], "DS101", "did you mean 'dgx-h100'?"),
        (["bisection", "dgx-h100", "--devices", "9"], "DS410", "at most 8 devices"),
        (["draw", "dgx-h100", "-o", "a.txt"], "DS641", "a.svg"),
        (["draw", "dgx-h100", "-o", ""], "DS641", ""),
        (["import", "missing.xml"], "DS101", ""),
    ],
)
def test_bad_input_is_one_error(
    words: list[str], code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topology", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("error: ")) == ("", 1)
    assert code in err and said in err


def dumped(path: Path) -> list[str]:
    """Return the words that import a dump; that of a virtual machine does not name its GPU."""
    device = ["--device", "a100-80gb-sxm"] if path.stem == "virtual-machine" else []
    return ["topology", "import", str(path), *device]


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_what_is_imported_is_a_topology(
    path: Path, nodes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = path.stem == "two-hosts"
    words = [*dumped(path), *(["--nodes", str(nodes)] if not several else [])]
    assert main(words) == 0
    text, notes = capsys.readouterr()
    assert all(line.startswith("note: ") for line in notes.splitlines())
    out = tmp_path / "out.yaml"
    assert main([*words, "-o", str(out)]) == 0
    summary, err = capsys.readouterr()
    assert out.read_text(encoding="utf-8") == text
    assert err == ""
    assert summary.count("note: ") == notes.count("note: ")
    assert yaml.safe_load(text)["kind"] in ("edges", "cluster")
    record = printed(capsys, "topology", "check", str(out))
    assert record["nodes"] == (2 if several else nodes)
    # The line wraps where the path is long.
    assert f"{record['devices']:,} devices on {record['nodes']} node" in " ".join(summary.split())
    for entry in record["link_classes"]:
        assert re.search(rf"^{re.escape(entry['name'])} +{entry['links']:,} ", summary, re.M)


def test_an_import_does_not_replace_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes(DUMPS[0].read_bytes())
    assert main(["topology", "import", str(file), "-o", str(file)]) == 2
    assert "DS630" in capsys.readouterr().err
    assert file.read_bytes() == DUMPS[0].read_bytes()


@pytest.mark.parametrize("command", ["show", "check", "bisection"])
def test_every_key_of_the_output_is_documented(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "topology-command.md").read_text(encoding="utf-8")
    record = printed(capsys, "topology", command, "example-edge-list")
    inner = [entry for key in ("link_classes", "cut") for entry in record.get(key, [])]
    for key in {*record, *(k for entry in inner for k in entry)} - {"switches"}:
        assert f"`{key}`" in page, key
