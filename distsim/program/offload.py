"""Model states on the host: copies beside compute, and the update on the host's processors.

Copies of one direction run one after another on a link of their own, at the bandwidth that is left
when all devices of the node copy (`Host.copy_bytes_per_s`); drives are a link before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from distsim.hardware.host import Host
from distsim.parallel.offload import (
    Held,
    Offload,
    Transfer,
    exposed_update_s,
    transfer_s,
    transfers,
    update_s,
)
from distsim.program.actions import ClassProgram, Hook
from distsim.program.emit import Emitter
from distsim.program.opgraph import TaskKind
from distsim.record import record

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Names of the links by the direction of a transfer.
LINKS = {
    "to_host": "copy to host",
    "to_device": "copy to device",
    "read": "read drives",
    "write": "write drives",
}


@record
class Offloading:
    """What is on the host, and who owns how much of it.

    Attributes
    ----------
    held : tuple of tuple of Held
        ``[stage][domain]``.
    """

    offload: Offload
    host: Host
    held: tuple[tuple[Held, ...], ...]

    def moved(self, stage: int, domain: int, when: str) -> list[Transfer]:
        """Return the transfers of one rank at an occasion."""
        found = transfers(self.offload, self.held[stage][domain])
        return [t for t in found if t.when == when and t.times > 0]

    def seconds(self, transfer: Transfer, stage: int, domain: int, amount: Floats) -> Floats:
        """Return the time of a transfer for so many of the parameters."""
        whole = self.held[stage][domain].parameters
        return transfer_s(transfer, self.host) * amount / whole if whole else 0.0 * amount

    def update_s(self, stage: int, beside_s: float) -> float:
        """Return what the update on the host delays the step.

        Parameters
        ----------
        beside_s : float
            Kernels of the step, beside which a delayed update runs.
        """
        held = self.held[stage]
        each = [update_s(self.offload, self.host, h) for h in held if h.parameters]
        return exposed_update_s(self.offload, sum(each), beside_s)


@dataclass(slots=True)
class Copies:
    """Tasks that copy, one after another on their links, class by class.

    Copies of one direction run in the order of the tasks of the compute stream that they serve or
    follow, whichever parameters they are of.
    """

    emitter: Emitter
    offloading: Offloading
    _queue: dict[tuple[int, str], list[tuple[Ints, Ints]]] = field(default_factory=dict)
    _stream: dict[tuple[int, str], int] = field(default_factory=dict)

    def tasks(
        self,
        program: ClassProgram,
        transfer: Transfer,
        domain: int,
        amount: Floats,
        label: str,
        due: Ints,
    ) -> Ints:
        """Add a copy for each amount of parameters.

        Parameters
        ----------
        due : int64[n]
            Order on the link: twice the task of the compute stream that a copy is for, and one
            more if that task made what is copied.
        """
        key = (program.index, transfer.direction)
        if key not in self._stream:
            self._stream[key] = self.emitter.stream(program.index, LINKS[transfer.direction])
        first = self.emitter.tasks(
            len(amount),
            stream=self._stream[key],
            kind=int(TaskKind.OFFLOAD),
            work_s=self.offloading.seconds(transfer, program.stage, domain, amount),
            segment=self.emitter.name(f"{label} stage {program.stage}"),
            stage=program.stage,
        )
        tasks = first + np.arange(len(amount))
        self._queue.setdefault(key, []).append((due, tasks))
        return tasks

    def finish(self) -> None:
        """Run the copies of each link one after another."""
        for queue in self._queue.values():
            due, tasks = (np.concatenate(part) for part in zip(*queue, strict=True))
            self.emitter.chain(tasks[np.argsort(due, kind="stable")])

    def leave(
        self, program: ClassProgram, domain: int, after: Ints, amount: Floats, made: Ints
    ) -> Ints:
        """Bring gradients to the host as they come, and return the last task.

        From the second micro batch on, what the host has comes up first, to be added to.

        Parameters
        ----------
        after : int64[n]
            What each copy waits for.
        made : int64[n]
            The task that made the gradients.
        """
        stage, out, due = program.stage, after, 2 * made + 1
        held = float(self.offloading.held[stage][domain].parameters)
        passes = max(1, round(float(amount.sum()) / held)) if held else 1
        again = np.arange(len(amount)) >= len(amount) // passes
        for t in self.offloading.moved(stage, domain, "accumulate"):
            back = self.tasks(program, t, domain, amount[again], "copy gradients", due[again])
            self.emitter.edges(out[again], back)
            out = out.copy()
            out[again] = back
        for t in self.offloading.moved(stage, domain, "reduce"):
            # Drives get the sum of all micro batches, once.
            late = slice(len(amount) - len(amount) // passes * min(t.times, passes), None)
            tasks = self.tasks(program, t, domain, amount[late], "copy gradients", due[late])
            self.emitter.edges(out[late], tasks)
            out = tasks
        return out[-1:]

    def arrive(self, program: ClassProgram, domain: int, hook: Hook, ahead: Ints) -> Ints | None:
        """Bring parameters to the device for each gather; None if they are there.

        Parameters
        ----------
        ahead : int64[n]
            Unit whose beginning each copy waits for (-1: none).
        """
        moved = self.offloading.moved(program.stage, domain, "gather")
        before: Ints | None = None
        for t in sorted(moved, key=lambda t: t.direction != "read"):
            tasks = self.tasks(program, t, domain, hook.amount, "copy parameters", 2 * hook.task)
            if before is not None:
                self.emitter.edges(before, tasks)
            else:
                waits = np.flatnonzero(ahead >= 0)
                opened = hook.task[ahead[waits]] - 1
                keep = opened >= program.first
                self.emitter.edges(opened[keep], tasks[waits[keep]])
            before = tasks
        return before

    def update(self, program: ClassProgram, after: Ints, beside_s: float) -> Ints:
        """Update on the host, and bring new parameters up; return what the step waits for."""
        if self.offloading.offload.optimizer == "none":
            return after
        task = self.emitter.tasks(
            1,
            stream=self.emitter.stream(program.index, "host optimizer"),
            kind=int(TaskKind.OFFLOAD),
            work_s=self.offloading.update_s(program.stage, beside_s),
            segment=self.emitter.name(f"update on the host stage {program.stage}"),
            stage=program.stage,
        )
        self.emitter.edges(after, task)
        out = [np.asarray([task])]
        for domain, held in enumerate(self.offloading.held[program.stage]):
            for t in self.offloading.moved(program.stage, domain, "update"):
                if t.direction == "to_device" and held.parameters:
                    amount = np.asarray([held.parameters])
                    end = np.asarray([2 * program.last + 2])
                    up = self.tasks(program, t, domain, amount, "copy parameters", end)
                    self.emitter.edges(after, up)
                    out.append(up)
        return np.concatenate(out)
