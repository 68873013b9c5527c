"""What the vertices, blocks and link classes of a topology are called in a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any

from distsim.hardware.blocks import Block, role
from distsim.hardware.topology import Topology
from distsim.hardware.vertices import Ends
from distsim.report.figure import COLOURS

TIMES = "\N{MULTIPLICATION SIGN}"
#: Words in place of short names of vertices, and of what they are part of.
_WORDS = {
    "gpu": "GPU",
    "nic": "NIC",
    "nvswitch": "NVSwitch",
    "agg": "aggregation",
    "r": "router",
    "cpu": "CPU",
    "pciswitch": "PCIe switch",
    "n": "node",
    "u": "unit",
    "g": "group",
}
_PLURALS = {
    "leaf": "leaves",
    "aggregation": "aggregation switches",
    "core": "core switches",
    "vertex": "vertices",
}
#: Fill of boxes: devices, adapters, and all that passes traffic on.
_FILLS = {"device": "#D6E6F2", "NIC": "#F6E3D0", "switch": "#EFEFEA"}
_STYLES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)))


def word(name: str) -> str:
    """Return a word for a role."""
    return _WORDS.get(name, name.rstrip("_-") or name)


def many(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> many(32, "leaf"), many(1, "node")
    ('32 leaves', '1 node')
    """
    ending = "es" if noun.lower().endswith(("switch", "class")) else "s" * noun[-1].isalpha()
    return f"{count:,} {noun if count == 1 else _PLURALS.get(noun, noun + ending)}"


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Names of vertices and blocks.

    Attributes
    ----------
    ends : Ends
    roles : tuple of str
        Of each vertex, as a word.
    numbers : tuple of str
    """

    ends: Ends
    roles: tuple[str, ...]
    numbers: tuple[str, ...]

    def label(self, vertex: int) -> str:
        """Return the name of a vertex in its box."""
        own = self.ends.names[vertex].rpartition(".")[2]
        if "_" in own or "-" in own:
            return own  # the number is no part that stands by itself
        return f"{self.roles[vertex]} {self.numbers[vertex]}".strip()

    def full_label(self, vertex: int) -> str:
        """Return the name of a vertex with the number of what it is part of: ``spine 1.0``."""
        parts = self.ends.names[vertex].split(".")
        above = role(parts[-2])[1] if len(parts) > 1 else ""
        return f"{self.roles[vertex]} {'.'.join(filter(None, (above, self.numbers[vertex])))}"

    def fill(self, vertex: int) -> str:
        """Return the colour of its box."""
        if vertex < self.ends.n_devices:
            return _FILLS["device"]
        return _FILLS.get(self.roles[vertex], _FILLS["switch"])

    def noun(self, block: Block, above: str) -> str:
        """Return what a block is, where the block around it is `above`."""
        if block.node >= 0:
            return "node"
        if len(block.own) == 1 and not block.inner:
            return self.roles[block.own[0]]
        prefix = self._prefix(block)
        if prefix and prefix != above:
            return prefix
        if len(block.own) == 1:
            return self.roles[block.own[0]]
        return "group" if above != "group" else "subgroup"

    def _prefix(self, block: Block) -> str:
        """Return the word in front of the names of what is in a block, if it has one."""
        own = block.own or (block.inner[0].own if block.inner else ())
        names = {self.ends.names[v].partition(".") for v in own}
        firsts = {role(first)[0] for first, dot, _ in names if dot}
        return word(firsts.pop()) if len(firsts) == 1 and all(dot for _, dot, _ in names) else ""


def names_of(ends: Ends) -> Names:
    """Return the names of all vertices; the number of one that is the only one of its role goes."""
    found = [role(name) for name in ends.names]
    seen: dict[str, int] = {}
    for name, _ in found:
        seen[name] = seen.get(name, 0) + 1
    numbers = tuple(number if seen[name] > 1 else "" for name, number in found)
    return Names(ends, tuple(word(name) for name, _ in found), numbers)


@dataclass(frozen=True, slots=True)
class Stroke:
    """How the links of a class are drawn."""

    colour: str
    style: Any
    width: float


def strokes_of(topology: Topology) -> list[Stroke]:
    """Return a stroke for each link class; wider links have wider lines, 1 to 3 points."""
    least = min((c.bandwidth_bytes_per_s for c in topology.classes), default=1.0)
    return [
        Stroke(
            COLOURS[at % len(COLOURS)],
            _STYLES[at // len(COLOURS) % len(_STYLES)],
            min(1.0 + 0.4 * log2(c.bandwidth_bytes_per_s / least), 3.0),
        )
        for at, c in enumerate(topology.classes)
    ]
