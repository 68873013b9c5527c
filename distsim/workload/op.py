"""Operators: what a layer computes, moves, owns and keeps, before any plan or device is known.

An :class:`Op` is one operator of the forward pass with all the kernels that it causes in a
training step. A :class:`Work` is one kernel. Neither knows a device; ``cost/`` prices a `Work`.
Neither knows a plan; an `Op` only says along which axis it *can* be divided, and ``parallel/``
divides it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from distsim.record import record
from distsim.workload.precision import Fp8


class WorkKind(IntEnum):
    """How a kernel is priced."""

    GEMM = 0  #: matrix product on the matrix units, tiled
    FLASH = 1  #: fused attention: no s x s array in memory
    STREAM = 2  #: bounded by memory traffic


class Axis(StrEnum):
    """The axis along which an operator can be divided over a tensor-parallel group."""

    TOKENS = "tokens"  #: every rank has all of it, unless sequence parallelism divides tokens
    HEADS = "heads"
    FFN = "ffn"
    VOCAB = "vocab"
    EXPERTS = "experts"  #: the experts of a layer are dealt out, and each of them may be divided


@record
class Work:
    """One kernel.

    Attributes
    ----------
    kind : WorkKind
    batch, m, n, k : float
        GEMM: `batch` products (m, k) x (k, n). FLASH: `batch` heads, m queries, n keys, head
        dimension k. Unused for STREAM.
    flop : float
        Floating-point operations that the kernel runs. For a GEMM 2 m k n a product.
    stream_bytes : float
        Memory traffic beside the operands: all of it for STREAM and FLASH.
    operand_bytes, result_bytes : float
        Bytes per element read from both operands of a GEMM, and moved for each result element
        (a result that is accumulated in place is read and written).
    split : str
        Dimension that shrinks when the operator is divided: ``batch``, ``m``, ``n``, ``k`` or
        ``bytes``; ``tokens`` for a stream over an array that only sequence parallelism divides.
    dtype : str
        Type of this product where it is not that of the step (fp8 products beside bf16 ones);
        empty: that of the step.
    """

    kind: WorkKind
    batch: float = 1
    m: float = 0
    n: float = 0
    k: float = 0
    flop: float = 0.0
    stream_bytes: float = 0.0
    operand_bytes: float = 0.0
    result_bytes: float = 0.0
    split: str = "bytes"
    dtype: str = ""

    @property
    def moved_bytes(self) -> float:
        """Memory traffic when each operand is read once and the result written once.

        Source: GEMM (m, k) x (k, n) moves e(mk + kn + mn) bytes (roofline, Williams 2009).
        """
        operands = self.operand_bytes * (self.m * self.k + self.k * self.n)
        return self.batch * (operands + self.result_bytes * self.m * self.n) + self.stream_bytes

    def divided(self, parts: int, split: str | None = None) -> Work:
        """Return the share of one of `parts` ranks that divide this kernel along its split."""
        if parts == 1:
            return self
        along = split or self.split
        flop, traffic = self.flop / parts, self.stream_bytes / parts
        size = {"batch": self.batch, "m": self.m, "n": self.n, "k": self.k}
        if along not in ("bytes", "tokens"):
            size[along] /= parts
        return Work(
            self.kind,
            **size,
            flop=flop,
            stream_bytes=traffic,
            operand_bytes=self.operand_bytes,
            result_bytes=self.result_bytes,
            split=self.split,
            dtype=self.dtype,
        )


def gemm(
    m: float,
    n: float,
    k: float,
    *,
    batch: float = 1,
    split: str = "n",
    operand_bytes: float = 2,
    result_bytes: float = 2,
) -> Work:
    """Matrix product (m, k) x (k, n), `batch` times: 2 m k n FLOP each."""
    return Work(
        WorkKind.GEMM,
        batch=batch,
        m=m,
        n=n,
        k=k,
        flop=2.0 * batch * m * n * k,
        operand_bytes=operand_bytes,
        result_bytes=result_bytes,
        split=split,
    )


def stream(traffic_bytes: float) -> Work:
    """Kernel that is bounded by `traffic_bytes` of memory traffic."""
    return Work(WorkKind.STREAM, stream_bytes=traffic_bytes)


@record
class Op:
    """One operator with its kernels, parameters and saved activations.

    Attributes
    ----------
    name : str
    axis : Axis
        Along which axis a tensor-parallel group can divide it.
    forward, backward_data, backward_weight : tuple of Work
        Kernels of the forward pass, of the gradient of the input, of the gradient of the weights.
    parameters : int
        Parameters that are divided along `axis`.
    replicated_parameters : int
        Parameters that every rank of the group holds (norms, biases added after the reduction).
    saved_bytes : float
        Activations kept for the backward pass, divided along `axis`.
    saved_token_bytes : float
        Activations kept that only sequence parallelism divides (the input of a divided GEMM).
    core_bytes : float
        The part of `saved_bytes` that selective recomputation does not keep.
    opens, closes : bool
        The input of the operator enters, its output leaves the divided region: here a
        tensor-parallel group communicates ``region_elements`` elements.
    region_elements : float
        Elements of the whole array that crosses the border of the region (tokens x hidden).
    core_attention : bool
        Part of what selective recomputation runs again (Korthikanti 2022, section 4).
    weight_bytes, weight_token_bytes : float
        Kept between the input gradient and the weight gradient where a schedule runs them apart
        (the input and the gradient of the output): divided along `axis`, or by sequence
        parallelism alone.
    exchange : str
        ``dispatch`` sends tokens to the ranks that hold their experts, ``combine`` brings results
        back: ``region_elements`` elements are exchanged over the expert-parallel group.
    query_elements, key_elements : float
        Of core attention: elements of queries and of the output (each), of keys and of values
        (each), over all tokens; what context parallelism exchanges.
    table : tuple of float
        (rows, columns) of the table of an embedding or of the LM head; empty: none.
    parts : tuple of float
        Output features of the products that PyTorch's model code runs apart where frameworks with
        kernels of their own have one (queries, keys and values; gate and up); empty: one product.
    reduced_bytes : tuple of float
        Small all-reduces after the forward pass of an operator whose axis is divided (the maxima,
        sums and target logits of a vocabulary-parallel loss: Shoeybi 2019, section 3).
    """

    name: str
    axis: Axis
    forward: tuple[Work, ...]
    backward_data: tuple[Work, ...] = ()
    backward_weight: tuple[Work, ...] = ()
    parameters: int = 0
    replicated_parameters: int = 0
    saved_bytes: float = 0.0
    saved_token_bytes: float = 0.0
    core_bytes: float = 0.0
    opens: bool = False
    closes: bool = False
    region_elements: float = 0.0
    core_attention: bool = False
    weight_bytes: float = 0.0
    weight_token_bytes: float = 0.0
    exchange: str = ""
    query_elements: float = 0.0
    key_elements: float = 0.0
    table: tuple[float, ...] = ()
    parts: tuple[float, ...] = ()
    reduced_bytes: tuple[float, ...] = ()

    @property
    def forward_flop(self) -> float:
        """FLOP of the forward kernels."""
        return sum(w.flop for w in self.forward)

    @property
    def backward_flop(self) -> float:
        """FLOP of all backward kernels."""
        return sum(w.flop for w in (*self.backward_data, *self.backward_weight))


@record
class Numerics:
    """Bytes per element of what a training step stores, moves and sends.

    Attributes
    ----------
    compute : str
        Type of the matrix products: ``bf16``, ``fp16``, ``tf32`` or ``fp32``.
    activation_bytes, weight_bytes, gradient_bytes, master_bytes : float
        Activations, model weights, the gradient buffer, the optimizer's own copy of the weights
        (0 = none).
    reduce_bytes : float
        Gradients on the wire.
    gather_bytes : float
        Parameters on the wire (ZeRO).
    loss_scaling : bool
        fp16 checks and unscales gradients in a pass of its own.
    fp8 : Fp8 or None
        Recipe by which the products of linear layers run in fp8; None: they do not.
    """

    compute: str = "bf16"
    activation_bytes: float = 2
    weight_bytes: float = 2
    gradient_bytes: float = 4
    master_bytes: float = 4
    reduce_bytes: float = 4
    gather_bytes: float = 2
    loss_scaling: bool = False
    fp8: Fp8 | None = None


@record
class Fusion:
    """Which kernels a software stack merges; each switch is a property of a framework release.

    Attributes
    ----------
    flash_attention : bool
        One fused attention kernel instead of products, softmax and dropout with an s x s array.
    causal_softmax : bool
        Scale, mask and softmax in one kernel that skips masked scores on reads.
    bias_activation, bias_dropout_add : bool
        Bias + GELU; bias + dropout + residual: one kernel each.
    linear_bias_epilogue : bool
        The bias of a projection is added inside the GEMM.
    weight_gradient_accumulation : bool
        The weight-gradient GEMM adds into the gradient buffer itself.
    cross_entropy : bool
        One kernel for the loss and its gradient instead of a pass per step.
    expert_bias : bool
        The bias of the second product of experts is added with it; otherwise by elementwise
        operators in fp32, weighted by the probability of the expert.
    rms_norm, rotary, gated_activation : bool
        One kernel each way; otherwise one for each elementwise operator of PyTorch that they are
        made of, those of norms and rotary positions in fp32 (`distsim.workload.eager`).
    log_softmax : bool
        Where the loss is not one kernel: log-softmax and its gradient are one each, as in PyTorch.
    sink_attention : bool
        The fused attention kernel knows attention sinks; otherwise models that have them run
        products and softmax on arrays of s x s, under windows, too.
    """

    flash_attention: bool = True
    causal_softmax: bool = True
    bias_activation: bool = True
    bias_dropout_add: bool = True
    linear_bias_epilogue: bool = True
    weight_gradient_accumulation: bool = True
    cross_entropy: bool = True
    expert_bias: bool = True
    rms_norm: bool = True
    rotary: bool = True
    gated_activation: bool = True
    log_softmax: bool = False
    sink_attention: bool = True
