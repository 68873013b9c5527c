"""Several processes under torchrun: they meet, agree on the clock, and time collectives."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distsim.errors import UsageError, show
from distsim.measure.cases import ELEMENT_BYTES, Case
from distsim.measure.clock import duration, now_s
from distsim.measure.kernels import Operands
from distsim.measure.timing import Call, UnavailableError

if TYPE_CHECKING:
    from distsim.measure.machine import TorchMachine

#: After this long without an answer a process gives the others up.
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that were started together.

    Attributes
    ----------
    rank, size : int
    local_rank : int
        Number of this process among those of its node; it chooses the GPU.
    local_size : int
        Processes of this node; 0 where the environment does not say.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Group:
        """Return the group that ``RANK`` and ``WORLD_SIZE`` tell of; one process without them.

        Raises
        ------
        UsageError
            DS645 where they do not go together.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return cls()
        rank, size = (_number(environment, key) for key in ("RANK", "WORLD_SIZE"))
        if not 0 <= rank < size:
            raise _apart(f"RANK={rank} and WORLD_SIZE={size} do not go together")
        local_rank, local_size = (
            _number(environment, key) if key in environment else 0
            for key in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
        )
        return cls(rank, size, local_rank, local_size)

    @property
    def is_first(self) -> bool:
        """Whether this process reports."""
        return self.rank == 0

    @contextmanager
    def joined(self, machine: TorchMachine) -> Iterator[Collectives]:
        """Return a context in which the processes can call collectives.

        Raises
        ------
        UsageError
            DS645 where they do not find or lose each other.
        """
        distributed = machine.torch.distributed
        backend = "nccl" if machine.kind == "cuda" else "gloo"
        both = "cpu:gloo,cuda:nccl" if backend == "nccl" else backend
        try:
            distributed.init_process_group(both, timeout=duration(_PATIENCE_S))
            joined = Collectives(self, machine, backend)
            yield joined
            joined.meet()
        except (RuntimeError, ValueError) as error:
            text = str(error).strip().split("\n")[0]
            raise _apart(f"the {self.size} processes cannot work together: {text[:160]}") from None
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()


class Collectives:
    """A machine, and a clock, that all processes of a group share.

    Every decision of a session (how many calls, whether time is left) follows from its clock, so
    the first process tells the time and the slowest says how long a batch took: all of them then
    decide alike.
    """

    def __init__(self, group: Group, machine: TorchMachine, backend: str) -> None:
        self.backend = backend
        self._machine = machine
        self._ranks = group.size
        self._rank = group.rank
        self._distributed = machine.torch.distributed
        self._operands = Operands(machine.torch, machine.device)
        self.nodes = self._nodes(group.local_size)

    def clock(self, kind: str) -> Collectives:
        """Return itself: its clock is the same for all collectives."""
        return self

    def now_s(self) -> float:
        """Return the time of the first process."""
        told = self._machine.torch.tensor([now_s()], dtype=self._machine.torch.float64)
        self._distributed.broadcast(told, 0)
        return float(told.item())

    def batch_s(self, call: Call, calls: int) -> float:
        """Return the seconds from a common start until the slowest process is done."""
        self._machine.synchronize()
        self.meet()
        began_s = now_s()
        for number in range(calls):
            call(number)
        self._machine.synchronize()
        return self._most(now_s() - began_s)

    def meet(self) -> None:
        """Wait for all others."""
        self._most(0.0)

    @contextmanager
    def prepared(self, case: Case) -> Iterator[Call]:
        """Return a context with the arrays of a collective, and its call.

        A process that cannot take part says so before the others wait for it.

        Raises
        ------
        UnavailableError
            In all processes, where one of them has no room or the backend has no such collective.
        """
        made: list[Callable[[], object]] = []

        def make() -> None:
            self._machine.check_room(case.footprint_bytes)
            made.append(self._maker(case))

        self._together(make)
        self._together(lambda: made[0]())
        yield lambda number: made[0]()

    def _together(self, act: Callable[[], object]) -> None:
        """Do something in all processes; if it fails in one of them, it has failed in all."""
        reason = ""
        try:
            with self._machine.failures():
                act()
        except UnavailableError as error:
            reason = str(error)
        if self._most(float(bool(reason))):
            raise UnavailableError(reason or "another process could not take part")

    def _maker(self, case: Case) -> Callable[[], object]:
        elements = case.shape["size_bytes"] // ELEMENT_BYTES[case.shape["dtype"]]
        share = elements // self._ranks
        distributed, op = self._distributed, case.shape["op"]

        def array(count: int) -> Any:
            return self._operands.random(count, dtype=case.shape["dtype"])

        whole = array(elements)
        if op == "all_reduce":
            return lambda: distributed.all_reduce(whole)
        if op == "broadcast":
            return lambda: distributed.broadcast(whole, 0)
        if op in ("alltoall", "sendrecv"):
            received = array(elements)
            if op == "alltoall":
                return lambda: distributed.all_to_all_single(received, whole)
            return lambda: self._shift(whole, received)
        part = array(share)
        if op == "all_gather":
            gather = self._named("all_gather_single", "all_gather_into_tensor")
            return lambda: gather(whole, part)
        scatter = self._named("reduce_scatter_single", "reduce_scatter_tensor")
        return lambda: scatter(part, whole)

    def _named(self, *names: str) -> Any:
        """Return the first function that this version of PyTorch has; newer names come first."""
        return next(f for name in names if (f := getattr(self._distributed, name, None)))

    def _shift(self, sent: Any, received: Any) -> None:
        """Send to the next process and receive from the one before, as nccl-tests' sendrecv."""
        distributed = self._distributed
        after, before = (self._rank + 1) % self._ranks, (self._rank - 1) % self._ranks
        pending = distributed.batch_isend_irecv(
            [
                distributed.P2POp(distributed.isend, sent, after),
                distributed.P2POp(distributed.irecv, received, before),
            ]
        )
        for request in pending:
            request.wait()

    def _most(self, value: float) -> float:
        """Return the largest of the values of all processes."""
        told = self._machine.torch.tensor([value], dtype=self._machine.torch.float64)
        self._distributed.all_reduce(told, self._distributed.ReduceOp.MAX)
        return float(told.item())

    def _nodes(self, local_size: int) -> int:
        """Return the number of nodes: from the environment, else from the names of the hosts."""
        if local_size:
            return -(-self._ranks // local_size)
        names: list[str] = [""] * self._ranks
        self._distributed.all_gather_object(names, platform.node())
        return len(set(names))


def _number(environment: Mapping[str, str], key: str) -> int:
    text = environment.get(key, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        raise _apart(f"{key}={show(text)} is no number" if text else f"{key} is not set")
    return int(text)


def _apart(message: str) -> UsageError:
    return UsageError(
        "DS645",
        message,
        rule="RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say how the processes meet",
        fix="start them with torchrun, for example torchrun --nproc-per-node 8 -m distsim measure",
    )
