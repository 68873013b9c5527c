"""A device: what its datasheet says, and what was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distsim.hardware.block import Block

#: Number formats of matrix products whose dense peak a device may state.
PEAKS = ("bf16", "fp16", "tf32", "fp32", "fp8")
#: Where the numbers of a device come from as a whole.
STATUSES = ("calibrated", "datasheet")


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator.

    Attributes
    ----------
    name, vendor : str
    architecture : str
        Generation of the chip (``hopper``), on which limits of communication libraries depend;
        empty where none does.
    peak_flop_per_s : Mapping[str, float]
        Dense peak of matrix products by number format: a selection of `PEAKS`.
    memory_bytes : float
    memory_bandwidth_bytes_per_s : float
    sm_count : int
        Units that the blocks of a kernel spread over (streaming multiprocessors).
    l2_bytes : float
    gemm_efficiency : float
        Fraction of the peak that the inner loop of a large tile sustains, in (0, 1].
    gemm_fill_k : float
        Elements of k that the prologue and epilogue of a tile cost.
    memory_efficiency : float
        Fraction of the memory bandwidth that a long copy sustains, in (0, 1].
    attention_efficiency : float
        Fraction of the peak that fused (flash) attention sustains, in (0, 1].
    kernel_overhead_s : float
        Gap on the device between two kernels.
    host_launch_s : float
        Time of the host for each kernel launch.
    contention_factor : float
        A kernel that runs beside a transfer takes ``1 + contention_factor`` times as long.
    reserved_bytes : float
        Memory that no tensor can use: context, communication buffers.
    status : str
        ``calibrated`` against measurements, or ``datasheet``.
    sources : Mapping[str, str]
        Where each number comes from, by its key in the file (``peak.bf16``, ``memory``, ...).
    """

    name: str
    vendor: str
    peak_flop_per_s: Mapping[str, float]
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    sm_count: int
    l2_bytes: float
    gemm_efficiency: float
    gemm_fill_k: float
    memory_efficiency: float
    attention_efficiency: float
    kernel_overhead_s: float
    host_launch_s: float
    contention_factor: float
    reserved_bytes: float
    status: str
    sources: Mapping[str, str]
    architecture: str = ""


#: Key in the file -> (field, dimension, whether zero is allowed, highest).
_NUMBERS: Mapping[str, tuple[str, str, bool, float | None]] = {
    "memory": ("memory_bytes", "bytes", False, None),
    "memory_bandwidth": ("memory_bandwidth_bytes_per_s", "bytes_per_s", False, None),
    "l2": ("l2_bytes", "bytes", False, None),
    "gemm_efficiency": ("gemm_efficiency", "1", False, 1.0),
    "gemm_fill_k": ("gemm_fill_k", "1", True, None),
    "memory_efficiency": ("memory_efficiency", "1", False, 1.0),
    "attention_efficiency": ("attention_efficiency", "1", False, 1.0),
    "kernel_overhead": ("kernel_overhead_s", "s", True, None),
    "host_launch": ("host_launch_s", "s", True, None),
    "contention_factor": ("contention_factor", "1", True, None),
    "reserved": ("reserved_bytes", "bytes", True, None),
}


def read_device(block: Block, name: str) -> Device:
    """Return the device that a file describes.

    Parameters
    ----------
    block : Block
        ``vendor``, ``status``, ``peak`` (numbers by format) and the keys of `Device` without
        their units; each number is ``{value: 312 TFLOP/s, source: ...}``.
    name : str

    Raises
    ------
    HardwareError, ValueProblem
        For a key that is unknown or missing and a number out of its range.
    """
    block.only("vendor", "architecture", "status", "peak", "sm_count", *_NUMBERS)
    peak = block.block("peak")
    peak.only(*PEAKS)
    numbers = {key: _number(block, key) for key in ("sm_count", *_NUMBERS)}
    peaks = {key: _number(peak, key) for key in PEAKS if peak.has(key)}
    if not peaks:
        raise block.error("DS403", "no peak rate is given", key="peak", fix="add peak.bf16")
    values = {
        field: numbers[key].quantity("value", dimension, zero=zero, high=high)
        for key, (field, dimension, zero, high) in _NUMBERS.items()
    }
    sourced = numbers | {f"peak.{key}": entry for key, entry in peaks.items()}
    return Device(
        name=name,
        vendor=block.text("vendor"),
        architecture=block.text("architecture", ""),
        peak_flop_per_s={k: entry.quantity("value", "flop_per_s") for k, entry in peaks.items()},
        sm_count=numbers["sm_count"].integer("value"),
        status=block.choice("status", STATUSES),
        sources={key: entry.text("source") for key, entry in sourced.items()},
        **values,
    )


def _number(block: Block, key: str) -> Block:
    entry = block.block(key)
    entry.only("value", "source")
    return entry
