"""A row of a sweep: one combination and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distsim.study.evaluate import Outcome
from distsim.study.sweep.space import Point


@dataclass(frozen=True, slots=True)
class Row:
    """One combination and what came of it.

    Attributes
    ----------
    point : Point
    outcome : Outcome
    """

    point: Point
    outcome: Outcome

    @property
    def index(self) -> int:
        """Its place in the sweep."""
        return self.point.index

    @property
    def values(self) -> Mapping[str, Any]:
        """What it varies, by column."""
        return self.point.values

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.outcome.devices

    @property
    def flop_per_s(self) -> float:
        """Model FLOP a second of all devices."""
        return self.outcome.model_flop_per_s_per_device * self.outcome.devices
