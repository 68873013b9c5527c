"""From files to a calibrated profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from distsim.errors import DistsimError, UsageError, nearest
from distsim.scenario.profile import Profile, is_time
from distsim.study.calibration.fitting import Z90, Fit, Fitted, Problem, errors, fit
from distsim.study.calibration.knobs import Knob, knobs_of, profile_at
from distsim.study.calibration.measurements import Readings, Rejected, Source
from distsim.study.calibration.predicting import Item, Predictor
from distsim.study.calibration.readers import read_all


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fit to the measurements of some files.

    Attributes
    ----------
    name, device, topology : str
        Of the profile; topology is empty without links.
    profile : Profile
    fit : Fit
    items : tuple of Item
        The measurements that were used, in the order of the fit's arrays.
    rejected : tuple of Rejected
    notes : tuple of str
    """

    name: str
    device: str
    topology: str
    profile: Profile
    fit: Fit
    items: tuple[Item, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]

    def kinds(self) -> dict[str, dict[str, Any]]:
        """Return count and errors by kind of measurement: before, after, cross-validated."""
        out = {}
        for kind, count in Counter(item.kind for item in self.items).items():
            chosen = np.array([item.kind == kind for item in self.items])
            out[kind] = {
                "count": count,
                "shipped": errors(self.fit.before[chosen]),
                "fitted": errors(self.fit.after[chosen]),
                "cross_validated": errors(self.fit.crossed[chosen]),
            }
        return out

    def files(self) -> list[dict[str, Any]]:
        """Return the files that were used, with what they gave."""
        used = Counter((item.source.file, item.source.kind) for item in self.items)
        left = Counter(one.source.file for one in self.rejected)
        return [
            {"file": file, "kind": kind, "measurements": count, "left_out": left.get(file, 0)}
            for (file, kind), count in used.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the form of ``--json``."""
        return {
            "name": self.name,
            "device": self.device,
            "topology": self.topology or None,
            "fitted": [_number(one) for one in self.fit.numbers],
            "not_identified": [{"key": knob.key, "value": knob.base} for knob in self.fit.unknown],
            "errors": self.kinds(),
            "distrusted": [self._distrusted(index) for index in self.fit.distrusted()],
            "measurements": [self._measurement(index) for index in range(len(self.items))],
            "files": self.files(),
            "left_out": [{"source": str(r.source), "reason": r.reason} for r in self.rejected],
            "notes": list(self.notes),
        }

    def _measurement(self, index: int) -> dict[str, Any]:
        item, crossed = self.items[index], float(self.fit.crossed[index])
        return {
            "source": str(item.source),
            "kind": item.kind,
            "what": item.label,
            "measured_s": item.measured_s,
            "shipped_s": item.measured_s * float(np.exp(self.fit.before[index])),
            "fitted_s": item.measured_s * float(np.exp(self.fit.after[index])),
            "cross_validated_s": item.measured_s * float(np.exp(crossed))
            if isfinite(crossed)
            else None,
        }

    def _distrusted(self, index: int) -> dict[str, Any]:
        return self._measurement(index) | {
            "spreads": abs(float(self.fit.after[index] / self.fit.spread[index]))
        }


def _number(one: Fitted) -> dict[str, Any]:
    low, high = one.interval
    return {
        "key": one.knob.key,
        "shipped": one.knob.base,
        "value": one.value,
        "low": low,
        "high": high,
        "identified": one.known,
    }


def calibrate(
    files: Sequence[str],
    device: str,
    topology: str | None = None,
    *,
    scenario: str | Mapping[str, Any] | None = None,
    name: str = "calibrated",
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Calibration:
    """Fit numbers of a device, its links and software to the measurements in files.

    Parameters
    ----------
    files : sequence of str
        Training logs, CSVs of step times, nccl-tests output, profiler traces, operator timings.
    device, topology : str
        Names or files. Without a topology only numbers of the device are fitted.
    scenario : str or mapping, optional
        What the step times are of, as far as the files do not say.
    only, keep : sequence of str, optional
        Keys to fit, all by default, and keys to leave as they are.

    Raises
    ------
    DistsimError
        Where a name is unknown, a file holds nothing that can be used (DS632), or nothing can be
        identified (DS638).
    """
    defaults = {"cluster": {"topology": topology}} if topology else None
    readings, problems = read_all(files, scenario, defaults)
    if problems and not readings.count:
        raise problems[0]
    left = tuple(Rejected(Source(_file_of(p), None, ""), _said(p)) for p in problems)
    readings = replace(readings, rejected=(*readings.rejected, *left))
    return calibrate_readings(readings, device, topology, name=name, only=only, keep=keep)


def _file_of(problem: DistsimError) -> str:
    return str(problem.place) if problem.place else "?"


def _said(problem: DistsimError) -> str:
    return f"{problem.code}: {problem.message}; the whole file is left out"


def calibrate_readings(
    readings: Readings,
    device: str,
    topology: str | None = None,
    *,
    name: str = "calibrated",
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Calibration:
    """Fit as `calibrate` does, to measurements that were read already."""
    predictor = Predictor(device, topology, readings)
    knobs = knobs_of(predictor.device, predictor.topology, predictor.stack)
    known = [knob.key for knob in knobs]
    for key in (*only, *keep):
        _check_key(key, known)
    held = [*keep, *(key for key in known if only and key not in only)]
    net = predictor.topology.name if predictor.topology else ""
    problem = Problem(predictor, knobs, net)
    found = fit(problem, keep=held)
    return Calibration(
        name,
        predictor.device.name,
        net,
        _profile(name, predictor.device.name, net, found, problem),
        found,
        predictor.items,
        (*readings.rejected, *predictor.rejected),
        readings.notes,
    )


def _profile(name: str, device: str, topology: str, found: Fit, problem: Problem) -> Profile:
    knobs: list[Knob] = [one.knob for one in found.numbers]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(problem.kinds).items())
    return profile_at(
        knobs,
        [one.x for one in found.numbers],
        name=name,
        device=device,
        topology=topology if any(knob.key.startswith("links.") for knob in knobs) else "",
        sources={knob.key: f"fitted on {kinds} measurements" for knob in knobs},
        half_widths=[one.deviation * Z90 for one in found.numbers],
    )


def _check_key(key: str, known: Sequence[str]) -> None:
    if key in known:
        return
    near = nearest(key, known)
    raise UsageError(
        "DS639",
        f"there is no number {key!r} to fit",
        value=key,
        rule=f"one of {', '.join(known)}",
        fix=f"did you mean {near}?" if near else "use one of these",
    )


def profile_block(found: Calibration, *, date: str, version: str) -> dict[str, Any]:
    """Return the profile as its file has it.

    Parameters
    ----------
    date : str
        Of the calibration, as YYYY-MM-DD.
    version : str
        Of distsim.
    """
    values: dict[str, Any] = {}
    for key, value in found.profile.values.items():
        *path, last = key.split(".")
        block = values
        for part in path:
            block = block.setdefault(part, {})
        write = _seconds if is_time(key) else _plain
        block[last] = {
            "value": write(value.value),
            "low": write(value.low),
            "high": write(value.high),
            "source": value.source,
        }
    return {
        "schema": 1,
        "kind": "profile",
        "name": found.name,
        "device": found.device,
        "topology": found.profile.topology or None,
        "date": date,
        "distsim": version,
        "values": values,
        "sources": [one | {"file": Path(one["file"]).name} for one in found.files()],
        "fit": {
            "errors": {
                kind: {
                    "count": one["count"],
                    **{
                        when: _rounded(one[when]["mape_percent"])
                        for when in ("shipped", "fitted", "cross_validated")
                    },
                }
                for kind, one in found.kinds().items()
            },
            "distrusted": len(found.fit.distrusted()),
            "left_out": len(found.rejected),
        },
    }


def _plain(value: float) -> float:
    return float(f"{value:.5g}")


def _seconds(value: float) -> str:
    return f"{value * 1e6:.5g} us"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
