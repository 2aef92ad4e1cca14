"""Metrics of training curves: one pure function each, see ``CURVE_METRICS``.

A validation curve is ``steps`` [N], ascending, whose first entry is 0 (before the first step) and
whose last is all steps, and ``losses`` [N]. Loss curves are never compared across targets.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.stats.metric import Metric
from headsweep.stats.metrics import LAST_LOSSES, SCORED_LOSSES
from headsweep.stats.tracks import Array

RUNNING_STEPS = 101
"""Window of the running median over training steps, centred, shorter at both ends."""

SPIKE_MADS = 6 * 1.4826
"""Height of a spike in median absolute deviations: 6 sigma of a normal distribution."""

SPIKE_MERGE = 10
"""Spikes at most so many steps apart are one."""


def gap(loss: float, loss_train: float) -> float:
    """Loss on the scored split over that on train: last step, eval mode, equally many tracks."""
    return loss / loss_train if loss_train > 0 else math.nan


def steps_to(level: float, steps: NDArray[np.int64], losses: Array) -> float:
    """First step, interpolated, with a loss at or below a level, as a share of all steps.

    ``steps_to_control`` with the loss at which the control ended. Infinite where it never is.
    """
    below = np.flatnonzero(losses <= level)
    if not len(below):
        return math.inf
    i = int(below[0])
    if i == 0:
        return 0.0
    fraction = (losses[i - 1] - level) / (losses[i - 1] - losses[i])
    return float(steps[i - 1] + fraction * (steps[i] - steps[i - 1])) / float(steps[-1])


def steps_to_95(steps: NDArray[np.int64], losses: Array) -> float:
    """First step with L <= L0 - 0.95 (L0 - L_end), as a share of all steps.

    NaN where the last loss is not below the first: nothing was learnt.
    """
    if len(steps) < 2 or not losses[-1] < losses[0]:
        return math.nan
    return steps_to(losses[0] - 0.95 * (losses[0] - losses[-1]), steps, losses)


def loss_at_10pct(steps: NDArray[np.int64], losses: Array) -> float:
    """Validation loss after 10% of all steps, interpolated."""
    return float(np.interp(0.1 * steps[-1], steps, losses)) if len(steps) else math.nan


def _over_running_median(values: Array) -> Array:
    """Log of the values over their running median, [S]; NaN where a value is not positive."""
    positive = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    running = pd.Series(positive).rolling(RUNNING_STEPS, center=True, min_periods=1).median()
    ratio: Array = positive / running.to_numpy()
    return np.log(ratio)


def grad_norm_cv(norms: Array) -> float:
    """Deviation of ln(norm / running median) over the last 80% of the steps.

    Args:
        norms: Gradient norm before clipping at each step, [S].

    Returns:
        The standard deviation; NaN of nothing or where a norm is zero, NaN or infinite.
    """
    late = _over_running_median(norms)[len(norms) // 5 :]
    return float(np.std(late)) if len(late) else math.nan


def loss_spikes(losses: Array) -> float:
    """Spikes of the training loss per 1,000 steps; compare by permutation over seeds.

    A spike is a step where ln loss exceeds its running median by 6 x 1.4826 times the median
    absolute deviation from it; spikes at most ten steps apart are one.

    Args:
        losses: Training loss of each step, [S].

    Returns:
        Spikes per 1,000 steps; NaN of nothing or where a loss is not positive and finite.
    """
    excess = _over_running_median(losses)
    if not len(excess) or np.isnan(excess).any():
        return math.nan
    high = np.flatnonzero(excess > SPIKE_MADS * np.median(np.abs(excess)))
    spikes = min(len(high), 1) + int(np.sum(np.diff(high) > SPIKE_MERGE))
    return 1000 * spikes / len(excess)


CURVE_METRICS = {
    entry.name: entry
    for entry in (
        Metric("gap", gap, "one"),
        Metric("steps_to_95", steps_to_95, "lower", "%"),
        Metric("loss_at_10pct", loss_at_10pct, "lower"),
        Metric("grad_norm_cv", grad_norm_cv, "lower"),
        Metric("loss_spikes", loss_spikes, "lower", "1/1000 steps", "plain"),
    )
}
"""Every metric of a training's curves, by name."""

TRAINING_METRICS = (
    "train_loss",
    "last_val_loss",
    "steps_to_95",
    "loss_at_10pct",
    "grad_norm_cv",
    "loss_spikes",
)
"""Metrics that a training stores in its ``result.json``."""

TARGET_LOSSES = (
    *SCORED_LOSSES.values(),
    *LAST_LOSSES.values(),
    *("train_loss", "last_val_loss", "loss_at_10pct"),
)
"""Metrics on the scale of a target, and so never compared across targets."""
