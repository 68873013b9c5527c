"""What kinds of one regular shape share: how many devices, links and nodes they may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distsim.errors import HardwareError, show
from distsim.hardware.block import Block
from distsim.hardware.header import KEYS, read_class, read_header, too_many
from distsim.hardware.topology import Ints, LinkClass, Router, Topology, assemble

#: Directed links that a topology may have; bounds memory. Wide enough for 4,096 devices of which
#: each has a link to each other.
MAX_LINKS = 1 << 24


def check_links(block: Block, key: str, n_links: int) -> None:
    """Check that a fabric does not have more links than fit into memory (DS418)."""
    if n_links > MAX_LINKS:
        raise block.error(
            "DS418",
            f"the topology has {n_links} directed links",
            key=key,
            value=n_links,
            rule=f"links <= {MAX_LINKS}",
            fix="describe a smaller fabric",
        )


def read_growing(block: Block, name: str, n_devices: int, *keys: str) -> int:
    """Return ``devices_per_node``, after a check of the devices against ``max_devices``.

    Parameters
    ----------
    block : Block
        ``max_devices`` and, 1 by default, ``devices_per_node``.
    name : str
    n_devices : int
    *keys : str
        What else the kind takes.
    """
    block.only(*KEYS, "max_devices", "devices_per_node", "links", *keys)
    most = block.integer("max_devices")
    if n_devices > most:
        raise too_many(name, n_devices, most, f"max_devices({most})")
    return block.integer("devices_per_node", 1)


def read_links(block: Block, *classes: str) -> list[LinkClass]:
    """Return the link classes of the names given, which must all be there."""
    links = block.block("links")
    links.only(*classes)
    return [read_class(links.block(name), name) for name in classes]


def read_shape(block: Block, key: str, lengths: Sequence[int]) -> tuple[int, ...]:
    """Return a list of counts (DS404 for what is no count, DS405 out of range).

    Parameters
    ----------
    block : Block
    key : str
    lengths : sequence of int
        How many counts the list may have.
    """
    items = block.items(key)
    if len(items) not in lengths:
        raise block.error(
            "DS405",
            f"{key} has {len(items)} numbers",
            key=key,
            value=items,
            rule=f"{key} has {' or '.join(map(str, lengths))} numbers",
            fix="write that many",
        )
    inside = Block({str(i): item for i, item in enumerate(items)}, (*block.path, key))
    return tuple(_count(inside, i, item) for i, item in enumerate(items))


def _count(block: Block, index: int, item: object) -> int:
    if not isinstance(item, int) or isinstance(item, bool):
        code, rule = "DS404", "a list of whole numbers"
    elif not 1 <= item < 1 << 20:
        code, rule = "DS405", "1 <= number < 2^20"
    else:
        return item
    message = f"{show(item)} is no count"
    raise HardwareError(
        code, message, path=(*block.path, index), value=item, rule=rule, fix="correct it"
    )


def finish(
    block: Block,
    name: str,
    n_devices: int,
    devices_per_node: int,
    classes: Sequence[LinkClass],
    class_sizes: Mapping[int, int] | Sequence[tuple[int, int]],
    router: Router,
) -> Topology:
    """Return a topology whose links lie in blocks of one class.

    Parameters
    ----------
    class_sizes : sequence of (int, int)
        Class and number of links of each block, in order.
    """
    header = read_header(block, name)
    pairs = list(class_sizes.items() if isinstance(class_sizes, Mapping) else class_sizes)
    return assemble(
        name=name,
        kind=block.text("kind"),
        description=header.description,
        source=header.source,
        device_name=header.device_name,
        node_of=np.arange(n_devices) // devices_per_node,
        devices_per_node=devices_per_node,
        classes=classes,
        link_class=np.repeat([c for c, _ in pairs], [n for _, n in pairs]),
        router=router,
    )


def stretches(length: Ints) -> tuple[Ints, Ints]:
    """Return, for runs of given lengths laid end to end, the run of each place and its offset."""
    run = np.repeat(np.arange(len(length)), length)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(length) - length, length)


def cut_below_switches(members: int, per_switch: int, each: float, uplink: float) -> float:
    """Return the least cut between halves of members that hang on switches below one top.

    With x of its members in the half that sends, y in the other, and the top there too, a switch
    carries ``x * each`` if it is on the side of the top, and ``uplink + y * each`` if not. The
    smaller of the two is concave in x, so a least cut divides the members of one full switch at
    most, and those of the last one, which may have fewer.

    Parameters
    ----------
    members : int
        An even number.
    per_switch : int
        Members of a full switch; they fill in order.
    each, uplink : float
        Bandwidth in bytes/s, one direction, of a member and of all uplinks of a switch.
    """
    full, last = divmod(members, per_switch)
    least = float("inf")
    for rest in range(last + 1):
        whole, split = divmod(members // 2 - rest, per_switch)
        if whole < 0 or whole + (split > 0) > full:
            continue
        counts = ((whole, per_switch, 0), (1, split, per_switch - split), (1, rest, last - rest))
        carried = sum(n * min(x * each, uplink + y * each) for n, x, y in counts)
        least = min(least, carried)
    return least


def read_nics(block: Block, per_node: int) -> int:
    """Return ``nics_per_node``, by default one a device; it divides the devices (DS407)."""
    nics = block.integer("nics_per_node", per_node)
    if per_node % nics:
        raise block.error(
            "DS407",
            f"nics_per_node({nics}) does not divide devices_per_node({per_node})",
            key="nics_per_node",
            value=nics,
            rule="every adapter serves the same number of devices",
            fix=f"use a divisor of {per_node}",
        )
    return nics


def read_three_tiers(block: Block, *keys: str) -> bool:
    """Return whether ``tiers`` is 3 and not 2; with 2, the keys of pods must not be there."""
    tiers = block.integer("tiers")
    if tiers not in (2, 3):
        raise block.error(
            "DS405",
            f"tiers is {tiers}",
            key="tiers",
            value=tiers,
            rule="tiers is 2 or 3",
            fix="use 2 or 3",
        )
    for key in keys if tiers == 2 else ():
        if block.has(key):
            raise block.error(
                "DS402",
                f"{key} needs three tiers",
                key=key,
                rule="a tree of two tiers has no pods",
                fix=f"remove {key}, or set tiers: 3",
            )
    return tiers == 3


def read_oversubscription(block: Block, three: bool) -> dict[str, float]:
    """Return the oversubscription of ``leaf`` and, with three tiers, ``pod``; 1 by default."""
    tiers = ("leaf", "pod") if three else ("leaf",)
    if not block.has("oversubscription"):
        return dict.fromkeys(tiers, 1.0)
    inside = block.block("oversubscription")
    inside.only(*tiers)
    return {tier: inside.quantity(tier, "1", default=1.0) for tier in tiers}
