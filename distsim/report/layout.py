"""What all texts share: tables without boxes, numbers with their units, bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor, log10
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distsim.report.columns import Columns
from distsim.units import (
    fmt_bytes,
    fmt_bytes_per_s,
    fmt_count,
    fmt_flop_per_s,
    fmt_s,
)

#: How a number is written, by the unit that its name ends in; the first that fits counts.
_UNITS = (
    ("_bytes_per_s", fmt_bytes_per_s),
    ("_flop_per_s", fmt_flop_per_s),
    ("_bytes", fmt_bytes),
    ("_s", fmt_s),
)
#: Units that all rows of a table share, largest first.
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
BYTES = ((1e9, "GB"), (1e6, "MB"))
DURATIONS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), *SECONDS)
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bare(name: str) -> str:
    """Return the name of a number without its unit: ``memory_bytes`` is ``memory``."""
    return next((name.removesuffix(unit) for unit, _ in _UNITS if name.endswith(unit)), name)


def quantity(name: str, value: object) -> str:
    """Return a value for people; a float is in the unit that its name ends in.

    >>> quantity("memory_bytes", 80e9)
    '80 GB'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, int | float):
        for unit, write in _UNITS:
            if name.endswith(unit):
                return write(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(quantity("", v) for v in value)
    return str(value)


def percent(share: float, digits: int = 1) -> str:
    """Return a fraction as percent.

    >>> percent(0.5596)
    '56.0 %'
    """
    return f"{100 * share:.{digits}f} %"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "class"), plural(1024, "rank"), plural(8, "class")
    ('1 class', '1,024 ranks', '8 classes')
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "ch")) else "s"
    return f"{count:,} {noun}{ending}"


def parameters(count: int) -> str:
    """Return a number of parameters: ``174.6B parameters``."""
    return f"{fmt_count(count)} parameters"


def bar(share: float, width: int, *, ascii_only: bool) -> str:
    """Return a bar of `share` of `width` cells, to an eighth of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if ascii_only:
        return "#" * round(eighths / 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def scale_of(whole: float, steps: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return the first of `steps` (size and name of a unit) that is not above `whole`."""
    return next((step for step in steps if whole >= step[0]), steps[-1])


def fixed(value: float, whole: float, scale: float) -> str:
    """Return a part in the unit `scale`, with the decimals that give the whole four digits.

    >>> fixed(0.0287, 18.9377, 1.0)
    '0.03'
    """
    decimals = max(0, 3 - floor(log10(whole / scale)))
    return f"{value / scale:,.{decimals}f}"


def aligned(values: Sequence[float], steps: Sequence[tuple[float, str]]) -> list[str]:
    """Return numbers of one column in the unit of the largest, with the same decimals.

    Four digits of the largest; where the least would keep fewer than two, all keep a unit of
    their own.

    >>> aligned([3.6, 12.04], SECONDS)
    ['3.60 s', '12.04 s']
    """
    whole = max(values, default=0.0) or 1.0
    scale, unit = scale_of(whole, steps)
    if any(0.0 < v < whole / 200 for v in values):
        own = [scale_of(v, steps) for v in values]
        return [f"{fixed(v, v or 1.0, s)} {u}" for v, (s, u) in zip(values, own, strict=True)]
    return [f"{fixed(v, whole, scale)} {unit}" for v in values]


def heading(text: str) -> Text:
    """Return the title of a section."""
    return Text(text, style="bold")


def columns(
    heads: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    left: Sequence[int] = (0,),
    optional: Sequence[Sequence[int]] = (),
) -> Columns:
    """Return a table without lines; columns are numbers, aligned right, except those of `left`.

    The last column may wrap if it is text; numbers never do. The groups of `optional` are left
    out where it is too narrow for them; see `distsim.report.columns.Columns`.
    """
    return Columns(heads, list(rows), frozenset(left), optional)


def pairs(values: Mapping[str, str | Text]) -> Padding:
    """Return names and values, one a line, indented by two."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in values.items():
        table.add_row(name, value)
    return Padding(table, (0, 0, 0, 2), expand=False)


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record with the keys of inner mappings joined by dots."""
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
