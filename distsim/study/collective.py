"""One collective over many sizes on a topology, as nccl-tests measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import ALGORITHMS, schedule
from distsim.collectives.costs import bus_bandwidth_factor
from distsim.errors import UsageError, ValueProblem, nearest
from distsim.hardware.block import Block
from distsim.hardware.catalogue import load_topology
from distsim.hardware.library import Priced, read_library
from distsim.hardware.topology import Topology
from distsim.parallel.placement import place
from distsim.prediction.steps import steps_run
from distsim.program.comm import NEEDS, options
from distsim.program.traffic import Traffic, compile_traffic, shapes
from distsim.units import parse

Ints = npt.NDArray[np.int64]

#: Largest number of sizes in one range.
MAX_SIZES = 1000


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
    """

    collective: str
    topology: str
    library: str
    devices: int
    nodes: int
    detail: str
    rows: tuple[CollectiveRow, ...]
    messages: int = 0

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
        }


def collectives() -> dict[str, tuple[str, ...]]:
    """Return the algorithms of each collective."""
    out: dict[str, tuple[str, ...]] = {}
    for collective, algorithm in ALGORITHMS:
        out[collective] = (*out.get(collective, ()), algorithm)
    return out


def _choose(what: str, word: str, known: Sequence[str]) -> str:
    plain = {k.replace("_", ""): k for k in known}
    found = plain.get(word.lower().replace("-", "").replace("_", ""))
    if found:
        return found
    near = nearest(word, known)
    raise UsageError(
        "DS611",
        f"unknown {what} {word!r}",
        value=word,
        rule=f"one of {', '.join(known)}",
        fix=f"did you mean {near}?" if near else f"choose a {what} that exists",
    )


def parse_sizes(text: str) -> list[float]:
    """Return the sizes of ``1kB:8GB``, ``1MiB:1GiB:x4`` or ``1MB,64MB``.

    A range doubles from its first size up to its last, or grows by the factor given.

    Raises
    ------
    UsageError
        DS612 for a range that is not one.
    ValueProblem
        DS21x for a size that is none.
    """
    if ":" not in text:
        return [_size(part) for part in text.split(",")]
    parts = text.split(":")
    factor = parts[2][1:] if len(parts) == 3 and parts[2].startswith("x") else "2"
    try:
        step = float(factor)
    except ValueError:
        step = 0.0
    has_factor = len(parts) == 3 and parts[2].startswith("x")
    if not (len(parts) == 2 or has_factor) or not 1.0 < step < 1e6:
        raise _bad_range(text, "from:to, or from:to:xFACTOR with a factor greater than 1")
    low, high = _size(parts[0]), _size(parts[1])
    if low > high or low <= 0:
        raise _bad_range(text, "the first size is not larger than the last, and more than 0")
    count = int(np.floor(np.log(high / low) / np.log(step) + 1e-9)) + 1
    if count > MAX_SIZES:
        raise _bad_range(text, f"at most {MAX_SIZES} sizes, not {count}")
    return [low * step**i for i in range(count)]


def _bad_range(text: str, rule: str) -> UsageError:
    return UsageError(
        "DS612", f"{text!r} is no range of sizes", value=text, rule=rule, fix="write 1kB:8GB"
    )


def _size(text: str) -> float:
    spaced = text.strip()
    head = spaced.rstrip("BbKkMGTi")
    unit = spaced[len(head) :] or "B"
    unit = unit.replace("K", "k") if "i" not in unit else unit
    unit = unit if unit.endswith("B") else f"{unit}B"
    try:
        return parse(f"{head.strip()} {unit}", "bytes")
    except ValueProblem as error:
        raise UsageError(
            "DS612",
            f"{text!r} is no size",
            value=text,
            rule=error.rule,
            fix="write for example 64MB",
        ) from None


def _compiled(
    collective: str, algorithms: Sequence[str], device_of: Ints, topology: Topology
) -> dict[str, Traffic]:
    """Compile every algorithm that these members can run."""
    out = {}
    everyone = np.arange(len(device_of))
    for algorithm in algorithms:
        try:
            need = NEEDS.get(algorithm)
            if need and need not in topology.in_network:
                raise ValueError(f"the switches of {topology.name} do no {need}")
            out[algorithm] = compile_traffic(
                algorithm, everyone[None, :], np.zeros(1, int), collective, algorithm, device_of,
                topology,
            )  # fmt: skip
        except ValueError as reason:
            if len(algorithms) == 1:
                raise UsageError(
                    "DS613",
                    f"{algorithm} cannot run {collective} over {len(device_of)} devices: {reason}",
                    value=algorithm,
                    rule=str(reason),
                    fix="choose another algorithm, or auto",
                ) from None
    return out


def _bottleneck(traffic: Traffic, topology: Topology) -> str:
    if not len(traffic.entry_link):
        return ""
    load = np.bincount(
        traffic.entry_link, weights=traffic.entry_fraction, minlength=topology.n_links
    )
    return topology.link_name(int((load / topology.capacity_bytes_per_s).argmax()))


def _fabric(
    topology: str | dict[str, Any],
    devices: int,
    whole: int | None,
    library: str | None,
) -> Topology:
    net = load_topology(topology, whole or devices)
    if library is None:
        return net
    return replace(net, library=read_library(Block({"library": library})))


def collective_report(
    collective: str,
    topology: str | dict[str, Any],
    devices: int,
    sizes: Sequence[float],
    algorithm: str = "auto",
    library: str | None = None,
    *,
    detail: str = "fluid",
    placement: str = "packed",
    of: int | None = None,
    seed: int = 0,
) -> CollectiveReport:
    """Time a collective over devices of a topology.

    Parameters
    ----------
    collective : str
        ``all_reduce``, ``all_gather``, ... (``-`` for ``_`` is allowed).
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

    Raises
    ------
    UsageError
        DS611 an unknown name, DS613 an algorithm that cannot run here.
    """
    known = collectives()
    collective = _choose("collective", collective, tuple(known))
    if algorithm != "auto":
        algorithm = _choose("algorithm", algorithm, ("auto", *known[collective]))
    if collective == "send" and devices != 2:
        raise UsageError(
            "DS613",
            f"a send joins 2 devices, not {devices}",
            value=devices,
            rule="devices = 2",
            fix="ask for 2 devices; --placement strided puts them on different nodes",
        )
    net = _fabric(topology, devices, of, library)
    free = np.arange(net.n_devices)
    device_of = np.sort(place(placement, devices, free, net.node_of.astype(np.int64), seed))
    offered = tuple(a for a, _, _ in options(collective, net)) or known[collective]
    wanted = offered if algorithm == "auto" else (algorithm,)
    compiled = _compiled(collective, wanted, device_of, net)
    compiled = compiled or _compiled(collective, known[collective], device_of, net)
    limits = {name: _bottleneck(traffic, net) for name, traffic in compiled.items()}
    factor = bus_bandwidth_factor(collective, devices)
    out, messages = [], 0
    for size in sizes:
        priced = {name: traffic.priced(size, net) for name, traffic in compiled.items()}
        best = min(priced, key=lambda name: (priced[name].total_s, name))
        time_s = priced[best].total_s
        if detail == "steps":
            time_s, messages = _by_steps(collective, best, device_of, net, size, priced[best])
        algbw = size / time_s if time_s > 0 else 0.0
        protocol = priced[best].wire.name
        out.append(CollectiveRow(size, time_s, algbw, algbw * factor, best, protocol, limits[best]))
    nodes = len(np.unique(net.node_of[device_of]))
    return CollectiveReport(
        collective, net.name, net.library.name, devices, nodes, detail, tuple(out), messages
    )


def _by_steps(
    collective: str, algorithm: str, device_of: Ints, net: Topology, size: float, priced: Priced
) -> tuple[float, int]:
    """Return the time message by message, and how many messages that took."""
    everyone = np.arange(len(device_of))[None, :]
    ((shape, _),) = shapes(everyone, device_of, net, algorithm)
    plan = schedule(collective, algorithm, shape)
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
