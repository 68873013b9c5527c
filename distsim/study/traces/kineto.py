"""Traces of PyTorch's profiler as kernels by step: which stream ran what kind of work when.

The format is that of Kineto: Chrome trace events with ``ts`` and ``dur`` in microseconds, kernels
with category ``kernel``, ``gpu_memcpy`` or ``gpu_memset`` and the ``correlation`` of the call that
launched them, steps as annotations ``ProfilerStep#N``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from os import PathLike
from typing import Any, NamedTuple

from distsim.errors import Place, ValueProblem
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.json_text import parsed
from distsim.study.traces.kinds import COMPUTE, OPTIMIZER, kind_of_kernel

Event = dict[str, Any]

_US = 1e-6
_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_RUNTIME = ("cuda_runtime", "cuda_driver", "runtime", "hip_runtime")
_STEP = re.compile(r"ProfilerStep#?\s*([0-9]{1,15})")
_OPTIMIZER_STEP = re.compile(r"Optimizer\.step")
#: Names longer than this are cut: templates of C++ fill pages.
_LONGEST_NAME = 160
_RULE = "a Chrome trace of a step on a device: torch.profiler with ProfilerActivity.CUDA"


class Kernel(NamedTuple):
    """One kernel, copy or fill.

    Attributes
    ----------
    start_s, end_s : float
        From the first kernel of the trace.
    """

    name: str
    kind: str
    stream: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """What a device did in one step: from its first kernel to that of the next step.

    Attributes
    ----------
    number : int
        As the profiler counts.
    start_s, end_s : float
    kernels : tuple of Kernel
        In order of time.
    """

    number: int
    start_s: float
    end_s: float
    kernels: tuple[Kernel, ...]

    @property
    def duration_s(self) -> float:
        """Time of the step, seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class KinetoTrace:
    """A trace of one rank.

    Attributes
    ----------
    rank, world_size : int or None
        As the trace says.
    device : str
        Name of the device; empty where none is named.
    notes : tuple of str
        What was left out or taken for granted.
    """

    file: str
    rank: int | None
    world_size: int | None
    device: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def read_kineto(path: str | PathLike[str], plan: Mapping[str, Any] | None = None) -> KinetoTrace:
    """Read a trace, plain or compressed.

    Parameters
    ----------
    plan : mapping, optional
        ``tp``, ``dp``, ... of the run: tells groups without a description apart.

    Raises
    ------
    FileError
        DS101 to DS106.
    SyntaxProblem
        DS634 where it is damaged, cut, or no JSON.
    ValueProblem
        DS720 where it is no trace, or one without kernels of a device.
    """
    document = Document(path)
    data = parsed(document, "Chrome trace events")
    events = data.get("traceEvents") if isinstance(data, dict) else data
    if not isinstance(events, list):
        raise _foreign(document, "there is no list of events in it")
    found = _Events(document, plan or {})
    for event in events:
        if isinstance(event, dict) and event.get("ph") == "X":
            found.sort(event)
    steps = found.steps()
    head = data if isinstance(data, dict) else {}
    info = head.get("distributedInfo")
    info = info if isinstance(info, dict) else {}
    return KinetoTrace(
        document.file,
        _count(info.get("rank")),
        _count(info.get("world_size")),
        _device(head),
        steps,
        (*document.notes, *found.notes),
    )


class _Events:
    """Events of a trace by what they are."""

    def __init__(self, document: Document, plan: Mapping[str, Any]) -> None:
        self.notes: list[str] = []
        self._document, self._plan = document, plan
        self._device: list[Event] = []
        self._launch_us: dict[int, float] = {}
        self._steps: list[tuple[float, float, int]] = []
        self._optimizer: list[tuple[float, float]] = []
        self._bad = self._events = 0

    def sort(self, event: Event) -> None:
        """Put an event with a duration where it belongs."""
        self._events += 1
        category, name = str(event.get("cat", "")).lower(), event.get("name")
        start, duration = _finite(event.get("ts")), _finite(event.get("dur"))
        if start is None or duration is None or duration < 0 or not isinstance(name, str):
            self._bad += 1
            return
        args = event.get("args")
        event["args"] = args if isinstance(args, dict) else {}
        if category in _DEVICE:
            self._device.append(event)
        elif category in _RUNTIME:
            key = event["args"].get("correlation")
            if type(key) is int:
                self._launch_us[key] = start
        elif not category.startswith("gpu"):
            if match := _STEP.fullmatch(name):
                self._steps.append((start, start + duration, int(match[1])))
            elif _OPTIMIZER_STEP.match(name):
                self._optimizer.append((start, start + duration))

    def steps(self) -> tuple[Step, ...]:
        """Return the steps with their kernels.

        Raises
        ------
        ValueProblem
            DS720 where there are none.
        """
        if self._bad:
            self.notes.append(
                f"{self._bad} of {self._events} events have no name or no time and are left out"
            )
        if not self._device:
            why = "no event in it is a kernel of a device"
            raise _foreign(self._document, why if self._events else "no event in it lasts")
        self._device.sort(key=lambda event: float(event["ts"]))
        zero_us = float(self._device[0]["ts"])
        self._steps.sort()
        self._optimizer.sort()
        if not self._steps:
            self.notes.append("no ProfilerStep is marked: the whole trace counts as one step")
        members: list[list[Kernel]] = [[] for _ in range(max(1, len(self._steps)))]
        outside = 0
        for event in self._device:
            launched = self._launch_us.get(event["args"].get("correlation"), float(event["ts"]))
            at = self._step_of(launched)
            if at is None:
                outside += 1
            else:
                members[at].append(self._kernel(event, launched, zero_us))
        if outside:
            self.notes.append(f"{outside} kernels were launched outside of steps and are left out")
        return self._windows(members, zero_us)

    def _step_of(self, launched_us: float) -> int | None:
        """Return the step in which something was launched; between two, that before."""
        if not self._steps:
            return 0
        at = bisect_right(self._steps, (launched_us, float("inf"), 0)) - 1
        late = at == len(self._steps) - 1 and launched_us > self._steps[at][1]
        return None if at < 0 or late else at

    def _kernel(self, event: Event, launched_us: float, zero_us: float) -> Kernel:
        args, name = event["args"], str(event["name"])
        kind = kind_of_kernel(name, str(event["cat"]).lower(), args, self._plan)
        if kind == COMPUTE and self._optimizer:
            at = bisect_right(self._optimizer, (launched_us, float("inf"))) - 1
            if at >= 0 and launched_us <= self._optimizer[at][1]:
                kind = OPTIMIZER
        start_s = (float(event["ts"]) - zero_us) * _US
        stream = str(args.get("stream", event.get("tid", 0)))[:40]
        end_s = start_s + float(event["dur"]) * _US
        return Kernel(name[:_LONGEST_NAME], kind, f"stream {stream}", start_s, end_s)

    def _windows(self, members: list[list[Kernel]], zero_us: float) -> tuple[Step, ...]:
        marks = self._steps or [(0.0, 0.0, 0)]
        filled = [(mark, own) for mark, own in zip(marks, members, strict=True) if own]
        if not filled:
            raise _foreign(self._document, "no kernel in it was launched within a step")
        if len(filled) < len(marks):
            self.notes.append(f"{len(marks) - len(filled)} steps have no kernels and are left out")
        out = []
        for n, ((_, host_end_us, number), own) in enumerate(filled):
            last_s = max(kernel.end_s for kernel in own)
            # The last step ends with its kernels, or when the host is done if that is later.
            end_s = max(last_s, (host_end_us - zero_us) * _US if self._steps else last_s)
            if n + 1 < len(filled):
                end_s = max(filled[n + 1][1][0].start_s, own[0].start_s)
            out.append(Step(number, own[0].start_s, end_s, tuple(own)))
        return tuple(out)


def _foreign(document: Document, why: str) -> ValueProblem:
    return ValueProblem(
        "DS720",
        f"this is no trace of a run on devices: {why}",
        rule=_RULE,
        fix="record it with torch.profiler and write it with export_chrome_trace",
        place=Place(document.file),
    )


def _finite(value: object) -> float | None:
    """Return a number that an instant can be, from an event; texts of numbers are taken, too."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 and isfinite(value) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 10**9 else None


def _device(head: Mapping[str, Any]) -> str:
    listed = head.get("deviceProperties")
    first = listed[0] if isinstance(listed, list) and listed else None
    name = first.get("name") if isinstance(first, dict) else None
    return name[:100] if isinstance(name, str) else ""


__all__ = ["Kernel", "KinetoTrace", "Step", "read_kineto"]
