"""Operator timings, as ``distsim measure`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from distsim.errors import Place, SyntaxProblem, show
from distsim.study.calibration.measurements import CollectiveTime, KernelTime, Readings
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.json_text import parsed
from distsim.study.calibration.readers.nccl import NAMES
from distsim.study.calibration.readers.numbers import why_no_time
from distsim.study.names import collective_of

KIND = "timings"

_FORMAT, _VERSION = "distsim-timings", "1"
#: What each kind of timing states beside its time.
_KEYS: Mapping[str, Mapping[str, type]] = {
    "gemm": {"batch": int, "m": int, "n": int, "k": int, "dtype": str},
    "attention": {
        **dict.fromkeys(("batch", "heads", "kv_heads", "sequence", "head_dim"), int),
        **{"causal": bool, "direction": str, "dtype": str, "fused": bool},
    },
    "memory": {"op": str, "moved_bytes": float, "dtype": str},
    "launch": {"op": str},
    "host": {"op": str},
    "collective": {"op": str, "size_bytes": float, "ranks": int},
}
#: Keys about the measurement, no part of a shape.
_ABOUT = frozenset(("kind", "time_s", "low_s", "high_s", "repeats"))
_LARGEST = 1e18


def sniff(text: str) -> bool:
    """Say whether a text is such a document."""
    return text.lstrip()[:1] == "{" and f'"{_FORMAT}/' in text


def read(document: Document) -> Readings:
    """Return the kernels and collectives of a document.

    Raises
    ------
    SyntaxProblem
        DS634 where it is not JSON, or not of this form.
    ValueProblem
        DS632.
    """
    data = parsed(document, "operator timings of distsim measure")
    listed = data.get("timings") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(listed, list):
        raise SyntaxProblem(
            "DS634",
            "the document has no list of timings",
            rule=f'{{"format": "{_FORMAT}/{_VERSION}", "timings": [...]}}',
            fix="write the file with distsim measure",
            place=Place(document.file),
        )
    findings = Findings(document, KIND)
    _header(data, findings)
    kernels: list[KernelTime] = []
    collectives: list[CollectiveTime] = []
    for index, timing in enumerate(listed):
        wrong = _wrong(timing)
        if wrong:
            findings.reject(None, f"timings[{index}]: {wrong}")
        elif timing["kind"] == "collective":
            collectives.append(_collective(timing, findings))
        else:
            shape = {key: value for key, value in timing.items() if key not in _ABOUT}
            source = findings.source(None)
            kernels.append(
                KernelTime(timing["kind"], float(timing["time_s"]), shape, source, _samples(timing))
            )
    return findings.readings(kernels=kernels, collectives=collectives)


def _header(data: Mapping[str, Any], findings: Findings) -> None:
    """Note the version where it is another one, and what the timings are of."""
    said = str(data.get("format"))
    if said != f"{_FORMAT}/{_VERSION}":
        findings.note(f"format {said[:60]!r} is read as {_FORMAT}/{_VERSION}")
    device, versions = data.get("device"), data.get("versions")
    name = device.get("name") if isinstance(device, dict) else None
    torch = versions.get("torch") if isinstance(versions, dict) else None
    findings.note(
        f"timings of {str(name)[:80]}, torch {str(torch)[:40]}, {str(data.get('date'))[:20]}"
    )


def _wrong(timing: object) -> str | None:
    """Return why a timing cannot be used; None if it can."""
    if not isinstance(timing, dict):
        return f"{show(timing)} is no timing"
    kind = timing.get("kind")
    keys = _KEYS.get(kind) if isinstance(kind, str) else None
    if keys is None:
        return f"kind {show(kind)} is none of {', '.join(_KEYS)}"
    for key, wanted in keys.items():
        value = timing.get(key)
        if not _fits(value, wanted):
            return f"{kind} with {key} {show(value)}"
    time_s: Any = timing.get("time_s")
    if not _fits(time_s, float):
        return f"{kind} in {show(time_s)} s"
    wrong = why_no_time("", float(time_s))
    if wrong:
        return f"{kind}: {wrong}"
    if kind == "collective" and collective_of(timing["op"]) is None:
        return f"unknown collective {show(timing['op'])}"
    return None


def _fits(value: object, wanted: type) -> bool:
    if wanted in (bool, str):
        return isinstance(value, wanted)
    if isinstance(value, bool) or not isinstance(value, int if wanted is int else int | float):
        return False
    return 0 < value <= _LARGEST and isfinite(value)


def _samples(timing: Mapping[str, Any]) -> int:
    repeats: Any = timing.get("repeats")
    return int(repeats) if _fits(repeats, int) else 1


def _collective(timing: Mapping[str, Any], findings: Findings) -> CollectiveTime:
    name = collective_of(timing["op"]) or ""
    nodes = timing.get("nodes")
    return CollectiveTime(
        NAMES.get(name, name),
        float(timing["size_bytes"]),
        timing["ranks"],
        nodes if isinstance(nodes, int) and _fits(nodes, int) else None,
        float(timing["time_s"]),
        findings.source(None),
        _samples(timing),
    )
