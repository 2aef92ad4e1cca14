"""Planning against published tables, scipy's own distributions, and repetition."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from headsweep.stats.power import (
    Design,
    Needed,
    SampleSize,
    difference_power,
    equivalence_power,
    events_for,
    seeds_for_difference,
    seeds_for_equivalence,
)
from headsweep.stats.welch import Moments, welch


@pytest.mark.parametrize(("effect", "n"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_cohens_table_of_two_sample_t_tests(effect: float, n: int) -> None:
    assert seeds_for_difference(Design((1.0, 1.0)), effect) == n


def test_cohens_number_of_pairs() -> None:
    assert seeds_for_difference(Design((1.0,)), 0.5) == 34  # one-sample t test, G*Power


@settings(max_examples=30, deadline=None)
@example(1.5, 1.25, 0.0, 1.0, 11)  # where scipy gives no power for 10,000 seeds
@given(
    st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0, 0.05), st.floats(0.5, 2), st.integers(1, 12)
)
def test_the_smallest_n_is_the_smallest(a: float, c: float, events: float, margin: float, m: int):
    design = Design((a**2, c**2), events=events)

    def reaches(n: int, what: str) -> bool:
        error = math.sqrt((a**2 + c**2) / n + events)
        df = error**4 / ((a**4 + c**4) / n**2 / (n - 1))
        t = stats.t.ppf(1 - 0.025 / m, df)
        if what == "difference":
            return bool(stats.nct.sf(t, df, margin / error) >= 0.8)
        return bool(2 * stats.t.cdf(margin / error - t, df) - 1 >= 0.8)

    for what, found in (
        ("difference", seeds_for_difference(design, margin, comparisons=m)),
        ("equivalence", seeds_for_equivalence(design, margin, comparisons=m)),
    ):
        if found is None:
            assert not reaches(10_000, what)
        else:
            assert reaches(found, what)
            assert found == 2 or not reaches(found - 1, what)


def test_repetition_has_the_planned_power() -> None:
    rng = np.random.default_rng(0)
    spread, margin, m = (0.04, 0.06), math.log(1.05), 6
    design = Design((spread[0] ** 2, spread[1] ** 2), events=0.005**2)
    for delta, what, seeds in (
        (-margin, difference_power, seeds_for_difference),
        (0.0, equivalence_power, seeds_for_equivalence),
    ):
        n = seeds(design, margin, comparisons=m)
        assert n is not None
        shift = rng.normal(0, 0.005, (4000, 1))  # one sample of events
        arm = rng.normal(delta, spread[0], (4000, n)) + shift
        control = rng.normal(0, spread[1], (4000, n))
        low, high = welch(Moments.of(arm), Moments.of(control), 0.005**2).interval(m)
        hit = high < 0 if delta else (low > -margin) & (high < margin)
        assert hit.mean() == pytest.approx(what(design, n, margin, m), abs=0.025)  # 4 sigma


def test_events_can_forbid_what_seeds_cannot_mend() -> None:
    margin = math.log(1.05)
    design = Design((0.03**2, 0.03**2), events=0.025**2)
    needed = Needed.of(design, 8, margin, comparisons=6, unit="seeds per arm", n_events=5000)
    none = SampleSize(None, None, None)
    assert needed.difference == needed.equivalence == none
    assert needed.both() == ""
    more = events_for(design, margin, 5000, comparisons=6)
    assert needed.text() == (
        f"no number of seeds settles this; {more:,} scored events instead of 5,000 would"
    )
    enough = Design(design.variances, events=design.events * 5000 / more)
    assert seeds_for_equivalence(enough, margin, comparisons=6) is not None
    assert seeds_for_difference(enough, margin, comparisons=6) is not None


def test_a_narrow_band_allows_a_difference_only() -> None:
    # 1.960 + 0.842 < margin / SE < 1.960 + 1.282
    needed = Needed.of(
        Design((1e-4, 1e-4), events=(1 / 3) ** 2), 8, 1.0, comparisons=1, unit="seeds per arm"
    )
    assert needed.difference.n == 2
    assert needed.equivalence.n is None
    assert "no number of seeds shows equivalence; more scored events would" in needed.text()


def test_the_range_of_a_spread_is_that_of_chi2() -> None:
    low, high = Design((0.04, 0.09)).limits(8)
    for found, share in ((low, 0.9), (high, 0.1)):
        factor = 8 / stats.chi2.ppf(share, 8)
        assert found.variances == pytest.approx((0.04 * factor, 0.09 * factor))
    known = Design((0.04,))
    assert known.limits(math.inf) == (known, known)


def by_scipy(variance: float, margin: float) -> int:
    """Seeds per arm by scipy's noncentral t, of two arms of one variance."""
    return next(
        n
        for n in range(2, 10_000)
        if stats.nct.sf(
            stats.t.ppf(0.975, 2 * n - 2), 2 * n - 2, margin / math.sqrt(2 * variance / n)
        )
        >= 0.8
    )


def test_seeds_are_said_with_their_range() -> None:
    variance, margin, df = 0.035**2, math.log(1.05), 8
    needed = Needed.of(Design((variance,) * 2), df, margin, comparisons=1, unit="seeds per arm")
    found = needed.difference
    factors = (1.0, *(df / stats.chi2.ppf(share, df) for share in (0.9, 0.1)))
    n, low, high = (by_scipy(variance * factor, margin) for factor in factors)
    assert found == SampleSize(n, low, high)
    assert f"a difference of the margin takes {n} seeds per arm ({low} to {high})" in needed.text()
    both = needed.difference.most(needed.equivalence)
    assert needed.both() == both.text()
    assert both.n == max(n, needed.equivalence.n or 0)
    assert SampleSize(3, 2, None).most(SampleSize(1, 1, 9)) == SampleSize(3, 2, None)
    assert SampleSize(3, 2, None).text("folds") == "3 folds (2 to more than 10,000)"


def test_the_range_holds_the_true_number_in_80_percent_of_pilots() -> None:
    margin, n, pilots = math.log(1.05), 5, 400
    true = seeds_for_difference(Design((0.04**2, 0.04**2)), margin)
    assert true is not None
    rng = np.random.default_rng(2)
    held = 0
    for drawn in rng.normal(0, 0.04, (pilots, 2, n)):
        arms = [Moments.of(own) for own in drawn]
        design = Design(tuple(float(own.variance) for own in arms))
        size = SampleSize.of(
            design, float(welch(*arms).df), partial(seeds_for_difference, margin=margin)
        )
        assert size.low is not None
        assert size.high is not None
        held += size.low <= true <= size.high
    # Satterthwaite's df are below 8: the range is a little wide. Four errors of 400 draws are 8%.
    assert 0.78 <= held / pilots <= 0.9


def test_folds_of_one_cross_validation_have_a_floor() -> None:
    folds = Design((1.0,), overlap=1 / 4)
    assert folds.error(10) == pytest.approx((math.sqrt(1 / 10 + 1 / 4), 9))
    assert seeds_for_difference(folds, 1.0) is None
    needed = Needed.of(folds, 9, 1.0, comparisons=1, unit="folds")
    assert needed.text() == "no number of folds settles this; more scored events would"


def test_ends_of_the_range() -> None:
    still = Design((0.0, 0.0))
    assert seeds_for_difference(still, 0.1) == seeds_for_equivalence(still, 0.1) == 2
    assert seeds_for_difference(Design((1e6, 1e6)), 0.1) is None
    needed = Needed.of(Design((1e6, 1e6)), 4, 0.1, comparisons=1, unit="seeds per arm")
    assert "more than 10,000 seeds per arm" in needed.text()
    assert needed.limit == ""
