"""Scores of the normal distribution: its quantiles, and the largest of several scores.

The quantile function is PPND16 of Wichura 1988, "Algorithm AS 241: The percentage points of the
normal distribution", Applied Statistics 37(3), 477-484: three rational approximations with a
relative error of about 1e-16.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Coefficients of AS 241, from the highest power down to the constant; near the median, then for
# tails to exp(-25), then beyond.
_A = (
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
_B = (
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
_C = (
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
_D = (
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
_E = (
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
)
_F = (
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
)


def _ratio(above: tuple[float, ...], below: tuple[float, ...], x: Floats) -> Floats:
    top, bottom = np.full_like(x, above[0]), np.full_like(x, below[0])
    for a, b in zip(above[1:], below[1:], strict=True):
        top *= x
        top += a
        bottom *= x
        bottom += b
    top /= bottom
    return top


def normal_quantile(p: Floats) -> Floats:
    """Return the standard normal quantile of probabilities in (0, 1), any shape."""
    flat = p.reshape(-1)
    out = np.empty_like(flat)
    q = flat - 0.5
    inner = np.abs(q) <= 0.425
    middle = q[inner]
    out[inner] = middle * _ratio(_A, _B, 0.180625 - middle * middle)
    outer = flat[~inner]
    r = np.sqrt(-np.log(np.minimum(outer, 1.0 - outer)))
    size = _ratio(_C, _D, r - 1.6)
    far = r > 5.0
    size[far] = _ratio(_E, _F, r[far] - 5.0)
    out[~inner] = np.copysign(size, q[~inner])
    return out.reshape(p.shape)


def largest_scores(
    generator: np.random.Generator, of: npt.NDArray[np.int64], shape: tuple[int, ...]
) -> Floats:
    """Draw the largest of several independent standard normal scores.

    The largest of k has the distribution function F^k, so it is F^-1(U^(1/k)) for a uniform U
    (David and Nagaraja 2003, "Order Statistics", section 2.1). -log U is drawn in place of U, so
    that the upper tail keeps its precision for large k.

    Parameters
    ----------
    of : int64, broadcasts to `shape`
        How many scores, k >= 1.
    """
    above = -np.expm1(-generator.standard_exponential(shape) / of)
    return -normal_quantile(np.clip(above, 1e-300, 1.0 - 1e-16))
