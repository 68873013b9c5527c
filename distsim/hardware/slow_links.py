"""Links that are slower than their class says: a flapping cable, a port that trained down.

A rule picks links and takes bandwidth from them or adds latency. Routes stay as they are, as they
do in a fabric that does not know of the fault. Everything that reads the capacities and latencies
of links sees the change; `Topology.classes` still state what was bought, and so do the bisection
and the counts of `Topology.shape`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import translate

import numpy as np
import numpy.typing as npt

from distsim.errors import HardwareError, nearest, show
from distsim.hardware.topology import Ints, Topology
from distsim.record import record

Flags = npt.NDArray[np.bool_]
Path = tuple[str | int, ...]

#: Vertices inside of a node are named after it: ``n3.gpu2``, ``n3.nic0``.
_INSIDE = re.compile(r"(n\d+\.)[^>]*->\1")


@record
class LinkRule:
    """Some links that are slow. Of `link_class`, `pattern` and `between` one says which.

    Attributes
    ----------
    link_class : str or None
        All links of a class: ``rail``.
    pattern : str or None
        Links by their directed names, with ``*``, ``?`` and ``[...]`` as in file names:
        ``n3.nic0->*``. What comes back is a link of its own: ``*->n3.nic0``.
    between : (int, int) or None
        Two nodes: the links outside of both that the routes between their devices take, both ways.
        Others that use these links are slowed as well.
    bandwidth_factor : float
        What is left of bandwidth and capacity, in (0, 1].
    latency_s : float
        Latency that is added, >= 0: on each link, and with `between` only on the first link of
        each route outside of its node, so that a route pays once.
    """

    link_class: str | None = None
    pattern: str | None = None
    between: tuple[int, int] | None = None
    bandwidth_factor: float = 1.0
    latency_s: float = 0.0


def slow_links(
    topology: Topology, rules: Sequence[LinkRule], *, path: Path = ("cluster", "slow_links")
) -> Topology:
    """Return a topology some of whose links are slow.

    Where rules pick the same link, factors multiply and latencies add up.

    Parameters
    ----------
    path : tuple, optional
        Where the rules stand in the scenario, for errors.

    Raises
    ------
    HardwareError
        DS444 for a rule that picks no link, DS445 for a number out of range.
    """
    factor, latency_s = np.ones(topology.n_links), topology.latency_s.copy()
    for index, rule in enumerate(rules):
        here = (*path, index)
        _check_numbers(rule, here)
        slowed, delayed = _picked(topology, rule, here)
        factor[slowed] *= rule.bandwidth_factor
        latency_s[delayed] += rule.latency_s
    bandwidth = topology.bandwidth_bytes_per_s * factor
    capacity = topology.capacity_bytes_per_s * factor
    for array in (bandwidth, capacity, latency_s):
        array.flags.writeable = False
    return replace(
        topology,
        bandwidth_bytes_per_s=bandwidth,
        capacity_bytes_per_s=capacity,
        latency_s=latency_s,
    )


def _check_numbers(rule: LinkRule, path: Path) -> None:
    if not 0.0 < rule.bandwidth_factor <= 1.0:
        raise HardwareError(
            "DS445",
            f"bandwidth factor {show(rule.bandwidth_factor)} is out of range",
            path=(*path, "bandwidth"),
            value=rule.bandwidth_factor,
            rule="0 < factor <= 1: what is left of the bandwidth",
            fix="write 0.5 for half; a link that carries nothing needs another topology",
        )
    if not (0.0 <= rule.latency_s < np.inf):
        raise HardwareError(
            "DS445",
            f"added latency {show(rule.latency_s)} is out of range",
            path=(*path, "latency"),
            value=rule.latency_s,
            rule="a finite time >= 0",
            fix="correct the number",
        )


def _nothing(path: Path, value: object, message: str, rule: str, fix: str) -> HardwareError:
    return HardwareError("DS444", message, path=path, value=value, rule=rule, fix=fix)


def _picked(topology: Topology, rule: LinkRule, path: Path) -> tuple[Ints, Ints]:
    """Return the links whose bandwidth a rule changes, and those whose latency it does."""
    given = [k for k in ("link_class", "pattern", "between") if getattr(rule, k) is not None]
    if len(given) != 1:
        raise _nothing(
            path,
            given,
            f"a rule for slow links names them in {len(given)} ways",
            "one of link_class, pattern and between",
            "keep one of them, and write another rule for the rest",
        )
    if rule.link_class is not None:
        links = _of_class(topology, rule.link_class, path)
    elif rule.pattern is not None:
        links = _by_name(topology, rule.pattern, path)
    else:
        return _between(topology, rule.between or (0, 0), path)
    return links, links


def _of_class(topology: Topology, name: str, path: Path) -> Ints:
    names = topology.class_names
    links = np.flatnonzero(
        np.isin(topology.link_class, [i for i, known in enumerate(names) if known == name])
    )
    if not len(links):
        near = nearest(name, names)
        raise _nothing(
            (*path, "link_class"),
            name,
            f"{topology.name} has no links of class {show(name)}",
            f"one of {', '.join(names)}, of which the cluster has links at this size",
            f"did you mean {near!r}?" if near else "choose one of them",
        )
    return links


def _by_name(topology: Topology, pattern: str, path: Path) -> Ints:
    match = re.compile(translate(pattern)).match
    links = [link for link in range(topology.n_links) if match(topology.link_name(link))]
    if not links:
        last = topology.n_links - 1
        examples = ", ".join(topology.link_name(i) for i in sorted({0, last}) if i >= 0)
        raise _nothing(
            (*path, "pattern"),
            pattern,
            f"no link of {topology.name} has a name like {show(pattern)}",
            f"names are such as {examples}" if examples else "the topology has no links",
            "write * for any part of a name; each direction is a link of its own",
        )
    return np.asarray(links, dtype=np.int64)


def _between(topology: Topology, nodes: tuple[int, int], path: Path) -> tuple[Ints, Ints]:
    members = [np.flatnonzero(topology.node_of == node) for node in nodes]
    if nodes[0] == nodes[1] or not all(len(m) for m in members):
        last = int(topology.node_of.max(initial=-1))
        raise _nothing(
            (*path, "between"),
            list(nodes),
            f"no links lead between nodes {nodes[0]} and {nodes[1]}",
            f"two different nodes among 0 .. {last}",
            "choose two nodes of the cluster",
        )
    one, other = (a.reshape(-1) for a in np.meshgrid(*members))
    routes = topology.routes(np.concatenate([one, other]), np.concatenate([other, one]))
    links, at = np.unique(routes.link, return_inverse=True)
    outside = np.asarray([_INSIDE.match(topology.link_name(i)) is None for i in links.tolist()])
    route = np.repeat(np.arange(len(routes.ptr) - 1), np.diff(routes.ptr))
    beyond = np.flatnonzero(outside[at.reshape(-1)])
    _, first = np.unique(route[beyond], return_index=True)
    return links[outside].astype(np.int64), np.unique(routes.link[beyond[first]]).astype(np.int64)
