"""Kind ``torus``: devices on a grid of two or three dimensions that closes in on itself.

Each device has a link each way to the next and to the previous one of every dimension; in a
dimension of two devices those are the same, so it has one. Routes take the dimensions in order and
in each the shorter way round (Dally and Seitz 1987, "Deadlock-free message routing in
multiprocessor interconnection networks"). Where both ways are equally long, devices at even places
go up and those at odd places down, so that both directions carry bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import check_links, finish, read_links, read_shape, stretches
from distsim.hardware.topology import Ints, Routes, Topology


@dataclass(frozen=True, slots=True)
class TorusRouter:
    """Routes by arithmetic.

    Links lie in blocks, one for each direction of each dimension, dimension by dimension and up
    before down; within a block they are numbered as the devices at which they begin. The last
    dimension varies fastest.

    Attributes
    ----------
    dims : tuple of int
    n_devices : int
        Devices that are used: the first ones. The others only pass traffic on.
    bandwidth_bytes_per_s : float
        Of one link, one direction.
    """

    dims: tuple[int, ...]
    n_devices: int
    bandwidth_bytes_per_s: float

    @property
    def size(self) -> int:
        """Places of the grid."""
        return prod(self.dims)

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        """Dimension and step, +1 or -1, of each block of links."""
        ways = {1: (), 2: (1,)}
        return tuple((at, step) for at, n in enumerate(self.dims) for step in ways.get(n, (1, -1)))

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes of the fewest links, dimension after dimension."""
        directions = self.directions
        place = src.copy()
        begin, step, count, block = [], [], [], []
        for at, n in enumerate(self.dims):
            stride = prod(self.dims[at + 1 :])
            own, other = place // stride % n, dst // stride % n
            up = (other - own) % n
            down = (2 * up > n) | ((2 * up == n) & (own % 2 == 1) & (n > 2))
            begin.append(place)
            step.append(np.where(down, -1, 1))
            count.append(np.where(down, n - up, up))
            first = directions.index((at, 1)) if n > 1 else 0
            block.append(first + down)
            place = place + (other - own) * stride
        return self._lay(*(np.stack(c, axis=1) for c in (begin, step, count, block)))

    def _lay(self, begin: Ints, step: Ints, count: Ints, block: Ints) -> Routes:
        """Return the links of runs along one dimension each, int64[k, dimensions]."""
        ptr = np.zeros(len(begin) + 1, dtype=np.int64)
        np.cumsum(count.sum(axis=1), out=ptr[1:])
        run, offset = stretches(count.ravel())
        dim = run % len(self.dims)
        n = np.array(self.dims)[dim]
        stride = np.array([prod(self.dims[i + 1 :]) for i in range(len(self.dims))])[dim]
        start = begin.ravel()[run]
        own = start // stride % n
        vertex = start + ((own + step.ravel()[run] * offset) % n - own) * stride
        return Routes(ptr, (block.ravel()[run] * self.size + vertex).astype(np.int32))

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        block, vertex = divmod(link, self.size)
        at, step = self.directions[block]
        n, stride = self.dims[at], prod(self.dims[at + 1 :])
        own = vertex // stride % n
        return self.device(vertex), self.device(vertex + ((own + step) % n - own) * stride)

    def device(self, index: int) -> str:
        """Return the vertex of a device: its place."""
        places = np.unravel_index(index, self.dims)
        return "chip" + ".".join(str(int(place)) for place in places)

    def counts(self) -> Mapping[str, int | float]:
        """Return the diameter and, where a closed form exists, the bisection of a full torus.

        Half-way through a dimension of even length a plane cuts all its rings, each in two places.
        """
        counts: dict[str, int | float] = {"places": self.size}
        if self.n_devices == self.size > 1:
            counts["diameter_links"] = sum(n // 2 for n in self.dims)
            cuts = [
                (2 if n > 2 else 1) * self.size // n
                for n in self.dims
                if n > 1 and (n % 2 == 0 or n == self.size)
            ]
            if max(self.dims) % 2 == 0 or max(self.dims) == self.size:
                counts["bisection_bytes_per_s"] = min(cuts) * self.bandwidth_bytes_per_s
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return a torus.

    Parameters
    ----------
    block : Block
        ``shape``: a list of two or three lengths; ``devices_per_node``, 1 by default; ``links`` of
        the class link.
    name : str
    n_devices : int
        Devices that are used: the first ones, row by row.
    """
    block.only(*KEYS, "shape", "devices_per_node", "links")
    dims = read_shape(block, "shape", (2, 3))
    check_links(block, "shape", 2 * len(dims) * prod(dims))
    if n_devices > prod(dims):
        equation = f"shape({' * '.join(map(str, dims))})"
        raise too_many(name, n_devices, prod(dims), equation)
    return torus(block, name, n_devices, dims, block.integer("devices_per_node", 1))


def torus(
    block: Block, name: str, n_devices: int, dims: tuple[int, ...], devices_per_node: int
) -> Topology:
    """Return a torus of any number of dimensions with links of the class link."""
    (link,) = read_links(block, "link")
    router = TorusRouter(dims, n_devices, link.bandwidth_bytes_per_s)
    n_links = len(router.directions) * router.size
    return finish(block, name, n_devices, devices_per_node, [link], [(0, n_links)], router)
