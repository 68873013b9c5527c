"""A pipeline schedule as text: its bubble, what each stage holds, and a grid of time slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from distsim.report.layout import columns, heading, percent, plural

#: Colour of each kind of action, what it is called, in the order of the legend.
_KINDS = {
    "F": ("cyan", "forward"),
    "B": ("green", "backward"),
    "I": ("yellow", "input gradient"),
    "W": ("magenta", "weight gradient"),
}
#: Most rows of the grid, and most slots of the shortest action before slots are rounded.
_MOST_ROWS, _MOST_SLOTS = 64, 12


def schedule_text(record: Mapping[str, Any]) -> RenderableType:
    """Return the text of a schedule.

    Parameters
    ----------
    record : mapping
        As ``distsim schedule show --json`` prints it.
    """
    size = f"{plural(record['stages'], 'stage')}, {plural(record['microbatches'], 'micro batch')}"
    if record["virtual_stages"] > 1:
        size += f", {record['virtual_stages']} model chunks a stage"
    if record["replicas"] > 1:
        size += f", {record['replicas']} copies of the model"
    times = f"F {record['forward']:g}, I {record['input']:g}, W {record['weight']:g} a stage"
    return Group(
        heading(f"{record['name']}: {record['summary']}"),
        Text(f"{size}; {times}; {record['makespan']:g} in all"),
        Text(record["source"], style="dim"),
        Text(),
        _bubbles(record),
        Text(),
        _stages(record),
        Text(),
        Grid(record["order"]),
    )


def _bubbles(record: Mapping[str, Any]) -> RenderableType:
    bubble = record["bubble"]
    steady = "" if record["flush"] else ", in steady state: batches follow without a flush"
    rows = [
        ("measured", bubble["measured"], f"until the last stage is done{steady}"),
        (
            "staggered",
            bubble["staggered"],
            "each stage begins its next step when it is done itself",
        ),
        ("in one piece", bubble["paired"], "pairs begin and end together"),
        ("closed form", bubble["closed_form"], "of the paper"),
    ]
    shown = [(name, percent(value), note) for name, value, note in rows if value is not None]
    return columns(("bubble / ideal time", "", ""), shown, left=(0, 2))


def _stages(record: Mapping[str, Any]) -> RenderableType:
    rows = [
        (
            f"{row['stage']}",
            ", ".join(map(str, row["chunks"])),
            percent(row["busy"] / record["makespan"]),
            f"{row['peak_in_flight']:g}",
            f"{row['peak_held']:g}",
        )
        for row in record["order"][:_MOST_ROWS]
    ]
    heads = ("stage", "model chunks", "busy", "in flight", "held until W")
    return Group(
        columns(heads, rows, left=(1,)),
        Text(
            "In flight: micro batches between F and B or I at most; held: until B or W.",
            style="dim",
        ),
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """Stages by time slots, as many slots as the terminal has room for.

    Attributes
    ----------
    order : sequence of mapping
        ``stage`` and ``actions`` of each stage, each with ``action``, ``start``, ``end`` and
        ``paired``.
    """

    order: Sequence[Mapping[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the rows, a legend and what was left out."""
        slot, exact = self.slot()
        single = all(len(row["chunks"]) == 1 for row in self.order)
        label = {
            a["action"]: a["action"].lstrip("0123456789") if single else a["action"]
            for row in self.order
            for a in row["actions"]
        }
        width = max(map(len, label.values())) + 1
        margin = len(f"{self.order[-1]['stage']}") + 7
        ends = (a["end"] for row in self.order for a in row["actions"])
        slots = round(max(ends) / slot)
        room = max(1, (options.max_width - margin) // width)
        for row in self.order[:_MOST_ROWS]:
            line = Text(f"stage {row['stage']:<{margin - 7}} ", no_wrap=True, end="\n")
            for text, style in _slots(row["actions"], label, slot, min(slots, room)):
                line.append(text.ljust(width), style)
            yield line
        yield from self._notes(slot, exact, single, slots, room)

    def _notes(
        self, slot: float, exact: bool, single: bool, slots: int, room: int
    ) -> Iterator[Text]:
        present = {_letter(a["action"]) for row in self.order for a in row["actions"]}
        legend = Text("")
        for letter, (style, name) in _KINDS.items():
            if letter in present:
                legend.append(f"{letter} ", style).append(f"{name}, ")
        numbers = (
            "micro batch after it" if single else "model chunk before it, micro batch after it"
        )
        legend.append(f"{numbers}, - goes on, . idle; a slot is {slot:g}")
        legend.append("" if exact else ", to which times are rounded")
        if any(a["paired"] for row in self.order for a in row["actions"]):
            legend.append("; & pairs an action with the next, drawn one after the other")
        legend.stylize("dim")
        yield legend
        left_out = []
        if slots > room:
            left_out.append(f"{slots - room:,} of {slots:,} slots")
        if len(self.order) > _MOST_ROWS:
            left_out.append(f"{len(self.order) - _MOST_ROWS:,} of {len(self.order):,} stages")
        if left_out:
            yield Text(
                f"note: {' and '.join(left_out)} do not fit; --json or -o FILE.csv has all",
                style="yellow",
            )

    def slot(self) -> tuple[float, bool]:
        """Return the time of a slot, and whether all actions are whole slots."""
        times = {a["end"] - a["start"] for row in self.order for a in row["actions"]}
        shortest = min(time for time in times if time > 0.0)
        parts = [Fraction(time / shortest).limit_denominator(_MOST_SLOTS) for time in times]
        exact = all(
            abs(float(part) - time / shortest) < 1e-9 * max(1.0, time / shortest)
            for part, time in zip(parts, times, strict=True)
        )
        scale = lcm(*(part.denominator for part in parts))
        common = gcd(*(int(part * scale) for part in parts))
        if not exact or scale > _MOST_SLOTS * common:
            return shortest, False
        return shortest * common / scale, True


def _letter(action: str) -> str:
    return action.strip("0123456789")


def _slots(
    actions: Sequence[Mapping[str, Any]], label: Mapping[str, str], slot: float, most: int
) -> Iterator[tuple[str, str]]:
    """Yield text and style of the slots of a stage, up to so many."""
    at = 0
    for action in actions:
        begin, end = (int(action[key] / slot + 0.5) for key in ("start", "end"))
        style = _KINDS[_letter(action["action"])][0]
        yield from ((".", "dim") for _ in range(at, min(begin, most)))
        for place in range(begin, min(end, most)):
            last = "&" if action["paired"] and place == end - 1 else ""
            text = label[action["action"]] if place == begin else "-"
            yield text + last, style
        at = max(at, end)
        if at >= most:
            return
    yield from ((".", "dim") for _ in range(at, most))


__all__ = ["Grid", "schedule_text"]
