"""Memory over time: what one rank of each stage holds at every instant of a step, and why.

Model states, what the runtime takes and what compression keeps are there all the time. Activations
come when a forward pass begins and go when the backward pass (or the weight gradient) has ended;
everything else is there for the spans that `distsim.prediction.memory_spans` reads off a run.

The peak is at most the closed form `StageMemory.peak_bytes`, which adds activations, recomputed
activations, gathered parameters, buckets and messages each at its own peak; these rarely coincide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.engine.result import Run
from distsim.parallel.memory import SEND_BUFFERS, StageMemory
from distsim.prediction.memory_spans import Pass, Spans, Wires, wires
from distsim.program.build import Program

Floats = npt.NDArray[np.float64]

#: What memory is for, from the bottom of a stack to its top.
CATEGORIES = (
    "reserved",
    "weights",
    "gradients",
    "optimizer",
    "compression",
    "activations",
    "working",
    "update",
    "gathered",
    "buckets",
    "messages",
)


class Held(NamedTuple):
    """What a category takes at the peak, and what of it is there, in words (empty: all of it)."""

    size_bytes: float
    what: str


@dataclass(frozen=True, slots=True)
class MemoryTimeline:
    """Memory of one rank through a step.

    Attributes
    ----------
    stage, rank : int
        Pipeline stage, and the rank that stands for its class.
    times_s : float64[n]
        Instants at which something changes; the first is 0, the last the end of the run.
    parts : dict of str to float64[n]
        Bytes of each of `CATEGORIES` from each instant until the next.
    peak_s : float
        First instant at which `peak_bytes` are allocated.
    at_peak : dict of str to Held
        Categories that take anything then.
    reserve_bytes : float
        What the caching allocator may hold beyond `peak_bytes`, in gaps between blocks.
    """

    stage: int
    rank: int
    times_s: Floats
    parts: dict[str, Floats]
    peak_s: float
    at_peak: dict[str, Held]
    reserve_bytes: float

    @property
    def allocated_bytes(self) -> Floats:
        """All categories together at each instant, shape (n,)."""
        return np.asarray(sum(self.parts.values(), start=np.zeros(len(self.times_s))))

    @property
    def peak_bytes(self) -> float:
        """The most bytes that are allocated at once."""
        return float(self.allocated_bytes.max())

    @property
    def total_bytes(self) -> float:
        """Peak and reserve."""
        return self.peak_bytes + self.reserve_bytes

    @property
    def holds(self) -> str:
        """What is there for a while and is there at the peak, in words."""
        return "; ".join(held.what for held in self.at_peak.values() if held.what)

    def binned(self, count: int) -> Floats:
        """Return the most bytes allocated in each of `count` equal parts of the run."""
        edges = np.linspace(0.0, self.times_s[-1], count + 1)
        allocated = self.allocated_bytes
        # Each part begins with what was allocated before.
        at = np.searchsorted(self.times_s, edges[:-1], side="right") - 1
        until = np.maximum(np.searchsorted(self.times_s, edges[1:], side="left"), at + 1)
        return np.asarray([allocated[a:b].max() for a, b in zip(at, until, strict=True)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what never changes is one number."""
        return {
            "stage": self.stage,
            "rank": self.rank,
            "peak_bytes": self.peak_bytes,
            "peak_s": self.peak_s,
            "reserve_bytes": self.reserve_bytes,
            "total_bytes": self.total_bytes,
            "at_peak": {
                name: {"bytes": held.size_bytes, "what": held.what}
                for name, held in self.at_peak.items()
            },
            "times_s": self.times_s.tolist(),
            "bytes": {
                name: float(part[0]) if (part == part[0]).all() else part.tolist()
                for name, part in self.parts.items()
            },
        }


@dataclass(frozen=True, slots=True)
class MemoryTimelines:
    """Memory over time of every class of ranks, worked out when someone looks.

    Attributes
    ----------
    program : Program
    run : Run
    stages : tuple of StageMemory
        The closed forms: model states, and how large buffers get.
    fragmentation : float
        Reserve over allocated bytes; see `distsim.parallel.memory.FRAGMENTATION`.
    """

    program: Program
    run: Run
    stages: tuple[StageMemory, ...]
    fragmentation: float
    _made: dict[int, MemoryTimeline] = field(default_factory=dict, repr=False, compare=False)
    _wires: list[Wires] = field(default_factory=list, repr=False, compare=False)

    def of(self, index: int) -> MemoryTimeline:
        """Return the timeline of one class of ranks."""
        if not self._wires:
            self._wires.append(wires(self.program))
        if index not in self._made:
            own = self.program.classes[index]
            order = self.program.inputs.orders()[own.stage]
            at = Pass(self.program, self.run, self._wires[0], own, order)
            self._made[index] = _timeline(at, self.stages[own.stage], self.fragmentation)
        return self._made[index]

    def by_stage(self) -> list[MemoryTimeline]:
        """Return one timeline for each stage, that of its first class."""
        first: dict[int, int] = {}
        for own in self.program.classes:
            first.setdefault(own.stage, own.index)
        return [self.of(first[stage]) for stage in sorted(first)]


def _timeline(at: Pass, needs: StageMemory, fragmentation: float) -> MemoryTimeline:
    """Lay everything over one set of instants."""
    spans = _spans(at, needs)
    instants, levels = at.activations()
    times_s = np.unique(
        np.concatenate(
            [
                [0.0, at.run.makespan],
                instants,
                *(s for of, _ in spans.values() for s in (of.begin_s, of.end_s)),
            ]
        )
    )
    fixed = {
        "reserved": needs.buffers.reserved_bytes,
        "weights": needs.weights_bytes,
        "gradients": needs.gradients_bytes,
        "optimizer": needs.optimizer_bytes,
        "compression": needs.buffers.compression_bytes,
    }
    # What never changes is one number: long steps of many stages hold many timelines.
    parts: dict[str, Floats] = {
        name: np.broadcast_to(fixed.get(name, 0.0), len(times_s)) for name in CATEGORIES
    }
    before = np.concatenate([[0.0], levels])
    parts["activations"] = before[np.searchsorted(instants, times_s, side="right")]
    for name, (of, most) in spans.items():
        category = name.split(":")[0]
        parts[category] = parts[category] + of.level(times_s, most)
    allocated = sum(parts.values(), start=np.zeros(len(times_s)))
    # The first instant of the peak: sums of the same bytes may differ in their last bit.
    peak = int(np.argmax(allocated >= allocated.max() * (1 - 1e-12)))
    peak_s = float(times_s[peak])
    what = _words(at, spans, peak_s)
    peak_bytes = float(allocated[peak])
    return MemoryTimeline(
        at.own.stage,
        at.own.rank,
        times_s,
        parts,
        peak_s,
        {
            name: Held(float(part[peak]), what.get(name, ""))
            for name, part in parts.items()
            if part[peak] > 0
        },
        needs.reserve_bytes(fragmentation) - fragmentation * (needs.peak_bytes - peak_bytes),
    )


def _spans(at: Pass, needs: StageMemory) -> dict[str, tuple[Spans, float]]:
    """Return the spans of each category, or of each part of it, and the most bytes they take.

    What waits beyond the size of a buffer waits in what makes it: a rank sends the next message
    when the buffer is free again, and kernels of one device run one after another.
    """
    buffers, data = needs.buffers, at.program.inputs.data
    out = {"working": (at.working(), buffers.working_bytes)}
    if needs.update.peak_bytes:
        out["update"] = (at.update(needs.update.peak_bytes), needs.update.peak_bytes)
    for number, most in enumerate(buffers.gathered_bytes):
        out[f"gathered:{number}"] = (at.gathered(number), most)
    for number, most in enumerate(buffers.bucket_bytes):
        if most:
            last = data.reduce == "end"
            found = at.last_reductions(most) if last else at.buckets(number)
            out[f"buckets:{number}"] = (found, most)
    if buffers.boundary_bytes:
        found_messages = at.messages(buffers.boundary_bytes)
        assert len(found_messages) == SEND_BUFFERS, "a buffer for each end and direction"
        for name, of in found_messages.items():
            out[f"messages:{name}"] = (of, buffers.boundary_bytes)
    return out


def _words(at: Pass, spans: dict[str, tuple[Spans, float]], time_s: float) -> dict[str, str]:
    """Say what is there at an instant, by category."""
    alive = {name: int(of.alive(np.asarray([time_s]))[0]) for name, (of, _) in spans.items()}
    out = {"activations": _micro_batches(*at.in_flight(time_s))}
    if alive["working"]:
        out["working"] = "recomputed activations" if at.recomputes() else "copies of the logits"
    if alive.get("update"):
        out["update"] = "gradients and temporary arrays of the update"
    units = sum(count for name, count in alive.items() if name.startswith("gathered"))
    if units:
        out["gathered"] = f"{_plural(units, 'unit')} of gathered parameters"
    buckets = sum(count for name, count in alive.items() if name.startswith("buckets"))
    if buckets:
        full = any(
            of.level(np.asarray([time_s]), np.inf)[0] > most
            for name, (of, most) in spans.items()
            if name.startswith("buckets")
        )
        line = " in line for their buffer" if full else ""
        out["buckets"] = f"{_plural(buckets, 'bucket')} of gradients{line}"
    ends = [n.split(":")[1] for n, count in alive.items() if n.startswith("messages") and count]
    if ends:
        out["messages"] = f"messages ({', '.join(ends)})"
    return out


def _micro_batches(whole: npt.NDArray[np.int64], left: npt.NDArray[np.int64]) -> str:
    """Return how many micro batches each chunk holds, as ``4 micro batches of chunk 0``."""
    counts = {"micro batch": whole, "weight gradient": left}
    texts = [_by_chunk(noun, of) for noun, of in counts.items() if of.any()]
    return ", ".join(texts) + (" to come" if left.any() else "")


def _by_chunk(noun: str, of: npt.NDArray[np.int64]) -> str:
    if len(of) == 1:
        return _plural(int(of[0]), noun)
    if (of == of[0]).all():
        return f"{_plural(int(of[0]), noun)} of each of {len(of)} chunks"
    first, *others = np.flatnonzero(of).tolist()
    texts = [f"{_plural(int(of[first]), noun)} of chunk {first}"]
    return ", ".join(texts + [f"{of[chunk]} of chunk {chunk}" for chunk in others])


def _plural(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{ending}"
