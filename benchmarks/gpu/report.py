"""The tables of docs/gpu.md: measured against predicted.

python -m benchmarks.gpu.report [--write]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.gpu import kernel_errors, parts, power
from benchmarks.gpu.predict import GROUPS_SHOWN, HERE, PROFILE, Compared, compared, summary

PAGE = HERE.parent.parent / "docs" / "gpu.md"
DUTY = HERE / "measured" / "h100-80gb-sxm-2026-11-26-duty.json"
BEGIN = "<!-- gpu: {name} (python -m benchmarks.gpu.report --write) -->"
END = "<!-- end -->"
TITLES = {"eager": "eager", "compiled": "torch.compile", "short": "short"}
#: Dense peaks of the device in FLOP/s, which rates are shares of.
PEAKS = {"bf16": 989.4e12, "fp8": 1978.9e12}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _percent(error: float) -> str:
    return f"{100 * error:+.1f} %"


def _steps(shipped: Sequence[Compared], fitted: Sequence[Compared]) -> str:
    heads = ("step", "measured", "shipped", "error", "measured profile", "error",
             "allocated", "predicted", "error")  # fmt: skip
    rows = []
    for group in GROUPS_SHOWN:
        for a, b in zip(shipped, fitted, strict=True):
            if a.group != group:
                continue
            rows.append(
                (
                    a.case.name,
                    f"{1e3 * a.measured['step_s']:.1f} ms",
                    f"{1e3 * a.prediction.step_s:.1f} ms",
                    _percent(a.step_error),
                    f"{1e3 * b.prediction.step_s:.1f} ms",
                    _percent(b.step_error),
                    f"{a.measured['allocated_bytes'] / 1e9:.1f} GB",
                    f"{a.allocated_bytes / 1e9:.1f} GB",
                    _percent(a.memory_error),
                )
            )
    return _table(heads, rows)


def _errors(shipped: Sequence[Compared], fitted: Sequence[Compared]) -> str:
    heads = ("steps", "count", "what", "MAPE", "median", "worst", "mean")
    rows = []
    for group in GROUPS_SHOWN:
        chosen = [c for c in shipped if c.group == group]
        of = {
            "time, shipped": [c.step_error for c in chosen],
            "time, measured profile": [c.step_error for c in fitted if c.group == group],
            "memory": [c.memory_error for c in chosen],
        }
        for what, errors in of.items():
            s = summary(errors)
            figures = (f"{s['mape']:.1f} %", f"{s['median']:.1f} %")
            signed = (f"{s['worst']:+.1f} %", f"{s['mean']:+.1f} %")
            rows.append((TITLES[group], str(len(errors)), what, *figures, *signed))
    return _table(heads, rows)


def _kernels() -> str:
    heads = ("kernels", "rows", "shipped: median / 90th percentile", "signed",
             "measured profile: median / 90th percentile", "signed")  # fmt: skip
    rows = []
    for name, shipped, fitted in kernel_errors.table():
        cells = [name, f"{shipped['rows']:.0f}"]
        for figures in (shipped, fitted):
            cells += [
                f"{figures['median']:.1f} / {figures['p90']:.0f}",
                f"{figures['signed']:+.1f}",
            ]
        rows.append(cells)
    return _table(heads, rows)


def _parts() -> str:
    heads = ("step", *parts.KERNELS)
    rows = []
    for case, kernels in parts.traced():
        measured, predicted = parts.measured_s(kernels), parts.predicted_s(case, PROFILE)
        cells = [f"{1e3 * measured[p]:.1f} / {1e3 * predicted[p]:.1f}" for p in parts.KERNELS]
        rows.append((case.name, *cells))
    return _table(heads, rows)


def _duty() -> str:
    cycles = json.loads(DUTY.read_text(encoding="utf-8"))["cycles"]
    heads = ("type", "share of the time", "rate", "of the peak", "clock", "power")
    rows = [
        (
            c["dtype"],
            f"{100 * c['share']:.0f} %",
            f"{c['flop_per_s'] / 1e12:,.0f} TFLOP/s",
            f"{c['flop_per_s'] / PEAKS[c['dtype']]:.3f}",
            f"{c['clock_mhz']:,.0f} MHz",
            f"{c['power_w']:.0f} W",
        )
        for c in cycles
    ]
    return _table(heads, rows)


def _power(shipped: Sequence[Compared]) -> str:
    heads = ("steps", "count", "products' share", "MAPE", "median", "worst", "mean")
    groups: dict[str, list[tuple[float, float]]] = {}
    for one in shipped:
        if one.group == "short":
            continue
        name = "torch.compile" if one.case.compiled else one.case.model
        took_s, share = power.step_s(one.case)
        groups.setdefault(name, []).append((took_s / float(one.measured["step_s"]) - 1, share))
    rows = []
    for name, found in groups.items():
        s, shares = summary(error for error, _ in found), [100 * share for _, share in found]
        figures = (f"{s['mape']:.1f} %", f"{s['median']:.1f} %")
        signed = (f"{s['worst']:+.1f} %", f"{s['mean']:+.1f} %")
        rows.append(
            (name, str(len(found)), f"{min(shares):.0f} .. {max(shares):.0f} %", *figures, *signed)
        )
    return _table(heads, rows)


def tables() -> Iterator[tuple[str, str]]:
    """Yield each table by the name in its mark."""
    shipped, fitted = compared(), compared(PROFILE)
    yield "errors", _errors(shipped, fitted)
    yield "steps", _steps(shipped, fitted)
    yield "parts", _parts()
    yield "kernels", _kernels()
    yield "duty", _duty()
    yield "power", _power(shipped)


def with_tables(page: str) -> str:
    """Return a page with the tables between its marks written anew.

    Raises
    ------
    ValueError
        Where a mark is missing.
    """
    for name, table in tables():
        begin = BEGIN.format(name=name)
        before, mark, rest = page.partition(begin)
        _, end, after = rest.partition(END)
        if not mark or not end:
            raise ValueError(f"the page has no mark {begin!r}, or no end of it")
        page = f"{before}{begin}\n{table}\n{END}{after}"
    return page


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.write:
        text = options.page.read_text(encoding="utf-8")
        options.page.write_text(with_tables(text), encoding="utf-8")
        return
    for name, table in tables():
        print(f"{name}\n{table}\n")


if __name__ == "__main__":
    main()
