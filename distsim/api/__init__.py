"""The Python interface: pure functions, no prints, no files written.

>>> import distsim as ds
>>> s = ds.load("gpt3-175b-1024xa100")
>>> r = ds.simulate(s)
>>> faster = ds.simulate(s.with_(plan={"tp": 4, "pp": 16}))
"""

from __future__ import annotations

from distsim.api.steps import (
    CheckReport,
    check,
    check_jobs,
    load,
    load_any,
    load_jobs,
    operators,
    simulate,
    simulate_jobs,
    trace,
)
from distsim.api.studies import (
    calibrate,
    diff,
    plan,
    sweep,
    validate,
    whatif,
)
from distsim.api.trainings import compute_optimal, goodput, training_cost

__all__ = [
    "CheckReport",
    "calibrate",
    "check",
    "check_jobs",
    "compute_optimal",
    "diff",
    "goodput",
    "load",
    "load_any",
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
