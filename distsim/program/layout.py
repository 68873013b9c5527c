"""Laying out the actions of a class of ranks on its compute stream, as arrays."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from distsim.parallel.step import Collective, Step
from distsim.program import prices
from distsim.program.actions import ROW, ClassProgram, Hook, Work
from distsim.program.comm import Network
from distsim.program.emit import Emitter
from distsim.program.grouped import (
    AFTER_HOOK,
    CHUNK,
    ENDS_BATCH,
    GATHERS,
    KIND,
    REDUCES,
    Codes,
    Grouped,
)
from distsim.program.pattern import Entry, Pattern, beside, pattern
from distsim.program.pieces import cutting, joined, pieces
from distsim.program.segment import Cost, Pricer
from distsim.record import record
from distsim.schedule.actions import LETTERS
from distsim.store import Same

Ints = npt.NDArray[np.int64]


class Labels:
    """Labels, costs and contents of the segments of a program."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.costs: list[Cost] = []
        self.contents: dict[int, tuple[Pricer, tuple[Step, ...]]] = {}
        self.collectives: dict[int, Collective] = {}

    def label(self, entry: Entry, name: str, pricer: Pricer) -> int:
        """Register the label of an entry: its own, or the name of its pattern."""
        self.costs += [Cost()] * (len(self.emitter.names) - len(self.costs))
        label = self.emitter.name(entry.label or name)
        self.costs.append(entry.cost)
        self.contents[label] = (pricer, joined(entry.runs))
        if entry.collective is not None:
            self.collectives[label] = entry.collective
        return label


@record
class ClassActions:
    """What all classes with the same stage, device and links inside layers share.

    Attributes
    ----------
    patterns : list of list of Entry
        Of each kind of action; one object for all stages that do the same.
    key : hashable
        What the pricer depends on.
    """

    work: Work
    groups: Grouped
    patterns: list[Pattern]
    pricer: Pricer
    key: Hashable

    def names(self) -> list[str]:
        """Return the name of each pattern, for the entries that have none of their own."""
        codes = self.groups.codes
        return [_name(self.work, a) if b < 0 else _names(self.work, a, b) for a, b in codes]

    def labelled(self, labels: Labels) -> Ints:
        """Register the labels of all entries, pattern by pattern."""
        pairs = zip(self.patterns, self.names(), strict=True)
        out = [labels.label(e, name, self.pricer) for entries, name in pairs for e in entries]
        return np.asarray(out, dtype=np.int64)

    def emit(
        self, emitter: Emitter, network: Network, index: int, rank: int, labels: Ints
    ) -> ClassProgram:
        """Add the tasks of one class of ranks; `labels` are those of `labelled`."""
        order, lead = self.work.order, self.groups.lead
        flat = [entry for entries in self.patterns for entry in entries]
        size = np.asarray([len(entries) for entries in self.patterns])
        start = np.concatenate([[0], np.cumsum(size)[:-1]])
        pattern_of = self.groups.pattern_of
        counts = size[pattern_of]
        offset = np.concatenate([[0], np.cumsum(counts)])
        total = int(offset[-1])
        within = np.arange(total) - np.repeat(offset[:-1], counts)
        entry = np.repeat(start[pattern_of], counts) + within
        stream = emitter.stream(index, "compute")
        factor = self.pricer.device.contention_factor
        stream_of, transfer = _streams(flat, emitter, network, index, rank, stream)
        first = emitter.tasks(
            total,
            stream=stream_of[entry],
            kind=np.asarray([e.kind for e in flat])[entry],
            work_s=np.asarray([e.cost.total_s for e in flat])[entry],
            kernel_share=np.asarray([e.cost.kernel_share(factor) for e in flat])[entry],
            transfer=transfer[entry],
            segment=labels[entry],
            microbatch=np.repeat(order.microbatch[lead], counts),
            stage=self.work.stage,
        )
        before, after = _order(flat, entry)
        emitter.edges(first + before, first + after)
        begin, end = self._bounds(first, offset)
        domains = self.work.data.domains
        return ClassProgram(
            index,
            rank,
            self.work.stage,
            stream,
            first,
            total,
            begin,
            end,
            tuple(_hook([e.gathers for e in flat], d, entry, first) for d in range(len(domains))),
            tuple(_hook([e.reduces for e in flat], d, entry, first) for d in range(len(domains))),
            tuple(sum(d.parameters(c) for c in self.work.variants[0]) for d in domains),
            before,
            after,
        )

    def _bounds(self, first: int, offset: Ints) -> tuple[Ints, Ints]:
        order = self.work.order
        shape = (3, self.work.chunks, len(self.work.variant_of))
        begin, end = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
        group = np.searchsorted(self.groups.lead, np.arange(len(order.kind)), side="right") - 1
        where = (ROW[order.kind], order.chunk, order.microbatch)
        # No send waits for what comes after the end of an action.
        trailing = np.asarray([sum(e.update for e in entries[-1:]) for entries in self.patterns])
        begin[where] = first + offset[group]
        end[where] = first + offset[group + 1] - 1 - trailing[self.groups.pattern_of[group]]
        return begin, end


def _hook(amounts: list[tuple[float, ...]], domain: int, entry: Ints, first: int) -> Hook:
    each = np.asarray([a[domain] if a else 0.0 for a in amounts])[entry]
    return Hook(first + np.flatnonzero(each), each[each > 0])


def _streams(
    flat: list[Entry], emitter: Emitter, network: Network, index: int, rank: int, compute: int
) -> tuple[Ints, Ints]:
    """Return the stream and the transfer type (-1: none) of each entry."""
    stream_of, transfer = np.full(len(flat), compute), np.full(len(flat), -1)
    opened: dict[str, int] = {}
    for i, entry in enumerate(flat):
        if entry.stream != "compute":
            if entry.stream not in opened:
                opened[entry.stream] = emitter.stream(index, entry.stream.replace("_", " "))
            stream_of[i] = opened[entry.stream]
        if entry.collective is not None:
            transfer[i] = _transfer(network, index, rank, entry.collective)
    return stream_of, transfer


def _transfer(network: Network, index: int, rank: int, collective: Collective) -> int:
    """Return the transfer type of a collective inside a layer for one class of its group.

    A group whose ranks are in several classes sends once, from the first class; the others wait.
    """
    groups = network.groups[collective.axis]
    group = int(groups.of_rank[rank])
    if index != int(network.fold.class_of[groups.ranks[group]].min()):
        return network.latency_only(0.0)
    return network.transfer(collective.axis, group, collective.name, collective.size_bytes)


def _order(flat: list[Entry], entry: Ints) -> tuple[Ints, Ints]:
    """Return which tasks of a class wait for which, counted from its first task."""
    tasks = np.arange(len(entry))
    before, after = [], []
    for column in range(max(len(e.after) for e in flat)):
        back = np.asarray([e.after[column] if column < len(e.after) else 0 for e in flat])[entry]
        keep = (back < 0) & (tasks + back >= 0)
        before.append((tasks + back)[keep])
        after.append(tasks[keep])
    return np.concatenate(before), np.concatenate(after)


def patterns_of(
    work: Work,
    codes: Codes,
    pricer: Pricer,
    key: Hashable,
    *,
    expand_all: frozenset[str],
    expand_hooked: frozenset[str],
) -> list[Pattern]:
    """Choose a pattern for every kind of action of a stage.

    Parameters
    ----------
    codes : tuple of (int, int)
        Of the kinds of actions, see `grouped`.
    key : hashable
        What the pricer depends on.
    expand_all, expand_hooked : frozenset of str
        Axes whose collectives get tasks of their own in all actions, and in those that run beside
        gradients and parameters on the wire.
    """
    beside = expand_all | expand_hooked
    about = prices.about("patterns", key, expand_all, beside, work.restart_s)
    maker = _Maker(work, pricer, key, expand_all, beside, about, cutting(work.data))
    return maker.patterns(codes)


def _held(work: Work, code: int) -> tuple[int, int, int]:
    """Return (kind, variant, chunk) of a code."""
    variant, chunk = divmod(code // CHUNK, work.chunks)
    return code % CHUNK // KIND, variant, chunk


def named(batches: int, codes: Codes) -> bool:
    """Say whether some entries of a stage bear its name."""
    return batches > 1 or any([other >= 0 for _, other in codes])


def _name(work: Work, code: int) -> str:
    kind, _, chunk = _held(work, code)
    name = f"{LETTERS[kind]} stage {work.stage}"
    return f"{name} chunk {chunk}" if work.chunks > 1 else name


def _names(work: Work, one: int, other: int) -> str:
    return f"{_name(work, one)} with {_name(work, other)}"


@record
class _Maker:
    """Makes the patterns of a stage; `about` stands for all between `pricer` and itself.

    `how` is what `cutting` says of the data parallelism.
    """

    work: Work
    pricer: Pricer
    key: Hashable
    expand: frozenset[str]
    expand_beside: frozenset[str]
    about: int
    how: Same

    def patterns(self, codes: Codes) -> list[Pattern]:
        """Return the patterns of kinds of actions, as `grouped` codes them."""
        work = self.work
        if named(work.batches, codes):
            return [self._pattern(a) if b < 0 else self._pair(a, b) for a, b in codes]
        return prices.stage(self.about, self.how, codes, work.variants, self._pattern)

    def _pair(self, one: int, other: int) -> Pattern:
        first, second = (
            [e.named(_name(self.work, code)) for e in self._pattern(code)] for code in (one, other)
        )
        name = _names(self.work, one, other)
        return beside(name, first, second, self.pricer.device.contention_factor)

    def _pattern(self, code: int) -> Pattern:
        """Return the pattern of a kind of action."""
        work = self.work
        kind, variant, chunk = _held(work, code)
        held = work.variants[variant][chunk]
        expand = self.expand_beside if code & AFTER_HOOK else self.expand
        gather, reduce = bool(code & GATHERS), bool(code & REDUCES)

        def made() -> Pattern:
            parts = pieces(held, self.how, kind=kind, gather=gather, reduce=reduce)
            entries = pattern(
                "",
                parts,
                self.pricer,
                expand=expand,
                cost_of=lambda runs: prices.price((self.key, frozenset()), self.pricer, runs),
            )
            if work.restart_s:
                restart = Cost(restart_s=work.restart_s)
                entries[0] = replace(entries[0], cost=entries[0].cost + restart)
            return entries

        flags = code % CHUNK & ~ENDS_BATCH
        if self.expand == self.expand_beside:
            flags &= ~AFTER_HOOK
        cuts = self.how if gather or reduce else None
        entries = prices.action((self.about, flags, cuts), held, made)
        if code & ENDS_BATCH:
            update = Entry(f"optimizer stage {work.stage}", work.between, update=True)
            entries = [*entries, update]
        return entries


__all__ = ["ClassActions", "Labels", "named", "patterns_of"]
