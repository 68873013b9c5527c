"""Bad values of keys of tori, rail-optimised fat trees and dragonflies: code, key, numbers, fix."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from distsim.cli import main
from distsim.errors import CODES, DistsimError
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import load_topology

TORUS = load_yaml(shipped("topologies", "tpu-v5e-128"))[0]
TWO = load_yaml(shipped("topologies", "rail-fat-tree-1024xh100-hashed"))[0]
THREE = load_yaml(shipped("topologies", "rail-fat-tree-16384xh100"))[0]
DRAGONFLY = load_yaml(shipped("topologies", "slingshot-dragonfly-4xa100"))[0]
LINK = {"bandwidth": "1 GB/s", "efficiency": 1, "latency": "1 us", "source": "made up"}


def problem(block: dict[str, Any], n_devices: int = 2) -> DistsimError:
    with pytest.raises(DistsimError) as caught:
        load_topology(block, n_devices, path=("cluster", "topology"))
    assert caught.value.code in CODES
    assert caught.value.exit_code == 2
    return caught.value


def changed(block: dict[str, Any], keys: tuple[str, ...], value: object) -> dict[str, Any]:
    out = deepcopy(dict(block))
    inside = out
    for key in keys[:-1]:
        inside = inside[key]
    if value is None:
        del inside[keys[-1]]
    else:
        inside[keys[-1]] = value
    return out


BAD = [
    (TORUS, ("wrap",), [True], "DS405"),
    (TORUS, ("wrap",), [True, True, False], "DS405"),
    (TORUS, ("wrap",), [], "DS405"),
    (TORUS, ("wrap",), True, "DS404"),
    (TORUS, ("wrap",), "true", "DS404"),
    (TORUS, ("wrp",), [True, True], "DS402"),
    (TWO, ("tiers",), None, "DS403"),
    (TWO, ("tiers",), 1, "DS405"),
    (TWO, ("tiers",), 4, "DS405"),
    (TWO, ("units_per_pod",), 2, "DS402"),
    (TWO, ("pod_uplinks",), 2, "DS402"),
    (TWO, ("nics_per_node",), 3, "DS407"),
    (TWO, ("leaf_uplinks",), 0, "DS405"),
    (TWO, ("leaf_uplinks",), None, "DS403"),
    (TWO, ("max_units",), None, "DS403"),
    (TWO, ("spreading",), "even", "DS406"),
    (TWO, ("spreading",), None, "DS403"),
    (TWO, ("seed",), 0, "DS405"),
    (TWO, ("seed",), 1.5, "DS404"),
    (TWO, ("oversubscription",), 2, "DS404"),
    (TWO, ("oversubscription", "pod"), 2, "DS402"),
    (TWO, ("oversubscription", "leaf"), 0, "DS405"),
    (TWO, ("links", "leaf", "bandwidth"), "1 GB/s", "DS402"),
    (TWO, ("links", "pod"), LINK, "DS402"),
    (TWO, ("links", "rail"), None, "DS403"),
    (THREE, ("units_per_pod",), None, "DS403"),
    (THREE, ("pod_uplinks",), None, "DS403"),
    (THREE, ("links", "pod"), None, "DS403"),
    (THREE, ("oversubscription", "pod"), -1, "DS213"),
    (DRAGONFLY, ("routing",), "ugal", "DS406"),
    (DRAGONFLY, ("routing",), 3, "DS404"),
    (DRAGONFLY, ("seed",), -1, "DS405"),
    (DRAGONFLY, ("links", "nvlink", "bandwidth"), "0 GB/s", "DS213"),
    (DRAGONFLY, ("links", "nvlnk"), LINK, "DS402"),
]


@pytest.mark.parametrize(("block", "keys", "value", "code"), BAD)
def test_a_bad_value_is_named(
    block: dict[str, Any], keys: tuple[str, ...], value: object, code: str
) -> None:
    error = problem(changed(block, keys, value))
    assert (error.code, error.path) == (code, ("cluster", "topology", *keys))
    assert error.fix and (error.rule or code == "DS403")


def test_a_bad_value_in_a_list_has_its_place() -> None:
    error = problem(changed(TORUS, ("wrap",), [True, "no"]))
    assert (error.code, error.path[-2:]) == ("DS404", ("wrap", 1))
    assert "true" in error.rule


def test_a_switch_inside_needs_nodes_of_several_devices() -> None:
    error = problem(changed(DRAGONFLY, ("devices_per_node",), 1))
    assert (error.code, error.path[-2:]) == ("DS402", ("links", "nvlink"))


def test_the_numbers_are_in_the_message() -> None:
    error = problem(changed(TORUS, ("wrap",), [True]))
    assert "1 values for 2 dimensions" in error.message
    assert "shape(2)" in error.rule


@pytest.mark.parametrize(
    ("block", "n_devices", "most"), [(TWO, 1025, 4 * 32 * 8), (TORUS, 129, 8 * 16)]
)
def test_devices_that_do_not_fit(block: dict[str, Any], n_devices: int, most: int) -> None:
    error = problem(block, n_devices)
    assert (error.code, error.path) == ("DS410", ("cluster", "devices"))
    assert str(most) in error.message


def test_a_tree_with_too_many_links_is_refused() -> None:
    error = problem(changed(TWO, ("leaf_uplinks",), 1 << 24), 2)
    assert error.code == "DS418"
    assert "16777216" in error.rule


def test_a_problem_in_a_file_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = shipped("topologies", "tpu-v5e-128").read_text().replace("[false, true]", "[false]")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("wrap"))
    assert main(["collective", "all-reduce", "--topology", str(file), "--devices", "8"]) == 2
    assert f"{file}:{line}: DS405" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tpu-v5e-128", "dgx-a100", "tpu-v5e-pod"])
def test_the_torus_algorithm_says_what_it_needs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collective", "all-reduce", "--topology", name, "--devices", "8"]
    assert main([*words, "--algorithm", "torus"]) == 2
    err = capsys.readouterr().err
    assert "DS613" in err
    assert "torus needs all devices" in err
