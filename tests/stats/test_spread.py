"""The ratio of spreads against scipy's test and repetition."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from headsweep.errors import UserError
from headsweep.stats.margins import SPREAD
from headsweep.stats.spread import compare_spread, permutation_p

TERMS = replace(SPREAD, comparisons=6)


def runs(spread: float, n: int, rng: np.random.Generator, mean: float = 0.0) -> np.ndarray:
    return np.exp(rng.normal(mean, spread, n))


def test_the_ratio_and_its_p_value_are_scipys() -> None:
    rng = np.random.default_rng(0)
    arm, control = runs(0.03, 50, rng), runs(0.045, 50, rng, mean=1.0)
    verdict = compare_spread(arm, control, np.random.default_rng(1))
    assert verdict.delta == pytest.approx(
        math.log(np.log(arm).std(ddof=1) / np.log(control).std(ddof=1))
    )
    p_value = stats.levene(np.log(arm), np.log(control), center="median").pvalue
    assert verdict.p_value == pytest.approx(p_value, rel=0.3, abs=0.005)
    assert verdict.low < verdict.delta < verdict.high
    # Of normal values the log of a deviation has the error 1 / sqrt(2 (n - 1)).
    assert verdict.se_seeds == pytest.approx(math.sqrt(2 / 98), rel=0.3)


def test_words() -> None:
    rng = np.random.default_rng(2)
    calmer = compare_spread(runs(0.01, 50, rng), runs(0.04, 50, rng), rng, TERMS)
    assert calmer.word == "better"
    wilder = compare_spread(runs(0.04, 50, rng), runs(0.01, 50, rng), rng, TERMS)
    assert wilder.word == "worse"
    same = compare_spread(runs(0.04, 400, rng), runs(0.04, 400, rng), rng, TERMS)
    assert same.word == "equivalent"
    doubt = compare_spread(runs(0.04, 20, rng), runs(0.035, 20, rng), rng, TERMS)
    assert doubt.word == "undecided"
    assert doubt.needed is not None
    assert doubt.needed.difference.n is not None
    # 2 (z(1 - 0.05/12) + z(0.8))^2 / (2 ln(1.5)^2) for normal values, and no look at the ratio
    assert doubt.needed.difference.n == pytest.approx(74, rel=0.5)
    assert "Brown-Forsythe p = " in doubt.text()


def test_coverage_and_error_rate() -> None:
    rng = np.random.default_rng(3)
    held, found = [], []
    for _ in range(200):
        verdict = compare_spread(runs(1, 50, rng), runs(1, 50, rng, 2.0), rng, resamples=400)
        held.append(verdict.low <= 0 <= verdict.high)
        found.append(verdict.p_value)
    assert 0.88 <= np.mean(held) <= 0.99  # 95% in the limit, a little less at n = 50
    assert np.mean(np.array(found) < 0.05) <= 0.1


def test_too_little_to_judge_by() -> None:
    rng = np.random.default_rng(4)
    few = compare_spread(runs(1, 9, rng), runs(1, 50, rng), rng)
    assert few.word == "undecided"
    assert math.isfinite(few.delta)
    assert math.isnan(few.low)
    assert "takes 10 seeds" in few.text()
    still = compare_spread(np.full(12, 0.1), runs(1, 12, rng), rng)
    assert still.word == "undecided"
    assert "do not differ" in still.text()
    assert compare_spread(np.array([0.1]), runs(1, 12, rng), rng).word == "undecided"
    with pytest.raises(UserError, match="arm: 1 of 3"):
        compare_spread(np.array([1.0, 2.0, -1.0]), runs(1, 12, rng), rng)


def test_the_generator_decides() -> None:
    rng = np.random.default_rng(5)
    arm, control = runs(1, 20, rng), runs(1, 20, rng)
    first, again, other = (
        compare_spread(arm, control, np.random.default_rng(s), resamples=500) for s in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.p_value) != (other.low, other.p_value)


@pytest.mark.parametrize("shift", [0, 1])
def test_spikes_are_compared_as_by_scipy(shift: int) -> None:
    rng = np.random.default_rng(6)
    arm, control = (rng.poisson(rate, 12).astype(float) for rate in (1 + shift, 1))
    found = stats.permutation_test(
        (arm, control), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=20_000, rng=rng
    )
    assert permutation_p(arm, control, rng) == pytest.approx(found.pvalue, abs=0.02)


def test_nothing_to_permute() -> None:
    rng = np.random.default_rng(7)
    assert math.isnan(permutation_p(np.array([1.0]), np.ones(5), rng))
    assert math.isnan(permutation_p(np.array([1.0, math.nan]), np.ones(5), rng))
    assert permutation_p(np.zeros(4), np.zeros(5), rng) == 1.0


def test_equal_means_but_for_rounding() -> None:
    rng = np.random.default_rng(8)
    assert permutation_p(np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1]), rng) == 1.0
    rates = 1000 * np.array([[1, 2, 1, 1, 2], [0, 0, 2, 4, 1]]) / 3000
    assert permutation_p(rates[0], rates[1], rng) == 1.0
