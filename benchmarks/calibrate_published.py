"""Calibrate on published runs that are not part of the project, as a user would on a cluster.

    python benchmarks/calibrate_published.py DIRECTORY [--curve]

DIRECTORY holds ``megatron_deepspeed_a100_multi_node.csv`` (Megatron-DeepSpeed on A100, 64 to 512
devices) and ``fsdp_a100_h100.csv`` (llm-foundry's FSDP on A100 and H100). Each set is one cluster:
prints what was fitted, and the errors with the shipped numbers, with the fitted ones, and
cross-validated. ``--curve`` fits on 10 rows and predicts the others, for several draws.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from distsim.study.calibration.calibrate import Calibration, calibrate_readings
from distsim.study.calibration.fitting import errors
from distsim.study.calibration.measurements import Readings, Source, StepTime
from distsim.study.calibration.predicting import Predictor

PRECISION = {"amp_bf16": "bf16", "bf16": "bf16", "amp_fp8": "fp8"}
DEVICES = {"a100_40gb": "a100-40gb-sxm", "a100_80gb": "a100-80gb-sxm", "h100_80gb": "h100-80gb-sxm"}
#: Rows of the learning curve, and how often it is drawn.
FEW, DRAWS = 10, 5


def step(path: Path, line: int, time_s: float, scenario: dict[str, Any]) -> StepTime:
    """Return one measured step."""
    return StepTime(time_s, scenario, Source(path.name, line, "csv"), 1.0, 1, time_s, time_s)


def megatron_deepspeed(path: Path) -> list[StepTime]:
    """Return the Megatron-DeepSpeed runs: fp16, full recomputation, vocabulary of 51,200."""
    found = []
    for line, row in enumerate(csv.DictReader(path.open()), start=2):
        n = {key: int(value) for key, value in row.items() if key != "step_ms"}
        scenario = {
            "cluster": {"topology": "dgx-a100-superpod", "devices": n["devices"]},
            "model": {"family": "gpt", "layers": n["layers"], "hidden": n["hidden"],
                      "heads": n["heads"], "vocab": 51200, "max_positions": n["sequence"]},
            "batch": {"global_size": n["global_batch"], "micro_size": n["micro_batch"],
                      "sequence_length": n["sequence"]},
            "plan": {"tp": n["tp"], "pp": n["pp"], "recompute": "full"},
            "precision": "fp16",
            "stack": "megatron-2021",
        }  # fmt: skip
        found.append(step(path, line, float(row["step_ms"]) * 1e-3, scenario))
    return found


def fsdp(path: Path, kind: str) -> list[StepTime]:
    """Return the FSDP runs on one type of device: MPT models, ALiBi, no biases, tied embeddings."""
    found = []
    for line, row in enumerate(csv.DictReader(path.open()), start=2):
        if row["gpu_type"] != kind:
            continue
        n = {key: int(float(row[key])) for key in (
            "gpus", "n_layers", "d_model", "n_heads", "expansion_ratio", "vocab_size", "seq_len",
            "global_batch", "micro_batch")}  # fmt: skip
        topology = "dgx-h100-superpod" if kind.startswith("h100") else "dgx-a100-superpod"
        scenario = {
            "cluster": {"topology": topology, "devices": n["gpus"]},
            "model": {"family": "gpt", "layers": n["n_layers"], "hidden": n["d_model"],
                      "heads": n["n_heads"], "ffn": n["d_model"] * n["expansion_ratio"],
                      "vocab": n["vocab_size"], "max_positions": n["seq_len"], "bias": False,
                      "norm": "layernorm_no_bias", "positions": "alibi", "dropout": False},
            "batch": {"global_size": n["global_batch"], "micro_size": n["micro_batch"],
                      "sequence_length": n["seq_len"]},
            "plan": {"zero_stage": 3 if row["sharding"] == "FULL_SHARD" else 2,
                     "recompute": "full" if row["act_ckpt"] == "True" else "none"},
            "precision": PRECISION[row["precision"]],
            "optimizer": "adamw",
            "stack": "llm-foundry-2023",
        }  # fmt: skip
        found.append(step(path, line, float(row["measured_s"]), scenario))
    return found


def shown(found: Calibration) -> None:
    """Print a calibration."""
    for one in found.fit.numbers:
        low, high = one.interval
        name, base = one.knob.key, one.knob.base
        print(f"  {name:30} {base:.4g} -> {one.value:.4g} ({low:.4g} .. {high:.4g})")
    for when in ("before", "after", "crossed"):
        e = errors(getattr(found.fit, when))
        print(
            f"  {when:8} MAPE {e['mape_percent']:5.2f} %, median {e['median_percent']:5.2f} %, "
            f"worst {e['worst_percent']:+6.1f} %, mean {e['signed_mean_percent']:+5.2f} %"
        )


def curve(times: list[StepTime], device: str, topology: str) -> None:
    """Print the errors of the rest after a calibration on a few rows."""
    out = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(times))
        few = [times[i] for i in order[:FEW]]
        rest = [times[i] for i in order[FEW:]]
        found = calibrate_readings(Readings(step_times=tuple(few)), device, topology)
        predictor = Predictor(device, topology, Readings(step_times=tuple(rest)))
        predicted = predictor.times_s(found.profile)
        logs = np.log(predicted / np.array([t.time_s for t in rest]))
        out.append(errors(logs)["mape_percent"])
    shown_ = ", ".join(f"{e:.2f}" for e in out)
    print(f"  on {FEW} rows, the others: MAPE {shown_} %; mean {np.mean(out):.2f} %")


def main() -> None:
    """Print the calibrations."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    first = given.directory / "megatron_deepspeed_a100_multi_node.csv"
    sets = {"megatron-deepspeed": (megatron_deepspeed(first), "a100-80gb-sxm", "dgx-a100-superpod")}
    second = given.directory / "fsdp_a100_h100.csv"
    for kind, device in DEVICES.items():
        topology = "dgx-h100-superpod" if kind.startswith("h100") else "dgx-a100-superpod"
        sets[f"fsdp-{kind}"] = (fsdp(second, kind), device, topology)
    for name, (times, device, topology) in sets.items():
        if given.only and not name.startswith(given.only):
            continue
        found = calibrate_readings(Readings(step_times=tuple(times)), device, topology)
        print(f"{name}: {len(found.items)} rows of {len(times)}")
        shown(found)
        if given.curve:
            curve(times, device, topology)


if __name__ == "__main__":
    main()
