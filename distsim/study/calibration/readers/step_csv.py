"""A table of step times: one run a row, with columns that are keys of a scenario.

Keys are dotted (``plan.tp``) or the short names of `NAMES`; what is the same in all rows stands in
the scenario beside the table. The time has its unit in the name of its column: ``step_s``,
``iter_ms``, ``measured_s``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distsim.errors import DistsimError, Place, ValueProblem
from distsim.scenario.plain import merge
from distsim.study.calibration.measurements import Readings, StepTime
from distsim.study.calibration.readers.base import Checker, placed, reason, see_from_here
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.numbers import number, why_no_time
from distsim.study.calibration.readers.table import Table, head_of, plain_name, read_table
from distsim.study.measured import listed
from distsim.yamlparse import parse_yaml

KIND = "step_csv"

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minutes"), 60.0),
}
_WORDS = (
    "measured|measured_time|step|step_time|iter|iter_time|iteration|iteration_time|time|time_per_step"
    "|time_per_iteration|elapsed|elapsed_time|elapsed_time_per_iteration|batch_time|train_step_time"
)
_TIME = re.compile(rf"(?:{_WORDS})(?:_(?P<unit>[a-z]+))?")
#: Words that, without a unit, are times for certain and no counts or names.
_SURELY = re.compile(r"measured|(?:.*_)?time(?:_per_\w+)?|elapsed\w*")
#: Columns of tables of collectives.
_COLLECTIVE = re.compile(r"size(?:_b|_bytes)?|bytes|(?:alg|bus)bw\w*|(?:in|out_of)_place\w*")
#: The column that counts where there are several.
_FIRST = "measured_s"

#: Short names of columns.
NAMES: Mapping[str, tuple[str, ...]] = {
    **{name: ("plan", name) for name in ("tp", "pp", "dp", "cp", "ep", "etp", "dp_replicas")},
    **{
        name: ("plan", name)
        for name in (
            *("schedule", "virtual_stages", "zero_stage", "sequence_parallel", "recompute"),
            *("overlap_grad_reduce", "overlap_param_gather", "cp_mode", "bucket_size"),
        )
    },
    **dict.fromkeys(("vpp", "virtual_pp"), ("plan", "virtual_stages")),
    "zero": ("plan", "zero_stage"),
    **dict.fromkeys(("devices", "gpus", "n_gpus", "ngpus", "num_gpus"), ("cluster", "devices")),
    **dict.fromkeys(("world_size", "accelerators"), ("cluster", "devices")),
    "topology": ("cluster", "topology"),
    "device": ("cluster", "device"),
    **dict.fromkeys(("micro_batch", "mbs", "micro_size"), ("batch", "micro_size")),
    "micro_batch_size": ("batch", "micro_size"),
    **dict.fromkeys(("global_batch", "gbs", "global_size"), ("batch", "global_size")),
    "global_batch_size": ("batch", "global_size"),
    **dict.fromkeys(("sequence", "seq", "seq_length", "seq_len"), ("batch", "sequence_length")),
    "sequence_length": ("batch", "sequence_length"),
    **{name: (name,) for name in ("model", "precision", "optimizer", "stack", "name")},
    **dict.fromkeys(("id", "run"), ("name",)),
    **{
        name: ("model", name)
        for name in (
            *("family", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab"),
            *("max_positions", "experts", "experts_per_token", "expert_ffn", "activation"),
        )
    },
}
#: First parts of dotted columns.
_BLOCKS = frozenset(
    ("cluster", "batch", "plan", "model", "precision", "optimizer", "stack", "noise", "loading")
)
#: Facts about the measurement itself.
_ABOUT = ("weight", "samples", "low_s", "high_s")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_SWITCHES = {"true": True, "yes": True, "false": False, "no": False}
#: Keys that are truth values, which tables also write as 1 and 0.
_TRUTHS = frozenset(("sequence_parallel", "overlap_grad_reduce", "overlap_param_gather"))
#: Keys whose values are names, even where they look like numbers.
_TEXTS = frozenset(("name", "topology", "device", "schedule", "recompute", "bucket_size"))


def sniff(text: str) -> bool:
    """Say whether a text is such a table: a header with a time of a step."""
    columns = [plain_name(cell) for cell in head_of(text)]
    if any(_COLLECTIVE.fullmatch(column) for column in columns) or {"m", "n", "k"} <= {*columns}:
        return False
    return any(_TIME.fullmatch(c) and (_unit(c) or _SURELY.fullmatch(c)) for c in columns)


def _unit(column: str) -> float | None:
    match = _TIME.fullmatch(column)
    return _UNITS.get(match["unit"] or "") if match else None


def read(document: Document) -> Readings:
    """Return the step times of a table, a row each.

    Raises
    ------
    ValueProblem
        DS632, DS635; DS633 where no row has a whole scenario.
    """
    findings = Findings(document, KIND)
    table = read_table(findings)
    rows = _Rows(table, findings)
    out = [time for line, cells in table.rows if (time := rows.step_time(line, cells)) is not None]
    if not out and rows.first_error is not None:
        raise rows.first_error
    return findings.readings(step_times=out)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column that is a key of a scenario."""

    name: str
    keys: tuple[str, ...]


class _Rows:
    """Turns rows of a table into step times."""

    def __init__(self, table: Table, findings: Findings) -> None:
        self._findings, self._comma = findings, table.comma
        self._names = {plain_name(column): column for column in reversed(table.columns)}
        self._time, self._unit = self._time_column(table)
        self._columns = tuple(self._scenario_columns(table))
        document = findings.document
        self._base = document.base
        self._directory = str(document.path.parent)
        self._stem = document.stem
        self._checker = Checker(document.base, document.file, document.stem)
        self.first_error: DistsimError | None = None

    def _time_column(self, table: Table) -> tuple[str, float]:
        """Return the column of times and its unit.

        Raises
        ------
        ValueProblem
            DS635.
        """
        found = {c: u for p, c in self._names.items() if (u := _unit(p)) is not None}
        vague = [c for p, c in self._names.items() if _unit(p) is None and _SURELY.fullmatch(p)]
        first = self._names.get(_FIRST)
        if first is not None:
            return first, 1.0
        if len(found) == 1:
            return next(iter(found.items()))
        what = (
            f"several columns of times: {listed(found)}" if found else f"no unit: {listed(vague)}"
        )
        raise ValueProblem(
            "DS635",
            f"the table has {what}",
            value=table.columns,
            rule="one column of step times, with its unit in its name: step_s, iter_ms, measured_s",
            fix="rename the column that counts to measured_s, or add its unit",
            place=Place(self._findings.file, table.head_line),
        )

    def _scenario_columns(self, table: Table) -> list[_Column]:
        """Return the columns that are keys; the others are noted."""
        out, left = [], []
        for plain, column in reversed(self._names.items()):
            keys = tuple(plain.split("."))
            if len(keys) > 1 and keys[0] in _BLOCKS and all(keys):
                out.append(_Column(column, keys))
            elif plain in NAMES:
                out.append(_Column(column, NAMES[plain]))
            elif column != self._time and plain not in _ABOUT and plain:
                left.append(column)
        if left:
            self._findings.note(f"columns that are not read: {listed(left)}", table.head_line)
        return out

    def step_time(self, line: int, cells: Mapping[str, str]) -> StepTime | None:
        """Return the step time of a row; None where it is left out."""
        text = cells[self._time]
        value = number(text, self._comma)
        time_s = None if value is None else value * self._unit
        wrong = why_no_time(text, time_s) if text else "the row has no time"
        if wrong or time_s is None:
            self._findings.reject(line, f"{self._time}: {wrong or 'no time'}")
            return None
        said: dict[str, Any] = {}
        try:
            said |= self._said(line, cells)
            data = self._completed(said)
            self._checker.check(data, line)
            weight, low_s, high_s = (
                self._about(cells, name, default)
                for name, default in (("weight", 1.0), ("low_s", time_s), ("high_s", time_s))
            )
            samples = max(1, int(self._about(cells, "samples", 1.0)))
        except DistsimError as error:
            placed(error, self._base, said, Place(self._findings.file, line))
            self.first_error = self.first_error or error
            self._findings.reject(line, reason(error, self._findings.file))
            return None
        source = self._findings.source(line)
        return StepTime(
            time_s, data, source, weight, samples, min(low_s, time_s), max(high_s, time_s)
        )

    def _about(self, cells: Mapping[str, str], name: str, default: float) -> float:
        column = self._names.get(name)
        text = cells[column] if column is not None else ""
        value = number(text, self._comma)
        return value if value is not None and 0 < value < 1e12 else default

    def _said(self, line: int, cells: Mapping[str, str]) -> dict[str, Any]:
        """Return what a row says, as the keys of a scenario."""
        said: dict[str, Any] = {"name": f"{self._stem}-{line}"}
        for column in self._columns:
            text = cells[column.name]
            if text:
                _put(
                    said,
                    column.keys,
                    _value(column.keys[-1], text, self._comma, self._findings.file),
                )
        plan, cluster = said.get("plan", {}), said.get("cluster", {})
        if "devices" not in cluster and {"dp", "tp"} <= plan.keys():
            degrees = [plan.get(axis, 1) for axis in ("dp", "tp", "pp", "cp")]
            if all(type(degree) is int for degree in degrees):
                dp, tp, pp, cp = degrees
                said["cluster"] = {**cluster, "devices": dp * tp * pp * cp}
        see_from_here(said, self._directory)
        return said

    def _completed(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return a scenario of what a row says, and beside it what the base says."""
        base = dict(self._base.data)
        for key, value in said.items():
            # A name that a row changes some keys of: model: {base: NAME, layers: 4}.
            if key == "model" and isinstance(value, dict) and isinstance(base.get(key), str):
                base[key] = {"base": base[key]}
        return merge(base, said)


def _put(said: dict[str, Any], keys: tuple[str, ...], value: object) -> None:
    block = said
    for key in keys[:-1]:
        inner = block.get(key)
        if not isinstance(inner, dict):
            # A name beside columns of its keys: model, and layers.
            inner = {} if inner is None else {"base": inner}
            block[key] = inner
        block = inner
    last = keys[-1]
    if isinstance(block.get(last), dict) and not isinstance(value, dict):
        block[last] = {"base": value, **block[last]}
    else:
        block[last] = value


def _value(key: str, text: str, comma: bool, file: str) -> object:
    """Return what a cell says: a truth value, a number, a text, or a block or list as in YAML.

    Raises
    ------
    DistsimError
        As for files of YAML, where a bracket opens something else.
    """
    word = text.lower()
    if text[0] in "{[":
        return parse_yaml(text, file)[0]
    if key in _TEXTS:
        return text
    if word in _SWITCHES:
        return _SWITCHES[word]
    if _WHOLE.fullmatch(text):
        return bool(int(text)) if key in _TRUTHS and text in ("0", "1") else int(text)
    value = number(text, comma)
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return text
    return int(value) if value == int(value) and not re.search(r"[eE]", text) else value
