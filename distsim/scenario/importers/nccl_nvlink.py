"""NVLink, Infinity Fabric and C2C: the links of devices beside PCI Express."""

from __future__ import annotations

from collections.abc import Sequence

from distsim.errors import HardwareError, show
from distsim.scenario.importers import nccl_facts as facts
from distsim.scenario.importers.nccl_graph import Host, Link, Vertex, bus_of, whole
from distsim.scenario.importers.nccl_xml import Element
from distsim.scenario.importers.notes import Notes

#: PCI classes of the other end (NCCL, kvDictPciClass in src/graph/topo.cc).
NVSWITCH, _CPU = "0x068000", "0x068001"


def join_devices(hosts: Sequence[Host], shared: bool, notes: Notes) -> None:
    """Add the links between devices, and from devices to NVSwitches and CPUs.

    All NVSwitches of a machine become one, and with `shared` those of all machines.

    Raises
    ------
    HardwareError
        DS424 for a target that is not there, DS425 for a count that cannot be.
    """
    switch = None
    for host in hosts:
        joined = _Joined(host, switch if shared else None, notes)
        for gpu in host.of_kind("gpu"):
            for element in gpu.element.all("nvlink", "xgmi"):
                joined.add(gpu, element)
            for element in gpu.element.all("c2c"):
                _c2c(host, gpu, element, notes)
        host.links += joined.links()
        if joined.switch is not None and joined.switch is not switch:
            host.vertices.append(joined.switch)
        switch = joined.switch or switch


def sm_of(gpu: Vertex) -> int | None:
    """Return the SM version of a device; None where the file does not state it (DS425)."""
    found = gpu.element.number("sm", "", 1000.0)
    return None if found is None else int(found)


def gfx_of(gpu: Vertex) -> str:
    """Return the gfx version of a device; empty where the file does not state it."""
    return facts.gfx(gpu.element.text("gcn"))


class _Joined:
    """Links of one host, counted by their ends."""

    def __init__(self, host: Host, switch: Vertex | None, notes: Notes) -> None:
        self.switch = switch
        self._host, self._notes = host, notes
        self._by_bus = {gpu.bus: gpu for gpu in host.of_kind("gpu")}
        self._counts: dict[tuple[Vertex, Vertex], dict[str, int]] = {}

    def add(self, gpu: Vertex, element: Element) -> None:
        """Count the links that an element states."""
        count = whole(element, "count", facts.MOST_LINKS)
        other = self._target(gpu, element)
        kinds = self._counts.setdefault((gpu, other), {})
        kinds[element.tag] = kinds.get(element.tag, 0) + count

    def _target(self, gpu: Vertex, element: Element) -> Vertex:
        target, code = element.text("target"), element.text("tclass").lower()
        other = self._by_bus.get(bus_of(target))
        if other is gpu:
            raise _bad_target(element, "is the GPU itself")
        if other is not None:
            return other
        if code == NVSWITCH:
            self.switch = self.switch or Vertex("nvswitch", element, name="nvswitch")
            return self.switch
        cpu = _cpu_of(self._host, gpu) if code == _CPU else None
        if cpu is None:
            raise _bad_target(element, "is no device of the file")
        return cpu

    def links(self) -> list[Link]:
        """Return all links; those that both ends state are one, both ways."""
        out = []
        for (begin, end), kinds in self._counts.items():
            back = self._counts.get((end, begin))
            if back == kinds and _order(begin) > _order(end):
                continue
            if back is None and end.kind == "gpu":
                self._notes.add(
                    "links that only one end states are taken to run both ways",
                    f"{begin.label}-{end.label}",
                )
            elif back is not None and back != kinds:
                self._notes.add(
                    "ends state different numbers of links: each is taken in its own direction",
                    f"{begin.label}-{end.label}",
                )
            directed = back is not None and back != kinds
            out += [self._link(begin, end, *kind, directed) for kind in kinds.items()]
        return out

    def _link(self, begin: Vertex, end: Vertex, tag: str, count: int, directed: bool) -> Link:
        fact = self._xgmi(begin) if tag == "xgmi" else self._nvlink(begin)
        kind = "nvswitch" if end.kind == "nvswitch" else tag
        rate = count * fact.bytes_per_s
        links = f"{count} link{'s' * (count > 1)}"
        source = f"{links} of {fact.bytes_per_s / facts.GB_PER_S:g} GB/s, {fact.source}"
        return Link(begin, end, kind, f"{tag}-x{count}", rate, source, directed)

    def _nvlink(self, gpu: Vertex) -> facts.Fact:
        sm = sm_of(gpu)
        if sm is None:
            self._notes.add("sm is missing: an NVLink is taken to have 25 GB/s", gpu.label)
        return facts.nvlink(80 if sm is None else sm)

    def _xgmi(self, gpu: Vertex) -> facts.Fact:
        fact = facts.xgmi(gfx_of(gpu))
        if fact is None:
            note = "gcn is none that is known: a link is taken to have 46 GB/s, as gfx908"
            self._notes.add(note, gpu.label)
            fact = facts.xgmi("908")
            assert fact is not None, "gfx908 is known"
        return fact


def _order(vertex: Vertex) -> tuple[int, str]:
    return (len(vertex.name), vertex.name)


def _cpu_of(host: Host, vertex: Vertex) -> Vertex | None:
    """Return the CPU above a vertex, following the links of the PCI tree upwards."""
    above = {link.begin: link.end for link in host.links if link.kind == "pcie"}
    at: Vertex | None = vertex
    while at is not None and at.kind != "cpu":
        at = above.get(at)
    return at


def _c2c(host: Host, gpu: Vertex, element: Element, notes: Notes) -> None:
    """Add the link between a device and the CPU on its board (NVLink-C2C), in MB/s a link."""
    rate = element.number("bw", "MB/s", facts.MOST_C2C, facts.LEAST_RATE)
    cpu = _cpu_of(host, gpu)
    if rate is None or cpu is None:
        notes.add("c2c without a bandwidth or a CPU is left out", gpu.label)
        return
    count = whole(element, "count", facts.MOST_LINKS) if element.text("count") else 1
    link = Link(gpu, cpu, "c2c", f"c2c-x{count}", count * rate * 1e6, "bw of c2c in the file")
    host.links.append(link)


def _bad_target(element: Element, what: str) -> HardwareError:
    target = element.text("target")
    return element.error(
        "DS424",
        f"target {show(target)} of <{element.tag}> {what}",
        value=target,
        rule="links lead to the busid of another GPU, or have tclass 0x068000 for an NVSwitch",
        fix="dump the topology with all GPUs visible, or remove the link",
    )
