"""Hardware that is a little better: factors on the numbers of devices, links and their latency."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import UsageError, nearest, show
from distsim.hardware.device import Device
from distsim.hardware.library import Library
from distsim.hardware.topology import Topology
from distsim.record import record
from distsim.scenario.profile import NO_PROFILE, Profile, read_profile
from distsim.scenario.schema import Scenario

#: Numbers of a device that may change: key -> what of the time they stand for.
DEVICE_KEYS = ("peak", "memory_bandwidth", "memory", "overhead")


@dataclass(frozen=True, slots=True)
class Hardware:
    """Factors; 2 is twice as fast or as large.

    Attributes
    ----------
    peak : float
        Peak rates of matrix products, of all formats.
    memory_bandwidth, memory : float
        Of a device.
    overhead : float
        Speed of launches: the gap between kernels and the host's time for one are divided by it.
    latency : float
        All latencies of links and of the communication library are divided by it.
    links : mapping of str to float
        Bandwidth by class of link.
    """

    peak: float = 1.0
    memory_bandwidth: float = 1.0
    memory: float = 1.0
    overhead: float = 1.0
    latency: float = 1.0
    links: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def device(self, device: Device) -> Device:
        """Return the device with these factors."""
        return replace(
            device,
            peak_flop_per_s={k: v * self.peak for k, v in device.peak_flop_per_s.items()},
            memory_bandwidth_bytes_per_s=device.memory_bandwidth_bytes_per_s
            * self.memory_bandwidth,
            memory_bytes=device.memory_bytes * self.memory,
            kernel_overhead_s=device.kernel_overhead_s / self.overhead,
            host_launch_s=device.host_launch_s / self.overhead,
        )

    def topology(self, topology: Topology) -> Topology:
        """Return the topology with these factors.

        Raises
        ------
        UsageError
            DS712 for a class of links that it does not have.
        """
        for name in self.links:
            if name not in topology.class_names:
                near = nearest(name, topology.class_names)
                raise UsageError(
                    "DS712",
                    f"topology {topology.name!r} has no links of class {show(name)}",
                    path=("links", name),
                    value=name,
                    rule=f"its classes are {', '.join(topology.class_names)}",
                    fix=f"did you mean {near!r}?" if near else "use one of them",
                )
        factor = np.asarray([self.links.get(name, 1.0) for name in topology.class_names])
        of_link = factor[topology.link_class]
        classes = tuple(
            replace(
                c,
                bandwidth_bytes_per_s=c.bandwidth_bytes_per_s * f,
                latency_s=c.latency_s / self.latency,
            )
            for c, f in zip(topology.classes, factor.tolist(), strict=True)
        )
        return replace(
            topology,
            classes=classes,
            bandwidth_bytes_per_s=_frozen(topology.bandwidth_bytes_per_s * of_link),
            capacity_bytes_per_s=_frozen(topology.capacity_bytes_per_s * of_link),
            latency_s=_frozen(topology.latency_s / self.latency),
            library=_library(topology.library, self.latency),
        )


def _frozen(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    array.flags.writeable = False
    return array


def _library(library: Library, factor: float) -> Library:
    """Return a library whose own latencies are divided by a factor; its choices stay."""
    if factor == 1.0:
        return library
    wires = tuple(
        replace(w, local_hop_s=w.local_hop_s / factor, network_hop_s=w.network_hop_s / factor)
        for w in library.protocols
    )
    runners = {
        name: replace(r, startup_s={k: v / factor for k, v in r.startup_s.items()})
        for name, r in library.runners.items()
    }
    return replace(library, protocols=wires, runners=runners, startup_s=library.startup_s / factor)


@record
class Altered(Profile):
    """A profile after which factors apply: what `distsim.scenario.resolve.resolve` takes.

    Attributes
    ----------
    base : Profile
    hardware : Hardware
    """

    base: Profile = NO_PROFILE
    hardware: Hardware = field(default_factory=Hardware)

    def on_device(self, device: Device) -> Device:
        """Return the device with the profile's numbers and the factors."""
        return self.hardware.device(self.base.on_device(device))

    def on_topology(self, topology: Topology) -> Topology:
        """Return the topology with the profile's numbers and the factors."""
        return self.hardware.topology(self.base.on_topology(topology))

    def on_stack(self, stack: Any) -> Any:
        """Return the stack with the profile's numbers."""
        return self.base.on_stack(stack)


def altered(scenario: Scenario, hardware: Hardware) -> Altered:
    """Return the profile that gives a scenario other hardware."""
    named = scenario.cluster.profile
    base = NO_PROFILE
    if named:
        near = scenario.beside(named)
        base = read_profile(near if os.path.exists(near) else named)
    return Altered(base.name, base.device, base.topology, base.values, base, hardware)
