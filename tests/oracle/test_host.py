"""Hosts against standards, datasheets and the bandwidths that papers measured."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import DistsimError
from distsim.files import load_yaml, shipped
from distsim.hardware.block import Block
from distsim.hardware.catalogue import device_names
from distsim.hardware.host import host, host_names, host_of, read_host

#: A busy machine takes longer, and is no failure.
RELAXED = settings(deadline=None)

#: Transfers a second and lane of each generation of PCI Express; from 3 on 128 of 130 bits count.
GT_PER_S = {"3.0": 8e9, "4.0": 16e9, "5.0": 32e9}


def _raw(name: str) -> dict:
    return load_yaml(shipped("hosts", name))[0]


def test_every_shipped_device_has_a_host() -> None:
    for name in device_names():
        assert host_of(name).name in host_names()


@pytest.mark.parametrize("name", host_names())
def test_every_number_has_a_source(name) -> None:
    found = host(name)
    numbers = {key for key, value in _raw(name).items() if isinstance(value, dict)}
    assert set(found.sources) == numbers
    assert all(found.sources.values())


PCIE_LINKS = [
    (name, key)
    for name in host_names()
    for key in ("pcie", "uplink")
    if _raw(name)[key]["source"].startswith("PCI Express")
]


@pytest.mark.parametrize(("name", "key"), PCIE_LINKS)
def test_pcie_links_have_the_bandwidth_of_their_standard(name, key) -> None:
    entry = _raw(name)[key]
    generation = entry["source"].split()[2]
    expected = GT_PER_S[generation] * 16 * 128 / 130 / 8
    assert float(entry["value"].split()[0]) * 1e9 == pytest.approx(expected, rel=1e-3)


def test_dgx2_has_the_bandwidths_of_figure_2b() -> None:
    """ZeRO-Infinity, figure 2b: one device 12 GB/s; all 16 3.0 GB/s, drives 1.6 GB/s, each."""
    full, alone = host("dgx-2"), host("dgx-2").serving(1)
    assert alone.copy_bytes_per_s == pytest.approx(12e9, rel=1e-3)
    assert full.copy_bytes_per_s == pytest.approx(3e9, rel=1e-3)
    assert full.nvme_read_bytes_per_s == pytest.approx(1.6e9, rel=1e-3)
    # 64 nodes: over 3 TB/s of host memory, over 1.5 TB/s of drives.
    assert 3.0e12 < 64 * 16 * full.copy_bytes_per_s < 3.2e12
    assert 1.5e12 < 64 * 16 * full.nvme_read_bytes_per_s < 1.7e12


@pytest.mark.parametrize(("billions", "seconds"), [(2, 0.51), (4, 1.03), (10, 2.57)])
def test_cpu_adam_takes_what_zero_offload_published(billions, seconds) -> None:
    """Table 4 of ZeRO-Offload, 30 bytes a parameter; the efficiency is that of 10 billion."""
    rate = 16 * host("dgx-2").update_bytes_per_s
    assert billions * 1e9 * 30 / rate == pytest.approx(seconds, rel=0.02)


@pytest.mark.parametrize(
    ("name", "devices", "memory", "bandwidth", "drives"),
    [
        # Channels x transfers a second x 8 bytes; memory and drives as the datasheet prints them.
        ("dgx-1-v100", 8, 512e9, 2 * 4 * 2133e6 * 8, 0.0),
        ("dgx-2", 16, 1.5e12, 2 * 6 * 2666e6 * 8, 8 * 3.84e12),
        ("dgx-a100", 8, 2e12, 2 * 8 * 3200e6 * 8, 8 * 3.84e12),
        ("dgx-h100", 8, 2e12, 2 * 8 * 4800e6 * 8, 8 * 3.84e12),
        ("dgx-b200", 8, 2e12, 2 * 8 * 5600e6 * 8, 8 * 3.84e12),
    ],
)
def test_nodes_are_those_of_the_datasheets(name, devices, memory, bandwidth, drives) -> None:
    found = host(name)
    assert found.devices == devices
    assert devices * found.memory_bytes == pytest.approx(memory)
    assert devices * found.memory_bandwidth_bytes_per_s == pytest.approx(bandwidth, rel=1e-3)
    assert devices * found.nvme_bytes == pytest.approx(drives)


def test_two_devices_share_the_link_of_one_grace() -> None:
    tray = host("gb200")
    # 450 GB/s each way at most; 36 Grace of a rack have 17 TB.
    assert 0.6 * 450e9 < tray.serving(1).copy_bytes_per_s < 450e9
    assert 2 * tray.copy_bytes_per_s == pytest.approx(tray.serving(1).copy_bytes_per_s)
    assert 72 * tray.memory_bytes == pytest.approx(17e12, rel=0.02)


def test_copies_cannot_outrun_the_memory_of_the_host() -> None:
    slow = replace(host("dgx-h100"), memory_bandwidth_bytes_per_s=10e9)
    assert slow.copy_bytes_per_s == 10e9
    assert slow.serving(4).copy_bytes_per_s == 20e9


@RELAXED
@given(st.sampled_from(host_names()), st.integers(1, 16))
def test_what_devices_get_together_is_at_most_the_node(name, used) -> None:
    full, some = host(name), host(name).serving(used)
    used = min(used, full.devices)
    assert some.copy_bytes_per_s >= full.copy_bytes_per_s * (1 - 1e-12)
    for field in ("memory_bytes", "update_bytes_per_s", "nvme_bytes", "nvme_write_bytes_per_s"):
        node = full.devices * getattr(full, field)
        assert used * getattr(some, field) == pytest.approx(node)
    uplinks = -(-used // full.devices_per_uplink)
    most = min(
        uplinks * full.uplink_bandwidth_bytes_per_s,
        full.devices * full.memory_bandwidth_bytes_per_s,
    )
    assert used * some.copy_bytes_per_s <= most * (1 + 1e-12)


@pytest.mark.parametrize(
    ("keys", "to", "code"),
    [
        (("devices_per_uplink", "value"), 3, "DS431"),
        (("pcie_efficiency", "value"), 1.2, "DS405"),
        (("pcie", "value"), "31.5 GB", "DS211"),
        (("memory",), None, "DS403"),
        (("nvme_read",), None, "DS403"),
        (("colour",), "red", "DS402"),
    ],
)
def test_bad_hosts(keys, to, code) -> None:
    raw = deepcopy(_raw("dgx-a100"))
    inside = raw
    for key in keys[:-1]:
        inside = inside[key]
    if to is None:
        del inside[keys[-1]]
    else:
        inside[keys[-1]] = to
    with pytest.raises(DistsimError) as caught:
        read_host(Block(raw), "bad")
    assert caught.value.code == code
    assert caught.value.path[: len(keys)] == keys[: len(caught.value.path)]


def test_unknown_names(tmp_path) -> None:
    with pytest.raises(DistsimError, match="no host is known") as caught:
        host_of("a100-80gb", path=("cluster", "host"))
    assert (caught.value.code, caught.value.path) == ("DS430", ("cluster", "host"))
    assert "dgx-a100" in caught.value.fix
    with pytest.raises(DistsimError) as caught:
        host("dgx-a1000")
    assert caught.value.code == "DS101"
    file = tmp_path / "mine.yaml"
    file.write_text("vendor: me\nmemory: {value: 2 GB/s, source: x}\n", encoding="utf-8")
    with pytest.raises(DistsimError) as caught:
        host(file)
    assert caught.value.place is not None
    assert caught.value.place.file.endswith("mine.yaml")
