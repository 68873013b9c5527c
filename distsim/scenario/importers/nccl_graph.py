"""The vertices and links that an NCCL topology file describes, host by host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from distsim.record import record
from distsim.scenario.importers import nccl_facts as facts
from distsim.scenario.importers.nccl_xml import KNOWN, Element
from distsim.scenario.importers.notes import Notes

_BUS = re.compile(r"([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)(?:\.([0-9a-f]+))?")
_RATE = re.compile(r"(\S+?)\s*GT/s(?:\s+PCIe)?", re.IGNORECASE)
#: A name that YAML reads as a text, and that is short enough to read.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
#: NUMA domains of one machine.
_MOST_CPUS = 64
Bus = tuple[int, ...] | str


@dataclass(slots=True, eq=False)
class Vertex:
    """A device, a switch or an adapter.

    Attributes
    ----------
    kind : {"gpu", "cpu", "pci", "net", "nvswitch"}
    element : Element
        From which it was read.
    pci : Element or None
        The one that holds it.
    name : str
        In the topology.
    mbit_per_s, latency_us : float
        Of an adapter; a latency of 0 is not stated.
    """

    kind: str
    element: Element
    pci: Element | None = None
    name: str = ""
    mbit_per_s: float = 0.0
    latency_us: float = 0.0

    @property
    def bus(self) -> Bus:
        """Where it is on the PCI bus."""
        return bus_of((self.pci or self.element).text("busid"))

    @property
    def label(self) -> str:
        """How notes call it."""
        return self.name or self.element.text("name") or (self.pci or self.element).text("busid")


@record
class Link:
    """A link between two vertices, both ways unless `directed`."""

    begin: Vertex
    end: Vertex
    kind: str
    label: str
    bytes_per_s: float
    source: str
    directed: bool = False


@dataclass(slots=True, eq=False)
class Host:
    """A machine: what shares a ``host_hash``."""

    vertices: list[Vertex] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def of_kind(self, *kinds: str) -> list[Vertex]:
        """Return the vertices of some kinds, in order."""
        return [v for v in self.vertices if v.kind in kinds]


def bus_of(text: str) -> Bus:
    """Return a bus id in a form that can be compared: domain, bus, device and function."""
    match = _BUS.fullmatch(text.lower())
    return tuple(int(part or "0", 16) for part in match.groups()) if match else text.lower()


def read_hosts(root: Element, notes: Notes) -> list[Host]:
    """Return the machines of a file, without the links between devices.

    Raises
    ------
    HardwareError
        DS425 for numbers that cannot be.
    """
    _note_unknown(root, notes)
    by_hash: dict[str, Host] = {}
    for child in root.all("cpu", "pci", "gpu", "nic"):
        host = by_hash.setdefault(child.text("host_hash"), Host()) if child.tag == "cpu" else None
        host = host or next(reversed(by_hash.values()), None) or by_hash.setdefault("", Host())
        _Walk(host, notes).into(child)
    hosts = list(by_hash.values())
    if any(host.of_kind("gpu") for host in hosts):
        if not all(host.of_kind("gpu") for host in hosts):
            notes.add("machines without a GPU are left out")
        hosts = [host for host in hosts if host.of_kind("gpu")]
    for host in hosts:
        _name(host, notes)
        _join_cpus(host, notes)
    return hosts


def _note_unknown(root: Element, notes: Notes) -> None:
    """Note elements and attributes that are not known, and take the elements out."""
    stack = [root]
    while stack:
        element = stack.pop()
        for key in element.attributes:
            if key not in KNOWN[element.tag]:
                notes.add("attributes that are not known are left out", f"{element.tag}.{key}")
        for child in element.children:
            if child.tag not in KNOWN:
                notes.add("elements that are not known are left out", f"<{child.tag}>")
        element.children = [child for child in element.children if child.tag in KNOWN]
        stack += reversed(element.children)


class _Walk:
    """Goes through the PCI tree of a host; with a stack, as it may be of any depth."""

    def __init__(self, host: Host, notes: Notes) -> None:
        self._host, self._notes = host, notes

    def into(self, top: Element) -> None:
        """Add all that is below an element of the system."""
        stack: list[tuple[Element, Vertex | None]] = [(top, None)]
        while stack:
            element, parent = stack.pop()
            if element.tag == "cpu":
                cpu = self._add("cpu", element)
                self._ends(element, cpu)
                stack += [(child, cpu) for child in reversed(list(element.all("pci")))]
            elif element.tag == "pci":
                below = self._pci(element, parent)
                stack += [(child, below) for child in reversed(list(element.all("pci")))]
            else:
                self._ends(Element(element.file, element.line, "pci", {}, [element]), None)

    def _add(self, kind: str, element: Element, pci: Element | None = None) -> Vertex:
        vertex = Vertex(kind, element, pci)
        if kind == "net":
            self._adapter(vertex)
        self._host.vertices.append(vertex)
        return vertex

    def _pci(self, element: Element, parent: Vertex | None) -> Vertex | None:
        """Add what a PCI element holds; return the switch that it is, if it is one."""
        ends = list(_ends(element))
        if not ends and not any(element.all("pci")):
            kind = _by_class(element.text("class"))
            if kind:
                self._link(self._add(kind, element, element), parent, element)
            return None
        if len(ends) == 1 and not any(element.all("pci")):
            kind, end = ends[0]
            self._link(self._add(kind, end, element), parent, element)
            return None
        switch = self._add("pci", element)
        self._link(switch, parent, element)
        for kind, end in ends:
            self._link(self._add(kind, end, element), switch, element)
        return switch

    def _ends(self, element: Element, parent: Vertex | None) -> None:
        """Add devices and adapters that hang on a CPU, or on nothing, without a PCI element."""
        for kind, end in _ends(element):
            vertex = self._add(kind, end)
            if parent is None:
                continue
            if kind == "gpu":
                self._link(vertex, parent, end)
                continue
            self._notes.add(
                "adapters without a PCI device: nothing but their speed limits them", vertex.label
            )
            rate = vertex.mbit_per_s * 1e6 / 8
            label, source = f"attached-{vertex.mbit_per_s:g}", "speed of the adapter"
            self._host.links.append(Link(vertex, parent, "pcie", label, rate, source))

    def _link(self, vertex: Vertex, parent: Vertex | None, element: Element) -> None:
        """Add the PCI Express link above a vertex."""
        if parent is None:
            return
        rate, lanes = self._rate(element, vertex), self._lanes(element, vertex)
        fact = facts.pcie(rate, lanes)
        label = f"pcie-{rate:g}gt-x{lanes}"
        self._host.links.append(Link(vertex, parent, "pcie", label, fact.bytes_per_s, fact.source))

    def _rate(self, element: Element, vertex: Vertex) -> float:
        text = element.text("link_speed")
        if not text or text.lower().startswith("unknown"):
            note = f"link_speed is missing: {facts.DEFAULT_GT_PER_S:g} GT/s is taken, as NCCL does"
            self._notes.add(note, vertex.label)
            return facts.DEFAULT_GT_PER_S
        match = _RATE.fullmatch(text)
        number = match[1] if match else ""
        return element.within("link_speed", number, "GT/s", facts.MOST_GT_PER_S, facts.LEAST_RATE)

    def _lanes(self, element: Element, vertex: Vertex) -> int:
        text = element.text("link_width")
        if not text or text == "0":
            note = f"link_width is missing: x{facts.DEFAULT_LANES} is taken, as NCCL does"
            self._notes.add(note, vertex.label)
            return facts.DEFAULT_LANES
        return whole(element, "link_width", facts.MOST_LANES)

    def _adapter(self, vertex: Vertex) -> None:
        element = vertex.element
        speed = element.number("speed", "Mbit/s", facts.MOST_MBIT_PER_S, facts.LEAST_RATE)
        if speed is None:
            speed = facts.DEFAULT_MBIT_PER_S
            note = f"speed of adapters is missing: {speed:g} Mbit/s is taken, as NCCL does"
            self._notes.add(note, vertex.label)
        vertex.mbit_per_s = speed
        latency = element.text("latency")
        if latency:
            vertex.latency_us = element.within("latency", latency, "us", facts.MOST_US, low=-1e-9)


def _ends(element: Element) -> Iterator[tuple[str, Element]]:
    """Return the devices and adapters in an element."""
    for child in element.all("gpu", "net", "nic"):
        if child.tag == "nic":
            yield from (("net", net) for net in child.all("net"))
        else:
            yield child.tag, child


def _by_class(text: str) -> str:
    """Return what a PCI device without content is: files of virtual machines name just these."""
    code = text.lower().removeprefix("0x")
    # Display and processing controllers, and network controllers (PCI Code and ID Assignment).
    return "gpu" if code.startswith(("03", "12")) else "net" if code.startswith("02") else ""


def whole(element: Element, key: str, most: int) -> int:
    """Return an attribute that is a whole number in 1 .. most (DS425)."""
    text = element.text(key)
    # What is no whole number is no number here, and is refused as one.
    number = text if re.fullmatch(r"[-+]?[0-9]{1,20}", text) else ""
    return int(element.within(key, number, "", most))


def _name(host: Host, notes: Notes) -> None:
    """Name the vertices: devices by their number, adapters as the file does."""
    gpus = host.of_kind("gpu")
    numbers = [v.element.text("dev") for v in gpus]
    plain = all(re.fullmatch(r"[0-9]{1,6}", number) for number in numbers)
    if plain and len({int(number) for number in numbers}) == len(gpus):
        gpus.sort(key=lambda gpu: int(gpu.element.text("dev")))
        host.vertices = gpus + [v for v in host.vertices if v.kind != "gpu"]
    elif gpus:
        notes.add("GPUs have no numbers of their own: they are counted in the order of the file")
        plain = False
    taken = {"nvswitch"}
    for index, gpu in enumerate(gpus):
        gpu.name = f"gpu{int(gpu.element.text('dev')) if plain else index}"
        taken.add(gpu.name)
    for kind, word in (("cpu", "cpu"), ("pci", "pciswitch"), ("net", "nic")):
        for index, vertex in enumerate(host.of_kind(kind)):
            own = vertex.element.text("name") if kind == "net" else ""
            name = own if _NAME.fullmatch(own) and own not in taken else f"{word}{index}"
            while name in taken:
                name += "x"
            vertex.name = name
            taken.add(name)


def _join_cpus(host: Host, notes: Notes) -> None:
    """Join the CPUs of a host each to each, as NCCL does."""
    cpus = host.of_kind("cpu")
    if len(cpus) > _MOST_CPUS:
        raise cpus[_MOST_CPUS].element.error(
            "DS418",
            f"{len(cpus)} CPUs in one machine",
            value=len(cpus),
            rule=f"at most {_MOST_CPUS}, as each is joined to each",
            fix="give machines a host_hash of their own, or remove CPUs without devices",
        )
    for at, first in enumerate(cpus):
        for second in cpus[at + 1 :]:
            element = first.element
            model = element.text("modelid")
            number = int(model) if re.fullmatch(r"[0-9]{1,6}", model) else 0
            fact = facts.sockets(element.text("arch"), element.text("vendor"), number)
            rate = fact.bytes_per_s / facts.GB_PER_S
            notes.add(
                f"links between CPUs are not in the file: {rate:g} GB/s is taken, {fact.source}"
            )
            link = Link(first, second, "sockets", "sockets", fact.bytes_per_s, fact.source)
            host.links.append(link)
