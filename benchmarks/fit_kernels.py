"""Fit the kernel parameters of device profiles to published timings of single kernels.

    python benchmarks/fit_kernels.py kernels.csv            # fits, standard errors, errors
    python benchmarks/fit_kernels.py kernels.csv --check    # errors of the shipped profiles only
    python benchmarks/fit_kernels.py kernels.csv --folds    # and by folds and sources left out

The file is one row a measured kernel (docs/kernels.md says from where). Every other shape, in the
order of its dimensions, calibrates; the others are held out. A shape is on one side with all its
layouts, directions, devices and kernels: the three dimensions of a product count in any order, so
the gradients of a layer go with it. Least squares on log ratios with a robust loss (scipy).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, least_squares, minimize

from distsim.cost.attention import with_kernel
from distsim.cost.kernel import kernel_s
from distsim.hardware.catalogue import device
from distsim.hardware.device import Device
from distsim.workload.op import Work, WorkKind, gemm

#: Source of the file -> short name. Others are best shapes alone, transcripts, or name no device.
SOURCES = {"SimuMax": "simumax", "vidur": "vidur", "-2 benchmark": "chart-2", "-3 bench": "chart-3"}
PROFILES = {
    ("A100 80GB", "PCIe"): "a100-80gb-pcie",
    ("A100 80GB", "SXM"): "a100-80gb-sxm",
    ("A100 80GB", ""): "a100-80gb-sxm",
    ("H100 SXM", "SXM"): "h100-80gb-sxm",
    ("H100 80GB (DGX)", ""): "h100-80gb-sxm",
    ("B200", "SXM"): "b200-180gb-sxm",
}
#: Kernel by what the source calls it and the generation; TE runs FlashAttention-2 on A100.
ATTENTION = {
    "FlashAttention-1": "flash-1",
    "FlashAttention-2": "flash-2",
    "FlashAttention-3": "flash-3",
    "cuDNN": "cudnn",
    "Triton": "triton",
}
TE = "TE DotProductAttention"
#: With 4, 8 or 16 heads forward attention through Transformer Engine took 91, 98 and 105 us on
#: B200: what the host needs for the operator. Such a call takes at least that (seconds).
HOST_FLOOR_S = 91e-6
#: Its grouped product launches one kernel a group, at 8.6 to 11 us each where groups are small.
GROUP_FLOOR_S = 8.6e-6
#: Passes over less than this find some of it in the cache: twice the L2 of H100.
CACHED_BYTES = 1e8
#: Errors above this count less (log).
LOSS_SCALE = 0.1
#: Start values and bounds.
BOUNDS: Mapping[str, tuple[float, float, float]] = {
    "gemm_efficiency": (0.75, 0.3, 1.0),
    "gemm_fill_k": (90.0, 0.0, 512.0),
    "gemm_tile": (65.0, 20.0, 85.0),
    "sustained_efficiency": (0.6, 0.2, 1.0),
    "sustained_after_flop": (3e11, 1e10, 5e12),
    "attention_efficiency": (0.5, 0.05, 1.0),
    "attention_score": (25.0, 0.0, 128.0),
    "attention_fill": (150.0, 0.0, 512.0),
    "attention_backward": (0.9, 0.5, 1.3),
    "attention_wide": (0.8, 0.4, 1.0),
}
GEMM = ("gemm_efficiency", "gemm_fill_k", "gemm_tile")
LIMITED = (*GEMM, "sustained_efficiency", "sustained_after_flop")
FORWARD = ("attention_efficiency", "attention_score", "attention_fill")
BOTH = (*FORWARD, "attention_backward")


@dataclass(frozen=True)
class Timing:
    """One measured kernel, or a pair of them."""

    kind: str
    profile: str
    source: str
    label: str
    kernel: str
    dtype: str
    shape: tuple[float, ...]
    works: tuple[Work, ...]
    floor_s: float
    time_s: float


def _number(row: Mapping[str, str], key: str) -> float:
    return float(row[key] or 0)


def _rows(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _product(row: Mapping[str, str]) -> tuple[tuple[float, ...], tuple[Work, ...]]:
    m, n, k = (_number(row, key) for key in "mnk")
    if row["direction"] == "bwd_grad_w":
        m, n, k = n, k, m  # The tokens of a group, first in its rows, are summed over.
    groups = _number(row, "groups") or _number(row, "b") or 1.0
    # A gradient that is added to an fp32 buffer is read and written there.
    work = gemm(m, n, k, batch=groups, result_bytes=8 if row["accumulate"] == "True" else 2)
    return (*sorted((m, n, k)), groups), (work,)


def _attention(row: Mapping[str, str]) -> tuple[tuple[float, ...], tuple[Work, ...]]:
    keys = ("attn_batch", "attn_seq", "attn_heads", "attn_kv_heads", "head_dim_qk", "head_dim_v")
    batch, s, heads, groups, qk, v = (_number(row, key) for key in keys)
    dim = (qk + v) / 2
    flop = 4.0 * batch * heads * s * s * dim / (2 if row["causal"] == "yes" else 1)
    inputs = 2 * batch * s * (heads * qk + groups * (qk + v))
    out = 2 * batch * s * heads * v
    forward = Work(
        WorkKind.FLASH, batch * heads, s, s, dim, flop=flop, stream_bytes=inputs + out
    )  # fmt: skip
    backward = replace(forward, flop=2.5 * flop, stream_bytes=2 * inputs + 3 * out)
    passes = {"fwd": (forward,), "bwd": (backward,), "fwd+bwd": (forward, backward)}
    return (qk, v, heads, s, batch), passes[row["direction"]]


def read(path: str) -> list[Timing]:
    """Return the timings of the file that name a device and a shape, products and attention."""
    out = []
    for row in _rows(path):
        source = next((name for text, name in SOURCES.items() if text in row["source"]), "")
        profile = PROFILES.get((row["gpu"], row["form"]), "")
        if not source or not profile or row["kind"] not in ("gemm", "grouped_gemm", "attention"):
            continue
        kernel, floor_s, label = "", 0.0, row["layout"] or row["direction"]
        if row["kind"] == "attention":
            shape, works = _attention(row)
            name = row["impl"]
            ampere = "a100" in profile
            kernel = ("flash-2" if ampere else "cudnn") if TE in name else ATTENTION.get(name, "")
            if not kernel:
                continue  # Eager attention is products and passes of its own, not one kernel.
            label = f"{kernel} {row['direction']}{' causal' if row['causal'] == 'yes' else ''}"
            floor_s = HOST_FLOOR_S if TE in name and not ampere else 0.0
        else:
            shape, works = _product(row)
            if row["kind"] == "grouped_gemm":
                floor_s = shape[3] * GROUP_FLOOR_S
        out.append(
            Timing(
                row["kind"], profile, source, label, kernel, row["dtype"].split("/")[0], shape,
                works, floor_s, _number(row, "time_us") * 1e-6,
            )
        )  # fmt: skip
    return out


def held_out(timings: Sequence[Timing]) -> np.ndarray:
    """Return which timings calibrate nothing: every other shape of a kind."""
    order: dict[tuple[str, tuple[float, ...]], int] = {}
    for kind in {t.kind for t in timings}:
        shapes = sorted({t.shape for t in timings if t.kind == kind})
        order |= {(kind, shape): i for i, shape in enumerate(shapes)}
    return np.array([order[t.kind, t.shape] % 2 == 1 for t in timings], dtype=bool)


@cache
def _shipped(profile: str, kernel: str) -> Device:
    return with_kernel(device(profile), kernel)


def log_ratio(t: Timing, values: Mapping[str, float], floors: bool = True) -> float:
    """Return log(predicted / measured) with other parameters."""
    unit = _shipped(t.profile, t.kernel)
    changed: dict[str, Any] = dict(values)
    unit = replace(unit, **changed)
    took = sum(max(kernel_s(w, unit, t.dtype), t.floor_s if floors else 0.0) for w in t.works)
    return log(took / t.time_s)


def fit(
    names: Sequence[str], timings: Sequence[Timing], start: Mapping[str, float]
) -> OptimizeResult:
    """Fit parameters to timings."""
    first, low, high = (np.array([BOUNDS[n][i] for n in names]) for i in range(3))
    first = np.array([start.get(n, f) for n, f in zip(names, first, strict=True)])
    scale = np.array([BOUNDS[n][0] for n in names])

    def residuals(x: np.ndarray) -> list[float]:
        values = dict(zip(names, (x * scale).tolist(), strict=True))
        return [log_ratio(t, values) for t in timings]

    inside = np.clip(first / scale, low / scale * 1.0001 + 1e-6, high / scale * 0.9999)
    return least_squares(
        residuals, inside, bounds=(low / scale, high / scale), loss="soft_l1",
        f_scale=LOSS_SCALE,
        diff_step=1e-2,
    )  # fmt: skip


def search(
    names: Sequence[str], timings: Sequence[Timing], start: Mapping[str, float]
) -> dict[str, float]:
    """Return parameters near a start, without gradients: those of the power limit have corners."""
    low, high = ({n: BOUNDS[n][i] for n in names} for i in (1, 2))

    def cost(x: np.ndarray) -> float:
        values = {
            n: float(np.clip(v * BOUNDS[n][0], low[n], high[n]))
            for n, v in zip(names, x, strict=True)
        }
        errors = np.array([log_ratio(t, values) for t in timings]) / LOSS_SCALE
        return float(np.sum(np.sqrt(1 + errors**2) - 1))

    first = [start.get(n, BOUNDS[n][0]) / BOUNDS[n][0] for n in names]
    found = minimize(cost, first, method="Nelder-Mead", options={"maxfev": 400, "fatol": 1e-4})
    inside = {n: float(v) * BOUNDS[n][0] for n, v in zip(names, found.x, strict=True)}
    return {n: min(max(v, low[n]), high[n]) for n, v in inside.items()} | {"cost": found.fun}


def best(names: Sequence[str], timings: Sequence[Timing]) -> dict[str, tuple[float, float]]:
    """Return value and standard error of each parameter, from the best of several starts."""
    start: Mapping[str, float] = {}
    if "sustained_after_flop" in names:
        limits = ((1e11, 0.5), (5e11, 0.5))
        starts = [{"sustained_after_flop": q, "sustained_efficiency": e} for q, e in limits]
        start = min((search(names, timings, s) for s in starts), key=lambda v: v["cost"])
    found = fit(names, timings, start)
    scale = np.array([BOUNDS[n][0] for n in names])
    spread = 2 * found.cost / (len(timings) - len(names))
    ends = np.array([BOUNDS[n][1:] for n in names]) / scale[:, None]
    free = (np.abs(ends - found.x[:, None]) > 1e-3).all(axis=1)
    jac = found.jac[:, free]
    errors = np.full(len(names), np.nan)
    errors[free] = np.sqrt(np.diag(np.linalg.inv(jac.T @ jac)) * spread)
    return {
        n: (v, e)
        for n, v, e in zip(
            names, (found.x * scale).tolist(), (errors * scale).tolist(), strict=True
        )
    }


def groups(timings: Sequence[Timing]) -> dict[str, tuple[tuple[str, ...], list[int]]]:
    """Return what is fitted together: parameters, and the timings that they explain."""
    out: dict[str, tuple[tuple[str, ...], list[int]]] = {}
    for i, t in enumerate(timings):
        chip = t.profile.split("-")[0]
        if t.kind == "gemm":
            known = GEMM if chip == "a100" else LIMITED
            out.setdefault(f"{chip} products", (known, []))[1].append(i)
        elif t.kind == "attention":
            out.setdefault(f"{chip} {t.kernel}", (FORWARD, []))[1].append(i)
    for name, (fitted, rows) in out.items():
        if fitted == FORWARD:
            out[name] = (_attention_names([timings[i] for i in rows]), rows)
    return out


def _attention_names(timings: Sequence[Timing]) -> tuple[str, ...]:
    """Return what timings of a kernel of attention can tell apart."""
    if not any(len(t.works) == 1 for t in timings) or not any("bwd" in t.label for t in timings):
        return FORWARD  # Only the sum of both passes, or one of them.
    wide = any(sum(t.shape[:2]) > 256 and "bwd" in t.label for t in timings)
    return (*BOTH, "attention_wide") if wide else BOTH


def line(label: str, errors: Sequence[float]) -> str:
    """Return count, median, 90th percentile and signed median of log ratios, in percent."""
    e = np.asarray(errors)
    size = 100 * np.abs(np.expm1(e))
    return (
        f"  {label:46} {len(e):4d} {np.median(size):6.1f} {np.quantile(size, 0.9):6.1f}"
        f" {100 * np.expm1(np.median(e)):+6.1f}"
    )


def report(
    timings: Sequence[Timing], errors: np.ndarray, held: np.ndarray, key: Callable[[Timing], str]
) -> None:
    """Print errors by group, held out and all."""
    table: dict[str, list[int]] = defaultdict(list)
    for i, t in enumerate(timings):
        table[key(t)].append(i)
    for name in sorted(table):
        rows = np.array(table[name])
        if held[rows].any():
            print(line(f"{name}, held out", errors[rows[held[rows]]].tolist()))
        print(line(f"{name}, all", errors[rows].tolist()))


def passes(path: str) -> None:
    """Print what part of the bandwidth the same kernels reach on two devices.

    One inference engine's residual add, gated activation and norm on both (Vidur): the share of
    each kernel on A100, one ratio for H100, and a start; kernel durations, without the gap.
    """
    rows = [
        r
        for r in _rows(path)
        if r["kind"] == "elementwise"
        and "vidur" in r["source"]
        and _number(r, "gbytes_per_s") * _number(r, "time_us") * 1e3 >= CACHED_BYTES
    ]
    ops = sorted({r["op"] for r in rows})
    shapes = sorted({(r["op"], _number(r, "gbytes_per_s") * _number(r, "time_us")) for r in rows})
    used = set(shapes[::2])
    moved = np.array([_number(r, "gbytes_per_s") * _number(r, "time_us") * 1e3 for r in rows])
    hopper = np.array(["H100" in r["gpu"] for r in rows])
    bandwidth = np.where(hopper, 3350e9, 2039e9)
    which = np.array([ops.index(r["op"]) for r in rows])
    time_s = np.array([_number(r, "time_us") * 1e-6 for r in rows])
    cal = np.array(
        [(r["op"], _number(r, "gbytes_per_s") * _number(r, "time_us")) in used for r in rows]
    )

    def errors(x: np.ndarray) -> np.ndarray:
        share = np.exp(x[which]) * np.where(hopper, np.exp(x[-1]), 1.0)
        return np.asarray(np.log(moved / (bandwidth * share) / time_s))

    found = least_squares(
        lambda x: errors(x)[cal], [*np.full(len(ops), -0.6), 0.0], loss="soft_l1", f_scale=0.1
    )
    spread = 2 * found.cost / (cal.sum() - len(found.x))
    errors_ = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)) * spread)
    print(f"passes over memory: {cal.sum()} calibration rows of {len(rows)}")
    names = [*(f"share of {op}" for op in ops), "H100 over A100"]
    for name, value, error in zip(names, np.exp(found.x), errors_, strict=True):
        print(f"  {name:22} {value:.4g} +- {value * error:.2g}")
    print(line("held out", errors(found.x)[~cal].tolist()))


def folds(
    names: Sequence[str], timings: Sequence[Timing], start: Mapping[str, float], n: int = 5
) -> None:
    """Print errors by folds of shapes, and with each source left out."""
    shapes = sorted({t.shape for t in timings})
    fold = {shape: i % n for i, shape in enumerate(shapes)}
    errors: list[float] = []
    for k in range(n):
        values = _values(names, [t for t in timings if fold[t.shape] != k], start)
        errors += [log_ratio(t, values) for t in timings if fold[t.shape] == k]
    print(line(f"{n} folds by shape", errors))
    sources = sorted({t.source for t in timings})
    for source in sources if len(sources) > 1 else []:
        values = _values(names, [t for t in timings if t.source != source], start)
        print(
            line(
                f"{source} left out", [log_ratio(t, values) for t in timings if t.source == source]
            )
        )


def _values(
    names: Sequence[str], timings: Sequence[Timing], start: Mapping[str, float]
) -> dict[str, float]:
    found = fit(names, timings, start)
    return {n: float(v) * BOUNDS[n][0] for n, v in zip(names, found.x, strict=True)}


def main() -> None:
    """Print fits and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--check", action="store_true", help="errors of the shipped profiles only")
    parser.add_argument("--folds", action="store_true", help="and by folds and sources left out")
    options = parser.parse_args()
    timings = read(options.path)
    held = held_out(timings)
    if not options.check:
        passes(options.path)
        for name, (names, rows) in sorted(groups(timings).items()):
            used = [timings[i] for i in rows if not held[i]]
            found = best(names, used)
            values = {n: v for n, (v, _) in found.items()}
            print(f"{name}: {len(used)} calibration rows of {len(rows)}")
            for n, (value, error) in found.items():
                print(f"  {n:22} {value:.4g} {f'+- {error:.2g}' if error > 0 else 'at its bound'}")
            rest = [timings[i] for i in rows if held[i]]
            print(line("held out", [log_ratio(t, values) for t in rest]))
            if options.folds:
                folds(names, [timings[i] for i in rows], values)
    print("shipped profiles: rows, median, 90th percentile, signed median (%)")
    errors = np.array([log_ratio(t, {}) for t in timings])
    report(timings, errors, held, lambda t: f"{t.profile} {t.kind}")
    report(timings, errors, held, lambda t: f"{t.profile} {t.kind} {t.source} {t.label}")
    bare = np.array([log_ratio(t, {}, floors=False) for t in timings])
    print("without what the host needs for a call of Transformer Engine")
    rows = [i for i, t in enumerate(timings) if t.floor_s]
    report([timings[i] for i in rows], bare[rows], held[rows], lambda t: f"{t.profile} {t.kind}")


if __name__ == "__main__":
    main()
