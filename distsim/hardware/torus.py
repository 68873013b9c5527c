"""Kind ``torus``: devices on a grid of two or three dimensions, closed or open.

Each device has a link each way to the next and to the previous one of every dimension; in a
dimension of two devices those are the same, so it has one. A dimension that closes in on itself is
a ring; one that does not, a line, whose ends have one neighbour (a mesh where none closes). Routes
take the dimensions in order and in each the shorter way round (Dally and Seitz 1987, "Deadlock-free
message routing in multiprocessor interconnection networks"). Where both ways are equally long,
devices at even places go up and those at odd places down, so that both directions carry bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from distsim.errors import HardwareError, show
from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, too_many
from distsim.hardware.sizes import check_links, finish, read_links, read_shape, stretches
from distsim.hardware.topology import Ints, Routes, Topology
from distsim.record import record


@record
class TorusRouter:
    """Routes by arithmetic.

    Links lie in blocks, one for each direction of each dimension, dimension by dimension and up
    before down; within a block they are numbered as the devices at which they begin. The last
    dimension varies fastest.

    Attributes
    ----------
    dims : tuple of int
    wrap : tuple of bool
        Whether each dimension closes in on itself.
    n_devices : int
        Devices that are used: the first ones. The others only pass traffic on.
    bandwidth_bytes_per_s : float
        Of one link, one direction.
    """

    dims: tuple[int, ...]
    wrap: tuple[bool, ...]
    n_devices: int
    bandwidth_bytes_per_s: float

    @property
    def size(self) -> int:
        """Places of the grid."""
        return prod(self.dims)

    @property
    def lines(self) -> tuple[bool, ...]:
        """Say of each dimension whether its ends have one neighbour; two devices are a pair."""
        return tuple(n > 2 and not wrap for n, wrap in zip(self.dims, self.wrap, strict=True))

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance of neighbours in each dimension, in devices."""
        return tuple(prod(self.dims[at + 1 :]) for at in range(len(self.dims)))

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        """Dimension and step, +1 or -1, of each block of links."""
        ways = {1: (), 2: (1,)}
        return tuple((at, step) for at, n in enumerate(self.dims) for step in ways.get(n, (1, -1)))

    def starts(self) -> list[int]:
        """Return the first link of each block, and at the end the number of links.

        The last device of a line has no link on, and the first none back.
        """
        missing = [self.size // self.dims[at] * self.lines[at] for at, _ in self.directions]
        return [0, *np.cumsum(self.size - np.array(missing, dtype=np.int64)).tolist()]

    def route(self, src: Ints, dst: Ints) -> Routes:
        """Return routes of the fewest links, dimension after dimension."""
        directions = self.directions
        place = src.copy()
        begin, step, count, block = [], [], [], []
        for at, (n, line, stride) in enumerate(
            zip(self.dims, self.lines, self.strides, strict=True)
        ):
            own, other = place // stride % n, dst // stride % n
            up = (other - own) % n
            round_down = (2 * up > n) | ((2 * up == n) & (own % 2 == 1) & (n > 2))
            down = other < own if line else round_down
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
        n, stride, line = (np.array(of)[dim] for of in (self.dims, self.strides, self.lines))
        start, way = begin.ravel()[run], step.ravel()[run]
        own = start // stride % n
        vertex = start + ((own + way * offset) % n - own) * stride
        # Each line before this device lacks a link; on the way down, so does its own first device.
        skipped = line * (vertex // (n * stride) + (way < 0)) * stride
        first = np.array(self.starts())[block.ravel()[run]]
        return Routes(ptr, (first + vertex - skipped).astype(np.int32))

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices of a link."""
        starts = self.starts()
        block = int(np.searchsorted(starts, link, side="right")) - 1
        at, step = self.directions[block]
        n, stride, vertex = self.dims[at], self.strides[at], link - starts[block]
        if self.lines[at]:
            vertex += (vertex // ((n - 1) * stride) + (step < 0)) * stride
        own = vertex // stride % n
        return self.device(vertex), self.device(vertex + ((own + step) % n - own) * stride)

    def device(self, index: int) -> str:
        """Return the vertex of a device: its place."""
        places = np.unravel_index(index, self.dims)
        return "chip" + ".".join(str(int(place)) for place in places)

    def counts(self) -> Mapping[str, int | float]:
        """Return the diameter and, where a closed form exists, the bisection of a full torus.

        Half-way through a dimension of even length a plane cuts all its rings, each in two places,
        or all its lines, each in one. The dimension with the fewest links to cut is the one that
        counts, and no closed form is stated where it is odd.
        """
        counts: dict[str, int | float] = {"places": self.size}
        if self.n_devices == self.size > 1:
            lines = list(zip(self.dims, self.lines, strict=True))
            counts["diameter_links"] = sum(n - 1 if line else n // 2 for n, line in lines)
            cuts = [
                ((1 if line or n == 2 else 2) * self.size // n, n) for n, line in lines if n > 1
            ]
            least, _ = min(cuts)
            if any(links == least and (n % 2 == 0 or n == self.size) for links, n in cuts):
                counts["bisection_bytes_per_s"] = least * self.bandwidth_bytes_per_s
        return counts


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return a torus.

    Parameters
    ----------
    block : Block
        ``shape``: a list of two or three lengths; ``wrap``: of each, whether the dimension closes
        in on itself, which it does by default; ``devices_per_node``, 1 by default; ``links`` of the
        class link.
    name : str
    n_devices : int
        Devices that are used: the first ones, row by row.
    """
    block.only(*KEYS, "shape", "wrap", "devices_per_node", "links")
    dims = read_shape(block, "shape", (2, 3))
    wrap = _read_wrap(block, len(dims))
    check_links(block, "shape", 2 * len(dims) * prod(dims))
    if n_devices > prod(dims):
        equation = f"shape({' * '.join(map(str, dims))})"
        raise too_many(name, n_devices, prod(dims), equation)
    return torus(block, name, n_devices, dims, wrap, block.integer("devices_per_node", 1))


def torus(
    block: Block,
    name: str,
    n_devices: int,
    dims: tuple[int, ...],
    wrap: tuple[bool, ...],
    devices_per_node: int,
) -> Topology:
    """Return a torus of any number of dimensions with links of the class link."""
    (link,) = read_links(block, "link")
    router = TorusRouter(dims, wrap, n_devices, link.bandwidth_bytes_per_s)
    blocks = [(0, router.starts()[-1])]
    return finish(block, name, n_devices, devices_per_node, [link], blocks, router)


def _read_wrap(block: Block, dimensions: int) -> tuple[bool, ...]:
    """Return one truth value a dimension (DS404 for another value, DS405 for another number)."""
    if not block.has("wrap"):
        return (True,) * dimensions
    items = block.items("wrap")
    if len(items) != dimensions:
        raise block.error(
            "DS405",
            f"wrap has {len(items)} values for {dimensions} dimensions",
            key="wrap",
            value=items,
            rule=f"wrap has one value for each number of shape({dimensions})",
            fix=f"write {dimensions} of true and false, in the order of shape",
        )
    for index, item in enumerate(items):
        if not isinstance(item, bool):
            raise HardwareError(
                "DS404",
                f"{show(item)} is neither true nor false",
                path=(*block.path, "wrap", index),
                value=item,
                rule="wrap says true for a dimension that closes in on itself",
                fix="write true or false",
            )
    return tuple(bool(item) for item in items)
