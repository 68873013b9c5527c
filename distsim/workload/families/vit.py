"""Vision transformers (Dosovitskiy 2020, arXiv 2010.11929).

An image is cut into patches, each projected to one token (a convolution whose stride is its
kernel); a class token goes in front, learned positions are added. Layers are pre-norm with full
attention; a final norm and a dense layer on the class token give the classes. A sample is an image,
so its tokens follow from its size and not from a scenario's sequence length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distsim.record import record
from distsim.workload.families import layers
from distsim.workload.families.checking import (
    COMMON,
    Check,
    Path,
    choice,
    count,
    out_of_range,
    read,
    switch,
)
from distsim.workload.families.transformer_parts import (
    Widths,
    feed_forward,
    fill_head_dim,
    parts,
    plain,
    self_attention,
    sublayer,
    whole_dense,
)
from distsim.workload.model import ModelSpec
from distsim.workload.network import Blocks
from distsim.workload.norms import norm
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import MASK_BYTES, Shape

#: Key of this family in the registry.
FAMILY = "vit"


@record(kw_only=True)
class VitSpec:
    """A vision transformer with a class token and a linear classifier.

    Attributes
    ----------
    name : str
    layers, hidden, heads, head_dim, ffn : int
    image, patch : int
        Pixels of a side of an image and of a patch.
    channels, classes : int
    dropout : bool
    source : str
    published_parameters : int or None
    """

    name: str
    layers: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    image: int = 224
    patch: int = 16
    channels: int = 3
    classes: int = 1000
    dropout: bool = False
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def family(self) -> str:
        """Key of the registry of families."""
        return FAMILY

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image // self.patch) ** 2

    @property
    def default_length(self) -> int:
        """Tokens of an image: one a patch, and the class token."""
        return self.patches + 1

    @property
    def pixels(self) -> int:
        """Numbers of a patch, all channels."""
        return self.channels * self.patch**2

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters."""
        return sum(self.parameters_by_part().values())

    @property
    def divisions(self) -> Mapping[str, int]:
        """What a tensor-parallel degree must divide."""
        return {"heads": self.heads, "ffn": self.ffn}

    @property
    def _widths(self) -> Widths:
        return Widths(self.hidden, self.heads, self.head_dim, self.ffn)

    @property
    def _parts(self) -> ModelSpec:
        return parts(self._widths, dropout=self.dropout)

    def parameters_by_part(self) -> dict[str, int]:
        """Return the exact number of parameters of each part, over all layers.

        With h = hidden, f = ffn, q = heads * head_dim, n patches:

        ==================  ===============================
        patch_embedding     channels patch^2 h + h
        class_token         h
        position_embedding  (n + 1) h
        attention           4 h q + 3 q + h a layer
        mlp                 2 h f + f + h a layer
        norms               4h a layer, and 2h for the last
        head                h classes + classes
        ==================  ===============================
        """
        h, w = self.hidden, self._widths
        return {
            "patch_embedding": (self.pixels + 1) * h,
            "class_token": h,
            "position_embedding": self.default_length * h,
            "attention": self.layers * (w.attention + w.attention_biases),
            "mlp": self.layers * (w.mlp + w.mlp_biases),
            "norms": (2 * self.layers + 1) * 2 * h,
            "head": (h + 1) * self.classes,
        }

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch; the length of `shape` is not used."""
        shape = replace(shape, length=self.default_length, segment_length=0.0)
        spec = self._parts
        attention, mlp = self_attention(spec, shape), feed_forward(spec, shape, "gelu")
        layer = (
            *sublayer("attention_norm", spec, shape, attention, norm_first=True),
            *sublayer("mlp_norm", spec, shape, mlp, norm_first=True),
        )
        return Blocks(
            ("encoder",) * self.layers,
            {"encoder": layer},
            self._embedding(shape),
            (
                norm("final_norm", spec, shape),
                whole_dense("head", shape, shape.sequences, self.hidden, self.classes),
                layers.loss("cross_entropy", shape, shape.sequences, self.classes),
            ),
            float(shape.tokens * self.hidden),
        )

    def _embedding(self, shape: Shape) -> tuple[Op, ...]:
        e, elements = shape.numerics.activation_bytes, float(shape.tokens * self.hidden)
        rows = shape.sequences * self.patches // shape.context
        mask = MASK_BYTES if self.dropout else 0
        dropped = (stream((2 * e + mask) * elements),) if self.dropout else ()
        return (
            Op("patches", Axis.TOKENS, (stream(2.0 * e * rows * self.pixels),)),
            whole_dense("patch_embedding", shape, rows, self.pixels, self.hidden, first=True),
            # The class token is put in front, then positions are added.
            Op(
                "embedding_positions",
                Axis.TOKENS,
                (stream(2 * e * elements), stream(3 * e * elements), *dropped),
                dropped,
                (stream(2 * e * elements),),
                replicated_parameters=(self.default_length + 1) * self.hidden,
                saved_bytes=mask * elements,
            ),
        )

    @property
    def _patch_flop(self) -> float:
        return 2.0 * self.patches * self.pixels * self.hidden

    def forward_flop(self, length: int = 0) -> float:
        """FLOP of the forward pass of one image: every product counts.

        Parameters
        ----------
        length : int, optional
            Not used: the tokens follow from the image.
        """
        w, s = self._widths, self.default_length
        layer = 2.0 * s * (w.attention + w.mlp) + 4.0 * s * s * w.query
        return self._patch_flop + self.layers * layer + 2.0 * self.hidden * self.classes

    def model_flop(self, length: int = 0) -> float:
        """FLOP of forward and backward for one image, without recomputation.

        Pixels have no gradient, so the patch embedding has one product less.
        """
        return 3.0 * self.forward_flop() - self._patch_flop

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        return plain(self)


_KEYS: Mapping[str, Check] = {
    **COMMON,
    "family": choice(FAMILY),
    "layers": count(10_000),
    "hidden": count(1_000_000),
    "heads": count(100_000),
    "head_dim": count(100_000),
    "ffn": count(),
    "image": count(100_000),
    "patch": count(100_000),
    "channels": count(100_000),
    "classes": count(),
    "dropout": switch,
}
_REQUIRED = {"layers": 12, "hidden": 768, "heads": 12}


def from_mapping(block: object, path: Path = (), name: str = "inline") -> VitSpec:
    """Return the vision transformer that a block describes.

    ``layers, hidden, heads`` are required; ``head_dim`` is hidden / heads, ``ffn`` is 4 hidden,
    images are 224 x 224 with 3 channels and 1000 classes, patches 16 x 16.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range or a patch that does not divide the
        image, DS204 no such choice, DS205 keys missing, DS223 heads that do not divide hidden.
    """
    values = read(block, path, _KEYS, _REQUIRED, "a vision transformer")
    values.pop("family", None)
    fill_head_dim(values, path)
    values.setdefault("name", name)
    values.setdefault("ffn", 4 * values["hidden"])
    spec = VitSpec(**values)
    if spec.image % spec.patch:
        rule = f"image ({spec.image}) % patch == 0: patches cover the image without overlap"
        raise out_of_range("patch", spec.patch, (*path, "patch"), rule)
    return spec
