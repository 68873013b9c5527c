"""Scaling laws: tokens for a model, the model for a budget of FLOP, and the loss.

A budget is C = 6 N D (Kaplan 2020, section 2.1): N parameters trained on D tokens. Everything takes
numbers or arrays. The laws were fitted on dense decoders; of a mixture of experts the parameters
that a token uses are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.ArrayLike
Floats = npt.NDArray[np.float64]

#: FLOP of training for each parameter and token (Kaplan 2020, table 1 and section 2.1).
FLOP_PER_PARAMETER_AND_TOKEN = 6.0
#: FLOP of a petaflop/s-day.
PF_DAY = 1e15 * 86400.0


class Law(Protocol):
    """How parameters, tokens and FLOP belong together."""

    @property
    def source(self) -> str:
        """Paper, with its equation or table."""

    @property
    def without_embeddings(self) -> bool:
        """Whether embeddings do not count as parameters."""

    def model_for(self, flop: Array) -> Floats:
        """Return the parameters to train with so many FLOP."""

    def flop_for(self, parameters: Array) -> Floats:
        """Return the FLOP of which so many parameters are the best use."""

    def loss(self, parameters: Array, tokens: Array) -> Floats | None:
        """Return the predicted loss, nats a token; None where the law has none."""


def tokens_for(law: Law, parameters: Array) -> Floats:
    """Return the tokens to train so many parameters on."""
    n = np.asarray(parameters, dtype=np.float64)
    return np.asarray(law.flop_for(n) / (FLOP_PER_PARAMETER_AND_TOKEN * n), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """N = k C^a.

    Attributes
    ----------
    factor, exponent : float
    source : str
    without_embeddings : bool
    """

    factor: float
    exponent: float
    source: str
    without_embeddings: bool = False

    def model_for(self, flop: Array) -> Floats:
        """See `Law`."""
        return self.factor * np.asarray(flop, dtype=np.float64) ** self.exponent

    def flop_for(self, parameters: Array) -> Floats:
        """See `Law`."""
        n = np.asarray(parameters, dtype=np.float64)
        return np.asarray((n / self.factor) ** (1.0 / self.exponent), dtype=np.float64)

    def loss(self, parameters: Array, tokens: Array) -> None:
        """See `Law`."""
        return None


@dataclass(frozen=True, slots=True)
class Parametric:
    """L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann 2022, equation 2), least for C = 6 N D.

    N = G (C / 6)^a and D = (C / 6)^b / G with G = (alpha A / (beta B))^(1 / (alpha + beta)),
    a = beta / (alpha + beta), b = 1 - a (equation 4).
    """

    e: float
    a: float
    b: float
    alpha: float
    beta: float
    source: str
    without_embeddings: bool = False

    @property
    def exponent(self) -> float:
        """Exponent of the best number of parameters over FLOP."""
        return self.beta / (self.alpha + self.beta)

    @property
    def ratio(self) -> float:
        """G of equation 4."""
        return float((self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta)))

    def model_for(self, flop: Array) -> Floats:
        """See `Law`."""
        sixth = np.asarray(flop, dtype=np.float64) / FLOP_PER_PARAMETER_AND_TOKEN
        return np.asarray(self.ratio * sixth**self.exponent, dtype=np.float64)

    def flop_for(self, parameters: Array) -> Floats:
        """See `Law`."""
        n = np.asarray(parameters, dtype=np.float64)
        sixth = (n / self.ratio) ** (1.0 / self.exponent)
        return np.asarray(FLOP_PER_PARAMETER_AND_TOKEN * sixth, dtype=np.float64)

    def loss(self, parameters: Array, tokens: Array) -> Floats:
        """See `Law`."""
        n, d = (np.asarray(x, dtype=np.float64) for x in (parameters, tokens))
        return np.asarray(self.e + self.a / n**self.alpha + self.b / d**self.beta, np.float64)


@dataclass(frozen=True, slots=True)
class Kaplan:
    """Kaplan 2020: N = Ne Cmin^p in petaflop/s-days, and L(N, D).

    L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D (equation 1.5 with the constants of
    equations 1.1 and 1.2); Ne = 1.3e9 and p = 0.73 (table 6). Cmin is what training takes far below
    the critical batch size. Embeddings do not count.
    """

    source: str = "Kaplan et al. 2020, arXiv 2001.08361, equations 1.1, 1.2, 1.5 and table 6"
    without_embeddings: bool = True
    parameters_at_pf_day: float = 1.3e9
    exponent: float = 0.73
    n_c: float = 8.8e13
    d_c: float = 5.4e13
    alpha_n: float = 0.076
    alpha_d: float = 0.095

    def model_for(self, flop: Array) -> Floats:
        """See `Law`."""
        days = np.asarray(flop, dtype=np.float64) / PF_DAY
        return np.asarray(self.parameters_at_pf_day * days**self.exponent, dtype=np.float64)

    def flop_for(self, parameters: Array) -> Floats:
        """See `Law`."""
        n = np.asarray(parameters, dtype=np.float64)
        days = (n / self.parameters_at_pf_day) ** (1.0 / self.exponent)
        return np.asarray(PF_DAY * days, dtype=np.float64)

    def loss(self, parameters: Array, tokens: Array) -> Floats:
        """See `Law`."""
        n, d = (np.asarray(x, dtype=np.float64) for x in (parameters, tokens))
        inner = (self.n_c / n) ** (self.alpha_n / self.alpha_d) + self.d_c / d
        return np.asarray(inner**self.alpha_d, dtype=np.float64)


_HOFFMANN = "Hoffmann et al. 2022, arXiv 2203.15556"
#: Laws by name, the one to rely on first.
LAWS: Mapping[str, Law] = MappingProxyType(
    {
        # Exponents of table 2; the factor is the geometric mean over the rows of tables 3 and A3.
        "chinchilla-1": PowerLaw(
            0.0893, 0.50, f"{_HOFFMANN}, approach 1: table 2, factor from table 3"
        ),
        "chinchilla-2": PowerLaw(
            0.1444, 0.49, f"{_HOFFMANN}, approach 2: table 2, factor from table A3"
        ),
        # The constants printed in the paper are rounded so far that table A3 does not follow from
        # them; these are those of its TeX source, as Besiroglu 2024 quotes them.
        "chinchilla-3": Parametric(
            1.69337368,
            406.401018,
            410.722827,
            0.33917084,
            0.2849083,
            f"{_HOFFMANN}, approach 3: equation 10, unrounded as in arXiv 2404.10102",
        ),
        "epoch-2024": Parametric(
            1.8172,
            482.01,
            2085.43,
            0.3478,
            0.3658,
            "Besiroglu et al. 2024, arXiv 2404.10102: approach 3 fitted again",
        ),
        "kaplan-2020": Kaplan(),
    }
)
