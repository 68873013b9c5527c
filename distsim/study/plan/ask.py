"""From what people write to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from distsim.scenario.load import load
from distsim.scenario.schema import Scenario
from distsim.study.plan.failures import stretch
from distsim.study.plan.question import Limits, question, restrictions, space_file
from distsim.study.plan.result import Planned
from distsim.study.plan.run import plan
from distsim.study.pool import Loky, Serial
from distsim.study.sweep.axes import devices_axis

Source = str | PathLike[str] | Mapping[str, Any] | Scenario


def ask(
    source: Source,
    devices: str | int | Iterable[int],
    limits: Mapping[str, Any],
    *,
    set_: Sequence[str] = (),
    space: Mapping[str, object] | str | PathLike[str] | None = None,
    jobs: int | None = 1,
    on_result: Callable[[object], None] | None = None,
) -> Planned:
    """Find a plan; see `distsim.plan`."""
    varied, others = restrictions(set_)
    scenario = (
        source if isinstance(source, Scenario) and not others else load(_plain(source), others)
    )
    given: dict[str, object] = {}
    if space is not None:
        given |= space if isinstance(space, Mapping) else space_file(str(space))
    given |= varied
    wanted = dict(limits)
    failures = wanted.pop("with_failures", False)
    mtbf = wanted.pop("mtbf_device", "50000h")
    if failures:
        counts = [int(count) for count in devices_axis(devices).values]
        wanted["stretch"] = stretch(scenario, counts, mtbf)
    asked = question(scenario, devices, Limits(**wanted), given)
    return plan(asked, Serial() if jobs == 1 else Loky(jobs), on_result)


def _plain(source: Source) -> str | PathLike[str] | Mapping[str, Any]:
    return source.to_dict() if isinstance(source, Scenario) else source
