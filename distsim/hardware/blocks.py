"""What repeats in a topology: nodes in units in pods, found from the links themselves.

Take a class of links away and the network falls apart: without the links to the spine into units,
without those to the leaves into nodes. `blocks_of` takes away, one after another, the class that
leaves the fewest and largest pieces that are alike, down to the nodes. No kind is known to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from distsim.hardware.reach import Reach
from distsim.hardware.topology import Ints, Topology
from distsim.hardware.vertices import Ends, Flags
from distsim.record import record

_NAME = re.compile(r"(?:.*\.)?([^\W\d][^.]*?)(\d+(?:\.\d+)*)?")


def role(name: str) -> tuple[str, str]:
    """Return what a vertex is and its number: its own name without what it is part of.

    >>> role("u0.leaf3"), role("core1.2"), role("n7.nvswitch")
    (('leaf', '3'), ('core', '1.2'), ('nvswitch', ''))
    """
    match = _NAME.fullmatch(name)
    return (match[1], match[2] or "") if match else (re.sub(r"\d+", "", name) or name, "")


@record(eq=False)
class Block:
    """A piece of a network with all that is in it.

    Attributes
    ----------
    own : tuple of int
        Vertices that are in no inner block, without devices.
    devices : tuple of int
        Devices that are in no inner block.
    inner : tuple of Block
    node : int
        Number of the node that it is; -1 where it is none.
    size : int
        All its devices.
    signature : tuple
        Equal for blocks that hold the same.
    roles : frozenset of str
        Of all its vertices.
    """

    own: tuple[int, ...]
    devices: tuple[int, ...]
    inner: tuple[Block, ...] = ()
    node: int = -1
    size: int = 0
    signature: tuple[object, ...] = ()
    roles: frozenset[str] = frozenset()


@record(eq=False)
class Blocks:
    """The blocks of a topology.

    Attributes
    ----------
    root : Block
    left_out : tuple of int
        Vertices on no route of which there are others that are on one.
    """

    root: Block
    left_out: tuple[int, ...]


def blocks_of(topology: Topology, reach: Reach) -> Blocks:
    """Return the blocks of a topology, from the whole to the nodes."""
    ends = reach.ends
    keep = _kept(reach)
    levels = _levels(topology, ends, keep)
    left_out = tuple(np.flatnonzero(~keep).tolist())
    return Blocks(_built(topology, ends, keep, levels), left_out)


def _kept(reach: Reach) -> Flags:
    """Return which vertices matter: those on a route, and those of a role that is on none.

    A router without devices among routers with some is left out; adapters of a single node stay.
    """
    ends = reach.ends
    keep = np.zeros(ends.n_vertices, dtype=bool)
    keep[: ends.n_devices] = True
    keep[ends.begin[reach.used]] = True
    keep[ends.end[reach.used]] = True
    roles = [role(name)[0] for name in ends.names]
    there = {r for r, kept in zip(roles, keep.tolist(), strict=True) if kept}
    return np.asarray(keep | np.array([r not in there for r in roles]))


def _levels(topology: Topology, ends: Ends, keep: Flags) -> list[Ints]:
    """Return partitions, coarse before fine: the block of each vertex, -1 for those in none."""
    n = topology.n_devices
    nodes = topology.node_of.astype(np.int64)
    several = len(np.unique(nodes)) > 1 and int(np.bincount(nodes).max()) > 1
    removed: set[int] = set()
    found: list[Ints] = []
    blocks = 1
    while True:
        options = []
        for c in range(len(topology.classes)):
            if c in removed:
                continue
            there = ~np.isin(topology.link_class, [*removed, c])
            there &= keep[ends.begin] & keep[ends.end]
            label = _within(components(ends.n_vertices, ends.begin[there], ends.end[there]), n)
            count = int(label[:n].max()) + 1
            if count > blocks and _alike(label, ends, keep, nodes if several else None):
                options.append((count, -int((label >= 0).sum()), c, label))
        if not options:
            break
        blocks, _, c, label = min(options, key=lambda option: option[:3])
        found.append(label)
        removed.add(c)
    if several and not (found and (found[-1][:n] == nodes).all()):
        found.append(_by_node(nodes, ends, keep))
    return found


def components(n: int, begin: Ints, end: Ints) -> Ints:
    """Return for each of n vertices the smallest vertex that links, either way, join it to."""
    label = np.arange(n)
    while True:
        least = np.minimum(label[begin], label[end])
        before = label.copy()
        np.minimum.at(label, label[begin], least)
        np.minimum.at(label, label[end], least)
        label = label[label]
        if (label == before).all():
            return label


def _within(label: Ints, n_devices: int) -> Ints:
    """Return the number of the block of each vertex, in the order of devices; -1 without one."""
    number = np.full(len(label), -1)
    seen, first = np.unique(label[:n_devices], return_index=True)
    number[seen[np.argsort(first)]] = np.arange(len(seen))
    return number[label]


def _alike(label: Ints, ends: Ends, keep: Flags, nodes: Ints | None) -> bool:
    """Return whether blocks are runs of devices, of whole nodes, and alike.

    The last one may have fewer devices.
    """
    n = ends.n_devices
    own = label[:n]
    if (np.diff(own) < 0).any():
        return False
    if nodes is not None and ((np.diff(own) > 0) & (np.diff(nodes) == 0)).any():
        return False
    sizes = np.bincount(own).tolist()
    content = _contents(label, ends, keep)
    if max(sizes) == 1 and all(len(c) == 1 for c in content):
        return False  # single devices
    whole, last = content[:-1], content[-1]
    alike = all(c == content[0] for c in whole) and last.keys() == content[0].keys()
    return alike and len(set(sizes[:-1])) == 1 and sizes[-1] <= sizes[0]


def _contents(label: Ints, ends: Ends, keep: Flags) -> list[Counter[str]]:
    """Return how many vertices of each role are in each block."""
    content: list[Counter[str]] = [Counter() for _ in range(int(label.max()) + 1)]
    for vertex in np.flatnonzero((label >= 0) & keep).tolist():
        content[label[vertex]][role(ends.names[vertex])[0]] += 1
    return content


def _by_node(nodes: Ints, ends: Ends, keep: Flags) -> Ints:
    """Return nodes as blocks: devices, and vertices that are linked to devices of one alone."""
    label = np.full(ends.n_vertices, -1)
    label[: len(nodes)] = nodes
    seen: dict[int, set[int]] = {}
    for begin, end in ((ends.begin, ends.end), (ends.end, ends.begin)):
        at = (end < ends.n_devices) & (begin >= ends.n_devices) & keep[begin]
        for vertex, device in zip(begin[at].tolist(), end[at].tolist(), strict=True):
            seen.setdefault(vertex, set()).add(int(nodes[device]))
    for vertex, own in seen.items():
        if len(own) == 1:
            label[vertex] = own.pop()
    return label


def _built(topology: Topology, ends: Ends, keep: Flags, levels: Sequence[Ints]) -> Block:
    nodes = topology.node_of.tolist()
    builder = _Builder(ends, tuple(levels), nodes, Counter(nodes))
    return builder.block(np.flatnonzero(keep).tolist(), 0)


@record(eq=False)
class _Builder:
    """Makes blocks of blocks."""

    ends: Ends
    levels: tuple[Ints, ...]
    nodes: Sequence[int]
    size_of_node: Counter[int]

    def block(self, vertices: Sequence[int], level: int) -> Block:
        """Return the block of some vertices, divided by the levels from `level` on."""
        while level < len(self.levels):
            parts: dict[int, list[int]] = {}
            for vertex in vertices:
                parts.setdefault(int(self.levels[level][vertex]), []).append(vertex)
            rest = parts.pop(-1, [])
            level += 1
            if len(parts) > 1 or (parts and rest):
                inner = (self.block(part, level) for part in parts.values())
                return self._finished(rest, tuple(inner))
        return self._finished(vertices, ())

    def _finished(self, rest: Sequence[int], inner: tuple[Block, ...]) -> Block:
        devices = tuple(v for v in rest if v < self.ends.n_devices)
        own = tuple(v for v in rest if v >= self.ends.n_devices)
        roles = Counter(role(self.ends.names[v])[0] for v in rest)
        size = len(devices) + sum(b.size for b in inner)
        below = Counter(b.signature for b in inner)
        return Block(
            own=own,
            devices=devices,
            inner=inner,
            node=self._node(devices) if not inner else -1,
            size=size,
            signature=(size, frozenset(roles.items()), frozenset(below.items())),
            roles=frozenset(roles).union(*(b.roles for b in inner)),
        )

    def _node(self, devices: Sequence[int]) -> int:
        """Return the node that is just these devices, of several; else -1."""
        nodes = {self.nodes[device] for device in devices}
        if len(nodes) != 1 or len(self.size_of_node) == 1:
            return -1
        (node,) = nodes
        return node if self.size_of_node[node] == len(devices) else -1
