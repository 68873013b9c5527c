"""A model taken apart, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.report.layout import heading, plural
from distsim.report.tables import list_text
from distsim.units import fmt_bytes

#: What the table leaves out, and names that fit a terminal.
_LEFT_OUT = ("parameters", "backward_flop")
_NAMES = {"forward_flop": "flop", "forward_bytes": "moved_bytes", "flop_per_byte": "flop/B"}


def anatomy_text(parts: Mapping[str, Any]) -> RenderableType:
    """Return the table of operators that `distsim.prediction.anatomy.dissect` gives."""
    rows = [narrow(row) for row in parts["operators"]]
    what = f"{plural(parts['samples'], 'sample')} of length {parts['length']:,}"
    saved = fmt_bytes(parts["activation_bytes"])
    return Group(
        Text(),
        heading(f"Operators of a micro batch: {what}, {saved} of activations"),
        list_text(rows),
    )


def narrow(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without some columns, under names that fit a terminal."""
    return {_NAMES.get(k, k): v for k, v in row.items() if k not in _LEFT_OUT}
