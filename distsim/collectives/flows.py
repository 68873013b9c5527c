"""The one data type of this package: the flows of a collective over a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Members = npt.NDArray[np.int32]
Channels = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Flows between the members of one group, positions 0 .. n-1.

    With S the size of the collective in bytes, a flow carries ``fraction * S`` bytes from `src`
    to `dst`. When all members move in lock step the collective takes
    ``sum(latency_hops * hop latency) + max over links(S * sum of fractions / capacity)``.

    Attributes
    ----------
    n : int
        Members.
    src, dst : int32[f]
        Positions of sender and receiver.
    fraction : float64[f]
        Bytes of the flow over S.
    latency_hops : float64[f]
        How often the latency of this hop counts in the latency of the collective.
    channel : int16[f]
        Channels (NCCL's word) are independent copies of the algorithm, each on a share of S.
    """

    n: int
    src: Members
    dst: Members
    fraction: Floats
    latency_hops: Floats
    channel: Channels

    def merged(self) -> Pattern:
        """Return the same bytes and latency with one flow for each pair of members.

        Channels share most pairs inside a node, so this routes several times fewer flows. The
        channel of a merged flow is 0.
        """
        pair = self.src.astype(np.int64) * self.n + self.dst
        unique, index = np.unique(pair, return_inverse=True)
        index = index.reshape(-1)
        return flows(
            self.n,
            unique // max(self.n, 1),
            unique % max(self.n, 1),
            np.bincount(index, weights=self.fraction, minlength=len(unique)),
            np.bincount(index, weights=self.latency_hops, minlength=len(unique)),
            np.zeros(len(unique)),
        )


def flows(
    n: int,
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    fraction: npt.ArrayLike,
    latency_hops: npt.ArrayLike,
    channel: npt.ArrayLike,
) -> Pattern:
    """Return a read-only `Pattern`; scalars spread over all flows."""
    source, target = np.ravel(src).astype(np.int32), np.ravel(dst).astype(np.int32)
    pattern = Pattern(
        n,
        source,
        target,
        np.broadcast_to(np.ravel(fraction), source.shape).astype(np.float64),
        np.broadcast_to(np.ravel(latency_hops), source.shape).astype(np.float64),
        np.broadcast_to(np.ravel(channel), source.shape).astype(np.int16),
    )
    for name in ("src", "dst", "fraction", "latency_hops", "channel"):
        getattr(pattern, name).flags.writeable = False
    return pattern


def no_flows(n: int) -> Pattern:
    """Return the pattern of a group that has nothing to send."""
    return flows(n, [], [], 0.0, 0.0, 0)
