"""How a job scales with the number of devices.

Efficiency is the model FLOP a second and device over that of the smallest count that runs. With a
fixed batch (strong scaling, Amdahl 1967) it is t0 n0 / (t n); with a batch in proportion to the
devices (weak scaling, Gustafson 1988) it is t0 / t; with a model that grows too, as Narayanan 2021
(section 5.1, table 1) scales, it is the ratio of their achieved FLOP/s per GPU. Speed-up is the
efficiency times n / n0, which linear scaling would reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distsim.study.sweep.row import Row


@dataclass(frozen=True, slots=True)
class Scaled:
    """One number of devices on a curve.

    Attributes
    ----------
    row : Row
        Fits into memory.
    speedup : float
        Model FLOP a second over that of the smallest count.
    linear : float
        What linear scaling would reach: the ratio of the devices.
    least_efficiency : float
        Efficiency if nothing of the step overlapped, from its upper bound.
    """

    row: Row
    speedup: float
    linear: float
    least_efficiency: float

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.row.devices

    @property
    def efficiency(self) -> float:
        """Speed-up over linear speed-up."""
        return self.speedup / self.linear


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve over numbers of devices.

    Attributes
    ----------
    series : mapping
        What all its rows have in common of what varies.
    points : tuple of Scaled
        By number of devices; those that fit.
    """

    series: Mapping[str, Any]
    points: tuple[Scaled, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; rows by their place in the sweep."""
        return {
            "series": dict(self.series),
            "points": [
                {
                    "row": p.row.index,
                    "devices": p.devices,
                    "step_s": p.row.outcome.step_s,
                    "speedup": p.speedup,
                    "linear": p.linear,
                    "efficiency": p.efficiency,
                    "least_efficiency": p.least_efficiency,
                }
                for p in self.points
            ],
        }


def curve(series: Mapping[str, Any], rows: Iterable[Row]) -> Curve:
    """Return the curve of rows, one a number of devices, without those that do not fit."""
    fitting = sorted((r for r in rows if r.outcome.fits), key=lambda r: r.devices)
    if not fitting:
        return Curve(series, ())
    first = fitting[0].outcome
    base = fitting[0].flop_per_s
    points = []
    for row in fitting:
        outcome = row.outcome
        linear = outcome.devices / first.devices
        speedup = row.flop_per_s / base
        least = speedup / linear * outcome.step_s / outcome.upper_s
        points.append(Scaled(row, speedup, linear, least))
    return Curve(series, tuple(points))


def curves_of(rows: Sequence[Row], names: Sequence[str], along: Iterable[str]) -> list[Curve]:
    """Return the curves of rows that are alike in everything but the number of devices.

    Parameters
    ----------
    names : sequence of str
        Columns of what varies.
    along : iterable of str
        Of these, those that go along with the number of devices.
    """
    apart = [n for n in names if n != "devices" and n not in set(along)]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(repr([row.values.get(n) for n in apart]), []).append(row)
    return [curve({n: g[0].values.get(n) for n in apart}, g) for g in groups.values()]


def best_of(rows: Iterable[Row]) -> Curve:
    """Return the curve of the best row of each number of devices: the most model FLOP a second.

    Of equal ones the first counts.
    """
    best: dict[int, Row] = {}
    for row in rows:
        if not row.outcome.fits:
            continue
        old = best.get(row.devices)
        if old is None or row.flop_per_s > old.flop_per_s:
            best[row.devices] = row
    return curve({}, best.values())
