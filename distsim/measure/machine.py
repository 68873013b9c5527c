"""The machine at hand as PyTorch shows it: its device, its memory, its clocks."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distsim.errors import UsageError
from distsim.measure.cases import Case
from distsim.measure.clock import now_s
from distsim.measure.kernels import Operands, prepare
from distsim.measure.lazy import load_torch
from distsim.measure.timing import Call, Clock, UnavailableError
from distsim.units import fmt_bytes

#: Operands take turns over this many times the last cache, so that each call finds its own in
#: memory, as the operators of a long step do.
_CACHES = 2
#: Most sets of operands of a case; below 1 MB each they may stay in the cache.
_MOST_SETS = 64
#: Load for each processor from which on times are of a shared machine.
_BUSY = 0.5
#: Share of the free memory that a case may take.
_MEMORY_SHARE = 0.8


class TorchMachine:
    """A device of this machine.

    Parameters
    ----------
    device : str
        ``cuda``, ``cuda:N``, ``cpu``, or empty for a GPU if there is one.
    local_rank : int
        Which GPU ``cuda`` means: that of the process among those of its node.

    Attributes
    ----------
    kind : {"cuda", "cpu"}
    rotation_bytes : int
        What operands take turns over.
    notes : list of str
        What a reader of the timings should know.

    Raises
    ------
    UsageError
        DS640 without PyTorch, DS642 for a device that is not there.
    """

    def __init__(self, device: str, local_rank: int = 0) -> None:
        self.torch = load_torch()
        self.device = _device(self.torch, device, local_rank)
        self.kind: str = self.device.type
        self.notes: list[str] = []
        self._operands = Operands(self.torch, self.device)
        self._host = HostClock(self)
        self._device_clock: Clock = self._host
        if self.kind == "cuda":
            self.torch.cuda.set_device(self.device)
            self._device_clock = CudaClock(self.torch)
        self.rotation_bytes = _CACHES * self._cache_bytes()
        self._note_load()
        square = self._operands.random(64, 64, dtype="fp32")
        self.torch.mm(square, square)  # starts threads and libraries before any time is counted
        self.synchronize()

    def synchronize(self) -> None:
        """Wait until the device has done all that was issued."""
        if self.kind == "cuda":
            self.torch.cuda.synchronize()

    def clock(self, kind: str) -> Clock:
        """Return the clock for a kind of cases: that of the host where its time is asked for."""
        return self._host if kind == "host" else self._device_clock

    @contextmanager
    def prepared(self, case: Case) -> Iterator[Call]:
        """Return a context with the operands of a case, and its call.

        Raises
        ------
        UnavailableError
            For a case that does not fit into memory, or that this build of PyTorch, this device or
            this number format has no kernel for.
        """
        self.check_room(case.footprint_bytes)
        with self.failures(), prepare(self._operands, case, self._sets(case)) as call:
            yield call

    def _sets(self, case: Case) -> int:
        """Return how many sets of operands take turns: one where nothing is read from memory."""
        if not case.footprint_bytes:
            return 1
        return min(-(-self.rotation_bytes // case.footprint_bytes), _MOST_SETS)

    def check_room(self, needed_bytes: int) -> None:
        """Refuse what does not fit: a processor's memory would be swapped, or the process killed.

        Raises
        ------
        UnavailableError
        """
        free = self._free_bytes()
        if needed_bytes > _MEMORY_SHARE * free:
            raise UnavailableError(f"{fmt_bytes(needed_bytes)} do not fit into {fmt_bytes(free)}")

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what PyTorch raises for a case into `UnavailableError`, and free what it held."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a kernel that is missing: the error says it
                yield
        except (MemoryError, self.torch.cuda.OutOfMemoryError):
            raise UnavailableError("out of memory") from None
        # What PyTorch raises for a type or kernel that this device (RuntimeError, its subclass
        # NotImplementedError, ValueError) or this release of it (AttributeError, TypeError for an
        # argument) does not have. The case is listed as skipped, with the text.
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            text = str(error).strip().split("\n")[0][:120]
            if "can't allocate memory" in text:
                text = "out of memory"
            raise UnavailableError(text or type(error).__name__) from None
        finally:
            if self.kind == "cuda":
                self.torch.cuda.empty_cache()

    def lacks(self, dtype: str) -> str:
        """Return why the device has no use for a number format; empty where it has.

        Matrix units take bf16 and tf32 from compute capability 8.0 on and fp8 from 8.9 on (NVIDIA
        CUDA C++ Programming Guide, table of compute capabilities).
        """
        if self.kind == "cpu":
            return "a processor does not multiply in it" if dtype in ("tf32", "fp8") else ""
        least = {"bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9)}.get(dtype, (0, 0))
        if tuple(self.torch.cuda.get_device_capability(self.device)) < least:
            return "the GPU is of an older generation"
        return "" if self._operands.dtypes[dtype] is not None else "this PyTorch does not have it"

    def device_record(self) -> dict[str, Any]:
        """Return ``name, kind, memory_bytes, multiprocessors, threads``."""
        threads = self.torch.get_num_threads()
        if self.kind == "cuda":
            found = self.torch.cuda.get_device_properties(self.device)
            name, memory, units = found.name, found.total_memory, found.multi_processor_count
        else:
            name, memory, units = _processor(), _memory_bytes("MemTotal"), os.cpu_count() or 1
        return {
            "name": str(name),
            "kind": self.kind,
            "memory_bytes": int(memory),
            "multiprocessors": int(units),
            "threads": int(threads),
        }

    def versions(self) -> dict[str, str]:
        """Return the versions that timings depend on; those that do not count are left out."""
        found = {"python": platform.python_version(), "torch": str(self.torch.__version__)}
        if self.kind == "cuda":
            build = self.torch.version
            found |= {k: v for k in ("cuda", "hip") if (v := getattr(build, k, None))}
            if self.torch.distributed.is_nccl_available():
                found["nccl"] = ".".join(map(str, self.torch.cuda.nccl.version()))
        return found

    def _note_load(self) -> None:
        """Note other work on the processors: threads that wait for one another then lose slices."""
        load, processors = os.getloadavg()[0], os.cpu_count() or 1
        if self.kind == "cpu" and load > _BUSY * processors:
            self.notes.append(
                f"others use this machine: load {load:.1f} on {processors} processors"
            )

    def _cache_bytes(self) -> int:
        """Return the size of the last cache before memory."""
        if self.kind == "cuda":
            properties = self.torch.cuda.get_device_properties(self.device)
            return int(getattr(properties, "L2_cache_size", 0)) or 64 << 20
        sizes = [_kib(f) for f in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
        return max(sizes, default=32 << 20)

    def _free_bytes(self) -> int:
        if self.kind == "cuda":
            return int(self.torch.cuda.mem_get_info(self.device)[0])
        return _memory_bytes("MemAvailable")


class HostClock:
    """Times what the host does: on a processor all of it, on a GPU the issuing alone."""

    def __init__(self, machine: TorchMachine) -> None:
        self._machine = machine

    def now_s(self) -> float:
        """Return a time that only grows."""
        return now_s()

    def batch_s(self, call: Call, calls: int) -> float:
        """Return the seconds that the host needs for calls; the device may still be at work."""
        self._machine.synchronize()
        began_s = now_s()
        for number in range(calls):
            call(number)
        took_s = now_s() - began_s
        self._machine.synchronize()
        return took_s


class CudaClock:
    """Times what a GPU does, by its own events.

    Short kernels would be measured at the rate at which the host issues them. So the device spins
    before the first event until all calls are issued; where it began earlier than that, and was
    not the slower of the two, the batch is run again behind a longer spin.
    """

    #: Cycles of a spin for each second that it must last: above the clock rate of any GPU.
    _CYCLES_PER_S = 2.5e9
    _LONGEST_SPIN_S = 0.5
    _TRIES = 4

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._spin = getattr(torch.cuda, "_sleep", None)
        self._issue_s = 0.0  # of one call, when it was last issued

    def now_s(self) -> float:
        """Return a time that only grows."""
        return now_s()

    def batch_s(self, call: Call, calls: int) -> float:
        """Return the seconds that the device needs for calls, back to back."""
        spin_s, took_s = 1.5 * calls * self._issue_s, 0.0
        for _ in range(self._TRIES):
            spin_s = min(spin_s, self._LONGEST_SPIN_S)
            took_s, issue_s, ahead = self._once(call, calls, spin_s)
            self._issue_s = issue_s / calls
            if ahead or took_s > 1.2 * issue_s or self._spin is None:
                break
            spin_s = max(2 * spin_s, 1.5 * issue_s)
        return took_s

    def _once(self, call: Call, calls: int, spin_s: float) -> tuple[float, float, bool]:
        """Return device time, issue time, and whether all was issued before the device began."""
        cuda = self._torch.cuda
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        cuda.synchronize()
        if spin_s and self._spin is not None:
            self._spin(int(spin_s * self._CYCLES_PER_S))
        start.record()
        began_s = now_s()
        for number in range(calls):
            call(number)
        end.record()
        issue_s = now_s() - began_s
        ahead = not start.query()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, issue_s, ahead


def _device(torch: Any, wanted: str, local_rank: int) -> Any:
    """Return a device of PyTorch.

    Raises
    ------
    UsageError
        DS642.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind = wanted or ("cuda" if count else "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    index = int(kind.partition(":")[2] or local_rank)
    if index >= count:
        there = (
            f"this PyTorch ({torch.__version__}) sees {count} GPUs"
            if count
            else (f"this PyTorch ({torch.__version__}) sees no GPU")
        )
        raise UsageError(
            "DS642",
            f"there is no device cuda:{index}: {there}",
            value=wanted,
            rule=f"cuda:0 to cuda:{count - 1}, or cpu" if count else "cpu",
            fix="use --device cpu" if not count else "name a GPU that is there",
        )
    return torch.device("cuda", index)


def _processor() -> str:
    """Return the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _memory_bytes(key: str) -> int:
    """Return a figure of /proc/meminfo, or all physical memory where there is no such file."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == key:
                return int(rest.split()[0]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _kib(file: Path) -> int:
    text = file.read_text(encoding="ascii").strip()
    return int(text.removesuffix("K")) << 10 if text.endswith("K") else 0
