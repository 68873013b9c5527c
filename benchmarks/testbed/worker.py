"""One process on one host: does what it is told, line by line, and answers line by line.

Commands are JSON objects on standard input, ``{"do": NAME, ...}``; each gets one JSON object back.
It ends with its input, so a parent that is gone leaves nothing behind.

All processes of a testbed read one clock (CLOCK_MONOTONIC of one kernel): a collective begins on
every host at an instant agreed on before, and has ended when the last host says so.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import signal
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.testbed import device, training
from benchmarks.testbed.commands import INTERFACE

#: prctl(2): signal to get when the parent ends.
_PR_SET_PDEATHSIG = 1
#: Longest wait of any collective.
TIMEOUT_S = 60


class Worker:
    """What a process keeps between commands."""

    def __init__(self) -> None:
        self._groups: dict[int, Any] = {}
        self._array = self._share = torch.ones(0)
        self._trainer: training.Trainer | None = None

    def join(self, rank: int, world: int, store: str, groups: list[int]) -> dict[str, Any]:
        """Join the other hosts; each group is the first so many of them."""
        os.environ["GLOO_SOCKET_IFNAME"] = INTERFACE
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=world,
            timeout=datetime.timedelta(seconds=TIMEOUT_S),
        )
        self._groups = {n: dist.new_group(list(range(n))) for n in groups}
        return {"torch": torch.__version__}

    def nice(self, level: int) -> dict[str, Any]:
        """Run before others; each session is a group of its own to the scheduler."""
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(level))
        return {}

    def pin(self, cores: list[int], threads: int) -> dict[str, Any]:
        """Run on these cores only."""
        # Threads of gloo are there already: each is a task of its own.
        for task in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(task), set(cores))
        torch.set_num_threads(threads)
        return {}

    def arrays(self, most_bytes: int) -> dict[str, Any]:
        """Make the arrays of which collectives take the beginning."""
        self._array = torch.ones(most_bytes // 4)
        self._share = torch.ones(most_bytes // 8)
        return {}

    def collective(self, op: str, size_bytes: int, n: int, at: float) -> dict[str, Any]:
        """Run one collective of a size as nccl-tests counts it, begun at an instant."""
        elements = size_bytes // 4
        large, small = self._array[:elements], self._share[: elements // n]
        group = self._groups[n]
        _sleep_until(at)
        start = time.monotonic()
        if op == "all_reduce":
            dist.all_reduce(large, group=group)
        elif op == "all_gather":
            dist.all_gather_into_tensor(large, small, group=group)
        elif op == "reduce_scatter":
            dist.reduce_scatter_tensor(small, large, group=group)
        elif op == "broadcast":
            dist.broadcast(large, src=0, group=group)
        else:
            raise ValueError(f"no collective {op}")
        return {"start": start, "end": time.monotonic()}

    def device(self, seconds: float) -> dict[str, Any]:
        """Measure products, memory and small operators on this core."""
        return device.measure(seconds)

    def loop(self) -> dict[str, Any]:
        """Time a fixed piece of arithmetic: how free this core is."""
        return {"time_s": device.loop_s()}

    def trainer(self, **shape: int) -> dict[str, Any]:
        """Make a model to train."""
        self._trainer = training.Trainer(training.Shape(**shape))
        return {"parameters": self._trainer.parameters}

    def step(self, mode: str, micro_size: int, microbatches: int, at: float) -> dict[str, Any]:
        """Train one step."""
        assert self._trainer is not None
        _sleep_until(at)
        start = time.monotonic()
        parts = self._trainer.step(mode, micro_size, microbatches)
        return {"start": start, "end": time.monotonic(), **parts}


def _sleep_until(at: float) -> None:
    left = at - time.monotonic()
    if left > 0:
        time.sleep(left)


def main() -> None:
    """Answer commands until there are none."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    torch.set_num_threads(1)
    # What libraries print goes to standard error; answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
