"""Saved output of nccl-tests, and tables of sizes and times of collectives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from distsim.collectives.costs import bus_bandwidth_factor
from distsim.errors import Place, ValueProblem
from distsim.study.calibration.measurements import CollectiveTime, Readings
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.numbers import number
from distsim.study.calibration.readers.table import Table, head_of, plain_name, read_table
from distsim.study.measured import listed, possible
from distsim.study.names import collective_of
from distsim.study.nccl_log import Run, runs, what

KIND = "nccl"

#: What nccl-tests calls a collective that has another name in distsim.
NAMES = {"all_to_all": "alltoall", "send_recv": "sendrecv", "send": "sendrecv"}
_HOST = re.compile(
    r"\bRank\s+[0-9]+\s+(?:Group\s+[0-9]+\s+)?Pid\s+[0-9]+\s+on\s+(\S{1,255})\s+device"
)
#: What looks like a row: size, count and a type.
_LOOKS = re.compile(
    r"(?:^|[\]:>|]|\s)[0-9]{1,18}\s+[0-9]{1,18}\s+"
    r"(?:float|half|double|bfloat16|u?int(?:8|32|64)|fp8_\w+|f8\w+)\s",
    re.ASCII,
)
_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9])")
_SNIFF = re.compile(
    r"nccl-tests version|# nThread|\b[a-z_]{4,30}_perf\b|# Avg bus bandwidth|size\s+count\s+type"
)
_SIZES = ("size_bytes", "size_b", "size", "bytes")
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_RATES = {"gbps": 1e9, "gb_s": 1e9, "bytes_per_s": 1.0}
_OPERATIONS = ("op", "operation", "collective")
_RANKS = ("nranks", "ranks", "n_ranks", "world_size", "devices")
_NODES = ("nodes", "n_nodes", "nnodes", "hosts")
_SYSTEMS = ("id", "system", "cluster", "device", "gpu")
_PLACES = ("placement", "place")


def sniff(text: str) -> bool:
    """Say whether a text is such output or such a table."""
    return _is_table(text) or _SNIFF.search(text) is not None


def _is_table(text: str) -> bool:
    names = {plain_name(cell) for cell in head_of(text)}
    times = (f"{head}_{unit}" for head in ("time", "out_of_place", "in_place") for unit in _TIMES)
    rates = (f"{head}_{unit}" for head in ("algbw", "busbw") for unit in _RATES)
    return bool(names & {*_SIZES}) and bool(names & {*times, *rates})


def read(document: Document) -> Readings:
    """Return the times of collectives out of place.

    Raises
    ------
    ValueProblem
        DS632; DS243 for a table of several systems.
    """
    findings = Findings(document, KIND)
    found = _of_table(findings) if _is_table(document.text) else _of_log(findings)
    return findings.readings(collectives=tuple(found))


def _of_log(findings: Findings) -> Iterator[CollectiveTime]:
    document = findings.document
    found, broken = _runs(document.text, document)
    if broken and any(_COMMA.search(line) for line in broken.values()):
        findings.note("numbers have a decimal comma")
        found, broken = _runs(_COMMA.sub(".", document.text), document)
    for line in broken:
        findings.reject(line, "the row is not whole: size, count, type, time, algbw, busbw, #wrong")
    hosts = _hosts(document, found)
    for run in found:
        name, ranks = what(run)
        collective = collective_of(name) if run.collective or "," not in name else None
        first = run.rows[0].line
        if collective is None or bus_bandwidth_factor(collective, 2) <= 0:
            said = name or "a collective without a name"
            findings.reject(first, f"run {run.number} is {said}: none that is simulated")
            continue
        if ranks < 2:
            findings.reject(
                first, f"run {run.number}, {collective}, does not say of how many ranks"
            )
            continue
        nodes = len(hosts[run.number]) or None
        if nodes is None:
            findings.note("the log does not say on how many nodes", first)
        for row in run.rows:
            if not possible(row.size_bytes, row.time_s):
                if row.size_bytes:
                    findings.reject(row.line, f"{row.size_bytes:.0f} B in {row.time_s:g} s")
                continue
            yield CollectiveTime(
                NAMES.get(collective, collective), row.size_bytes, ranks, nodes, row.time_s,
                findings.source(row.line),
            )  # fmt: skip


def _runs(text: str, document: Document) -> tuple[list[Run], dict[int, str]]:
    """Return the runs of a log, and the lines that look like rows and are none, by number."""
    found = runs(text)
    rows = {row.line for run in found for row in run.rows}
    broken = {
        at: line for at, line in document.lines() if at not in rows and _LOOKS.search(line[:2000])
    }
    return found, broken


def _hosts(document: Document, found: list[Run]) -> Mapping[int, set[str]]:
    """Return the hosts that each run lists above its rows, by its number."""
    hosts: dict[int, set[str]] = {run.number: set() for run in found}
    ends = iter([(run.rows[-1].line, run.number) for run in found])
    end, run_number = next(ends, (0, 0))
    for at, line in document.lines():
        while at > end:
            following = next(ends, None)
            if following is None:
                return hosts
            end, run_number = following
        if "Pid" in line and (match := _HOST.search(line)):
            hosts[run_number].add(match[1])
    return hosts


def _of_table(findings: Findings) -> Iterator[CollectiveTime]:
    table = read_table(findings)
    names = {plain_name(column): column for column in reversed(table.columns)}

    def first(*wanted: str) -> str | None:
        return next((names[name] for name in wanted if name in names), None)

    size, op, ranks = first(*_SIZES), first(*_OPERATIONS), first(*_RANKS)
    missing = [
        wanted
        for wanted, column in (("size_bytes", size), ("op", op), ("ranks", ranks))
        if column is None
    ]
    if size is None or op is None or ranks is None:
        raise ValueProblem(
            "DS632",
            f"the table has no column {', '.join(missing)}",
            rule="size_bytes, op, ranks, and time_us or busbw_GBps; nodes where there are several",
            fix="add the column",
            place=Place(findings.file, table.head_line),
        )
    _one_system(table, names, findings)
    place, nodes = first(*_PLACES), first(*_NODES)
    for line, cells in table.rows:
        if place is not None and plain_name(cells[place]) == "in_place":
            continue
        collective = collective_of(cells[op])
        n = number(cells[ranks])
        if collective is None or not n or n < 2 or n != int(n) or n > 1e9:
            findings.reject(line, f"{cells[op][:40]!r} of {cells[ranks][:40]!r} ranks")
            continue
        bytes_ = number(cells[size], table.comma) or 0.0
        time_s = _time(cells, names, bytes_, bus_bandwidth_factor(collective, int(n)), table.comma)
        if not possible(bytes_, time_s):
            findings.reject(line, f"{cells[size][:40]!r} bytes in {time_s:g} s")
            continue
        hosts = number(cells[nodes]) if nodes is not None else None
        yield CollectiveTime(
            NAMES.get(collective, collective), bytes_, int(n),
            int(hosts) if hosts and 1 <= hosts <= n else None, time_s, findings.source(line),
        )  # fmt: skip


def _time(
    cells: Mapping[str, str], names: Mapping[str, str], size: float, bus: float, comma: bool
) -> float:
    """Return the time of a row, by the first of its columns of times or rates that is filled."""
    for unit, factor in _TIMES.items():
        for head in ("out_of_place", "time"):
            column = names.get(f"{head}_{unit}")
            value = number(cells[column], comma) if column is not None else None
            if value is not None:
                return value * factor
    for head, of_size in (("algbw", 1.0), ("busbw", bus)):
        for ending, factor in _RATES.items():
            column = names.get(f"{head}_{ending}")
            value = number(cells[column], comma) if column is not None else None
            if value is not None:
                return of_size * size / (value * factor) if value > 0 else 0.0
    return 0.0


def _one_system(table: Table, names: Mapping[str, str], findings: Findings) -> None:
    """Refuse rows of several systems: one profile describes one.

    Raises
    ------
    ValueProblem
        DS243.
    """
    for column in (names[system] for system in _SYSTEMS if system in names):
        values = dict.fromkeys(cells[column] for _, cells in table.rows)
        if len(values) > 1:
            raise ValueProblem(
                "DS243",
                f"the table has rows of {len(values)} systems",
                value=next(iter(values)),
                rule=f"one system in a profile; {column} is {listed(values)}",
                fix="keep the rows of one of them",
                place=Place(findings.file, table.head_line),
            )
