"""Communication libraries by name, by file, or as a block of a topology or a scenario."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from distsim.errors import DistsimError
from distsim.files import find, load_yaml, shipped_names
from distsim.hardware.block import Block, offer
from distsim.hardware.library import IDEAL, OTHER, Library, Parts, Runner, Wire
from distsim.hardware.tuner import (
    NO_LIMITS,
    Limits,
    Rule,
    read_limits,
    read_rules,
    read_tuner,
)

#: Vendors of processors that limits tell apart; NCCL counts all but AMD as Intel.
HOSTS = ("intel", "amd")


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
    inside.only("profile", "startup", "algorithms", "protocols", "host", "rules")
    base = library(inside.text("profile", "nccl"), path=(*inside.path, "profile"))
    if inside.has("startup"):
        base = replace(base, startup_s=inside.quantity("startup", "s", zero=True))
    if inside.has("host"):
        base = replace(base, host=inside.choice("host", HOSTS))
    if inside.has("algorithms"):
        base = replace(base, collectives={**base.collectives, **_algorithms(inside)})
    if inside.has("protocols"):
        base = _only_protocols(base, inside)
    # Last, for a rule names what is left.
    return replace(base, rules=_rules(base, inside)) if inside.has("rules") else base


def _rules(base: Library, block: Block) -> tuple[Rule, ...]:
    """Return rules that name what the library has."""
    rules = read_rules(block, "rules")
    for entry, rule in zip(block.blocks("rules"), rules, strict=True):
        _known(entry, "collective", rule.collective, tuple(base.collectives))
        _known(entry, "algorithm", rule.algorithm, base.choices(rule.collective))
        _known(entry, "protocol", rule.protocol, tuple(base.runner(rule.algorithm).startup_s))
    return rules


def _known(block: Block, key: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise block.error(
            "DS406",
            f"{key} {word!r} is unknown here",
            key=key,
            value=word,
            rule=f"one of {', '.join(known)}",
            fix=offer(word, known) or f"use one of {', '.join(known)}",
        )


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
    return base.under(wanted)


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
    block.only("description", "source", "protocols", "algorithms", "collectives", "tuner")
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
        tuner=read_tuner(block.block("tuner")) if block.has("tuner") else None,
    )


def _wire(block: Block, name: str) -> Wire:
    block.only("bandwidth", "device_rate", "local_hop", "network_hop")
    return Wire(
        name,
        block.quantity("bandwidth", "1", high=1.0),
        block.quantity("local_hop", "s", zero=True),
        block.quantity("network_hop", "s", zero=True),
        _device_rate(block),
    )


def _device_rate(block: Block) -> Limits:
    return read_limits(block.block("device_rate")) if block.has("device_rate") else NO_LIMITS


def _runner(block: Block, known: tuple[str, ...]) -> Runner:
    numbers = ("fill", "bandwidth", "device_rate", "turn", "parts")
    block.only("startup", "cluster_startup", *numbers)
    startup = block.block("startup")
    startup.only(*known)
    times = {key: startup.quantity(key, "s", zero=True) for key in startup.names()}
    if not times:
        raise block.error("DS403", "startup names no protocol", key="startup", fix="name one")
    return Runner(
        times,
        block.quantity("fill", "1", zero=True, default=0.0),
        block.quantity("bandwidth", "1", high=1.0, default=1.0),
        _device_rate(block),
        _turn(block.block("turn")) if block.has("turn") else {},
        _parts(block.block("parts")) if block.has("parts") else None,
        not block.has("cluster_startup") or block.flag("cluster_startup"),
    )


def _parts(block: Block) -> Parts:
    block.only("channels", "part", "channel_rate")
    return Parts(
        block.integer("channels"),
        block.quantity("part", "bytes"),
        block.quantity("channel_rate", "bytes_per_s"),
    )


def _turn(block: Block) -> dict[str, float]:
    return {name: block.quantity(name, "1", zero=True) for name in block.names()}
