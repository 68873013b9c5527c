"""Tables of results: the same values in CSV, JSON, pandas and Arrow."""

from __future__ import annotations

import csv
import io
import json
import pickle
import sys

import numpy as np
import pytest

from distsim.errors import UsageError
from distsim.study.table import Table

ROWS = [
    {"name": "a", "n": 1, "step_s": 0.1 + 0.2, "fits": True, "plan": {"tp": 2}, "mixed": 1},
    {"name": "b, c", "n": np.int64(2), "step_s": None, "fits": False, "plan": [1, 2], "mixed": "x"},
    {"name": None, "n": 3, "step_s": 5e-324, "fits": None, "plan": None, "mixed": None},
]
TABLE = Table.from_rows(ROWS)


def test_rows_come_back() -> None:
    assert len(TABLE) == 3
    assert TABLE.names == ("name", "n", "step_s", "fits", "plan", "mixed")
    assert TABLE["n"] == (1, 2, 3)
    assert [type(v) for v in TABLE["n"]] == [int, int, int]
    assert TABLE["plan"] == ('{"tp": 2}', "[1, 2]", None)
    assert list(TABLE) == TABLE.rows()
    assert Table.from_rows(TABLE.rows()) == TABLE
    assert Table.from_rows([{"a": 1}, {"b": 2}]).rows() == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]
    assert Table.from_rows([], ["a"]).rows() == []
    assert pickle.loads(pickle.dumps(TABLE)) == TABLE


def test_columns_can_be_chosen() -> None:
    assert TABLE.select(["step_s", "name"]).names == ("step_s", "name")
    zero = Table({"a": (0.0, None), "b": (0.0, 1.0), "c": ("", "")})
    assert zero.without_empty().names == ("b",)
    with pytest.raises(ValueError, match="different lengths"):
        Table({"a": (1,), "b": (1, 2)})
    with pytest.raises(TypeError):
        TABLE.columns["a"] = (1,)  # type: ignore[index]


def test_text_reads_back_to_the_same_values() -> None:
    assert json.loads(TABLE.to_json()) == TABLE.rows()
    lines = list(csv.DictReader(io.StringIO(TABLE.to_csv())))
    assert [float(line["step_s"]) if line["step_s"] else None for line in lines] == list(
        TABLE["step_s"]
    )
    assert [line["name"] for line in lines] == ["a", "b, c", ""]
    with pytest.raises(ValueError, match="JSON"):
        Table({"a": (float("nan"),)}).to_json()


def test_frames() -> None:
    pytest.importorskip("pandas")
    arrow, frame = TABLE.to_arrow(), TABLE.to_pandas()
    assert arrow.column_names == list(frame.columns) == list(TABLE.names)
    found = arrow.to_pylist()
    assert [row["step_s"] for row in found] == list(TABLE["step_s"])
    assert [row["mixed"] for row in found] == ["1", "x", None]
    assert [row["fits"] for row in found] == [True, False, None]
    assert frame["n"].sum() == 6
    assert arrow.schema.field("n").type == "int64"
    whole = Table({"x": (1, 2.5, None), "empty": (None, None, None)}).to_arrow()
    assert whole.column("x").to_pylist() == [1.0, 2.5, None]


@pytest.mark.parametrize(("package", "how"), [("pandas", "to_pandas"), ("pyarrow", "to_parquet")])
def test_packages_that_are_not_installed(
    package: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"distsim-train\[tables\]") as caught:
        getattr(TABLE, how)()
    assert caught.value.code == "DS667"
