"""Running a sweep: every combination evaluated, and what came of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distsim.prediction.breakdown import Breakdown
from distsim.study.cache import Cache, Cached
from distsim.study.evaluate import Outcome, Runner
from distsim.study.sweep.axes import DEVICES, Axis
from distsim.study.sweep.row import Row
from distsim.study.sweep.scaling import Curve, Scaled, best_of, curves_of
from distsim.study.sweep.space import Space
from distsim.study.table import Table

PARTS = tuple(Breakdown.__slots__)
#: Degrees of the plan that each row has, whether or not they vary.
DEGREES = ("dp", "tp", "pp", "cp", "ep", "virtual_stages", "micro_size", "microbatches")
_RATES = ("tokens_per_s", "tokens_per_s_per_device", "model_flop_per_s_per_device", "mfu", "hfu")
_BOUNDS = ("lower_s", "upper_s", "low_s", "high_s")


@dataclass(frozen=True, slots=True)
class Sweep:
    """All combinations of a sweep, in order.

    Attributes
    ----------
    scenario : str
        Name of the scenario.
    axes, along : tuple of Axis
        What varies, and what goes along with the number of devices.
    weak : bool
        Whether the global batch grows with the devices.
    rows : tuple of Row
        Every combination, impossible ones with their reason.
    evaluated, found : int
        Combinations that were evaluated now, and those that were known or equal to another.
    """

    scenario: str
    axes: tuple[Axis, ...]
    along: tuple[Axis, ...]
    weak: bool
    rows: tuple[Row, ...]
    evaluated: int = 0
    found: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of what varies."""
        return tuple(axis.name for axis in (*self.axes, *self.along))

    @property
    def over_devices(self) -> bool:
        """Whether the number of devices varies."""
        return any(axis.key == DEVICES for axis in self.axes)

    @property
    def counts(self) -> Counter[str]:
        """How many combinations are ``ok``, ``does not fit`` and ``not possible``."""
        return Counter(row.outcome.status for row in self.rows)

    @property
    def reasons(self) -> dict[str, list[Row]]:
        """Combinations that cannot run, by the code of the reason."""
        out: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.outcome.reason:
                out.setdefault(row.outcome.reason.partition(":")[0], []).append(row)
        return out

    @property
    def curves(self) -> list[Curve]:
        """Scaling of each combination of everything but the devices; empty without devices."""
        if not self.over_devices:
            return []
        return curves_of(self.rows, self.names, {axis.name for axis in self.along})

    @property
    def best(self) -> Curve:
        """Scaling of the best combination of each number of devices: the most FLOP of the model."""
        return best_of(self.rows)

    @property
    def table(self) -> Table:
        """Every combination: what varies, its numbers, and why it cannot run where it cannot."""
        best = {scaled.row.index for scaled in self.best.points}
        scaled = {s.row.index: s for curve in self.curves for s in curve.points}
        rows = [
            self._cells(row, scaled.get(row.index), best=row.index in best) for row in self.rows
        ]
        return Table.from_rows(rows)

    def _cells(self, row: Row, scaled: Scaled | None, *, best: bool) -> dict[str, Any]:
        outcome = row.outcome
        known = outcome.possible
        cells: dict[str, Any] = {name: row.values.get(name) for name in self.names}
        cells.setdefault("devices", outcome.devices)
        cells |= {"status": outcome.status, "best": best}
        cells["step_s"] = outcome.step_s if known else None
        cells |= {name: getattr(outcome, name) if known else None for name in _RATES}
        cells["speedup"] = scaled.speedup if scaled else None
        cells["efficiency"] = scaled.efficiency if scaled else None
        cells |= {name: outcome.breakdown.get(name) for name in PARTS}
        cells |= {name: getattr(outcome, name) if known else None for name in _BOUNDS}
        memory = ("peak_bytes", "capacity_bytes", "over_bytes")
        cells |= {name: getattr(outcome, name) if known else None for name in memory}
        cells |= {name: outcome.plan.get(name) for name in DEGREES}
        cells["tokens"] = outcome.tokens if known else None
        cells |= {"model": outcome.model or None, "device": outcome.device or None}
        cells["evaluator"] = outcome.evaluator or None
        cells |= {"code": outcome.reason.partition(":")[0] or None}
        cells["reason"] = outcome.reason or None
        return cells

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        counts = self.counts
        return {
            "scenario": self.scenario,
            "scaling": ("weak" if self.weak else "strong") if self.over_devices else None,
            "axes": [{"key": a.key, "values": list(a.values)} for a in self.axes],
            "along": [{"key": a.key, "values": list(a.values)} for a in self.along],
            "combinations": len(self.rows),
            "ok": counts["ok"],
            "does_not_fit": counts["does not fit"],
            "not_possible": counts["not possible"],
            "rows": self.table.rows(),
            "curves": [curve.to_dict() for curve in self.curves],
            "best": self.best.to_dict(),
        }


def sweep(
    space: Space,
    runner: Runner,
    *,
    cache: Cache | None = None,
    on_result: Callable[[int, Outcome], None] | None = None,
) -> Sweep:
    """Evaluate every combination of a space.

    Parameters
    ----------
    runner : Runner
        Who evaluates what is not known yet.
    cache : Cache, optional
        Asked first, and told what is new.
    on_result : callable, optional
        Called with index and outcome of each combination, impossible ones first, once it is kept.

    Raises
    ------
    DistsimError
        As `Space.points`; what `runner` and `cache` raise.
    """
    points = space.points()
    outcomes: dict[int, Outcome] = {}
    for point in points:
        if point.refused is not None:
            outcomes[point.index] = point.refused
            if on_result is not None:
                on_result(point.index, point.refused)
    possible = [(p.index, p.scenario) for p in points if p.scenario is not None]
    cached = Cached(runner, cache)
    for n, outcome in cached.run([scenario for _, scenario in possible]):
        index = possible[n][0]
        outcomes[index] = outcome
        if on_result is not None:
            on_result(index, outcome)
    name = next((scenario.name for _, scenario in possible), str(space.data.get("name", "")))
    return Sweep(
        name,
        space.axes,
        space.along,
        space.weak,
        tuple(Row(point, outcomes[point.index]) for point in points),
        cached.evaluated,
        cached.found,
    )
