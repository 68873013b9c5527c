"""What is measured: sweeps of collectives, and steps of training, each in turn, several times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.testbed.fleet import Fleet, elapsed_s
from benchmarks.testbed.network import Network
from benchmarks.testbed.quiet import Watch

KIB, MIB = 1 << 10, 1 << 20
OPS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")
GROUPS = (2, 4, 8)
#: Sizes as nccl-tests counts them; closer together where bandwidth is what counts.
SMALL = tuple(KIB << i for i in (0, 2, 4, 6))
LARGE = tuple(256 * KIB << i for i in range(7))
#: Share of the samples that are faster than what counts as the time: low, since other work on the
#: machine only ever adds to a sample.
QUANTILE = 0.25
#: Longest that a sample may take, s.
SAMPLE_S = 30.0


def low_quantile(samples: list[float]) -> float:
    """Return the sample below which a quarter of the others lie."""
    return sorted(samples)[round(QUANTILE * (len(samples) - 1))]


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective of one size on the first n hosts."""

    op: str
    n: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of training on two hosts (mode ``single``: on each by itself)."""

    mode: str
    micro_size: int
    microbatches: int
    bits_per_s: float


@dataclass(slots=True)
class Samples:
    """Measured seconds of each case."""

    of: dict[Collective | Step, list[float]] = field(default_factory=dict)

    def add(self, case: Collective | Step, seconds: float) -> None:
        """Add a sample."""
        self.of.setdefault(case, []).append(seconds)


def collectives(groups: tuple[int, ...], most_bytes: int) -> Iterator[Collective]:
    """Return all collectives, sizes outermost so that like ones are apart in time."""
    for size in (*SMALL, *LARGE):
        if size <= most_bytes:
            for op in OPS:
                for n in groups:
                    yield Collective(op, n, size)


def run_collectives(
    fleet: Fleet, network: Network, watch: Watch, cases: list[Collective], rounds: int
) -> tuple[Samples, dict[str, list[float]]]:
    """Measure every case once a round.

    Returns
    -------
    Samples
    dict of str to list of float
        Bytes that each host sent over the size, headers included, for the largest size of each
        operation and group: ``op/n`` to one number a host.
    """
    samples, sent = Samples(), {}
    most = max(case.size_bytes for case in cases)
    hosts = network.names.hosts
    fleet.tell(range(hosts), [{"do": "arrays", "most_bytes": most}] * hosts, SAMPLE_S)
    # The first of each opens connections.
    for case in sorted({Collective(c.op, c.n, 64 * KIB) for c in cases}, key=str):
        _collective(fleet, case)
    for turn in range(rounds):
        watch.note()
        for case in cases:
            watch.wait()
            counts = turn == 0 and case.size_bytes == most
            before = [network.sent_bytes(h) for h in range(case.n)] if counts else []
            samples.add(case, _collective(fleet, case))
            if counts:
                after = [network.sent_bytes(h) for h in range(case.n)]
                sent[f"{case.op}/{case.n}"] = [
                    round((b - a) / most, 3) for a, b in zip(before, after, strict=True)
                ]
    watch.note()
    return samples, sent


def _collective(fleet: Fleet, case: Collective) -> float:
    command = {"do": "collective", "op": case.op, "size_bytes": case.size_bytes, "n": case.n}
    return elapsed_s(fleet.together(case.n, command, SAMPLE_S))


def steps(rates: tuple[float, ...], micro_sizes: tuple[int, ...], accumulate: int) -> list[Step]:
    """Return all steps of training, those of one rate together.

    Parameters
    ----------
    rates : tuple of float
        Bits/s of a host.
    micro_sizes : tuple of int
        Of single processes; with a network, the first of them.
    accumulate : int
        Micro batches of a step that accumulates gradients.
    """
    out = [Step("single", size, 1, rates[0]) for size in micro_sizes]
    for rate in rates:
        for mode in ("overlap", "end"):
            out += [Step(mode, micro_sizes[0], count, rate) for count in (1, accumulate)]
    return out


def run_steps(
    fleet: Fleet,
    network: Network,
    watch: Watch,
    shape: dict[str, int],
    cases: list[Step],
    rounds: int,
) -> tuple[Samples, dict[str, Any]]:
    """Measure every step once a round, after one that does not count.

    Returns
    -------
    Samples
    dict of str to object
        ``parameters`` of the model, and ``device``: operator timings of one core.
    """
    samples = Samples()
    for host, core in enumerate(watch.cores[:2]):
        fleet.tell([host], [{"do": "pin", "cores": [core], "threads": 1}], SAMPLE_S)
    facts = fleet.tell([0], [{"do": "device", "seconds": 6.0}], SAMPLE_S)[0]
    made = fleet.tell(range(2), [{"do": "trainer", **shape}] * 2, SAMPLE_S)
    warm = [(mode, cases[0].micro_size) for mode in ("single", "overlap", "end")]
    for mode, micro in [*warm, ("overlap", cases[0].micro_size)]:
        _step(fleet, Step(mode, micro, 1, network.bits_per_s))
    for _ in range(rounds):
        watch.note()
        for case in cases:
            if case.bits_per_s != network.bits_per_s:
                network.limit(case.bits_per_s)
            watch.wait()
            samples.add(case, _step(fleet, case))
    watch.note()
    return samples, {"parameters": made[0]["parameters"], "device": facts["timings"]}


def _step(fleet: Fleet, case: Step) -> float:
    command = {"do": "step", "mode": case.mode, "micro_size": case.micro_size}
    return elapsed_s(fleet.together(2, command | {"microbatches": case.microbatches}, SAMPLE_S))
