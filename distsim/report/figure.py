"""Figures: matplotlib, where it is installed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from distsim.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that colour-blind readers can tell apart (Okabe and Ito, Color Universal Design, 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FORMATS = ("svg", "png", "pdf")


def figure(width_in: float = 8.0, height_in: float = 4.8) -> Figure:
    """Return an empty figure that is drawn without a display.

    Raises
    ------
    UsageError
        DS640 where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "DS640",
            "plots need matplotlib, which is not installed",
            rule="plots are an extra, so that distsim itself stays small",
            fix="pip install 'distsim-train[plot]'",
        ) from None
    return Figure(figsize=(width_in, height_in), layout="constrained")


def file_format(path: str) -> str:
    """Return the format that the name of a file asks for.

    Raises
    ------
    UsageError
        DS641 for a name that ends in another.
    """
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise UsageError(
            "DS641",
            f"{path} has no ending of a picture",
            value=path,
            rule=f"one of {', '.join('.' + f for f in FORMATS)}",
            fix=f"name it {Path(path).stem or 'plot'}.svg",
        )
    return ending


def rendered(drawn: Figure, path: str) -> bytes:
    """Return a figure as the content of a file; the same figure always gives the same bytes."""
    import matplotlib as mpl

    out = io.BytesIO()
    # Without these, SVG holds random names and the date.
    with mpl.rc_context({"svg.hashsalt": "distsim", "svg.fonttype": "none"}):
        kind = file_format(path)
        about = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else {}
        drawn.savefig(out, format=kind, dpi=150, metadata=about)
    return out.getvalue()
