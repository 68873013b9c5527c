"""Linear models: regression, softmax regression and the perceptron.

A sample is a row of d features, X has one row for each of n samples, w has a column for each of q
outputs. Gradient descent on the squared error needs X^T (X w - y), which can be computed in three
ways that give the same (Golub and Van Loan, Matrix Computations, 4th edition, section 5.3: normal
equations):

================  ==========================  =====================
order             once                        each step
================  ==========================  =====================
``residual``      nothing                     4 n d q FLOP
``gram``          nothing                     2 n d (d + q) + 2 d^2 q
``precomputed``   2 n d (d + q), before them  2 d^2 q
================  ==========================  =====================

With one output every product with w is one of a matrix and a vector and bounded by memory.
"""

from __future__ import annotations

from typing import Any

from distsim.errors import WorkloadError
from distsim.record import record
from distsim.workload.families.checking import COMMON, Path, choice, count, read, switch
from distsim.workload.families.layers import dense, loss, product, weight_gradient
from distsim.workload.network import Blocks
from distsim.workload.op import Axis, Op, stream
from distsim.workload.shape import Shape

ORDERS = ("residual", "gram", "precomputed")
#: What each family minimizes.
_LOSSES = {
    "linear_regression": "squared_error",
    "softmax_regression": "cross_entropy",
    "perceptron": "perceptron",
}


@record(kw_only=True)
class LinearModel:
    """A model with one layer and no activation.

    Attributes
    ----------
    family : {"linear_regression", "softmax_regression", "perceptron"}
        Minimizes the squared error, the cross entropy of a softmax, or max(0, -y w^T x)
        (Rosenblatt 1958): the perceptron's update adds y x for each sample on the wrong side.
    features, outputs : int
        d and q.
    bias : bool
        A term of its own beside the features.
    order : {"residual", "gram", "precomputed"}
        How X^T (X w - y) is computed; only of linear regression. The last two need no bias: a
        feature of ones does the same.
    source : str
    published_parameters : int or None
    """

    name: str
    family: str = "linear_regression"
    features: int
    outputs: int = 1
    bias: bool = True
    order: str = "residual"
    source: str = "stated inline"
    published_parameters: int | None = None

    @property
    def layers(self) -> int:
        """One."""
        return 1

    @property
    def parameters(self) -> int:
        """Exact number of trained parameters: (d + 1) q with a bias."""
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
        """Return the exact number of weights and biases."""
        return {
            "weights": self.features * self.outputs,
            "biases": self.outputs if self.bias else 0,
        }

    def descent_flop(self, samples: int, steps: int) -> float:
        """Return FLOP of `steps` steps of gradient descent on all of `samples` samples.

        Products alone, as the table of this module says. ``precomputed`` takes fewer FLOP than
        ``residual`` where steps (4 n d q - 2 d^2 q) > 2 n d (d + q): with one output and n much
        larger than d, after (d + 1) / 2 steps.
        """
        n, d, q = samples, self.features, self.outputs
        if self.order == "residual":
            return 4.0 * n * d * q * steps
        once = 2.0 * n * d * (d + q)
        return once * (steps if self.order == "gram" else 1) + 2.0 * d * d * q * steps

    def blocks(self, shape: Shape) -> Blocks:
        """Return the operators for one micro batch of ``shape.sequences`` samples.

        By ``gram`` and ``precomputed`` no loss is computed. What ``precomputed`` computes once is
        not part of a step, and all samples are meant to be one micro batch.
        """
        if self.order == "residual":
            op = dense(
                "predict",
                shape,
                shape.sequences,
                self.features,
                self.outputs,
                bias=self.bias,
                first=True,
            )
            head: tuple[Op, ...] = (self._loss(shape),)
        else:
            op, head = self._by_gram(shape), ()
        return Blocks(
            ("linear",), {"linear": (op,)}, (), head, float(shape.sequences * self.outputs)
        )

    def _loss(self, shape: Shape) -> Op:
        name = _LOSSES[self.family]
        if name != "perceptron":
            return loss(name, shape, shape.sequences, self.outputs)
        # Reads scores and labels, writes y where the sign is wrong and 0 elsewhere: this is the
        # gradient already, and all that is kept.
        e, elements = shape.numerics.activation_bytes, float(shape.sequences * self.outputs)
        return Op(name, Axis.TOKENS, (stream(3 * e * elements),), saved_bytes=e * elements)

    def _by_gram(self, shape: Shape) -> Op:
        """Return the operator that takes the gradient as (X^T X) w - X^T y.

        X^T X and X^T y are kept; the pass that subtracts X^T y reads two vectors and writes one.
        """
        n, d, q = shape.sequences, self.features, self.outputs
        e = shape.numerics.activation_bytes
        forward = (product(d, d, n, operand_bytes=e), product(d, q, n, operand_bytes=e))
        return Op(
            "normal_equations",
            Axis.TOKENS,
            forward if self.order == "gram" else (),
            backward_weight=(*weight_gradient(shape, d, q, d), stream(3 * e * d * q)),
            replicated_parameters=self.parameters,
            saved_bytes=e * float(d * d + d * q),
        )

    def forward_flop(self, length: int = 1) -> float:
        """FLOP of the prediction of one sample, 2 d q, whatever the order."""
        return 2.0 * self.features * self.outputs

    def model_flop(self, length: int = 1) -> float:
        """FLOP of prediction and gradient of one sample, 4 d q, whatever the order."""
        return 2.0 * self.forward_flop(length)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, counts of parameters included."""
        keys = ("name", "family", "features", "outputs", "bias", "order", "source")
        return {key: getattr(self, key) for key in keys} | {
            "published_parameters": self.published_parameters,
            "parameters": self.parameters,
            "parameters_by_part": self.parameters_by_part(),
        }


def from_mapping(block: object, path: Path = (), name: str = "inline") -> LinearModel:
    """Return the linear model that a block describes.

    Parameters
    ----------
    block : mapping
        Keys of `LinearModel`; ``family`` and ``features`` are required. With ``order`` other than
        ``residual`` there is no bias.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 to DS205; DS206 where ``order`` does not fit the family or the bias.
    """
    keys = {
        **COMMON,
        "family": choice(*_LOSSES),
        "features": count(),
        "outputs": count(),
        "bias": switch,
        "order": choice(*ORDERS),
    }
    required = {"family": "linear_regression", "features": 1024}
    given = read(block, path, keys, required, "a linear model")
    order = given.get("order", "residual")
    if order != "residual":
        _check_order(given, order, path)
        given.setdefault("bias", False)
    return LinearModel(**{"name": name, **given})


def _check_order(given: dict[str, Any], order: str, path: Path) -> None:
    if given["family"] == "linear_regression" and not given.get("bias"):
        return
    what = "bias is true" if given["family"] == "linear_regression" else "the loss is not squared"
    raise WorkloadError(
        "DS206",
        f"order is {order}, and {what}",
        path=(*path, "order"),
        value=order,
        rule="X^T X is for linear_regression without a bias of its own",
        fix="use order: residual, or add a feature of ones in place of the bias",
    )
