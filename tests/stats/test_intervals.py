"""Intervals against scipy and the published formula; numbers as words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headsweep.stats.intervals import Estimate, nadeau_bengio, t_interval, wilson


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_t_interval_is_scipys(values: list[float]) -> None:
    estimate = t_interval(np.array(values))
    if len(set(values)) > 1 and np.std(values) > 1e-6:
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert estimate.mean - estimate.half == pytest.approx(interval.low, abs=1e-9)
        assert estimate.mean + estimate.half == pytest.approx(interval.high, abs=1e-9)
    assert estimate.n == len(values)


def test_few_values_have_no_interval() -> None:
    assert t_interval(np.array([0.2])).mean == 0.2
    assert math.isnan(t_interval(np.array([0.2])).half)
    assert math.isnan(t_interval(np.array([])).mean)
    assert math.isnan(nadeau_bengio(np.array([]), math.nan, 5).half)


def test_a_nan_is_never_left_out() -> None:
    estimate = t_interval(np.array([0.1, math.nan, 0.2]))
    assert math.isnan(estimate.mean)
    assert math.isnan(estimate.half)


def test_nadeau_bengio_by_hand() -> None:
    values = np.random.default_rng(0).normal(1, 0.1, 50)  # 10 times 5 folds
    estimate = nadeau_bengio(values, 0.97, folds=5)
    error = math.sqrt((1 / 50 + 1 / 4) * values.var(ddof=1))
    assert estimate.mean == 0.97
    assert estimate.half == pytest.approx(stats.t.ppf(0.975, 49) * error)
    assert estimate.half > t_interval(values).half


@pytest.mark.parametrize(
    ("mean", "half", "factor", "text"),
    [
        (0.14123, 0.00312, 1, "0.1412 ± 0.0031"),
        (0.14123, 0.00312, 100, "14.12 ± 0.31"),
        (23.456, 1.26, 1, "23.5 ± 1.3"),
        (1234.5, 56.7, 1, "1234 ± 57"),
        (98765.0, 1234.0, 1, "98765 ± 1234"),
        (-0.0004, 0.012, 1, "0.000 ± 0.012"),
        (0.14123, math.nan, 1, "0.1412"),
        (0.0, 0.0, 1, "0 ± 0"),
        (math.nan, math.nan, 1, "–"),
    ],
)
def test_numbers_have_matching_digits(mean: float, half: float, factor: float, text: str) -> None:
    assert Estimate(mean, half, 5).text(factor) == text


@pytest.mark.parametrize(("wrong", "n"), [(0, 20), (0, 7), (1, 1), (3, 50), (50, 50), (12, 4000)])
@pytest.mark.parametrize("confidence", [0.68, 0.95])
def test_wilson_as_scipy(wrong: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(wrong, n).proportion_ci(confidence, method="wilson")
    low, high = wilson(wrong, n, confidence)
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)
    assert (low == 0.0, high == 1.0) == (wrong == 0, wrong == n)


def test_wilson_of_nothing() -> None:
    assert all(math.isnan(bound) for bound in wilson(0, 0))
