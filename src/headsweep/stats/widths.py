"""Widths, median and shares of a distribution of residuals, over the last axis of an array."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.stats.quantiles import quantile

CENTRAL = 0.6827
"""The share of a normal distribution within one standard deviation."""


def abs68(residual: NDArray[np.float64]) -> Any:
    """0.6827 quantile of the absolute residual, over the last axis."""
    return quantile(np.abs(residual), CENTRAL) if residual.shape[-1] else math.nan


def core(residual: NDArray[np.float64]) -> Any:
    """Half the width of the central 68.27% of the residual; blind to its median."""
    if not residual.shape[-1]:
        return math.nan
    low, high = (quantile(residual, 0.5 + side * CENTRAL / 2) for side in (-1, 1))
    return (high - low) / 2


def rms(residual: NDArray[np.float64]) -> Any:
    """Root mean square about zero, over the last axis."""
    return np.sqrt(np.mean(residual**2, axis=-1)) if residual.shape[-1] else math.nan


def median(values: NDArray[np.float64]) -> Any:
    """Median over the last axis, NaN of nothing."""
    return np.median(values, axis=-1) if values.shape[-1] else math.nan


def share(mask: NDArray[Any]) -> Any:
    """Share of true entries over the last axis, NaN of nothing."""
    return np.mean(mask, axis=-1) if mask.shape[-1] else math.nan


def iterative_rms(residual: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviation after cutting at mean +- 3 deviations until nothing more is cut.

    Returns:
        The deviation after at most 100 rounds, and the share of values that was cut.
    """
    kept = residual
    for _ in range(100):
        if not len(kept):
            return math.nan, math.nan
        inside = kept[np.abs(kept - kept.mean()) <= 3 * kept.std()]
        if len(inside) == len(kept):
            break
        kept = inside
    return float(kept.std()), 1 - len(kept) / len(residual)
