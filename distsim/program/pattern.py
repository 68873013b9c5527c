"""Patterns: the tasks of one action (a micro batch through a model chunk, one direction).

Most actions are one segment. An action is cut where something outside meets it: before a unit
whose parameters must be gathered, where gradients are ready to leave, and around the collectives
inside a layer if others use the same links at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from distsim.parallel.step import Collective, Step
from distsim.program.opgraph import TaskKind
from distsim.program.pieces import Piece, Runs, joined
from distsim.program.segment import PART_OF_AXIS, Cost, Pricer


@dataclass(slots=True)
class Entry:
    """One task of a pattern.

    Attributes
    ----------
    cost : Cost
        Of a compute task (its total is the duration).
    runs : tuple of (tuple of Step, int)
        What a compute task stands for, see `pieces.Runs`.
    collective : Collective or None
        Set for a transfer.
    after : tuple of int
        Earlier entries to wait for, as negative offsets; -1 is the entry before, which for the
        first entry is the last of the action before.
    host : bool
        The host launches the kernels of an action, beside the device.
    update : bool
        The optimizer's kernels between two batches.
    gathers, reduces : tuple of float
        The entry waits for so many parameters, or the gradients of so many are ready after it, for
        each domain; empty: none.
    """

    label: str
    cost: Cost = field(default_factory=Cost)
    runs: Runs = ()
    collective: Collective | None = None
    after: tuple[int, ...] = (-1,)
    gathers: tuple[float, ...] = ()
    reduces: tuple[float, ...] = ()
    host: bool = False
    update: bool = False

    @property
    def stream(self) -> str:
        """Axis of a transfer, ``host``, or ``compute``."""
        if self.collective is not None:
            return self.collective.axis
        return "host" if self.host else "compute"

    @property
    def kind(self) -> TaskKind:
        """Compute, host, optimizer, or a transfer by its part of the breakdown."""
        if self.collective is not None:
            return TaskKind[PART_OF_AXIS[self.collective.axis].upper()]
        if self.update:
            return TaskKind.OPTIMIZER
        return TaskKind.HOST if self.host else TaskKind.COMPUTE

    def named(self, label: str) -> Entry:
        """Return a copy, under a label if it has none."""
        return Entry(
            self.label or label,
            self.cost,
            self.runs,
            self.collective,
            self.after,
            self.gathers,
            self.reduces,
            self.host,
            self.update,
        )


Pattern = list[Entry]
CostOf = Callable[[Runs], Cost]


def pattern(
    label: str, cuts: Sequence[Piece], pricer: Pricer, *, expand: frozenset[str], cost_of: CostOf
) -> Pattern:
    """Turn pieces into entries: one each, and one for each collective of the axes in `expand`."""
    if not expand:
        # Layers alike have the same pieces, and then share their entries.
        known = {
            key: Entry(label, cost_of(p.runs), p.runs, gathers=p.gathers, reduces=p.reduces)
            for key, p in {id(p): p for p in cuts}.items()
        }
        return [known[id(p)] for p in cuts]
    out: Pattern = []
    for piece in cuts:
        entries = _expanded(label, piece, pricer, expand, cost_of)
        if not out or piece.gathers:
            entries = _opened(label, entries)
        entries[0].gathers = piece.gathers
        entries[-1].reduces = piece.reduces
        out += entries
    return out


def _expanded(
    label: str, piece: Piece, pricer: Pricer, expand: frozenset[str], cost_of: CostOf
) -> Pattern:
    """Give collectives of some axes a task of their own; join what lies between them.

    The host launches ahead of the device, through the whole piece: if it may be the later one it
    has a task beside all others.
    """
    out: Pattern = []
    run: list[Step] = []
    whole = cost_of(piece.runs)
    if whole.host_s > whole.compute_s:
        out.append(Entry(label, Cost(host_s=whole.host_s), host=True))
    begin = len(out)

    def flush() -> None:
        if run:
            steps = tuple(run)
            cost = replace(pricer.steps(steps), host_s=0.0)
            out.append(Entry(label, cost, ((steps, 1),), after=_ends(out, begin)))
            run.clear()

    for step in joined(piece.runs):
        if step.collective is None or step.collective.axis not in expand:
            run.append(step)
            continue
        kernels = Step(step.op, step.works)
        flush()
        before = _ends(out, begin)
        out.append(Entry(step.op, collective=step.collective, after=before))
        if not step.works:
            continue
        if step.beside:
            # Kernels start with the transfer, so they wait for what the transfer waits for.
            after = tuple(o - 1 for o in before)
            cost = replace(pricer.step(kernels), host_s=0.0)
            out.append(Entry(label, cost, (((kernels,), 1),), after=after))
        else:
            run.append(kernels)
    flush()
    ends = _ends(out, begin)
    if begin:
        ends = (*ends, -len(out)) if len(out) > begin else (-1,)
    if not out or len(ends) > 1:
        out.append(Entry(label, after=ends))
    return _gated(label, out)


def _gated(label: str, entries: Pattern) -> Pattern:
    """Let one empty entry wait for what is before, where several entries would.

    What arrives from elsewhere (an activation, parameters) meets the first entry only, and so does
    a send or a reduction that blocks.
    """
    starts = _starts(entries)
    return entries if len(starts) < 2 else _behind_empty(label, entries, starts)


def _opened(label: str, entries: Pattern) -> Pattern:
    """Let an empty entry come first where a transfer or the host would.

    What waits for an activation or parameters is then a task of the compute stream, in which the
    wait is seen for what it is, and which can take the time of a restart.
    """
    first = entries[0]
    if first.collective is None and not first.host:
        return entries
    return _behind_empty(label, entries, _starts(entries))


def _starts(entries: Pattern) -> list[int]:
    """Return the entries that wait for what is before the pattern."""
    return [i for i, entry in enumerate(entries) if any(i + o < 0 for o in entry.after)]


def _behind_empty(label: str, entries: Pattern, starts: Sequence[int]) -> Pattern:
    for i in starts:
        entries[i].after = tuple(dict.fromkeys(max(o, -1 - i) for o in entries[i].after))
    return [Entry(label), *entries]


def _ends(entries: Pattern, begin: int) -> tuple[int, ...]:
    """Return offsets of the entries that the next one waits for.

    The first waits for what is before the pattern, beside the entries before `begin`.
    """
    if len(entries) == begin:
        return (-1 - begin,)
    last = len(entries) - 1
    if last > begin and entries[-2].collective is not None and -1 not in entries[-1].after:
        return (-1, -2)
    return (-1,)


def beside(label: str, one: Pattern, other: Pattern, contention_factor: float) -> Pattern:
    """Run two patterns together, so that each communicates behind the kernels of the other.

    Two single segments become one, unless both wait for parameters or both have gradients that
    leave; otherwise their tasks take turns on each stream.
    """
    both = (one[0].gathers and other[0].gathers) or (one[-1].reduces and other[-1].reduces)
    if len(one) == len(other) == 1 and not both:
        cost = one[0].cost.beside(other[0].cost, contention_factor)
        return [
            Entry(
                label,
                cost,
                (*one[0].runs, *other[0].runs),
                gathers=one[0].gathers or other[0].gathers,
                reduces=one[0].reduces or other[0].reduces,
            )
        ]
    turns = [
        (entries, i)
        for pair in zip_longest(range(len(one)), range(len(other)))
        for entries, i in zip((one, other), pair, strict=True)
        if i is not None
    ]
    place = {(id(entries), i): j for j, (entries, i) in enumerate(turns)}
    last: dict[str, int] = {}
    out: Pattern = []
    for j, (entries, i) in enumerate(turns):
        entry = entries[i]
        waits = {place[id(entries), i + o] if i + o >= 0 else -1 for o in entry.after} | {
            last.get(entry.stream, -1)
        }
        last[entry.stream] = j
        after = tuple(sorted((w - j for w in waits), reverse=True))
        out.append(
            Entry(
                entry.label,
                entry.cost,
                entry.runs,
                entry.collective,
                after,
                entry.gathers,
                entry.reduces,
                entry.host,
            )
        )
    ends = {place[id(one), len(one) - 1], place[id(other), len(other) - 1]}
    after = tuple(sorted((e - len(out) for e in ends), reverse=True))
    out.append(Entry(label, after=after))
    return _gated(label, out)
