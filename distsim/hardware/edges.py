"""Kind ``edges``: any network, as a list of devices, switches and links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from distsim.errors import HardwareError, show
from distsim.hardware.block import Block, offer
from distsim.hardware.header import KEYS, read_class, read_header, too_many
from distsim.hardware.topology import Ints, LinkClass, Routes, Topology, assemble
from distsim.record import record

if TYPE_CHECKING:
    import networkx

_PLAIN_KEYS = ("bandwidth", "efficiency", "latency", "source")


@record
class PathRouter:
    """Routes by search, kept for each pair.

    Attributes
    ----------
    graph : networkx.DiGraph
        With ``link`` and ``weight`` on its edges.
    devices : tuple of str
    names : tuple of (str, str)
        Ends of each link.
    switches : int
    """

    graph: networkx.DiGraph[str]
    devices: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    switches: int
    _trees: dict[int, Mapping[str, list[str]]] = field(default_factory=dict)
    _links: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes of the fewest links, and among those of the least latency."""
        pairs, index = np.unique(src * len(self.devices) + dst, return_inverse=True)
        index = index.reshape(-1)
        found = [self._path(*divmod(int(pair), len(self.devices))) for pair in pairs]
        length = np.array([len(links) for links in found], dtype=np.int64)
        flat = np.array([link for links in found for link in links], dtype=np.int32)
        begin = np.cumsum(length) - length
        ptr = np.zeros(len(index) + 1, dtype=np.int64)
        np.cumsum(length[index], out=ptr[1:])
        within = np.arange(int(ptr[-1])) - np.repeat(ptr[:-1], length[index])
        return Routes(ptr, flat[np.repeat(begin[index], length[index]) + within])

    def _path(self, src: int, dst: int) -> list[int]:
        if (src, dst) not in self._links:
            if src not in self._trees:
                import networkx as nx

                self._trees[src] = nx.single_source_dijkstra_path(self.graph, self.devices[src])
            path = self._trees[src][self.devices[dst]]
            self._links[src, dst] = [self.graph.edges[edge]["link"] for edge in pairwise(path)]
        return self._links[src, dst]

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        return self.names[link]

    def device(self, index: int) -> str:
        """Return the vertex of a device."""
        return self.devices[index]

    def counts(self) -> Mapping[str, int | float]:
        """Return the number of switches."""
        return {"switches": self.switches}


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return the network of an edge list.

    Parameters
    ----------
    block : Block
        ``devices``: a list of names, each a node of its own, or lists of names by node;
        ``switches``: a list of names; ``link_classes``, by name; ``links``: ``{from, to, class}``,
        or ``{from, to, bandwidth, latency}`` with ``efficiency`` (1 by default) and ``source``.
        A link runs both ways unless it says ``directed: true``.
    name : str
    n_devices : int
        Devices that are used: the first ones. The others only pass traffic on.
    """
    block.only(*KEYS, "devices", "switches", "link_classes", "links")
    header = read_header(block, name)
    devices, node_of = _devices(block)
    switches = block.texts("switches") if block.has("switches") else []
    vertices = [*devices, *switches]
    _check_distinct(block, devices, switches)
    if n_devices > len(devices):
        raise too_many(name, n_devices, len(devices), f"devices in the list({len(devices)})")
    classes = _classes(block)
    ends, of_link = _links(block, vertices, classes)
    graph = _graph(vertices, ends, [classes[at].latency_s for at in of_link])
    used = tuple(devices[:n_devices])
    _check_reach(block, graph, used)
    return assemble(
        name=name,
        kind="edges",
        description=header.description,
        source=header.source,
        device_name=header.device_name,
        node_of=node_of[:n_devices],
        devices_per_node=int(np.bincount(node_of).max()),
        classes=classes,
        link_class=of_link,
        router=PathRouter(graph, used, tuple(ends), len(switches)),
    )


def _devices(block: Block) -> tuple[list[str], list[int]]:
    """Return the names of the devices and the node of each."""
    if isinstance(block.raw("devices"), Mapping):
        inside = block.block("devices")
        groups = [inside.texts(node) for node in inside.names()]
    else:
        groups = [[device] for device in block.texts("devices")]
    groups = [group for group in groups if group]
    if not groups:
        raise block.error(
            "DS405", "there is no device", key="devices", rule="at least 1 device", fix="add one"
        )
    names = [device for group in groups for device in group]
    return names, [node for node, group in enumerate(groups) for _ in group]


def _check_distinct(block: Block, devices: Sequence[str], switches: Sequence[str]) -> None:
    seen: set[str] = set()
    for key, names in (("devices", devices), ("switches", switches)):
        for vertex in names:
            if vertex in seen:
                raise block.error(
                    "DS415",
                    f"the name {show(vertex)} is there twice",
                    key=key,
                    value=vertex,
                    rule="devices and switches have names of their own",
                    fix="rename one of the two",
                )
            seen.add(vertex)


def _classes(block: Block) -> list[LinkClass]:
    if not block.has("link_classes"):
        return []
    inside = block.block("link_classes")
    return [read_class(inside.block(name), name) for name in inside.names()]


def _links(
    block: Block, vertices: Sequence[str], classes: list[LinkClass]
) -> tuple[list[tuple[str, str]], list[int]]:
    """Return ends and class of each directed link; appends the classes of plain links."""
    known, named = set(vertices), {c.name: i for i, c in enumerate(classes)}
    plain: dict[tuple[float, float, float, str], int] = {}
    of_pair: dict[tuple[str, str], int] = {}
    for entry in block.blocks("links"):
        entry.only("from", "to", "class", "directed", *_PLAIN_KEYS)
        pair = _ends(entry, vertices, known)
        if entry.has("class"):
            at = _class(entry, named)
        else:
            values = _plain(entry)
            at = plain.setdefault(values, len(classes))
            if at == len(classes):
                classes.append(LinkClass(f"{pair[0]}-{pair[1]}", *values))
        for directed in (pair,) if entry.flag("directed") else (pair, pair[::-1]):
            if directed in of_pair:
                raise entry.error(
                    "DS412",
                    f"a link {directed[0]} -> {directed[1]} is there twice",
                    value=directed,
                    rule="one link each way between two ends; a link runs both ways by default",
                    fix="join them into one with their bandwidths added, or say directed: true",
                )
            of_pair[directed] = at
    return list(of_pair), list(of_pair.values())


def _ends(entry: Block, vertices: Sequence[str], known: set[str]) -> tuple[str, str]:
    source, target = entry.text("from"), entry.text("to")
    for key, vertex in (("from", source), ("to", target)):
        if vertex not in known:
            raise entry.error(
                "DS411",
                f"a link ends at {show(vertex)}, which is no device and no switch",
                key=key,
                value=vertex,
                rule="links join devices and switches of the list",
                fix=offer(vertex, vertices) or f"add {show(vertex)} to devices or switches",
            )
    if source == target:
        raise entry.error(
            "DS413",
            f"a link joins {show(source)} to itself",
            key="to",
            value=target,
            rule="a link joins two vertices",
            fix="remove it or name another end",
        )
    return source, target


def _class(entry: Block, named: Mapping[str, int]) -> int:
    value = entry.text("class")
    for key in _PLAIN_KEYS:
        if entry.has(key):
            raise entry.error(
                "DS402",
                f"the link takes its {key} from class {show(value)}",
                key=key,
                rule="a link states its class, or its own numbers",
                fix=f"remove {key} or class",
            )
    if value not in named:
        raise entry.error(
            "DS417",
            f"link class {show(value)} is unknown",
            key="class",
            value=value,
            rule=f"link_classes are {', '.join(named) or 'none'}",
            fix=offer(value, tuple(named)) or "add it to link_classes",
        )
    return named[value]


def _plain(entry: Block) -> tuple[float, float, float, str]:
    return (
        entry.quantity("bandwidth", "bytes_per_s"),
        entry.quantity("efficiency", "1", high=1.0, default=1.0),
        entry.quantity("latency", "s", zero=True),
        entry.text("source", ""),
    )


def _graph(
    vertices: Sequence[str], ends: Sequence[tuple[str, str]], latency_s: Sequence[float]
) -> networkx.DiGraph[str]:
    """Return the links with weights that count links first and latency second."""
    import networkx as nx

    graph: networkx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(vertices)
    # All latencies together weigh less than one link.
    scale = 0.5 / (sum(latency_s) or 1.0)
    for link, ((source, target), own_s) in enumerate(zip(ends, latency_s, strict=True)):
        graph.add_edge(source, target, link=link, weight=1.0 + scale * own_s)
    return graph


def _check_reach(block: Block, graph: networkx.DiGraph[str], used: Sequence[str]) -> None:
    """Check that every device reaches every other: all reach the first and are reached by it."""
    import networkx as nx

    first = used[0]
    reached = {first, *nx.descendants(graph, first)}
    reaching = {first, *nx.ancestors(graph, first)}
    for device in used:
        for there, pair in ((reached, (first, device)), (reaching, (device, first))):
            if device not in there:
                raise HardwareError(
                    "DS414",
                    f"no route leads from {show(pair[0])} to {show(pair[1])}",
                    path=(*block.path, "links"),
                    value=device,
                    rule="every device reaches every other",
                    fix="add the missing links, or take out what stands apart",
                )
