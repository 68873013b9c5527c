"""distsim: how long a step of distributed training takes, where the time goes, and if it fits.

>>> import distsim as ds
>>> scenario = ds.load("gpt3-175b-1024xa100")
>>> prediction = ds.simulate(scenario)
>>> faster = ds.simulate(scenario.with_(plan={"tp": 4, "pp": 16}))

Functions are pure: they print nothing and write no files. Every problem that a person can mend is
a `DistsimError` with a stable code. Names are imported when they are first used, so
``import distsim`` itself costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distsim.version import __version__

if TYPE_CHECKING:
    from distsim.api import CheckReport as CheckReport
    from distsim.api import calibrate as calibrate
    from distsim.api import check as check
    from distsim.api import compute_optimal as compute_optimal
    from distsim.api import diff as diff
    from distsim.api import goodput as goodput
    from distsim.api import load as load
    from distsim.api import load_jobs as load_jobs
    from distsim.api import operators as operators
    from distsim.api import plan as plan
    from distsim.api import simulate as simulate
    from distsim.api import simulate_jobs as simulate_jobs
    from distsim.api import sweep as sweep
    from distsim.api import trace as trace
    from distsim.api import training_cost as training_cost
    from distsim.api import validate as validate
    from distsim.api import whatif as whatif
    from distsim.errors import DistsimError as DistsimError
    from distsim.prediction.jobs import JobsPrediction as JobsPrediction
    from distsim.prediction.predict import Prediction as Prediction
    from distsim.scenario.jobs import Jobs as Jobs
    from distsim.scenario.schema import Scenario as Scenario


#: Public name -> module that defines it.
_HOMES = {
    "CheckReport": "distsim.api",
    "DistsimError": "distsim.errors",
    "Jobs": "distsim.scenario.jobs",
    "JobsPrediction": "distsim.prediction.jobs",
    "Prediction": "distsim.prediction.predict",
    "Scenario": "distsim.scenario.schema",
    "calibrate": "distsim.api",
    "check": "distsim.api",
    "compute_optimal": "distsim.api",
    "diff": "distsim.api",
    "goodput": "distsim.api",
    "load": "distsim.api",
    "load_jobs": "distsim.api",
    "operators": "distsim.api",
    "plan": "distsim.api",
    "simulate": "distsim.api",
    "simulate_jobs": "distsim.api",
    "sweep": "distsim.api",
    "trace": "distsim.api",
    "training_cost": "distsim.api",
    "validate": "distsim.api",
    "whatif": "distsim.api",
}

__all__ = [
    "CheckReport",
    "DistsimError",
    "Jobs",
    "JobsPrediction",
    "Prediction",
    "Scenario",
    "__version__",
    "calibrate",
    "check",
    "compute_optimal",
    "diff",
    "goodput",
    "load",
    "load_jobs",
    "operators",
    "plan",
    "simulate",
    "simulate_jobs",
    "sweep",
    "trace",
    "training_cost",
    "validate",
    "whatif",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'distsim' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
