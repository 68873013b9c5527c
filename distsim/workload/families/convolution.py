"""Convolution and what stands around it in an image network, as operators.

A convolution of a C x H x W image with K kernels of R x S is a product of K rows with C R S columns
for each place of the result: 2 K C R S H' W' FLOP an image. Libraries run it as an *implicit* GEMM,
m = images * H' W', n = K, k = C R S, whose first operand is gathered from the image and never
written (Chetlur 2014, arXiv 1410.0759, section 3), so its memory traffic is that of the image.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.record import record
from distsim.workload.families.layers import activation, gradient_sum
from distsim.workload.op import Axis, Op, Work, gemm, stream
from distsim.workload.shape import Shape

#: Of F(2 x 2, 3 x 3): a tile of 2 x 2 results needs 4 x 4 products for each pair of channels, and
#: its transforms this many floating-point instructions for a tile and channel, or for a kernel
#: (Lavin 2015, arXiv 1509.09308, section 4.1).
WINOGRAD_TILE = 2
WINOGRAD_PRODUCTS = 16
WINOGRAD_INPUT_FLOP, WINOGRAD_KERNEL_FLOP, WINOGRAD_RESULT_FLOP = 32, 28, 24
#: Max pooling keeps where each maximum was as a 64-bit integer (PyTorch).
INDEX_BYTES = 8
#: Batch norm keeps mean and inverse deviation of each channel in fp32.
STATISTICS_BYTES = 8


@record
class Image:
    """Channels and size of an array that passes from layer to layer."""

    channels: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Places of one channel."""
        return self.height * self.width

    @property
    def elements(self) -> int:
        """Elements of one image."""
        return self.channels * self.area


def after_window(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return at how many places a window stands along one side."""
    return (size + 2 * padding - kernel) // stride + 1


@record
class Conv:
    """A convolution with square kernels, its batch norm and its ReLU.

    Attributes
    ----------
    source, result : Image
        What goes in and what comes out.
    kernel, stride : int
    bias, norm, relu : bool
    first : bool
        The input is data: its gradient is not computed.
    kept : bool
        The input counts as kept here; False where another operator keeps the same array.
    winograd : {"none", "fused", "separate"}
        Run 3 x 3 kernels of stride 1 as F(2 x 2, 3 x 3), with the transforms of image and result
        inside the product's kernel or as kernels of their own.
    """

    source: Image
    result: Image
    kernel: int
    stride: int = 1
    bias: bool = False
    norm: bool = True
    relu: bool = True
    first: bool = False
    kept: bool = True
    winograd: str = "none"

    @property
    def weights(self) -> int:
        """Elements of the kernels."""
        return self.source.channels * self.result.channels * self.kernel**2

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters by part: kernels and biases, scale and shift of the norm."""
        channels = self.result.channels
        biases = channels if self.bias else 0
        return {"convolutions": self.weights + biases, "norms": 2 * channels if self.norm else 0}

    @property
    def forward_flop(self) -> float:
        """FLOP of one image, 2 K C R S H' W', by the direct algorithm."""
        return 2.0 * self.weights * self.result.area

    @property
    def model_flop(self) -> float:
        """FLOP of forward and backward for one image."""
        return self.forward_flop * (2 if self.first else 3)

    @property
    def reached(self) -> int:
        """Elements of an image that some kernel covers: a stride may step over the rest."""
        covered = min(self.source.area, self.result.area * self.kernel**2)
        return self.source.channels * covered

    def ops(self, shape: Shape) -> tuple[Op, ...]:
        """Return the operators for a micro batch of ``shape.sequences`` images."""
        elements = float(shape.sequences * self.result.elements)
        out = [_convolution(self, shape)]
        if self.norm:
            out.append(_batch_norm(self.result, shape))
        if self.relu:
            out.append(activation("relu", "relu", shape, elements))
        return tuple(out)


@record
class Pool:
    """Pooling by windows.

    Attributes
    ----------
    kind : {"max", "average"}
    source, result : Image
    """

    kind: str
    source: Image
    result: Image

    @property
    def parameters(self) -> dict[str, int]:
        """None."""
        return {}

    @property
    def forward_flop(self) -> float:
        """0: no products."""
        return 0.0

    @property
    def model_flop(self) -> float:
        """0: no products."""
        return 0.0

    def ops(self, shape: Shape) -> tuple[Op, ...]:
        """Return the operator; autograd keeps the input, and of maxima where they were."""
        x, y = (float(shape.sequences * i.elements) for i in (self.source, self.result))
        e = shape.numerics.activation_bytes
        where = INDEX_BYTES * y if self.kind == "max" else 0.0
        traffic = stream(e * (x + y) + where)
        return (
            Op(
                f"{self.kind}_pool",
                Axis.TOKENS,
                (traffic,),
                (traffic,),
                saved_bytes=e * x + where,
            ),
        )


@record
class Add:
    """The sum of a residual block's branch and its shortcut, and the ReLU after it.

    Attributes
    ----------
    source, result : Image
        Input of the block, where the gradients of both branches are summed, and its output.
    """

    source: Image
    result: Image

    @property
    def parameters(self) -> dict[str, int]:
        """None."""
        return {}

    @property
    def forward_flop(self) -> float:
        """0: no products."""
        return 0.0

    @property
    def model_flop(self) -> float:
        """0: no products."""
        return 0.0

    def ops(self, shape: Shape) -> tuple[Op, ...]:
        """Return the operators: neither keeps anything that the next block does not."""
        x, y = (float(shape.sequences * i.elements) for i in (self.source, self.result))
        e = shape.numerics.activation_bytes
        add = Op("residual_add", Axis.TOKENS, (stream(3 * e * y),), (stream(3 * e * x),))
        return (add, activation("relu", "relu", shape, y))


def _implicit(m: float, n: float, flop: float, read_bytes: float, result_bytes: float) -> Work:
    """Return an implicit GEMM with `m` x `n` results.

    Its inner dimension follows from its FLOP: along borders and with strides not every place sums
    the same number of products. Operands are counted as they lie in memory.
    """
    work = gemm(m, n, flop / (2.0 * m * n), operand_bytes=0.0, result_bytes=result_bytes)
    return replace(work, flop=flop, stream_bytes=read_bytes)


def _convolution(conv: Conv, shape: Shape) -> Op:
    """Return the convolution: result, gradient of the image, gradient of the kernels."""
    images, source, result = shape.sequences, conv.source, conv.result
    num, fusion = shape.numerics, shape.fusion
    e, g = num.activation_bytes, num.gradient_bytes
    x, y, w = float(images * source.elements), float(images * result.elements), conv.weights
    reached, flop = float(images * conv.reached), images * conv.forward_flop
    fused = fusion.weight_gradient_accumulation
    if conv.winograd != "none" and conv.kernel == 3 and conv.stride == 1:
        fused_transforms = conv.winograd == "fused"
        forward = _winograd(source, result, images, e, fused=fused_transforms)
        data = _winograd(result, source, images, e, fused=fused_transforms)
    else:
        rows = images * result.area
        forward = [_implicit(rows, result.channels, flop, e * (reached + w), e)]
        data = [
            _implicit(
                reached / source.channels,
                source.channels,
                flop,
                e * (y + w) + e * (x - reached),  # zeros where no kernel reaches
                e,
            )
        ]
    if conv.bias and not fusion.linear_bias_epilogue:
        forward.append(stream(2 * e * y))
    weight = [
        _implicit(
            source.channels * conv.kernel**2,
            result.channels,
            flop,
            e * (reached + y),
            2 * g if fused else e,
        )
    ]
    if not fused:
        weight.append(stream((e + 2 * g) * w))
    if conv.bias:
        weight += gradient_sum(shape, images * result.area, result.channels)
    return Op(
        f"conv{conv.kernel}x{conv.kernel}",
        Axis.TOKENS,
        tuple(forward),
        () if conv.first else tuple(data),
        tuple(weight),
        replicated_parameters=conv.parameters["convolutions"],
        saved_bytes=e * x if conv.kept else 0.0,
        weight_bytes=e * (x + y),
    )


def _winograd(source: Image, result: Image, images: int, e: float, *, fused: bool) -> list[Work]:
    """Return F(2 x 2, 3 x 3): transforms of image and kernels, 16 products, transform back.

    16 multiplications make 4 results that take 36 directly, 2.25 times fewer (Lavin 2015,
    section 4.1). Kernels are transformed beforehand. Fused, tiles are transformed as they are read
    and before they are written, beside the products (section 5); otherwise kernels of their own
    write what they make, 4 elements for each of the image and of the result.
    """
    high, wide = (-(-side // WINOGRAD_TILE) for side in (result.height, result.width))
    tiles, pairs = float(images * high * wide), float(source.channels * result.channels)
    p = WINOGRAD_PRODUCTS

    def transform(elements: float, flop: float) -> Work:
        return replace(stream(e * elements), flop=flop)

    seen, made = tiles * source.channels, tiles * result.channels
    x, y = float(images * source.elements), float(images * result.elements)
    inward, outward = WINOGRAD_INPUT_FLOP * seen, WINOGRAD_RESULT_FLOP * made
    kernels = transform((9 + p) * pairs, WINOGRAD_KERNEL_FLOP * pairs)
    moved = 0.0 if fused else e
    work = gemm(
        tiles, result.channels, source.channels, batch=p, operand_bytes=moved, result_bytes=moved
    )
    if fused:
        traffic = e * (x + p * pairs + y)
        return [kernels, replace(work, flop=work.flop + inward + outward, stream_bytes=traffic)]
    return [kernels, transform(x + p * seen, inward), work, transform(p * made + y, outward)]


def _batch_norm(image: Image, shape: Shape) -> Op:
    """Return batch norm (Ioffe 2015, arXiv 1502.03167, algorithm 1) in training.

    Statistics need a pass of their own before the normalized result is written; backward, the
    gradients of scale and shift are sums over the batch that the gradient of the input needs.
    """
    e, elements = shape.numerics.activation_bytes, float(shape.sequences * image.elements)
    return Op(
        "batch_norm",
        Axis.TOKENS,
        forward=(stream(e * elements), stream(2 * e * elements)),
        backward_data=(stream(2 * e * elements), stream(3 * e * elements)),
        replicated_parameters=2 * image.channels,
        saved_bytes=e * elements + STATISTICS_BYTES * image.channels,
    )
