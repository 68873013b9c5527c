"""The commands of iproute2 that build, limit and remove the hosts. Nothing here runs one.

A host is a network namespace with one interface, ``eth0``: an end of a veth pair whose other end
sits in a bridge in a namespace of its own. A token bucket (``tc tbf``) limits what each end sends,
so a host sends and receives at the rate. All of it lives in namespaces whose names begin with
`PREFIX` and the number of the process that built them; the machine's own interfaces are in none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: What every namespace of a testbed is called first.
PREFIX = "distsim-testbed"
#: The only interface of a host.
INTERFACE = "eth0"
#: Largest segment that the kernel hands to the token bucket, bytes. Without a limit it is 64 KiB,
#: and a bucket that can pass it lets the first 64 KiB of every message through for nothing.
SEGMENT_BYTES = 8192
#: Depth of the bucket, as time at the rate: as long as the kernel may be late to take what has come
#: in. Shorter, and a busy machine loses some of the rate; longer, and more of a message is free.
BURST_S = 0.4e-3
#: What waits for tokens at most. Long, so that nothing is dropped: senders are limited by windows.
QUEUE_MS = 400
#: Send buffer of a connection, bytes: several times what is on the way at any of the rates here.
WINDOW_BYTES = 128 << 10
#: TCP on the hosts. Reno, which every namespace may choose, for a machine may have BBR by default,
#: which paces by its own estimates and pauses to probe; no new slow start after each pause between
#: messages; and windows of one size, so that connections which share a link share it equally.
TCP = (
    "net.ipv4.tcp_congestion_control=reno",
    "net.ipv4.tcp_slow_start_after_idle=0",
    f"net.ipv4.tcp_wmem=4096 {WINDOW_BYTES} {WINDOW_BYTES}",
)
_NAME = re.compile(rf"^{PREFIX}-(\d+)-(?:sw|h\d+)$")

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one testbed.

    Attributes
    ----------
    run : int
        Process that builds it.
    hosts : int
    """

    run: int
    hosts: int

    @property
    def switch(self) -> str:
        """Namespace of the bridge."""
        return f"{PREFIX}-{self.run}-sw"

    def host(self, index: int) -> str:
        """Return the namespace of a host."""
        return f"{PREFIX}-{self.run}-h{index}"

    def all(self) -> tuple[str, ...]:
        """Return all namespaces."""
        return (self.switch, *(self.host(i) for i in range(self.hosts)))


def address(index: int) -> str:
    """Return the address of a host, of the block for documentation (RFC 5737)."""
    return f"192.0.2.{index + 1}"


def build(names: Names) -> list[Command]:
    """Return what makes namespaces, bridge, pairs and addresses, in order."""
    out: list[Command] = [("ip", "netns", "add", name) for name in names.all()]
    switch = ("ip", "-n", names.switch)
    out += [
        (*switch, "link", "add", "br0", "type", "bridge"),
        (*switch, "link", "set", "br0", "up"),
    ]
    for i in range(names.hosts):
        host, port = names.host(i), f"h{i}"
        peer = ("peer", "name", INTERFACE, "netns", host)
        inside = ("ip", "-n", host)
        segment = ("gso_max_size", str(SEGMENT_BYTES))
        out += [
            (*switch, "link", "add", port, "type", "veth", *peer),
            (*switch, "link", "set", port, *segment, "master", "br0", "up"),
            (*inside, "link", "set", INTERFACE, *segment, "up"),
            (*inside, "link", "set", "lo", "up"),
            (*inside, "addr", "add", f"{address(i)}/24", "dev", INTERFACE),
            ("ip", "netns", "exec", host, "sysctl", "-qw", *TCP),
        ]
    return out


def burst_bytes(bits_per_s: float) -> int:
    """Return the depth of the bucket: at least one segment with the headers of its packets."""
    return max(SEGMENT_BYTES + 1024, round(BURST_S * bits_per_s / 8))


def limit(names: Names, bits_per_s: float) -> list[Command]:
    """Return what sets the rate of all hosts, both ways."""
    burst = ("burst", f"{burst_bytes(bits_per_s)}b", "latency", f"{QUEUE_MS}ms")
    bucket = ("tbf", "rate", f"{round(bits_per_s)}bit", *burst)
    ends = [(names.host(i), INTERFACE) for i in range(names.hosts)]
    ends += [(names.switch, f"h{i}") for i in range(names.hosts)]
    return [
        ("tc", "-n", name, "qdisc", "replace", "dev", port, "root", *bucket) for name, port in ends
    ]


def inside(namespace: str, command: Iterable[str]) -> Command:
    """Return a command that runs in a namespace."""
    return ("ip", "netns", "exec", namespace, *command)


def remove(namespaces: Iterable[str]) -> list[Command]:
    """Return what removes namespaces; their interfaces go with them."""
    return [("ip", "netns", "del", name) for name in namespaces]


def of_testbeds(listing: str) -> dict[str, int]:
    """Return the namespaces of testbeds in what ``ip netns list`` prints, with their processes."""
    found = {}
    for line in listing.splitlines():
        name = line.split(maxsplit=1)[0] if line.strip() else ""
        if match := _NAME.match(name):
            found[name] = int(match[1])
    return found


def parse_rate(text: str) -> float:
    """Return bits/s of a rate as ``tc`` writes it: 200mbit, 1gbit, 800kbit.

    Raises
    ------
    ValueError
        For anything else, and for rates that are no positive number.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|m|g)bit", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no rate such as 200mbit or 1gbit")
    return float(match[1]) * {"k": 1e3, "m": 1e6, "g": 1e9}[match[2]]
