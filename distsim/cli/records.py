"""Printing lists of records and single ones, as text or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]


def print_list(
    kind: str, rows: Sequence[Record], as_json: bool, optional: Sequence[Sequence[str]] = ()
) -> None:
    """Print records of one kind as a table, without the keys of `optional` where it is narrow."""
    from distsim.cli.output import print_json, print_text

    if as_json:
        print_json({kind: rows})
    else:
        from distsim.report.tables import list_text

        print_text(list_text(rows, optional))


def print_record(record: Record, as_json: bool) -> None:
    """Print one record: names and values."""
    from distsim.cli.output import print_json, print_text

    if as_json:
        print_json(record)
    else:
        from distsim.report.tables import record_text

        print_text(record_text(record))
