"""Between what times a step lies, by the errors of published runs that are near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Interval:
    """Between what times a step lies.

    Attributes
    ----------
    low_s, high_s : float
    level : float
        How often measurements lie inside.
    widened : float
        How much the neighbourhood had to grow; 1 where enough runs are near.
    nearest : tuple of str
        Names of the nearest validated runs.
    runs : float
        Weight of the runs that it rests on.
    """

    low_s: float
    high_s: float
    level: float
    widened: float
    nearest: tuple[str, ...]
    runs: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "low_s": self.low_s,
            "high_s": self.high_s,
            "level": self.level,
            "widened": self.widened,
            "nearest": list(self.nearest),
            "runs": self.runs,
        }
