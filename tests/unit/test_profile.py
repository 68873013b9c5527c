"""Calibrated profiles: what a file may say, and what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import distsim as ds
from distsim.errors import DistsimError
from distsim.hardware.catalogue import device, load_topology
from distsim.scenario.profile import read_profile
from distsim.study.calibration.knobs import knobs_of, profile_at

GOOD = {
    "schema": 1,
    "kind": "profile",
    "name": "mine",
    "device": "a100-80gb-sxm",
    "topology": "dgx-a100-superpod",
    "date": "2026-01-01",
    "distsim": "0.1.0",
    "values": {
        "device": {"gemm_efficiency": {"value": 0.5, "low": 0.45, "high": 0.55, "source": "x"}},
        "links": {"rail": {"efficiency": {"value": 0.4}, "latency": {"value": "9 us"}}},
        "library": {"startup": {"value": "20 us"}},
        "stack": {"restart": {"value": "2 ms"}},
    },
    "sources": [],
    "fit": {},
}


def write(tmp_path: Path, data: object) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return str(file)


def changed(**parts: object) -> dict:
    return {**GOOD, **parts}


def test_numbers_replace_those_of_device_links_library_and_software(tmp_path: Path) -> None:
    profile = read_profile(write(tmp_path, GOOD))
    assert profile.on_device(device("a100-80gb-sxm")).gemm_efficiency == 0.5
    before = load_topology("dgx-a100-superpod", 32)
    after = profile.on_topology(before)
    rail = [c.name for c in after.classes].index("rail")
    links = after.link_class == rail
    assert after.classes[rail].efficiency == 0.4
    assert after.capacity_bytes_per_s[links] == pytest.approx(
        0.4 * before.bandwidth_bytes_per_s[links]
    )
    assert after.latency_s[links] == pytest.approx(9e-6)
    assert (after.capacity_bytes_per_s[~links] == before.capacity_bytes_per_s[~links]).all()
    assert after.library.startup_s == pytest.approx(20e-6)


def test_a_scenario_takes_the_profile_beside_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    plain = ds.load("gpt3-175b-1024xa100")
    mine = ds.load("gpt3-175b-1024xa100", [f"cluster.profile={tmp_path}/mine.yaml"])
    slow, fast = ds.simulate(mine), ds.simulate(plain)
    assert slow.step_s > 1.2 * fast.step_s
    assert slow.resolved["profile"] == "mine"
    (tmp_path / "job.yaml").write_text(
        yaml.safe_dump({**plain.to_dict(), "cluster": {"topology": "dgx-a100-superpod",
                        "devices": 1024, "profile": "mine.yaml"}})
    )  # fmt: skip
    assert ds.simulate(ds.load(tmp_path / "job.yaml")).step_s == slow.step_s


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"kind": "device"}, "DS650"),
        (changed(schema=2), "DS650"),
        (changed(values={"device": {"gemm": {"value": 1}}}), "DS402"),
        (changed(values={"device": {"gemm_efficiency": {"value": 1.5}}}), "DS405"),
        (changed(values={"device": {"gemm_efficiency": 0.5}}), "DS404"),
        (changed(values={"links": {"rail": {"latency": {"value": 3}}}}), "DS210"),
        (changed(values={"links": {"rails": {"efficiency": {"value": 0.5}}}}), "DS652"),
        (changed(device="h100-80gb-sxm"), "DS651"),
        (changed(topology="dgx-a100"), "DS651"),
        ([], "DS119"),
    ],
)
def test_what_cannot_be_is_one_error(tmp_path: Path, data: object, code: str) -> None:
    file = write(tmp_path, data)
    with pytest.raises(DistsimError) as caught:
        ds.simulate(ds.load("gpt3-175b-1024xa100", [f"cluster.profile={file}"]))
    assert caught.value.code == code
    assert caught.value.place is not None


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DistsimError) as caught:
        ds.simulate(ds.load("gpt2-xl-8xa100", ["cluster.profile=nowhere.yaml"]))
    assert caught.value.code == "DS101"


def test_knobs_at_the_shipped_values_change_nothing() -> None:
    from distsim.cost.stack import load_stack

    chosen, net = device("h100-80gb-sxm"), load_topology("dgx-h100-superpod", 16)
    knobs = knobs_of(chosen, net, load_stack("megatron-2022"))
    assert len({knob.key for knob in knobs}) == len(knobs)
    profile = profile_at(knobs, [0.0] * len(knobs), name="", device=chosen.name, topology=net.name)
    same = profile.on_device(chosen)
    for field in type(chosen).__dataclass_fields__:
        if field != "status":
            assert getattr(same, field) == getattr(chosen, field), field
    assert (profile.on_topology(net).capacity_bytes_per_s == net.capacity_bytes_per_s).all()
    for knob in knobs:
        assert knob.low <= knob.base <= knob.high, knob.key
        assert knob.value(knob.position(knob.base)) == pytest.approx(knob.base)
