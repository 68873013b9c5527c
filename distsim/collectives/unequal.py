"""All-to-all with unequal shares: MPI_Alltoallv, the dispatch of a mixture of experts.

A matrix says what everyone sends to everyone: the row is the sender, the column the receiver, and a
number is bytes over S. S is what a member would send, its own share included, if all shares were
equal, so that the uniform matrix of 1/n is the all-to-all of equal shares. The diagonal stays where
it is. A message without bytes is not sent, and a round without messages takes no time.

In the closed forms, which tests hold the simulator against, links are all alike: `latency_s` is of
one hop, and `bandwidth_bytes_per_s` is what one member can send and at the same time receive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import numpy.typing as npt

from distsim.collectives.flows import MAX_MESSAGES, Round, Schedule, Shape, in_turn, together

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def in_proportion(amounts: npt.ArrayLike) -> Floats:
    """Return shares in proportion to amounts, with a mean of 1 over what members send.

    Parameters
    ----------
    amounts : float64[n, n]
        In any unit: bytes, tokens.

    Raises
    ------
    ValueError
        For what is no square matrix of numbers of at least 0, or holds zeros only.

    Examples
    --------
    >>> in_proportion([[0, 3], [1, 0]]).tolist()
    [[0.0, 1.5], [0.5, 0.0]]
    """
    matrix = np.asarray(amounts, dtype=np.float64)
    _check(matrix, len(matrix) if matrix.ndim else 0)
    # The largest first, so that no sum overflows.
    largest = matrix.max(initial=0.0)
    if largest == 0:
        raise ValueError("nobody sends anything: all shares are 0")
    scaled = matrix / largest
    return np.asarray(scaled / (scaled.sum() / len(matrix)))


def direct(shares: npt.ArrayLike, shape: Shape) -> Schedule:
    """Everyone sends its blocks straight to everyone, all at once.

    Parameters
    ----------
    shares : float64[n, n]
    shape : tuple of int
        Levels of the group, as everywhere.

    Raises
    ------
    ValueError
        For a matrix of another size, or with numbers that are no shares.
    """
    matrix = _of_group(shares, shape)
    src, dst = np.nonzero(matrix)
    return in_turn(len(matrix), _round(shape, src, dst, matrix[src, dst]))


def pairwise(shares: npt.ArrayLike, shape: Shape) -> Schedule:
    """In round k everyone sends its block to the member k places on.

    As MPICH does for long messages (Thakur, Rabenseifner and Gropp 2005, section 4.2): a round
    lasts as long as its largest block. Parameters and errors are those of `direct`.
    """
    matrix = _of_group(shares, shape)
    n = len(matrix)
    here = np.arange(n)
    rounds = []
    for k in range(1, n):
        there = (here + k) % n
        amount = matrix[here, there]
        sends = amount > 0
        rounds += _round(shape, here[sends], there[sends], amount[sends])
    return in_turn(n, rounds)


def hierarchical(shares: npt.ArrayLike, shape: Shape) -> Schedule:
    """Inside the nodes to the member on the receiver's rail, then across, level by level.

    Rajbhandari et al., "DeepSpeed-MoE", 2022, section 5.3; NCCL's PXN. What goes to several
    receivers by the same hop travels as one message. Parameters and errors are those of `direct`.
    """
    matrix = _of_group(shares, shape)
    rounds = []
    for src, dst, amount in hops(matrix, shape):
        rounds += _round(shape, src, dst, amount)
    return in_turn(len(matrix), rounds)


def hops(matrix: Floats, shape: Shape) -> list[tuple[Ints, Ints, Floats]]:
    """Return senders, receivers and amounts of the messages at each level, innermost first.

    A block leaves its level at the member that stands where its receiver stands in that level.
    """
    n = len(matrix)
    at, target = np.nonzero(matrix)
    amount = matrix[at, target]
    out = []
    for level, size in enumerate(shape):
        stride = prod(shape[:level])
        following = at + (target // stride % size - at // stride % size) * stride
        moves = following != at
        pair, inverse = np.unique(at[moves] * n + following[moves], return_inverse=True)
        total = np.bincount(inverse.reshape(-1), weights=amount[moves], minlength=len(pair))
        out.append((pair // n, pair % n, total.astype(np.float64)))
        at = following
    return out


def _round(shape: Shape, src: Ints, dst: Ints, amount: Floats) -> list[Round]:
    return [together(shape, src, dst, amount)] if len(src) else []


def _of_group(shares: npt.ArrayLike, shape: Shape) -> Floats:
    """Return a checked copy of the shares of a group, without those that stay."""
    n = prod(shape)
    matrix = np.array(shares, dtype=np.float64)
    _check(matrix, n)
    if n * n > MAX_MESSAGES:
        raise ValueError(f"{n} * {n} shares are more than {MAX_MESSAGES}")
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _check(matrix: Floats, n: int) -> None:
    if matrix.shape != (n, n):
        rows = " by ".join(map(str, matrix.shape)) or "one number"
        raise ValueError(f"{n} members need {n} rows of {n} numbers, not {rows}")
    if not (np.isfinite(matrix).all() and (matrix >= 0).all()):
        raise ValueError("shares are numbers of at least 0")


#: Algorithm -> function of shares and shape; the names are those of the equal case.
UNEQUAL: Mapping[str, Callable[[npt.ArrayLike, Shape], Schedule]] = {
    "direct": direct,
    "pairwise": pairwise,
    "hierarchical": hierarchical,
}


def loads(shares: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return what each member sends and what it receives, over S, float64[n] each."""
    matrix = np.array(shares, dtype=np.float64)
    np.fill_diagonal(matrix, 0.0)
    return matrix.sum(axis=1), matrix.sum(axis=0)


def lower_bound_s(shares: npt.ArrayLike, size_bytes: float, bandwidth_bytes_per_s: float) -> float:
    """Return ``h S / B`` with h the largest row or column sum: no algorithm takes less.

    What one member must send, or receive, goes through its own port (the h-relation of Valiant,
    "A bridging model for parallel computation", 1990, section 2).
    """
    sent, received = loads(shares)
    return float(max(sent.max(), received.max())) * size_bytes / bandwidth_bytes_per_s


def direct_s(
    shares: npt.ArrayLike, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return ``latency + h S / B``: the lower bound and one hop (Valiant 1990)."""
    bound_s = lower_bound_s(shares, size_bytes, bandwidth_bytes_per_s)
    return latency_s + bound_s if bound_s > 0 else 0.0


def pairwise_s(
    shares: npt.ArrayLike, size_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return the sum over rounds of latency and the largest block (Thakur et al. 2005, 4.2).

    Rounds in which nobody sends are left out.
    """
    matrix = np.asarray(shares, dtype=np.float64)
    here = np.arange(len(matrix))
    largest = [matrix[here, (here + k) % len(matrix)].max() for k in range(1, len(matrix))]
    return sum(
        latency_s + float(most) * size_bytes / bandwidth_bytes_per_s for most in largest if most > 0
    )


def hierarchical_s(
    shares: npt.ArrayLike,
    shape: Shape,
    size_bytes: float,
    latency_s: float,
    bandwidth_bytes_per_s: float,
) -> float:
    """Return the sum over levels of a direct exchange of what passes there (DeepSpeed-MoE, 5.3)."""
    matrix = _of_group(shares, shape)
    total = 0.0
    for src, dst, amount in hops(matrix, shape):
        passes = np.zeros_like(matrix)
        passes[src, dst] = amount
        total += direct_s(passes, size_bytes, latency_s, bandwidth_bytes_per_s)
    return total


def zipf(n: int, exponent: float, generator: np.random.Generator) -> Floats:
    """Return popularities in proportion to ``rank ** -exponent``, ranks dealt at random.

    Zipf 1949; at 0 all are equal.
    """
    popularity = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return generator.permutation(popularity / popularity.sum())


def dirichlet(n: int, concentration: float, generator: np.random.Generator) -> Floats:
    """Return popularities drawn from a symmetric Dirichlet distribution: uneven below 1."""
    return generator.dirichlet(np.full(n, concentration))


#: Kind of skew -> popularities of n members by its parameter.
SKEWS: Mapping[str, Callable[[int, float, np.random.Generator], Floats]] = {
    "zipf": zipf,
    "dirichlet": dirichlet,
}


def by_popularity(popularity: npt.ArrayLike) -> Floats:
    """Return shares in which everyone sends to each member in proportion to its popularity.

    All senders see the same popular members, as tokens of all devices meet the same popular
    experts: everyone sends S, and the receivers differ.
    """
    share = np.asarray(popularity, dtype=np.float64)
    return np.tile(share, (len(share), 1))
