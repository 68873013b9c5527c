"""The tuner of a communication library: how it guesses which algorithm and protocol is fastest.

NCCL takes the algorithm and the protocol with the least of

    latency + size / bandwidth

by constants of its own, not by measuring (NCCL 2.27, src/graph/tuning.cc). They differ from what a
collective really takes: a library changes over to the next protocol too early or too late, and the
curve of measured times has a step there. So the choice and the time are two models here, and this
is the choice. Latency is a start, and so much for each hop in turn; bandwidth is that of the
algorithm on the links times a share, limited by what the instructions of a device or of a channel
can move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distsim.hardware.block import Block
from distsim.record import record

#: (algorithm, protocol) -> a number.
Table = Mapping[tuple[str, str], float]
#: Rows of limits: a group on one node, on two, on more; and a row for all that have none.
SPANS = ("one_node", "two_nodes", "more_nodes")
ALL = "all"
#: Sizes that the correction of trees is stated for begin with this many bytes, and double.
_FIRST_SIZE_BITS = 6


class Load(NamedTuple):
    """What a collective asks of its group and links, as far as a library looks at it.

    Attributes
    ----------
    members, nodes, channels : int
        Of the group; channels are the rings that it runs at the same time.
    sent : float
        Bytes that the busiest member sends, over the size of the collective.
    wire_s : float
        Latency of the links on the way.
    local_hops, network_hops : float
        Hops that count in the latency, inside a node and between nodes.
    busy_s_per_byte : float
        Time of the bytes on links of their own, over the size.
    local_bus_bytes_per_s, network_bus_bytes_per_s : float
        Stated bandwidth of the links by which bytes leave a member for others on its node, and by
        which they leave all members of a node for other nodes; infinite where none do.
    """

    members: int
    nodes: int
    channels: int
    sent: float
    wire_s: float
    local_hops: float
    network_hops: float
    busy_s_per_byte: float
    local_bus_bytes_per_s: float
    network_bus_bytes_per_s: float

    def times(self, count: float) -> Load:
        """Return the load of running the pattern `count` times in a row."""
        return self._replace(
            sent=count * self.sent,
            wire_s=count * self.wire_s,
            local_hops=count * self.local_hops,
            network_hops=count * self.network_hops,
            busy_s_per_byte=count * self.busy_s_per_byte,
        )


@record
class Limits:
    """The most bytes/s, by the nodes of a group and by the generation of device or host.

    Attributes
    ----------
    rows : mapping of str to mapping of str to float
        Keys of `SPANS`, or `ALL`; then a generation of devices, or of hosts.
    """

    rows: Mapping[str, Mapping[str, float]]

    def of(self, nodes: int, generation: str, host: str) -> float:
        """Return the limit for a group; infinity where none is stated for its generation."""
        row = self.rows.get(SPANS[min(nodes, 3) - 1]) or self.rows.get(ALL, {})
        return row.get(generation, row.get(host, float("inf")))


#: Where nothing but the links limits.
NO_LIMITS = Limits({})


class Rule(NamedTuple):
    """What a provider's tuner plugin lays down for a collective of some sizes.

    Attributes
    ----------
    collective, algorithm, protocol : str
    low_bytes, high_bytes : float
        From, and up to but without.
    """

    collective: str
    algorithm: str
    protocol: str
    low_bytes: float
    high_bytes: float

    def applies(self, collective: str, size_bytes: float) -> bool:
        """Say whether the rule decides."""
        return collective == self.collective and self.low_bytes <= size_bytes < self.high_bytes


@record
class Tuner:
    """What a library believes of its algorithms and protocols.

    Attributes
    ----------
    source : str
    start_s, local_hop_s, network_hop_s : Table
    least_hop_s : mapping of str to float
        By protocol: no hop of a ring over several nodes is believed to take less, for a proxy on
        the host sends each message.
    local_bus : mapping of str to float
        By generation of devices: share of the stated bandwidth inside a node.
    network_bus : float
        Share of the stated bandwidth between nodes.
    bandwidth : Table
        Share of the bus bandwidth, the less of the two.
    per_byte : mapping of str to float
        By algorithm: bytes on the bus for a byte of the collective, where it is not what the
        busiest member sends.
    channel_rate : mapping of (str, str) to Limits
        The most that one channel moves.
    plateau : float
        Factor on the latency of a ring's Simple all-reduce over several nodes.
    tree_by_size : mapping of str to tuple of float
        By protocol: factor on the bandwidth of a tree's all-reduce of at least 64 B, 128 B, ...
    """

    source: str
    start_s: Table
    local_hop_s: Table
    network_hop_s: Table
    least_hop_s: Mapping[str, float]
    local_bus: Mapping[str, float]
    network_bus: float
    bandwidth: Table
    per_byte: Mapping[str, float]
    channel_rate: Mapping[tuple[str, str], Limits]
    plateau: float
    tree_by_size: Mapping[str, tuple[float, ...]]

    def knows(self, algorithm: str, protocol: str) -> bool:
        """Say whether it has an opinion."""
        return (algorithm, protocol) in self.start_s

    def estimate_s(
        self,
        collective: str,
        algorithm: str,
        protocol: str,
        load: Load,
        size_bytes: float,
        device_rate: float,
        generation: str,
    ) -> float:
        """Return what it believes that a collective takes.

        Parameters
        ----------
        device_rate : float
            Bytes/s that a member can send at most under the protocol.
        generation : str
            Of the devices.
        """
        key = (algorithm, protocol)
        all_reduce = collective == "all_reduce"
        local_s, network_s = self.local_hop_s[key], self.network_hop_s[key]
        local, network = load.local_hops, load.network_hops
        if algorithm == "ring" and load.nodes > 1:
            local_s = max(local_s, self.least_hop_s[protocol])
            # A turn of the ring crosses as often as there are nodes; the library counts one less.
            network -= load.network_hops / load.nodes
            local += load.network_hops / load.nodes
        latency_s = self.start_s[key] + local * local_s + network * network_s
        # NCCL asks for 64 bytes a channel and rank too; below that it takes LL anyway.
        if algorithm == "ring" and protocol == "simple" and all_reduce and load.nodes > 1:
            latency_s *= self.plateau
        bus = min(
            self.local_bus.get(generation, 1.0) * load.local_bus_bytes_per_s,
            self.network_bus * load.network_bus_bytes_per_s,
        )
        rate = min(self.bandwidth[key] * bus, device_rate)
        if key in self.channel_rate and load.nodes > 1:
            per_channel = self.channel_rate[key].of(load.nodes, generation, "")
            rate = min(rate, load.channels * per_channel)
        bus_bytes = size_bytes * self.per_byte.get(algorithm, load.sent)
        if algorithm == "tree" and all_reduce:
            rate *= self._tree_factor(protocol, size_bytes)
        return latency_s + bus_bytes / rate

    def _tree_factor(self, protocol: str, size_bytes: float) -> float:
        factors = self.tree_by_size.get(protocol, ())
        place = (int(size_bytes) >> _FIRST_SIZE_BITS).bit_length() - 1
        return factors[place] if 0 <= place < len(factors) else 1.0


def read_tuner(block: Block) -> Tuner:
    """Return the tuner that a block of a library's file describes.

    Raises
    ------
    HardwareError, ValueProblem
        For what it cannot be.
    """
    tables = ("start", "local_hop", "network_hop", "bandwidth")
    other = (
        "local_bus",
        "network_bus",
        "per_byte",
        "least_hop",
        "channel_rate",
        "plateau",
        "tree_by_size",
    )
    block.only("source", *tables, *other)
    start, local, network = (_table(block.block(key), "s") for key in tables[:3])
    bandwidth = _table(block.block("bandwidth"), "1")
    for key, table in (("local_hop", local), ("network_hop", network), ("bandwidth", bandwidth)):
        if missing := start.keys() - table.keys():
            algorithm, protocol = min(missing)
            raise block.error(
                "DS403",
                f"{key} says nothing of {algorithm} under {protocol}",
                key=key,
                rule="a tuner states all four for what it knows",
                fix=f"add {key}: {{{algorithm}: {{{protocol}: ...}}}}",
            )
    least = block.block("least_hop")
    per_byte, local_bus = block.block("per_byte"), block.block("local_bus")
    by_size = block.block("tree_by_size")
    return Tuner(
        block.text("source"),
        start,
        local,
        network,
        {key: least.quantity(key, "s", zero=True) for key in least.names()},
        {key: local_bus.quantity(key, "1", high=1.0) for key in local_bus.names()},
        block.quantity("network_bus", "1", high=1.0),
        bandwidth,
        {key: per_byte.quantity(key, "1") for key in per_byte.names()},
        _rates(block.block("channel_rate")),
        block.quantity("plateau", "1"),
        {key: _factors(by_size, key) for key in by_size.names()},
    )


def read_rules(block: Block, key: str) -> tuple[Rule, ...]:
    """Return rules: ``[{collective: all_reduce, to: 32 MiB, algorithm: ring, protocol: ll}]``."""
    out = []
    for entry in block.blocks(key):
        entry.only("collective", "from", "to", "algorithm", "protocol")
        low = entry.quantity("from", "bytes", zero=True, default=0.0)
        high = entry.quantity("to", "bytes", default=float("inf"))
        if low >= high:
            raise entry.error(
                "DS405",
                f"from({low:g} B) is not less than to({high:g} B)",
                key="from",
                rule="from < to",
                fix="exchange the two, or remove one",
            )
        collective, algorithm = (
            entry.text(word).replace("-", "_") for word in ("collective", "algorithm")
        )
        out.append(Rule(collective, algorithm, entry.text("protocol"), low, high))
    return tuple(out)


def read_limits(block: Block) -> Limits:
    """Return limits: ``{one_node: {hopper: 141 GB/s}, two_nodes: {intel: 39 GB/s}}``."""
    block.only(*SPANS, ALL)
    rows = {}
    for span in block.names():
        row = block.block(span)
        rows[span] = {name: row.quantity(name, "bytes_per_s") for name in row.names()}
    return Limits(rows)


def _table(block: Block, dimension: str) -> dict[tuple[str, str], float]:
    out = {}
    for algorithm in block.names():
        inside = block.block(algorithm)
        for protocol in inside.names():
            value = inside.quantity(protocol, dimension, zero=dimension == "s")
            out[algorithm, protocol] = value
    return out


def _rates(block: Block) -> dict[tuple[str, str], Limits]:
    out: dict[tuple[str, str], Limits] = {}
    for algorithm in block.names():
        inside = block.block(algorithm)
        out |= {(algorithm, p): read_limits(inside.block(p)) for p in inside.names()}
    return out


def _factors(block: Block, key: str) -> tuple[float, ...]:
    found = []
    for value in block.items(key):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise block.error(
                "DS405", f"{key} holds {value!r}", key=key, value=value, rule="0 < factor <= 1",
                fix="write factors",
            )  # fmt: skip
        found.append(float(value))
    return tuple(found)
