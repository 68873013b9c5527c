"""One collective over many sizes on a topology, as nccl-tests measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import schedule
from distsim.collectives.costs import bus_bandwidth_factor
from distsim.collectives.flows import Schedule, Shape, fluid, members
from distsim.collectives.unequal import UNEQUAL
from distsim.errors import UsageError
from distsim.hardware.block import Block
from distsim.hardware.catalogue import load_topology
from distsim.hardware.collisions import Collisions, collisions_of_load
from distsim.hardware.libraries import read_library
from distsim.hardware.library import Priced, choose
from distsim.hardware.topology import Topology
from distsim.parallel.placement import place
from distsim.prediction.steps import steps_run
from distsim.program.comm import NEEDS, options
from distsim.program.traffic import Traffic, compile_traffic, route_pattern, shapes
from distsim.study import names
from distsim.study.unequal import Balance, Shares, balance

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CollectiveRow:
    """One size: time, bandwidths as nccl-tests define them, and what limits it."""

    size_bytes: float
    time_s: float
    algbw_bytes_per_s: float
    busbw_bytes_per_s: float
    algorithm: str
    protocol: str
    bottleneck: str


@dataclass(frozen=True, slots=True)
class CollectiveReport:
    """A collective over all devices of a topology.

    Attributes
    ----------
    detail : str
        ``fluid`` or ``steps``.
    messages : int
        That were simulated for the last size; 0 for a fluid.
    collisions : tuple of Collisions
        On hashed uplinks, by the algorithm of the last size: amounts are over the size.
    shares : Balance or None
        Of an all-to-all with unequal shares.
    """

    collective: str
    topology: str
    library: str
    devices: int
    nodes: int
    detail: str
    rows: tuple[CollectiveRow, ...]
    messages: int = 0
    shares: Balance | None = None
    collisions: tuple[Collisions, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "collective": self.collective,
            "topology": self.topology,
            "library": self.library,
            "devices": self.devices,
            "nodes": self.nodes,
            "detail": self.detail,
            "rows": [asdict(row) for row in self.rows],
            "messages": self.messages,
            "shares": self.shares.to_dict() if self.shares else None,
            "collisions": [asdict(tier) | {"ratio": tier.ratio} for tier in self.collisions],
        }


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run the collective: its flows on the links, its rounds, its busiest link."""

    traffic: Traffic
    rounds: Callable[[], Schedule]
    bottleneck: str


def _ways(
    collective: str,
    algorithms: Sequence[str],
    device_of: Ints,
    topology: Topology,
    shares: Shares | None,
) -> dict[str, _Way]:
    """Compile every algorithm that these members can run.

    Raises
    ------
    UsageError
        DS613 where there is none.
    """
    out, reasons = {}, {}
    for algorithm in algorithms:
        try:
            need = NEEDS.get(algorithm)
            if need and need not in topology.in_network:
                raise ValueError(f"the switches of {topology.name} do no {need}")
            out[algorithm] = _way(collective, algorithm, device_of, topology, shares)
        except ValueError as reason:
            reasons[algorithm] = str(reason)
    if not out:
        algorithm, why = next(iter(reasons.items()))
        raise UsageError(
            "DS613",
            f"{algorithm} cannot run {collective} over {len(device_of)} devices: {why}",
            value=algorithm,
            rule=why,
            fix="choose another algorithm, or auto",
        )
    return out


def _offered(
    collective: str, device_of: Ints, topology: Topology, shares: Shares | None
) -> dict[str, _Way]:
    """Compile what the library chooses from; all that there is where that cannot run."""
    runnable = names.collectives()[collective] if shares is None else tuple(UNEQUAL)
    offered = [a for a, _, _ in options(collective, topology) if a in runnable]
    try:
        return _ways(collective, offered or runnable, device_of, topology, shares)
    except UsageError:
        return _ways(collective, runnable, device_of, topology, shares)


def _way(
    collective: str, algorithm: str, device_of: Ints, topology: Topology, shares: Shares | None
) -> _Way:
    everyone = np.arange(len(device_of))[None, :]
    role = np.zeros(1, dtype=np.int64)
    ((shape, orders, _),) = shapes(everyone, device_of, topology, algorithm)
    if shares is None:
        traffic = compile_traffic(
            algorithm, everyone, role, collective, algorithm, device_of, topology
        )
        rounds = partial(schedule, collective, algorithm, shape, orders)
        return _Way(traffic, rounds, _bottleneck(traffic, topology))
    plan = _unequal(algorithm, shares, shape)
    traffic = route_pattern(algorithm, algorithm, everyone, role, fluid(plan), device_of, topology)
    return _Way(traffic, lambda: plan, _bottleneck(traffic, topology))


def _unequal(algorithm: str, shares: Shares, shape: Shape) -> Schedule:
    if algorithm not in UNEQUAL:
        known = ", ".join(UNEQUAL)
        raise ValueError(f"it needs equal shares; of unequal ones there are {known}")
    # As in `schedule`: nodes that differ in their members are all apart.
    return UNEQUAL[algorithm](shares.matrix, (1, members(shape)) if shape[0] == 0 else shape)


def _load(traffic: Traffic, topology: Topology) -> Floats:
    """Return what each link carries, over the size of the collective."""
    return np.bincount(
        traffic.entry_link, weights=traffic.entry_fraction, minlength=topology.n_links
    ).astype(np.float64)


def _bottleneck(traffic: Traffic, topology: Topology) -> str:
    if not len(traffic.entry_link):
        return ""
    load = _load(traffic, topology)
    return topology.link_name(int((load / topology.capacity_bytes_per_s).argmax()))


def _collisions(way: _Way, topology: Topology) -> tuple[Collisions, ...]:
    """Return the collisions on parallel uplinks; none where traffic spreads evenly."""
    tiers = collisions_of_load(topology, _load(way.traffic, topology))
    return tuple(tier for tier in tiers if tier.parallel > 1)


def _fabric(
    topology: str | dict[str, Any] | Topology,
    devices: int,
    whole: int | None,
    library: str | None,
    protocol: str | None,
    startup_s: float,
) -> Topology:
    net = topology if isinstance(topology, Topology) else load_topology(topology, whole or devices)
    used = net.library
    if library is not None:
        used = read_library(Block({"library": library})).on(used.generation)
    if protocol is not None:
        known = tuple(wire.name for wire in used.protocols)
        used = used.under([names.choose("protocol", protocol, known)])
    return replace(net, library=replace(used, startup_s=used.startup_s + startup_s))


def collective_report(
    collective: str,
    topology: str | dict[str, Any] | Topology,
    devices: int,
    sizes: Sequence[float],
    algorithm: str = "auto",
    library: str | None = None,
    *,
    detail: str = "fluid",
    placement: str = "packed",
    of: int | None = None,
    seed: int = 0,
    shares: Shares | None = None,
    protocol: str | None = None,
    startup_s: float = 0.0,
) -> CollectiveReport:
    """Time a collective over devices of a topology.

    Parameters
    ----------
    collective : str
        ``all_reduce``, ``all_gather``, ... (``-`` for ``_`` and names of nccl-tests are allowed).
    sizes : sequence of float
        Bytes, as nccl-tests prints them: of the whole array.
    algorithm : str
        ``auto`` takes what the library would choose for each size.
    library : str, optional
        Communication library in place of the topology's own.
    detail : str
        ``fluid``, or ``steps`` for every message of the algorithm.
    placement, of, seed
        How the members are placed on a topology of `of` devices, as in a scenario.
    shares : Shares, optional
        Of an all-to-all, in place of equal ones; members are in the order of their devices.
    protocol : str, optional
        The only one that the library may use.
    startup_s : float
        Added to every start, for a caller that times single calls.

    Raises
    ------
    UsageError
        DS611 an unknown name, DS613 an algorithm that cannot run here, DS614 shares of what has
        none.
    """
    known = names.collectives()
    collective = names.choose("collective", collective, tuple(known))
    if algorithm != "auto":
        algorithm = names.choose("algorithm", algorithm, ("auto", *known[collective]))
    _check(collective, devices, shares)
    net = _fabric(topology, devices, of, library, protocol, startup_s)
    free = np.arange(net.n_devices)
    device_of = np.sort(place(placement, devices, free, net.node_of.astype(np.int64), seed))
    if algorithm == "auto":
        ways = _offered(collective, device_of, net, shares)
    else:
        ways = _ways(collective, [algorithm], device_of, net, shares)
    rows, messages = _rows(collective, ways, device_of, net, sizes, detail)
    labels = [net.device_label(d) for d in device_of.tolist()] if shares else []
    return CollectiveReport(
        collective,
        net.name,
        net.library.name,
        devices,
        int(np.count_nonzero(np.bincount(net.node_of[device_of]))),
        detail,
        rows,
        messages,
        balance(shares, labels) if shares else None,
        _collisions(ways[rows[-1].algorithm], net) if rows else (),
    )


def _check(collective: str, devices: int, shares: Shares | None) -> None:
    if collective == "send" and devices != 2:
        raise UsageError(
            "DS613",
            f"a send joins 2 devices, not {devices}",
            value=devices,
            rule="devices = 2",
            fix="ask for 2 devices (--placement strided puts them on different nodes), or for "
            "sendrecv, in which everyone sends to the next",
        )
    if shares is not None and collective != "all_to_all":
        raise UsageError(
            "DS614",
            f"{collective} has no shares",
            value=collective,
            rule="unequal shares are those of an all-to-all",
            fix="ask for all-to-all",
        )


def _rows(
    collective: str,
    ways: Mapping[str, _Way],
    device_of: Ints,
    net: Topology,
    sizes: Sequence[float],
    detail: str,
) -> tuple[tuple[CollectiveRow, ...], int]:
    """Return a row for each size, and how many messages the last one took."""
    factor = bus_bandwidth_factor(collective, len(device_of))
    loads = {name: way.traffic.alone(net) for name, way in ways.items()}
    out, messages = [], 0
    for size in sizes:
        priced = {n: net.library.price(collective, n, load, size) for n, load in loads.items()}
        best = choose(priced)
        time_s = priced[best].total_s
        if detail == "steps":
            rounds = ways[best].rounds()
            time_s, messages = _by_steps(best, rounds, device_of, net, size, priced[best])
        algbw = size / time_s if time_s > 0 else 0.0
        out.append(
            CollectiveRow(
                size,
                time_s,
                algbw,
                algbw * factor,
                best,
                priced[best].wire.name,
                ways[best].bottleneck,
            )
        )
    return tuple(out), messages


def _by_steps(
    algorithm: str, plan: Schedule, device_of: Ints, net: Topology, size: float, priced: Priced
) -> tuple[float, int]:
    """Return the time message by message, and how many messages that took."""
    try:
        run = steps_run(plan, device_of, net, size, priced)
    except ValueError as reason:
        raise UsageError(
            "DS613",
            f"{algorithm} over {len(device_of)} devices is too large for steps: {reason}",
            value="steps",
            rule=str(reason),
            fix="use --detail fluid",
        ) from None
    # The chunks of a pipelined schedule are simulated, so what they cost is not added again.
    fill_s = 0.0 if plan.pipelined else priced.fill_s
    return priced.startup_s + fill_s + run.time_s, run.messages
