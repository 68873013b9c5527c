"""Measured memory of published runs as records of ``validation/*.csv``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from retype_common import LeftOut, Row, Source, Values, noted
from retype_rules import bloom, golden, internevo, left_out, nemo, torchtitan

#: What tables call a reading, by how it begins, and what a record calls it.
KINDS = {
    "device memory in use": "device",
    "peak allocated (mem-max": "allocated",
    "peak_memory_usage": "allocated",
    "peak reserved": "reserved",
}
UNITS = {"GB": 1e9, "GiB": 2**30, "bytes": 1}
#: What these tables do not have, and rules of step times read.
_MISSING = ("head_dim", "tflops_gpu", "mfu_pct", "unverified_fields", "check")


@dataclass(frozen=True)
class MemorySource(Source):
    """A published table of memory, whose runs the rule of its step times describes."""

    def scenario(self, row: Row) -> Values:
        """Return a record, measurement and provenance included."""
        kind = next((word for start, word in KINDS.items() if row["kind"].startswith(start)), None)
        if kind is None:
            raise LeftOut("not the most that a device held in training")
        full = {**dict.fromkeys(_MISSING, ""), **row, "workload": "pretrain", "tokens_s_gpu": "1"}
        values = super().scenario({**full, "iter_s": row["iter_s"] or "1"})
        for name in ("measured_s", "tflops_per_device"):
            values.pop(name, None)
        values |= {
            "measured_bytes": round(float(row["value"]) * UNITS[row["unit"]]),
            "memory_kind": kind,
            "derived": False,
            "notes": self.notes(row),
        }
        if "last pipeline stage" in row["rank"]:
            values["memory_stage"] = values["plan.pp"] - 1
        return values

    def notes(self, row: Row) -> str:
        """Say how exact a reading is."""
        return "rounded to whole GB, which may be GiB" if row["unit"] == "GB" else row["rank"]


def memory_rule(rule: Callable[[Row], Values]) -> Callable[[Row], Values]:
    """Return a rule for runs on devices that differ from those of the catalogue by their links."""

    def stated(row: Row) -> Values:
        return noted(rule({**row, "gpu": re.sub("^A800", "A100", row["gpu"])}))

    return stated


MEMORY_SOURCES = (
    MemorySource("bloom-prequel", "bloom-2022-search-memory", bloom),
    MemorySource("torchtitan", "torchtitan-2024-memory", torchtitan),
    MemorySource("internevo", "internevo-2024-memory", memory_rule(internevo)),
    MemorySource("mlm-golden", "megatron-lm-tests-memory", golden),
    MemorySource("dgxc-logs", "dgxc-logs-memory", nemo),
    MemorySource("mlm-moe-layer", "", left_out("one layer, no step"), "Megatron-LM, MoE layer"),
    MemorySource("korthikanti-fig1", "", left_out("formulas"), "Korthikanti 2022, figure 1"),
    MemorySource("korthikanti-fig7", "", left_out("formulas"), "Korthikanti 2022, figure 7"),
)
