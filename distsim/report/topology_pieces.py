"""Cells, frames and pieces of a drawing of a topology, while they are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Height of a cell in inches.
HEIGHT = 0.32


@dataclass(slots=True, eq=False)
class Cell:
    """A box that stands for one vertex or several; x and y of its lower left corner in inches."""

    vertices: tuple[int, ...]
    text: str
    fill: str
    width: float
    x: float = 0.0
    y: float = 0.0
    height: float = HEIGHT
    ghost: bool = False
    #: Whether links to cells of its row hang below it.
    hangs: bool = False

    @property
    def middle(self) -> float:
        """Middle in x."""
        return self.x + self.width / 2

    @property
    def stacked(self) -> bool:
        """Whether it stands for several."""
        return len(self.vertices) > 1 and not self.ghost


@dataclass(slots=True, eq=False)
class Frame:
    """A frame around a block, with its title at the bottom."""

    title: str
    note: str
    stacked: bool
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


@dataclass(slots=True, eq=False)
class Piece:
    """Cells and frames that are laid out, from (0, 0) on."""

    width: float = 0.0
    height: float = 0.0
    cells: list[Cell] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def add(self, other: Piece, x: float, y: float) -> None:
        """Take in another piece with its corner at x, y."""
        other.shift(x, y)
        self.cells += other.cells
        self.frames += other.frames

    def shift(self, x: float, y: float) -> None:
        """Move all that is in it."""
        for cell in self.cells:
            cell.x, cell.y = cell.x + x, cell.y + y
        for frame in self.frames:
            frame.x, frame.y = frame.x + x, frame.y + y
