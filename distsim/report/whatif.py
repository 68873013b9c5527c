"""What small changes gain, as text."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from distsim.report.layout import SECONDS, bar, columns, fixed, heading, percent, scale_of
from distsim.study.whatif.run import Effect, WhatIf
from distsim.units import fmt_s

_BAR_WIDTH = 24
#: Shares of the path below which a resource is left out.
_LEAST = 5e-4


def whatif_text(found: WhatIf) -> RenderableType:
    """Return all that `distsim whatif` prints."""
    base = found.base
    verdict = "" if base.fits else f"; {base.reason}"
    possible = [e for e in found.effects if e.outcome.possible]
    refused = [e for e in found.effects if not e.outcome.possible]
    parts: list[RenderableType] = [
        heading(found.scenario),
        Text(f"  step {fmt_s(base.step_s)}, {percent(base.mfu)} MFU{verdict}"),
        Text(),
        heading("What explains the critical path"),
        _Resources(found),
        Text(),
        heading("Changes, by what they gain"),
        _effects(found, possible),
    ]
    if refused:
        rows = [[e.change.name, f"{e.outcome.code}: {e.outcome.message}"] for e in refused]
        parts += [Text(), heading("Not possible"), columns(("change", "why"), rows, left=(0, 1))]
    return Group(*parts)


class _Resources:
    """Resources of the critical path, with bars where the terminal has the characters for them."""

    def __init__(self, found: WhatIf) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        step_s = self.found.base.step_s
        scale, unit = scale_of(step_s, SECONDS)
        rows: list[list[str | Text]] = []
        for name, seconds in self.found.resources.items():
            share = seconds / step_s
            if share >= _LEAST:
                shown = bar(share, _BAR_WIDTH, ascii_only=options.ascii_only)
                time = f"{fixed(seconds, step_s, scale)} {unit}"
                rows.append([name, time, percent(share), Text(shown, style="cyan")])
        yield columns(("resource", "time", "share", ""), rows, left=(0, 3))


def _effects(found: WhatIf, effects: list[Effect]) -> RenderableType:
    base = found.base
    scale, unit = scale_of(base.step_s, SECONDS)
    rows: list[list[str | Text]] = []
    for effect in effects:
        outcome = effect.outcome
        used = f"{percent(outcome.peak_bytes / outcome.capacity_bytes, 0)}"
        style = "" if outcome.fits else "dim"
        rows.append(
            [
                Text(effect.change.name, style=style),
                f"{fixed(outcome.step_s, base.step_s, scale)} {unit}",
                Text(_signed(effect.gain), style=style or "bold"),
                _signed(effect.estimate),
                used,
                "" if outcome.fits else f"over by {outcome.over_bytes / 1e9:.1f} GB",
            ]
        )
    heads = ("change", "step", "gain", "estimate", "memory", "")
    return columns(heads, rows, left=(0, 5))


def _signed(share: float | None) -> str:
    if share is None:
        return "-"
    text = f"{100 * share:+.1f} %"
    return "0 %" if text in ("+0.0 %", "-0.0 %") else text
