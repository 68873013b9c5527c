"""Tables of results: named columns of plain values, for CSV, JSON, Parquet, pandas and Arrow."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from distsim.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: What a cell may hold; what is a list or a mapping becomes JSON text.
Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with named columns; a number of a column is in the unit that its name ends in.

    Attributes
    ----------
    columns : mapping of str to tuple
        Values by name, in order, all of one length; None where a row has none.
    """

    columns: Mapping[str, tuple[Plain, ...]]

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    @classmethod
    def from_rows(
        cls, rows: Iterable[Mapping[str, object]], names: Sequence[str] | None = None
    ) -> Self:
        """Return the table of some rows.

        Parameters
        ----------
        rows : iterable of mapping
            Values by name; a name may be missing.
        names : sequence of str, optional
            Columns in order; by default all names in the order in which they first appear.
        """
        rows = list(rows)
        chosen = names if names is not None else dict.fromkeys(k for row in rows for k in row)
        return cls({name: tuple(_plain(row.get(name)) for row in rows) for name in chosen})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __iter__(self) -> Iterator[dict[str, Plain]]:
        return iter(self.rows())

    def __getitem__(self, name: str) -> tuple[Plain, ...]:
        return self.columns[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.columns),)  # a mappingproxy does not pickle

    def rows(self) -> list[dict[str, Plain]]:
        """Return the rows as dicts."""
        values = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in values]

    def select(self, names: Iterable[str]) -> Table:
        """Return the table of some columns, in their order."""
        return Table({name: self.columns[name] for name in names})

    def without_empty(self) -> Table:
        """Return the table without columns in which no row has anything but None or 0."""
        return Table({k: v for k, v in self.columns.items() if any(v)})

    def to_csv(self) -> str:
        """Return the table as CSV: a line of names, then the rows; floats read back the same."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return out.getvalue()

    def to_json(self) -> str:
        """Return the rows as a JSON list of objects, in SI units."""
        return json.dumps(self.rows(), indent=1, allow_nan=False) + "\n"

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas data frame.

        Raises
        ------
        UsageError
            DS667 where pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise _missing("pandas") from None
        return pd.DataFrame(dict(self.columns))

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table.

        Raises
        ------
        UsageError
            DS667 where pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise _missing("pyarrow") from None
        return pa.table({k: pa.array(_of_one_type(v)) for k, v in self.columns.items()})

    def to_parquet(self) -> bytes:
        """Return the content of a Parquet file.

        Raises
        ------
        UsageError
            DS667 where pyarrow is not installed.
        """
        arrow = self.to_arrow()
        from pyarrow import parquet

        out = io.BytesIO()
        parquet.write_table(arrow, out)
        return out.getvalue()


def _plain(value: object) -> Plain:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "item"):  # a number of numpy
        return _plain(value.item())
    return json.dumps(value)


def _of_one_type(values: Sequence[Plain]) -> list[Plain]:
    """Return values that Arrow takes as one column: truth values, numbers, or else texts."""
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) <= 1:
        return list(values)
    if kinds == {int, float}:
        return [None if v is None else float(v) for v in values]
    return [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]


def _missing(package: str) -> UsageError:
    return UsageError(
        "DS667",
        f"this needs {package}, which is not installed",
        value=package,
        rule="pandas and pyarrow are an extra, so that distsim itself stays small",
        fix="pip install 'distsim-train[tables]'; CSV and JSON need nothing more",
    )
