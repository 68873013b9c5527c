"""What an NCCL topology file leaves to its reader: rates of links, and names of devices.

The file counts links and names generations. Efficiency and latency, of which it says nothing, are
those of shipped topologies with the same links, so that both are refitted together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from distsim.hardware.catalogue import load_topology
from distsim.record import record

GB_PER_S = 1e9
#: Highest PCI Express rate that has a standard (8.0), and its widest link.
MOST_GT_PER_S, MOST_LANES = 256, 32
#: Below what anything has, in GT/s, Mbit/s and MB/s; keeps rates above zero after rounding.
LEAST_RATE = 0.001
#: Many times what any device has; bounds what a wrong digit can do.
MOST_LINKS, MOST_MBIT_PER_S, MOST_US, MOST_C2C = 1024, 1e8, 1e6, 1e7

#: PCI Express where the file says nothing: NCCL's fallback (kvDictPciGen and ncclTopoAddPci in
#: src/graph/topo.cc).
DEFAULT_GT_PER_S, DEFAULT_LANES = 8.0, 16
#: Likewise for the speed of a network adapter (ncclTopoAddNet), Mbit/s.
DEFAULT_MBIT_PER_S = 10_000.0


@record
class Fact:
    """A bandwidth in bytes/s, one direction, with its source."""

    bytes_per_s: float
    source: str


def pcie(gt_per_s: float, lanes: int) -> Fact:
    """Return the rate of a PCI Express link after its encoding.

    8b/10b up to 5 GT/s (PCI Express Base 2.1, section 4.2), 128b/130b up to 32 GT/s (3.0, section
    4.2.2), 242 of 256 bytes of a flit from 64 GT/s on (6.0, section 4.2.3).
    """
    if gt_per_s <= 5.0:
        share, encoding = 8 / 10, "8b/10b"
    elif gt_per_s <= 32.0:
        share, encoding = 128 / 130, "128b/130b"
    else:
        share, encoding = 242 / 256, "flits of 242 in 256 bytes"
    source = f"PCI Express at {gt_per_s:g} GT/s x{lanes}, {encoding} encoding"
    return Fact(gt_per_s * 1e9 * lanes * share / 8, source)


#: SM version from which on a generation counts -> GB/s of one NVLink, one direction.
_NVLINKS = (
    (100, 50.0, "NVIDIA Blackwell architecture technical brief, 2024: NVLink 5"),
    (90, 25.0, "NVIDIA H100 architecture whitepaper, 2022: NVLink 4"),
    (86, 14.0625, "NVIDIA Ampere GA102 architecture whitepaper, 2020: NVLink 3 of four lanes"),
    (80, 25.0, "NVIDIA A100 architecture whitepaper, 2020: NVLink 3"),
    (70, 25.0, "NVIDIA Tesla V100 architecture whitepaper WP-08608, 2017: NVLink 2"),
    (0, 20.0, "NVIDIA Tesla P100 whitepaper WP-08019, 2016: NVLink 1"),
)


def nvlink(sm: int) -> Fact:
    """Return the rate of one NVLink of a device."""
    rate, source = next((rate, source) for least, rate, source in _NVLINKS if sm >= least)
    return Fact(rate * GB_PER_S, source)


#: gfx version -> GB/s of one Infinity Fabric link between devices, one direction.
_XGMI = {
    "906": (46.0, "AMD Radeon Instinct MI60 datasheet, 2018: 184 GB/s over two links, both ways"),
    "908": (46.0, "AMD CDNA whitepaper, 2020: 276 GB/s over three links, both ways"),
    "90a": (50.0, "AMD CDNA 2 whitepaper, 2021: 100 GB/s a link, both ways"),
    "942": (64.0, "AMD Instinct MI300X platform datasheet, 2023: 128 GB/s a link, both ways"),
    "950": (76.8, "AMD CDNA 4 whitepaper, 2025: 1,075 GB/s over seven links, both ways"),
}


def gfx(text: str) -> str:
    """Return a gfx version without what surrounds it: ``gfx942:sramecc+`` is 942.

    Older versions of RCCL write decimal numbers, 910 for gfx90a.
    """
    found = re.sub(r"^gfx|:.*$", "", text.lower())
    return "90a" if found == "910" else found


def xgmi(version: str) -> Fact | None:
    """Return the rate of one Infinity Fabric link; None for a device that is not known."""
    found = _XGMI.get(version)
    return found and Fact(found[0] * GB_PER_S, found[1])


#: Least Intel model of family 6 -> GB/s between sockets.
_INTEL = ((0xCF, 40.0), (0x8F, 22.0), (0x55, 10.0), (0, 6.0))
_COUNTED = "what NCCL counts on between sockets for traffic of devices (src/graph/topo.h)"


def sockets(arch: str, vendor: str, model: int) -> Fact:
    """Return the rate between two sockets, one direction.

    The links themselves (UPI, xGMI) are faster; NCCL counts on what traffic of PCI Express devices
    gets through them.
    """
    name = vendor.lower()
    if "amd" in name:
        rate, what = 16.0, "AMD, xGMI"
    elif "intel" in name:
        rate = next(rate for least, rate in _INTEL if model >= least)
        what = f"Intel model {model:#x}, UPI or QPI"
    elif arch.lower().startswith(("ppc", "power")):
        rate, what = 32.0, "POWER9, X bus"
    elif arch.lower().startswith(("arm", "aarch")):
        rate, what = 6.0, "Arm"
    else:
        rate, what = 6.0, "no vendor that is known, as the slowest"
    return Fact(rate * GB_PER_S, f"{_COUNTED}: {what}")


@record
class Reach:
    """What long messages reach on a link, and what it adds to the latency."""

    efficiency: float
    latency_s: float
    source: str


#: Kind of link -> topology and class whose efficiency and latency it takes, and the share of the
#: latency: device and adapter are two links apart here, and one there.
_LIKE = {
    "nvswitch": ("dgx-h100", "nvlink", 1.0),
    "nvswitch-70": ("dgx2-v100", "nvlink", 1.0),
    "nvswitch-80": ("dgx-a100", "nvlink", 1.0),
    "nvswitch-90": ("dgx-h100", "nvlink", 1.0),
    "nvswitch-100": ("dgx-b200", "nvlink", 1.0),
    "nvlink": ("dgx1-v100", "nvlink", 1.0),
    "c2c": ("dgx1-v100", "nvlink", 1.0),
    "xgmi": ("mi300x-8", "link", 1.0),
    "pcie": ("dgx-h100-superpod", "pcie", 0.5),
    "sockets": ("pcie-a100-8", "socket", 1.0),
    "rail": ("dgx-a100-superpod", "rail", 1.0),
    "rail-400": ("dgx-h100-superpod", "rail", 1.0),
    "spine": ("dgx-a100-superpod", "spine", 1.0),
}


@lru_cache(maxsize=32)
def reach(kind: str) -> Reach:
    """Return efficiency and latency of a kind of link, from a shipped topology."""
    topology, name, share = _LIKE[kind]
    found = next(c for c in load_topology(topology, 2).classes if c.name == name)
    half = "" if share == 1.0 else ", of which the latency is half"
    source = f"efficiency and latency: as {name} of {topology}{half}; not fitted"
    return Reach(found.efficiency, found.latency_s * share, source)


#: PCI vendor and device -> what it is, and its name in the catalogue (empty: it has none). Source:
#: the PCI ID Repository, 2025.
PCI_DEVICES: Mapping[tuple[int, int], tuple[str, str]] = {
    (0x10DE, 0x1DB1): ("V100 SXM2 16 GB", ""),
    (0x10DE, 0x1DB4): ("V100 PCIe 16 GB", ""),
    (0x10DE, 0x1DB5): ("V100 SXM2 32 GB", "v100-32gb-sxm"),
    (0x10DE, 0x1DB6): ("V100 PCIe 32 GB", ""),
    (0x10DE, 0x1DB8): ("V100 SXM3 32 GB", "v100-32gb-sxm"),
    (0x10DE, 0x20B0): ("A100 SXM4 40 GB", "a100-40gb-sxm"),
    (0x10DE, 0x20B2): ("A100 SXM4 80 GB", "a100-80gb-sxm"),
    (0x10DE, 0x20B5): ("A100 PCIe 80 GB", "a100-80gb-pcie"),
    (0x10DE, 0x20F1): ("A100 PCIe 40 GB", ""),
    (0x10DE, 0x2321): ("H100 NVL", ""),
    (0x10DE, 0x2324): ("H800", ""),
    (0x10DE, 0x2330): ("H100 SXM5 80 GB", "h100-80gb-sxm"),
    (0x10DE, 0x2331): ("H100 PCIe", ""),
    (0x10DE, 0x2335): ("H200 SXM 141 GB", "h200-141gb-sxm"),
    (0x10DE, 0x2342): ("GH200", ""),
    (0x10DE, 0x26B9): ("L40S", "l40s-48gb"),
    (0x10DE, 0x2901): ("B200", "b200-180gb-sxm"),
    (0x10DE, 0x2941): ("GB200", "gb200-186gb"),
    (0x1002, 0x74A0): ("MI300A", ""),
    (0x1002, 0x74A1): ("MI300X", "mi300x"),
    (0x1002, 0x74B5): ("MI300X", "mi300x"),
    (0x1002, 0x74A5): ("MI325X", "mi325x"),
    (0x1002, 0x74B9): ("MI325X", "mi325x"),
}
#: Of several devices of a generation, the one that is taken where the file does not say which.
BY_SM = {
    70: "v100-32gb-sxm", 80: "a100-80gb-sxm", 90: "h100-80gb-sxm", 100: "b200-180gb-sxm",
}  # fmt: skip
BY_GFX = {"942": "mi300x"}
