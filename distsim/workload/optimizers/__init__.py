"""Update rules of optimizers: what each keeps and which kernels its update runs.

A new one is one module with a `Rule`, and one line in `RULES` and in `OPTIMIZERS` of
`distsim.workload.optimizer`.
"""

from __future__ import annotations

from collections.abc import Mapping

from distsim.workload.optimizers import adafactor, elementwise, lamb, muon
from distsim.workload.optimizers.spec import Rule

#: Name -> rule.
RULES: Mapping[str, Rule] = {
    "sgd": elementwise.SGD,
    "momentum": elementwise.MOMENTUM,
    "adam": elementwise.ADAM,
    "adamw": elementwise.ADAM,
    "lion": elementwise.LION,
    "lamb": lamb.RULE,
    "adafactor": adafactor.RULE,
    "muon": muon.RULE,
}
