"""Names of collectives and algorithms, as people and nccl-tests spell them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distsim.collectives.algorithms import ALGORITHMS
from distsim.errors import UsageError, nearest

#: What others call a collective, as `plain` leaves it.
_ALIASES = {"alltoallv": "all_to_all", "bcast": "broadcast"}


def collectives() -> dict[str, tuple[str, ...]]:
    """Return the algorithms of each collective."""
    out: dict[str, tuple[str, ...]] = {}
    for collective, algorithm in ALGORITHMS:
        out[collective] = (*out.get(collective, ()), algorithm)
    return out


def plain(word: str) -> str:
    """Return a name without what spellings differ in.

    >>> plain("all-reduce"), plain("reduce_scatter_perf"), plain("AllToAll")
    ('allreduce', 'reducescatter', 'alltoall')
    """
    bare = "".join(c for c in word.lower() if c not in "-_ ")
    return bare.removesuffix("perf")


def find(word: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that a word spells; None if it spells none."""
    bare = plain(word)
    return _ALIASES.get(bare) or {plain(name): name for name in known}.get(bare)


def collective_of(word: str) -> str | None:
    """Return the collective that a word of a log names: ``alltoall``, ``sendrecv_perf``."""
    return find(word, collectives())


def choose(what: str, word: str, known: Sequence[str]) -> str:
    """Return the name of `known` that a person means.

    Raises
    ------
    UsageError
        DS611, with the nearest name.
    """
    found = find(word, known)
    if found in known:
        return str(found)
    near = nearest(word, known)
    raise UsageError(
        "DS611",
        f"unknown {what} {word!r}",
        value=word,
        rule=f"one of {', '.join(known)}",
        fix=f"did you mean {near}?" if near else f"choose a {what} that exists",
    )
