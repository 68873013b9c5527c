"""What a fit uses, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """Where a measurement stands.

    Attributes
    ----------
    file : str
    line : int or None
        From 1; None where the file has no lines of its own (JSON on one line).
    kind : str
        Name of the format: ``megatron``, ``step_csv``, ``nccl``, ...
    """

    file: str
    line: int | None
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class StepTime:
    """Time of one optimizer step of a scenario.

    Attributes
    ----------
    time_s : float
        Median of the steps that count.
    scenario : mapping
        As a scenario file says it; paths in it are seen from the working directory.
    source : Source
        The first line that counts.
    weight : float
        How much a fit trusts it; 1 unless the file says otherwise.
    samples : int
        Logged times behind the median.
    low_s, high_s : float
        Their 10th and 90th percentile.
    """

    time_s: float
    scenario: Mapping[str, Any]
    source: Source
    weight: float
    samples: int
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class KernelTime:
    """Time of one operator on one device.

    Attributes
    ----------
    kind : {"gemm", "attention", "memory", "launch", "host"}
    time_s : float
        Median.
    shape : mapping
        By kind. gemm: batch, m, n, k, dtype, and layout where it is known; attention: batch, heads,
        kv_heads, sequence, head_dim, causal, direction, dtype, fused; memory: op, moved_bytes,
        dtype; launch and host: op.
    source : Source
    samples : int
        Times behind the median.
    """

    kind: str
    time_s: float
    shape: Mapping[str, Any]
    source: Source
    samples: int = 1


@dataclass(frozen=True, slots=True)
class CollectiveTime:
    """Time of one collective.

    Attributes
    ----------
    op : str
        As nccl-tests names it: all_reduce, all_gather, reduce_scatter, broadcast, reduce, alltoall,
        sendrecv.
    size_bytes : float
        As nccl-tests counts it: the whole received buffer of an all_gather, the whole sent one of a
        reduce_scatter, the buffer of a rank of an alltoall.
    ranks : int
    nodes : int or None
        None where the file does not say.
    time_s : float
    source : Source
    samples : int
        Times behind `time_s`.
    """

    op: str
    size_bytes: float
    ranks: int
    nodes: int | None
    time_s: float
    source: Source
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line or row that is left out, and why."""

    source: Source
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Readings:
    """What files hold.

    Attributes
    ----------
    step_times, kernels, collectives : tuple
    rejected : tuple of Rejected
        What was left out, by line.
    notes : tuple of str
        What was taken in its place or left open, each with its file.
    """

    step_times: tuple[StepTime, ...] = ()
    kernels: tuple[KernelTime, ...] = ()
    collectives: tuple[CollectiveTime, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Measurements of all kinds."""
        return len(self.step_times) + len(self.kernels) + len(self.collectives)


def merged(readings: Iterable[Readings]) -> Readings:
    """Return the readings of several files as one, in their order."""
    found = list(readings)
    return Readings(
        tuple(one for r in found for one in r.step_times),
        tuple(one for r in found for one in r.kernels),
        tuple(one for r in found for one in r.collectives),
        tuple(one for r in found for one in r.rejected),
        tuple(one for r in found for one in r.notes),
    )
