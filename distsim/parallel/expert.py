"""Expert parallelism (Lepikhin 2020, GShard) and tensor parallelism of experts.

The experts of a layer are dealt out over ep ranks, and each of them is divided over etp ranks. Rows
(a token, once for each of its experts) go to the ranks of their experts by an all-to-all over ep,
which sends (ep - 1) / ep of them to others, and come back by a second one. Between the two, with
etp > 1, the rows of the etp ranks are gathered, since each of these works on a part of the features
of all of them, and the sums are scattered again. Backward the same happens the other way round. The
ranks need not be those that divide the rest of a layer (Liu 2025, arXiv 2504.14960).

What one rank does, with T tokens on one data-parallel rank divided over tp by sequence parallelism,
h features, top-k routing and E experts:

* dispatch and combine: T/tp k h elements an all-to-all, as nccl-tests counts it;
* products: E / ep experts, of etp ep T/tp k / E rows each if all experts are equally popular, on
  1 / etp of the features.

The fullest rank sets the pace: its rows are `ExpertParallel.imbalance` times the mean, and so is
what it receives and sends back (`distsim.parallel.load`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distsim.parallel.step import Collective, Step
from distsim.record import record
from distsim.workload.op import Op, Work, WorkKind

#: Operators of the shared experts, and the exchange that each can run beside.
GUESTS = {"shared_up": "dispatch", "shared_activation": "dispatch", "shared_down": "combine"}


@record
class ExpertParallel:
    """How ranks divide the operators of experts, and exchange rows.

    Attributes
    ----------
    size : int
        Ranks over which experts are dealt out (ep).
    tensor : int
        Ranks that divide each expert (etp).
    outer_tensor : int
        Ranks over which sequence parallelism divides tokens outside the experts (tp).
    experts : int
        Experts of a layer.
    element_bytes : float
        Bytes an element on the wire.
    imbalance : float
        Rows of the fullest rank over the mean, for time.
    memory_imbalance : float
        The same for what is kept.
    overlap_shared : bool
        Shared experts run beside the exchanges.
    sent_share : float
        What is sent over what it would be if each token went once to each of its experts
        (`distsim.parallel.dispatch`).
    overlap_exchange : bool
        Exchanges of one micro batch run beside kernels of another.
    """

    size: int
    tensor: int
    outer_tensor: int
    experts: int
    element_bytes: float
    imbalance: float = 1.0
    memory_imbalance: float = 1.0
    overlap_shared: bool = False
    sent_share: float = 1.0
    overlap_exchange: bool = False

    @property
    def _spread(self) -> float:
        """Rows of an expert here over those that one data-parallel rank's tokens send to it."""
        return self.tensor * self.size / self.outer_tensor

    def parameters(self, op: Op) -> float:
        """Return parameters of experts that one rank holds."""
        return op.parameters / (self.size * self.tensor) + op.replicated_parameters / self.size

    def _kept_bytes(self, divided: float, whole: float) -> float:
        # E/ep experts of ep etp T/tp k / E rows each: etp/tp of the rows of T tokens.
        rows = self.memory_imbalance * self._spread / self.size
        return rows * (divided / self.tensor + whole)

    def saved_bytes(self, op: Op) -> float:
        """Return activations of `op` that the fullest rank keeps."""
        return self._kept_bytes(op.saved_bytes, op.saved_token_bytes)

    def weight_bytes(self, op: Op) -> float:
        """Return what the fullest rank keeps between input gradient and weight gradient."""
        return self._kept_bytes(op.weight_bytes, op.weight_token_bytes)

    def works(self, works: Sequence[Work], rows: str = "m") -> tuple[Work, ...]:
        """Return the share of one rank of kernels of an operator.

        Parameters
        ----------
        rows : str
            Dimension of the products that counts rows: ``k`` in a weight gradient.
        """
        return tuple(self._share(work, rows) for work in works)

    def _share(self, work: Work, rows: str) -> Work:
        if work.kind is WorkKind.GEMM:
            one = work.divided(self.tensor).divided(self.size, "batch")
            more = self.imbalance * self._spread
            return replace(one, flop=one.flop * more, **{rows: getattr(one, rows) * more})
        if work.split == "batch":  # over weights, however many rows there are
            return work.divided(self.size * self.tensor)
        features = 1 if work.split == "tokens" else self.tensor
        part = self.imbalance * self._spread / self.size / features
        return replace(work, stream_bytes=work.stream_bytes * part)

    def _exchanges(self, op: Op) -> list[Step]:
        """Return the collectives on the way from tokens to experts."""
        sent = op.region_elements / self.outer_tensor * self.element_bytes * self.imbalance
        steps = []
        if self.size > 1:
            copies = sent * self.sent_share
            steps.append(Step(op.name, (), Collective("all_to_all", copies, "expert")))
        if self.tensor > 1:
            whole = Collective("all_gather", sent * self.tensor, "expert_tensor")
            steps.append(Step(op.name, (), whole))
        return steps

    def _sort(self, op: Op) -> tuple[Work, ...]:
        """Return the kernels that put what arrives in the order of experts, if there is a need."""
        several = self.size * self.tensor > 1 and self.experts > self.size
        return self.works(op.forward) if several else ()

    def _outward(self, op: Op) -> tuple[Step, ...]:
        """Rows go to their experts: forward of dispatch, backward of combine."""
        steps, sort = self._exchanges(op), self._sort(op)
        if steps:
            steps[-1] = replace(steps[-1], works=sort)
        return tuple(steps)

    def _homeward(self, op: Op) -> tuple[Step, ...]:
        """Rows come back from their experts: forward of combine, backward of dispatch."""
        sort = self._sort(op)
        steps = [Step(op.name, sort)] if sort else []
        for step in reversed(self._exchanges(op)):
            collective = step.collective
            if collective is not None and collective.name == "all_gather":
                collective = replace(collective, name="reduce_scatter")
            steps.append(replace(step, collective=collective))
        return tuple(steps)

    def forward(self, op: Op) -> tuple[Step, ...]:
        """Return the forward steps of `op` on one rank."""
        if op.exchange:
            return self._outward(op) if op.exchange == "dispatch" else self._homeward(op)
        return (Step(op.name, self.works(op.forward)),)

    def backward(self, op: Op) -> tuple[Step, ...]:
        """Return the backward steps of `op` on one rank, both gradients."""
        if op.exchange:
            return self._homeward(op) if op.exchange == "dispatch" else self._outward(op)
        works = (*self.works(op.backward_data), *self.works(op.backward_weight, "k"))
        return (Step(op.name, works, expert_parameters=self.parameters(op)),)

    def backward_input(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the input gradient where the weight gradient runs apart."""
        if op.exchange or not op.backward_weight:
            return self.backward(op)
        return (Step(op.name, self.works(op.backward_data)),)

    def backward_weight(self, op: Op) -> tuple[Step, ...]:
        """Return the steps of the weight gradient where it runs apart."""
        if op.exchange or not op.backward_weight:
            return ()
        works = self.works(op.backward_weight, "k")
        return (Step(op.name, works, expert_parameters=self.parameters(op)),)

    def arranged(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Return the steps of one pass over one layer, shared experts beside exchanges if so asked.

        Their kernels move to the all-to-all that they need not wait for, which leaves nothing
        else: the exchange takes as long as the longer of the two (Megatron-Core's
        ``moe_shared_expert_overlap``). Their own collectives come before or after.
        """
        if self.overlap_exchange:
            return _crossed(steps)
        hosts = {step.op for step in steps if _is_exchange(step)} if self.overlap_shared else set()
        guests: dict[str, list[Step]] = {host: [] for host in hosts}
        out: list[Step] = []
        for step in steps:
            if _moves(step, hosts):
                guests[GUESTS[step.op]].append(step)
        for step in steps:
            if _is_exchange(step) and guests.get(step.op):
                out += _together(step, guests[step.op])
            elif not _moves(step, hosts):
                out.append(step)
        return tuple(out)


def _crossed(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps of one pass over one layer with its exchanges beside kernels.

    A forward pass of one micro batch and a backward pass of another take turns (Megatron-Core's
    ``overlap_moe_expert_parallel_comm``, after DeepSeek 2024, arXiv 2412.19437, section 3.2.1):
    while one exchanges rows, the other computes what does not wait for that exchange. All passes
    are alike, so the kernels of this one stand for those of its partner: what is between two
    exchanges beside the first, what is before and after them beside the last.
    """
    places = [i for i, step in enumerate(steps) if _is_exchange(step)]
    if not places:
        return tuple(steps)
    hosts: list[list[Step]] = [[] for _ in places]
    out: list[Step] = []
    for i, step in enumerate(steps):
        if i in places:
            hosts[places.index(i)].append(replace(step, collective=None))
        elif step.collective is None and step.works:
            before = sum(place < i for place in places)
            hosts[before - 1 if 0 < before < len(places) else -1].append(step)
        else:
            out.append(step)
    for place, guests in zip(places, hosts, strict=True):
        out.append(
            Step(
                steps[place].op,
                tuple(work for guest in guests for work in guest.works),
                steps[place].collective,
                beside=True,
                parameters=sum(guest.parameters for guest in guests),
                expert_parameters=sum(guest.expert_parameters for guest in guests),
                operators=sum(guest.operators for guest in guests),
            )
        )
    return tuple(out)


def _is_exchange(step: Step) -> bool:
    return step.collective is not None and step.collective.axis == "expert"


def _moves(step: Step, hosts: set[str]) -> bool:
    """Say whether a step of a shared expert moves: unless it overlaps with something already."""
    return GUESTS.get(step.op) in hosts and not step.beside


def _together(exchange: Step, guests: Sequence[Step]) -> list[Step]:
    """Return an exchange beside the kernels of other steps, with their collectives around it."""
    last = max((i for i, guest in enumerate(guests) if guest.works), default=-1)
    bare = [replace(g, works=(), parameters=0.0) for g in guests]
    beside = replace(
        exchange,
        works=tuple(work for guest in guests for work in guest.works),
        beside=True,
        parameters=sum(guest.parameters for guest in guests),
    )
    own = [Step(exchange.op, exchange.works)] if exchange.works else []
    before = [step for step in bare[: last + 1] if step.collective]
    return [*before, beside, *own, *bare[last + 1 :]]
