"""Whether an arm's seeds scatter less than those of its control, and its losses spike less."""

import math

import numpy as np

from headsweep.stats.power import ALPHA, Design, Needed
from headsweep.stats.verdict import MARGINS, Verdict, checked, decide
from headsweep.stats.welch import NEEDS_TEN, Array, Difference, Moments


def compare_spread(
    arm: Array,
    control: Array,
    rng: np.random.Generator,
    *,
    margin: float = MARGINS["sd_ratio"].value,
    comparisons: int = 1,
    resamples: int = 10_000,
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
        margin: eps of the log ratio.
        comparisons: m, comparisons times primary metrics.
        resamples: Bootstrap resamples, and permutations.

    Raises:
        UserError: A value is not finite or not positive.
        ValueError: Another argument cannot be.
    """
    values = checked(arm, control, "log", margin, comparisons)
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
    tails = [ALPHA / m / 2 for m in (1, comparisons)]
    intervals = [tuple(np.quantile(ratios, [tail, 1 - tail])) for tail in tails]
    error = float(ratios.std())
    variance = error**2 / (1 / n_arm + 1 / n_control)
    return decide(
        Difference(delta, error, math.inf),
        (intervals[0], intervals[1]),
        margin,
        test="Brown-Forsythe",
        p_value=p_value,
        plan=lambda: Needed.of(
            Design((variance, variance)),
            math.inf,
            margin,
            comparisons=comparisons,
            unit="seeds per arm",
        ),
        se_seeds=error,
        scale="log",
        better="lower",
        comparisons=comparisons,
        counts=(n_arm, n_control),
        unit="seeds",
        reason=reason,
    )


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
    # Ties count; the tolerance keeps the same values in another order tied.
    found -= 1e-9 * np.abs(values).max()
    return float((1 + np.sum(other >= found)) / (1 + resamples))
