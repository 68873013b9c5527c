"""How unequally experts are loaded, and what that means for the ranks that hold them.

A router sends each token to `top_k` different experts, so the share of one expert in all rows is at
most 1 / top_k. Shares are given (a histogram of measured tokens) or drawn: a symmetric Dirichlet
distribution of concentration alpha has a coefficient of variation of sqrt((E - 1) / (alpha E + 1))
over E experts, from one expert that takes all (alpha to 0) to equal shares (alpha to infinity).

Rank r holds the experts r E / ep to (r + 1) E / ep - 1, as Megatron-Core places them; its load is
the sum of their shares times ep, so that the mean is 1. All ranks wait for each other at every
exchange, so the fullest rank sets the pace of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distsim.errors import PlanError, show
from distsim.record import record

Floats = npt.NDArray[np.float64]
Path = tuple[str | int, ...]


@record
class ExpertLoad:
    """Load of the ranks of an expert-parallel group.

    Attributes
    ----------
    loads : float64[layers, ep]
        Rows of each rank over the mean.
    dropped : float
        Share of all rows that finds its expert full and is left out; 0 without a capacity.
    """

    loads: Floats
    dropped: float = 0.0

    @property
    def imbalance(self) -> float:
        """Load of the fullest rank of a layer, the mean over layers: for time."""
        return float(self.loads.max(axis=1).mean())

    @property
    def worst(self) -> float:
        """Load of the fullest rank of all layers: a bound for memory."""
        return float(self.loads.max())


def histogram_shares(tokens: Sequence[float], experts: int, path: Path = ()) -> Floats:
    """Return the shares that a histogram of tokens per expert gives, float64[1, experts].

    Parameters
    ----------
    tokens : sequence of float
        One number for each expert; only their proportions count.
    path : tuple, optional
        Where the histogram stands, for errors.

    Raises
    ------
    PlanError
        DS324 for a number that is negative or not finite, too few or too many of them, or zeros.
    """
    counts = np.asarray(tokens, dtype=np.float64)
    fault = ""
    if counts.shape != (experts,):
        fault = f"the histogram has {counts.size} numbers"
    elif not (np.isfinite(counts).all() and (counts >= 0).all()):
        fault = "the histogram has a number that is negative or not finite"
    elif counts.sum() == 0:
        fault = "the histogram has only zeros"
    if fault:
        raise PlanError(
            "DS324",
            f"{fault}; the model has {experts} experts",
            path=path,
            value=list(tokens)[:8],
            rule=f"{experts} numbers >= 0, one for each expert, with a sum > 0",
            fix="list the tokens that each expert got, in order",
        )
    shares: Floats = counts[None, :] / counts.sum()
    return shares


def dirichlet_shares(alpha: float, experts: int, layers: int, seed: int, path: Path = ()) -> Floats:
    """Draw the shares of experts for each layer, float64[layers, experts].

    Raises
    ------
    PlanError
        DS324 unless alpha > 0.
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise PlanError(
            "DS324",
            f"the concentration of the load is {show(alpha)}",
            path=path,
            value=alpha,
            rule="alpha > 0: near 0 one expert gets all tokens, at 100 shares are nearly equal",
            fix="write for example 1.0",
        )
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(experts, float(alpha)), size=layers)


#: Popularity below which an expert is never chosen: one in more tokens than there are.
_NEVER = 1e-100


def routed_shares(popularity: Floats, top_k: int) -> Floats:
    """Return the shares of rows when each token goes to `top_k` different experts.

    Shares are in proportion to the popularity, but none is above 1 / top_k: an expert that all
    tokens choose gets each once, and their other choices go to the rest in proportion.

    Parameters
    ----------
    popularity : float64[layers, experts]
        Not negative; each layer sums to 1.
    """
    # What nobody ever chooses would only overflow below.
    popularity = np.where(popularity < _NEVER, 0.0, popularity)
    chosen = np.count_nonzero(popularity, axis=1, keepdims=True)
    # Too few experts to choose from: what is left goes to all others alike.
    shares = np.where((chosen < top_k) & (popularity == 0.0), 1e-12, popularity)
    limit = 1.0 / top_k
    ordered = -np.sort(-shares, axis=1)
    rest = np.cumsum(ordered[:, ::-1], axis=1)[:, ::-1][:, :top_k]
    # With the j most popular at the limit, the rest grow by this factor until all shares sum to 1.
    factors = (1.0 - np.arange(rest.shape[1]) * limit) / rest
    fits = factors * ordered[:, : rest.shape[1]] <= limit * (1.0 + 1e-12)
    factor = np.take_along_axis(factors, fits.argmax(axis=1)[:, None], axis=1)
    return np.asarray(np.minimum(limit, factor * shares), dtype=np.float64)


def expert_load(
    popularity: Floats, ep: int, top_k: int, capacity_factor: float | None = None
) -> ExpertLoad:
    """Return the load of the ranks of an expert-parallel group.

    Parameters
    ----------
    popularity : float64[layers, experts]
        Shares of tokens that would like to go to each expert (`histogram_shares`,
        `dirichlet_shares`); `ep` divides the experts.
    capacity_factor : float, optional
        Every expert works on this many times the mean number of rows, padded or dropped: all ranks
        have the same load.
    """
    shares = routed_shares(popularity, top_k)
    layers, experts = shares.shape
    if capacity_factor is not None:
        beyond = np.maximum(shares - capacity_factor / experts, 0.0)
        return ExpertLoad(np.ones((layers, ep)), float(beyond.sum(axis=1).mean()))
    loads: Floats = shares.reshape(layers, ep, experts // ep).sum(axis=2) * ep
    return ExpertLoad(loads)
