"""Reading saved output of nccl-tests (and rccl-tests, which prints the same)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from distsim.collectives.costs import bus_bandwidth_factor
from distsim.errors import Place, ValueProblem
from distsim.study.measured import Asked, Measured, Measurements, only, other, possible
from distsim.study.names import collective_of

_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
#: Size, count, type, optionally reduction and root, then out of place and in place (time in us,
#: algbw and busbw in GB/s, wrong); launchers put a prefix before each line.
_ROW = re.compile(
    r"(?:^|[\]:>|]|\s)(?P<size>\d{1,18})\s+(?P<count>\d{1,18})\s+(?P<type>[a-z]\w*)"
    r"(?:\s+(?P<redop>[a-z]\w*))?(?:\s+(?P<root>-?\d+))?"
    r"\s+(?P<time>NUMBER)\s+(?P<algbw>NUMBER)\s+(?P<busbw>NUMBER)\s+\S+"
    r"(?:\s+(?P<in_place>NUMBER)\s+\S+\s+\S+\s+\S+)?\s*$".replace("NUMBER", _NUMBER),
    re.ASCII,
)
_RANK = re.compile(r"\bRank\s+(?P<rank>\d+)\s+(?:Group\s+(?P<group>\d+)\s+)?Pid\b", re.ASCII)
_NAME = re.compile(r"\b(?P<name>[a-z_]{4,30})_perf\b")
#: What stands above the rows of a run, and below them.
_HEADER = re.compile(r"nThread|nccl-tests version|Collective test starting|size\s+count\s+type")
_FOOTER = re.compile(r"Out of bounds values|Avg bus bandwidth")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Benchmarks of nccl-tests that have no collective here.
_OTHERS = frozenset({"gather", "scatter", "hypercube"})
#: Longer lines are none of nccl-tests.
_LONGEST_LINE = 2000
#: Reductions have one, the others say none; where it is printed at all.
_REDUCTIONS = frozenset({"all_reduce", "reduce_scatter", "reduce"})
_MOVES = frozenset({"all_gather", "all_to_all", "broadcast"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row; times in seconds, 0 where there is none."""

    line: int
    size_bytes: float
    time_s: float
    in_place_s: float
    algbw: float
    busbw: float
    redop: str


@dataclass(slots=True)
class Run:
    """One run of a benchmark: what its header says, and its rows.

    Attributes
    ----------
    number : int
        From 1.
    names : dict of str to int
        Collectives that its header names, with the line.
    ranks : dict of str to set of int
        Of each group that it lists.
    """

    number: int
    names: dict[str, int] = field(default_factory=dict)
    ranks: dict[str, set[int]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def collective(self) -> str:
        """The one collective that the header names, or nothing."""
        return next(iter(self.names)) if len(self.names) == 1 else ""

    @property
    def n(self) -> int:
        """Ranks of the largest group, 0 where none is listed."""
        return max(map(len, self.ranks.values()), default=0)

    @property
    def ratio(self) -> tuple[float, float]:
        """Bus over algorithm bandwidth, and how far rounding can move it; 0 where unknown."""
        best = max(self.rows, key=lambda row: row.algbw)
        if best.algbw < 1:
            return 0.0, 0.0
        ratio = best.busbw / best.algbw
        return ratio, 0.006 * (1 + ratio) / best.algbw + 1e-4

    def value(self, column: str) -> str:
        """Return what ``--where`` compares."""
        known = {"run": str(self.number), "op": self.collective, "ranks": str(self.n or "")}
        return known[column]


def of_log(text: str, file: str, asked: Asked) -> Measurements:
    """Return the measurements that are wanted.

    Raises
    ------
    ValueProblem
        DS241, DS242, DS243.
    """
    everything = runs(text)
    if not everything:
        return Measurements(file, (), ())
    chosen = only(everything, asked.where, ("run", "op", "ranks"), Run.value, file)
    fitting = [run for run in chosen if fits(run, asked)]
    if not fitting:
        first = chosen[0]
        found = "; ".join(described(run) for run in chosen[:4])
        raise other(asked, Place(file, first.rows[0].line), found, _ask_for(first))
    notes = []
    if len(fitting) < len(everything):
        numbers = ", ".join(str(run.number) for run in fitting)
        notes.append(f"of {len(everything)} runs in the file run {numbers} alone is compared")
    elif len(fitting) > 1:
        notes.append(f"{len(fitting)} runs in the file; --where run=1 takes the first alone")
    for run in fitting:
        notes += _doubts(run, asked)
    rows = [row for run in fitting for row in run.rows]
    points = [
        Measured(row.size_bytes, time_s, row.line)
        for row in rows
        if possible(row.size_bytes, time_s := row.in_place_s if asked.in_place else row.time_s)
    ]
    if len(points) < len(rows) and points:
        notes.append(f"{len(rows) - len(points)} of {len(rows)} rows have no size or no time")
    if asked.in_place and not points:
        raise ValueProblem(
            "DS241", "the file has no times in place", place=Place(file, rows[0].line),
            rule="a second time, algbw, busbw and #wrong in each row", fix="leave out --in-place",
        )  # fmt: skip
    return Measurements(file, tuple(points), tuple(dict.fromkeys(notes)))


def runs(text: str) -> list[Run]:
    """Return the runs that a text holds, those that have rows."""
    out, ended = [Run(1)], False
    for number, line in lines(text):
        row, rank, name = _row(number, line), _RANK.search(line), _NAME.search(line)
        begins = bool(rank or name or _HEADER.search(line)) or (row is not None and ended)
        if begins and out[-1].rows:
            out.append(Run(len(out) + 1))
            ended = False
        run = out[-1]
        if row is not None:
            run.rows.append(row)
        if rank:
            run.ranks.setdefault(rank["group"] or "0", set()).add(int(rank["rank"][:9]))
        if name and (collective := _named(name["name"])):
            run.names.setdefault(collective, number)
        ended = bool(run.rows) and (ended or _FOOTER.search(line) is not None)
    out = [run for run in out if run.rows]
    for number, run in enumerate(out, start=1):
        run.number = number
    return out


def _named(word: str) -> str | None:
    """Return the collective of a benchmark; also of those that are not simulated."""
    return collective_of(word) or (word if word in _OTHERS else None)


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, without colours."""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if len(line) <= _LONGEST_LINE:
            yield number, _COLOUR.sub("", line.replace("\r", " "))


def _row(number: int, line: str) -> Row | None:
    match = _ROW.search(line)
    if match is None:
        return None
    us = 1e-6
    return Row(
        number,
        float(match["size"]),
        float(match["time"]) * us,
        float(match["in_place"] or 0) * us,
        float(match["algbw"]),
        float(match["busbw"]),
        match["redop"] or "",
    )


def fits(run: Run, asked: Asked) -> bool:
    """Say whether a run can be what is wanted: by name, by ranks, and by its bus bandwidth."""
    if run.collective and not asked.same(run.collective):
        return False
    if run.n and run.n != asked.devices:
        return False
    ratio, slack = run.ratio
    return not ratio or abs(ratio - bus_bandwidth_factor(asked.collective, asked.devices)) <= slack


def what(run: Run) -> tuple[str, int]:
    """Return the collective and the ranks of a run, by its header or by its bus bandwidth."""
    ratio, slack = run.ratio
    name, ranks = run.collective, run.n
    if ratio and not (name and ranks):
        implied, number = _implied(ratio, slack)
        name, ranks = name or implied, ranks or number
    return name, ranks


def described(run: Run) -> str:
    """Return what a run is, for messages."""
    name, ranks = what(run)
    return f"run {run.number} is {name or 'a collective'} of {ranks or 'unknown'} ranks"


def _implied(ratio: float, slack: float) -> tuple[str, int]:
    """Return which collectives have such a bus bandwidth, and over how many ranks (0: any).

    The inverse of `bus_bandwidth_factor`.
    """
    if abs(ratio - 1) <= slack:
        return "broadcast, reduce or send_recv", 0
    if ratio > 1:
        return "all_reduce", round(2 / (2 - ratio)) if ratio < 2 - slack else 0
    return "all_gather, reduce_scatter or all_to_all", round(1 / (1 - ratio))


def _ask_for(run: Run) -> str:
    name, ranks = what(run)
    asked = [name.replace("_", "-")] if "," not in name else []
    asked += [f"--devices {ranks}"] if ranks else []
    return f"ask for {' '.join(asked)}".rstrip() if any(asked) else "ask for what the log is of"


def _doubts(run: Run, asked: Asked) -> list[str]:
    """Return what does not rule a run out, but is worth a look."""
    if run.collective:
        return []
    words = Counter(row.redop for row in run.rows if row.redop)
    word = words.most_common(1)[0][0] if words else ""
    wrong = (word == "none" and asked.collective in _REDUCTIONS) or (
        word not in ("", "none") and asked.collective in _MOVES
    )
    if not wrong:
        return []
    return [f"the rows say redop {word}, which is unusual for {asked.collective}: the same log?"]
