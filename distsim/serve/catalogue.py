"""What the page offers to pick from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

from distsim.cost.stack import load_stack, stack_names
from distsim.files import find_shipped, read_text, shipped_below, shipped_names
from distsim.hardware.catalogue import device, device_names, topology_info, topology_names
from distsim.scenario.job_blocks import OptimizerName, Precision
from distsim.scenario.plan_block import RecomputeMode
from distsim.schedule import REGISTRY
from distsim.serve.limits import LIMITS
from distsim.version import __version__
from distsim.workload.zoo import names, network

#: Directories of shipped scenarios, beside those at the top.
_DIRECTORIES = ("textbook",)


@lru_cache(maxsize=1)
def scenario_names() -> tuple[str, ...]:
    """Return the names of all shipped scenarios, those of the textbook last."""
    below = (name for directory in _DIRECTORIES for name in shipped_below("scenarios", directory))
    return (*shipped_names("scenarios"), *below)


@lru_cache(maxsize=64)
def scenario_text(name: str) -> str:
    """Return the file of a shipped scenario; `name` is one of `scenario_names`."""
    return read_text(find_shipped("scenarios", name))


def catalogue() -> dict[str, Any]:
    """Return everything that can be picked, and the limits of the server."""
    return {
        "version": __version__,
        "scenarios": list(scenario_names()),
        "models": [_model(name) for name in names()],
        "topologies": [topology_info(name) for name in topology_names()],
        "devices": [_device(name) for name in device_names()],
        "stacks": [
            {"name": name, "description": load_stack(name).description} for name in stack_names()
        ],
        "schedules": [{"name": one.name, "chunks": one.chunks} for one in REGISTRY.values()],
        "precisions": list(get_args(Precision)),
        "optimizers": list(get_args(OptimizerName)),
        "recompute": list(get_args(RecomputeMode)),
        "limits": LIMITS.to_dict(),
    }


def _model(name: str) -> dict[str, Any]:
    shape = network(name).to_dict()
    keys = ("name", "family", "parameters", "layers", "hidden", "heads")
    return {key: shape.get(key) for key in keys}


def _device(name: str) -> dict[str, Any]:
    found = device(name)
    return {
        "name": found.name,
        "vendor": found.vendor,
        "memory_bytes": found.memory_bytes,
        "memory_bandwidth_bytes_per_s": found.memory_bandwidth_bytes_per_s,
    }
