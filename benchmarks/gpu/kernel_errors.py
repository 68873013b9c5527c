"""Errors of kernels: measured operator timings against distsim's numbers of the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distsim.scenario.profile import NO_PROFILE, Profile, read_profile
from distsim.study.calibration.measurements import KernelTime, Readings
from distsim.study.calibration.predicting import Predictor
from distsim.study.calibration.readers import read_all

HERE = Path(__file__).parent
#: Of ``distsim measure``, and of `operators`.
TIMINGS = HERE / "measured" / "h100-80gb-sxm-2026-11-26.json"
MORE = HERE / "measured" / "h100-80gb-sxm-2026-11-26-more.json"
PROFILE = HERE / "h100-80gb-sxm-measured.yaml"
DEVICE = "h100-80gb-sxm"
#: PyTorch's own fused kernel, which a timing without a name of a kernel is of.
FLASH = "flash-2"
_LONG_BYTES = 6e7
_FEW_ROWS = 256


@dataclass(frozen=True)
class Kernel:
    """A measured operator.

    Attributes
    ----------
    kind : str
    shape : mapping
    time_s : float
    error : float
        Predicted over measured time, less one.
    """

    kind: str
    shape: Mapping[str, Any]
    time_s: float
    error: float


def kernels(profile: Profile | None = None) -> list[Kernel]:
    """Return all timings of both files that distsim models, with their errors.

    Parameters
    ----------
    profile : Profile, optional
        Numbers in place of those that are shipped.
    """
    readings, _ = read_all([str(TIMINGS), str(MORE)], None, None)
    found: list[Kernel] = []
    for name in (FLASH, "cudnn"):
        chosen = tuple(k for k in readings.kernels if _kernel(k) == name and not _unfused(k))
        predictor = Predictor(DEVICE, None, Readings(kernels=chosen), attention_kernel=name)
        times = predictor.times_s(profile or NO_PROFILE)
        found += [
            Kernel(k.kind, k.shape, k.time_s, float(time_s) / k.time_s - 1)
            for k, time_s in zip(chosen, times, strict=True)
        ]
    return found


def _kernel(timed: KernelTime) -> str:
    return str(timed.shape.get("kernel", FLASH))


def _unfused(timed: KernelTime) -> bool:
    return timed.kind == "attention" and not timed.shape["fused"]


def _product(dtype: str, low_s: float = 0.0, high_s: float = 1e9) -> Callable[[Kernel], bool]:
    return lambda k: k.kind == "gemm" and k.shape["dtype"] == dtype and low_s <= k.time_s < high_s


def _layout(layout: str) -> Callable[[Kernel], bool]:
    return lambda k: _product("bf16")(k) and k.shape["layout"] == layout


def _few(k: Kernel) -> bool:
    return _product("bf16")(k) and k.shape["layout"] == "tn" and k.shape["m"] <= _FEW_ROWS


def _attention(kernel: str, direction: str, low: int, high: int) -> Callable[[Kernel], bool]:
    return lambda k: (
        k.kind == "attention"
        and k.shape.get("kernel", FLASH) == kernel
        and k.shape["direction"] == direction
        and low <= k.shape["sequence"] <= high
    )


def _pass(*ops: str) -> Callable[[Kernel], bool]:
    return lambda k: (
        k.kind == "memory" and k.shape["op"] in ops and k.shape["moved_bytes"] > _LONG_BYTES
    )


#: Groups of the table.
GROUPS: Mapping[str, Callable[[Kernel], bool]] = {
    "products in bf16": _product("bf16"),
    "below 15 us": _product("bf16", 0, 15e-6),
    "15 to 100 us": _product("bf16", 15e-6, 100e-6),
    "100 to 600 us": _product("bf16", 100e-6, 600e-6),
    "above 600 us": _product("bf16", 600e-6),
    "forward (TN)": _layout("tn"),
    "gradient of the input (NN)": _layout("nn"),
    "gradient of the weights (NT)": _layout("nt"),
    "forward, at most 256 rows": _few,
    "products in fp8": _product("fp8"),
    "FlashAttention 2, forward": _attention(FLASH, "forward", 0, 1 << 20),
    "FlashAttention 2, forward, up to 1,024 tokens": _attention(FLASH, "forward", 0, 1024),
    "FlashAttention 2, backward": _attention(FLASH, "backward", 0, 1 << 20),
    "FlashAttention 2, backward, up to 1,024 tokens": _attention(FLASH, "backward", 0, 1024),
    "FlashAttention 2, backward, from 4,096 tokens": _attention(FLASH, "backward", 4096, 1 << 20),
    "cuDNN, forward": _attention("cudnn", "forward", 0, 1 << 20),
    "cuDNN, backward": _attention("cudnn", "backward", 0, 1 << 20),
    "copy, add, GELU": _pass("copy", "add", "gelu"),
    "dropout": _pass("dropout"),
    "AdamW": _pass("adam"),
    "LayerNorm, RMSNorm": _pass("layer_norm", "rms_norm"),
    "SwiGLU in two kernels": _pass("swiglu"),
    "softmax": _pass("softmax"),
    "dependent kernels": lambda k: k.kind == "launch",
    "host, an operator": lambda k: k.kind == "host",
}


def figures(errors: Sequence[float]) -> dict[str, float]:
    """Return count, median and 90th percentile of absolute errors, signed median (percent)."""
    e = 100 * np.asarray(errors)
    return {
        "rows": len(e),
        "median": float(np.median(np.abs(e))),
        "p90": float(np.quantile(np.abs(e), 0.9)),
        "signed": float(np.median(e)),
    }


def table() -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Return each group with the figures of shipped numbers and of the measured profile."""
    shipped, fitted = kernels(), kernels(read_profile(str(PROFILE)))
    return [
        (
            name,
            figures([k.error for k in shipped if belongs(k)]),
            figures([k.error for k in fitted if belongs(k)]),
        )
        for name, belongs in GROUPS.items()
    ]
