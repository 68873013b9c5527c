"""What a plan keeps on the host."""

from __future__ import annotations

from distsim.parallel.offload import Offload
from distsim.scenario.schema import Scenario


def offload_of(scenario: Scenario) -> Offload:
    """Return what the plan keeps on the host."""
    block = scenario.plan.offload
    if block is None:
        return Offload()
    return Offload(block.optimizer, block.parameters, block.buffer, block.delayed_update)
