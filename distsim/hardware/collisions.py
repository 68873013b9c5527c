"""How unevenly hashed paths load the parallel uplinks of a fat tree.

Equal-cost multi-path routing hashes each flow onto one of several uplinks (RFC 2992), so that some
carry more flows than others. Even spreading would give each uplink of a bundle the mean; a bundle
is what `spreading: ideal` makes one link: the uplinks of a leaf, or those of a pod, and the links
back down to them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from distsim.hardware.topology import Floats, Topology
from distsim.record import record


@runtime_checkable
class Spread(Protocol):
    """A router of a tree with parallel uplinks.

    Its last four blocks of links are those of leaves, up and down, and those of pods, up and down,
    bundle by bundle. Both of the latter are empty with two tiers.
    """

    @property
    def leaf_uplinks(self) -> int:
        """Parallel uplinks of a leaf."""

    @property
    def pod_uplinks(self) -> int:
        """Parallel uplinks of each switch above the leaves of a pod."""

    def block_sizes(self) -> tuple[int, ...]:
        """Return the number of links in each block."""


@record
class Collisions:
    """The links between two tiers of a tree, in one direction.

    Attributes
    ----------
    tier : str
        Link class: ``leaf`` or ``pod``.
    up : bool
        Whether the links lead up.
    parallel : int
        Links of a bundle.
    total : float
        Flows, or bytes, on all links of the tier.
    most, mean : float
        On the fullest link, and on a link of the bundles that carry any.
    even : float
        On the fullest link if each bundle were loaded evenly.
    link : int
        The fullest link.
    name : str
        Of that link.
    """

    tier: str
    up: bool
    parallel: int
    total: float
    most: float
    mean: float
    even: float
    link: int
    name: str

    @property
    def ratio(self) -> float:
        """The fullest link over that of even spreading: how much longer a full tier takes."""
        return self.most / self.even


def collisions(
    topology: Topology, src: npt.ArrayLike, dst: npt.ArrayLike
) -> tuple[Collisions, ...]:
    """Return how many flows share the uplinks of a tree.

    Parameters
    ----------
    src, dst : int array[k]
        Devices at the ends of each flow.

    Returns
    -------
    tuple of Collisions
        One for each tier and direction that carries a flow, from the leaves up; nothing for a
        topology without parallel uplinks.
    """
    return collisions_of_load(
        topology, np.bincount(topology.routes(src, dst).link, minlength=topology.n_links)
    )


def collisions_of_load(topology: Topology, load: npt.ArrayLike) -> tuple[Collisions, ...]:
    """Return the same from what each link carries, flows or bytes.

    Parameters
    ----------
    load : array[n_links]
    """
    router = topology.router
    if not isinstance(router, Spread):
        return ()
    amount = np.asarray(load, dtype=np.float64)
    sizes = router.block_sizes()[-4:]
    first = topology.n_links - sum(sizes)
    pod = router.leaf_uplinks * router.pod_uplinks
    found = []
    for size, tier, up, parallel in zip(
        sizes,
        ("leaf", "leaf", "pod", "pod"),
        (True, False, True, False),
        (router.leaf_uplinks, router.leaf_uplinks, pod, pod),
        strict=True,
    ):
        block = amount[first : first + size].reshape(-1, parallel)
        if block.any():
            found.append(_of_tier(topology, tier, up, block, first))
        first += size
    return tuple(found)


def _of_tier(topology: Topology, tier: str, up: bool, bundles: Floats, first: int) -> Collisions:
    """Return the collisions of a tier.

    Parameters
    ----------
    bundles : float64[bundles, parallel]
    first : int
        Number of its first link.
    """
    used = bundles[bundles.any(axis=1)]
    fullest = first + int(bundles.argmax())
    return Collisions(
        tier,
        up,
        bundles.shape[1],
        float(used.sum()),
        float(used.max()),
        float(used.mean()),
        float(used.mean(axis=1).max()),
        fullest,
        topology.link_name(fullest),
    )
