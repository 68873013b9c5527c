"""What the links carry in a step, against volumes computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from distsim.api import load, load_jobs, simulate, simulate_jobs
from distsim.hardware.catalogue import load_topology
from distsim.prediction.usage import link_bytes, usage_of

#: GPT with tied embeddings; 512 tokens of 2 bytes.
LAYERS, HIDDEN, VOCAB, TOKENS = 8, 512, 4096, 512
MODEL = {
    "family": "gpt",
    "layers": LAYERS,
    "hidden": HIDDEN,
    "heads": 8,
    "vocab": VOCAB,
    "max_positions": TOKENS,
}
#: One algorithm and one protocol, and one that costs bandwidth: the bytes are the same.
RINGS = [
    "ideal",
    {"profile": "nccl", "algorithms": {"all_reduce": ["ring"]}, "protocols": ["simple"]},
    {"profile": "nccl", "algorithms": {"all_reduce": ["ring"]}, "protocols": ["ll"]},
]
GLOBAL, MICRO = 32, 2
ACTIVATION = MICRO * TOKENS * HIDDEN * 2
NARROW = {
    "kind": "superpod",
    "device": "a100-80gb-sxm",
    "devices_per_node": 4,
    "nics_per_node": 2,
    "nodes_per_unit": 2,
    "max_units": 64,
    "oversubscription": 4,
    "links": {
        "nvlink": {"bandwidth": "300 GB/s", "efficiency": 0.8, "latency": "1 us", "source": "t"},
        "pcie": {"bandwidth": "30 GB/s", "efficiency": 0.9, "latency": "1 us", "source": "t"},
        "rail": {"bandwidth": "100 Gbit/s", "efficiency": 0.9, "latency": "1 us", "source": "t"},
        "spine": {"efficiency": 0.9, "latency": "1 us", "source": "t"},
    },
}


def scenario(plan: dict, devices: int, **cluster: object):
    block = {"topology": "dgx-a100", "devices": devices, "library": "ideal"} | cluster
    return load(
        {
            "schema": 1,
            "name": "usage",
            "cluster": block,
            "model": MODEL,
            "batch": {"global_size": GLOBAL, "micro_size": MICRO, "sequence_length": TOKENS},
            "precision": {"compute": "bf16", "gradients": "bf16"},
            "stack": "megatron-2021",
            "plan": plan,
        }
    )


def carried(prediction) -> dict[str, float]:
    return {c.name: c.bytes for c in prediction.links.classes if c.bytes}


@pytest.mark.parametrize("library", RINGS, ids=["ideal", "simple", "ll"])
@pytest.mark.parametrize("n", [2, 4, 8])
def test_data_parallel_gradients_on_one_node(n, library):
    """Every rank sends 2 (n - 1) / n of the gradients, over a link to the switch and one back.

    ZeRO-1 reduces them and gathers the parameters, as many bytes (Rajbhandari 2020, section 7).
    """
    p = simulate(scenario({"zero_stage": 1}, n, library=library))
    gradients = 2 * p.parameters
    assert carried(p) == {"nvlink": pytest.approx(n * 2 * 2 * (n - 1) / n * gradients, rel=1e-9)}


@pytest.mark.parametrize("library", RINGS, ids=["ideal", "simple", "ll"])
def test_data_parallel_gradients_across_nodes(library):
    """Eight rings over two nodes, each with two hops between nodes and an eighth of the bytes."""
    n = 16
    p = simulate(scenario({"zero_stage": 1}, n, topology="dgx-a100-superpod", library=library))
    one_hop = 2 * (n - 1) / n * 2 * p.parameters / 8
    between = 8 * 2 * one_hop
    inside = 8 * (n - 2) * one_hop
    # A hop between nodes goes up one rail and down the other, and over PCIe at both ends.
    assert carried(p) == {
        "nvlink": pytest.approx(2 * inside, rel=1e-9),
        "pcie": pytest.approx(2 * between, rel=1e-9),
        "rail": pytest.approx(2 * between, rel=1e-9),
    }


@pytest.mark.parametrize("library", RINGS[1:], ids=["simple", "ll"])
@pytest.mark.parametrize("n", [2, 8])
def test_tensor_parallel_activations(n, library):
    """Two all-reduces a layer each way, one of the embedding and one of the head (Shoeybi 2019).

    And three of one fp32 number a token in the loss: maxima, target logits, sums (section 3).
    """
    p = simulate(scenario({"tp": n}, n, library=library))
    passes = GLOBAL / MICRO
    moved = passes * ((4 * LAYERS + 2) * ACTIVATION + 3 * MICRO * TOKENS * 4)
    expected = n * 2 * 2 * (n - 1) / n * moved
    assert carried(p) == {"nvlink": pytest.approx(expected, rel=1e-9)}


@pytest.mark.parametrize("library", RINGS[1:], ids=["simple", "ll"])
@pytest.mark.parametrize(("pp", "extra"), [(2, {}), (4, {"schedule": "gpipe"}), (8, {})])
def test_pipeline_parallel_activations(pp, extra, library):
    """An activation and its gradient over each boundary, and the tied embedding at the end."""
    p = simulate(scenario({"pp": pp, **extra}, pp, library=library))
    sends = (pp - 1) * 2 * GLOBAL / MICRO * ACTIVATION
    # Two ranks hold the embedding: each sends 2 (2 - 1) / 2 of its gradient.
    tied = 2 * VOCAB * HIDDEN * 2
    assert carried(p) == {"nvlink": pytest.approx(2 * (sends + tied), rel=1e-9)}


PLANS = [
    ({"zero_stage": 0}, 12, {}),
    ({"tp": 4}, 8, {}),
    ({"tp": 8}, 16, {}),
    ({"pp": 4}, 16, {}),
    ({"tp": 2, "pp": 2, "zero_stage": 1}, 16, {}),
    ({"tp": 2, "pp": 2, "overlap_grad_reduce": True, "bucket_size": "1 MB"}, 16, {}),
    ({"tp": 2, "pp": 2}, 16, {"placement": "random", "of": 24}),
    ({"tp": 4, "sequence_parallel": True}, 16, {"placement": "strided"}),
]


@pytest.mark.parametrize(("plan", "devices", "cluster"), PLANS)
@pytest.mark.parametrize("library", ["ideal", "nccl"])
def test_folded_is_unfolded(plan, devices, cluster, library):
    s = scenario(plan, devices, topology=NARROW, library=library, **cluster)
    s = s.with_(batch={"global_size": 48})
    folded, whole = simulate(s), simulate(s, fold=False)
    for a, b in zip(folded.links.classes, whole.links.classes, strict=True):
        assert (a.name, a.links) == (b.name, b.links)
        assert a.bytes == pytest.approx(b.bytes, rel=1e-9)
        assert a.max_utilisation == pytest.approx(b.max_utilisation, rel=1e-6)
    programs = (p.timeline.program for p in (folded, whole))
    one, other = (link_bytes(program) for program in programs)
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize(("plan", "devices", "cluster"), PLANS)
def test_utilisation_is_bytes_over_bandwidth_and_time(plan, devices, cluster):
    s = scenario(plan, devices, topology=NARROW, **cluster).with_(batch={"global_size": 48})
    p = simulate(s)
    moved = link_bytes(p.timeline.program)
    topology = p.timeline.program.network.topology
    share = moved / topology.bandwidth_bytes_per_s / p.step_s
    for index, c in enumerate(p.links.classes):
        mine = topology.link_class == index
        assert c.bytes == pytest.approx(moved[mine].sum())
        assert c.mean_utilisation == pytest.approx(share[mine].mean())
        assert c.max_utilisation == pytest.approx(share[mine].max())
    assert len(p.links.busiest) == 5
    named = {topology.link_name(i): share[i] for i in range(topology.n_links)}
    shares = [u for _, _, u in p.links.busiest]
    assert shares == pytest.approx(sorted(named.values(), reverse=True)[:5])
    assert all(u == pytest.approx(named[name]) for name, _, u in p.links.busiest)


def test_no_link_carries_more_than_it_can():
    """Without idle time between, a link at its capacity is at its efficiency of the bandwidth."""
    topology = load_topology("dgx-a100", 8)
    found = usage_of(topology, topology.capacity_bytes_per_s * 2.0, 2.0)
    assert found.classes[0].mean_utilisation == pytest.approx(topology.classes[0].efficiency)


def test_jobs_add_up():
    """All jobs together, over the longest step: each carries its step's bytes at its own pace."""
    p = simulate_jobs(load_jobs("two-jobs-128xa100"))
    longest_s = max(job.step_s for job in p.jobs)
    topology = load_topology("aws-p4d", 128)
    bandwidth = {c.name: c.bandwidth_bytes_per_s for c in topology.classes}
    for index, c in enumerate(p.links.classes):
        each = [job.prediction.links.classes[index].bytes / job.step_s for job in p.jobs]
        assert c.bytes == pytest.approx(sum(each) * longest_s, rel=1e-9)
        if c.name != "spine":
            expected = sum(each) / c.links / bandwidth[c.name]
            assert c.mean_utilisation == pytest.approx(expected, rel=1e-9)
