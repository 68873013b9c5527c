"""What fails, what is done about it, and what a training is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, inf
from typing import Literal

from distsim.errors import ValueProblem, show

WhenEmpty = Literal["wait", "shrink"]


def check(name: str, value: float, *, above: bool = False, most: float = inf) -> None:
    """Check a number of a process.

    Raises
    ------
    ValueProblem
        DS677 where it is negative (or zero, with `above`), too large or not a number.
    """
    if 0.0 <= value <= most and not (above and value == 0.0) and value != inf:
        return
    limit = f" and <= {most:g}" if most < inf else ""
    raise ValueProblem(
        "DS677",
        f"{name} is {show(value)}",
        value=value,
        rule=f"{name} {'>' if above else '>='} 0{limit}, and finite",
        fix="write a value in that range",
    )


@dataclass(frozen=True, slots=True)
class Failures:
    """When a system fails, and how long it takes until it trains again.

    Attributes
    ----------
    mtbf_s : float
        Mean time between failures of the whole system.
    detect_s, restart_s : float
        From a failure until it is noticed and its node known; from then until training goes on.
    shape : float
        Of the Weibull distribution of times between failures of the system: 1 is exponential,
        0.7 to 0.8 is what Schroeder and Gibson 2006 (DSN) found: failures in bursts.
    """

    mtbf_s: float
    detect_s: float = 120.0
    restart_s: float = 300.0
    shape: float = 1.0

    def __post_init__(self) -> None:
        check("the time between failures", self.mtbf_s, above=True)
        check("detection", self.detect_s)
        check("restart", self.restart_s)
        check("the shape", self.shape, above=True, most=20.0)

    @property
    def scale_s(self) -> float:
        """Scale of the distribution: the mean over Gamma(1 + 1 / shape)."""
        return self.mtbf_s / gamma(1.0 + 1.0 / self.shape)


@dataclass(frozen=True, slots=True)
class Spares:
    """Nodes that take the place of those that fail.

    Attributes
    ----------
    nodes : int
    repair_s : float
        From a failure until the node is a spare one.
    hardware_share : float
        Share of failures after which a node is repaired; the others only restart. 0.78 by
        default: Grattafiori 2024, section 3.3.4.
    when_empty : {"wait", "shrink"}
        Wait for a repair, or train with fewer replicas until there is one.
    replicas : int
        Data-parallel replicas.
    nodes_per_replica : float
        Nodes that one replica runs on.
    """

    nodes: int
    repair_s: float = 86400.0
    hardware_share: float = 0.78
    when_empty: WhenEmpty = "wait"
    replicas: int = 1
    nodes_per_replica: float = 1.0

    def __post_init__(self) -> None:
        check("the number of spare nodes", self.nodes, most=1e6)
        check("repair", self.repair_s)
        check("the share of hardware failures", self.hardware_share, most=1.0)


@dataclass(frozen=True, slots=True)
class Training:
    """What is to be done, and how it is saved.

    Attributes
    ----------
    work_s : float
        Time that all steps take without failures and checkpoints.
    interval_s : float
        Work from one checkpoint to the next.
    checkpoint_s : float
        What one delays training.
    durable_s : float
        From there until it is on storage and can be restarted from.
    """

    work_s: float
    interval_s: float
    checkpoint_s: float
    durable_s: float = 0.0

    def __post_init__(self) -> None:
        check("the work", self.work_s, above=True)
        check("the interval", self.interval_s, above=True)
        check("the checkpoint", self.checkpoint_s)
        check("the time until a checkpoint is on storage", self.durable_s)
