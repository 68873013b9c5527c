"""Closed forms of training with failures: expected time, the best interval; all over arrays.

A system of devices fails at random with a mean time M between failures. Work is done in intervals
of tau, each followed by a checkpoint that delays training by delta. After a failure, detection
takes d and restarting R; what was done since the last checkpoint that is on storage is done again.
Failures also come during checkpoints and restarts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.ArrayLike
Floats = npt.NDArray[np.float64]

_NEWTON = 40


def expected_interval_s(
    interval_s: Array,
    checkpoint_s: Array,
    mtbf_s: Array,
    *,
    restart_s: Array = 0.0,
    detect_s: Array = 0.0,
    durable_s: Array = 0.0,
) -> Floats:
    """Return the expected time that an interval of work takes.

    (M + d) e^((R + w) / M) (e^((tau + delta) / M) - 1). With d = w = 0 it is the complete model
    of Daly 2006 (section 3). Detection is a delay for each failure during which nothing else fails;
    a checkpoint that is on storage only w after its interval makes each failure lose what a longer
    restart would.

    Parameters
    ----------
    interval_s : array
        Work between checkpoints, tau.
    checkpoint_s : array
        What a checkpoint delays training, delta.
    mtbf_s : array
        Mean time between failures of the whole system, M; may be infinite.
    restart_s, detect_s, durable_s : array
        R, d and w.
    """
    tau, delta, m, r, d, w = (
        np.asarray(x, dtype=np.float64)
        for x in (interval_s, checkpoint_s, mtbf_s, restart_s, detect_s, durable_s)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        time_s = (m + d) * np.exp((r + w) / m) * np.expm1((tau + delta) / m)
    return np.asarray(np.where(np.isinf(m), tau + delta, time_s), dtype=np.float64)


def young_interval_s(checkpoint_s: Array, mtbf_s: Array) -> Floats:
    """Return sqrt(2 delta M) (Young 1974)."""
    delta, m = np.asarray(checkpoint_s, np.float64), np.asarray(mtbf_s, np.float64)
    return np.asarray(np.sqrt(2.0 * delta * m), dtype=np.float64)


def daly_interval_s(checkpoint_s: Array, mtbf_s: Array) -> Floats:
    """Return the higher-order estimate of the best interval (Daly 2006, equation 37).

    sqrt(2 delta M) (1 + sqrt(delta / 2M) / 3 + (delta / 2M) / 9) - delta for delta < 2M, else M.
    """
    delta, m = np.asarray(checkpoint_s, np.float64), np.asarray(mtbf_s, np.float64)
    half = np.sqrt(delta / (2.0 * m))
    estimate = np.sqrt(2.0 * delta * m) * (1.0 + half / 3.0 + half**2 / 9.0) - delta
    return np.asarray(np.where(delta < 2.0 * m, estimate, m), dtype=np.float64)


def best_interval_s(checkpoint_s: Array, mtbf_s: Array) -> Floats:
    """Return the interval that makes `expected_interval_s` a unit of work least.

    With u = tau / M and D = delta / M the condition is 1 - u = e^(-u - D) (Daly 2006, section 5).
    Its left side less its right is concave and falls, so Newton's iteration from Young's interval,
    which is too long, comes down to the root. Detection, restart and the time until a
    checkpoint is on storage do not matter.
    """
    delta, m = np.broadcast_arrays(
        np.asarray(checkpoint_s, np.float64), np.asarray(mtbf_s, np.float64)
    )
    d = delta / m
    u = np.minimum(1.0, np.sqrt(2.0 * d))
    for _ in range(_NEWTON):
        e = np.expm1(-u - d)
        slope = np.where(e == 0.0, 1.0, e)
        u = np.maximum(u - (-u - e) / slope, 0.0)
    never = np.isinf(m)
    return np.asarray(np.where(never, np.inf, u * np.where(never, 1.0, m)), dtype=np.float64)


def goodput_factor(
    devices: Array,
    *,
    mtbf_device_s: Array,
    checkpoint_s: Array,
    interval_s: Array | None = None,
    restart_s: Array = 300.0,
    detect_s: Array = 120.0,
    durable_s: Array = 0.0,
    least_s: Array = 0.0,
) -> Floats:
    """Return the share of the time that is useful, 0..1: useful work over time; broadcasts.

    With spare nodes enough. A training takes its time without failures and checkpoints over this.

    Parameters
    ----------
    devices : array
        Any of them that fails stops the training.
    mtbf_device_s : array
        Mean time between failures of one device, with its share of the node and network.
    checkpoint_s : array
        What a checkpoint delays training.
    interval_s : array, optional
        Work between checkpoints; the best by default.
    restart_s, detect_s : array
    durable_s : array
        From the end of an interval until its checkpoint is on storage, beyond what it delays.
    least_s : array
        Shortest interval, for the best one: a step, or the time that writing takes.
    """
    mtbf_s = np.asarray(mtbf_device_s, np.float64) / np.asarray(devices, np.float64)
    if interval_s is None:
        interval_s = np.maximum(best_interval_s(checkpoint_s, mtbf_s), least_s)
        # Free checkpoints are taken all the time.
        interval_s = np.maximum(interval_s, np.minimum(1e-6 * mtbf_s, 1.0))
    time_s = expected_interval_s(
        interval_s,
        checkpoint_s,
        mtbf_s,
        restart_s=restart_s,
        detect_s=detect_s,
        durable_s=durable_s,
    )
    with np.errstate(invalid="ignore"):
        factor = np.asarray(interval_s) / time_s
    # Without failures the best is no checkpoint at all.
    return np.asarray(np.where(np.isinf(interval_s), 1.0, factor), dtype=np.float64)
