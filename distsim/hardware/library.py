"""Communication libraries: what NCCL and its like add to the links, and what they choose from.

A library runs a collective by an algorithm under a protocol. Protocols trade latency against
bandwidth: LL sends a flag with every 4 bytes and waits for no fence, LL128 one with every 120 bytes
of a 128-byte line, Simple fences whole slices (NCCL documentation, ``NCCL_PROTO``; Hu et al. 2025,
"Demystifying NCCL", arXiv 2507.04786, section 3). On S bytes that take X seconds on the links by
themselves, a collective takes

    T = startup + L + X / b + 2 sqrt(f L X / b)

with L the latency of its hops, links and library together, b the share of bandwidth that algorithm
and protocol reach, and f the ``fill`` of the algorithm. The last term is what cutting an array into
chunks costs: a pipeline over h hops that each cost a seconds a chunk takes h a + X + 2 sqrt(h a X)
with the best number of chunks (Hockney's model, optimised; Sanders, Speck and Träff 2009, section
2), and libraries adapt their chunks to the size. ``f`` is how many of the hops an algorithm
pipelines so.

A library chooses the algorithm and the protocol that take the least by this model, which is what
NCCL's own tuning model does with numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import sqrt

from distsim.errors import DistsimError
from distsim.files import find, load_yaml, shipped_names
from distsim.hardware.block import Block, offer

#: Key of the entry for algorithms that a library does not name.
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a library moves bytes.

    Attributes
    ----------
    name : str
        LL, LL128 or Simple for NCCL, in small letters.
    bandwidth : float
        Payload over bytes on the link, in (0, 1].
    local_hop_s, network_hop_s : float
        What the software adds to the latency of a hop inside a node, and between nodes.
    """

    name: str
    bandwidth: float
    local_hop_s: float
    network_hop_s: float


@dataclass(frozen=True, slots=True)
class Runner:
    """How a library runs one algorithm.

    Attributes
    ----------
    startup_s : mapping of str to float
        Time before the first byte moves, by protocol; only these protocols are used.
    fill : float
        Share of the latency that is paid again for chunks (f in the module's formula).
    bandwidth : float
        Share of the links' bandwidth that it reaches, in (0, 1].
    """

    startup_s: Mapping[str, float]
    fill: float = 0.0
    bandwidth: float = 1.0


@dataclass(frozen=True, slots=True)
class Priced:
    """A collective of one size as a library runs it.

    Attributes
    ----------
    wire : Wire
        The protocol.
    startup_s, hops_s, fill_s : float
        Parts of the latency.
    fluid_s : float
        Its bytes, on links of its own.
    bandwidth : float
        Share of the links' bandwidth that it reaches.
    """

    wire: Wire
    startup_s: float
    hops_s: float
    fill_s: float
    fluid_s: float
    bandwidth: float

    @property
    def latency_s(self) -> float:
        """Time before its bytes move."""
        return self.startup_s + self.hops_s + self.fill_s

    @property
    def total_s(self) -> float:
        """Latency and bytes."""
        return self.latency_s + self.fluid_s


@dataclass(frozen=True, slots=True)
class Library:
    """A communication library.

    Attributes
    ----------
    startup_s : float
        Added to every collective on this cluster: kernel start and hand-over by its software.
    protocols : tuple of Wire
    runners : mapping of str to Runner
        By algorithm; ``other`` stands for those that are not named.
    collectives : mapping of str to tuple of str
        Algorithms that it chooses from.
    """

    name: str
    description: str
    source: str
    protocols: tuple[Wire, ...]
    runners: Mapping[str, Runner]
    collectives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    startup_s: float = 0.0

    def choices(self, collective: str) -> tuple[str, ...]:
        """Return the algorithms that it chooses from for a collective."""
        return self.collectives.get(collective, ())

    def price(
        self,
        algorithm: str,
        *,
        wire_s: float,
        local_hops: float,
        network_hops: float,
        fluid_s: float,
    ) -> Priced:
        """Return how it runs an algorithm, by the protocol that takes the least.

        Parameters
        ----------
        algorithm : str
        wire_s : float
            Latency of the links on the way.
        local_hops, network_hops : float
            Hops inside a node and between nodes that count in the latency.
        fluid_s : float
            Time of the bytes on links of their own.
        """
        runner = self.runners.get(algorithm) or self.runners[OTHER]
        best: Priced | None = None
        for wire in self.protocols:
            if wire.name not in runner.startup_s:
                continue
            bandwidth = wire.bandwidth * runner.bandwidth
            hops_s = wire_s + local_hops * wire.local_hop_s + network_hops * wire.network_hop_s
            busy_s = fluid_s / bandwidth
            fill_s = 2.0 * sqrt(runner.fill * hops_s * busy_s)
            start_s = runner.startup_s[wire.name] + self.startup_s
            priced = Priced(wire, start_s, hops_s, fill_s, busy_s, bandwidth)
            if best is None or priced.total_s < best.total_s:
                best = priced
        assert best is not None, "a runner has at least one protocol"
        return best


#: Adds nothing: links and algorithms by themselves.
IDEAL = Library(
    "ideal",
    "Links and algorithms by themselves",
    "definition",
    (Wire("none", 1.0, 0.0, 0.0),),
    {OTHER: Runner({"none": 0.0})},
    {
        "all_reduce": ("ring", "tree"),
        "all_gather": ("ring",),
        "reduce_scatter": ("ring",),
        "send": ("p2p",),
    },
)


def library_names() -> tuple[str, ...]:
    """Return the names of the shipped libraries, sorted."""
    return shipped_names("libraries")


def read_library(block: Block, key: str = "library") -> Library:
    """Return the library that stands at a key: a name, or a profile with some values changed.

    ``{profile: nccl, startup: 10 us, algorithms: {all_reduce: [ring]}, protocols: [simple]}``
    does what a cluster's start-up time, ``NCCL_ALGO`` and ``NCCL_PROTO`` do.

    Raises
    ------
    HardwareError, FileError, ValueProblem
        For a name that does not exist and values that cannot be.
    """
    if not block.has(key):
        return library("nccl")
    if isinstance(block.raw(key), str):
        return library(block.text(key), path=(*block.path, key))
    inside = block.block(key)
    inside.only("profile", "startup", "algorithms", "protocols")
    base = library(inside.text("profile", "nccl"), path=(*inside.path, "profile"))
    if inside.has("startup"):
        base = replace(base, startup_s=inside.quantity("startup", "s", zero=True))
    if inside.has("algorithms"):
        base = replace(base, collectives={**base.collectives, **_algorithms(inside)})
    if inside.has("protocols"):
        base = _only_protocols(base, inside)
    return base


def _algorithms(block: Block) -> dict[str, tuple[str, ...]]:
    chosen = block.block("algorithms")
    out = {}
    for name in chosen.names():
        found = chosen.texts(name)
        if not found:
            raise chosen.error(
                "DS405", "no algorithm is left", key=name, rule="at least one", fix="name one"
            )
        out[name.replace("-", "_")] = tuple(word.replace("-", "_") for word in found)
    return out


def _only_protocols(base: Library, block: Block) -> Library:
    known = [wire.name for wire in base.protocols]
    wanted = block.texts("protocols")
    for word in wanted:
        if word not in known:
            raise block.error(
                "DS406",
                f"protocol {word!r} is unknown",
                key="protocols",
                value=word,
                rule=f"protocols of {base.name} are {', '.join(known)}",
                fix=offer(word, known) or f"use one of {', '.join(known)}",
            )
    runners = {}
    for name, runner in base.runners.items():
        left = {p: s for p, s in runner.startup_s.items() if p in wanted}
        # An algorithm that has only one protocol keeps it, as NVLS keeps Simple in NCCL.
        runners[name] = replace(runner, startup_s=left or runner.startup_s)
    return replace(base, runners=runners)


@lru_cache(maxsize=32)
def library(name: str, *, path: tuple[str | int, ...] = ()) -> Library:
    """Return a library by name or file.

    Raises
    ------
    FileError
        DS101 for a name that does not exist.
    HardwareError, ValueProblem
        For a library that cannot be, with the line in its file.
    """
    if name == IDEAL.name:
        return IDEAL
    file = find("libraries", name, path=path)
    data, positions = load_yaml(file)
    try:
        return _read(Block(data), file.stem)
    except DistsimError as error:
        place = positions.place(error.path)
        raise (error.at(place) if place else error) from error.__cause__


def _read(block: Block, name: str) -> Library:
    block.only("description", "source", "protocols", "algorithms", "collectives")
    protocols = block.block("protocols")
    wires = tuple(_wire(protocols.block(key), key) for key in protocols.names())
    algorithms = block.block("algorithms")
    known = tuple(wire.name for wire in wires)
    runners = {key: _runner(algorithms.block(key), known) for key in algorithms.names()}
    if OTHER not in runners:
        raise algorithms.error("DS403", f"{OTHER} is missing", key=OTHER, fix=f"add {OTHER}: ...")
    collectives = block.block("collectives")
    return Library(
        name,
        block.text("description"),
        block.text("source"),
        wires,
        runners,
        {key: tuple(collectives.texts(key)) for key in collectives.names()},
    )


def _wire(block: Block, name: str) -> Wire:
    block.only("bandwidth", "local_hop", "network_hop")
    return Wire(
        name,
        block.quantity("bandwidth", "1", high=1.0),
        block.quantity("local_hop", "s", zero=True),
        block.quantity("network_hop", "s", zero=True),
    )


def _runner(block: Block, known: tuple[str, ...]) -> Runner:
    block.only("startup", "fill", "bandwidth")
    startup = block.block("startup")
    startup.only(*known)
    times = {key: startup.quantity(key, "s", zero=True) for key in startup.names()}
    if not times:
        raise block.error("DS403", "startup names no protocol", key="startup", fix="name one")
    return Runner(
        times,
        block.quantity("fill", "1", zero=True, default=0.0),
        block.quantity("bandwidth", "1", high=1.0, default=1.0),
    )
