"""Offload against the volumes, savings and efficiencies of ZeRO-Offload and ZeRO-Infinity."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distsim.errors import PlanError
from distsim.hardware.host import host
from distsim.parallel.offload import (
    Held,
    Offload,
    check_offload,
    device_freed_bytes,
    exposed_update_s,
    host_bytes,
    nvme_bytes,
    offload_cost,
    transfers,
    update_s,
)
from distsim.workload.op import Numerics

#: A busy machine takes longer, and is no failure.
RELAXED = settings(deadline=None)

#: fp16 weights and gradients, fp32 master weights and two moments: 2 + 2 + 12 bytes.
MIXED = Numerics("fp16", weight_bytes=2, gradient_bytes=2, master_bytes=4, reduce_bytes=2)
CPU = Offload("cpu", buffer_bytes=0.0)
NVME = Offload("nvme", buffer_bytes=0.0)
INFINITY = Offload("nvme", "nvme", buffer_bytes=0.0)
DGX2 = host("dgx-2")
tiers = st.sampled_from(
    [Offload(o, p) for o in ("cpu", "nvme") for p in ("none", "cpu", "nvme")] + [Offload()]
)


def held(parameters: float = 1e9, shard: int = 1, stage: int = 2, **more) -> Held:
    shards = (shard if stage == 3 else 1, shard if stage >= 2 else 1, shard if stage else 1)
    return Held(parameters, MIXED, 12.0, shards, stage, **more)


@pytest.mark.parametrize("ranks", [1, 4, 16])
def test_zero_offload_moves_4m_bytes_a_step(ranks) -> None:
    """ZeRO-Offload, section 3.3: gradients down, parameters up, 2M each; shared over ranks."""
    cost = offload_cost(CPU, DGX2, held(1e9, ranks))
    assert ranks * cost.to_host_bytes == pytest.approx(2e9)
    assert ranks * (cost.to_host_bytes + cost.to_device_bytes) == pytest.approx(4e9)
    assert cost.nvme_read_bytes == cost.nvme_write_bytes == 0


def test_zero_offload_leaves_an_eighth_on_the_device() -> None:
    """ZeRO-Offload, table 1: 16M on one device become 2M; 14M are on the host."""
    whole = held(1.0)
    assert 16 - device_freed_bytes(CPU, whole) == pytest.approx(16 / 8)
    assert host_bytes(CPU, whole) == pytest.approx(14)
    # Gradients that add up on the device over micro batches stay there: 16M become 4M.
    assert 16 - device_freed_bytes(CPU, replace(whole, gradients_leave=False)) == pytest.approx(4)


def test_parameters_offloaded_too_leave_nothing() -> None:
    for ranks in (1, 8):
        share = held(1.0, ranks, stage=3, gathers=2)
        assert device_freed_bytes(INFINITY, share) == pytest.approx(16 / ranks)
        assert nvme_bytes(INFINITY, share) == pytest.approx((2 + 12 + 4) / ranks)


def _efficiency(seconds_of_transfers: float, seconds_of_compute: float) -> float:
    return seconds_of_compute / (seconds_of_compute + seconds_of_transfers)


@pytest.mark.parametrize(("batch", "length"), [(1, 1024), (4, 1024), (16, 2048)])
def test_efficiency_of_optimizer_states_on_drives(batch, length) -> None:
    """ZeRO-Infinity, section 4: efficiency = ait bw / (ait bw + peak), ait = seq bsz / 4."""
    peak, parameters = 70e12, 1e10
    cost = offload_cost(NVME, DGX2, held(parameters))
    compute_s = 2 * 4 * batch * length * parameters / peak  # forward, backward, recomputation
    bandwidth = DGX2.nvme_read_bytes_per_s  # as for writes
    found = _efficiency(cost.nvme_s, compute_s)
    intensity = length * batch / 4
    assert found == pytest.approx(intensity * bandwidth / (intensity * bandwidth + peak))


@pytest.mark.parametrize(("batch", "length"), [(1, 1024), (4, 1024), (16, 2048)])
def test_efficiency_of_parameters_on_the_host(batch, length) -> None:
    """Section 4 again: three loads of parameters and one store of gradients, ait = seq bsz."""
    peak, parameters = 70e12, 1e10
    share = held(parameters, stage=3, gathers=3)
    cost = offload_cost(Offload("cpu", "cpu"), DGX2, share)
    moved = cost.to_host_bytes + cost.to_device_bytes
    bandwidth = DGX2.copy_bytes_per_s
    compute_s = 2 * 4 * batch * length * parameters / peak
    found = _efficiency(moved / bandwidth, compute_s)
    intensity = length * batch
    assert found == pytest.approx(intensity * bandwidth / (intensity * bandwidth + peak))


@pytest.mark.parametrize(("billions", "seconds"), [(2, 0.51), (4, 1.03), (10, 2.57)])
def test_update_takes_what_zero_offload_published(billions, seconds) -> None:
    """Table 4: CPU-Adam on the processors of a DGX-2."""
    found = update_s(CPU, DGX2, held(billions * 1e9, DGX2.devices))
    assert found == pytest.approx(seconds, rel=0.02)


def test_drives_bound_the_update_of_a_dgx2() -> None:
    """16 bytes read and 12 written a parameter at 1.6 GB/s, against 30 at the memory's pace."""
    share = held(1e9, 16)
    by_drives = 1e9 / 16 * (16 + 12) / 1.6e9
    assert update_s(NVME, DGX2, share) == pytest.approx(by_drives)
    assert by_drives > update_s(CPU, DGX2, share)


@pytest.mark.parametrize("microbatches", [1, 2, 7])
def test_gradients_of_several_micro_batches(microbatches) -> None:
    """Count what a device does that adds gradients itself: fetch, add, send."""
    down = up = 0.0
    on_host = False
    for _ in range(microbatches):
        if on_host:
            up += 2e9
        down += 2e9
        on_host = True
    cost = offload_cost(CPU, DGX2, held(1e9, reductions=microbatches))
    assert cost.to_host_bytes == pytest.approx(down)
    assert cost.to_device_bytes == pytest.approx(up + 2e9)  # and the new parameters


def test_a_delayed_update_hides_behind_the_next_step() -> None:
    late = replace(CPU, delayed_update=True)
    assert exposed_update_s(late, 3.0, 2.0) == pytest.approx(1.0)
    assert exposed_update_s(late, 3.0, 4.0) == 0.0
    assert exposed_update_s(CPU, 3.0, 4.0) == 3.0


@RELAXED
@given(tiers, st.lists(st.floats(1, 1e9), min_size=1, max_size=8), st.integers(1, 64))
def test_parts_of_a_model_add_up(offload, parts, ranks) -> None:
    """A layer or bucket is priced by itself: volumes are linear in parameters."""

    def volume(parameters: float) -> dict[tuple[str, str], float]:
        share = held(parameters, ranks, stage=3, gathers=4, reductions=2)
        found: dict[tuple[str, str], float] = {}
        for t in transfers(offload, share):
            key = t.direction, t.when
            found[key] = found.get(key, 0.0) + t.times * t.size_bytes
        return found

    whole = volume(sum(parts))
    pieces = [volume(p) for p in parts]
    for key, size in whole.items():
        assert sum(p[key] for p in pieces) == pytest.approx(size)


@RELAXED
@given(tiers, st.integers(1, 256), st.integers(1, 4))
def test_more_ranks_never_need_more(offload, ranks, more) -> None:
    few, many = held(1e10, ranks, stage=3), held(1e10, ranks * more, stage=3)
    a, b = (offload_cost(offload, DGX2, h).to_dict() for h in (few, many))
    assert all(b[key] <= a[key] for key in a)


@RELAXED
@given(tiers, st.integers(1, 64))
def test_nothing_is_lost_between_device_host_and_drives(offload, ranks) -> None:
    """What leaves the device is on the host or its drives (there in fp32 where it is updated)."""
    share = held(1e9, ranks, stage=3)
    there = host_bytes(offload, share) + nvme_bytes(offload, share)
    assert there >= device_freed_bytes(offload, share) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("offload", "share", "code"),
    [
        (CPU, held(1e9, stage=0), "DS330"),
        (Offload("cpu", "cpu"), held(1e9, stage=2), "DS331"),
        (Offload("none", "cpu"), held(1e9, stage=3), "DS332"),
        # 93.75 GB a device: 14 bytes of 6.8 billion parameters are more.
        (CPU, held(6.8e9), "DS333"),
        (NVME, held(2e11), "DS334"),
    ],
)
def test_what_cannot_be_offloaded(offload, share, code) -> None:
    with pytest.raises(PlanError) as caught:
        check_offload(offload, DGX2, [share])
    assert caught.value.code == code
    assert caught.value.path[:2] == ("plan", "offload")
    assert caught.value.rule and caught.value.fix


def test_what_can_be_offloaded() -> None:
    check_offload(Offload(), DGX2, [held(1e12, stage=0)])
    check_offload(CPU, DGX2, [held(6.6e9, stage=1)])
    check_offload(NVME, DGX2, [held(1e11)])
    with pytest.raises(PlanError, match="dgx-1-v100 has 0 B"):
        check_offload(NVME, host("dgx-1-v100"), [held(1.0)])
