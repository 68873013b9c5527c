"""Fit the NCCL profile and the links of shipped topologies to measured collectives.

    python benchmarks/fit_collectives.py DIRECTORY

DIRECTORY holds ``collectives_calibration.csv`` (nccl-tests results by system) and
``nccl_all_reduce_one_node.csv``. What is fitted means something each: startup of an algorithm and
protocol, latency of a hop, share of bandwidth, the cost of chunks; and for each cluster the
efficiency of its two kinds of links, the latency of its network and the startup of its software.
Times are compared as logarithms with a robust loss (sums of soft absolute values), sizes under
1 MB with a lower weight. Prints the profile, the clusters, and the error of every system.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from distsim.collectives.costs import bus_bandwidth_factor
from distsim.hardware.catalogue import load_topology
from distsim.hardware.library import library
from distsim.program.comm import options
from distsim.program.traffic import compile_traffic

#: (system, operation) -> topology, and the source's own startup: "" for nccl-tests, which launches
#: many in a row, another name for one that times single calls from PyTorch.
SYSTEMS = {
    ("vtrain-a100", "all_reduce"): ("dgx-a100", ""),
    ("vtrain-v100", "all_reduce"): ("dgx2-v100", ""),
    ("vidur-a100_dgx-all_reduce-4x4", "all_reduce"): ("dgx-a100", "torch kernels, A100"),
    ("vidur-a100_dgx-all_reduce-8x8", "all_reduce"): ("dgx-a100", "torch kernels, A100"),
    ("vidur-h100_dgx-all_reduce-8x8", "all_reduce"): ("dgx-h100", "torch kernels, H100"),
    ("vidur-h100_dgx-sendrecv-2x2", "sendrecv"): ("dgx-h100", "torch kernels, H100"),
    ("h200-8-stas00", "all_reduce"): ("dgx-h200", "torch calls"),
    ("h200-8-ramp-stas00", "all_reduce"): ("dgx-h200", "torch calls"),
    ("b200-8-stas00", "all_reduce"): ("dgx-b200", "torch calls"),
    ("b200-8-vultr-ag", "all_gather"): ("dgx-b200", ""),
    ("b200-8-vultr-rs", "reduce_scatter"): ("dgx-b200", ""),
    ("h100-16-ndr400-dell", "all_reduce"): ("dgx-h100-superpod", ""),
    ("h100-16-gjaion", "all_reduce"): ("dgx-h100-superpod", ""),
    ("h100-64-gjaion", "all_reduce"): ("dgx-h100-superpod", ""),
    ("h100-16-p5-efa", "all_reduce"): ("aws-p5", ""),
    ("h100-16-a3mega", "all_reduce"): ("gcp-a3-mega", ""),
    ("h100-16-a3mega-ag", "all_gather"): ("gcp-a3-mega", ""),
    ("a100-40-16-oci-roce", "all_reduce"): ("oci-bm-gpu4", ""),
    ("h200-16-dell-roce", "all_reduce"): ("dgx-h200-superpod", ""),
    ("b200-16-a4-ag", "all_gather"): ("gcp-a4", ""),
    ("b200-16-vultr-rs", "reduce_scatter"): ("dgx-b200-superpod", ""),
    ("b200-16-vultr-a2a", "alltoall"): ("dgx-b200-superpod", ""),
    ("b200-32-efav4-stas00", "all_reduce"): ("aws-p6-b200", "torch calls"),
}
#: Clusters whose devices have the same NVLink share its efficiency.
NVLINK = {
    "dgx-a100": "A100",
    "oci-bm-gpu4": "A100",
    "dgx2-v100": "V100",
    "dgx-b200": "B200",
    "dgx-b200-superpod": "B200",
    "gcp-a4": "B200",
    "aws-p6-b200": "B200",
}
COLLECTIVE = {"alltoall": "all_to_all", "sendrecv": "send"}
PROTOCOLS = ("ll", "ll128", "simple")
#: Algorithms that are fitted, with their protocols; the rest of the library stays as it is.
RUNNERS = {
    "ring": PROTOCOLS,
    "tree": PROTOCOLS,
    "nvls": ("simple",),
    "nvls_tree": ("simple",),
    "direct": ("ll", "simple"),
    "p2p": ("ll", "simple"),
}


@dataclass
class Curve:
    """Measured times of one system, and what the model needs to predict them."""

    system: str
    operation: str
    topology: str
    source: str
    devices: int
    size: np.ndarray
    time_s: np.ndarray
    terms: list[dict]


def measured(directory: Path) -> dict[tuple[str, str, int, str], list[tuple[float, float]]]:
    out: dict = defaultdict(list)
    for row in csv.DictReader((directory / "collectives_calibration.csv").open()):
        if (row["id"], row["op"]) not in SYSTEMS or not row["size_bytes"]:
            continue
        size, n = float(row["size_bytes"]), int(row["nranks"])
        if row["time_us"]:
            time_s = float(row["time_us"]) * 1e-6
        elif row["busbw_GBps"]:
            factor = bus_bandwidth_factor(COLLECTIVE.get(row["op"], row["op"]), n)
            time_s = size * factor / float(row["busbw_GBps"]) / 1e9
        else:
            continue
        out[row["id"], row["op"], n, row["placement"]].append((size, time_s))
    for row in csv.DictReader((directory / "nccl_all_reduce_one_node.csv").open()):
        key = (f"vtrain-{row['device']}", "all_reduce", int(row["ranks"]), "out_of_place")
        out[key].append((float(row["size_bytes"]), float(row["out_of_place_ns"]) * 1e-9))
    return out


def terms(topology: str, devices: int, collective: str) -> list[dict]:
    """Return per algorithm its hops and, by class of link, latency and seconds a byte at full."""
    net = load_topology(topology, devices)
    everyone = np.arange(devices)
    out = []
    for algorithm, base, times in options(collective, net):
        try:
            traffic = compile_traffic(
                "", everyone[None, :], np.zeros(1, int), base, algorithm, everyone, net
            )
        except ValueError:
            continue
        load = np.bincount(traffic.entry_link, traffic.entry_fraction, net.n_links)
        busy = [
            times * float((load / net.bandwidth_bytes_per_s)[net.link_class == c].max(initial=0.0))
            for c in range(len(net.classes))
        ]
        out.append(
            {
                "algorithm": algorithm,
                "local": times * float(traffic.hops[0, 0]),
                "network": times * float(traffic.hops[0, 1]),
                "wire_s": times * float(traffic.latency_s[0]),
                "busy": dict(zip(net.class_names, busy, strict=True)),
            }
        )
    return out


def curves(directory: Path) -> list[Curve]:
    out = []
    for (system, operation, n, _), points in measured(directory).items():
        topology, source = SYSTEMS[system, operation]
        collective = COLLECTIVE.get(operation, operation)
        size, time_s = np.array(sorted(p for p in points if p[0] >= 1024)).T
        out.append(
            Curve(
                system,
                operation,
                topology,
                source,
                n,
                size,
                time_s,
                terms(topology, n, collective),
            )  # fmt: skip
        )
    return out


class Model:
    """Names, starting values and bounds of all parameters."""

    def __init__(self, data: list[Curve]) -> None:
        nccl = library("nccl")
        self.start: dict[str, float] = {}
        self.bounds: dict[str, tuple[float, float]] = {}
        for wire in nccl.protocols:
            self.add(f"{wire.name} local_hop", max(wire.local_hop_s, 2e-7), 2e-8, 6e-6)
            self.add(f"{wire.name} network_hop", max(wire.network_hop_s, 3e-7), 2e-8, 3e-5)
        self.add("ll bandwidth", 0.31, 0.1, 0.5)
        self.add("ll128 bandwidth", 0.88, 0.75, 0.9375)
        for name, protocols in RUNNERS.items():
            for protocol in protocols:
                began = nccl.runners[name].startup_s.get(protocol, 1e-5)
                self.add(f"{name} {protocol} startup", began, 1e-6, 8e-5)
            if name != "p2p":
                self.add(f"{name} fill", max(nccl.runners[name].fill, 0.01), 1e-4, 8.0)
        self.add("nvls bandwidth", 0.85, 0.6, 1.0)
        self.add("direct bandwidth", 0.6, 0.4, 1.0)
        for topology in dict.fromkeys(c.topology for c in data):
            classes = {
                k for c in data if c.topology == topology for t in c.terms for k in t["busy"]
            }
            self.add(f"{NVLINK.get(topology, 'H100')} nvlink", 0.8, 0.55, 0.97)
            if "rail" in classes:
                self.add(f"{topology} rail", 0.9, 0.5, 0.985)
                self.add(f"{topology} latency", 2e-6, 1e-7, 8e-5)
            self.add(f"{topology} startup", 1e-6, 1e-7, 4e-5)
        for source in dict.fromkeys(c.source for c in data if c.source):
            self.add(f"{source} startup", 1e-5, 1e-7, 1e-4)
        self.names = list(self.start)

    def add(self, name: str, value: float, low: float, high: float) -> None:
        self.start[name] = float(np.clip(value, low * 1.01, high * 0.99))
        self.bounds[name] = (low, high)

    def predict(self, p: dict[str, float], curve: Curve) -> tuple[np.ndarray, list[str]]:
        best, ran = [], []
        for term in curve.terms:
            name = term["algorithm"]
            if name not in RUNNERS:
                continue
            fluid = 0.0
            for kind, busy in term["busy"].items():
                efficiency = {
                    "nvlink": p[f"{NVLINK.get(curve.topology, 'H100')} nvlink"],
                    "pcie": 0.96,
                }.get(kind)
                efficiency = efficiency or p[f"{curve.topology} rail"]
                fluid = max(fluid, busy / efficiency)
            share = p.get(f"{name.removesuffix('_tree')} bandwidth", 1.0)
            latency = p.get(f"{curve.topology} latency", 0.0)
            extra = p[f"{curve.source} startup"] if curve.source else p[f"{curve.topology} startup"]
            for protocol in RUNNERS[name]:
                hops = term["local"] * (p[f"{protocol} local_hop"] + 5e-7) + term["network"] * (
                    p[f"{protocol} network_hop"] + 2 * 3e-7 + latency
                )
                busy_s = curve.size * fluid / share / p.get(f"{protocol} bandwidth", 1.0)
                fill = p.get(f"{name} fill", 0.0)
                begin = p[f"{name} {protocol} startup"] + extra
                best.append(begin + hops + busy_s + 2 * np.sqrt(fill * hops * busy_s))
                ran.append(f"{name}/{protocol}")
        times = np.array(best)
        return times.min(axis=0), [ran[i] for i in times.argmin(axis=0)]


def main(directory: Path) -> None:
    data = curves(directory)
    model = Model(data)
    low, high = np.log(np.array([model.bounds[n] for n in model.names])).T
    start = np.log(np.array([model.start[n] for n in model.names]))

    def residuals(x: np.ndarray) -> np.ndarray:
        p = dict(zip(model.names, np.exp(x), strict=True))
        out = [0.03 * (x - start)]
        for c in data:
            weight = np.where(c.size >= 1e6, 1.0, 0.4) * np.sqrt(15 / max(len(c.size), 15))
            out.append(weight * np.log(model.predict(p, c)[0] / c.time_s))
        return np.concatenate(out)

    fit = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=150
    )
    p = dict(zip(model.names, np.exp(fit.x), strict=True))
    for name, value in p.items():
        print(f"{name:40s} {value * 1e6:10.3f} us" if value < 1e-3 else f"{name:40s} {value:10.4f}")
    print(f"\n{len(p)} parameters, {sum(len(c.size) for c in data)} times; errors from 1 MB up:")
    for c in data:
        predicted, ran = model.predict(p, c)
        error = (predicted / c.time_s - 1)[c.size >= 1e6] * 100
        runs = [r for r, s in zip(ran, c.size, strict=True) if s >= 1e6]
        print(
            f"{c.system:32s} {c.operation:14s} {c.devices:3d}  median {np.median(abs(error)):5.1f} %"
            f"  p90 {np.percentile(abs(error), 90):5.1f} %  signed {np.median(error):+5.1f} %  "
            f"{', '.join(dict.fromkeys(runs))}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
