"""Tables without lines that fit whatever width there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

_GAP = 2
#: Cells below which a column of text is not worth its place beside the others.
_LEAST = 28
_INDENT = 2

Cell = str | Text


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns under their heads; see `distsim.report.layout.columns`.

    Numbers never wrap. Where the width is not enough, in this order: columns that may be left out
    are, and are named below; a last column of text goes below each row; columns go into blocks
    below one another, each of which begins with the first column.

    Parameters
    ----------
    heads : sequence of str
    rows : sequence of sequence of str or Text
        A row may be shorter than the heads. A last cell that is a text with `no_wrap` is cut to
        the width, with an ellipsis.
    left : set of int
        Columns of text, aligned left.
    optional : sequence of sequence of int
        Groups of columns that are left out where they do not fit, the first group first.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: frozenset[int]
    optional: Sequence[Sequence[int]] = ()
    _widths: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find the widest cell of each column."""
        widths = [cell_len(head) for head in self.heads]
        for row in self.rows:
            for n, cell in enumerate(row):
                length = max(map(cell_len, str(cell).split("\n")))
                widths[n] = max(widths[n], length)
        object.__setattr__(self, "_widths", widths)

    @property
    def _wraps(self) -> bool:
        return len(self.heads) - 1 in self.left

    def _needed(self, n: int) -> int:
        """Return the least width of a column."""
        last = self._wraps and n == len(self.heads) - 1
        return min(self._widths[n], _LEAST) if last else self._widths[n]

    def _total(self, which: Sequence[int]) -> int:
        return sum(map(self._needed, which)) + _GAP * (len(which) - 1)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the widths between which the table changes its shape."""
        everything = range(len(self.heads))
        most = sum(self._widths) + _GAP * (len(self.heads) - 1)
        return Measurement(min(self._total(everything), most), most).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines."""
        width = options.max_width
        beside = self._fitting(width)
        below = self._fitting(width, hanging=True) if self._wraps and not beside else []
        if beside:
            yield from self._block(console, beside, width)
        elif below:
            yield from self._hanging(console, below, width)
        else:
            for number, block in enumerate(self._blocks(range(len(self.heads)), width)):
                if number:
                    yield Text()
                yield from self._block(console, block, width)
        shown = beside or below or range(len(self.heads))
        names = [head for n, head in enumerate(self.heads) if n not in shown]
        if names:
            yield Text(f"(too narrow for {', '.join(names)}; --json has all)", style="dim")

    def _fitting(self, width: int, *, hanging: bool = False) -> list[int]:
        """Return the most columns that fit, the last of them below the others if `hanging`."""
        for many in range(len(self.optional) + 1):
            without = {n for group in self.optional[:many] for n in group}
            which = [n for n in range(len(self.heads)) if n not in without]
            if self._total(which[:-1] if hanging else which) <= width:
                return which
        return []

    def _blocks(self, which: Sequence[int], width: int) -> list[list[int]]:
        """Return columns that fit beside the first one."""
        blocks, current = [], [which[0]]
        for n in which[1:]:
            if len(current) > 1 and self._total([*current, n]) > width:
                blocks.append(current)
                current = [which[0]]
            current.append(n)
        return [*blocks, current]

    def _block(self, console: Console, which: Sequence[int], width: int) -> Iterator[Text]:
        last = len(self.heads) - 1
        if not (self._wraps and which[-1] == last):
            yield self._line([Text(self.heads[n]) for n in which], which, "dim")
            for row in self.rows:
                yield self._line([_cell(row, n) for n in which], which)
            return
        fixed = which[:-1]
        start = sum(self._widths[n] + _GAP for n in fixed)
        head = self._line([Text(self.heads[n]) for n in which], which, "dim")
        yield head
        for row in self.rows:
            line = self._line([_cell(row, n) for n in fixed], fixed)
            for number, text in enumerate(_wrapped(console, _cell(row, last), width - start)):
                if number:
                    line = Text()
                line.append(" " * (start - line.cell_len))
                line.append_text(text)
                yield line

    def _hanging(self, console: Console, which: Sequence[int], width: int) -> Iterator[Text]:
        """Yield the lines with the last column below the others."""
        *fixed, last = which
        yield self._line([Text(self.heads[n]) for n in fixed], fixed, "dim")
        if self.heads[last]:
            yield Text(" " * _INDENT + self.heads[last], style="dim")
        for row in self.rows:
            yield self._line([_cell(row, n) for n in fixed], fixed)
            text = _cell(row, last)
            if text:
                for part in _wrapped(console, text, width - _INDENT):
                    yield Text(" " * _INDENT).append_text(part)

    def _line(self, cells: Sequence[Text], which: Sequence[int], style: str = "") -> Text:
        line = Text(style=style)
        for number, (cell, n) in enumerate(zip(cells, which, strict=True)):
            if number:
                line.append(" " * _GAP)
            blanks = " " * max(0, self._widths[n] - cell.cell_len)
            if n in self.left:
                line.append_text(cell)
                line.append(blanks if number < len(which) - 1 else "")
            else:
                line.append(blanks)
                line.append_text(cell)
        return line


def _cell(row: Sequence[Cell], n: int) -> Text:
    cell = row[n] if n < len(row) else ""
    return cell if isinstance(cell, Text) else Text(cell)


def _wrapped(console: Console, text: Text, width: int) -> list[Text]:
    """Return the lines of a text; at least one."""
    if text.no_wrap:
        short = text.copy()
        short.truncate(max(width, 1), overflow="ellipsis")
        return [short]
    lines = list(text.wrap(console, max(width, 1), overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines or [Text()]
