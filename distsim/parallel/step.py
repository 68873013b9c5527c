"""What a rank does inside one pass over a layer: kernels and the communication between them."""

from __future__ import annotations

from distsim.record import record
from distsim.workload.op import Work
from distsim.workload.optimizers.spec import Matrix

#: Groups inside a layer: tensor, context and expert parallelism, and tensor parallelism of experts.
AXES = ("tensor", "context", "expert", "expert_tensor")


@record
class Collective:
    """A collective over one of the groups of a rank.

    Attributes
    ----------
    name : str
        ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all`` or
        ``send_recv`` (everyone to the next).
    size_bytes : float
        Size of the whole array, as nccl-tests counts it: of an all-to-all what one rank sends,
        its own part included.
    axis : str
        Which group: a name in `AXES`.
    """

    name: str
    size_bytes: float
    axis: str = "tensor"


@record
class Step:
    """Kernels in order, and at most one collective before them or beside them.

    Attributes
    ----------
    op : str
        Operator that causes the step, for reports.
    works : tuple of Work
        Kernels of one rank, already divided.
    collective : Collective or None
    beside : bool
        The collective runs at the same time as the kernels; otherwise before them.
    parameters, expert_parameters : float
        Parameters of one rank whose gradients are complete after the step.
    operators : int
        Operators that the host dispatches beside those that launch the kernels.
    wait_s : float
        Time in which the device has nothing to do because it waits for the host.
    """

    op: str
    works: tuple[Work, ...] = ()
    collective: Collective | None = None
    beside: bool = False
    parameters: float = 0.0
    expert_parameters: float = 0.0
    operators: int = 0
    wait_s: float = 0.0


@record
class Unit:
    """A layer, the embedding or the head on one rank: the grain of sharded gathers.

    Attributes
    ----------
    name : str
        ``embedding``, ``layer`` or ``head``.
    forward, backward : tuple of Step
    backward_input, backward_weight : tuple of Step
        The backward pass in two parts, for schedules that run them apart.
    parameters : float
        Parameters that one rank holds beside those of experts.
    saved_bytes : float
        Activations of one micro batch kept from forward to backward.
    working_bytes : float
        Activations alive only while the unit runs (what recomputation brings back).
    expert_parameters : float
        Parameters of experts that one rank holds.
    weight_bytes : float
        Kept from the input gradient to the weight gradient where they run apart.
    matrices, expert_matrices : tuple of Matrix
        The two-dimensional weights that one rank holds.
    """

    name: str
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    backward_input: tuple[Step, ...]
    backward_weight: tuple[Step, ...]
    parameters: float
    saved_bytes: float
    working_bytes: float = 0.0
    expert_parameters: float = 0.0
    weight_bytes: float = 0.0
    matrices: tuple[Matrix, ...] = ()
    expert_matrices: tuple[Matrix, ...] = ()

    def steps(self, kind: int) -> tuple[Step, ...]:
        """Return the steps of an action of this kind (`distsim.schedule`: F, B, W, I)."""
        return (self.forward, self.backward, self.backward_weight, self.backward_input)[kind]
