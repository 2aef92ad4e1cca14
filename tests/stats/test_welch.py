"""Welch's t, the reading of intervals and the probability of improvement, against scipy."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from headsweep.errors import UserError
from headsweep.stats.welch import Moments, classify, improvement, on_scale, welch


def test_many_comparisons_at_once_are_scipys() -> None:
    rng = np.random.default_rng(0)
    arm, control = rng.normal(0, 1, (50, 4)), rng.normal(0.3, 3, (50, 9))
    difference = welch(Moments.of(arm), Moments.of(control))
    test = stats.ttest_ind(arm, control, axis=1, equal_var=False)
    np.testing.assert_allclose(difference.df, test.df)
    np.testing.assert_allclose(difference.p_value(), test.pvalue)
    for m in (1, 6):
        interval = test.confidence_interval(1 - 0.05 / m)
        np.testing.assert_allclose(difference.interval(m), (interval.low, interval.high))


def test_events_widen_by_quadrature_at_infinite_degrees_of_freedom() -> None:
    arm, control = Moments(0.1, 0.04, 5), Moments(0.0, 0.09, 10)
    seeds, both = welch(arm, control), welch(arm, control, 0.01)
    assert both.error**2 == pytest.approx(0.04 / 5 + 0.09 / 10 + 0.01)
    df = (0.008 + 0.009 + 0.01) ** 2 / (0.008**2 / 4 + 0.009**2 / 9)
    assert both.df == pytest.approx(df)
    assert both.df > seeds.df
    alone = welch(Moments(0.1, 0.0, 5), Moments(0.0, 0.0, 5), 0.01)
    assert alone.df == math.inf
    assert alone.interval() == pytest.approx((0.1 - 0.196, 0.1 + 0.196), abs=1e-4)


def test_no_spread_and_one_seed() -> None:
    equal = Moments.of(np.full((2, 3), 0.1))
    assert (equal.variance == 0).all()
    assert (welch(equal, equal).error == 0).all()
    one = welch(Moments.of(np.array([0.1])), Moments.of(np.array([0.2, 0.3])))
    assert math.isnan(one.interval()[0])
    assert math.isnan(one.p_value())
    assert classify(*one.interval(), 0.1) == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher"),
    [
        (-0.04, 0.04, "equivalent", "equivalent"),
        (0.01, 0.04, "equivalent", "equivalent"),
        (-0.04, -0.01, "equivalent", "equivalent"),
        (0.01, 0.06, "worse", "better"),
        (-0.2, -0.1, "better", "worse"),
        (-0.04, 0.06, "undecided", "undecided"),
        (-0.06, 0.04, "undecided", "undecided"),
        (-9.0, 9.0, "undecided", "undecided"),
        (-0.05, 0.0, "undecided", "undecided"),
        (0.01, 0.01, "undecided", "undecided"),
        (math.nan, math.nan, "undecided", "undecided"),
    ],
)
def test_the_order_of_decisions(low: float, high: float, lower: str, higher: str) -> None:
    assert classify(low, high, 0.05) == lower
    assert classify(low, high, 0.05, "higher") == higher


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 20), st.integers(10, 20), st.integers(0, 10**6))
@example(10, 10, 202792)  # the share is 1/2
def test_improvement_is_brunner_and_munzels(n_arm: int, n_control: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arm, control = rng.integers(0, 12, n_arm) * 1.0, rng.integers(1, 14, n_control) * 1.0
    found = improvement(arm, control)
    test = stats.brunnermunzel(arm, control)
    u = stats.mannwhitneyu(control, arm).statistic  # pairs in which the control is higher
    assert found.share == pytest.approx(u / n_arm / n_control)
    swapped = improvement(control, arm)
    assert swapped.share == pytest.approx(1 - found.share)
    assert improvement(control, arm, "higher").share == pytest.approx(found.share)
    if found.low is not None and found.high is not None and 0 < found.low < found.high < 1:
        assert (found.low > 0.5 or found.high < 0.5) == (test.pvalue < 0.05)
        df = stats.ttest_ind(
            np.array([np.mean((control > x) + (control == x) / 2) for x in arm]),
            np.array([np.mean((arm < y) + (arm == y) / 2) for y in control]),
            equal_var=False,
        ).df
        if abs(test.statistic) > 1e-6:
            error = (found.share - 0.5) / test.statistic
            quantile = (found.high - found.share) / error
            assert quantile == pytest.approx(stats.t.ppf(0.975, df))


def test_few_seeds_or_none_in_doubt_have_no_interval_of_improvement() -> None:
    rng = np.random.default_rng(1)
    assert improvement(rng.normal(size=9), rng.normal(size=30)).low is None
    apart = improvement(np.arange(10.0), np.arange(10.0) + 20)
    assert (apart.share, apart.low) == (1.0, None)
    assert improvement(np.array([1.0, 2.0]), np.array([2.0, 3.0])).share == 0.875


def test_bad_values_are_named() -> None:
    assert on_scale([1.0, math.e], "log").tolist() == [0, 1]
    assert on_scale([-1.0, 0.0], "plain").tolist() == [-1, 0]
    for values, scale, words in (
        ([1.0, math.nan], "plain", r"arm: 1 of 2 .* plain scale; the first is nan at \[1\]"),
        ([1.0, 2.0, 0.0, -1.0], "log", r"arm: 2 of 4 .* log scale; the first is 0.0 at \[2\]"),
        ([math.inf], "log", r"the first is inf at \[0\]"),
    ):
        with pytest.raises(UserError, match=words):
            on_scale(values, scale, "arm")
