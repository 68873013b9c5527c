"""Whether a text that a page shows is what was printed.

The only freedom is what the page itself leaves out: a line ``...`` stands for any lines, and
``...`` inside a line for any characters of that line. Blanks at the ends of lines do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby

#: How alike lines must be, in the mean, to stand for one another.
ALIKE = 0.6


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Return whether the lines of a page stand for the lines that were printed."""
    parts = []
    for line in trimmed(shown):
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*")
        else:
            parts.append(r"[^\n]*".join(map(re.escape, line.split("..."))) + r"\n")
    text = "".join(f"{line}\n" for line in trimmed(printed))
    return re.fullmatch("".join(parts), text) is not None


def trimmed(lines: Sequence[str]) -> list[str]:
    """Return the lines without blanks at their ends and without empty ones at the end of all."""
    out = [line.rstrip() for line in lines]
    while out and not out[-1]:
        out.pop()
    return out


def elided(shown: Sequence[str], printed: Sequence[str]) -> list[str] | None:
    """Return what was printed with as much left out as the page left out; None if that is unclear.

    Lines of the page between two ``...`` are looked for among those that were printed, by how alike
    they are, in their order.
    """
    old, new = trimmed(shown), trimmed(printed)
    out: list[str] = []
    at, open_ = 0, False
    groups = [(left, list(lines)) for left, lines in groupby(old, lambda x: x.strip() == "...")]
    for number, (left_out, lines) in enumerate(groups):
        if left_out:
            out.append("...")
            open_ = True
            continue
        last = len(new) - len(lines)
        places = range(at, last + 1) if open_ else range(at, at + 1)
        if number == len(groups) - 1:
            places = range(last, last + 1)
        best = max(places, key=lambda i: _alike(lines, new[i : i + len(lines)]), default=None)
        if best is None or best < at or _alike(lines, new[best : best + len(lines)]) < ALIKE:
            return None
        out += [a if matches([a], [b]) else b for a, b in zip(lines, new[best:], strict=False)]
        at, open_ = best + len(lines), False
    return out if matches(out, new) else None


def _alike(old: Sequence[str], new: Sequence[str]) -> float:
    """Return how alike lines are in the mean, from 0 to 1."""
    if len(old) != len(new):
        return 0.0
    return sum(SequenceMatcher(None, a, b).ratio() for a, b in zip(old, new, strict=True)) / len(
        old
    )
