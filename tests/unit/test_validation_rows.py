"""Tables of measurements: rows as scenarios, and errors with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from distsim.errors import DistsimError, FileError, ValueProblem
from distsim.scenario.load import load
from distsim.study.validate_rows import SPLITS, rows, sources

GOOD = {
    "id": "one",
    "source": "a paper",
    "url": "arXiv 1",
    "date": "2024-01",
    "split": "held_out",
    "measured_s": "1.5",
    "derived": "false",
    "notes": "",
    "model": "gpt2",
    "cluster.topology": "dgx-a100",
    "cluster.devices": "8",
    "batch.global_size": "16",
    "plan.tp": "2",
}


def table(tmp_path: Path, *records: dict[str, str], header: str | None = None) -> Path:
    keys = list(dict.fromkeys(key for record in records for key in record))
    lines = [header or ",".join(keys)]
    lines += [",".join(record.get(key, "") for key in keys) for record in records]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def problem(file: Path) -> DistsimError:
    with pytest.raises(DistsimError) as caught:
        [row.load() for row in rows(file)]
    return caught.value


def test_dotted_columns_are_what_set_makes_of_them(tmp_path: Path) -> None:
    model = '"{base: gpt2, layers: 2}"'
    (row,) = rows(table(tmp_path, {**GOOD, "model": model, "precision": "fp16"}))
    assert row.load() == load(
        {"schema": 1, "name": "one", "cluster": {"topology": "x", "devices": 1}, "model": "y",
         "batch": {"global_size": 1}},
        ["cluster.topology=dgx-a100", "cluster.devices=8", "model={base: gpt2, layers: 2}",
         "batch.global_size=16", "plan.tp=2", "precision=fp16"],
    )  # fmt: skip


def test_the_first_row_fills_what_others_leave_empty(tmp_path: Path) -> None:
    common = {"id": "*", "plan.tp": "4", "source": "all", "plan.pp": "1"}
    given = {**GOOD, "source": "", "plan.tp": ""}
    first, second = rows(table(tmp_path, common, given, {**GOOD, "id": "two"}))
    assert (first.source, first.scenario["plan"]) == ("all", {"tp": 4, "pp": 1})
    assert (second.source, second.scenario["plan"]) == ("a paper", {"tp": 2, "pp": 1})


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("measured_s", "", "measured_s, or measured_bytes"),
        ("measured_s", "fast", "'fast'"),
        ("measured_s", "nan", "a number above 0"),
        ("measured_s", "-1", "'-1'"),
        ("measured_bytes", "5", "measured_s, or measured_bytes"),
        ("memory_kind", "device", "memory says what was read"),
        ("memory_kind", "all", "allocated, reserved, device"),
        ("split", "train", "calibration, held_out"),
        ("derived", "yes", "true or false"),
        ("derived", "true", "what it comes from"),
        ("tflops_per_device", "0", "or nothing"),
        ("source", " ", "a text"),
        ("id", "*", "comes first"),
    ],
)
def test_a_bad_cell_is_refused_at_its_line(
    tmp_path: Path, column: str, cell: str, says: str
) -> None:
    error = problem(table(tmp_path, GOOD, {**GOOD, "id": "two", column: cell}))
    assert error.code == "DS240" and says in str(error)
    assert error.place is not None and error.place.line == 3


@pytest.mark.parametrize(
    ("column", "cell", "code", "path"),
    [
        ("plan.tq", "2", "DS201", ("plan", "tq")),
        ("plan.tp", "two", "DS202", ("plan", "tp")),
        ("plan.tp", "0", "DS203", ("plan", "tp")),
        ("plan.schedule", "1f2b", "DS204", ("plan", "schedule")),
        ("plan.tp", '"{"', "DS110", ("plan", "tp")),
        ("model.layers", "4", "DS621", ("model",)),
        ("batch.micro_size", "1.5", "DS202", ("batch", "micro_size")),
    ],
)
def test_a_bad_value_of_a_scenario_is_refused_at_its_column(
    tmp_path: Path, column: str, cell: str, code: str, path: tuple[str, ...]
) -> None:
    broken = {**GOOD, "id": "two", "source": '"a, b"', column: cell}
    error = problem(table(tmp_path, {**dict.fromkeys(broken, ""), "id": "*"}, broken))
    assert (error.code, error.path) == (code, path)
    line = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[2]
    assert error.place is not None and error.place.line == 3
    assert line[error.place.column - 1 :].startswith(cell)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": "slit"}, "split"),
        ({"model": "colour"}, "colour"),
        ({"plan.tp": "paln.tp"}, "did you mean"),
        ({"notes": "model"}, "notes"),
    ],
)
def test_a_bad_header_is_refused(tmp_path: Path, change: dict[str, str], says: str) -> None:
    header = ",".join(change.get(key, key) for key in GOOD)
    error = problem(table(tmp_path, GOOD, header=header))
    assert error.code == "DS240" and says in str(error)
    assert error.place is not None and error.place.line == 1


def test_an_id_stands_once(tmp_path: Path) -> None:
    error = problem(table(tmp_path, GOOD, GOOD))
    assert "an id stands once" in str(error)


def test_a_column_stands_once(tmp_path: Path) -> None:
    error = problem(table(tmp_path, GOOD, header=",".join([*GOOD][:-1]) + ",model"))
    assert "twice" in str(error)


def test_a_short_row_and_an_open_quote_are_refused(tmp_path: Path) -> None:
    file = table(tmp_path, GOOD)
    for tail in ("1,2,3\n", '"open'):
        broken = tmp_path / "broken.csv"
        broken.write_text(file.read_text(encoding="utf-8") + tail, encoding="utf-8")
        with pytest.raises(ValueProblem, match=r"broken\.csv:3: DS240"):
            rows(broken)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        rows(tmp_path / "none.csv")
    assert caught.value.code == "DS101"


@pytest.mark.parametrize("name", sources())
def test_every_shipped_row_is_a_scenario_with_its_source(name: str) -> None:
    for row in rows(sources()[name]):
        assert row.load().name == row.id
        assert row.source and row.url and row.date[:2] == "20"
        assert row.split in SPLITS and (row.measured_s or row.measured_bytes)


def test_at_least_three_hundred_step_times_are_shipped() -> None:
    shipped = [row for path in sources().values() for row in rows(path)]
    assert sum(row.measured_s is not None for row in shipped) >= 300


@pytest.mark.parametrize("name", sources())
def test_rows_of_one_model_are_of_one_split(name: str) -> None:
    """Where a file has several models; table 2 of Narayanan calibrates two rows by name."""
    found: dict[str, set[str]] = {}
    for row in rows(sources()[name]):
        model = row.scenario["model"]
        block = {"base": model} if isinstance(model, str) else model
        block = {key: value for key, value in block.items() if key != "max_positions"}
        found.setdefault(str(block), set()).add(row.split)
    if len(found) > 1 and name != "narayanan-2021-table2":
        mixed = [model for model, kinds in found.items() if len(kinds) > 1]
        assert not mixed
