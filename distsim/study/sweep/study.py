"""A sweep from what people write: options in, results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike

from distsim.errors import UsageError
from distsim.study.cache import Cache
from distsim.study.evaluate import Outcome, Runner
from distsim.study.pool import Loky
from distsim.study.sweep.axes import DEVICES, Axis, axis, axis_of, devices_axis
from distsim.study.sweep.run import Sweep
from distsim.study.sweep.run import sweep as run
from distsim.study.sweep.space import MAX_POINTS, Source, Space, space

Given = Mapping[str, object] | Sequence[str]


def space_of(
    source: Source,
    *,
    devices: str | int | Iterable[int] | None = None,
    set_: Given = (),
    along: Given = (),
    weak: bool = False,
    max_points: int = MAX_POINTS,
) -> Space:
    """Return the space of a sweep; see `distsim.sweep`.

    Raises
    ------
    DistsimError
        As `distsim.study.sweep.space.space` and `distsim.study.sweep.axes.values`.
    """
    axes = _axes(set_, "--set", repeats=False)
    if devices is not None:
        axes.insert(0, devices_axis(devices))
    beside = _axes(along, "--along", repeats=True)
    if any(a.key == DEVICES for a in beside):
        raise UsageError(
            "DS661",
            "the number of devices goes along with itself",
            path=tuple(DEVICES.split(".")),
            value=DEVICES,
            rule="--devices has the numbers of devices",
            fix="use --devices 8:1024:x2",
        )
    return space(source, axes, along=beside, weak=weak, max_points=max_points)


def _axes(given: Given, option: str, *, repeats: bool) -> list[Axis]:
    if isinstance(given, Mapping):
        return [axis_of(key, found, option, repeats=repeats) for key, found in given.items()]
    return [axis(text, option, repeats=repeats) for text in given]


def sweep_of(
    space: Space,
    *,
    runner: Runner | None = None,
    cache: str | PathLike[str] | Cache | None = None,
    warn: Callable[[str], None] | None = None,
    on_result: Callable[[int, Outcome], None] | None = None,
) -> Sweep:
    """Run a sweep.

    Parameters
    ----------
    runner : Runner, optional
        By default the processes of this machine.
    cache : str, path or Cache, optional
        By default nothing is kept.
    warn : callable, optional
        Told when results can no longer be kept.
    on_result : callable, optional
        Called with index and outcome of each combination.
    """
    chosen = runner or Loky()
    if cache is None or isinstance(cache, Cache):
        return run(space, chosen, cache=cache, on_result=on_result)
    with Cache(cache, warn) as opened:
        return run(space, chosen, cache=opened, on_result=on_result)
