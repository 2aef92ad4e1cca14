"""Tests of two arms without normal values: their spread over seeds, and rates of loss spikes."""

import math

import numpy as np

from headsweep.stats.margins import SPREAD, Comparison
from headsweep.stats.power import ALPHA, Design, Needed
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Evidence, Verdict, checked, decide
from headsweep.stats.welch import NEEDS_TEN, Difference, Moments

SPREAD_RESAMPLES = 10_000
"""Bootstrap resamples of seeds, and permutations."""


def compare_spread(
    arm: Array,
    control: Array,
    rng: np.random.Generator,
    comparison: Comparison = SPREAD,
    resamples: int = SPREAD_RESAMPLES,
) -> Verdict:
    """Compare the standard deviations over seeds of a metric's logs; Delta is the log of the ratio.

    The interval is a percentile bootstrap over seeds. The p-value beside it is that of Brown and
    Forsythe (JASA 69 (1974) 364) by permutation of the distances to each arm's median, so that a
    difference of the means does not matter. What it would take is said for normal approximation,
    the bootstrap's standard error falling as 1 / sqrt(n).

    Args:
        arm: A positive metric of each seed, [n_A]; fewer than 10 give no interval.
        control: The same for the control, [n_B].
        rng: Drives bootstrap and permutation.
        comparison: The terms, on the log scale.
        resamples: Bootstrap resamples, and permutations.

    Raises:
        UserError: A value is not finite or not positive.
        ValueError: Another argument cannot be.
    """
    values = checked(arm, control, comparison.scale)
    n_arm, n_control = len(values[0]), len(values[1])
    ratios, p_value, reason = np.full(1, math.nan), math.nan, ""
    delta = _log_ratio(*(_deviation(v) for v in values)).item()
    if min(n_arm, n_control) < NEEDS_TEN:
        reason = f"no verdict: the interval of a spread takes {NEEDS_TEN} seeds per arm"
    elif not math.isfinite(delta):
        reason = "no verdict: the seeds of an arm do not differ"
    else:
        drawn = [v[rng.integers(len(v), size=(resamples, len(v)))] for v in values]
        ratios = _log_ratio(*(_deviation(v) for v in drawn))
        p_value = _brown_forsythe(*values, rng, resamples)
    margin, m = comparison.margin, comparison.comparisons
    difference = Difference(delta, float(ratios.std()), math.inf)
    intervals = (_percentiles(ratios, ALPHA), _percentiles(ratios, comparison.alpha / m))
    variance = difference.error**2 / (1 / n_arm + 1 / n_control)
    design = Design((variance, variance))
    return decide(
        comparison,
        Evidence("Brown-Forsythe", difference, *intervals, p_value),
        counts=(n_arm, n_control),
        se_seeds=difference.error,
        needed=lambda: Needed.of(
            design,
            math.inf,
            margin,
            comparisons=m,
            unit="seeds per arm",
            level=comparison.next_alpha,
        ),
        reason=reason,
    )


def _percentiles(values: Array, alpha: float) -> tuple[float, float]:
    """Ends of the central 1 - alpha of the values."""
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _deviation(values: Array) -> Array:
    deviation: Array = np.sqrt(Moments.of(values).variance)
    return deviation


def _log_ratio(arm: Array, control: Array) -> Array:
    """NaN or infinite where a deviation is 0 or missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(arm) - np.log(control))


def _brown_forsythe(arm: Array, control: Array, rng: np.random.Generator, resamples: int) -> float:
    """P-value of equal spread.

    With the total fixed, F rises with the squared difference of the mean distances alone.
    """
    arm, control = (np.abs(v - np.median(v)) for v in (arm, control))
    return permutation_p(arm, control, rng, resamples)


def permutation_p(
    arm: Array, control: Array, rng: np.random.Generator, resamples: int = 10_000
) -> float:
    """Two-sided p-value of equal means, by permutation; for what is not normal, such as spikes.

    Args:
        arm: A value of each seed, [n_A].
        control: The same for the control, [n_B].
        rng: Drives the permutations.
        resamples: How many.

    Returns:
        At least 1 / (1 + resamples); NaN where an arm has fewer than two seeds or a value is NaN.
    """
    values, n = np.concatenate([arm, control]), len(arm)
    if min(n, len(control)) < 2 or np.isnan(values).any():
        return math.nan
    drawn = rng.permuted(np.tile(values, (resamples, 1)), axis=1)
    found, other = (
        np.abs(v[..., :n].mean(axis=-1) - v[..., n:].mean(axis=-1)) for v in (values, drawn)
    )
    # scipy.stats.permutation_test would do the same, but scipy.stats takes a second to load.
    # Ties count; the tolerance keeps the same values in another order tied.
    found -= 1e-9 * np.abs(values).max()
    return float((1 + np.sum(other >= found)) / (1 + resamples))
