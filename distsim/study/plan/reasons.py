"""Why the plans next to the chosen one are not chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distsim.study.plan.layers import MODES
from distsim.study.plan.meter import Meter
from distsim.study.plan.pipes import SCHEDULES, Pipe, divisions, ends_in_layers
from distsim.study.plan.result import Rejected
from distsim.study.plan.search import Bounded, Found, Wanted
from distsim.study.plan.setting import Setting
from distsim.study.plan.space import OVERLAPS, Space, changes
from distsim.study.plan.timing import timed
from distsim.units import fmt_s

Floats = npt.NDArray[np.float64]

#: What an objective is said to be, where a neighbour has more of it.
_WORSE = {"time": "slower", "cost": "dearer", "energy": "more energy"}
_BETTER = {"time": "faster", "cost": "cheaper", "energy": "less energy"}
#: A neighbour within this share of the chosen plan is predicted as the scenario says.
_NEAR = 0.02
#: Below this share two plans are equally good.
_EQUAL = 5e-5


class Neighbour(NamedTuple):
    """A change of one thing: key, what the chosen plan has, what this one has."""

    key: str
    value: object
    to: object
    row: dict[str, int]
    pipe: Pipe


def neighbours(setting: Setting, space: Space, row: dict[str, int], pipe: Pipe) -> list[Neighbour]:
    """Return the plans that differ from a candidate in one thing."""
    at = _At(setting, space, row, pipe)
    return [*at.degrees(), *at.switches(), *(at.pipelines() if row["pp"] > 1 else ()), *at.sizes()]


@dataclass(frozen=True, slots=True)
class _At:
    """A candidate, and what lies beside it."""

    setting: Setting
    space: Space
    row: dict[str, int]
    pipe: Pipe

    def _to(
        self, key: str, value: object, to: object, pipe: Pipe | None = None, **change: int
    ) -> Neighbour:
        return Neighbour(key, value, to, self.row | change, pipe or self.pipe)

    def _laid(self, pp: int, schedule: str, v: int) -> Pipe:
        """Return a pipeline over the layers of the model; without layers where none divides."""
        layers = self.setting.model.layers
        if pp == 1:
            return Pipe("1f1b", 1, 1, (layers,), True)
        found = divisions(layers, pp, v, ends_in_layers(self.setting))
        return Pipe(schedule, pp, v, *found[0]) if found else Pipe(schedule, pp, v, (), True)

    def degrees(self) -> Iterator[Neighbour]:
        """Yield other degrees of parallelism."""
        row, pipe = self.row, self.pipe
        for key in ("tp", "pp", "cp", "ep"):
            known = _degrees(self.space, key)
            if key == "pp":
                others = row["devices"] // (row["tp"] * row["cp"])
                known = [degree for degree in known if others % degree == 0]
            for degree in _beside(row[key], known):
                change, other = {key: degree}, pipe
                if key == "pp":
                    single = degree == 1 or row["pp"] == 1
                    schedule, v = ("1f1b", 1) if single else (pipe.schedule, pipe.v)
                    other = self._laid(degree, schedule, v)
                if key == "tp":
                    change["etp"] = degree if row["etp"] == row["tp"] else row["etp"]
                    change["sp"] = row["sp"] if degree > 1 else 0
                yield self._to(f"plan.{key}", row[key], degree, other, **change)

    def switches(self) -> Iterator[Neighbour]:
        """Yield other micro batches, stages of ZeRO, recomputation and sequence parallelism."""
        row = self.row
        for micro in _beside(row["micro"], [1, 2, 4, 8, 16, 32]):
            yield self._to("batch.micro_size", row["micro"], micro, micro=micro)
        for stage in range(4):
            if stage != row["zero"]:
                yield self._to("plan.zero_stage", row["zero"], stage, zero=stage)
        for mode in range(len(MODES)):
            if mode != row["mode"]:
                yield self._to("plan.recompute", MODES[row["mode"]], MODES[mode], mode=mode)
        if row["tp"] > 1:
            said = bool(row["sp"])
            yield self._to("plan.sequence_parallel", said, not said, sp=1 - row["sp"])

    def pipelines(self) -> Iterator[Neighbour]:
        """Yield other virtual stages and schedules of a pipeline of the same depth."""
        pipe = self.pipe
        for v in _beside(pipe.v, [1, 2, 3, 4, 6, 8, 12]) if pipe.schedule == "interleaved" else ():
            name = "interleaved" if v > 1 else "1f1b"
            yield self._to("plan.virtual_stages", pipe.v, v, self._laid(pipe.pp, name, v))
        for name in SCHEDULES:
            if name != pipe.schedule:
                v = {"zb-v": 2, "interleaved": max(pipe.v, 2)}.get(name, 1)
                yield self._to("plan.schedule", pipe.schedule, name, self._laid(pipe.pp, name, v))

    def sizes(self) -> Iterator[Neighbour]:
        """Yield other sizes of cluster, and the other overlap."""
        row = self.row
        for devices in _beside(row["devices"], self.space.devices):
            yield self._to("cluster.devices", row["devices"], devices, devices=devices)
        if len(self.space.values["overlap"]) > 1:
            other = 1 - row["overlap"]
            said, to = OVERLAPS[row["overlap"]], OVERLAPS[other]
            yield self._to("plan.overlap", said, to, overlap=other)


def _degrees(space: Space, key: str) -> Sequence[int]:
    return [d for d in space.values[key] if isinstance(d, int)]


def _beside(value: int, known: Sequence[int]) -> list[int]:
    """Return half and twice a number, and the nearest known ones that are smaller and larger."""
    lower = [d for d in known if d < value]
    upper = [d for d in known if d > value]
    doubled = {2 * value} & set(known) or set(upper[:1])
    halved = {value // 2} & set(known) or set(lower[-1:])
    return sorted(halved | doubled)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Says why neighbours lose.

    Attributes
    ----------
    setting : Setting
    given : Bounded
    found : Found
    meter : Meter
    wanted : Wanted
    evaluator : str
        By which a neighbour and the chosen plan are compared.
    final : Found
        Candidates as they are printed: a neighbour that comes near is compared with these, by the
        evaluator of the scenario.
    """

    setting: Setting
    given: Bounded
    found: Found
    meter: Meter
    wanted: Wanted
    evaluator: str
    final: Found

    def rejected(self, space: Space, index: int) -> tuple[Rejected, ...]:
        """Return the neighbours of a candidate with the reason why they are not chosen."""
        row = self.given.candidates.row(index)
        pipe = self.given.candidates.pipes[row["pipe"]]
        said = [
            self._reason(near, index) for near in neighbours(self.setting, space, row, pipe)
        ]  # fmt: skip
        return tuple(sorted(said, key=lambda r: (r.step_s is None, r.code, r.step_s or inf)))

    def _reason(self, near: Neighbour, index: int) -> Rejected:
        head = (near.key, near.value, near.to)
        changed = changes(self.setting, near.row, near.pipe)
        scenario = self.setting.scenario.with_(**changed, evaluator=self.evaluator)
        result, beside = timed(scenario, self.evaluator), self.found
        if result.code:
            return Rejected(*head, result.message, result.code)
        same = near.row["devices"] == self.given.candidates["devices"][index]
        if same and result.step_s < (1.0 + _NEAR) * self.found.step_s[index]:
            said = self.setting.scenario.evaluator
            result, beside = timed(scenario, said, weighed=True), self.final
        values = self._values(result.step_s, near.row["devices"], index)
        words = ", ".join(self._worse(values, beside.values[index]))
        return Rejected(*head, words, "", result.step_s)

    def _values(self, step_s: float, devices: int, index: int) -> Floats:
        """Return time, money and energy of a plan with the kernels of the chosen one."""
        compute, exposed = self.given.compute_s[[index]], self.given.exposed_s[[index]]
        # What a device computes is the same work over another number of them.
        share = int(self.given.candidates["devices"][index]) / devices
        step = np.asarray([step_s])
        found = self.meter.least(np.asarray([devices]), step, compute * share, exposed * share)
        return np.asarray(found[0])

    def _worse(self, values: Floats, best: Floats) -> Iterator[str]:
        """Say in what a plan is worse than the best."""
        wanted, column = self.wanted, self.wanted.column
        time_s, money = float(values[0]), float(values[1])
        if time_s > wanted.deadline_s:
            yield f"misses the deadline by {fmt_s(time_s - wanted.deadline_s)}"
        if money > wanted.budget:
            over = (money - wanted.budget) / wanted.budget
            yield f"{100 * over:.1f} % over the budget"
        share = float(values[column] / best[column]) - 1.0
        if abs(share) < _EQUAL:
            yield "no better"
        else:
            words = _WORSE if share > 0 else _BETTER
            yield f"{words[wanted.objective]} by {100 * abs(share):.2g} %"


__all__ = ["Neighbour", "Reasons", "neighbours"]
