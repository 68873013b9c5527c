"""One session of measuring: what to time, in which order, for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from distsim.errors import CheckFailed
from distsim.measure.cases import Case
from distsim.measure.clock import today
from distsim.measure.document import Measured, Skipped, Timings
from distsim.measure.grid import collective_cases, compute_cases
from distsim.measure.request import DEFAULT_DTYPES, Request
from distsim.measure.timing import Call, Clock, Method, TooLongError, UnavailableError, time_call

if TYPE_CHECKING:
    from distsim.measure.group import Group
    from distsim.measure.machine import TorchMachine

#: Told before each case: how many are done, of how many, and which comes.
Progress = Callable[[int, int, Case], None]

#: Least time for a case however short the budget: less would be noise. A run is cut short instead.
_LEAST_S = {"cpu": 0.05, "cuda": 0.1}
#: Most time for a case however long the budget.
_MOST_S = 3.0
_TIME_UP, _TOO_LONG = "the time was up", "a call takes too long for this budget"
#: Most that the fewest calls of a case may take, in equal shares of the budget: a short run leaves
#: the largest shapes out and not all that come after one of them.
_SHARES = 5.0
#: Batches of 20 ms keep a GPU busy for long enough to reach the clock rate that its power allows;
#: 200 calls, with a few kernels each, fit into the queue of about a thousand launches.
METHODS = {
    "cuda": Method(batch_s=0.02, max_calls=200, batches=25),
    "cpu": Method(batch_s=0.01, max_calls=2000, batches=25, agreement=0.05),
}


class Machine(Protocol):
    """What runs cases."""

    def clock(self, kind: str) -> Clock:
        """Return the clock for a kind of cases."""
        ...

    def prepared(self, case: Case) -> AbstractContextManager[Call]:
        """Return a context in which the operands of a case are there, and its call.

        Raises
        ------
        UnavailableError
            In entering it or in its body, where the machine cannot run the case.
        """
        ...


def run_cases(
    order: Sequence[Case],
    machine: Machine,
    method: Method,
    budget_s: float,
    least_s: float,
    progress: Progress | None = None,
) -> Iterator[Measured | Skipped]:
    """Time cases one after the other and yield each with its time, or why it has none.

    What is left of the budget is shared equally by the cases that are left, but a case gets
    `least_s` at least; cases that the budget does not reach are skipped.
    """
    if not order:
        return
    clock = machine.clock(order[0].kind)
    end_s = clock.now_s() + budget_s
    for number, case in enumerate(order):
        left_s = end_s - clock.now_s()
        if left_s <= 0:
            yield from (Skipped(rest, _TIME_UP) for rest in order[number:])
            return
        if progress is not None:
            progress(number, len(order), case)
        limit_s = min(max(left_s / (len(order) - number), least_s), _MOST_S)
        yield _one(case, machine, method, limit_s, end_s)


def _one(
    case: Case, machine: Machine, method: Method, limit_s: float, end_s: float
) -> Measured | Skipped:
    clock = machine.clock(case.kind)
    began_s = clock.now_s()
    try:
        with machine.prepared(case) as call:
            now_s = clock.now_s()  # making operands counts
            share_s = limit_s - (now_s - began_s)
            most_s = min(end_s - now_s, _SHARES * limit_s)
            return Measured(case, time_call(call, clock, method, share_s, most_s))
    except UnavailableError as error:
        return Skipped(case, str(error))
    except TooLongError:
        return Skipped(case, _TOO_LONG)


def measure(request: Request, progress: Progress | None = None) -> Timings | None:
    """Measure what is asked for, with PyTorch.

    Under torchrun (``RANK`` and ``WORLD_SIZE`` are set) all processes time collectives, one after
    the other; then the first one alone times the rest.

    Parameters
    ----------
    request : Request
    progress : callable, optional

    Returns
    -------
    Timings or None
        None in every process but the first.

    Raises
    ------
    UsageError
        DS640 without PyTorch, DS642 for a device that is not there, DS645 where the processes do
        not find each other.
    CheckFailed
        DS646 where nothing could be measured.
    """
    from distsim.measure.group import Group
    from distsim.measure.machine import TorchMachine

    group = Group.from_environment()
    machine = TorchMachine(request.device, group.local_rank)
    budget_s = request.limit_s(machine.kind)
    found: list[Measured | Skipped] = []
    notes: list[str] = []
    dtypes = _dtypes(request, machine, notes)
    alone = compute_cases(machine.kind, request.kinds, dtypes, quick=request.quick)
    if "collective" in request.kinds:
        if group.size > 1:
            share_s = budget_s / 2 if alone else budget_s
            found += _collectives(group, machine, request, share_s, progress)
            budget_s -= share_s
        else:
            notes.append("collectives need several processes: run distsim under torchrun")
    if not group.is_first:
        return None
    least_s = _LEAST_S[machine.kind]
    method = METHODS[machine.kind]
    found += run_cases(alone, machine, method, budget_s, least_s, progress)
    return _document(request, machine, found, notes)


def _collectives(
    group: Group,
    machine: TorchMachine,
    request: Request,
    budget_s: float,
    progress: Progress | None,
) -> list[Measured | Skipped]:
    with group.joined(machine) as joined:
        order = collective_cases(group.size, joined.nodes, joined.backend, quick=request.quick)
        told = progress if group.is_first else None
        method = METHODS[machine.kind]
        return list(run_cases(order, joined, method, budget_s, _LEAST_S[machine.kind], told))


def _dtypes(request: Request, machine: TorchMachine, notes: list[str]) -> tuple[str, ...]:
    """Return the number formats to measure in; note those that the device lacks."""
    wanted = request.dtypes or DEFAULT_DTYPES[machine.kind]
    lacking = {dtype: why for dtype in wanted if (why := machine.lacks(dtype))}
    notes += [f"{dtype} is not measured: {why}" for dtype, why in lacking.items()]
    found = tuple(dtype for dtype in wanted if dtype not in lacking)
    return found if found or request.dtypes else ("fp16",)


def _document(
    request: Request,
    machine: TorchMachine,
    found: Sequence[Measured | Skipped],
    notes: Sequence[str],
) -> Timings:
    """Return what was found; refuse to call nothing a result."""
    measured = tuple(entry for entry in found if isinstance(entry, Measured))
    skipped = tuple(entry for entry in found if isinstance(entry, Skipped))
    if not measured:
        reasons = list(dict.fromkeys([*notes, *(entry.reason for entry in skipped)]))
        raise CheckFailed(
            "DS646",
            "nothing was measured" + (f": {'; '.join(reasons[:3])}" if reasons else ""),
            rule="at least one kind, in a number format that the device has, within the budget",
            fix="ask for other --kinds or --dtypes, or a longer --budget",
        )
    unsettled = sum(not entry.timing.settled for entry in measured)
    told = [f"{unsettled} of {len(measured)} times did not settle in their share of the budget"]
    method = METHODS[machine.kind]
    return Timings(
        date=today(),
        device=machine.device_record(),
        versions=machine.versions(),
        method={
            "batch_s": method.batch_s,
            "max_calls": method.max_calls,
            "batches": method.batches,
            "budget_s": request.limit_s(machine.kind),
            "rotation_bytes": machine.rotation_bytes,
            "quick": request.quick,
        },
        measured=measured,
        skipped=skipped,
        notes=(*notes, *machine.notes, *(told if unsettled else ())),
    )
