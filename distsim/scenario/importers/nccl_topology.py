"""NCCL topology files: ``NCCL_TOPO_DUMP_FILE`` becomes a topology.

The file describes one machine, or the machines of an NVLink domain: GPUs, PCI Express, NVLink or
Infinity Fabric, CPUs and network adapters. What it says nothing of is taken from NCCL, or from the
shipped topologies, and noted.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from distsim.record import record
from distsim.scenario.importers.nccl_device import choose_device
from distsim.scenario.importers.nccl_draft import Draft
from distsim.scenario.importers.nccl_graph import read_hosts
from distsim.scenario.importers.nccl_xml import read_xml
from distsim.scenario.importers.notes import Notes
from distsim.scenario.importers.topology_yaml import topology_yaml

_MOST_NODES = 1 << 20


@record
class ImportedTopology:
    """A topology that was read from a file of another tool.

    Attributes
    ----------
    block : dict
        As in a topology file: texts, numbers, lists and mappings.
    notes : tuple of str
        What the file leaves out and what was taken instead, and what was not understood.
    summary : dict
        Counts: ``file, version, device, machines, nodes, devices, devices_per_node, cpus,
        pci_switches, nvswitches, adapters`` (of the first machine from cpus on).
    """

    block: dict[str, Any]
    notes: tuple[str, ...]
    summary: dict[str, Any]


def read_nccl_topology(
    path: str | PathLike[str], *, nodes: int = 1, device: str | None = None
) -> ImportedTopology:
    """Read an NCCL topology file.

    Parameters
    ----------
    path : str or path
    nodes : int
        Machines like that of the file, joined rail by rail. A file with several machines describes
        as many, and 1 stands for these.
    device : str, optional
        Device of the catalogue, or a file, where the file does not say which GPU it is.

    Raises
    ------
    FileError
        DS101 to DS106.
    SyntaxProblem
        DS122 to DS124, with the line.
    HardwareError
        DS405 for `nodes` out of range, DS423 to DS428 for what cannot be, with the line.
    """
    root = read_xml(path)
    if not 1 <= nodes <= _MOST_NODES:
        raise root.error(
            "DS405",
            f"nodes is {nodes}",
            value=nodes,
            rule=f"1 <= nodes <= {_MOST_NODES}",
            fix="ask for a number of nodes in that range",
        )
    notes = Notes()
    hosts = read_hosts(root, notes)
    gpus = [gpu for host in hosts for gpu in host.of_kind("gpu")]
    if not gpus:
        raise root.error(
            "DS423",
            "there is no GPU in the file",
            rule="at least one <gpu>, or a PCI device of class 0x03",
            fix="dump the topology from a process that sees the GPUs",
        )
    name = choose_device(gpus, device, notes)
    draft = Draft(root, hosts, nodes, name, notes)
    block = draft.block()
    return ImportedTopology(block, notes.sentences(), draft.summary())


def to_yaml(imported: ImportedTopology) -> str:
    """Return an imported topology as the text of a topology file."""
    counts = imported.summary
    file = counts["file"].replace("\\", "/").rsplit("/", 1)[-1]
    title = (
        f"Imported from an NCCL topology, {file}. A machine has "
        f"{counts['devices_per_node']} GPUs, {counts['cpus']} CPUs, {counts['pci_switches']} PCI "
        f"switches, {counts['nvswitches']} NVSwitches and {counts['adapters']} network adapters."
    )
    return topology_yaml(imported.block, title, imported.notes)
