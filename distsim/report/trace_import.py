"""Traces of real runs as text, and beside a prediction as one trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from distsim.prediction.timeline import Span
from distsim.report.layout import (
    SECONDS,
    columns,
    fixed,
    heading,
    percent,
    plural,
    scale_of,
)
from distsim.report.trace import chunks
from distsim.report.trace_prediction import prediction_chunks
from distsim.study.traces.chakra_read import ChakraSummary
from distsim.study.traces.measured import Comparison, measured_spans, typical
from distsim.units import fmt_bytes, fmt_s
from distsim.version import __version__

#: Kinds of a comparison in words.
_WORDS = {
    "communication": "communication, kind unknown",
    "idle": "idle (bubble, waits for the host)",
}
_MOST_STREAMS = 8


def import_text(found: Comparison) -> RenderableType:
    """Return all that ``distsim trace import`` prints."""
    trace, predicted = found.trace, found.prediction
    facts = [f"rank {trace.rank}" if trace.rank is not None else "", trace.device]
    steps = plural(len(trace.steps), "step")
    spread = f", {fmt_s(found.low_s)} to {fmt_s(found.high_s)}" if len(trace.steps) > 1 else ""
    lines = [f"  {steps} of {fmt_s(found.step_s)}{spread}"]
    if predicted is not None:
        whose = f"rank {found.predicted_rank}" if found.predicted_rank is not None else "all ranks"
        lines.append(
            f"  predicted {fmt_s(predicted.step_s)} ({_error(predicted.step_s, found.step_s)}), "
            f"{predicted.scenario}, {whose}"
        )
    parts: list[RenderableType] = [
        heading(", ".join(filter(None, (trace.file, *facts)))),
        *map(Text, lines),
        Text(),
        heading("Time of a step by kind of work, where nothing hides it"),
        _parts(found),
        Text(),
        heading("Streams, in one step"),
        _streams(found),
        Text(),
        heading("Longest kernels, in one step"),
        _kernels(found),
    ]
    if found.notes:
        parts += [Text(), *(Text(f"note: {note}") for note in found.notes)]
    return Group(*parts)


def _parts(found: Comparison) -> RenderableType:
    scale, unit = scale_of(found.step_s, SECONDS)

    def time(seconds: float | None) -> str:
        return "-" if seconds is None else f"{fixed(seconds, found.step_s, scale)} {unit}"

    rows = []
    for part in found.parts:
        row = [_WORDS.get(part.kind, part.kind), time(part.measured_s), time(part.busy_s)]
        if found.prediction is not None:
            row += [time(part.predicted_s), _error(part.predicted_s, part.measured_s)]
        rows.append(row)
    total = ["step", time(found.step_s), ""]
    heads = ["kind", "measured", "with hidden"]
    if found.prediction is not None:
        predicted_s = sum(part.predicted_s or 0.0 for part in found.parts)
        total += [time(predicted_s), _error(predicted_s, found.step_s)]
        heads += ["predicted", "error"]
    return columns(heads, [*rows, total])


def _error(predicted: float | None, measured: float) -> str:
    if predicted is None or not measured:
        return "-"
    return f"{100 * (predicted / measured - 1):+.1f} %"


def _streams(found: Comparison) -> RenderableType:
    rows = []
    for stream in found.streams[:_MOST_STREAMS]:
        kinds = sorted(stream["by_kind"].items(), key=lambda item: -item[1])
        rows.append(
            [
                stream["stream"],
                f"{stream['kernels']:,.0f}",
                fmt_s(stream["busy_s"]),
                percent(stream["busy_s"] / found.step_s),
                ", ".join(kind for kind, _ in kinds),
            ]
        )
    rest = len(found.streams) - len(rows)
    if rest > 0:
        rows.append([f"and {rest} more", "", "", "", ""])
    return columns(("stream", "kernels", "busy", "share", "kinds"), rows, left=(0, 4))


def _kernels(found: Comparison) -> RenderableType:
    rows: list[list[str | Text]] = []
    for kernel in found.kernels:
        name = Text(kernel["name"], no_wrap=True)
        rows.append([fmt_s(kernel["time_s"]), f"{kernel['count']:,.0f}", kernel["kind"], name])
    return columns(("time", "times", "kind", "kernel"), rows, left=(2, 3))


def side_by_side(found: Comparison) -> Iterator[str]:
    """Yield the trace of the typical measured step, and of the prediction below it."""
    spans: Iterator[Span] = measured_spans(found.trace)
    step = typical(found.trace)
    about = {
        "measured": found.trace.file,
        "measured_step": step.number,
        "measured_step_s": step.duration_s,
    }
    if found.prediction is None:
        return chunks((), {"distsim": __version__, **about}, measured=spans)
    return prediction_chunks(found.prediction, measured=spans, about=about)


def chakra_text(found: Sequence[ChakraSummary]) -> RenderableType:
    """Return all that ``distsim trace chakra`` prints."""
    parts: list[RenderableType] = []
    for n, one in enumerate(found):
        if n:
            parts.append(Text())
        kinds = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(one.types.items()))
        facts = ", ".join(f"{key} {value}" for key, value in one.attributes.items())
        rows = [
            [what, whom, f"{count:,}", fmt_bytes(size)]
            for (what, whom), (count, size) in sorted(one.messages.items())
        ]
        missing = f", {one.missing:,} of them on nodes that are not there" if one.missing else ""
        lines = [
            f"schema {one.version or 'unknown'}{f', {facts}' if facts else ''}",
            f"{plural(one.nodes, 'node')}: {kinds}" if kinds else "no nodes",
            f"{one.dependencies:,} dependencies{missing}",
            f"compute nodes: {fmt_s(one.compute_s)}, {one.flop:.4g} FLOP",
        ]
        parts += [heading(one.file), *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines)]
        if rows:
            parts.append(columns(("message", "with", "nodes", "bytes"), rows, left=(0, 1)))
    return Group(*parts)
