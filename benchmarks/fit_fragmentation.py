"""What devices hold beyond what is allocated, from measured memory: one number for all.

    python benchmarks/fit_fragmentation.py DIRECTORY

DIRECTORY has `memory_calibration.csv`. No run there says both what was allocated and what the
allocator had taken, so two ratios stand for it, each the median over runs of the measured bytes
over `distsim check`'s:

* in use, over runs of BLOOM's candidates (Megatron-DeepSpeed, full recomputation), the CUDA context
  taken off both sides: gaps in the allocator, and what the model leaves out;
* allocated, over Megatron-LM's own counter in runs that allocate 10 GB and more: what the model
  leaves out.

Their quotient less one is `distsim.parallel.memory.FRAGMENTATION`.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import distsim as ds

#: What the notes of the rows of BLOOM say that the CUDA context takes.
CONTEXT_BYTES = 1.6e9
#: Smaller runs consist of what any model leaves out: a loss in fp32, and the like.
LEAST_BYTES = 10e9

Row = Mapping[str, str]


def heads(hidden: int) -> int:
    """Return a number of heads, which BLOOM's rows leave out: a multiple of 8, each near 128."""
    fitting = [n for n in range(8, hidden, 8) if hidden % n == 0]
    return min(fitting, key=lambda n: abs(hidden / n - 128))


def scenario(row: Row) -> dict[str, Any]:
    """Return the scenario of a row."""
    count = {k: int(row[k] or 1) for k in ("gpus", "tp", "pp", "layers", "hidden", "mbs", "gbs")}
    first, rest = divmod(count["layers"], count["pp"])
    model = {
        "family": "gpt",
        "layers": count["layers"],
        "hidden": count["hidden"],
        "heads": int(row["heads"] or heads(count["hidden"])),
        "vocab": int(row["vocab"]),
        "max_positions": int(row["seq"]),
        "tied_embeddings": "untie" not in row["other"],
    }
    for key, column in (("kv_heads", "kv_heads"), ("ffn", "ffn")):
        if row[column]:
            model[key] = int(row[column])
    whole = row["recompute"].startswith("full")
    return {
        "schema": 1,
        "name": row["id"],
        "cluster": {"topology": "dgx-a100-superpod", "devices": count["gpus"]},
        "model": model,
        "batch": {
            "global_size": count["gbs"],
            "micro_size": count["mbs"],
            "sequence_length": int(row["seq"]),
        },
        "plan": {
            "tp": count["tp"],
            "pp": count["pp"],
            "zero_stage": 0 if row["zero_fsdp"].startswith("none") else 1,
            "recompute": "full" if whole else "none",
            "layers_per_stage": [first + (n < rest) for n in range(count["pp"])],
        },
        "precision": "fp16" if row["precision"].startswith("fp16") else "bf16",
        "stack": "megatron-2021" if whole else "megatron-core",
    }


def in_use(row: Row) -> bool:
    """Say whether a row is one of BLOOM's."""
    return row["source_key"] == "bloom-prequel"


def allocated(row: Row) -> bool:
    """Say whether a row is a counter of a dense model without interleaving, large enough."""
    return (
        row["source_key"] == "mlm-golden"
        and row["kind"].startswith("peak allocated")
        and row["model"].startswith("gpt3")
        and not (row["moe_experts"] or row["attention"] or row["vp"])
        and bool(row["gpus"] and row["vocab"])
        and float(row["value_gib"]) * 2**30 >= LEAST_BYTES
    )


def ratios(
    rows: list[Row], wanted: Callable[[Row], bool], context_bytes: float, last: bool
) -> list[float]:
    """Return measured over predicted bytes of the wanted rows, without the context."""
    out = []
    for row in filter(wanted, rows):
        stages = ds.check(ds.load(scenario(row))).memory.stages
        stage = stages[-1] if last else max(stages, key=lambda s: s.peak_bytes)
        predicted = stage.peak_bytes - stage.buffers.reserved_bytes
        out.append((float(row["value_gib"]) * 2**30 - context_bytes) / predicted)
    return out


def main(directory: str) -> None:
    """Print both ratios with their quartiles, and the number."""
    with open(Path(directory) / "memory_calibration.csv", encoding="utf-8") as file:
        rows: list[Row] = list(csv.DictReader(file))
    # Megatron-LM prints the counter of the last stage; BLOOM's rows are the fullest device.
    found = {
        "in use": ratios(rows, in_use, CONTEXT_BYTES, last=False),
        "allocated": ratios(rows, allocated, 0.0, last=True),
    }
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name}: {len(values)} runs, median {middle:.3f}, quartiles {low:.3f} {high:.3f}")
    use, counter = (statistics.median(v) for v in found.values())
    print(f"FRAGMENTATION: {use / counter - 1:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
