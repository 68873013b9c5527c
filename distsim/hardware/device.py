"""A device: what its datasheet says, and what was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from distsim.hardware.block import Block
from distsim.record import record

#: Number formats of matrix products whose dense peak a device may state.
PEAKS = ("bf16", "fp16", "tf32", "fp32", "fp8")
#: Where the numbers of a device come from as a whole.
STATUSES = ("calibrated", "datasheet")


@record
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
        Fraction of the peak that the forward pass of fused (flash) attention sustains over a long
        sequence at head dimension 128, in (0, 1].
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
    gemm_tile : float
        A tile of r rows and c columns runs at the full rate where r c / (r + c) is at least this
        many elements: a smaller one waits for its operands. 0 (default): tiles of every size do.
    sustained_efficiency : float
        Fraction of the peak that long products sustain under the power limit, in (0, 1].
        1 (default), or more than `gemm_efficiency`: as `gemm_efficiency`.
    sustained_after_flop : float
        FLOP of a product that still run at `gemm_efficiency`. Default 0.
    attention_backward : float
        Rate of the backward pass of fused attention over that of the forward pass. Default 1.
    attention_wide : float
        Rate of that backward pass with head dimensions above 128, over that with others, in
        (0, 1]. Default 1.
    attention_score : float
        Elements of the head dimension whose products take as long as the softmax of a score.
        Default 0.
    attention_fill : float
        Keys that starting and ending a block of queries costs. Default 0.
    attention_kernel : str
        Which kernel the numbers of attention are of; empty (default): not said.
    attention_kernels : Mapping[str, Mapping[str, float]]
        The numbers of attention, by field, of other kernels by name. Default: none.
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
    gemm_tile: float = 0.0
    sustained_efficiency: float = 1.0
    sustained_after_flop: float = 0.0
    attention_backward: float = 1.0
    attention_wide: float = 1.0
    attention_score: float = 0.0
    attention_fill: float = 0.0
    attention_kernel: str = ""
    attention_kernels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def warm(self) -> Device:
        """Return the device in the middle of a step, where the power limit holds from the start.

        Kernels that are timed one by one leave it time to cool; the power limit is kept over
        milliseconds, and in a step products follow upon one another.
        """
        if self.sustained_efficiency >= self.gemm_efficiency:
            return self
        return replace(
            self,
            gemm_efficiency=self.sustained_efficiency,
            sustained_efficiency=1.0,
            sustained_after_flop=0.0,
        )


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
#: Those that a file may leave out: the field then has its default.
_OPTIONAL: Mapping[str, tuple[str, str, bool, float | None]] = {
    "gemm_tile": ("gemm_tile", "1", True, None),
    "sustained_efficiency": ("sustained_efficiency", "1", False, 1.0),
    "sustained_after": ("sustained_after_flop", "flop", True, None),
    "attention_backward": ("attention_backward", "1", False, None),
    "attention_wide": ("attention_wide", "1", False, 1.0),
    "attention_score": ("attention_score", "1", True, None),
    "attention_fill": ("attention_fill", "1", True, None),
}
#: Those that a calibration may change: all but what a datasheet states.
CALIBRATED: Mapping[str, tuple[str, str, bool, float | None]] = {
    key: number
    for key, number in {**_NUMBERS, **_OPTIONAL}.items()
    if key not in ("memory", "memory_bandwidth", "l2", "reserved")
}
#: What a kernel of attention states.
_ATTENTION = ("efficiency", "backward", "wide", "score", "fill")


def read_device(block: Block, name: str) -> Device:
    """Return the device that a file describes.

    Parameters
    ----------
    block : Block
        ``vendor``, ``status``, ``peak`` (numbers by format) and the keys of `Device` without
        their units; each number is ``{value: 312 TFLOP/s, source: ...}``. ``attention_kernels``
        holds a block of ``efficiency, backward, wide, score, fill`` for each kernel.
    name : str

    Raises
    ------
    HardwareError, ValueProblem
        For a key that is unknown or missing and a number out of its range.
    """
    block.only(
        "vendor", "architecture", "status", "peak", "sm_count", "attention_kernel",
        "attention_kernels", *_NUMBERS, *_OPTIONAL,
    )  # fmt: skip
    peak = block.block("peak")
    peak.only(*PEAKS)
    known = {**_NUMBERS, **{key: value for key, value in _OPTIONAL.items() if block.has(key)}}
    numbers = {key: _number(block, key) for key in ("sm_count", *known)}
    peaks = {key: _number(peak, key) for key in PEAKS if peak.has(key)}
    if not peaks:
        raise block.error("DS403", "no peak rate is given", key="peak", fix="add peak.bf16")
    values = _quantities(numbers, known)
    kernels, kernel_sources = _kernels(block)
    sourced = numbers | {f"peak.{key}": entry for key, entry in peaks.items()}
    return Device(
        name=name,
        vendor=block.text("vendor"),
        architecture=block.text("architecture", ""),
        peak_flop_per_s={k: entry.quantity("value", "flop_per_s") for k, entry in peaks.items()},
        sm_count=numbers["sm_count"].integer("value"),
        status=block.choice("status", STATUSES),
        sources={key: entry.text("source") for key, entry in sourced.items()} | kernel_sources,
        attention_kernel=block.text("attention_kernel", ""),
        attention_kernels=kernels,
        **values,
    )


def _quantities(
    numbers: Mapping[str, Block], known: Mapping[str, tuple[str, str, bool, float | None]]
) -> dict[str, float]:
    """Return the value of each number by its field."""
    return {
        field_: numbers[key].quantity("value", dimension, zero=zero, high=high)
        for key, (field_, dimension, zero, high) in known.items()
    }


def _kernels(block: Block) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Return the numbers of the kernels of attention by their names, and their sources."""
    kernels: dict[str, dict[str, float]] = {}
    sources: dict[str, str] = {}
    if not block.has("attention_kernels"):
        return kernels, sources
    known = {**_NUMBERS, **_OPTIONAL}
    everything = block.block("attention_kernels")
    for name in everything.names():
        kernel = everything.block(name)
        kernel.only(*_ATTENTION)
        numbers = {f"attention_{key}": _number(kernel, key) for key in _ATTENTION}
        kernels[name] = _quantities(numbers, {key: known[key] for key in numbers})
        prefix = f"attention_kernels.{name}."
        sources |= {prefix + key: entry.text("source") for key, entry in numbers.items()}
    return kernels, sources


def _number(block: Block, key: str) -> Block:
    entry = block.block(key)
    entry.only("value", "source")
    return entry
