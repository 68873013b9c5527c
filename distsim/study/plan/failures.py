"""What failures and checkpoints add to the time of a training, by the size of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from distsim.scenario.schema import Scenario
from distsim.study.goodput.checkpoints import durable_s, with_checkpoints
from distsim.study.goodput.closed import goodput_factor
from distsim.study.goodput.process import check
from distsim.study.plan.setting import PLAIN
from distsim.units import parse

#: Longest interval between checkpoints that is thought of, in steps: the delay of one is then its
#: own and nothing else.
_RARE = 1_000_000


def stretch(scenario: Scenario, devices: Iterable[int], mtbf_device: str) -> dict[int, float]:
    """Return time with failures over time without, for each size of cluster.

    By the closed form of `distsim goodput` with the best interval between checkpoints, spare nodes
    enough, and checkpoints as the scenario says or as `distsim goodput` assumes them. It does not
    depend on the plan: a checkpoint has the same bytes under all, and all devices write it.

    Parameters
    ----------
    mtbf_device : str
        Mean time between failures of one device, with its unit.

    Raises
    ------
    DistsimError
        DS210 to DS213, DS677 for a time that is none.
    """
    mtbf_s = parse(mtbf_device, "s", path=("mtbf_device",))
    check("the time between failures of a device", mtbf_s, above=True)
    out = {}
    for count in devices:
        changed = scenario.with_(
            cluster={"devices": count} | _whole(scenario, count),
            batch={"global_size": count, "micro_size": 1},
            plan=dict(PLAIN),
        )
        _, found, _ = with_checkpoints(changed, None, None)
        rare = replace(found, every_steps=_RARE)
        # The step is short beside both, so what hides behind one is left out.
        late_s = durable_s(rare, 1.0)
        share = goodput_factor(
            count,
            mtbf_device_s=mtbf_s,
            checkpoint_s=rare.exposed_s(1.0),
            durable_s=late_s,
            least_s=late_s,
        )
        out[int(count)] = float(1.0 / max(float(share), 1e-9))
    return out


def _whole(scenario: Scenario, count: int) -> dict[str, int]:
    whole = scenario.cluster.of
    return {} if whole is None else {"of": max(whole, count)}
