"""Traces of PyTorch's profiler (Kineto): Chrome trace events, plain or compressed.

A kernel names the operator that launched it by ``External id``; with ``record_shapes=True`` the
operator has its sizes, and so the kernel is a GEMM, an attention or a stream of bytes of known
shape. Kernels of NCCL carry the collective, its elements and its group.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from distsim.errors import DistsimError, Place, SyntaxProblem
from distsim.study.calibration.measurements import CollectiveTime, KernelTime, Readings, StepTime
from distsim.study.calibration.readers.base import reason
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.json_text import parsed
from distsim.study.calibration.readers.kineto_ops import Op, is_leaf, kernel
from distsim.study.calibration.readers.nccl import NAMES
from distsim.study.calibration.readers.series import Logged, summary
from distsim.study.calibration.readers.steps import completed_steps
from distsim.study.names import collective_of

KIND = "kineto"

Event = dict[str, Any]
Key = int | str

_US = 1e-6
_MARKS = ('"traceEvents"', '"ph"')
_CPU = ("cpu_op", "operator")
_STEP = re.compile(r"ProfilerStep#?\s*[0-9]+")
_SPELLINGS = re.compile(r"^_|_base$|_into_tensor|_tensor|_coalesced$|_single")
#: Bytes of an element by the name of its type in the arguments of a kernel of NCCL.
_BYTES = {
    **dict.fromkeys(("BFloat16", "Half"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long"), 8),
    **dict.fromkeys(("Byte", "Char", "Bool", "Float8_e4m3fn", "Float8_e5m2"), 1),
}
#: Names of kernels that a note lists.
_LISTED = 8
#: A collective ends when its last rank has come, so the shortest of its times say most about links.
_SHORT = 10.0


def sniff(text: str) -> bool:
    """Say whether a text is such a trace, whole or not."""
    head = text[:1_000_000]
    return head.lstrip()[:1] in ("{", "[") and any(mark in head for mark in _MARKS)


def read(document: Document) -> Readings:
    """Return kernels and collectives of a trace, and its step time where a scenario is beside it.

    Raises
    ------
    SyntaxProblem
        DS634 where it is not whole.
    ValueProblem
        DS632 where nothing in it is known.
    """
    data = parsed(document, "Chrome trace events")
    events = data.get("traceEvents") if isinstance(data, dict) else data
    if not isinstance(events, list):
        raise SyntaxProblem(
            "DS634",
            "the trace has no list of events",
            rule='{"traceEvents": [...]}, or a list of events',
            fix="export it with export_chrome_trace",
            place=Place(document.file),
        )
    trace = _Trace(events, data if isinstance(data, dict) else {}, Findings(document, KIND))
    kernels = list(trace.kernels())
    collectives = list(trace.collectives())
    steps = trace.step_times()
    trace.note()
    return trace.findings.readings(steps, kernels, collectives)


def _left_out(logged: Sequence[Logged]) -> str:
    return "1 step is left out" if len(logged) == 1 else f"{len(logged)} steps are left out"


class _Trace:
    """Events of a trace by what they are."""

    def __init__(self, events: list[Any], head: Mapping[str, Any], findings: Findings) -> None:
        self.findings = findings
        self._head = head
        self._ops: dict[Key, Event] = {}
        self._leaves: list[Event] = []
        self._launches: dict[Key, Key] = {}
        self._kernels: list[Event] = []
        self._steps: list[tuple[float, float]] = []
        self._unknown: Counter[str] = Counter()
        self._unknown_s = self._all_s = 0.0
        for event in events:
            if isinstance(event, dict) and event.get("ph") == "X" and _number(event.get("dur")):
                self._sort(event)

    def _sort(self, event: Event) -> None:
        category, name = str(event.get("cat", "")).lower(), str(event.get("name", ""))
        args = event.get("args")
        event["args"] = args = args if isinstance(args, dict) else {}
        if _STEP.fullmatch(name):
            if not category.startswith("gpu"):
                self._steps.append((_number(event.get("ts")), event["dur"] * _US))
        elif category in _CPU:
            key = _key(args, "External id", "external id")
            if key is not None:
                self._ops[key] = event
            if is_leaf(name):
                self._leaves.append(event)
        elif category == "kernel":
            self._kernels.append(event)
        elif category in ("cuda_runtime", "cuda_driver", "runtime"):
            launch = _key(args, "correlation")
            by = _key(args, "External id", "external id")
            if launch is not None and by is not None:
                self._launches[launch] = by

    def kernels(self) -> Iterator[KernelTime]:
        """Yield the median time of each shape of each kind of operator."""
        times: dict[tuple[str, tuple[tuple[str, Any], ...]], list[float]] = defaultdict(list)
        for op, names, time_s in self._operators():
            found = kernel(op, names) if op is not None else None
            self._all_s += time_s
            if found is None:
                name = op.name if op is not None else names[0]
                self._unknown[name[:80]] += 1
                self._unknown_s += time_s
            elif time_s > 0:
                times[found[0], tuple(found[1].items())].append(time_s)
        source = self.findings.source(None)
        for (kind, shape), all_s in times.items():
            yield KernelTime(kind, float(np.median(all_s)), dict(shape), source, len(all_s))

    def _operators(self) -> Iterator[tuple[Op | None, list[str], float]]:
        """Yield each call of an operator with its kernels and the time of all of them."""
        if not self._kernels:
            if self._leaves:
                self.findings.note(
                    "the trace has no kernels of an accelerator: its operators ran on the processor"
                )
            for event in self._leaves:
                yield _op(event), [str(event["name"])], event["dur"] * _US
            return
        calls: dict[Key, list[Event]] = defaultdict(list)
        for event in self._kernels:
            if _is_nccl(event):
                continue
            key = self._call(event)
            if key is None or key not in self._ops:
                yield None, [str(event.get("name"))], event["dur"] * _US
            else:
                calls[key].append(event)
        for key, events in calls.items():
            time_s = sum(event["dur"] for event in events) * _US
            yield _op(self._ops[key]), [str(event.get("name")) for event in events], time_s

    def _call(self, event: Event) -> Key | None:
        key = _key(event["args"], "External id", "external id")
        if key is not None and key in self._ops:
            return key
        launch = _key(event["args"], "correlation")
        return self._launches.get(launch) if launch is not None else None

    def collectives(self) -> Iterator[CollectiveTime]:
        """Yield the time of each size of each collective: the shortest tenth of those there are."""
        times: dict[tuple[str, float, int, int | None], list[float]] = defaultdict(list)
        for event in self._kernels:
            if not _is_nccl(event):
                continue
            found = self._collective(event["args"])
            if found is None:
                said = event["args"].get("Collective name", event.get("name"))
                self._unknown[str(said)[:80]] += 1
                self._unknown_s += event["dur"] * _US
            elif event["dur"] > 0:
                times[found].append(event["dur"] * _US)
            self._all_s += event["dur"] * _US
        source = self.findings.source(None)
        if times:
            self.findings.note(
                "kernels of collectives also wait for other ranks: the 10th percentile counts"
            )
        for (op, size, ranks, nodes), all_s in times.items():
            time_s = float(np.percentile(all_s, _SHORT))
            yield CollectiveTime(op, size, ranks, nodes, time_s, source, len(all_s))

    def _collective(self, args: Mapping[str, Any]) -> tuple[str, float, int, int | None] | None:
        name = collective_of(_SPELLINGS.sub("", str(args.get("Collective name", ""))))
        each = _BYTES.get(str(args.get("dtype")))
        ranks = args.get("Group size")
        side = "Out msg nelems" if name == "all_gather" else "In msg nelems"
        elements = _number(args.get(side))
        uneven = name == "all_to_all" and elements != _number(args.get("Out msg nelems", elements))
        # One kernel of NCCL sends and receives to and from whomever, of whatever sizes.
        if name is None or name in ("send", "send_recv", "barrier") or each is None or uneven:
            return None
        if type(ranks) is not int or not 2 <= ranks <= 10**7 or not elements:
            return None
        return NAMES.get(name, name), elements * each, ranks, self._nodes(args, ranks)

    def _nodes(self, args: Mapping[str, Any], ranks: int) -> int | None:
        """Return the nodes of a group, where its ranks and the devices of a node are listed."""
        devices = self._head.get("deviceProperties")
        listed = str(args.get("Process Group Ranks", ""))
        group = [int(rank) for rank in re.findall(r"[0-9]{1,9}", listed)]
        # One visible device says nothing about the node.
        if not isinstance(devices, list) or len(devices) < 2 or len(group) != ranks:
            return None
        return len({rank // len(devices) for rank in group})

    def step_times(self) -> list[StepTime]:
        """Return the step time of the annotated steps, where a scenario says what they are of."""
        if not self._steps:
            return []
        logged = [Logged(0, time_s) for _, time_s in sorted(self._steps) if time_s > 0]
        info = self._head.get("distributedInfo")
        devices = info.get("world_size") if isinstance(info, dict) else None
        facts = {"cluster": {"devices": devices}} if type(devices) is int else {}
        try:
            if not self.findings.document.base.data:
                self.findings.note(f"{_left_out(logged)}: no scenario stands beside it")
                return []
            found, _ = completed_steps(self.findings, [(facts, summary([logged]))])
        except DistsimError as error:
            self.findings.note(f"{_left_out(logged)}: {reason(error, '')}")
            return []
        if found:
            self.findings.note("steps under the profiler are somewhat longer than without")
        return found

    def note(self) -> None:
        """Note what could not be identified."""
        count = self._unknown.total()
        if not count:
            return
        names = [f"{name} ({n})" for name, n in self._unknown.most_common(_LISTED)]
        rest = len(self._unknown) - len(names)
        share = 100 * self._unknown_s / self._all_s if self._all_s else 0.0
        more = f" and {rest} more" if rest > 0 else ""
        self.findings.note(
            f"{count} kernels ({share:.0f}% of their time) have no known operator and shape: "
            f"{', '.join(names)}{more}"
        )
        if self._ops and not any("Input Dims" in op["args"] for op in self._ops.values()):
            self.findings.note("the trace has no shapes: record it with record_shapes=True")


def _is_nccl(event: Event) -> bool:
    return str(event.get("name", "")).startswith(("ncclDevKernel", "ncclKernel", "ncclDev"))


def _op(event: Event) -> Op:
    args = event["args"]
    dims, types, strides, values = (
        found if isinstance(found := args.get(name), list) else []
        for name in ("Input Dims", "Input type", "Input Strides", "Concrete Inputs")
    )
    return Op(
        str(event.get("name")), dims, [str(t) for t in types], strides, list(map(str, values))
    )


def _key(args: Mapping[str, Any], *names: str) -> Key | None:
    found = next((args[name] for name in names if name in args), None)
    return found if isinstance(found, int | str) else None


def _number(value: object) -> float:
    """Return a number above 0, or 0 for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 < value < 1e18 and isfinite(value) else 0.0
