"""Convolutional networks: convolutions, pooling, residual blocks and dense layers in a sequence.

AlexNet and VGG (Simonyan 2014, arXiv 1409.1556) are sequences of convolutions; ResNets (He 2015,
arXiv 1512.03385) of residual blocks, with batch norm after every convolution. A layer is a
convolution with the pooling after it, a residual block, or a dense layer before the last.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any, Protocol

from distsim.record import record
from distsim.workload.families.convolution import Add, Conv, Image, Pool, after_window
from distsim.workload.families.layers import activation, dense, dropout, loss
from distsim.workload.network import Blocks
from distsim.workload.op import Op
from distsim.workload.shape import Shape

#: Output channels of a bottleneck block over those of its 3 x 3 convolution (He 2015, section 4.1).
EXPANSION = 4


@record
class ConvEntry:
    """A convolution: `conv` output channels; `padding` on each side; ReLU after it."""

    conv: int
    kernel: int
    stride: int = 1
    padding: int = 0
    norm: bool = False
    bias: bool = True


@record
class PoolEntry:
    """Pooling: `pool` is ``max``, ``average``, or ``global`` for one mean of each channel."""

    pool: str
    kernel: int = 0
    stride: int = 1
    padding: int = 0


@record
class ResidualEntry:
    """`repeat` residual blocks, of which the first has the stride.

    Attributes
    ----------
    residual : {"basic", "bottleneck"}
        Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 with four times the channels.
    channels : int
        Of the 3 x 3 convolutions.
    stride_first : bool
        A bottleneck strides in its first convolution (He 2015), not in the 3 x 3 one (as
        frameworks do since, "v1.5").
    """

    residual: str
    channels: int
    stride: int = 1
    repeat: int = 1
    stride_first: bool = False


@record
class DenseEntry:
    """A dense layer before the last: `dense` features, ReLU, and dropout if said."""

    dense: int
    dropout: bool = False


Entry = ConvEntry | PoolEntry | ResidualEntry | DenseEntry


class Element(Protocol):
    """A part of a layer at its place: sizes of images are known."""

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters by part."""
        ...

    @property
    def forward_flop(self) -> float:
        """FLOP of products for one image."""
        ...

    @property
    def model_flop(self) -> float:
        """FLOP of products of forward and backward for one image."""
        ...

    @property
    def result(self) -> Image:
        """What comes out."""
        ...

    def ops(self, shape: Shape) -> tuple[Op, ...]:
        """Return the operators for a micro batch."""
        ...


@record
class DenseLayer:
    """A dense layer at its place; `relu` and `dropout` may follow."""

    inputs: int
    outputs: int
    relu: bool = True
    dropout: bool = False

    @property
    def parameters(self) -> dict[str, int]:
        """Weights and biases."""
        return {"dense": self.inputs * self.outputs + self.outputs}

    @property
    def forward_flop(self) -> float:
        """FLOP of the product for one image."""
        return 2.0 * self.inputs * self.outputs

    @property
    def model_flop(self) -> float:
        """FLOP of the three products for one image."""
        return 3.0 * self.forward_flop

    @property
    def result(self) -> Image:
        """Features as channels of one place."""
        return Image(self.outputs, 1, 1)

    def ops(self, shape: Shape) -> tuple[Op, ...]:
        """Return the operators for a micro batch."""
        rows, elements = shape.sequences, float(shape.sequences * self.outputs)
        ops = [dense("dense", shape, rows, self.inputs, self.outputs, bias=True)]
        if self.relu:
            ops.append(activation("relu", "relu", shape, elements, result_kept=not self.dropout))
        if self.dropout:
            ops.append(dropout("dropout", shape, elements))
        return tuple(ops)


@record
class Placed:
    """The layers of a network with their sizes: what `Blocks` has, before any micro batch."""

    stem: tuple[Element, ...]
    layers: tuple[tuple[str, tuple[Element, ...]], ...]
    head: tuple[Element, ...]

    @property
    def elements(self) -> tuple[Element, ...]:
        """All of them in order."""
        return (*self.stem, *(e for _, layer in self.layers for e in layer), *self.head)


@record(kw_only=True)
class Cnn:
    """A convolutional network that classifies images.

    Attributes
    ----------
    image : tuple of int
        Channels, height and width of a sample.
    entries : tuple
        What stands before the last dense layer, in order.
    classes : int
        Outputs of the last dense layer.
    winograd : {"none", "fused", "separate"}
        3 x 3 convolutions of stride 1 run as F(2 x 2, 3 x 3), forward and for the gradient of
        their input, with transforms inside the kernel or apart; gradients of kernels do not.
    source : str
    published_parameters : int or None
    published_macs : int or None
        Multiply-accumulates of the forward pass of one image, as the source rounds them.
    """

    name: str
    image: tuple[int, ...]
    entries: tuple[Entry, ...]
    classes: int
    winograd: str = "none"
    source: str = "stated inline"
    published_parameters: int | None = None
    published_macs: int | None = None

    @property
    def family(self) -> str:
        """``cnn``."""
        return "cnn"

    @property
    def layers(self) -> int:
        """Convolutions, residual blocks and dense layers between stem and head."""
        return len(place(self).layers)

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters; running statistics of norms are not trained."""
        return sum(self.parameters_by_part().values())

    @property
    def default_length(self) -> int:
        """1: a sample is no sequence."""
        return 1

    @property
    def divisions(self) -> dict[str, int]:
        """Nothing: a tensor-parallel group does not divide this family."""
        return {}

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of convolutions, norms and dense layers."""
        parts = dict.fromkeys(("convolutions", "norms", "dense"), 0)
        for element in place(self).elements:
            for part, number in element.parameters.items():
                parts[part] += number
        return parts

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch of ``shape.sequences`` images.

        Equal layers share a kind, named after the first of them. What passes from layer to layer
        counts as large as the largest output of a layer.
        """
        placed = place(self)
        names: dict[tuple[Element, ...], str] = {}
        for index, (label, layer) in enumerate(placed.layers):
            names.setdefault(layer, f"{label}_{index}")
        largest = max((layer[-1].result.elements for _, layer in placed.layers), default=0)
        head = loss("cross_entropy", shape, shape.sequences, self.classes)
        return Blocks(
            tuple(names[layer] for _, layer in placed.layers),
            {name: _ops(layer, shape) for layer, name in names.items()},
            _ops(placed.stem, shape),
            (*_ops(placed.head, shape), head),
            float(shape.sequences * largest),
        )

    def forward_flop(self, length: int = 1) -> float:
        """FLOP of convolutions and dense layers for one image, by the direct algorithm."""
        return sum(element.forward_flop for element in place(self).elements)

    def model_flop(self, length: int = 1) -> float:
        """FLOP of forward and backward for one image; the image itself gets no gradient."""
        return sum(element.model_flop for element in place(self).elements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        keys = ("name", "family", "classes", "winograd", "source")
        return {key: getattr(self, key) for key in keys} | {
            "image": list(self.image),
            "entries": [asdict(entry) for entry in self.entries],
            "published_parameters": self.published_parameters,
            "published_macs": self.published_macs,
            "parameters": self.parameters,
            "parameters_by_part": self.parameters_by_part(),
        }


def _ops(elements: tuple[Element, ...], shape: Shape) -> tuple[Op, ...]:
    return tuple(op for element in elements for op in element.ops(shape))


def window(image: Image, channels: int, kernel: int, stride: int, padding: int) -> Image:
    """Return what a window that moves over `image` makes; a side below 1 means no room for it."""
    high, wide = (after_window(s, kernel, stride, padding) for s in (image.height, image.width))
    return Image(channels, high, wide)


def after(image: Image, entry: Entry) -> Image:
    """Return what comes out of an entry that `image` goes into."""
    if isinstance(entry, ConvEntry):
        return window(image, entry.conv, entry.kernel, entry.stride, entry.padding)
    if isinstance(entry, PoolEntry):
        if entry.pool == "global":
            return Image(image.channels, 1, 1)
        return window(image, image.channels, entry.kernel, entry.stride, entry.padding)
    if isinstance(entry, DenseEntry):
        return Image(entry.dense, 1, 1)
    wide = entry.channels * (EXPANSION if entry.residual == "bottleneck" else 1)
    return window(image, wide, 1, entry.stride, 0)


@lru_cache(maxsize=64)
def place(spec: Cnn) -> Placed:
    """Give every entry its sizes and gather them into stem, layers and head.

    Where there are residual blocks, what comes before them is the stem. Pooling goes with the
    layer before it; global pooling, the last dense layer and the loss are the head.
    """
    image = Image(*spec.image)
    stem: list[Element] = []
    layers: list[tuple[str, tuple[Element, ...]]] = []
    head: list[Element] = []
    waits = any(isinstance(entry, ResidualEntry) for entry in spec.entries)
    for index, entry in enumerate(spec.entries):
        result = after(image, entry)
        if isinstance(entry, ResidualEntry):
            layers += _residual_layers(entry, image, spec.winograd)
            waits = False
        elif isinstance(entry, DenseEntry):
            layer = DenseLayer(image.elements, entry.dense, dropout=entry.dropout)
            layers.append(("dense", (*head, layer)))
            head = []
        else:
            made = _single(spec, entry, image, result, first=index == 0)
            if waits:
                stem.append(made)
            elif isinstance(entry, ConvEntry):
                layers.append(("conv", (*head, made)))
                head = []
            elif entry.pool == "global" or not layers:
                head.append(made)
            else:
                layers[-1] = (layers[-1][0], (*layers[-1][1], made))
        image = result
    return Placed(
        tuple(stem), tuple(layers), (*head, DenseLayer(image.elements, spec.classes, relu=False))
    )


def _single(
    spec: Cnn, entry: ConvEntry | PoolEntry, image: Image, result: Image, *, first: bool
) -> Element:
    if isinstance(entry, PoolEntry):
        return Pool("max" if entry.pool == "max" else "average", image, result)
    return Conv(
        image,
        result,
        entry.kernel,
        entry.stride,
        bias=entry.bias,
        norm=entry.norm,
        first=first,
        winograd=spec.winograd,
    )


def _residual_layers(
    entry: ResidualEntry, image: Image, winograd: str
) -> list[tuple[str, tuple[Element, ...]]]:
    out = []
    for index in range(entry.repeat):
        stride = entry.stride if index == 0 else 1
        block = _residual(entry, image, stride, winograd)
        out.append((entry.residual, block))
        image = block[-1].result
    return out


def _residual(
    entry: ResidualEntry, image: Image, stride: int, winograd: str
) -> tuple[Element, ...]:
    """Return one residual block (He 2015, figure 5); a 1 x 1 convolution where sizes change."""
    small = window(image, entry.channels, 1, stride, 0)
    if entry.residual == "basic":
        result = small
        branch: tuple[Element, ...] = (
            Conv(image, small, 3, stride, winograd=winograd),
            Conv(small, result, 3, relu=False, winograd=winograd),
        )
    else:
        result = Image(entry.channels * EXPANSION, small.height, small.width)
        early, late = (stride, 1) if entry.stride_first else (1, stride)
        narrow = window(image, entry.channels, 1, early, 0)
        branch = (
            Conv(image, narrow, 1, early),
            Conv(narrow, small, 3, late, winograd=winograd),
            Conv(small, result, 1, relu=False),
        )
    if image == result:
        return (*branch, Add(image, result))
    shortcut = Conv(image, result, 1, stride, relu=False, kept=False)
    return (*branch, shortcut, Add(image, result))
