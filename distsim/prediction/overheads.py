"""What a step costs beside itself: loading its batch, its share of checkpoints and evaluation.

Checkpoints are written every n steps. Written synchronously, training waits for the storage.
Otherwise it waits for a copy in host memory only (Check-N-Run, Eisenman 2022, NSDI; Gemini, Wang
2023, SOSP), and not even for that where the copy is made beside the next forward and backward pass,
during which the weights do not change (CheckFreq, Mohan 2021, FAST). The copy is then written
beside the following steps; one is under way at a time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

from distsim.errors import ValueProblem, show

Mode = Literal["sync", "async", "overlapped"]
Writers = Literal["all", "first_replica"]
#: Forward FLOP over those of forward and backward: evaluation has no backward pass.
FORWARD_SHARE = 1 / 3


def _positive(path: tuple[str, ...], **values: float) -> None:
    for key, value in values.items():
        if not value > 0:
            raise ValueProblem(
                "DS203",
                f"{key} is {show(value)}",
                path=(*path, key),
                value=value,
                rule=f"{key} > 0",
                fix="write a number above 0",
            )


@dataclass(frozen=True, slots=True)
class Loading:
    """How a batch is loaded.

    Attributes
    ----------
    amount : float
        What one step takes from all loaders: samples, tokens or bytes.
    rate_per_s : float
        The same that one loader delivers in a second.
    loaders : int
        Nodes, or processes, that load side by side.
    prefetch : bool
        The next batch is loaded during the step.
    """

    amount: float
    rate_per_s: float
    loaders: int = 1
    prefetch: bool = True

    def __post_init__(self) -> None:
        _positive(("loading",), rate=self.rate_per_s, loaders=self.loaders)

    @property
    def load_s(self) -> float:
        """Time to load one batch."""
        return self.amount / (self.rate_per_s * self.loaders)

    def exposed_s(self, step_s: float) -> float:
        """Return what a step of so many seconds waits for its batch.

        With prefetching a pipeline of two stages, which runs at the pace of the slower one
        (tf.data, Murray 2021, VLDB).
        """
        return max(0.0, self.load_s - step_s) if self.prefetch else self.load_s


def checkpoint_bytes(parameters: float, weight_bytes: float, state_bytes: float) -> float:
    """Return the size of a checkpoint of the whole model.

    Parameters
    ----------
    weight_bytes, state_bytes : float
        Bytes a parameter of weights and of optimizer states. Mixed-precision Adam: 2 + 12
        (Rajbhandari 2020, section 3.1), 14 a parameter.
    """
    return parameters * (weight_bytes + state_bytes)


def writing_devices(writers: Writers, devices: int, replicas: int) -> int:
    """Return how many devices write.

    Parameters
    ----------
    writers : {"all", "first_replica"}
        ``all``: each its own shard (ZeRO, or replicas that share the work out);
        ``first_replica``: those of the first model replica.
    replicas : int
        Data-parallel replicas.
    """
    return devices if writers == "all" else devices // replicas


def writing_nodes(writing: int, devices_per_node: int) -> int:
    """Return on how many nodes so many devices are, if they fill one after another."""
    return ceil(writing / devices_per_node)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How checkpoints are written.

    Attributes
    ----------
    every_steps : int
        Steps from one to the next (n).
    size_bytes : float
        Of one checkpoint, over all writers.
    write_bytes_per_s : float
        What all writers reach together: the least of what the storage takes and what its
        writers send.
    mode : {"sync", "async", "overlapped"}
        What training waits for: all of it; the copy to the host; what of that copy is left after
        the next step.
    copied_bytes : float
        What one device copies to its host. States that are offloaded are there already.
    copy_bytes_per_s : float
        Bandwidth of one device to its host (`Host.copy_bytes_per_s`).
    """

    every_steps: int
    size_bytes: float
    write_bytes_per_s: float
    mode: Mode = "async"
    copied_bytes: float = 0.0
    copy_bytes_per_s: float = float("inf")

    def __post_init__(self) -> None:
        _positive(
            ("checkpoint",),
            every_steps=self.every_steps,
            bandwidth=self.write_bytes_per_s,
            copy_bytes_per_s=self.copy_bytes_per_s,
        )

    @property
    def copy_s(self) -> float:
        """Time until the states of the devices are in host memory."""
        return self.copied_bytes / self.copy_bytes_per_s

    @property
    def write_s(self) -> float:
        """Time until a checkpoint is on storage, its copy in host memory given."""
        return self.size_bytes / self.write_bytes_per_s

    def exposed_s(self, step_s: float) -> float:
        """Return what one checkpoint delays training, with steps of so many seconds.

        In the background, the next checkpoint waits until this one is written: what the copy and
        the writing take beyond the interval is lost.
        """
        if self.mode == "sync":
            return self.copy_s + self.write_s
        copy_s = max(0.0, self.copy_s - step_s) if self.mode == "overlapped" else self.copy_s
        hidden_s = self.copy_s - copy_s
        interval_s = self.every_steps * step_s - hidden_s
        return copy_s + max(0.0, self.write_s - interval_s)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How often the model is evaluated.

    Attributes
    ----------
    every_steps : int
        Training steps from one evaluation to the next.
    batches : float
        Global batches in one evaluation.
    forward_share : float
        Time of a forward pass over that of a training step.
    """

    every_steps: int
    batches: float
    forward_share: float = FORWARD_SHARE

    def __post_init__(self) -> None:
        _positive(("evaluation",), every_steps=self.every_steps, batches=self.batches)

    def exposed_s(self, step_s: float) -> float:
        """Return what one evaluation takes."""
        return self.batches * self.forward_share * step_s


@dataclass(frozen=True, slots=True)
class Overheads:
    """Seconds that a step takes on average, with what comes beside it.

    Attributes
    ----------
    step_s : float
        The optimizer step itself.
    data_s : float
        Waiting for the batch.
    checkpoint_s, evaluation_s : float
        The step's share of checkpoints and evaluations.
    load_s, copy_s, write_s : float
        Loading one batch; copying one checkpoint to the host, and writing it: exposed or not.
    """

    step_s: float
    data_s: float = 0.0
    checkpoint_s: float = 0.0
    evaluation_s: float = 0.0
    load_s: float = 0.0
    copy_s: float = 0.0
    write_s: float = 0.0

    @property
    def step_with_overheads_s(self) -> float:
        """Time from one step to the next, on average."""
        return self.step_s + self.data_s + self.checkpoint_s + self.evaluation_s

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the sum included."""
        return asdict(self) | {"step_with_overheads_s": self.step_with_overheads_s}


def overheads(
    step_s: float,
    *,
    loading: Loading | None = None,
    checkpoint: Checkpoint | None = None,
    evaluation: Evaluation | None = None,
) -> Overheads:
    """Return what a step takes with loading, checkpoints and evaluation.

    Parameters
    ----------
    step_s : float
        The optimizer step itself.
    """
    data_s = loading.exposed_s(step_s) if loading else 0.0
    # A checkpoint is written while later steps run, waits for their batches included.
    paced_s = step_s + data_s
    return Overheads(
        step_s=step_s,
        data_s=data_s,
        checkpoint_s=checkpoint.exposed_s(paced_s) / checkpoint.every_steps if checkpoint else 0.0,
        evaluation_s=evaluation.exposed_s(step_s) / evaluation.every_steps if evaluation else 0.0,
        load_s=loading.load_s if loading else 0.0,
        copy_s=checkpoint.copy_s if checkpoint else 0.0,
        write_s=checkpoint.write_s if checkpoint else 0.0,
    )
