"""Rules that treat every parameter by itself: one kernel reads and writes all there is of it."""

from __future__ import annotations

from distsim.record import record
from distsim.workload.op import Work, stream
from distsim.workload.optimizers.spec import Held, OptimizerSpec


@record
class Elementwise:
    """A rule with some moments of each parameter.

    The update reads gradient, weight and moments and writes weight and moments. Moments in int8
    are unpacked and packed in registers (Dettmers 2022, arXiv 2110.02861, section 2.1).
    """

    moments: int
    source: str
    moment_types: tuple[str, ...] = ("fp32", "bf16", "int8")

    def state_bytes(self, optimizer: OptimizerSpec, held: Held) -> float:
        """Return bytes of state: the moments."""
        return self.moments * optimizer.moment_bytes * held.parameters

    def works(self, optimizer: OptimizerSpec, held: Held) -> tuple[Work, ...]:
        """Return the one kernel of the update."""
        state = self.moments * optimizer.moment_bytes
        traffic = held.gradient_bytes + 2 * held.value_bytes + 2 * state
        return (stream(traffic * held.parameters / held.shard),)


SGD = Elementwise(0, "Robbins and Monro 1951", ("none",))
MOMENTUM = Elementwise(1, "Polyak 1964; Sutskever 2013")
#: AdamW decays weights apart, which only changes arithmetic (Loshchilov and Hutter 2019).
ADAM = Elementwise(2, "Kingma and Ba 2015 (arXiv 1412.6980)")
LION = Elementwise(1, "Chen 2023 (arXiv 2302.06675), program 1")
