"""Vertices and links of an NCCL topology as the block of a topology file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from distsim.scenario.importers import nccl_facts as facts
from distsim.scenario.importers.nccl_graph import Host, Link, Vertex
from distsim.scenario.importers.notes import Notes

#: Nodes that meet at one set of leaves, as in the shipped clusters.
NODES_PER_UNIT = 32
#: Kinds of vertices that are no devices, in the order in which they are written.
_SWITCHES = ("nvswitch", "cpu", "pci", "net", "leaf")
_SPINE = "all uplinks of a leaf, as many as it has nodes; not in the file"


@dataclass(slots=True, eq=False)
class Rails:
    """The network between nodes.

    Attributes
    ----------
    adapters : list of Vertex
        Of one node: those on rails.
    link : dict
        Class of the links from adapter to leaf, as in a topology file.
    """

    adapters: list[Vertex]
    link: dict[str, Any]


def gb_per_s(bytes_per_s: float) -> str:
    """Return a bandwidth as a quantity."""
    return f"{bytes_per_s / facts.GB_PER_S:.6g} GB/s"


def us(seconds: float) -> str:
    """Return a latency as a quantity."""
    return f"{seconds * 1e6:.6g} us"


def merged(links: Iterable[Link], notes: Notes) -> list[Link]:
    """Return the links with the fastest of each two ends; opposite ones of a kind are one."""
    best: dict[tuple[Vertex, Vertex], Link] = {}
    for link in links:
        ends = link.begin, link.end
        for pair in (ends,) if link.directed else (ends, ends[::-1]):
            other = best.get(pair)
            if other is not None:
                subject = f"{link.begin.label}-{link.end.label}"
                notes.add("several links join the same two: the fastest one is taken", subject)
            if other is None or link.bytes_per_s > other.bytes_per_s:
                best[pair] = link
    out: dict[Link, None] = {}
    for (begin, end), link in best.items():
        if best.get((end, begin)) is link:
            out[link] = None
        else:
            one_way = Link(
                begin, end, link.kind, link.label, link.bytes_per_s, link.source, directed=True
            )
            out[one_way] = None
    return list(out)


def edges_block(
    devices: list[str] | dict[str, list[str]],
    vertices: Sequence[Vertex],
    links: Sequence[Link],
    sm: int | None,
) -> dict[str, Any]:
    """Return the keys of kind edges.

    Parameters
    ----------
    devices : list of str, or mapping of str to list of str
        Names of the devices, by node if there are several.
    vertices, links
        Links as `merged` returns them.
    sm : int, optional
        Generation, on which the efficiency of an NVSwitch depends.
    """
    names: dict[tuple[str, str, float, str], str] = {}
    classes: dict[str, dict[str, Any]] = {}
    rows = []
    for link in links:
        key = (link.kind, link.label, link.bytes_per_s, link.source)
        if key not in names:
            names[key] = _free(link.label, classes)
            classes[names[key]] = _class(link, sm)
        row: dict[str, Any] = {"from": link.begin.name, "to": link.end.name, "class": names[key]}
        rows.append(row | ({"directed": True} if link.directed else {}))
    switches = [v.name for kind in _SWITCHES for v in vertices if v.kind == kind]
    return {"devices": devices, "switches": switches, "link_classes": classes, "links": rows}


def _free(label: str, taken: dict[str, dict[str, Any]]) -> str:
    number, name = 1, label
    while name in taken:
        number += 1
        name = f"{label}-{number}"
    return name


def _class(link: Link, sm: int | None) -> dict[str, Any]:
    kind = link.kind
    if kind == "nvswitch" and sm in (70, 80, 90, 100):
        kind = f"nvswitch-{sm}"
    reach = facts.reach(kind)
    return {
        "bandwidth": gb_per_s(link.bytes_per_s),
        "efficiency": reach.efficiency,
        "latency": us(reach.latency_s),
        "source": f"bandwidth: {link.source}; {reach.source}",
    }


def rails(adapters: Sequence[Vertex], notes: Notes) -> Rails:
    """Return the rails of the fastest adapters of a node; there is at least one."""
    speed = max(v.mbit_per_s for v in adapters)
    fastest = [v for v in adapters if v.mbit_per_s == speed]
    for vertex in adapters:
        if vertex.mbit_per_s != speed:
            notes.add(f"adapters of less than {speed / 1000:g} Gbit/s are on no rail", vertex.label)
    reach = facts.reach("rail-400" if speed >= 400_000 else "rail")
    latency_us = max(v.latency_us for v in fastest)
    latency, source = us(reach.latency_s), reach.source
    if latency_us > 0:
        # From adapter to adapter: two links through a leaf.
        latency = us(latency_us * 1e-6 / 2)
        source = f"latency: half of that of the adapters in the file; {source}, but for the latency"
    link = {
        "bandwidth": f"{speed / 1000:.9g} Gbit/s",
        "efficiency": reach.efficiency,
        "latency": latency,
        "source": f"bandwidth: speed of the adapters in the file; {source}",
    }
    return Rails(fastest, link)


def cluster_block(
    node: dict[str, Any], per_node: int, nodes: int, network: Rails
) -> dict[str, Any]:
    """Return the keys of kind cluster, for copies of a node."""
    per_unit = min(nodes, NODES_PER_UNIT)
    link = network.link
    return {
        "node": {"kind": "edges"} | node,
        "adapters": [v.name for v in network.adapters],
        "devices_per_node": per_node,
        "nodes_per_unit": per_unit,
        "max_units": -(-nodes // per_unit),
        "oversubscription": 1,
        "links": {
            "rail": link,
            "spine": {"efficiency": link["efficiency"], "latency": "0 s", "source": _SPINE},
        },
    }


def networked(hosts: Sequence[Host], networks: Sequence[Rails]) -> tuple[list[Vertex], list[Link]]:
    """Return the leaves and the spine between machines that differ, and the links to them."""
    element = hosts[0].vertices[0].element
    most = max(len(network.adapters) for network in networks)
    leaves = [Vertex("leaf", element, name=f"leaf{i}") for i in range(most)]
    spine = Vertex("leaf", element, name="spine")
    links = []
    for leaf, vertex in enumerate(leaves):
        total = 0.0
        for network in networks:
            if leaf < len(network.adapters):
                adapter = network.adapters[leaf]
                rate = adapter.mbit_per_s * 1e6 / 8
                total += rate
                kind = "rail-400" if adapter.mbit_per_s >= 400_000 else "rail"
                label = f"rail-{adapter.mbit_per_s / 1000:g}"
                source = "speed of the adapters in the file"
                links.append(Link(adapter, vertex, kind, label, rate, source))
        links.append(Link(vertex, spine, "spine", "spine", total, _SPINE))
    return [*leaves, spine], links
