"""Results as JSON and as Markdown, and reading them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.testbed.fit import Fitted, Row
from benchmarks.testbed.measure import Collective, Samples, Step, low_quantile

FORMAT = "distsim-testbed/1"
#: Messages from this size up are what the target speaks of.
TARGET_BYTES = 256 << 10


def samples_to_list(samples: Samples) -> list[dict[str, Any]]:
    """Return cases with their samples as plain values."""
    return [
        {**asdict(case), "samples_s": [round(s, 7) for s in times], "time_s": low_quantile(times)}
        for case, times in samples.of.items()
    ]


def measured(entries: Sequence[Mapping[str, Any]]) -> dict[Any, float]:
    """Return cases and their times from plain values.

    Raises
    ------
    ValueError
        For an entry that is no case.
    """
    out: dict[Any, float] = {}
    for entry in entries:
        values = {k: v for k, v in entry.items() if k not in ("samples_s", "time_s")}
        try:
            case = Collective(**values) if "op" in values else Step(**values)
            out[case] = low_quantile(entry["samples_s"])
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{entry!r} is no measurement: {error}") from error
    return out


def row_to_dict(row: Row) -> dict[str, Any]:
    """Return plain values."""
    return {
        **asdict(row.case),
        "split": row.split,
        "measured_s": round(row.measured_s, 7),
        "predicted_s": round(row.predicted_s, 7),
        "error": round(row.error, 4),
    }


def errors(rows: Iterable[Row]) -> dict[str, float | int]:
    """Return how many rows there are, and the median, worst and mean signed error of them."""
    found = [row.error for row in rows]
    if not found:
        return {"rows": 0}
    return {
        "rows": len(found),
        "median": round(median(abs(e) for e in found), 4),
        "worst": round(max(abs(e) for e in found), 4),
        "signed_mean": round(sum(found) / len(found), 4),
    }


def is_large(row: Row) -> bool:
    """Say whether a row is a collective of a size that the target speaks of."""
    return isinstance(row.case, Collective) and row.case.size_bytes >= TARGET_BYTES


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float | int]]:
    """Return the errors of held-out rows by operation and group, and of all."""
    held = [row for row in rows if row.split == "held_out"]
    large = [row for row in held if is_large(row)]
    small = [row for row in held if isinstance(row.case, Collective) and not is_large(row)]
    steps = [row for row in held if isinstance(row.case, Step)]
    calibration = [row for row in rows if row.split == "calibration"]
    out = {
        "collectives >= 256 KiB, held out": errors(large),
        "collectives < 256 KiB, held out": errors(small),
        "collectives >= 256 KiB, calibration": errors(r for r in calibration if is_large(r)),
        "steps, held out": errors(steps),
    }
    cases = [row.case for row in large if isinstance(row.case, Collective)]
    for op, n in dict.fromkeys((case.op, case.n) for case in cases):
        chosen = [r for r, c in zip(large, cases, strict=True) if (c.op, c.n) == (op, n)]
        out[f"{op}, {n} hosts, >= 256 KiB, held out"] = errors(chosen)
    return out


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"


def _size(size_bytes: int) -> str:
    mib = size_bytes >> 20
    return f"{mib} MiB" if mib else f"{size_bytes >> 10} KiB"


def _collectives(rows: Sequence[Row]) -> list[str]:
    body = [
        [c.op, str(c.n), _size(c.size_bytes), *_times(row)]
        for row in rows
        if isinstance(c := row.case, Collective)
    ]
    return _table(["collective", "hosts", "size", *_TIMES], sorted(body, key=_order))


def _order(line: Sequence[str]) -> tuple[str, int]:
    return line[0], int(line[1])


_TIMES = ("measured, ms", "predicted, ms", "error", "")


def _times(row: Row) -> list[str]:
    times = [_milliseconds(row.measured_s), _milliseconds(row.predicted_s)]
    return [*times, _percent(row.error), "calibration" if row.split == "calibration" else ""]


def _steps(rows: Sequence[Row]) -> list[str]:
    body = [
        [
            c.mode,
            str(c.micro_size),
            str(c.microbatches),
            "" if c.mode == "single" else f"{c.bits_per_s / 1e6:g}",
            *_times(row),
        ]
        for row in rows
        if isinstance(c := row.case, Step)
    ]
    head = ("step", "micro batch", "micro batches", "Mbit/s", *_TIMES)
    return _table(head, body)


def _summary(of: Mapping[str, Mapping[str, float | int]]) -> list[str]:
    body = [
        [
            name,
            str(e["rows"]),
            f"{100 * e['median']:.1f} %",
            f"{100 * e['worst']:.1f} %",
            _percent(e["signed_mean"]),
        ]
        for name, e in of.items()
        if e["rows"]
    ]
    return _table(("rows", "number", "median error", "worst", "signed mean"), body)


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def _bound(fitted: Mapping[str, Any]) -> str:
    return "at its bound" if fitted["at_bound"] else ""


def markdown(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return a result as a page."""
    machine, settings, quiet = result["machine"], result["settings"], result["quiet"]
    fitted = [
        [name, *(_number(each[k]) for k in ("value", "standard_error")), _bound(each)]
        for name, each in result["fitted"].items()
    ]
    sent = [
        [*key.split("/"), ", ".join(f"{x:.2f}" for x in each)]
        for key, each in result["sent_over_size"].items()
    ]
    load = ", ".join(str(x) for x in quiet["load_average"])
    lines = [
        f"# Testbed, {result['date']}",
        "",
        f"{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, "
        f"PyTorch {machine['torch']}, distsim {machine['distsim']}. {settings['hosts']} hosts at "
        f"{settings['bits_per_s'] / 1e6:g} Mbit/s, {settings['rounds']} rounds; the time of a case "
        "is the lower quartile of its samples.",
        "",
        f"Load average over the rounds: {load}. Cores were looked at {quiet['looks']} times before "
        f"measurements and were not free {quiet['cores_not_free']} times; "
        f"{quiet['measured_all_the_same']} measurements were made all the same.",
        "",
        *_summary(result["summary"]),
        "",
        *_table(("fitted", "value", "standard error", ""), fitted),
        "",
        "## Steps",
        "",
        *_steps(rows),
        "",
        "## Bytes sent over the size of the collective, host by host, with headers",
        "",
        *_table(("collective", "hosts", "sent"), sent),
        "",
        "## Collectives",
        "",
        *_collectives(rows),
    ]
    return "\n".join(lines) + "\n"


def fitted_to_dict(fitted: Mapping[str, Fitted]) -> dict[str, dict[str, Any]]:
    """Return plain values, with as many digits as mean something."""
    return {
        name: {
            "value": _short(of.value),
            "standard_error": _short(of.standard_error),
            "at_bound": of.at_bound,
        }
        for name, of in fitted.items()
    }


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.5g}")
