"""The candidates of a search: all plans over all cluster sizes that multiply out, as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from distsim.errors import DistsimError, UsageError, nearest, show
from distsim.parallel.checks import check_divisions
from distsim.parallel.expert_check import check_experts
from distsim.scenario.family import check_attention, check_family
from distsim.scenario.schema import Scenario
from distsim.schedule import REGISTRY
from distsim.study.plan.layers import MODES, Way, plan_of
from distsim.study.plan.pipes import SCHEDULES, Pipe, ends_in_layers, pipes, possible
from distsim.study.plan.setting import Setting
from distsim.workload.zoo import decoder

Ints = npt.NDArray[np.int64]

#: Columns of a candidate; `pipe` and `shape` point into lists.
COLUMNS = (
    *("devices", "tp", "pp", "cp", "ep", "etp", "dp"),
    *("micro", "microbatches", "zero", "mode", "sp", "overlap", "pipe"),
)
#: Keys of a plan that a search varies, and one of the batch.
KEYS = (
    *("tp", "pp", "cp", "ep", "etp", "schedule", "virtual_stages", "zero_stage", "micro_size"),
    *("recompute", "sequence_parallel", "overlap", "dp"),
)
#: Tokens that a context-parallel rank has at least.
_LEAST_CONTEXT = 4096
_MICRO = (1, 2, 4, 8, 16)
_VIRTUAL = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
OVERLAPS = ("stack", "all")
_SWITCHES = ("overlap_grad_reduce", "overlap_param_gather", "overlap_p2p", "overlap_tensor")


@dataclass(frozen=True, slots=True)
class Space:
    """What a search varies.

    Attributes
    ----------
    devices : tuple of int
    values : dict
        Of each of `KEYS`, those that are tried.
    """

    devices: tuple[int, ...]
    values: Mapping[str, tuple[Any, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"devices": list(self.devices)} | {k: list(v) for k, v in self.values.items()}


@dataclass(slots=True)
class Candidates:
    """Candidates as columns, int64[n] each.

    Attributes
    ----------
    columns : dict
        By name: `COLUMNS`.
    pipes : list of Pipe
        `pipe` points into it.
    refused : Counter
        How many layouts were left out, by reason.
    """

    columns: dict[str, Ints]
    pipes: list[Pipe]
    refused: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.columns["devices"])

    def __getitem__(self, name: str) -> Ints:
        return self.columns[name]

    def take(self, rows: npt.NDArray[Any]) -> Candidates:
        """Return some candidates."""
        return Candidates({k: v[rows] for k, v in self.columns.items()}, self.pipes, self.refused)

    def row(self, index: int) -> dict[str, int]:
        """Return one candidate."""
        return {name: int(column[index]) for name, column in self.columns.items()}


def space_of(setting: Setting, devices: Sequence[int], fixed: Mapping[str, Sequence[Any]]) -> Space:
    """Return what a search varies, where nothing restricts it.

    Parameters
    ----------
    fixed : mapping
        Values of some of `KEYS` to try in place of the usual ones.

    Raises
    ------
    UsageError
        DS694 for a key that a search does not vary, or a value that it cannot have.
    """
    values = _usual(setting, max(devices)) | {k: tuple(v) for k, v in fixed.items()}
    _check_values(values)
    return Space(tuple(sorted(set(devices))), values)


def _usual(setting: Setting, most: int) -> dict[str, tuple[Any, ...]]:
    model, scenario = setting.model, setting.scenario
    mixture = decoder(model)
    node = setting.machine(most).topology.devices_per_node
    divisible = [d for d in model.divisions.values() if d]
    tp = [t for t in range(1, 2 * node + 1) if divisible and all(d % t == 0 for d in divisible)]
    tp = [t for t in tp or [1] if node % t == 0 or t % node == 0]
    cp = [1]
    while mixture is not None and setting.length // (2 * cp[-1]) >= _LEAST_CONTEXT:
        cp.append(2 * cp[-1])
    experts = mixture.experts if mixture is not None else 0
    ep = [e for e in range(1, experts + 1) if experts % e == 0 and e & (e - 1) == 0] or [1]
    stack = setting.stack.overlap
    all_on = all(getattr(stack, name) for name in _SWITCHES)
    said = any(getattr(scenario.plan, name) is not None for name in _SWITCHES)
    return {
        "tp": tuple(tp),
        "pp": tuple(range(1, model.layers + 1)),
        "cp": tuple(cp),
        "ep": tuple(ep),
        "etp": (None,) if not experts else ("tp", 1),
        "schedule": SCHEDULES,
        "virtual_stages": _VIRTUAL,
        "zero_stage": (0, 1, 2, 3),
        "micro_size": _MICRO,
        "recompute": MODES,
        "sequence_parallel": (True, False),
        "overlap": ("stack",) if all_on or said else OVERLAPS,
        "dp": (None,),
    }


def _check_values(values: Mapping[str, tuple[Any, ...]]) -> None:
    words: dict[str, Sequence[Any]] = {
        "schedule": [n for n, s in REGISTRY.items() if s.flush and s.replicas == 1],
        "recompute": MODES,
        "zero_stage": (0, 1, 2, 3),
        "overlap": OVERLAPS,
        "sequence_parallel": (True, False),
    }
    for key, given in values.items():
        if key not in KEYS:
            near = nearest(key, KEYS)
            raise _refused(
                key, f"a search does not vary {show(key)}", f"one of {', '.join(KEYS)}", near
            )
        allowed = words.get(key)
        for value in given:
            right = value in allowed if allowed else value in (None, "tp") or _is_degree(value)
            if not right:
                rule = f"one of {', '.join(map(str, allowed))}" if allowed else "a whole number > 0"
                near = nearest(str(value), map(str, allowed)) if allowed else None
                raise _refused(key, f"{key} cannot be {show(value)} in a search", rule, near)
        if not given:
            raise _refused(key, f"{key} has no value to try", "at least one value", None)


def _is_degree(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _refused(key: str, message: str, rule: str, near: str | None) -> UsageError:
    return UsageError(
        "DS694",
        message,
        path=("plan", key),
        value=key,
        rule=rule,
        fix=f"did you mean {near}?" if near else "choose as the rule says, or leave it out",
    )


def candidates(setting: Setting, space: Space) -> Candidates:
    """Return all candidates of a space that multiply out and divide the model."""
    values = space.values
    refused: Counter[str] = Counter()
    ways = _Ways(setting, refused)
    known = _Pipes(setting, values, refused)
    parts: list[Ints] = []
    for mesh in _meshes(setting, space):
        inner = [w for w in _inner(values, mesh) if ways.right(mesh, w)]
        rows = [(*mesh, *i, *tail) for i in inner for tail in known.of(mesh, i[0])]
        if rows:
            parts.append(np.asarray(rows, dtype=np.int64))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Candidates(dict.fromkeys(COLUMNS, empty), known.all, refused)
    rows_ = np.concatenate(parts)
    zero = np.asarray(sorted(set(values["zero_stage"])), dtype=np.int64)
    table = np.repeat(rows_, len(zero), axis=0)
    stages = np.tile(zero, len(rows_))
    # Nothing to shard: all stages are one.
    keep = (table[:, 6] * table[:, 3] > 1) | (stages == zero[0])
    if 1 in zero and not setting.scenario.plan.reduce_each_microbatch:
        # Whole gradients stay until the last micro batch: stage 2 is stage 1 with more buffers.
        keep &= (stages != 2) | (table[:, 2] == 1)
    table, stages = table[keep], stages[keep]
    names = ("devices", "tp", "pp", "cp", "ep", "etp", "dp", "micro", "mode", "sp", "overlap")
    columns = {n: np.ascontiguousarray(table[:, i]) for i, n in enumerate((*names, "pipe"))}
    columns["zero"] = stages
    columns["microbatches"] = setting.global_size // (columns["micro"] * columns["dp"])
    return Candidates(columns, known.all, refused)


def _meshes(setting: Setting, space: Space) -> Iterable[tuple[int, ...]]:
    """Yield (devices, tp, pp, cp, ep, etp, dp) that multiply out."""
    values = space.values
    degrees = [sorted(set(values[k])) for k in ("tp", "pp", "cp", "ep")]
    for devices in space.devices:
        for tp, pp, cp, ep in product(*degrees):
            if devices % (tp * pp * cp):
                continue
            dp = devices // (tp * pp * cp)
            if dp > setting.global_size or not {None, dp} & set(values["dp"]):
                continue
            for etp in dict.fromkeys(_etp(e, tp) for e in values["etp"]):
                if tp * cp * dp % (ep * etp) == 0:
                    yield devices, tp, pp, cp, ep, etp, dp


def _etp(value: Any, tp: int) -> int:
    return 1 if value is None else tp if value == "tp" else int(value)


def _inner(
    values: Mapping[str, tuple[Any, ...]], mesh: tuple[int, ...]
) -> Iterable[tuple[int, int, int, int]]:
    """Yield (micro, mode, sp, overlap)."""
    modes = [MODES.index(m) for m in values["recompute"]]
    tp = mesh[1]
    given = values["sequence_parallel"]
    sp = [s for s in given if tp > 1 or not s] or ([False] if tp == 1 else [])
    overlaps = [OVERLAPS.index(o) for o in values["overlap"]]
    return product(sorted(set(values["micro_size"])), modes, [int(s) for s in sp], overlaps)


class _Ways:
    """Which divisions of layers are right, asked once each."""

    def __init__(self, setting: Setting, refused: Counter[str]) -> None:
        self._setting = setting
        self._refused = refused
        self._seen: dict[tuple[int, ...], str] = {}

    def right(self, mesh: tuple[int, ...], inner: tuple[int, ...]) -> bool:
        _, tp, pp, cp, ep, etp, dp = mesh
        micro, _, sp, _ = inner
        if self._setting.global_size % (micro * dp):
            return False
        key = (tp, cp, ep, etp, sp, int(pp > 1))
        if key not in self._seen:
            self._seen[key] = self._fault(*key)
        if self._seen[key]:
            self._refused[self._seen[key]] += 1
        return not self._seen[key]

    def _fault(self, tp: int, cp: int, ep: int, etp: int, sp: int, deep: int) -> str:
        setting = self._setting
        way = Way(tp, cp, ep, etp, sp, 1, 0, 0, 0)
        plan, mixture = plan_of(setting, way), decoder(setting.model)
        given = setting.scenario.plan.model_copy(
            update={"tp": tp, "cp": cp, "ep": ep, "etp": etp, "pp": 1 + deep}
        )
        try:
            if mixture is None:
                check_family(given, setting.model)
            else:
                check_attention(given, mixture)
                check_experts(
                    mixture,
                    tp=tp,
                    cp=cp,
                    dp=plan.dp,
                    ep=ep,
                    etp=etp,
                    sequence_parallel=bool(sp),
                )
            check_divisions(
                plan,
                setting.model.divisions,
                sequence_length=setting.length,
                flash_attention=setting.stack.fusion.flash_attention,
            )
        except DistsimError as error:
            return f"{error.code}: {error.message}"
        return ""


class _Pipes:
    """Pipelines over the layers, by number of stages and micro batches."""

    def __init__(
        self, setting: Setting, values: Mapping[str, tuple[Any, ...]], refused: Counter[str]
    ) -> None:
        self._setting, self._values, self._refused = setting, values, refused
        self._ends = ends_in_layers(setting)
        self._of: dict[int, list[int]] = {}
        self._right: dict[tuple[int, int], str] = {}
        self.all: list[Pipe] = []

    def of(self, mesh: tuple[int, ...], micro: int) -> list[tuple[int]]:
        """Return the numbers of the pipes that can order the micro batches."""
        pp, dp = mesh[2], mesh[6]
        if pp not in self._of:
            v = sorted(set(self._values["virtual_stages"]))
            made = pipes(self._setting, pp, self._values["schedule"], v, self._ends)
            self._of[pp] = list(range(len(self.all), len(self.all) + len(made)))
            self.all += made
        microbatches = self._setting.global_size // (micro * dp)
        return [(p,) for p in self._of[pp] if self._can(p, microbatches)]

    def _can(self, number: int, microbatches: int) -> bool:
        pipe = self.all[number]
        key = (number, microbatches)
        if key not in self._right:
            error = None
            if pipe.schedule == "interleaved" and microbatches % pipe.pp:
                self._right[key] = "DS311: pp does not divide the micro batches"
            else:
                error = possible(pipe.schedule, pipe.pp, microbatches, pipe.v)
                self._right[key] = f"{error.code}: {error.message}" if error else ""
        if self._right[key]:
            self._refused[self._right[key]] += 1
        return not self._right[key]


def changes(setting: Setting, row: Mapping[str, int], pipe: Pipe) -> dict[str, Any]:
    """Return what a candidate changes in the scenario, for `Scenario.with_`.

    Parameters
    ----------
    row : mapping
        As `Candidates.row` returns it.
    """
    deep = row["pp"] > 1
    mixture = decoder(setting.model)
    experts = mixture is not None and mixture.experts > 0
    plan: dict[str, Any] = {
        "tp": row["tp"],
        "pp": row["pp"],
        "cp": row["cp"],
        "ep": row["ep"],
        "etp": row["etp"] if experts and row["etp"] != row["tp"] else None,
        "dp": None,
        "schedule": pipe.schedule if deep else None,
        "virtual_stages": pipe.v,
        "zero_stage": row["zero"],
        "sequence_parallel": bool(row["sp"]),
        "recompute": MODES[row["mode"]],
        "layers_per_stage": None if pipe.even else list(pipe.layers),
        "balance": "even",
        "first_stage_layers": None,
        "last_stage_layers": None,
    }
    if row["overlap"]:
        plan |= dict.fromkeys(_SWITCHES, True)
    if not row["sp"]:
        plan["async_tensor"] = False
    cluster: dict[str, Any] = {"devices": row["devices"]}
    whole = setting.scenario.cluster.of
    if whole is not None:
        cluster["of"] = max(whole, row["devices"])
    return {"cluster": cluster, "batch": {"micro_size": row["micro"]}, "plan": plan}


def scenario_of(
    setting: Setting, found: Candidates, index: int, evaluator: str | None = None
) -> Scenario:
    """Return the scenario of a candidate.

    Parameters
    ----------
    evaluator : str, optional
        In place of that of the scenario.
    """
    row = found.row(index)
    more = {} if evaluator is None else {"evaluator": evaluator}
    return setting.scenario.with_(**changes(setting, row, found.pipes[row["pipe"]]), **more)
