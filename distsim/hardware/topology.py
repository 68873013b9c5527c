"""A topology: directed links in frozen arrays, and routes over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from distsim.errors import HardwareError
from distsim.hardware.library import IDEAL, Library
from distsim.record import record

if TYPE_CHECKING:
    import networkx

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@record
class LinkClass:
    """Links that are alike.

    Attributes
    ----------
    name : str
    bandwidth_bytes_per_s : float
        Of one direction, as the vendor states it.
    efficiency : float
        Fraction of it that long messages reach, in (0, 1].
    latency_s : float
        What the link, with the software at its ends, adds to the latency of a message.
    source : str
    """

    name: str
    bandwidth_bytes_per_s: float
    efficiency: float
    latency_s: float
    source: str

    @property
    def capacity_bytes_per_s(self) -> float:
        """Bandwidth times efficiency."""
        return self.bandwidth_bytes_per_s * self.efficiency


@record(eq=False)
class Routes:
    """Routes of k pairs: route i takes ``link[ptr[i]:ptr[i + 1]]``, in order.

    Attributes
    ----------
    ptr : int64[k + 1]
    link : int32[...]
    """

    ptr: Ints
    link: Indices

    def latency_s(self, topology: Topology) -> Floats:
        """Return the latency of each route, float64[k]: the sum over its links.

        Each route is summed by itself, in its order, so that routes over links of the same
        classes have latencies that are equal to the last bit.
        """
        hops = np.diff(self.ptr)
        total = np.zeros(len(hops))
        for position in range(int(hops.max(initial=0))):
            longer = np.flatnonzero(hops > position)
            total[longer] += topology.latency_s[self.link[self.ptr[longer] + position]]
        return total


class Router(Protocol):
    """What differs between kinds of topologies."""

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return the routes of pairs of devices that exist."""

    def ends(self, link: int) -> tuple[str, str]:
        """Return the names of the vertices at the ends of a link."""

    def device(self, index: int) -> str:
        """Return the vertex name of a device."""

    def counts(self) -> Mapping[str, int | float]:
        """Return how many there are of what, for `Topology.shape`."""


@record(eq=False)
class Topology:
    """Devices and the directed links between them; all arrays are read-only.

    Attributes
    ----------
    name, kind : str
    description, source : str
    device_name : str
        Catalogue name of the devices.
    n_devices : int
    devices_per_node : int
        Of a full node.
    node_of : int32[n_devices]
    classes : tuple of LinkClass
    link_class : int16[n_links]
    bandwidth_bytes_per_s, capacity_bytes_per_s, latency_s : float64[n_links]
        Capacity is bandwidth times efficiency.
    library : Library
        The communication library that runs on it.
    unit_of : int32[n_devices] or None
        What joins nodes below the top: a scalable unit, a pod, a group of a dragonfly.
    dims : tuple of int
        Of a torus, the one that varies fastest first.
    wrap : tuple of bool
        Of a torus, whether each dimension closes in on itself.
    wired : bool
        Whether devices of a node have links to each other, without a switch between them.
    in_network : tuple of str
        What its switches can do with the bytes: ``nvls`` (NVSwitch reduces and multicasts),
        ``sharp`` (the switches of the network reduce).
    """

    name: str
    kind: str
    description: str
    source: str
    device_name: str
    n_devices: int
    devices_per_node: int
    node_of: Indices
    classes: tuple[LinkClass, ...]
    link_class: npt.NDArray[np.int16]
    bandwidth_bytes_per_s: Floats
    capacity_bytes_per_s: Floats
    latency_s: Floats
    router: Router = field(repr=False)
    library: Library = field(repr=False, default=IDEAL)
    unit_of: Indices | None = field(repr=False, default=None)
    dims: tuple[int, ...] = ()
    wrap: tuple[bool, ...] = ()
    in_network: tuple[str, ...] = ()
    wired: bool = False

    @property
    def n_links(self) -> int:
        """Number of directed links."""
        return len(self.link_class)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the link classes."""
        return tuple(c.name for c in self.classes)

    def routes(self, src: npt.ArrayLike, dst: npt.ArrayLike) -> Routes:
        """Return the shortest route of each pair; the same pair always takes the same one.

        Parameters
        ----------
        src, dst : int array[k]
            Devices. A device reaches itself over no link.

        Raises
        ------
        HardwareError
            DS416 for a device that is not there.
        """
        source, target = np.asarray(src, dtype=np.int64), np.asarray(dst, dtype=np.int64)
        for ends in (source, target):
            if ends.size and not (ends.min() >= 0 and ends.max() < self.n_devices):
                wrong = int(ends[(ends < 0) | (ends >= self.n_devices)][0])
                raise HardwareError(
                    "DS416",
                    f"device {wrong} is not in {self.name}",
                    value=wrong,
                    rule=f"devices are 0 .. {self.n_devices - 1}",
                    fix="ask for more devices",
                )
        return self.router.route(source, target)

    def link_name(self, link: int) -> str:
        """Return a name such as ``n3.gpu2->n3.nvswitch``."""
        return "->".join(self.router.ends(int(link)))

    def device_label(self, index: int) -> str:
        """Return the name that the device has in `link_name` and `graph`."""
        return self.router.device(int(index))

    def graph(self) -> networkx.DiGraph[str]:
        """Return the links as a graph, to draw it or to check routes.

        Edges carry ``link`` (index), ``link_class``, ``bandwidth_bytes_per_s``,
        ``capacity_bytes_per_s`` and ``latency_s``.
        """
        import networkx as nx

        graph: networkx.DiGraph[str] = nx.DiGraph(name=self.name)
        graph.add_nodes_from(self.device_label(i) for i in range(self.n_devices))
        for link in range(self.n_links):
            graph.add_edge(
                *self.router.ends(link),
                link=link,
                link_class=self.classes[self.link_class[link]].name,
                bandwidth_bytes_per_s=float(self.bandwidth_bytes_per_s[link]),
                capacity_bytes_per_s=float(self.capacity_bytes_per_s[link]),
                latency_s=float(self.latency_s[link]),
            )
        return graph

    def shape(self) -> dict[str, Any]:
        """Return counts, link classes and bandwidths as plain data.

        Returns
        -------
        dict
            ``name, kind, description, source, device, devices, devices_per_node, nodes, links``,
            the counts of its kind (for structured kinds ``bisection_bytes_per_s``, one direction
            between two halves of the devices, at the stated bandwidth, and then
            ``oversubscription``, as `bisection.Bisection` has it), ``diameter_links`` and
            ``diameter_s`` of the routes, and ``link_classes``: a list of ``name, links,
            bandwidth_bytes_per_s, efficiency, capacity_bytes_per_s, latency_s, source``.
        """
        from distsim.hardware.bisection import distances

        number = np.bincount(self.link_class, minlength=len(self.classes))
        return {
            "name": self.name,
            "kind": self.kind,
            "description": self.description,
            "source": self.source,
            "device": self.device_name,
            "devices": self.n_devices,
            "devices_per_node": self.devices_per_node,
            "nodes": int(self.node_of.max()) + 1,
            "links": self.n_links,
            **self.router.counts(),
            **distances(self),
            "link_classes": [
                {
                    "name": c.name,
                    "links": int(n),
                    "bandwidth_bytes_per_s": c.bandwidth_bytes_per_s,
                    "efficiency": c.efficiency,
                    "capacity_bytes_per_s": c.capacity_bytes_per_s,
                    "latency_s": c.latency_s,
                    "source": c.source,
                }
                for c, n in zip(self.classes, number, strict=True)
            ],
        }


def assemble(
    *,
    name: str,
    kind: str,
    description: str,
    source: str,
    device_name: str,
    node_of: npt.ArrayLike,
    devices_per_node: int,
    classes: Sequence[LinkClass],
    link_class: npt.ArrayLike,
    router: Router,
) -> Topology:
    """Return a topology whose links take all their numbers from their class."""
    of_device = np.asarray(node_of, dtype=np.int32)
    of_link = np.asarray(link_class, dtype=np.int16)
    table = np.array(
        [(c.bandwidth_bytes_per_s, c.capacity_bytes_per_s, c.latency_s) for c in classes]
    ).reshape(-1, 3)
    numbers = [np.ascontiguousarray(column[of_link]) for column in table.T]
    topology = Topology(
        name=name,
        kind=kind,
        description=description,
        source=source,
        device_name=device_name,
        n_devices=len(of_device),
        devices_per_node=devices_per_node,
        node_of=of_device,
        classes=tuple(classes),
        link_class=of_link,
        bandwidth_bytes_per_s=numbers[0],
        capacity_bytes_per_s=numbers[1],
        latency_s=numbers[2],
        router=router,
    )
    of_each = (
        "node_of",
        "link_class",
        "bandwidth_bytes_per_s",
        "capacity_bytes_per_s",
        "latency_s",
    )
    for array in of_each:
        getattr(topology, array).flags.writeable = False
    return topology


def pack(hops: Ints, forms: Sequence[tuple[npt.NDArray[np.bool_], Sequence[Ints]]]) -> Routes:
    """Return routes from columns of links.

    Parameters
    ----------
    hops : int64[k]
        Links of each route.
    forms : sequence of (bool[k], columns)
        Which routes have this form, and their first link, their second and so on, int64[k] each.
    """
    ptr = np.zeros(len(hops) + 1, dtype=np.int64)
    np.cumsum(hops, out=ptr[1:])
    link = np.empty(int(ptr[-1]), dtype=np.int32)
    for of_form, columns in forms:
        chosen = np.flatnonzero(of_form)
        at = ptr[chosen]
        for position, column in enumerate(columns):
            link[at + position] = column[chosen]
    return Routes(ptr, link)
