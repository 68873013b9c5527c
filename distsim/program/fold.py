"""Folding: find ranks, transfers and links that are the same up to symmetry, and keep one of each.

Ranks, communication groups and links form a graph: a rank belongs to groups, a group loads links.
Colour refinement (Weisfeiler and Leman 1968) on it gives the coarsest partition in which equal
things see equal things: ranks of one colour belong to groups of equal colours, groups of one
colour load links of equal colours equally, links of one colour are loaded equally by the groups of
each colour. In such a partition ranks of one colour do the same at the same instants, so one of
them is simulated; the demands of sibling groups are summed onto the shared links, and one link of
each colour stands for all. Nothing is declared: a slow link or an odd placement starts with a
colour of its own and unfolds what it touches. Colours are 64-bit hashes, refined until their
number no longer grows; arrays of all entries are hashed at once, so the cost is a few passes over
them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.hardware.library import Library, Priced
from distsim.hardware.tuner import Load
from distsim.program.traffic import Traffic, distinct
from distsim.record import record

Hash = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@record
class TypeTable:
    """Transfer types of one traffic family after folding.

    Attributes
    ----------
    algorithm : str
    type_of_group : int64[groups]
    latency_s : float64[types]
    loads : tuple of Load
        Of one group of each type, as if it were alone.
    ptr, row, fraction : CSR by type
        Bytes on each row as a fraction of the collective's size, siblings summed.
    example : int64[types]
        One group of each type.
    weight : float64[types]
        The largest fraction that one group puts on a link by itself: its weight in max-min
        fairness, in which siblings compete as themselves.
    serial_s_per_byte : float64[types]
        As in `Traffic`.
    """

    algorithm: str
    type_of_group: Ints
    latency_s: Floats
    loads: tuple[Load, ...]
    ptr: Ints
    row: Ints
    fraction: Floats
    example: Ints
    weight: Floats
    serial_s_per_byte: Floats

    def priced(
        self, kind: int, collective: str, size_bytes: float, times: float, library: Library
    ) -> Priced:
        """Return how the library runs one transfer: as if it were alone, for it knows no others."""
        load = self.loads[kind].times(times)
        return library.price(collective, self.algorithm, load, size_bytes)

    def cost(self, kind: int, capacity: Floats) -> tuple[Load, float, float]:
        """Return all that the time of a transfer of a type depends on beside its size."""
        return self.loads[kind], self.shared_s(kind, 1.0, capacity), float(self.latency_s[kind])

    def shared_s(self, kind: int, wire_bytes: float, capacity: Floats) -> float:
        """Return the time of the bytes of one transfer that shares its rows with its siblings."""
        span = slice(int(self.ptr[kind]), int(self.ptr[kind + 1]))
        busy = (self.fraction[span] / capacity[self.row[span]]).max(initial=0.0)
        return wire_bytes * max(float(busy), float(self.serial_s_per_byte[kind]))


@record
class Fold:
    """Classes of ranks, types of transfers and rows of links.

    Attributes
    ----------
    class_of : int64[ranks]
    example : int64[classes]
        One rank of each class.
    count : int64[classes]
        Ranks in each class.
    tables : dict of str to TypeTable
        By family name.
    capacity_bytes_per_s : float64[rows]
    row_link : int64[rows]
        One link of each row, for names.
    """

    class_of: Ints
    example: Ints
    count: Ints
    tables: dict[str, TypeTable]
    capacity_bytes_per_s: Floats
    row_link: Ints


def _mix(x: Hash) -> Hash:
    """Scramble 64-bit integers (the finaliser of SplitMix64, Steele 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _bits(x: Floats) -> Hash:
    """Return the bits of positive floats, less the last 12, where rounding errors stand."""
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.uint64)
    return (bits + np.uint64(1 << 11)) & np.uint64(0xFFFFFFFFFFFFF000)


def _refine(
    roles: Ints, families: list[Traffic], capacity: Floats, links: int
) -> tuple[Hash, list[Hash], Hash]:
    """Return stable colours of ranks, of the groups of each family, and of links."""
    rank = _mix(roles.astype(np.uint64))
    group = [
        _mix(
            _bits(f.latency_s) + _bits(f.serial_s_per_byte) + _mix(f.nodes.astype(np.uint64))
            ^ _mix(_bits(f.hops[:, 1]) ^ _mix(f.role.astype(np.uint64)) + np.uint64(index))
        )
        for index, f in enumerate(families)
    ]
    link = _mix(_bits(capacity))
    weight = [_mix(_bits(f.entry_fraction)) for f in families]
    seen = 0
    while True:
        # Stable only when no part grows: links tell groups apart a round before ranks change.
        colours = sum([len(distinct(part)) for part in (rank, link, *group)])
        if colours == seen:
            return rank, group, link
        seen = colours
        rank_sum, link_sum = np.zeros_like(rank), np.zeros_like(link)
        fresh = []
        for f, g, w in zip(families, group, weight, strict=True):
            loads = np.zeros_like(g)
            np.add.at(loads, f.entry_group, _mix(link[f.entry_link] ^ w))
            position = np.arange(f.ranks.shape[1], dtype=np.uint64) if f.ordered else np.uint64(0)
            members = _mix(rank[f.ranks] + position).sum(axis=1, dtype=np.uint64)
            fresh.append(_mix(g + loads + _mix(members)))
            np.add.at(link_sum, f.entry_link, _mix(g[f.entry_group] ^ w))
            np.add.at(rank_sum, f.ranks, _mix(g[:, None] + position))
        rank, link, group = _mix(rank + rank_sum), _mix(link + link_sum), fresh


def _partition(colours: Hash) -> tuple[Ints, Ints, Ints]:
    """Return (class of each, first member of each class, size), classes in order of appearance."""
    _, first, inverse, count = np.unique(
        colours, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[inverse.reshape(-1)], first[order].astype(np.int64), count[order].astype(np.int64)


def fold(roles: Ints, families: list[Traffic], capacity: Floats, *, enabled: bool) -> Fold:
    """Fold ranks, groups and links.

    Parameters
    ----------
    roles : int64[ranks]
        What a rank does, as a number: ranks with different roles never share a class.
    families : list of Traffic
        All communication, by family.
    capacity : float64[links]
    enabled : bool
        False keeps every rank, group and link.
    """
    if enabled:
        rank, groups, link = _refine(roles, families, capacity, len(capacity))
        class_of, example, count = _partition(rank)
        group_parts = [_partition(g)[:2] for g in groups]
        link_of, link_first, _ = _partition(link)
    else:
        class_of = example = np.arange(len(roles))
        count = np.ones(len(roles), dtype=np.int64)
        group_parts = [(np.arange(len(f.ranks)), np.arange(len(f.ranks))) for f in families]
        link_of = link_first = np.arange(len(capacity))
    kinds = [len(first) for _, first in group_parts]
    offset = np.concatenate([[0], np.cumsum(kinds)]).astype(np.int64)
    chosen = np.zeros(len(capacity), dtype=bool)
    chosen[link_first] = True
    keys, values = [], []
    rows = np.int64(len(link_first))
    for index, (family, (type_of, _)) in enumerate(zip(families, group_parts, strict=True)):
        keep = chosen[family.entry_link]
        kind = type_of[family.entry_group[keep]] + offset[index]
        keys.append(kind * rows + link_of[family.entry_link[keep]])
        values.append(family.entry_fraction[keep])
    key = np.concatenate(keys) if keys else np.zeros(0, dtype=np.int64)
    unique, inverse = np.unique(key, return_inverse=True)
    sizes = np.concatenate(values) if values else np.zeros(0)
    sums = np.bincount(inverse.reshape(-1), weights=sizes).astype(np.float64)
    kind, row = unique // rows, unique % rows
    kind, row, total, row_link = _merge_rows(kind, row, sums, capacity, link_first)
    tables = {}
    for index, (family, (type_of, first)) in enumerate(zip(families, group_parts, strict=True)):
        bounds = np.searchsorted(kind, np.arange(offset[index], offset[index + 1] + 1))
        span = slice(int(bounds[0]), int(bounds[-1]))
        weight, own_s = _alone(family, first, capacity)
        loads = zip(first.tolist(), own_s.tolist(), strict=True)
        tables[family.name] = TypeTable(
            family.algorithm,
            type_of,
            family.latency_s[first],
            tuple(family.load(group, busy) for group, busy in loads),
            bounds - bounds[0],
            row[span],
            total[span],
            first,
            weight,
            family.serial_s_per_byte[first],
        )
    return Fold(class_of, example, count, tables, capacity[row_link], row_link)


def _alone(family: Traffic, groups: Ints, capacity: Floats) -> tuple[Floats, Floats]:
    """Return the largest fraction of each group on a link, and its seconds a byte, by itself."""
    low = np.searchsorted(family.entry_group, groups)
    count = np.searchsorted(family.entry_group, groups, side="right") - low
    which = np.repeat(np.arange(len(groups)), count)
    entry = np.arange(len(which)) + np.repeat(low - np.cumsum(count) + count, count)
    keys, inverse = np.unique(which * len(capacity) + family.entry_link[entry], return_inverse=True)
    load = np.bincount(inverse.reshape(-1), weights=family.entry_fraction[entry])
    of, link = np.divmod(keys, len(capacity))
    largest, slowest = np.zeros(len(groups)), np.zeros(len(groups))
    np.maximum.at(largest, of, load)
    np.maximum.at(slowest, of, load / capacity[link])
    return largest, np.maximum(slowest, family.serial_s_per_byte[groups])


def _merge_rows(
    kind: Ints, row: Ints, total: Floats, capacity: Floats, link_first: Ints
) -> tuple[Ints, Ints, Floats, Ints]:
    """Keep of all rows with the same demands only the one with the least capacity."""
    rows = len(link_first)
    demand = np.zeros(rows, dtype=np.uint64)
    np.add.at(demand, row, _mix(_mix(kind.astype(np.uint64)) ^ _bits(total)))
    used = np.flatnonzero(np.bincount(row, minlength=rows))
    order = used[np.lexsort((used, capacity[link_first[used]], demand[used]))]
    first = np.ones(len(order), dtype=bool)
    first[1:] = demand[order][1:] != demand[order][:-1]
    kept = np.sort(order[first])
    place = np.full(rows, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    alive = place[row] >= 0
    return kind[alive], place[row[alive]], total[alive], link_first[kept]
