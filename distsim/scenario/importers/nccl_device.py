"""Which device of the catalogue the GPUs of an NCCL topology are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distsim.errors import HardwareError
from distsim.hardware import catalogue
from distsim.scenario.importers import nccl_facts as facts
from distsim.scenario.importers.nccl_graph import Vertex
from distsim.scenario.importers.nccl_nvlink import gfx_of, sm_of
from distsim.scenario.importers.notes import Notes


def choose_device(gpus: Sequence[Vertex], device: str | None, notes: Notes) -> str:
    """Return the name of the device.

    Parameters
    ----------
    gpus : sequence of Vertex
    device : str, optional
        What a person says that it is.
    notes : Notes

    Raises
    ------
    HardwareError
        DS426 where the file does not say, or names several.
    FileError
        DS101 for a `device` that does not exist.
    """
    kinds: dict[str, Vertex] = {}
    for gpu in gpus:
        kinds.setdefault(_kind(gpu), gpu)
    if device is not None:
        catalogue.device(device)
        if len(kinds) > 1:
            notes.add(f"GPUs differ ({_some(kinds)}): all are taken for {device}")
        return device
    if len(kinds) > 1:
        raise _unknown(
            list(kinds.values())[1], f"the GPUs are not all alike: {_some(kinds)}", list(kinds)
        )
    gpu = next(iter(kinds.values()))
    pci = _pci_device(gpu)
    if pci:
        what, name = facts.PCI_DEVICES[pci]
        if name not in catalogue.device_names():
            raise _unknown(gpu, f"there is no device profile of {what}", what)
        return name
    name = _by_generation(gpu)
    if name not in catalogue.device_names():
        what = "the file does not say which GPU it is, and"
        raise _unknown(gpu, f"{what} no device profile goes with {_kind(gpu)} alone", _kind(gpu))
    notes.add(f"the file does not say which GPU it is: {_kind(gpu)} is taken for {name}")
    return name


def _by_generation(gpu: Vertex) -> str:
    version = gfx_of(gpu)
    if version:
        return facts.BY_GFX.get(version, "")
    return facts.BY_SM.get(sm_of(gpu) or 0, "")


def _pci_device(gpu: Vertex) -> tuple[int, int] | None:
    """Return PCI vendor and device, if they are known ones."""
    if gpu.pci is None:
        return None
    try:
        found = int(gpu.pci.text("vendor"), 16), int(gpu.pci.text("device"), 16)
    except ValueError:
        return None
    return found if found in facts.PCI_DEVICES else None


def _kind(gpu: Vertex) -> str:
    """Return what the file says of a GPU, in words."""
    pci = _pci_device(gpu)
    if pci:
        return facts.PCI_DEVICES[pci][0]
    version, sm = gfx_of(gpu), sm_of(gpu)
    if version:
        return f"gfx{version[:20]}"
    return "a GPU without sm" if sm is None else f"sm {sm}"


def _some(words: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, words))[:4])


def _unknown(gpu: Vertex, message: str, value: object) -> HardwareError:
    names = catalogue.device_names()
    return gpu.element.error(
        "DS426",
        message,
        value=value,
        rule=f"a device of the catalogue: {', '.join(names)}",
        fix=f"name the device (--device), for example {names[0]}, or a file of your own",
    )
