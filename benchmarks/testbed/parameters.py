"""The few numbers that are fitted, and what they turn into: files that distsim reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from distsim.hardware.libraries import library
from distsim.hardware.library import Library, Runner

#: Source of every number that is measured or fitted here.
HERE = "measured on this machine (benchmarks/testbed)"
#: What the kernel puts on the wire for 1,448 bytes of a TCP segment: 1,514 (Ethernet 14, IPv4 20,
#: TCP 20 and its timestamps 12 bytes). The token bucket counts all of it.
FRAMING = 1448 / 1514


@dataclass(frozen=True, slots=True)
class Network:
    """How gloo moves bytes over the links.

    Attributes
    ----------
    efficiency : float
        Share of the rate that payload gets.
    hop_s : float
        Latency of a hop, library and kernel and link together.
    ring_startup_s, tree_startup_s : float
        Before the first byte, of rings and of the tree of broadcasts.
    ring_bandwidth : float
        Share of the links' bandwidth that rings reach, which send and receive at once and add.
    """

    efficiency: float
    hop_s: float
    ring_startup_s: float
    tree_startup_s: float
    ring_bandwidth: float

    def topology(self, bits_per_s: float, hosts: int) -> dict[str, Any]:
        """Return the hosts on their switch, as a topology file says it."""
        link = {
            "bandwidth": f"{bits_per_s:.9g} bit/s",
            "efficiency": self.efficiency,
            "latency": "0 us",
            "source": f"tc tbf; {HERE}; the latency is part of the library's hop",
        }
        return {
            "name": f"testbed-{hosts}",
            "kind": "switch",
            "description": "network namespaces on a bridge, each limited by a token bucket",
            "source": HERE,
            "device": "testbed-core",
            "max_devices": hosts,
            "links": {"link": link},
        }

    def library(self) -> Library:
        """Return gloo with these numbers in place of the shipped ones."""
        base = library("gloo")
        runners = dict(base.runners)
        for name in ("ring", "other"):
            runners[name] = _runner(runners[name], self.ring_startup_s, self.ring_bandwidth)
        runners["binomial"] = _runner(runners["binomial"], self.tree_startup_s, 1.0)
        (wire,) = base.protocols
        wires = (replace(wire, network_hop_s=self.hop_s),)
        return replace(base, protocols=wires, runners=runners)

    def library_file(self) -> dict[str, Any]:
        """Return the same as a library file."""
        wire = {"bandwidth": 1, "local_hop": _time(self.hop_s), "network_hop": _time(self.hop_s)}
        ring = {"startup": {"tcp": _time(self.ring_startup_s)}, "bandwidth": self.ring_bandwidth}
        return {
            "description": "gloo over TCP",
            "source": HERE,
            "protocols": {"tcp": wire},
            "algorithms": {
                "ring": ring,
                "binomial": {"startup": {"tcp": _time(self.tree_startup_s)}},
                "other": ring,
            },
            "collectives": {k: list(v) for k, v in library("gloo").collectives.items()},
        }


def _runner(base: Runner, startup_s: float, bandwidth: float) -> Runner:
    return replace(base, startup_s={"tcp": startup_s}, bandwidth=bandwidth)


@dataclass(frozen=True, slots=True)
class Core:
    """One core as a device.

    Attributes
    ----------
    peak_flop_per_s : float
        Best measured rate of a large product in fp32.
    memory_bandwidth_bytes_per_s : float
        Of the best measured kernel of memory.
    gemm_efficiency, memory_efficiency : float
        Shares of both that a step of training reaches.
    gemm_fill_k : float
        As `distsim.hardware.device.Device`.
    dispatch_s : float
        Of one operator; host and device are the same core, so none hides the other.
    contention_factor : float
        Kernels beside an all-reduce take so much longer: its copies and sums, and TCP, run on the
        same core.
    """

    peak_flop_per_s: float
    memory_bandwidth_bytes_per_s: float
    gemm_efficiency: float
    memory_efficiency: float
    gemm_fill_k: float
    dispatch_s: float
    contention_factor: float = 0.0

    def device_file(self) -> dict[str, Any]:
        """Return a device file."""
        numbers: dict[str, Any] = {
            "memory": "8 GiB",
            "memory_bandwidth": f"{self.memory_bandwidth_bytes_per_s:.6g} B/s",
            "sm_count": 1,
            "l2": "512 KiB",
            "gemm_efficiency": self.gemm_efficiency,
            "gemm_fill_k": self.gemm_fill_k,
            "memory_efficiency": self.memory_efficiency,
            "attention_efficiency": self.gemm_efficiency,
            "kernel_overhead": _time(self.dispatch_s),
            "host_launch": "0 us",
            "contention_factor": self.contention_factor,
            "reserved": "1 MiB",
        }
        peak = {"value": f"{self.peak_flop_per_s:.6g} FLOP/s", "source": HERE}
        return {
            "vendor": "CPU",
            "status": "calibrated",
            "peak": {"fp32": peak},
            **{key: {"value": value, "source": HERE} for key, value in numbers.items()},
        }


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.9g} us"
