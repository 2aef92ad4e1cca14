"""Widths of residuals against the normal distribution, and over the last axis of an array."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.stats.widths import abs68, core, iterative_rms, rms

NORMAL = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
"""Exact quantiles of a normal distribution."""


@pytest.mark.parametrize("width", [abs68, core, rms])
def test_of_normal_residuals_every_width_is_the_deviation(width: Callable[..., Any]) -> None:
    assert width(0.2 * NORMAL) == pytest.approx(0.2, rel=1e-3)
    values = np.random.default_rng(0).normal(size=(3, 4, 50))
    expected = [[width(row) for row in rows] for rows in values]
    np.testing.assert_array_equal(width(values), expected)
    assert math.isnan(width(np.zeros(0)))


def test_only_the_core_is_blind_to_a_shift() -> None:
    shifted = 0.2 * NORMAL + 1.0
    assert core(shifted) == pytest.approx(0.2, rel=1e-3)
    assert abs68(shifted) == pytest.approx(stats.foldnorm.ppf(0.6827, 5, scale=0.2), rel=1e-3)
    assert rms(shifted) == pytest.approx(math.hypot(0.2, 1.0), rel=1e-3)


def test_the_iterative_rms_cuts_outliers_and_counts_them() -> None:
    width, cut = iterative_rms(np.append(np.linspace(-1, 1, 99), 1000.0))
    assert width == pytest.approx(np.linspace(-1, 1, 99).std())
    assert cut == pytest.approx(0.01)
    assert all(map(math.isnan, iterative_rms(np.zeros(0))))
