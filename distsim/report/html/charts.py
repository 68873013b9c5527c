"""Charts and tables of a page as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distsim.report.html.page import Section, section


def axis(
    label: str,
    unit: str = "",
    *,
    log: bool = False,
    zero: bool = False,
    ticks: Iterable[float] = (),
) -> dict[str, Any]:
    """Return an axis.

    Parameters
    ----------
    unit : str
        How numbers are written: ``s``, ``B``, ``B/s``, ``FLOP/s``, ``%`` (of a share), ``money``
        with its currency after a blank, or nothing.
    log : bool
        Logarithmic.
    zero : bool
        Begin at zero.
    ticks : iterable of float
        Where numbers stand; by default at round ones.
    """
    return {"label": label, "unit": unit, "log": log, "zero": zero, "ticks": sorted(set(ticks))}


def series(
    name: str,
    points: Iterable[Sequence[Any]],
    *,
    line: bool = False,
    marks: bool = True,
    dashed: bool = False,
    hollow: bool = False,
    tone: int | None = None,
) -> dict[str, Any]:
    """Return a series: points (x, y) or (x, y, details in words).

    Parameters
    ----------
    line, marks, dashed, hollow : bool
        Joined by a line; with a mark for each point; the line dashed; marks not filled.
    tone : int, optional
        Place in the palette; by default that of the series in its chart, -1 is grey.
    """
    return {
        "name": name,
        "points": [list(p) for p in points],
        "line": line,
        "marks": marks,
        "dashed": dashed,
        "hollow": hollow,
        "tone": tone,
    }


def chart(
    name: str,
    title: str,
    about: str,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    **more: Any,
) -> Section:
    """Return a section with a chart of series.

    Parameters
    ----------
    **more
        ``band``: two factors of x between which y is shaded.
    """
    return section("chart", name, title, about, x=x, y=y, series=list(found), **more)


def bars(
    name: str, title: str, about: str, rows: Iterable[Sequence[Any]], unit: str = "s"
) -> Section:
    """Return a section with bars one below the other.

    Parameters
    ----------
    rows : iterable of (label, begin, end, kind, note)
        ``kind`` names the colour; `begin` above `end` is a bar to the left.
    """
    return section("bars", name, title, about, rows=[list(r) for r in rows], unit=unit)


def column(
    label: str, unit: str = "", *, number: bool = False, filters: bool = False
) -> dict[str, Any]:
    """Return a column of a table: numbers are aligned right, `filters` lets its values be chosen.

    Parameters
    ----------
    unit : str
        As for `axis`; ``text`` for words.
    """
    return {"label": label, "unit": unit, "number": number, "filter": filters}


def table(
    name: str,
    title: str,
    about: str,
    columns: Sequence[Mapping[str, Any]],
    rows: Iterable[Sequence[Any]],
    **more: Any,
) -> Section:
    """Return a section with a table that can be sorted and filtered.

    Parameters
    ----------
    **more
        ``sort``: number of the column by which it is sorted first, negative (from -1) for falling;
        ``plain``: true for one without filters.
    """
    found = [list(r) for r in rows]
    return section("table", name, title, about, columns=list(columns), rows=found, **more)


def code(name: str, title: str, about: str, text: str, file_name: str) -> Section:
    """Return a section with a text to copy."""
    return section("code", name, title, about, text=text, file=file_name)
