"""Bad devices and topologies: a code, the key path, the numbers, and the place."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from distsim.errors import CODES, DistsimError
from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import MAX_DEVICES, device, load_topology

LINK = {"from": "a", "to": "s", "bandwidth": "1 GB/s", "latency": "1 us"}
EDGES: dict[str, Any] = {
    "kind": "edges",
    "device": "a100-80gb-sxm",
    "devices": ["a", "b"],
    "switches": ["s"],
    "links": [LINK, LINK | {"from": "b"}],
}
POD = load_yaml(shipped("topologies", "dgx-a100-superpod"))[0]
NODE = load_yaml(shipped("topologies", "dgx-a100"))[0]


def problem(block: dict[str, Any], n_devices: int = 2) -> DistsimError:
    with pytest.raises(DistsimError) as caught:
        load_topology(block, n_devices, path=("cluster", "topology"))
    assert caught.value.code in CODES
    assert caught.value.exit_code == 2
    return caught.value


def changed(block: dict[str, Any], *keys: str | int, to: object) -> dict[str, Any]:
    out = deepcopy(block)
    inside = out
    for key in keys[:-1]:
        inside = inside[key]
    if to is None:
        del inside[keys[-1]]
    else:
        inside[keys[-1]] = to
    return out


BAD_EDGES = [
    (("links", 0, "to"), "t", "DS411"),
    (("links", 0, "to"), "a", "DS413"),
    (("links", 1, "from"), "a", "DS412"),
    (("links", 1), LINK | {"to": "b", "directed": True}, "DS414"),
    (("links", 0, "bandwidth"), "0 GB/s", "DS213"),
    (("links", 0, "bandwidth"), "-1 GB/s", "DS213"),
    (("links", 0, "bandwidth"), 25, "DS210"),
    (("links", 0, "bandwidth"), "2 us", "DS211"),
    (("links", 0, "bandwidth"), None, "DS403"),
    (("links", 0, "latency"), "-1 us", "DS213"),
    (("links", 0, "efficiency"), 0, "DS405"),
    (("links", 0, "efficiency"), 1.1, "DS405"),
    (("links", 0, "directed"), "yes", "DS404"),
    (("links", 0, "bandwith"), "1 GB/s", "DS402"),
    (("links", 0, "class"), "fast", "DS402"),
    (("links", 0), {"from": "a", "to": "s", "class": "fast"}, "DS417"),
    (("links", 0), "a-s", "DS404"),
    (("links",), {"a": "s"}, "DS404"),
    (("devices",), [], "DS405"),
    (("devices",), ["a", "a"], "DS415"),
    (("devices",), ["a", "s"], "DS415"),
    (("devices",), ["a", 7], "DS404"),
    (("device",), None, "DS403"),
    (("kind",), "edge", "DS406"),
    (("kind",), None, "DS403"),
]


@pytest.mark.parametrize(("keys", "value", "code"), BAD_EDGES)
def test_edge_list(keys: tuple[str | int, ...], value: object, code: str) -> None:
    error = problem(changed(EDGES, *keys, to=value))
    assert error.code == code
    assert error.path[:2] == ("cluster", "topology")
    assert error.path[2:3] in (keys[:1], ("switches",), ("links",))


BAD_PODS = [
    (("nics_per_node",), 3, "DS407"),
    (("nodes_per_unit",), 0, "DS405"),
    (("nodes_per_unit",), 2.5, "DS404"),
    (("devices_per_node",), True, "DS404"),
    (("max_units",), None, "DS403"),
    (("oversubscription",), 0, "DS405"),
    (("links", "spine", "bandwidth"), "1 GB/s", "DS402"),
    (("links", "rail", "efficiency"), 1.5, "DS405"),
    (("links", "rail", "source"), None, "DS403"),
    (("links", "nvlnk"), {}, "DS402"),
    (("links", "rail"), None, "DS403"),
]


@pytest.mark.parametrize(("keys", "value", "code"), BAD_PODS)
def test_superpod(keys: tuple[str, ...], value: object, code: str) -> None:
    error = problem(changed(POD, *keys, to=value))
    assert (error.code, error.path) == (code, ("cluster", "topology", *keys))


def test_the_nearest_name_is_offered() -> None:
    assert "superpod" in problem(changed(POD, "kind", to="superpot")).fix
    assert "bandwidth" in problem(changed(EDGES, "links", 0, "bandwith", to="1 GB/s")).fix


@pytest.mark.parametrize(
    ("block", "n_devices", "most"),
    [(NODE, 9, "8"), (EDGES, 3, "2"), (POD, 512 * 160 + 1, "81920"), (POD, 0, f"{MAX_DEVICES}")],
)
def test_devices_that_do_not_fit(block: dict[str, Any], n_devices: int, most: str) -> None:
    error = problem(block, n_devices)
    assert (error.code, error.path) == ("DS410", ("cluster", "devices"))
    assert str(n_devices) in error.message
    assert most in error.message + error.rule


def test_a_route_from_a_device_that_is_not_there() -> None:
    topology = load_topology(NODE, 4)
    for pair in ((0, 4), (-1, 0)):
        with pytest.raises(DistsimError, match="is not in inline") as caught:
            topology.routes([pair[0]], [pair[1]])
        assert caught.value.code == "DS416"


def test_an_unreachable_pair_is_named() -> None:
    error = problem(changed(EDGES, "links", 1, "directed", to=True))
    assert "'a'" in error.message
    assert "'b'" in error.message


def test_a_problem_in_a_file_has_its_line(tmp_path: Path) -> None:
    text = shipped("topologies", "dgx-a100").read_text().replace("300 GB/s", "-300 GB/s")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DistsimError) as caught:
        load_topology(str(file), 8, path=("cluster", "topology"))
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "-300 GB/s" in row)
    assert str(caught.value.place) == f"{file}:{line}"


def test_too_many_devices_for_a_file_is_no_problem_of_the_file() -> None:
    with pytest.raises(DistsimError) as caught:
        load_topology("dgx-a100", 9, path=("cluster", "topology"))
    assert caught.value.place is None


def test_names_that_do_not_exist() -> None:
    for look_up in (lambda n: load_topology(n, 8), device):
        with pytest.raises(DistsimError) as caught:
            look_up("dgx-a1000-80gb-sxn")
        assert caught.value.code == "DS101"


BAD_DEVICES = [
    ("gemm_efficiency: {value: 0.79,", "gemm_efficiency: {value: 1.2,", "DS405"),
    ("gemm_efficiency: {value: 0.79,", "gemm_efficiency: {value: 0,", "DS405"),
    ("2039 GB/s", "0 GB/s", "DS213"),
    ("2039 GB/s", "2039", "DS210"),
    ("value: 6 us", "value: -6 us", "DS213"),
    ("sm_count: {value: 108", "sm_count: {value: 1.5", "DS404"),
    ("gemm_fill_k:", "gemm_fil_k:", "DS402"),
    ("status: calibrated", "status: guessed", "DS406"),
    ("  bf16:", "  bf15:", "DS402"),
    ("vendor: NVIDIA", "# no vendor", "DS403"),
]


@pytest.mark.parametrize(("old", "new", "code"), BAD_DEVICES)
def test_device_file(old: str, new: str, code: str, tmp_path: Path) -> None:
    text = shipped("devices", "a100-80gb-sxm").read_text()
    assert old in text
    file = tmp_path / "device.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(DistsimError) as caught:
        device(file)
    assert caught.value.code == code
    assert caught.value.place is not None
    assert caught.value.place.file == str(file)


def test_shipped_devices_are_untouched_by_a_file_of_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a100-80gb-sxm").write_text("vendor: nobody")
    assert device("a100-80gb-sxm").vendor == "NVIDIA"
