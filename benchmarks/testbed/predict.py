"""What distsim says of a collective and of a step, with numbers that are not its own."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.testbed.measure import Collective, Step
from benchmarks.testbed.parameters import Core, Network
from distsim.api import load as load_scenario
from distsim.api import simulate
from distsim.collectives.flows import Pattern, Round, Schedule, fluid, in_turn, together
from distsim.hardware.catalogue import load_topology
from distsim.hardware.tuner import Load
from distsim.program.traffic import compile_traffic, route_pattern

#: What gloo runs for an operation, in distsim's names, and its size over that of the operation.
#: PyTorch's reduce_scatter_tensor is an all-reduce of the whole array there, of which each rank
#: keeps its part; the bytes that hosts send say so, too.
RUNS = {
    "all_reduce": ("all_reduce", "ring"),
    "all_gather": ("all_gather", "ring"),
    "reduce_scatter": ("all_reduce", "ring"),
    "broadcast": ("broadcast", "binomial"),
}
#: Gradients leave in buckets of so many bytes (torch.nn.parallel.DistributedDataParallel).
BUCKET = "25 MiB"


def broadcast_at_once(n: int) -> Schedule:
    """Return gloo's broadcast: a binomial tree whose members send to all their children at once.

    Position 0 sends to 1, 2, 4, ...; a member sends to those that differ from it in one higher
    bit. A round is what members that are as many hops from the root send, all of it at the same
    time: up to log2 n copies share a link, where a round of `broadcast/binomial` sends one.
    """
    depth: dict[int, list[tuple[int, int]]] = {}
    for child in range(1, n):
        parent = child & ~(1 << (child.bit_length() - 1))
        depth.setdefault(child.bit_count(), []).append((parent, child))
    rounds: list[Round] = []
    for _, pairs in sorted(depth.items()):
        source, target = np.array(pairs).T
        rounds.append(together((1, n), source, target, 1.0))
    return in_turn(n, rounds)


def gather_of_two() -> Schedule:
    """Return gloo's all-gather of two hosts: half of the time one of them sends alone.

    Each sends its block in two halves. The host that is ready last finds the other waiting, so its
    first half goes out before its own notice that it can receive, on the same connection; the
    other sends nothing until then, and its last half follows alone. With more hosts data and
    notices of a ring are on different connections.
    """
    shape = (1, 2)
    first, second = [0, 1], [1, 0]
    rounds = [(first[:1], second[:1]), (first, second), (first[1:], second[1:])]
    return in_turn(2, [together(shape, source, target, 0.25) for source, target in rounds])


def _pattern(op: str, n: int) -> Pattern | None:
    """Return the flows of what distsim has no algorithm for."""
    if op == "broadcast":
        return fluid(broadcast_at_once(n))
    return fluid(gather_of_two()) if op == "all_gather" and n == 2 else None


@lru_cache(maxsize=1024)
def _load(op: str, n: int, bits_per_s: float, efficiency: float) -> Load:
    """Return what a collective of n hosts asks of the links."""
    only = Network(efficiency, 0.0, 0.0, 0.0, 1.0)
    net = load_topology(only.topology(bits_per_s, n), n)
    everyone, role, devices = np.arange(n)[None, :], np.zeros(1, dtype=np.int64), np.arange(n)
    collective, algorithm = RUNS[op]
    if (pattern := _pattern(op, n)) is not None:
        traffic = route_pattern(algorithm, algorithm, everyone, role, pattern, devices, net)
    else:
        traffic = compile_traffic(algorithm, everyone, role, collective, algorithm, devices, net)
    return traffic.alone(net)


def collective_s(case: Collective, bits_per_s: float, network: Network) -> float:
    """Return the predicted seconds of a collective."""
    collective, algorithm = RUNS[case.op]
    load = _load(case.op, case.n, bits_per_s, network.efficiency)
    return network.library().price(collective, algorithm, load, case.size_bytes).total_s


def scenario(
    case: Step, shape: dict[str, int], network: Network, device: str, library: str
) -> dict[str, Any]:
    """Return a step of training as a scenario file says it.

    Parameters
    ----------
    device, library : str
        Paths of the files.
    """
    replicas = 1 if case.mode == "single" else 2
    sequence = shape["sequence"]
    model = {k: v for k, v in shape.items() if k != "sequence"}
    return {
        "schema": 1,
        "name": f"testbed-{case.mode}",
        "cluster": {
            "topology": network.topology(case.bits_per_s, replicas),
            "devices": replicas,
            "device": device,
            "library": library,
        },
        "model": {"family": "gpt", "max_positions": sequence, "dropout": False, **model},
        "batch": {
            "global_size": case.micro_size * case.microbatches * replicas,
            "micro_size": case.micro_size,
            "sequence_length": sequence,
        },
        "plan": {"overlap_grad_reduce": case.mode == "overlap", "bucket_size": BUCKET},
        "precision": "fp32",
        "optimizer": {"name": "adamw", "clip_grad_norm": False},
        "stack": {
            "profile": "pytorch-fsdp",
            "fused": {"flash_attention": False, "causal_softmax": False},
        },
        "evaluator": "event",
    }


def step_s(case: Step, shape: dict[str, int], network: Network, core: Core) -> float:
    """Return the predicted seconds of a step of training, by the event engine."""
    with tempfile.TemporaryDirectory(prefix="distsim-testbed-") as folder:
        device, library = Path(folder, "testbed-core.yaml"), Path(folder, "testbed-gloo.yaml")
        device.write_text(yaml.safe_dump(core.device_file()))
        library.write_text(yaml.safe_dump(network.library_file()))
        simulated = simulate(
            load_scenario(scenario(case, shape, network, str(device), str(library)))
        )
    return float(simulated.step_s)
