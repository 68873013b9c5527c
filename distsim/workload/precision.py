"""Training in fp8: how tensors are scaled, what a copy takes, and what it asks of a device.

The operands of the three products of a linear layer are fp8 (E4M3 forward; E5M2 for gradients in
some recipes, which are as many bytes); products accumulate in fp32, and results, norms, attention,
router and LM head stay in 16 bit (Micikevicius 2022, arXiv 2209.05433, section 2). Values are
scaled into the narrow range of the type, by one factor for a tensor or one for each small block.

A recipe says how, and from that follow bytes and kernels (`distsim.workload.linear`). A product
multiplies along rows or along columns of the same tensor, and an operand is needed twice: an input
for the output and for the weight gradient, a weight for the output and for the input gradient, an
output gradient for both gradients. Where the two uses cannot share one array (products that take
one layout only, or blocks that run along the dimension that is summed), a cast writes both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from distsim.errors import ValueProblem, nearest
from distsim.record import record

#: Products of fp8 take operands of any layout; before, of one only, with both inner dimensions
#: contiguous (Transformer Engine: compute capability 10.0 to 11.x).
ANY_LAYOUT = ("blackwell",)
#: Matrix units that scale blocks of 32 themselves.
BLOCK_SCALES = ("blackwell",)
#: Compute types beside which products run in fp8.
BESIDE = ("bf16", "fp16")


@record
class Fp8:
    """How tensors become fp8.

    Attributes
    ----------
    name : str
    summary, source : str
        One line for lists; paper or documentation.
    block : int
        Elements of an activation or gradient that share a scale; 0 = all of them.
    weight_block : int
        The same for weights.
    scale_bytes : float
        Bytes of one scale.
    amax_pass : bool
        A pass over the tensor finds its largest value before the cast.
    amax_history : int
        Largest values that are remembered, from which the scale of the next cast follows; 0 = the
        scale is that of the values cast.
    copies, weight_copies : int
        Arrays that a cast of an activation or gradient, and of a weight, writes.
    token_multiple, feature_multiple : int
        What tokens and features divide by, for products in fp8 to run at all.
    cached_weights : bool
        Weights are cast once a step and kept; otherwise in every forward pass, and kept until its
        backward pass.
    """

    name: str
    summary: str
    source: str
    block: int = 0
    weight_block: int = 0
    scale_bytes: float = 4.0
    amax_pass: bool = False
    amax_history: int = 0
    copies: int = 2
    weight_copies: int = 2
    token_multiple: int = 8
    feature_multiple: int = 16
    cached_weights: bool = True

    @property
    def element_bytes(self) -> float:
        """Bytes of one element of an activation or gradient, with its share of a scale."""
        return 1.0 + (self.scale_bytes / self.block if self.block else 0.0)

    @property
    def weight_element_bytes(self) -> float:
        """Bytes of one element of a weight, with its share of a scale."""
        return 1.0 + (self.scale_bytes / self.weight_block if self.weight_block else 0.0)

    @property
    def copy_bytes(self) -> float:
        """Bytes that fp8 weights take for each parameter of a linear layer, beside the weights."""
        return self.weight_copies * self.weight_element_bytes if self.cached_weights else 0.0

    def on(self, architecture: str) -> Fp8:
        """Return the recipe as it runs on a generation of devices.

        With one scale for a tensor both uses can read the same array, if products take any layout.
        """
        if self.block or architecture not in ANY_LAYOUT:
            return self
        return replace(self, copies=1, weight_copies=1)


_ENGINE = "Transformer Engine (NVIDIA), documentation of its recipes"
#: Name -> recipe, with the copies of a device whose products take one layout only.
RECIPES: Mapping[str, Fp8] = {
    "delayed": Fp8(
        "delayed",
        "one scale a tensor, from the largest values of earlier micro batches",
        f"Micikevicius 2022 (arXiv 2209.05433), section 2; {_ENGINE}: a history of 1,024",
        amax_history=1024,
    ),
    "current": Fp8(
        "current",
        "one scale a tensor, from its own largest value, which a pass of its own finds",
        _ENGINE,
        amax_pass=True,
    ),
    "blockwise": Fp8(
        "blockwise",
        "a scale for 1 x 128 elements of activations and gradients, 128 x 128 of weights",
        "DeepSeek-AI 2024 (arXiv 2412.19437), section 3.3",
        block=128,
        weight_block=128 * 128,
        token_multiple=128,
        feature_multiple=128,
    ),
    "mxfp8": Fp8(
        "mxfp8",
        "a power of two as scale for every 32 elements, applied by the matrix units",
        f"OCP Microscaling Formats (MX) specification 1.0, 2023; {_ENGINE}",
        block=32,
        weight_block=32,
        scale_bytes=1.0,
        token_multiple=32,
        feature_multiple=32,
    ),
}


def fp8_recipe(
    name: str,
    *,
    device: str,
    architecture: str,
    peaks: Collection[str],
    compute: str,
    cached_weights: bool = True,
    path: tuple[str | int, ...] = ("precision", "fp8"),
) -> Fp8:
    """Return a recipe as it runs on a device.

    Parameters
    ----------
    name : str
        A key of `RECIPES`.
    device, architecture : str
        Name and generation of the device.
    peaks : collection of str
        Types for which the device states a peak rate.
    compute : str
        Type of the products that are not in fp8.
    cached_weights : bool
        See `Fp8`.
    path : tuple
        Where the recipe is named.

    Raises
    ------
    ValueProblem
        DS232 where the device has no fp8 or not the blocks of the recipe, DS233 for a recipe that
        does not exist, DS234 beside products in 32 bit.
    """
    if name not in RECIPES:
        near = nearest(name, RECIPES)
        raise ValueProblem(
            "DS233",
            f"unknown fp8 recipe {name!r}",
            path=path,
            value=name,
            rule=f"one of {', '.join(RECIPES)}",
            fix=f"did you mean {near!r}?" if near else "choose one of them, or leave fp8 out",
        )
    if "fp8" not in peaks:
        raise ValueProblem(
            "DS232",
            f"{device} has no fp8 rate",
            path=path,
            value=name,
            rule=f"fp8 among the peaks of the device, which are {', '.join(sorted(peaks))}",
            fix="leave fp8 out, or choose a device that has it",
        )
    if name == "mxfp8" and architecture not in BLOCK_SCALES:
        raise ValueProblem(
            "DS232",
            f"{device} does not scale the blocks of mxfp8",
            path=path,
            value=name,
            rule=f"mxfp8 runs on {', '.join(BLOCK_SCALES)}; {device} is "
            f"{architecture or 'of no stated architecture'}",
            fix="choose delayed, current or blockwise",
        )
    if compute not in BESIDE:
        raise ValueProblem(
            "DS234",
            f"fp8 beside {compute}",
            path=path,
            value=compute,
            rule=f"compute is {' or '.join(BESIDE)}: what is not in fp8 stays in 16 bit",
            fix="set compute: bf16, or leave fp8 out",
        )
    return replace(RECIPES[name].on(architecture), cached_weights=cached_weights)


def check_dimensions(
    recipe: Fp8,
    tokens: int,
    features: Iterable[tuple[str, int]],
    path: tuple[str | int, ...] = ("precision", "fp8"),
) -> None:
    """Refuse sizes that products in fp8 cannot have.

    Tokens are divided by 8 and features by 16 for one scale a tensor (cuBLAS aligns rows of fp8
    to 16 bytes); whole blocks along both where blocks have scales (Transformer Engine).

    Parameters
    ----------
    tokens : int
        Tokens of a micro batch in one product on one rank.
    features : iterable of (str, int)
        What the dimension is called, and its features on one rank.

    Raises
    ------
    ValueProblem
        DS235, with the first size that does not fit.
    """
    sizes = [("tokens", tokens, recipe.token_multiple)]
    sizes += [(name, size, recipe.feature_multiple) for name, size in features]
    for name, size, multiple in sizes:
        if size % multiple:
            raise ValueProblem(
                "DS235",
                f"{name}({size}) of a rank do not divide by {multiple}",
                path=path,
                value=size,
                rule=f"fp8 {recipe.name}: tokens divide by {recipe.token_multiple}, features by "
                f"{recipe.feature_multiple}",
                fix=f"change the model, the micro batch or tp so that {name} divide by {multiple}, "
                "or choose another recipe",
            )
