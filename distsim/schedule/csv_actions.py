"""Pipeline schedules as PyTorch's CSV (torch.distributed.pipelining, ``_dump_csv``).

One row a rank; one cell an action, ``<stage><action><microbatch>``. Stages are what is called model
chunks here, numbered from 0 in the order in which activations pass through them, and a rank is a
pipeline stage. ``F``, ``B``, ``I`` and ``W`` compute: forward, whole backward, input gradient,
weight gradient. ``(0F4;7B0)OVERLAP_F_B`` runs a forward and a backward pass together. An empty cell
waits, so that the cells of a file that only computes line up as time slots. ``SEND_F``, ``RECV_F``,
``SEND_B``, ``RECV_B``, ``UNSHARD``, ``RESHARD`` and ``REDUCE_GRAD`` are read and left out: what is
communicated follows from the order.

PyTorch's own schedules have one copy of the model. A file in which the stages fall into equal
blocks with micro batches of their own, as `write` makes it of DualPipe, is read as so many copies.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from distsim.errors import Place, PlanError, SyntaxProblem, show
from distsim.record import record
from distsim.schedule.actions import FORWARD, LETTERS, WEIGHT, Actions, make
from distsim.schedule.check import first_fault
from distsim.schedule.flat import Flat, Ints, flatten
from distsim.schedule.schedule import Placement, Schedule
from distsim.schedule.timing import longest_path, unit_times

#: Most actions of a file, most characters, and most cells that are filled up to line up.
MOST_ACTIONS, MOST_CHARACTERS, MOST_SLOTS = 1 << 20, 1 << 25, 1 << 22

_NUMBER = "[0-9]{1,9}"
_COMPUTE = re.compile(rf"({_NUMBER})([FBIW])({_NUMBER})")
_SENT = re.compile(rf"({_NUMBER})(?:SEND_F|RECV_F|SEND_B|RECV_B)({_NUMBER})")
_WHOLE = re.compile(rf"({_NUMBER})(?:UNSHARD|RESHARD|REDUCE_GRAD)({_NUMBER})?")
_PAIR = re.compile(r"\(([^;()]*);([^;()]*)\)OVERLAP_F_B")


@record
class _Cell:
    """An action of a file: stage, kind (-1 = communication), micro batch, where it stands."""

    number: int
    kind: int
    microbatch: int
    paired: bool
    rank: int
    line: int
    column: int


@record(eq=False)
class Table:
    """A schedule as a file lists it.

    Attributes
    ----------
    name : str
        Name of the file.
    orders : tuple of Actions
        Actions of each rank.
    placement : tuple of tuple of int
        ``[rank][chunk]`` -> number of the model chunk.
    microbatches, replicas : int
        Micro batches, and copies of the model.
    """

    name: str
    orders: tuple[Actions, ...]
    placement: Placement
    microbatches: int
    replicas: int

    @property
    def stages(self) -> int:
        """Number of ranks."""
        return len(self.placement)

    def order(self, stages: int, microbatches: int, virtual_stages: int) -> Sequence[Actions]:
        """Return the actions of each rank.

        Raises
        ------
        PlanError
            DS316 for other numbers of stages, micro batches or chunks than those of the file.
        """
        for what, asked, has in (
            ("stages", stages, self.stages),
            ("micro batches", microbatches, self.microbatches),
            ("virtual stages", virtual_stages, len(self.placement[0])),
        ):
            if asked != has and not (what == "virtual stages" and asked == 1):
                raise PlanError(
                    "DS316",
                    f"the schedule of {self.name} is for {what} = {has}, but the plan has {asked}",
                    path=("plan", "schedule"),
                    value=asked,
                    rule="a schedule from a file has the stages and micro batches that it lists",
                    fix=f"change the plan to {what} = {has}, or write the file anew",
                )
        return self.orders

    def placed(self, stages: int, chunks: int) -> Placement:
        """Return which model chunks each rank holds, whatever is asked for."""
        return self.placement

    def bubble(
        self,
        stages: int,
        microbatches: int,
        virtual_stages: int,
        forward_s: float = 1.0,
        input_s: float = 1.0,
        weight_s: float = 1.0,
    ) -> float:
        """Return the bubble at these times: a file has no closed form."""
        return unit_times(
            self.order(stages, microbatches, virtual_stages),
            self.placement,
            replicas=self.replicas,
            forward_s=forward_s,
            input_s=input_s,
            weight_s=weight_s,
        ).bubble

    def schedule(self) -> Schedule:
        """Return the schedule of the file."""
        return Schedule(
            name=self.name,
            order=self.order,
            bubble=self.bubble,
            summary=f"from a file: {self.stages} stages, {self.microbatches} micro batches",
            source=self.name,
            chunks=len(self.placement[0]),
            placement=self.placed,
            replicas=self.replicas,
        )


def read(text: str, name: str) -> Schedule:
    """Return the schedule that a CSV file holds.

    Parameters
    ----------
    text : str
        Content of the file.
    name : str
        Name of the file, for messages.

    Raises
    ------
    SyntaxProblem
        DS125 to DS129, with line and column; a column counts cells.
    """
    return parse(text, name).schedule()


def parse(text: str, name: str) -> Table:
    """Return a file's actions, and which rank holds which stage; see `read`."""
    cells = list(_cells(text, name))
    placement = _placement(cells, name)
    ranks: list[list[_Cell]] = [[] for _ in placement]
    for cell in cells:
        if cell.kind >= 0:
            ranks[cell.rank].append(cell)
    orders = tuple(_order(rank, chunks) for rank, chunks in zip(ranks, placement, strict=True))
    single = flatten(orders, placement)
    replicas = _copies(single)
    flat = single if replicas == 1 else flatten(orders, placement, replicas)
    fault = first_fault(flat)
    if fault is not None:
        # A fault of the whole rank is shown at its first action.
        here = next(iter(ranks[fault.stage][max(fault.index, 0) :]), None)
        where = f"rank {fault.stage}"
        where += f", column {here.column}" if here and fault.index >= 0 else ""
        raise SyntaxProblem(
            "DS127" if fault.kind == "coverage" else "DS128",
            f"{where}: {fault.message}",
            rule=fault.rule,
            fix=fault.fix,
            place=Place(name, here.line, here.column) if here else Place(name),
        )
    return Table(name, orders, placement, flat.microbatches, replicas)


def _cells(text: str, name: str) -> Iterator[_Cell]:
    """Yield the actions of a file."""
    if len(text) > MOST_CHARACTERS:
        raise _too_large(name, f"{len(text):,} characters", f"{MOST_CHARACTERS:,} characters", 0)
    reader = csv.reader(io.StringIO(text, newline=""))
    count = 0
    for rank in itertools.count():
        try:
            row = next(reader, None)
        except csv.Error as error:
            message = f"the line is no CSV: {error}"
            raise _unknown(name, message, None, reader.line_num, 0) from None
        if row is None:
            return
        for column, content in enumerate(row, 1):
            for cell in _cell(content.strip(), name, rank, reader.line_num, column):
                count += 1
                if count > MOST_ACTIONS:
                    limit = f"{MOST_ACTIONS:,} actions"
                    raise _too_large(name, f"more than {limit}", limit, reader.line_num)
                yield cell


def _cell(content: str, name: str, rank: int, line: int, column: int) -> Iterator[_Cell]:
    """Yield the actions of a cell: none, one, or the two of a pair."""
    if not content:
        return
    pair = _PAIR.fullmatch(content)
    found = [_COMPUTE.fullmatch(part.strip()) for part in (pair.groups() if pair else [content])]
    if all(found):
        parts = [(int(m[1]), LETTERS.index(m[2]), int(m[3])) for m in found if m]
        if pair and (WEIGHT in (kinds := [k for _, k, _ in parts]) or kinds.count(FORWARD) != 1):
            message = f"{show(content)} pairs other actions than a forward and a backward pass"
            raise _unknown(name, f"rank {rank}, column {column}: {message}", content, line, column)
        for place, (number, kind, microbatch) in enumerate(parts):
            paired = pair is not None and place == 0
            yield _Cell(number, kind, microbatch, paired, rank, line, column)
        return
    other = _SENT.fullmatch(content) or _WHOLE.fullmatch(content)
    if other is None:
        message = f"rank {rank}, column {column}: {show(content)} is no action"
        raise _unknown(name, message, content, line, column)
    yield _Cell(int(other[1]), -1, 0, False, rank, line, column)


def _unknown(name: str, message: str, content: str | None, line: int, column: int) -> SyntaxProblem:
    return SyntaxProblem(
        "DS125",
        message,
        value=content,
        rule="cells <stage><action><microbatch> with commas between them: 0F0, 1B3, 2I1, 2W1, "
        "0SEND_F0, (0F4;7B0)OVERLAP_F_B; numbers of nine digits at most",
        fix="mend the cell, or leave it empty to wait",
        place=Place(name, line, column),
    )


def _too_large(name: str, message: str, limit: str, line: int) -> SyntaxProblem:
    return SyntaxProblem(
        "DS129",
        f"the file has {message}",
        rule=f"at most {limit}",
        fix="check that it is the right file, or use fewer micro batches",
        place=Place(name, line),
    )


def _placement(cells: Sequence[_Cell], name: str) -> Placement:
    """Return which rank holds which stages, ascending."""
    held: dict[int, _Cell] = {}
    for cell in cells:
        first = held.setdefault(cell.number, cell)
        if first.rank != cell.rank:
            message = (
                f"rank {cell.rank}, column {cell.column}: stage {cell.number} is on rank "
                f"{first.rank} too (line {first.line}, column {first.column})"
            )
            raise _misfit(name, message, "a stage is on one rank", cell)
    rule = "ranks hold as many stages each, numbered from 0 through all ranks"
    missing = next((n for n in range(len(held)) if n not in held), None)
    if missing is not None or not cells:
        message = "there are no actions" if not cells else f"there is no stage {missing}"
        message += f", but {max(held)}" if held else ""
        raise _misfit(name, message, rule, None)
    stages: list[list[int]] = [[] for _ in range(max(c.rank for c in held.values()) + 1)]
    for number in sorted(held):
        stages[held[number].rank].append(number)
    for rank, numbers in enumerate(stages):
        if len(numbers) != len(stages[0]) or not numbers:
            here = held[numbers[0]] if numbers else None
            message = f"rank {rank} holds {len(numbers)} stages, rank 0 {len(stages[0])}"
            raise _misfit(name, message, rule, here)
    return tuple(tuple(numbers) for numbers in stages)


def _misfit(name: str, message: str, rule: str, cell: _Cell | None) -> SyntaxProblem:
    return SyntaxProblem(
        "DS126",
        message,
        rule=rule,
        fix="mend the stage numbers",
        place=Place(name, cell.line, cell.column) if cell else Place(name),
    )


def _order(cells: Sequence[_Cell], chunks: tuple[int, ...]) -> Actions:
    """Return the actions of a rank."""
    return make(
        [c.kind for c in cells],
        [c.microbatch for c in cells],
        [chunks.index(c.number) for c in cells],
        [c.paired for c in cells],
    )


def _copies(flat: Flat) -> int:
    """Return how many copies of the model there are: stages with micro batches of their own."""
    forward = flat.kind == FORWARD
    chunk, microbatch = flat.chunk[forward], flat.microbatch[forward]
    each = int(np.count_nonzero(chunk == 0))
    copies = flat.microbatches // each if each else 1
    if copies < 2 or flat.microbatches % each or flat.chunks % copies:
        return 1
    apart = microbatch // each == chunk // (flat.chunks // copies)
    return copies if len(chunk) == flat.chunks * each and bool(apart.all()) else 1


def write(actions: Sequence[Actions], placement: Placement, *, communication: bool = False) -> str:
    """Return a schedule as CSV.

    Parameters
    ----------
    actions : sequence of Actions
        Actions of each stage.
    placement : tuple of tuple of int
        ``[stage][chunk]`` -> number of the model chunk.
    communication : bool
        Also write sends and receives (the ``compute_comms`` form). Each stands where it takes part
        in an order that all ranks can follow. Without, actions of one slot each line up in columns,
        as long as that takes no more than `MOST_SLOTS` cells.

    Raises
    ------
    PlanError
        DS317 for an order that is no schedule.
    """
    flat = flatten(actions, placement)
    copies = _copies(flat)
    flat = flat if copies == 1 else flatten(actions, placement, copies)
    fault = first_fault(flat)
    if fault is not None:
        raise PlanError("DS317", fault.message, rule=fault.rule, fix=fault.fix)
    took = np.ones(len(flat.kind))
    took[np.flatnonzero(flat.paired) + 1] = 0.0
    slot = np.rint(longest_path(flat, took, joint=True)[0]).astype(np.int64)
    rows = _sent(flat, slot, placement) if communication else _aligned(flat, slot)
    return "".join(",".join(row) + "\n" for row in rows)


def _text(flat: Flat, action: int) -> str:
    """Return the cell of an action, or of the pair that it begins."""
    if flat.paired[action]:
        return f"({flat.label(action)};{flat.label(action + 1)})OVERLAP_F_B"
    return flat.label(action)


def _heads(flat: Flat) -> list[int]:
    """Return the actions that begin a cell."""
    second = np.zeros(len(flat.kind), dtype=np.bool_)
    second[np.flatnonzero(flat.paired) + 1] = True
    heads: list[int] = np.flatnonzero(~second).tolist()
    return heads


def _aligned(flat: Flat, slot: Ints) -> list[list[str]]:
    """Return rows of actions in the columns of their time slots."""
    stages = len(flat.first) - 1
    waits = stages * (int(slot.max()) + 1) <= MOST_SLOTS
    rows: list[list[str]] = [[] for _ in range(stages)]
    for action in _heads(flat):
        row = rows[flat.stage[action]]
        row += [""] * (int(slot[action]) - len(row) if waits else 0)
        row.append(_text(flat, action))
    return rows


def _sent(flat: Flat, slot: Ints, placement: Placement) -> list[list[str]]:
    """Return rows of actions with what they send and receive, without waits."""
    per_copy = flat.chunks // flat.replicas
    rank_of = {number: rank for rank, numbers in enumerate(placement) for number in numbers}
    rows: list[list[str]] = [[] for _ in placement]
    heads = np.asarray(_heads(flat))
    for action in heads[np.lexsort((flat.stage[heads], slot[heads]))].tolist():
        rank = int(flat.stage[action])
        rows[rank].append(_text(flat, action))
        for one in range(action, action + 1 + int(flat.paired[action])):
            kind, chunk = int(flat.kind[one]), int(flat.chunk[one])
            to = chunk + (1 if kind == FORWARD else -1)
            if kind == WEIGHT or to // per_copy != chunk // per_copy or rank_of[to] == rank:
                continue
            way, microbatch = "F" if kind == FORWARD else "B", flat.microbatch[one]
            rows[rank].append(f"{chunk}SEND_{way}{microbatch}")
            rows[rank_of[to]].append(f"{to}RECV_{way}{microbatch}")
    return rows


__all__ = ["Table", "parse", "read", "write"]
