"""Kind ``cluster``: nodes of any kind inside, joined rail by rail by leaves and a spine.

The inside of a node is the block of a kind of one node (node, full, cube_mesh, pcie, edges, ...).
It is built once, and every node is a copy of it. Between nodes the network is that of a superpod:
adapter i of every node of a unit meets at leaf i of that unit, and leaves meet at the spine, which
is one vertex, with a link each way to every leaf that stands for all its uplinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distsim.errors import HardwareError
from distsim.hardware.adapters import Adapters, beside_devices, in_node
from distsim.hardware.block import Block
from distsim.hardware.cluster_router import ClusterRouter, bare
from distsim.hardware.edges import PathRouter
from distsim.hardware.header import KEYS, TOO_MANY, read_class, read_header, too_many
from distsim.hardware.sizes import check_links
from distsim.hardware.topology import Ints, LinkClass, Topology, assemble

#: Kinds that join nodes themselves.
NETWORKS = ("superpod", "fat_tree", "rail_fat_tree", "dragonfly", "cluster")
_SIZES = ("devices_per_node", "nodes_per_unit", "max_units", "oversubscription")


def build(block: Block, name: str, n_devices: int) -> Topology:
    """Return as many nodes as the devices need.

    Parameters
    ----------
    block : Block
        ``node``: the block of a kind of one node, without what the cluster states (device, library,
        in_network); ``devices_per_node``; ``nodes_per_unit``, ``max_units``, ``oversubscription``
        (of leaf uplinks, 1 by default); and one of two forms of the adapters:

        * ``nics_per_node`` (divides the devices; as many by default) and ``links`` of the classes
          pcie (device to adapter), rail (adapter to leaf) and spine, whose bandwidth follows from
          the rail's;
        * ``adapters``: a list of switches of a node of kind edges, with ``links`` of the classes
          rail and spine.
    name : str
    n_devices : int
        Devices that are used: the first ones. A node that holds one is there as a whole.
    """
    block.only(*KEYS, *_SIZES, "node", "nics_per_node", "adapters", "links")
    per_node, per_unit = block.integer("devices_per_node"), block.integer("nodes_per_unit")
    units = block.integer("max_units")
    check_links(block, "devices_per_node", 2 * per_node)
    node = _node(block, name, per_node)
    most = units * per_unit * per_node
    if n_devices > most:
        equation = f"max_units({units}) * nodes_per_unit({per_unit}) * devices_per_node({per_node})"
        raise too_many(name, n_devices, most, equation)
    inside = node if n_devices >= per_node else _inside(block, name, n_devices)
    adapters = _adapters(block, inside, per_node)
    classes = _classes(block, inside, per_unit)
    beside = np.full(len(adapters.added), len(inside.classes))
    of_node = np.concatenate([inside.link_class, beside])
    router = ClusterRouter(
        inside,
        adapters,
        n_devices,
        per_node,
        per_unit,
        np.array([classes[at].bandwidth_bytes_per_s for at in of_node.tolist()]),
        classes[-2].bandwidth_bytes_per_s,
        classes[-1].bandwidth_bytes_per_s,
    )
    return _finish(block, name, router, classes, of_node)


def _node(block: Block, name: str, per_node: int) -> Topology:
    """Return one full node (DS421 where it is none)."""
    from distsim.hardware.registry import KINDS  # which lists this kind, too

    own = block.block("node")
    for key in ("device", "library", "in_network"):
        if own.has(key):
            raise own.error(
                "DS402",
                f"{key} is not a key of a node",
                key=key,
                rule=f"all nodes of a cluster have one {key}, which the cluster states",
                fix=f"move {key} up to the cluster",
            )
    kind = own.text("kind")
    if kind not in NETWORKS:
        own.choice("kind", [known for known in KINDS if known not in NETWORKS])
    node = None if kind in NETWORKS else _full_node(block, name, per_node)
    if node is None or node.unit_of is not None:
        raise own.error(
            "DS421",
            f"{kind} joins nodes, and is no inside of one",
            key="kind",
            value=kind,
            rule="the inside of a node is a kind of one node: node, full, cube_mesh, pcie, edges",
            fix="describe one node; the cluster adds the network between nodes",
        )
    # A kind that leaves nodes open takes every device for a node of its own.
    if node.devices_per_node not in (1, per_node):
        rule = f"devices a node of the {kind} = {node.devices_per_node}"
        raise _other_size(block, per_node, kind, rule)
    return node


def _full_node(block: Block, name: str, per_node: int) -> Topology:
    try:
        return _inside(block, name, per_node)
    except HardwareError as error:
        if error.code != TOO_MANY:
            raise
        raise _other_size(block, per_node, block.block("node").text("kind"), error.rule) from None


def _other_size(block: Block, per_node: int, kind: str, rule: str) -> HardwareError:
    return block.error(
        "DS421",
        f"devices_per_node is {per_node}, and the {kind} in a node is of another size",
        key="devices_per_node",
        value=per_node,
        rule=rule,
        fix="make the two agree",
    )


def _inside(block: Block, name: str, n_devices: int) -> Topology:
    """Return the first devices of a node, by the kind that its block names."""
    from distsim.hardware.registry import build as build_kind

    own = block.block("node")
    data = {key: own.raw(key) for key in own.names()} | {"device": block.text("device")}
    return build_kind(Block(data, own.path), name, n_devices)


def _adapters(block: Block, node: Topology, per_node: int) -> Adapters:
    router = node.router
    if not block.has("adapters"):
        devices = [bare(node, router.device(i)) for i in range(node.n_devices)]
        taken = router.graph if isinstance(router, PathRouter) else ()
        return beside_devices(block, per_node, devices, taken, node.n_links)
    if block.has("nics_per_node"):
        raise block.error(
            "DS402",
            "nics_per_node is not a key beside adapters",
            key="nics_per_node",
            rule="adapters are named, or as many as nics_per_node beside the devices",
            fix="remove one of the two",
        )
    if not isinstance(router, PathRouter):
        raise block.error(
            "DS422",
            f"a node of kind {node.kind} has no switches that could be adapters",
            key="adapters",
            value=node.kind,
            rule="adapters are switches of a node of kind edges",
            fix="write nics_per_node, or describe the node by its edges",
        )
    own = block.block("node")
    return in_node(block, router, own.texts("switches") if own.has("switches") else ())


def _classes(block: Block, node: Topology, per_unit: int) -> list[LinkClass]:
    """Return the classes of the node, and then those of the cluster, rail and spine last.

    Where both have a name, that of the node becomes ``node.NAME``.
    """
    names = ["rail"] if block.has("adapters") else ["pcie", "rail"]
    links = block.block("links")
    links.only(*names, "spine")
    own = [read_class(links.block(name), name) for name in names]
    over = block.quantity("oversubscription", "1", default=1.0)
    uplink = per_unit * own[-1].bandwidth_bytes_per_s / over
    own.append(read_class(links.block("spine"), "spine", uplink))
    taken = {c.name for c in own}
    inner = [replace(c, name=f"node.{c.name}") if c.name in taken else c for c in node.classes]
    return [*inner, *own]


def _finish(
    block: Block, name: str, router: ClusterRouter, classes: Sequence[LinkClass], of_node: Ints
) -> Topology:
    check_links(block, "node", sum(router.block_sizes()))
    rail, spine = len(classes) - 2, len(classes) - 1
    header = read_header(block, name)
    sizes = router.block_sizes()
    return assemble(
        name=name,
        kind="cluster",
        description=header.description,
        source=header.source,
        device_name=header.device_name,
        node_of=np.arange(router.n_devices) // router.devices_per_node,
        devices_per_node=router.devices_per_node,
        classes=classes,
        link_class=np.concatenate(
            [np.tile(of_node, router.nodes), np.repeat([rail, rail, spine, spine], sizes[1:])]
        ),
        router=router,
    )
