"""What a rate of products that follows their share of a step would bring.

The shipped device has one rate for all steps. Here each step gets the rate that products reached
at its own share of the time (`benchmarks.gpu.duty`); all other numbers are the shipped ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.gpu.cases import Case
from benchmarks.gpu.predict import HERE, scenario_of
from distsim.prediction.predict import predict
from distsim.scenario.profile import Profile, Value
from distsim.scenario.resolve import resolve

DUTY = HERE / "measured" / "h100-80gb-sxm-2026-11-26-duty.json"
DEVICE, PEAK_FLOP_PER_S = "h100-80gb-sxm", 989.4e12
#: The share depends on the rate and the rate on the share; this many times is more than enough.
_ROUNDS = 6


def curve(path: Path = DUTY) -> tuple[list[float], list[float]]:
    """Return shares of the time, rising, and the part of the peak that bf16 products reached."""
    cycles = json.loads(path.read_text(encoding="utf-8"))["cycles"]
    points = sorted((c["share"], c["flop_per_s"]) for c in cycles if c["dtype"] == "bf16")
    return [share for share, _ in points], [rate / PEAK_FLOP_PER_S for _, rate in points]


def product_flop(case: Case) -> float:
    """Return FLOP of all products with weights in a step.

    2 forward and 4 backward for each weight and token (Narayanan 2021, arXiv 2104.04473); layers
    that are recomputed run their forward products again.
    """
    block = case.block
    h, layers = block["hidden"], block["layers"]
    gated = block["family"] == "llama"
    weights = layers * h * (4 * h + (3 if gated else 2) * block.get("ffn", 4 * h))
    tokens = case.micro * case.accumulation * case.sequence
    return float(((8 if case.recompute else 6) * weights + 6 * block["vocab"] * h) * tokens)


def step_s(case: Case) -> tuple[float, float]:
    """Return the step time, and the share of it that products with weights take."""
    shares, rates = curve()
    share, took_s = 0.5, 0.0
    for _ in range(_ROUNDS):
        rate = float(np.interp(share, shares, rates))
        value = {"device.sustained_efficiency": Value(rate, rate, rate, "duty")}
        profile = Profile("duty", DEVICE, "", MappingProxyType(value))
        took_s = predict(resolve(scenario_of(case), profile)).step_s
        share = min(product_flop(case) / (rate * PEAK_FLOP_PER_S) / took_s, 1.0)
    return took_s, share
