"""Intervals of a mean, over seeds or the folds of a repeated cross-validation, and of a rate."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from headsweep.stats.tracks import Array

CONFIDENCE = 0.95

ROUNDING = 1e-12
"""An interval narrower than this share of its mean is what rounding leaves of equal values."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval, mean +- half.

    Attributes:
        mean: The value; NaN of nothing.
        half: Half the width of the 95% interval; NaN where fewer than two values give one.
        n: Values behind the interval.
    """

    mean: float
    half: float
    n: int

    def text(self, factor: float = 1.0) -> str:
        """Both numbers times a factor, to the second digit of the half-width: 0.1412 ± 0.0031."""
        mean, half = self.mean * factor, self.half * factor
        if math.isnan(mean):
            return "–"
        if math.isnan(half):
            return f"{mean:.4g}"
        if half <= ROUNDING * abs(mean):
            return f"{mean:.4g} ± 0"
        decimals = max(0, 1 - math.floor(math.log10(half)))
        return f"{mean:z.{decimals}f} ± {half:.{decimals}f}"


def t_interval(values: Array) -> Estimate:
    """Student's t interval of the mean of n seeds.

    Args:
        values: One for each seed, [n]. NaN stays NaN: a seed is never left out.
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    return Estimate(float(values.mean()), _half(values, 1 / n), n)


def nadeau_bengio(values: Array, mean: float, folds: int) -> Estimate:
    """Interval of a repeated k-fold cross-validation, whose training sets overlap.

    SE^2 = (1/J + 1/(k - 1)) s^2, Student's t with J - 1 degrees of freedom (Nadeau and Bengio,
    Machine Learning 52 (2003) 239). 1/(k - 1) is the ratio of test to training size where all of
    the other folds train. A validation share v is held back from them here, the true ratio is
    1/((k - 1) (1 - v)), and the interval is a little too narrow; the formula is kept as published.

    Args:
        values: One for each (fold, split seed), [J], whose spread is s.
        mean: The value itself, from the pooled out-of-fold predictions.
        folds: k, at least 2.
    """
    return Estimate(mean, _half(values, 1 / max(len(values), 1) + 1 / (folds - 1)), len(values))


def _half(values: Array, variance_factor: float) -> float:
    n = len(values)
    if n < 2:
        return math.nan
    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    return quantile * math.sqrt(variance_factor) * float(np.std(values, ddof=1))


def wilson(wrong: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval for one run's rate ``wrong / n``; NaN where n = 0.

    Written out, as scipy.stats takes a second to load (Wilson, J. Am. Stat. Assoc. 22 (1927) 209).
    Seeds that share their tracks are no independent draws: never use it across seeds.
    """
    if n == 0:
        return math.nan, math.nan
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    middle = (wrong + z2 / 2) / (n + z2)
    half = math.sqrt(z2) / (n + z2) * math.sqrt(wrong * (n - wrong) / n + z2 / 4)
    return 0.0 if wrong == 0 else middle - half, 1.0 if wrong == n else middle + half
