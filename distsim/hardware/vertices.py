"""The vertices of a topology as numbers, and which of them are alike.

`Ends` holds the two ends of every link. `refine` finds the coarsest partition of the vertices in
which equal vertices see equal links to equal vertices (colour refinement, Weisfeiler and Leman
1968). Flows and distances are the same for all vertices of a colour, so one of each is enough, and
a flow over all links can be found on the small graph of colours (`Quotient`): the linear program
of a flow keeps its optimum when equal rows and columns are summed (Grohe, Kersting, Mladenov and
Selman 2014, "Dimension reduction via colour refinement", section 5).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.hardware.topology import Floats, Ints, Topology
from distsim.record import record

Hash = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

#: Rounds of refinement; each lets a difference travel one link further.
_ROUNDS = 64


@record(eq=False)
class Ends:
    """The ends of each link.

    Attributes
    ----------
    names : tuple of str
        Of the vertices; the devices that are used come first, in their order.
    n_devices : int
    begin, end : int64[n_links]
        Vertices.
    """

    names: tuple[str, ...]
    n_devices: int
    begin: Ints
    end: Ints

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return len(self.names)


def ends_of(topology: Topology) -> Ends:
    """Return the vertices at the ends of each link of a topology."""
    index = {topology.device_label(i): i for i in range(topology.n_devices)}
    ends = topology.router.ends
    numbers = np.empty((topology.n_links, 2), dtype=np.int64)
    for link in range(topology.n_links):
        source, target = ends(link)
        numbers[link] = index.setdefault(source, len(index)), index.setdefault(target, len(index))
    return Ends(
        tuple(index),
        topology.n_devices,
        np.ascontiguousarray(numbers[:, 0]),
        np.ascontiguousarray(numbers[:, 1]),
    )


def mixed(x: Hash) -> Hash:
    """Scramble 64-bit integers (the finaliser of SplitMix64, Steele 2014)."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def refine(start: Ints, begin: Ints, end: Ints, kind: Ints) -> Hash:
    """Return a colour for each vertex: equal ones see equal links to equal vertices.

    Parameters
    ----------
    start : int64[n_vertices]
        What tells vertices apart from the beginning.
    begin, end : int64[n_links]
    kind : int64[n_links]
        What tells links apart.

    Returns
    -------
    uint64[n_vertices]
        Hashes: they depend on what a vertex sees, not on its number, so that those of two graphs
        can be compared.
    """
    colour = mixed(start.astype(np.uint64))
    out = mixed(kind.astype(np.uint64) * np.uint64(2))
    back = mixed(kind.astype(np.uint64) * np.uint64(2) + np.uint64(1))
    seen = len(np.unique(colour))
    for _ in range(_ROUNDS):
        total = np.zeros_like(colour)
        np.add.at(total, begin, mixed(colour[end] ^ out))
        np.add.at(total, end, mixed(colour[begin] ^ back))
        colour = mixed(colour ^ mixed(total))
        now = len(np.unique(colour))
        if now == seen:
            break
        seen = now
    return colour


@record(eq=False)
class Quotient:
    """The graph of colours: links between two colours of vertices are one, with their total.

    Attributes
    ----------
    key : bytes
        Equal for graphs that refinement does not tell apart.
    group : int64[n_vertices]
        Colour of each vertex, 0 .. m-1.
    begin, end : int64[k]
        Colours.
    weight : float64[k, ...]
        Sums over the links between two colours.
    """

    key: bytes
    group: Ints
    begin: Ints
    end: Ints
    weight: Floats


def quotient(start: Ints, begin: Ints, end: Ints, kind: Ints, weight: Floats) -> Quotient:
    """Return the graph of colours after refinement.

    Parameters
    ----------
    start, begin, end, kind
        As `refine` takes them.
    weight : float64[n_links, ...]
        Of each link; links of one kind have equal weights.
    """
    colours, group, size = np.unique(
        refine(start, begin, end, kind), return_inverse=True, return_counts=True
    )
    group = group.reshape(-1).astype(np.int64)
    pair, index = np.unique(group[begin] * len(colours) + group[end], return_inverse=True)
    total = np.zeros((len(pair), *weight.shape[1:]))
    np.add.at(total, index.reshape(-1), weight)
    first, second = np.divmod(pair, len(colours))
    return Quotient(colours.tobytes() + size.tobytes(), group, first, second, total)
