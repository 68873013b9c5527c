"""Fit the NCCL profile and the links of shipped topologies to measured collectives.

    python benchmarks/fit_collectives.py DIRECTORY

DIRECTORY holds ``collectives_calibration.csv`` (nccl-tests results by system) and
``nccl_all_reduce_one_node.csv``. What is fitted means something each: startup of an algorithm and
protocol, latency of a hop, share of bandwidth, the cost of chunks; and for each cluster the
efficiency of its two kinds of links, the latency of its network and the startup of its software.
Which algorithm and protocol ran is not fitted: it is what the profile's tuner says. Times are
compared as logarithms with a robust loss (sums of soft absolute values), sizes under 1 MB with a
lower weight. Prints the profile, the clusters, and the error of every system.

    python benchmarks/fit_collectives.py DIRECTORY --without SYSTEM

leaves a system out of the fit and predicts it: what a cluster that nobody measured can expect.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from distsim.collectives.costs import bus_bandwidth_factor
from distsim.hardware.catalogue import load_topology
from distsim.hardware.libraries import library
from distsim.hardware.library import choose
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
    ("vidur-a100_dgx-sendrecv-2x2", "sendrecv"): ("dgx-a100", "torch sends, A100"),
    ("b200-8-vultr-sr", "sendrecv"): ("dgx-b200", ""),
    **{(f"h200-{n}-ramp-nonvls-stas00", "all_reduce"): ("dgx-h200", "no NVLS") for n in (4, 5, 7)},
    **{(f"b200-{n}-ramp-nonvls-stas00", "all_reduce"): ("dgx-b200", "no NVLS") for n in (4, 5, 6)},
    ("b200-7-ramp-stas00", "all_reduce"): ("dgx-b200", "torch calls"),
    ("a100-32-coreweave-sharp", "all_reduce"): ("dgx-a100-superpod", ""),
}
COLLECTIVE = {"alltoall": "all_to_all", "sendrecv": "send_recv"}
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
    """Measured times of one system, and what the model needs to predict them.

    `loads` has for each algorithm its `Load` and, by class of link, seconds a byte at the stated
    bandwidth; `ran` has the algorithm and the protocol of each size.
    """

    system: str
    operation: str
    topology: str
    generation: str
    source: str
    devices: int
    size: np.ndarray
    time_s: np.ndarray
    loads: dict
    ran: list[tuple[str, str]]
    rates: dict


def measured(directory: Path) -> dict[tuple[str, str, int, str], list[tuple[float, float]]]:
    """Return (size, time) by system, operation, ranks and placement."""
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


def curve(key: tuple[str, str, int, str], points: list[tuple[float, float]]) -> Curve:
    """Return the measurements of one run, with what ran at each size."""
    system, operation, n, _ = key
    topology, source = SYSTEMS[system, operation]
    net = load_topology(topology, n)
    collective = COLLECTIVE.get(operation, operation)
    everyone = np.arange(n)
    size, time_s = np.array(sorted(p for p in points if p[0] >= 1024)).T
    loads, priced = {}, {}
    for algorithm, base, times in options(collective, net):
        try:
            traffic = compile_traffic(
                "", everyone[None, :], np.zeros(1, int), base, algorithm, everyone, net
            )
        except ValueError:  # not on this number of nodes
            continue
        carried = np.bincount(traffic.entry_link, traffic.entry_fraction, net.n_links)
        busy = {
            of_class.name: times
            * float((carried / net.bandwidth_bytes_per_s)[net.link_class == c].max(initial=0.0))
            for c, of_class in enumerate(net.classes)
        }
        loads[algorithm] = (traffic.load(0, 0.0).times(times), busy)
        priced[algorithm] = [traffic.priced(collective, s, net, times) for s in size]
    ran = []
    for i in range(len(size)):
        offered = {name: of_size[i] for name, of_size in priced.items()}
        if source == "no NVLS":
            offered.pop("nvls", None)
        chosen = choose(offered)
        ran.append((chosen, priced[chosen][i].wire.name))
    nodes = int(net.node_of.max()) + 1
    rates = {
        w.name: w.device_rate.of(nodes, net.library.generation, net.library.host)
        for w in net.library.protocols
    }
    of = net.library.generation
    return Curve(system, operation, topology, of, source, n, size, time_s, loads, ran, rates)


class Model:
    """Names, starting values and bounds of all parameters."""

    def __init__(self, data: list[Curve]) -> None:
        nccl = library("nccl")
        tuner = nccl.tuner
        self.parts = nccl.runners["p2p"].parts
        self.start: dict[str, float] = {}
        self.bounds: dict[str, tuple[float, float]] = {}
        for wire in nccl.protocols:
            self.add(f"{wire.name} local_hop", tuner.local_hop_s["ring", wire.name], 2e-8, 6e-6)
            self.add(f"{wire.name} network_hop", tuner.network_hop_s["ring", wire.name], 2e-8, 3e-5)
        self.add("ll128 bandwidth", 0.88, 0.75, 0.9375)
        self.add("ll rate", 1.0, 0.7, 1.4)
        for name, protocols in RUNNERS.items():
            for protocol in protocols:
                began = (
                    tuner.start_s.get((name, protocol)) or nccl.runners[name].startup_s[protocol]
                )
                self.add(f"{name} {protocol} startup", began, 1e-6, 4e-5)
            self.add(f"{name} fill", max(nccl.runners[name].fill, 0.01), 1e-4, 8.0)
        self.add("nvls hopper rate", 315e9, 250e9, 450e9)
        self.add("nvls blackwell rate", 550e9, 450e9, 900e9)
        self.add("direct bandwidth", 0.6, 0.4, 1.0)
        self.add("ring ampere turn", 0.3, 0.01, 1.0)
        self.add("p2p channel rate", 21e9, 10e9, 50e9)
        for generation in dict.fromkeys(c.generation for c in data):
            self.add(f"{generation} nvlink", 0.8, 0.55, 0.97)
        for topology in dict.fromkeys(c.topology for c in data):
            classes = {
                k for c in data if c.topology == topology for _, b in c.loads.values() for k in b
            }
            if "rail" in classes:
                self.add(f"{topology} rail", 0.9, 0.5, 0.985)
                self.add(f"{topology} latency", 2e-6, 1e-7, 8e-5)
            self.add(f"{topology} startup", 1e-6, 1e-7, 4e-5)
        for source in dict.fromkeys(c.source for c in data if c.source):
            self.add(f"{source} startup", 1e-5, 1e-7, 1e-4)
        self.names = list(self.start)

    def add(self, name: str, value: float, low: float, high: float) -> None:
        """Add a parameter with its bounds; one that is there already stays."""
        self.start[name] = float(np.clip(value, low * 1.01, high * 0.99))
        self.bounds[name] = (low, high)

    def predict(self, p: dict[str, float], c: Curve) -> np.ndarray:
        """Return the time of each size."""
        out = np.empty(len(c.size))
        for i, (size, (name, protocol)) in enumerate(zip(c.size, c.ran, strict=True)):
            load, busy = c.loads[name]
            share = {"ll": 0.5, "ll128": p["ll128 bandwidth"]}.get(protocol, 1.0)
            share *= p.get(f"{name} bandwidth", 1.0)
            efficiency = {
                "nvlink": p[f"{c.generation} nvlink"],
                "pcie": 0.96,
            }
            rail = p.get(f"{c.topology} rail", 1.0)
            busy_s = size * max(b / efficiency.get(k, rail) for k, b in busy.items()) / share
            rate = c.rates[protocol] * p["ll rate"]
            if name.startswith("nvls"):
                rate = p[f"nvls {c.generation} rate"]
            busy_s = max(busy_s, size * load.sent / rate)
            if name == "p2p":
                parts = replace(self.parts, channel_rate=p["p2p channel rate"])
                busy_s = max(busy_s, size * load.sent / parts.rate(load.members, size * load.sent))
            turn = p.get(f"{name} {c.generation} turn", 0.0)
            busy_s *= 1.0 + turn / (load.sent * load.members)
            latency = p.get(f"{c.topology} latency", 0.0)
            hops = load.local_hops * (p[f"{protocol} local_hop"] + 5e-7)
            hops += load.network_hops * (p[f"{protocol} network_hop"] + 6e-7 + latency)
            begin = p[f"{name} {protocol} startup"]
            if c.source:
                begin += p[f"{c.source} startup"]
            elif name != "p2p":
                begin += p[f"{c.topology} startup"]
            out[i] = begin + hops + busy_s + 2 * np.sqrt(p[f"{name} fill"] * hops * busy_s)
        return out


def report(model: Model, p: dict[str, float], data: list[Curve]) -> None:
    """Print the error of every curve from 1 MB up."""
    for c in data:
        error = (model.predict(p, c) / c.time_s - 1)[c.size >= 1e6] * 100
        runs = [f"{a}/{w}" for (a, w), s in zip(c.ran, c.size, strict=True) if s >= 1e6]
        print(
            f"{c.system:32s} {c.operation:14s} {c.devices:3d}  "
            f"median {np.median(abs(error)):5.1f} %  p90 {np.percentile(abs(error), 90):5.1f} %  "
            f"signed {np.median(error):+5.1f} %  {', '.join(dict.fromkeys(runs))}"
        )


def main(directory: Path, without: str = "") -> None:
    """Fit and print."""
    everything = [curve(key, points) for key, points in measured(directory).items()]
    data = [c for c in everything if c.system != without]
    model = Model(everything)
    low, high = np.log(np.array([model.bounds[n] for n in model.names])).T
    start = np.log(np.array([model.start[n] for n in model.names]))

    def residuals(x: np.ndarray) -> np.ndarray:
        p = dict(zip(model.names, np.exp(x), strict=True))
        out = [0.05 * (x - start)]
        for c in data:
            weight = np.where(c.size >= 1e6, 1.0, 0.4) * np.sqrt(15 / max(len(c.size), 15))
            out.append(weight * np.log(model.predict(p, c) / c.time_s))
        return np.concatenate(out)

    fit = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=60
    )
    p = dict(zip(model.names, np.exp(fit.x), strict=True))
    for name, value in p.items():
        shown = f"{value * 1e6:10.3f} us" if value < 1e-3 else f"{value:10.4g}"
        print(f"{name:40s} {shown}")
    print(f"\n{len(p)} parameters, {sum(len(c.size) for c in data)} times; errors from 1 MB up:")
    report(model, p, everything if not without else [c for c in everything if c.system == without])


if __name__ == "__main__":
    left_out = sys.argv[sys.argv.index("--without") + 1] if "--without" in sys.argv else ""
    main(Path(sys.argv[1]), left_out)
