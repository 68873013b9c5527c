"""Memory of every pipeline stage against what a device has."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from distsim.prediction.memory_timeline import MemoryTimeline
from distsim.prediction.predict import Memory
from distsim.report.layout import BYTES, columns, fixed, heading, percent, scale_of
from distsim.units import fmt_bytes, fmt_s

_PARTS = ("weights", "gradients", "optimizer", "activations", "buffers", "peak")
#: A table of more rows than this shows its ends and its fullest stage.
_MOST_ROWS = 12
#: Rows of each end that a long table keeps.
_KEPT = 4


def memory_table(memory: Memory, timelines: Sequence[MemoryTimeline] = ()) -> RenderableType:
    """Return a row for each stage; stages side by side that read the same share one.

    Parameters
    ----------
    timelines : sequence of MemoryTimeline
        Of each stage, if there was a run.
    """
    capacity = memory.capacity_bytes
    title = f"Memory of a device, of {fmt_bytes(capacity)} ({capacity / 2**30:.4g} GiB)"
    return Group(
        heading(title),
        columns(("stage", *_PARTS, "used"), _rows(memory)),
        *_at_peak(memory, timelines),
        *_advice(memory),
    )


def _rows(memory: Memory) -> list[list[str | Text]]:
    scale, unit = scale_of(memory.capacity_bytes, BYTES)
    largest = max(memory.capacity_bytes, memory.peak_bytes)
    texts: list[tuple[str, ...]] = []
    for stage in memory.stages:
        values = [float(getattr(stage, f"{part}_bytes")) for part in _PARTS]
        sizes = [f"{fixed(v, largest, scale)} {unit}" for v in values]
        texts.append((*sizes, percent(values[-1] / memory.capacity_bytes)))
    runs = _runs(texts)
    if len(runs) > _MOST_ROWS:
        return _shortened(runs, texts, _fullest(memory))
    return [[_span(first, last), *texts[first]] for first, last in runs]


def _fullest(memory: Memory) -> int:
    peaks = [stage.peak_bytes for stage in memory.stages]
    return peaks.index(max(peaks))


def _at_peak(memory: Memory, timelines: Sequence[MemoryTimeline]) -> list[Text]:
    """Say what the fullest stage holds at its peak, and what gaps may take beside it."""
    if not timelines:
        return []
    seen = timelines[_fullest(memory)]
    stage = memory.stages[_fullest(memory)]
    reserve = stage.reserve_bytes(memory.fragmentation)
    managed = stage.peak_bytes - stage.buffers.reserved_bytes
    return [
        Text(f"Peak of stage {seen.stage} from {fmt_s(seen.peak_s)}: {seen.holds}."),
        Text(
            f"The allocator may hold {fmt_bytes(reserve)} more ({percent(reserve / managed, 0)}).",
            style="dim",
        ),
    ]


def _runs(texts: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    """Return first and last index of each run of equal texts."""
    starts = [n for n in range(len(texts)) if n == 0 or texts[n] != texts[n - 1]]
    return [
        (first, after - 1) for first, after in zip(starts, [*starts[1:], len(texts)], strict=True)
    ]


def _shortened(
    runs: Sequence[tuple[int, int]], texts: Sequence[tuple[str, ...]], fullest: int
) -> list[list[str | Text]]:
    kept = {n for n, (first, last) in enumerate(runs) if first <= fullest <= last}
    kept |= {*range(_KEPT), *range(len(runs) - _KEPT, len(runs))}
    out: list[list[str | Text]] = []
    before = -1
    for n in sorted(kept):
        if n > before + 1:
            gap = _span(runs[before + 1][0], runs[n - 1][1])
            out.append([Text(gap, style="dim"), *[Text("...", style="dim")] * (len(_PARTS) + 1)])
        out.append([_span(*runs[n]), *texts[runs[n][0]]])
        before = n
    return out


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _advice(memory: Memory) -> list[Text]:
    if memory.fits:
        return []
    first, *others = memory.advice
    lines = [Text(f"DS501: does not fit: {first}", style="bold red")]
    return lines + [Text(f"  - {text}") for text in others]
