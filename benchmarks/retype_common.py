"""What rules of several published tables have in common.

A rule takes what a source states of a run and returns values of a record of ``validation/*.csv``:
columns of the measurement, and dotted keys of a scenario. It raises `LeftOut` with the reason where
that is not enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retype_models import model_of

Row = Mapping[str, str]
Values = dict[str, Any]


class LeftOut(Exception):
    """Why a row is no scenario."""


@dataclass(frozen=True)
class Source:
    """A published table.

    Attributes
    ----------
    key : str
        Its name in the table of published runs.
    file : str
        Name of its file in validation/, without ending.
    rule : callable
        From a row to a record.
    title : str
        For sources of which nothing is stated.
    """

    key: str
    file: str
    rule: Callable[[Row], Values]
    title: str = ""

    def scenario(self, row: Row) -> Values:
        """Return a record, measurement and provenance included."""
        return {**provenance(row), **measured(row), **self.rule(row)}

    def name(self, row: Row, values: Values) -> str:
        """Return a readable id: model, devices, precision."""
        model = re.sub(r"[^a-z0-9.]+", "-", row["model"].lower()).strip("-")
        parts = [model, f"{row['gpus']}x{short_device(row['gpu'])}"]
        if int(values.get("batch.sequence_length", 0)) >= 32768:
            parts.append(f"{int(values['batch.sequence_length']) // 1024}k")
        if "fp8" in values["precision"]:
            parts.append("fp8" if values["precision"]["fp8"] != "mxfp8" else "mxfp8")
        release = re.search(r"container ([\d.]+)|v(\d\d\.\d\d)", row["url_or_path"])
        if self.key in ("megatron-bridge", "dgxc-logs") and release:
            parts.append(release.group(1) or release.group(2))
        return "-".join(parts)


def number(row: Row, key: str, default: int | None = None) -> int:
    """Return a whole number that a row states.

    Raises
    ------
    LeftOut
        Where it does not, and there is no default.
    """
    try:
        return int(float(row[key]))
    except ValueError:
        if default is None:
            raise LeftOut(f"{_WORDS.get(key, key)} not stated") from None
        return default


_WORDS = {
    "mbs": "micro batch",
    "gbs": "global batch",
    "tp": "layout",
    "pp": "layout",
    "gpus": "devices",
    "layers": "dimensions of the model",
    "heads": "attention heads",
    "seq": "sequence length",
}

_DEVICES = {
    "A100 SXM 80GB": "a100",
    "A100 SXM 40GB": "a100-40gb",
    "A100 PCIe 80GB": "a100-pcie",
    "H100 SXM 80GB": "h100",
    "H100 96GB HBM2e 500W": "h100-500w",
    "H200 SXM": "h200",
    "B200 SXM": "b200",
    "GB200": "gb200",
    "GB300": "gb300",
    "TPU v4": "v4",
    "TPU v5e": "v5e",
    "TPU v5p": "v5p",
}


def short_device(gpu: str) -> str:
    """Return the name of a device for an id."""
    return _DEVICES.get(gpu, re.sub(r"[^a-z0-9]+", "-", gpu.lower()))


#: Clusters of NVIDIA's own runs: reference designs. Racks of NVL72 take part with 64 devices.
TOPOLOGIES = {
    "A100 SXM 80GB": "dgx-a100-superpod",
    "H100 SXM 80GB": "dgx-h100-superpod",
    "H200 SXM": "dgx-h200-superpod",
    "B200 SXM": "dgx-b200-superpod",
    "GB200": "gb200-nvl72-64-superpod",
    "GB300": "gb300-nvl72-64-superpod",
}


def topology_of(row: Row) -> str:
    """Return the reference cluster of a device."""
    if row["gpu"] not in TOPOLOGIES:
        raise LeftOut(f"no device profile of {row['gpu'].split(' (')[0]}")
    return TOPOLOGIES[row["gpu"]]


def provenance(row: Row) -> Values:
    """Return where a row was published."""
    url = re.sub(r"\s*(via stored|\(stored|\(cites).*", "", row["url_or_path"])
    date = re.search(r"release (\d\d)\.(\d\d)", row["date"])
    return {
        "source": row["source"],
        "url": url,
        "date": f"20{date[1]}-{date[2]}" if date else row["date"],
    }


def measured(row: Row) -> Values:
    """Return the time of a step as printed, or from the printed tokens a second."""
    if not row["iter_s"]:
        return {"notes": ""}
    derived = any(part.startswith("iter_s") for part in row["derived_fields"].split(";"))
    notes = f"time from the printed {row['tokens_s_gpu']} tokens/s a device" if derived else ""
    return {"measured_s": float(row["iter_s"]), "derived": derived, "notes": notes}


def from_rate(flop: float, row: Row, what: str, tflops: float | None = None) -> Values:
    """Return the time that follows from a printed rate of all devices, to six digits."""
    rate = tflops or float(row["tflops_gpu"])
    out: Values = {
        "measured_s": float(f"{flop / (number(row, 'gpus') * rate * 1e12):.6g}"),
        "derived": True,
        "notes": f"time from {what}",
    }
    return out | ({"tflops_per_device": row["tflops_gpu"]} if row["tflops_gpu"] else {})


def basics(row: Row, stack: str | Values, topology: str = "") -> Values:
    """Return what all sources state alike; a sequence is parallel wherever tensors are."""
    tp, pp, cp, ep = (number(row, key, default) for key, default in _DEGREES)
    out: Values = {
        "model": model_of(row),
        "cluster.topology": topology or topology_of(row),
        "cluster.devices": number(row, "gpus"),
        "batch.global_size": number(row, "gbs"),
        "batch.micro_size": number(row, "mbs"),
        "batch.sequence_length": number(row, "seq"),
        "plan.tp": tp,
        "plan.pp": pp,
        "precision": precision_of(row),
        "stack": stack,
    }
    if cp > 1:
        out["plan.cp"] = cp
    if ep > 1:
        out["plan.ep"] = ep
    if row["recompute"].startswith("full"):
        out["plan.recompute"] = "full"
    elif row["recompute"].startswith("selective"):
        out["plan.recompute"] = "selective"
    return out


_DEGREES: tuple[tuple[str, int | None], ...] = (("tp", None), ("pp", None), ("cp", 1), ("ep", 1))

#: How frameworks name their fp8 recipes: NeMo of 2024 and early 2025 scales by history, later ones
#: by the tensor itself; finer blocks are those of MX on Blackwell and of DeepSeek-V3 before.
_CURRENT = ("fp8-cs", "fp8 current scaling", "fp8 tensorwise", "fp8 rowwise")


def precision_of(row: Row, fp8: str = "delayed") -> str | Values:
    """Return types of numbers."""
    text = row["precision"]
    if text.startswith(("bf16", "fp16")):
        return text[:4]
    if "nvfp4" in text:
        raise LeftOut("4-bit products")
    blackwell = row["gpu"].startswith(("B", "GB"))
    if "mx" in text or "finer" in text:
        return {"compute": "bf16", "fp8": "mxfp8" if blackwell else "blockwise"}
    if text in _CURRENT or "tensorwise" in text:
        return {"compute": "bf16", "fp8": "current"}
    if text == "fp8":
        return {"compute": "bf16", "fp8": fp8}
    raise LeftOut(f"precision {text}")


def in_chunks(layers: int, chunks: int) -> list[int] | None:
    """Return layers of each model chunk where they do not divide evenly.

    Frameworks count the embedding and the loss as layers then, so that the first and the last chunk
    have one layer less; where that does not come out, all chunks are as large as they must be to
    hold the layers and a module for further tokens, and the last one has the rest.
    """
    if layers % chunks == 0:
        return None
    each, rest = divmod(layers + 2, chunks)
    if rest == 0:
        return [each - 1, *[each] * (chunks - 2), each - 1]
    each = -(-(layers + 1) // chunks)
    if each * (chunks - 1) > layers:
        raise LeftOut("division of layers not stated")
    return [each] * (chunks - 1) + [layers - each * (chunks - 1)]


def megatron(row: Row, stack: str | Values = "megatron-core", topology: str = "") -> Values:
    """Return a run of Megatron-Core: distributed optimizer or FSDP, sequences parallel with tp.

    Where a row says that either is off, it is.
    """
    out = basics(row, stack, topology)
    virtual = number(row, "vp", 1)
    if virtual > 1:
        out["plan.virtual_stages"] = virtual
    layers = in_chunks(number(row, "layers"), out["plan.pp"] * virtual)
    if layers:
        out["plan.layers_per_stage"] = layers
    sharded = row["zero_fsdp"]
    out["plan.zero_stage"] = (
        3 if sharded.startswith("FSDP") else int(not sharded.startswith("none"))
    )
    if out["plan.tp"] > 1 and row["seq_parallel"] != "no":
        out["plan.sequence_parallel"] = True
    return out


def overlapped_tensor(row: Row, out: Values) -> Values:
    """Add what NVIDIA's recipes of dense models do: products beside gathers and scatters."""
    if out["plan.tp"] > 1 and not row["moe_experts"] and "UB TP overlap off" not in row["notes"]:
        out["plan.async_tensor"] = True
    return out


def noted(out: Values, *notes: str) -> Values:
    """Add to the notes of a record."""
    return {**out, "notes": "; ".join(note for note in (out.get("notes", ""), *notes) if note)}
