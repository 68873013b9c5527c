"""The machines of an NCCL topology put together: a node, copies of it, or different machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from distsim.files import shipped_names
from distsim.hardware import catalogue
from distsim.scenario.importers.nccl_block import (
    NODES_PER_UNIT,
    Rails,
    cluster_block,
    edges_block,
    merged,
    networked,
    rails,
)
from distsim.scenario.importers.nccl_graph import Host, Link, Vertex, bus_of
from distsim.scenario.importers.nccl_nvlink import NVSWITCH, join_devices, sm_of
from distsim.scenario.importers.nccl_xml import Element
from distsim.scenario.importers.notes import Notes

#: SM version from which on NVSwitches reduce and multicast (NVLink SHARP).
_NVLS_SM = 90
#: Links of devices beside PCI Express.
_FAST = ("nvlink", "xgmi", "nvswitch")


class Draft:
    """A topology in the making.

    Parameters
    ----------
    root : Element
    hosts : list of Host
        Each with at least one GPU.
    nodes : int
        That were asked for; 1 for those of the file.
    device : str
    notes : Notes
    """

    def __init__(
        self, root: Element, hosts: list[Host], nodes: int, device: str, notes: Notes
    ) -> None:
        self.root, self.hosts, self.notes, self.device = root, hosts, notes, device
        self.sm = sm_of(hosts[0].of_kind("gpu")[0])
        arch = {cpu.element.text("arch") for host in hosts for cpu in host.of_kind("cpu")}
        # Machines that NVSwitches join have Grace CPUs; NCCL writes others into files of their own.
        self.shared = len(hosts) > 1 and "arm64" in arch
        join_devices(hosts, self.shared, notes)
        self.links = [merged(host.links, notes) for host in hosts]
        self.shared &= any(v.kind == "nvswitch" for v in hosts[0].vertices)
        self.alike = not self.shared and self._alike()
        self.nodes = self._count(nodes)
        #: Whether the machines of the file are the nodes, each as it is, and not copies of one.
        self.as_it_is = not self.alike and self.nodes == len(hosts)
        self._check_reach()
        self._note_links()

    def _count(self, asked: int) -> int:
        """Return the number of nodes (DS428 for one that the file cannot make up)."""
        count = len(self.hosts)
        if self.shared:
            self.notes.add(
                f"the {count} machines are joined by NVSwitches, as those with Grace CPUs are"
            )
            return count if asked == 1 else asked
        if count == 1 or asked == 1 or asked == count:
            return max(asked, count)
        if not self.alike:
            raise self.root.error(
                "DS428",
                f"{asked} nodes are asked for, and the file has {count} machines that differ",
                value=asked,
                rule=f"nodes is 1 or {count}",
                fix="leave it out, or give a file with one of the machines",
            )
        self.notes.add(f"the {count} machines of the file are alike: a node is one of them")
        return asked

    def block(self) -> dict[str, Any]:
        """Return the block of the topology."""
        if not self.alike:
            for index, host in enumerate(self.hosts):
                for vertex in host.vertices:
                    if vertex.kind != "nvswitch" or not self.shared:
                        vertex.name = f"m{index}.{vertex.name}"
            if self.as_it_is:
                return self._with_header("edges", self._machines())
            return self._with_header("cluster", self._copies(self.hosts, self.links))
        host, links = self.hosts[0], self.links[0]
        if self.nodes > 1:
            return self._with_header("cluster", self._copies([host], [links]))
        devices = {"node0": [gpu.name for gpu in host.of_kind("gpu")]}
        return self._with_header("edges", edges_block(devices, host.vertices, links, self.sm))

    def _with_header(self, kind: str, keys: dict[str, Any]) -> dict[str, Any]:
        each = f"{self.nodes} nodes, each with " if self.nodes > 1 else ""
        header: dict[str, Any] = {
            "description": f"{each}{self._per_node()} {self.device}, from an NCCL topology",
            "source": f"NCCL topology file {_last(self.root.file)}, and what its links name",
            "kind": kind,
            "device": self.device,
        }
        if catalogue.device(self.device).vendor == "AMD" and "rccl" in shipped_names("libraries"):
            header["library"] = "rccl"
        switched = any(link.kind == "nvswitch" for link in self.links[0])
        if switched and (self.sm or 0) >= _NVLS_SM:
            header["in_network"] = ["nvls"]
            self.notes.add(
                f"the file does not say whether NVSwitches reduce (NVLS): from sm {_NVLS_SM} on "
                "they are taken to"
            )
        return header | keys

    def _copies(self, hosts: Sequence[Host], links: Sequence[Sequence[Link]]) -> dict[str, Any]:
        """Return the keys of a cluster whose node is some machines."""
        vertices = [v for host in hosts for v in host.vertices]
        names = [v.name for v in vertices if v.kind == "gpu"]
        every = [link for own in links for link in own]
        network = self._rails(vertices, every)
        self.notes.add(
            "the network between nodes is not in the file: rails over leaves of "
            f"{NODES_PER_UNIT} nodes, and a spine that takes all of them, are taken"
        )
        node = edges_block(names, vertices, every, self.sm)
        return cluster_block(node, len(names), self.nodes, network)

    def _machines(self) -> dict[str, Any]:
        """Return the keys of an edge list of all machines, each a node."""
        vertices = [v for host in self.hosts for v in host.vertices]
        every = [link for own in self.links for link in own]
        devices = {
            f"machine{i}": [gpu.name for gpu in host.of_kind("gpu")]
            for i, host in enumerate(self.hosts)
        }
        if not self.shared:
            networks = [
                self._rails(host.vertices, own)
                for host, own in zip(self.hosts, self.links, strict=True)
            ]
            added, joined = networked(self.hosts, networks)
            self.notes.add(
                "the network between machines is not in the file: rails over leaves, and a spine "
                "that takes all of them, are taken"
            )
            vertices, every = vertices + added, every + joined
        return edges_block(devices, vertices, every, self.sm)

    def _rails(self, vertices: Sequence[Vertex], links: Sequence[Link]) -> Rails:
        """Return the rails of the adapters that GPUs reach (DS428 where there are none)."""
        gpu = next(v for v in vertices if v.kind == "gpu")
        part_of = _parts(links)
        adapters = [
            v for v in vertices if v.kind == "net" and part_of.get(v, v) is part_of.get(gpu, gpu)
        ]
        if not adapters:
            raise self.root.error(
                "DS428",
                f"no network adapter joins {self.nodes} nodes",
                value=self.nodes,
                rule="a machine has a <net>, or a PCI device of class 0x02, below a <cpu>",
                fix="ask for one node, or dump the topology where the adapters are visible",
            )
        return rails(adapters, self.notes)

    def _check_reach(self) -> None:
        """Check that the GPUs of a machine reach each other (DS427)."""
        groups = [self.hosts] if self.shared else [[host] for host in self.hosts]
        part_of = _parts([link for own in self.links for link in own])
        for group in groups:
            gpus = [gpu for host in group for gpu in host.of_kind("gpu")]
            parts = Counter(part_of.get(gpu, gpu) for gpu in gpus)
            largest = parts.most_common(1)[0][0]
            first = next(gpu for gpu in gpus if part_of.get(gpu, gpu) is largest)
            for gpu in gpus:
                if part_of.get(gpu, gpu) is not largest:
                    raise gpu.element.error(
                        "DS427",
                        f"{gpu.name} has no way to {first.name}",
                        value=gpu.name,
                        rule="GPUs reach each other over a <cpu>, a <pci> or NVLink",
                        fix="move it into the <cpu> that it belongs to, or remove it",
                    )

    def _note_links(self) -> None:
        fast = [link for own in self.links for link in own if link.kind in _FAST]
        gpus = self.hosts[0].of_kind("gpu")
        part_of = _parts(fast)
        if not fast and len(gpus) > 1:
            self.notes.add(
                "no NVLink or Infinity Fabric is in the file: GPUs reach each other over PCI "
                "Express. Files of virtual machines leave it out even where it is there"
            )
        if any(link.kind == "nvswitch" for link in fast):
            self.notes.add("the NVSwitches of a machine are taken for one that is never full")
        elif fast and len({part_of.get(gpu, gpu) for gpu in gpus}) > 1:
            self.notes.add(
                "NVLink joins some GPUs only: the shortest way between others may pass one of them"
            )

    def _alike(self) -> bool:
        """Say whether all machines are the same but for names."""
        return all(
            _form(host, own) == _form(self.hosts[0], self.links[0])
            for host, own in zip(self.hosts[1:], self.links[1:], strict=True)
        )

    def _gpus(self) -> list[int]:
        return [len(host.of_kind("gpu")) for host in self.hosts]

    def _per_node(self) -> int:
        """Return the GPUs of a node; the most, where nodes differ."""
        return max(self._gpus()) if self.alike or self.as_it_is else sum(self._gpus())

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
        host = self.hosts[0]
        per_node = self._per_node()
        targets = {
            bus_of(link.text("target"))
            for gpu in host.of_kind("gpu")
            for link in gpu.element.all("nvlink")
            if link.text("tclass").lower() == NVSWITCH
        }
        return {
            "file": self.root.file,
            "version": self.root.text("version")[:20],
            "device": self.device,
            "machines": len(self.hosts),
            "nodes": self.nodes,
            "devices": sum(self._gpus()) if self.as_it_is else self.nodes * per_node,
            "devices_per_node": per_node,
            "cpus": len(host.of_kind("cpu")),
            "pci_switches": len(host.of_kind("pci")),
            "nvswitches": len(targets),
            "adapters": len(host.of_kind("net")),
        }


def _last(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]


def _parts(links: Sequence[Link]) -> dict[Vertex, Vertex]:
    """Return for each vertex one that stands for all which links join to it, either way."""
    beside: dict[Vertex, list[Vertex]] = {}
    for link in links:
        beside.setdefault(link.begin, []).append(link.end)
        beside.setdefault(link.end, []).append(link.begin)
    part_of: dict[Vertex, Vertex] = {}
    for start in beside:
        stack = [] if start in part_of else [start]
        while stack:
            vertex = stack.pop()
            if vertex not in part_of:
                part_of[vertex] = start
                stack += beside[vertex]
    return part_of


def _form(host: Host, links: Sequence[Link]) -> tuple[object, ...]:
    """Return what is equal for machines that are the same but for names."""
    counted: dict[str, int] = {}
    number = {}
    for vertex in host.vertices:
        number[vertex] = (vertex.kind, counted.get(vertex.kind, 0))
        counted[vertex.kind] = counted.get(vertex.kind, 0) + 1
    rows = sorted(
        (number[k.begin], number[k.end], k.kind, k.bytes_per_s, k.directed) for k in links
    )
    speeds = tuple((v.mbit_per_s, v.latency_us) for v in host.of_kind("net"))
    return tuple(sorted(counted.items())), tuple(rows), speeds
