"""Communication libraries: what NCCL and its like add to the links, and what they choose from.

A library runs a collective by an algorithm under a protocol. Protocols trade latency against
bandwidth: LL sends a flag with every 4 bytes and waits for no fence, LL128 one with every 120 bytes
of a 128-byte line, Simple fences whole slices (NCCL documentation, ``NCCL_PROTO``; Hu et al. 2025,
"Demystifying NCCL", arXiv 2507.04786, section 3). On S bytes that take X seconds on the links by
themselves, a collective takes

    T = startup + L + X / b + 2 sqrt(f L X / b)

with L the latency of its hops, links and library together, b the share of bandwidth that algorithm
and protocol reach, and f the ``fill`` of the algorithm. The last term is what cutting an array into
chunks costs: a pipeline over h hops that each cost a seconds a chunk takes h a + X + 2 sqrt(h a X)
with the best number of chunks (Hockney's model, optimised; Sanders, Speck and Träff 2009, section
2), and libraries adapt their chunks to the size. ``f`` is how many of the hops an algorithm
pipelines so.

Which algorithm and protocol it takes is another question: a library decides by its tuner
(`distsim.hardware.tuner`), and one without a tuner takes what is fastest by this model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, replace
from math import sqrt
from typing import Any, TypeVar

from distsim.hardware.tuner import NO_LIMITS, Limits, Load, Rule, Tuner
from distsim.record import record

Key = TypeVar("Key")
#: Key of the entry for algorithms that a library does not name.
OTHER = "other"


@record
class Wire:
    """How a library moves bytes.

    Attributes
    ----------
    name : str
        LL, LL128 or Simple for NCCL, in small letters.
    bandwidth : float
        Payload over bytes on the link, in (0, 1].
    device_rate : Limits
        The most that a device sends, bytes/s, where its instructions are the limit and not links.
    local_hop_s, network_hop_s : float
        What the software adds to the latency of a hop inside a node, and between nodes.
    """

    name: str
    bandwidth: float
    local_hop_s: float
    network_hop_s: float
    device_rate: Limits = NO_LIMITS


@record
class Parts:
    """How a message is dealt over channels (NCCL 2.27, src/enqueue.cc).

    All channels are shared out evenly among the members of the group, in case everyone sends to
    everyone. A message gets twice as many as long as the part of each is larger than a limit.

    Attributes
    ----------
    channels : int
        That there are.
    part_bytes : float
        The limit.
    channel_rate : float
        Bytes/s that one channel moves.
    """

    channels: int
    part_bytes: float
    channel_rate: float

    def rate(self, members: int, size_bytes: float) -> float:
        """Return the most bytes/s of a message to one member."""
        used = max(1, self.channels // members)
        while size_bytes / used > self.part_bytes and 2 * used <= self.channels:
            used *= 2
        return used * self.channel_rate


@record
class Runner:
    """How a library runs one algorithm.

    Attributes
    ----------
    startup_s : mapping of str to float
        Time before the first byte moves, by protocol; only these protocols are used.
    fill : float
        Share of the latency that is paid again for chunks (f in the module's formula).
    bandwidth : float
        Share of the links' bandwidth that it reaches, in (0, 1].
    device_rate : Limits
        The most that a device sends, bytes/s.
    turn : mapping of str to float
        By generation of devices: share of one more step's bytes that the end of a turn costs. An
        element of an array passes one step more inside the devices than on the links.
    parts : Parts, optional
        Where messages are dealt over channels.
    cluster_startup : bool
        Whether the start-up of the cluster's software is paid.
    """

    startup_s: Mapping[str, float]
    fill: float = 0.0
    bandwidth: float = 1.0
    device_rate: Limits = NO_LIMITS
    turn: Mapping[str, float] = field(default_factory=dict)
    parts: Parts | None = None
    cluster_startup: bool = True


@record
class Priced:
    """A collective of one size as a library runs it.

    Attributes
    ----------
    wire : Wire
        The protocol.
    startup_s, hops_s, fill_s : float
        Parts of the latency.
    fluid_s : float
        Its bytes, on links of its own.
    bandwidth : float
        Share of the links' bandwidth that it reaches.
    estimate_s : float or None
        What the library believes that it takes; None where it has no opinion.
    laid_down : bool
        Whether a rule says to run it so.
    """

    wire: Wire
    startup_s: float
    hops_s: float
    fill_s: float
    fluid_s: float
    bandwidth: float
    estimate_s: float | None = None
    laid_down: bool = False

    @property
    def latency_s(self) -> float:
        """Time before its bytes move."""
        return self.startup_s + self.hops_s + self.fill_s

    @property
    def total_s(self) -> float:
        """Latency and bytes."""
        return self.latency_s + self.fluid_s


def choose(options: Mapping[Key, Priced]) -> Key:
    """Return which of several ways to run a collective a library takes.

    What a rule lays down; else the one that it believes to be fastest, or the fastest one where it
    has no opinion on some. The first by name among equals.
    """
    options = {key: priced for key, priced in options.items() if priced.laid_down} or options
    believes = all(priced.estimate_s is not None for priced in options.values())

    def rank(key: Key) -> tuple[float, str]:
        priced = options[key]
        believed = priced.estimate_s if believes else None
        return (priced.total_s if believed is None else believed, str(key))

    return min(options, key=rank)


@record
class Library:
    """A communication library.

    Attributes
    ----------
    startup_s : float
        Added to every collective on this cluster: kernel start and hand-over by its software.
    protocols : tuple of Wire
    runners : mapping of str to Runner
        By algorithm; ``other`` stands for those that are not named.
    collectives : mapping of str to tuple of str
        Algorithms that it chooses from.
    tuner : Tuner, optional
        By which it chooses.
    rules : tuple of Rule
        Of a provider's tuner plugin, before anything else.
    host : str
        Vendor of the processors: some limits depend on it.
    generation : str
        Architecture of the devices, likewise.
    """

    name: str
    description: str
    source: str
    protocols: tuple[Wire, ...]
    runners: Mapping[str, Runner]
    collectives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    startup_s: float = 0.0
    tuner: Tuner | None = None
    rules: tuple[Rule, ...] = ()
    host: str = "intel"
    generation: str = ""

    def on(self, generation: str) -> Library:
        """Return the library on devices of a generation."""
        return self if generation == self.generation else replace(self, generation=generation)

    def under(self, protocols: Collection[str]) -> Library:
        """Return the library without other protocols.

        An algorithm that knows none of them keeps its own, as NVLS keeps Simple in NCCL.
        """
        runners = {}
        for name, runner in self.runners.items():
            left = {p: s for p, s in runner.startup_s.items() if p in protocols}
            runners[name] = replace(runner, startup_s=left or runner.startup_s)
        return replace(self, runners=runners)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: protocols, algorithms, and what it chooses from."""
        return {
            "name": self.name,
            "description": self.description,
            "source": self.source,
            "tuner": self.tuner.source if self.tuner else "",
            "collectives": dict(self.collectives),
            "protocols": [
                {
                    "name": wire.name,
                    "bandwidth": wire.bandwidth,
                    "local_hop_s": wire.local_hop_s,
                    "network_hop_s": wire.network_hop_s,
                }
                for wire in self.protocols
            ],
            "algorithms": [
                {
                    "name": name,
                    "protocol": protocol,
                    "startup_s": startup_s,
                    "fill": runner.fill,
                    "bandwidth": runner.bandwidth,
                }
                for name, runner in self.runners.items()
                for protocol, startup_s in runner.startup_s.items()
            ],
        }

    def choices(self, collective: str) -> tuple[str, ...]:
        """Return the algorithms that it chooses from for a collective."""
        return self.collectives.get(collective, ())

    def runner(self, algorithm: str) -> Runner:
        """Return how it runs an algorithm."""
        return self.runners.get(algorithm) or self.runners[OTHER]

    def price(self, collective: str, algorithm: str, load: Load, size_bytes: float) -> Priced:
        """Return how it runs a collective by an algorithm, by the protocol that it chooses.

        Parameters
        ----------
        collective, algorithm : str
        load : Load
            Of the group by itself.
        size_bytes : float
        """
        runner = self.runner(algorithm)
        options = {
            wire.name: self._under(wire, runner, collective, algorithm, load, size_bytes)
            for wire in self.protocols
            if wire.name in runner.startup_s
        }
        return options[choose(options)]

    def _under(
        self,
        wire: Wire,
        runner: Runner,
        collective: str,
        algorithm: str,
        load: Load,
        size_bytes: float,
    ) -> Priced:
        """Return how it runs a collective under one protocol."""
        fluid_s = size_bytes * load.busy_s_per_byte
        device_rate = min(
            limit.device_rate.of(load.nodes, self.generation, self.host) for limit in (wire, runner)
        )
        sent_s = size_bytes * load.sent / device_rate
        bandwidth = wire.bandwidth * runner.bandwidth
        busy_s = max(fluid_s / bandwidth, sent_s)
        if runner.parts is not None:
            sent_bytes = size_bytes * load.sent
            busy_s = max(busy_s, sent_bytes / runner.parts.rate(load.members, sent_bytes))
        if load.sent:
            busy_s *= 1.0 + runner.turn.get(self.generation, 0.0) / (load.sent * load.members)
        hops_s = (
            load.wire_s
            + load.local_hops * wire.local_hop_s
            + load.network_hops * wire.network_hop_s
        )
        estimate_s = None
        if self.tuner is not None and self.tuner.knows(algorithm, wire.name):
            estimate_s = self.tuner.estimate_s(
                collective, algorithm, wire.name, load, size_bytes, device_rate, self.generation
            )
        return Priced(
            wire,
            runner.startup_s[wire.name] + self.startup_s * runner.cluster_startup,
            hops_s,
            2.0 * sqrt(runner.fill * hops_s * busy_s),
            busy_s,
            fluid_s / busy_s if busy_s > 0.0 else bandwidth,
            estimate_s,
            self._laid_down(collective, algorithm, wire.name, size_bytes),
        )

    def _laid_down(self, collective: str, algorithm: str, protocol: str, size_bytes: float) -> bool:
        rule = next((r for r in self.rules if r.applies(collective, size_bytes)), None)
        return rule is not None and (rule.algorithm, rule.protocol) == (algorithm, protocol)


#: Adds nothing: links and algorithms by themselves.
IDEAL = Library(
    "ideal",
    "Links and algorithms by themselves",
    "definition",
    (Wire("none", 1.0, 0.0, 0.0),),
    {OTHER: Runner({"none": 0.0})},
    {
        "all_reduce": ("ring", "tree"),
        "all_gather": ("ring",),
        "reduce_scatter": ("ring",),
        "all_to_all": ("direct",),
        "send_recv": ("p2p",),
        "send": ("p2p",),
    },
)
