"""Measure real training steps of decoders on one GPU, with plain PyTorch.

    python -m benchmarks.gpu.train_step --group eager -o steps.json [--budget 300]

Weights are in bf16; an fp32 buffer takes up the gradient of each weight as soon as it is there and
sums it over micro batches; its norm is clipped, fused AdamW updates fp32 master weights, which are
copied to the weights. Tokens are random and lie on the device.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.cases import GROUPS, TRACED, Case
from benchmarks.gpu.kernels import kernels_of
from benchmarks.gpu.models import Decoder, Shape

WARMUP, STEPS, SHORTEST_S = 6, 20, 2.0
#: Batches of tokens, of which the targets of one are the next: too many to learn by heart, since
#: gradients that vanish take less power.
POOL = 128
_BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


class Trainer:
    """A model with its states, and one step of it.

    Parameters
    ----------
    case : Case
    device : torch.device
    """

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case, self.device = case, device
        block = case.block
        dropout = 0.1 if case.dropout else 0.0
        width = block.get("ffn", 4 * block["hidden"])
        shape = Shape(
            family=block["family"],
            layers=block["layers"],
            hidden=block["hidden"],
            heads=block["heads"],
            ffn=width,
            vocab=block["vocab"],
            positions=case.sequence,
            dropout=dropout,
        )
        torch.manual_seed(0)
        with device:
            model = Decoder(shape, recompute=case.recompute, compiled=case.compiled)
            self.model = model.to(torch.bfloat16)
            self.model.start()
            size = (POOL, case.accumulation, case.micro, case.sequence)
            self.tokens = torch.randint(block["vocab"], size)
        self.done = 0
        self.weights = list(self.model.parameters())
        self.masters = [w.detach().float() for w in self.weights]
        self.gradients = [torch.zeros_like(m) for m in self.masters]
        for weight, master, buffer in zip(self.weights, self.masters, self.gradients, strict=True):
            master.grad = buffer
            weight.register_post_accumulate_grad_hook(_into(buffer))
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-4, fused=True)

    @property
    def parameters(self) -> int:
        """Elements of all weights."""
        return sum(w.numel() for w in self.weights)

    def step(self, mark: Callable[[], None]) -> Tensor:
        """Run a step; `mark` is called before and after each pass, and at the end."""
        parts = self.case.accumulation
        inputs, outputs = self.tokens[self.done % POOL], self.tokens[(self.done + 1) % POOL]
        self.done += 1
        for tokens, targets in zip(inputs, outputs, strict=True):
            mark()
            loss = self.model(tokens, targets)
            mark()
            (loss / parts if parts > 1 else loss).backward()
        mark()
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(self.weights, self.masters)
            torch._foreach_zero_(self.gradients)
        mark()
        return loss.detach()


def _into(buffer: Tensor) -> Callable[[Tensor], None]:
    """Return what adds the gradient of a weight to its buffer and drops it."""

    def add(weight: Tensor) -> None:
        buffer.add_(weight.grad)
        weight.grad = None

    return add


class Marks:
    """Times of marks: events of a GPU, the clock of a processor."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.marks: list[Any] = []

    def __call__(self) -> None:
        """Set a mark."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def gaps_s(self) -> list[float]:
        """Return the seconds between marks; the device must be done."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        if self._cuda:
            return [a.elapsed_time(b) / 1e3 for a, b in pairs]
        return [b - a for a, b in pairs]


class Sampler(threading.Thread):
    """Reads clock, power and temperature of the GPU ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.samples: list[tuple[float, float, float]] = []

    def run(self) -> None:
        """Read until told to stop; nothing where NVML is not there."""
        try:
            import pynvml

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception:  # no NVML: no samples
            return
        while not self._done.wait(0.1):
            clock = pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM)
            power = pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3
            heat = pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)
            self.samples.append((float(clock), power, float(heat)))

    def stop(self) -> dict[str, float]:
        """Return the medians."""
        self._done.set()
        self.join()
        names = ("clock_mhz", "power_w", "temperature_c")
        found = zip(names, zip(*self.samples, strict=True), strict=False)
        return {name: median(values) for name, values in found}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _nothing() -> None:
    return


def _issue_s(trainer: Trainer, device: torch.device) -> float:
    """Return the seconds that the host takes to issue a step to an idle device."""
    _synchronize(device)
    began_s = time.perf_counter()
    trainer.step(_nothing)
    took_s = time.perf_counter() - began_s
    _synchronize(device)
    return took_s


def _step_times(case: Case, gaps: Sequence[float], steps: int) -> dict[str, Any]:
    """Return median step and passes from gaps between all marks of all steps."""
    marks = 2 * case.accumulation + 2
    rows = [gaps[i * marks : i * marks + marks - 1] for i in range(steps)]
    whole = [sum(row) for row in rows]
    # From one step's first mark to the next one's, so that nothing between steps is lost.
    starts = [sum(gaps[i * marks : (i + 1) * marks]) for i in range(steps - 1)] or whole
    order = sorted(starts)
    passes = 2 * case.accumulation
    return {
        "step_s": median(starts),
        "low_s": order[len(order) // 10],
        "high_s": order[-1 - len(order) // 10],
        "forward_s": median(sum(row[:passes:2]) for row in rows),
        "backward_s": median(sum(row[1:passes:2]) for row in rows),
        "optimizer_s": median(row[-1] for row in rows),
    }


@contextmanager
def _attention(case: Case, device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        with sdpa_kernel(_BACKENDS[case.attention]):
            yield
    else:
        yield


def _memory(device: torch.device) -> dict[str, int]:
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "allocated_bytes": torch.cuda.max_memory_allocated(device),
        "reserved_bytes": torch.cuda.max_memory_reserved(device),
        "device_bytes": total - free,
    }


def measure(case: Case, device: torch.device, *, traced: bool) -> dict[str, Any]:
    """Return the record of a case: what it is, times, memory, clocks, and kernels if `traced`."""
    with _attention(case, device):
        trainer = Trainer(case, device)
        static = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        began_s = time.perf_counter()
        first = float(trainer.step(_nothing))
        for _ in range(WARMUP - 1):
            trainer.step(_nothing)
        _synchronize(device)
        warmup_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        trainer.step(_nothing)
        _synchronize(device)
        steps = max(STEPS, min(round(SHORTEST_S / (time.perf_counter() - began_s)), 100))
        steps = steps if device.type == "cuda" else 3
        marks, sampler = Marks(device), Sampler()
        sampler.start()
        _synchronize(device)
        began_s = time.perf_counter()
        for _ in range(steps):
            loss = trainer.step(marks)
        issued_s = time.perf_counter() - began_s
        _synchronize(device)
        wall_s = time.perf_counter() - began_s
        clocks = sampler.stop()
        times = _step_times(case, [*marks.gaps_s(), 0.0], steps)
        host_s = median(_issue_s(trainer, device) for _ in range(5))
        memory = _memory(device)
        kernels = kernels_of(lambda: trainer.step(_nothing)) if traced else None
    return {
        **case.record,
        "parameters": trainer.parameters,
        **times,
        "wall_s": wall_s / steps,
        "issue_s": issued_s / steps,
        "host_s": host_s,
        "steps": steps,
        "warmup_s": warmup_s,
        "static_bytes": static,
        **memory,
        **clocks,
        "losses": [first, float(loss)],
        **({"kernels": kernels} if kernels else {}),
    }


def _query() -> dict[str, str]:
    """Return what nvidia-smi says of the GPU."""
    keys = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem", "ecc.mode.current")
    command = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(zip(keys, (word.strip() for word in said.split("\n")[0].split(",")), strict=False))


def machine(device: torch.device) -> dict[str, Any]:
    """Return the device and the versions that times depend on."""
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "warmup": WARMUP,
    }
    if device.type == "cuda":
        said = torch.cuda.get_device_properties(device)
        found |= {
            "device": said.name,
            "memory_bytes": said.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            **_query(),
        }
    return found


def _free(device: torch.device) -> None:
    gc.collect()
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def main() -> None:
    """Measure the cases of some groups and write them, after each of them anew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--group", action="append", choices=sorted(GROUPS), required=True)
    parser.add_argument("--budget", type=float, default=300.0, help="no case starts after this")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--no-traces", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    document: dict[str, Any] = {"machine": machine(device), "steps": [], "failed": []}
    began_s = time.perf_counter()
    for case in [c for name in options.group for c in GROUPS[name]]:
        if time.perf_counter() - began_s > options.budget:
            document["failed"].append({**case.record, "reason": "the time was up"})
            continue
        _free(device)
        try:
            traced = case in TRACED and not options.no_traces
            record = measure(case, device, traced=traced)
        except Exception as error:  # one case must not take the others with it
            reason = f"{type(error).__name__}: {str(error)[:500]}"
            document["failed"].append({**case.record, "reason": reason})
            print(f"{case.name}: {reason}", flush=True)
        else:
            document["steps"].append(record)
            print(
                f"{case.name}: {1e3 * record['step_s']:.2f} ms, host {1e3 * record['host_s']:.2f},"
                f" {record.get('allocated_bytes', 0) / 1e9:.1f} GB,"
                f" {record.get('clock_mhz', 0):.0f} MHz {record.get('power_w', 0):.0f} W,"
                f" loss {record['losses'][0]:.2f} to {record['losses'][1]:.2f},"
                f" after {time.perf_counter() - began_s:.0f} s",
                flush=True,
            )
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
