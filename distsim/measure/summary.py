"""Timings as rows for people: shape, time, rate, and the share of the peak where one is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from distsim.hardware.device import Device
from distsim.measure.cases import KINDS, bus_factor
from distsim.measure.document import Measured, Timings
from distsim.units import fmt_bytes, fmt_bytes_per_s, fmt_flop_per_s, fmt_s

#: How layouts are named beside a shape.
_PASSES = {"tn": "forward", "nn": "input gradient", "nt": "weight gradient"}


@dataclass(frozen=True, slots=True)
class Table:
    """One table: a title, heads, and rows of texts; columns of `left` align left."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...]


_Row = Callable[[Measured, "Device | None"], tuple[str, ...]]


def tables(timings: Timings, device: Device | None) -> list[Table]:
    """Return a table for each kind that was measured.

    Parameters
    ----------
    timings : Timings
    device : Device or None
        The profile that goes with the machine; without it there are no shares of the peak.
    """
    found = []
    for kind in KINDS:
        chosen = [entry for entry in timings.measured if entry.case.kind == kind]
        if not chosen:
            continue
        title, heads, left, row, shares = _KINDS[kind]
        rows = [row(entry, device) for entry in sorted(chosen, key=_order)]
        if shares and device is None:
            heads, rows = heads[:-1], [r[:-1] for r in rows]
        found.append(Table(title, heads, tuple(rows), left))
    return found


def skipped_lines(timings: Timings) -> list[str]:
    """Return how many cases of each kind were skipped, by reason."""
    counts = Counter((entry.case.kind, entry.reason) for entry in timings.skipped)
    return [f"{count} of kind {kind} skipped: {why}" for (kind, why), count in counts.items()]


def _order(entry: Measured) -> tuple[object, ...]:
    shape = entry.case.shape
    words = tuple(str(shape.get(key, "")) for key in ("dtype", "op", "layout"))
    keys = ("sequence", "heads", "kv_heads", "k", "n", "m", "moved_bytes", "size_bytes")
    return (*words, *(int(shape.get(key, 0)) for key in keys), shape.get("direction", ""))


def _times(entry: Measured) -> tuple[str, str]:
    timing = entry.timing
    return fmt_s(timing.time_s), f"{fmt_s(timing.low_s)} .. {fmt_s(timing.high_s)}"


def _share(rate: float, peak: float | None) -> str:
    return f"{100 * rate / peak:.1f} %" if peak else "-"


def _flop_rate(entry: Measured, device: Device | None) -> tuple[str, str]:
    rate = entry.case.flop / entry.timing.time_s
    peaks: Mapping[str, float] = device.peak_flop_per_s if device else {}
    return fmt_flop_per_s(rate), _share(rate, peaks.get(entry.case.shape["dtype"]))


def _gemm(entry: Measured, device: Device | None) -> tuple[str, ...]:
    shape = entry.case.shape
    batch = f"{shape['batch']} x " if shape["batch"] > 1 else ""
    sizes = f"{batch}{shape['m']} x {shape['n']} x {shape['k']}"
    layout = f"{shape['layout']} {_PASSES[shape['layout']]}"
    return sizes, layout, shape["dtype"], *_times(entry), *_flop_rate(entry, device)


def _attention(entry: Measured, device: Device | None) -> tuple[str, ...]:
    s = entry.case.shape
    grouped = f"/{s['kv_heads']}" if s["kv_heads"] != s["heads"] else ""
    sizes = f"{s['batch']} x {s['heads']}{grouped} heads x {s['sequence']} x {s['head_dim']}"
    how = ("causal " if s["causal"] else "full ") + ("fused " if s["fused"] else "unfused ")
    words = f"{how}{s['direction']}"
    return sizes, words, s["dtype"], *_times(entry), *_flop_rate(entry, device)


def _memory(entry: Measured, device: Device | None) -> tuple[str, ...]:
    shape = entry.case.shape
    rate = shape["moved_bytes"] / entry.timing.time_s
    peak = device.memory_bandwidth_bytes_per_s if device else None
    moved = fmt_bytes(shape["moved_bytes"])
    rates = fmt_bytes_per_s(rate), _share(rate, peak)
    return shape["op"], shape["dtype"], moved, *_times(entry), *rates


def _overhead(entry: Measured, device: Device | None) -> tuple[str, ...]:
    return entry.case.shape["op"].replace("_", " "), *_times(entry)


def _collective(entry: Measured, device: Device | None) -> tuple[str, ...]:
    shape = entry.case.shape
    rate = shape["size_bytes"] / entry.timing.time_s
    bus = rate * bus_factor(shape["op"], shape["ranks"])
    rates = fmt_bytes_per_s(rate), fmt_bytes_per_s(bus)
    return shape["op"], f"{shape['size_bytes']:,}", *_times(entry), *rates


_TIME = ("time", "10 % .. 90 %")
#: Title, heads, columns that align left, the row, and whether the last column is a share.
_KINDS: Mapping[str, tuple[str, tuple[str, ...], tuple[int, ...], _Row, bool]] = {
    "gemm": (
        "Matrix products (m x n x k)",
        ("shape", "layout", "dtype", *_TIME, "rate", "of peak"),
        (0, 1, 2),
        _gemm,
        True,
    ),
    "attention": (
        "Attention (batch x heads x sequence x head dimension)",
        ("shape", "how", "dtype", *_TIME, "rate", "of peak"),
        (0, 1, 2),
        _attention,
        True,
    ),
    "memory": (
        "Memory-bound operators",
        ("op", "dtype", "moved", *_TIME, "rate", "of peak"),
        (0, 1),
        _memory,
        True,
    ),
    "launch": ("Dependent kernels, back to back", ("op", *_TIME), (0,), _overhead, False),
    "host": ("Host, for each operator it issues", ("op", *_TIME), (0,), _overhead, False),
    "collective": (
        "Collectives",
        ("op", "size (B)", *_TIME, "algbw", "busbw"),
        (0,),
        _collective,
        False,
    ),
}


#: Forms of a chip that a name must agree on.
_FORMS = ("pcie", "hbm2e")


def profile_of(name: str, memory_bytes: float, profiles: Sequence[Device]) -> Device | None:
    """Return the profile of the device that PyTorch calls by a name; None if there is none.

    A profile is named for its chip, its memory and its form: ``h100-80gb-sxm``. It goes with
    ``NVIDIA H100 80GB HBM3`` when the chip is a word of the name, both or neither say PCIe (or
    HBM2e), and the memory differs by less than a tenth.
    """
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    fits = [
        profile
        for profile in profiles
        if profile.name.split("-")[0] in words
        and all((form in profile.name.split("-")) == (form in words) for form in _FORMS)
        and abs(profile.memory_bytes / max(memory_bytes, 1.0) - 1) < 0.1
    ]
    return min(fits, key=lambda p: abs(p.memory_bytes - memory_bytes), default=None)
