"""Verdicts against scipy, closed forms and repetition; what they say; bad input."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headsweep.errors import UserError
from headsweep.stats.bootstrap import event_bootstrap
from headsweep.stats.margins import Comparison
from headsweep.stats.verdict import compare, compare_blocks
from headsweep.stats.welch import Moments, classify, welch

EPS = math.log(1.05)
RATIO = Comparison(EPS)
ARM = np.array([0.091, 0.094, 0.092, 0.095, 0.090])
CONTROL = np.array([0.103, 0.100, 0.101, 0.099, 0.104])

# Apart by more than rounding, else there is no spread to compare with scipy's.
runs = st.lists(st.integers(500, 2000), min_size=2, max_size=8, unique=True).map(
    lambda values: np.array(values) / 1000
)


@settings(max_examples=40, deadline=None)
@given(runs, runs, st.integers(1, 12))
def test_intervals_are_scipys(arm: Any, control: Any, m: int) -> None:
    verdict = compare(arm, control, Comparison(EPS, comparisons=m))
    test = stats.ttest_ind(np.log(arm), np.log(control), equal_var=False)
    assert verdict.delta == pytest.approx(np.log(arm).mean() - np.log(control).mean())
    for (low, high), level in (
        ((verdict.low, verdict.high), 0.95),
        ((verdict.sim_low, verdict.sim_high), 1 - 0.05 / m),
    ):
        assert (low, high) == pytest.approx(test.confidence_interval(level), rel=1e-6, abs=1e-9)
    assert verdict.p_value == pytest.approx(test.pvalue, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(runs, runs, st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_symmetries(arm: Any, control: Any, factor: float, random: Any) -> None:
    verdict = compare(arm, control, RATIO)
    swapped = compare(control, arm, RATIO)
    assert swapped.delta == pytest.approx(-verdict.delta)
    assert (swapped.low, swapped.high) == pytest.approx((-verdict.high, -verdict.low), abs=1e-12)
    other = {"better": "worse", "worse": "better"}
    assert swapped.word == other.get(verdict.word, verdict.word)
    upward = compare(arm, control, Comparison(EPS, better="higher"))
    assert upward.word == swapped.word
    scaled = compare(arm * factor, control * factor, RATIO)
    assert (scaled.low, scaled.high) == pytest.approx((verdict.low, verdict.high), abs=1e-9)
    shuffled = compare(np.array(random.sample(list(arm), len(arm))), control, RATIO)
    assert (shuffled.low, shuffled.high) == pytest.approx((verdict.low, verdict.high), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(runs, runs, st.integers(1, 10), st.integers(1, 10))
def test_more_comparisons_never_narrow(arm: Any, control: Any, m: int, more: int) -> None:
    few, many = (compare(arm, control, Comparison(EPS, comparisons=k)) for k in (m, m + more))
    assert many.sim_low < few.sim_low <= few.low
    assert many.sim_high > few.sim_high >= few.high
    assert (many.low, many.high) == (few.low, few.high)


@pytest.mark.parametrize(("spread", "n"), [((1, 1), 3), ((1, 3), 5), ((1, 3), 8)])
def test_error_rate_of_a_family(spread: tuple[float, float], n: int) -> None:
    """Four arms equal to their control, seeds and events normal: about 5% have a wrong one."""
    rng = np.random.default_rng(n)
    families = 10_000
    control = rng.normal(0, 0.05 * spread[1], (families, 1, n))
    arms = rng.normal(0, 0.05 * spread[0], (families, 4, n))
    arms += rng.normal(0, 0.03, (families, 4, 1))  # the sample of events
    difference = welch(Moments.of(arms), Moments.of(control), 0.03**2)
    low, high = difference.interval(4)
    # Without a margin, the hardest case; 5% + 4 sigma. Satterthwaite's approximation gives way at
    # n = 3 with a small share of events, see ``welch``: 6% there.
    limit = 0.05 if n > 3 else 0.06
    wrong = ((low > 0) | (high < 0)).any(axis=1).mean()
    assert wrong <= limit + 4 * math.sqrt(0.05 * 0.95 / families)
    said = classify(low, high, EPS)
    assert ((said == "better") | (said == "worse")).any(axis=1).mean() <= wrong
    # Arrays and single comparisons are one piece of code, but the scales are taken apart.
    one = compare(np.exp(arms[0, 1]), np.exp(control[0, 0]), Comparison(EPS, comparisons=4))
    alone = welch(Moments.of(arms[0, 1]), Moments.of(control[0, 0])).interval(4)
    assert (one.sim_low, one.sim_high) == pytest.approx(alone)


@pytest.mark.slow
def test_both_layers_cover_the_truth_on_all_events() -> None:
    """Arms share their events; only with V_ev does the interval hold the value on all events."""
    rng = np.random.default_rng(5)
    n, tracks, true = 4, 200, 0.1
    held = {True: 0, False: 0}
    for _ in range(100):
        shared = rng.normal(1, 0.3, tracks)
        own = rng.normal(0, 0.3, tracks)  # the arms do not err on the same tracks
        seeds = rng.normal(0, 0.01, (2, n, 1))
        values = np.stack([shared + own + true, shared])[:, None] + seeds
        replicas = event_bootstrap(
            lambda rows, v=values: v[..., rows].mean(axis=-1), np.arange(tracks), rng, 1000
        ).mean(axis=-1)
        arm, control = values.mean(axis=-1)
        for layer in held:
            events = {"arm_events": replicas[:, 0], "control_events": replicas[:, 1]}
            verdict = compare(arm, control, Comparison(0.1, "plain"), **(events if layer else {}))
            held[layer] += verdict.low <= true <= verdict.high
    assert held[True] >= 88  # 95% of 100, minus 3 sigma
    assert held[False] < 70


def test_the_two_errors_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(0, 0.1, 2000)  # what the resample does to both arms cancels
    verdict = compare(
        ARM,
        CONTROL,
        RATIO,
        arm_events=common + rng.normal(0, 0.01, 2000),
        control_events=common,
    )
    assert verdict.se_events == pytest.approx(0.01, rel=0.1)
    alone = compare(ARM, CONTROL, RATIO)
    assert alone.se_events is None
    assert verdict.se_seeds == alone.se_seeds
    assert verdict.df > alone.df
    assert "for this sample of events only" in alone.text()
    assert "standard error of seeds / events" in verdict.text()


def test_split_seeds_are_scipys_paired_t() -> None:
    rng = np.random.default_rng(3)
    blocks = rng.normal(0, 1, 8)
    arm, control = blocks + rng.normal(0.1, 0.1, 8), blocks
    verdict = compare_blocks(arm, control, Comparison(0.2, "plain"))
    test = stats.ttest_rel(arm, control)
    assert (verdict.low, verdict.high) == pytest.approx(test.confidence_interval(0.95))
    assert verdict.p_value == pytest.approx(test.pvalue)
    assert verdict.unit == "split seeds"
    assert verdict.improvement is None


def test_folds_by_hand() -> None:
    rng = np.random.default_rng(4)
    arm, control = np.exp(rng.normal(0, 0.1, (2, 10)))
    verdict = compare_blocks(arm, control, Comparison(EPS, comparisons=3), folds=5)
    d = np.log(arm) - np.log(control)
    error = math.sqrt((1 / 10 + 1 / 4) * d.var(ddof=1))
    half = stats.t.ppf(1 - 0.05 / 6, 9) * error
    assert (verdict.sim_low, verdict.sim_high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert verdict.df == 9
    assert verdict.needed is not None
    assert "no number of folds" in verdict.text()


def test_words_and_sentences() -> None:
    better = compare(ARM, CONTROL, Comparison(EPS, comparisons=4))
    assert better.word == "better"
    assert better.needed is None
    assert better.improvement is not None
    assert better.improvement.share == 1
    assert better.text().startswith("better: -8.9%, 95% interval -11.7% to -6.0%; over 4 compari")
    same = compare(CONTROL * 1.01, CONTROL, Comparison(math.log(1.2)))
    assert same.word == "equivalent"
    assert not same.real_but_negligible
    tight = 1 + np.linspace(-1e-3, 1e-3, 6)
    negligible = compare(1.01 * tight, tight, RATIO)
    assert negligible.real_but_negligible
    assert negligible.text().startswith("equivalent (real but negligible): +1.0%")
    rates = compare([0.010, 0.012], [0.011, 0.013], Comparison(0.002, "plain"))
    assert rates.text().startswith("undecided: -0.001, 95% interval -0.00708 to +0.00508")
    assert "seeds per arm (" in rates.text()


def test_what_is_needed_does_not_look_at_the_difference() -> None:
    terms = Comparison(0.01, comparisons=50)
    near, far = (compare(c * CONTROL, CONTROL[::2], terms) for c in (1.0, 1.01))
    assert near.word == far.word == "undecided"
    assert near.needed == far.needed


def test_one_seed_and_no_spread_are_undecided() -> None:
    one = compare([0.1], CONTROL, RATIO)
    assert one.word == "undecided"
    assert one.delta == pytest.approx(math.log(0.1) - np.log(CONTROL).mean())
    assert math.isnan(one.low)
    assert one.needed is None
    assert "fewer than two seeds" in one.text()
    for c in (0.1, 0.2):
        still = compare([0.1, 0.1, 0.1], [c, c], RATIO)
        assert still.word == "undecided"
        assert "do not differ" in still.text()
    assert compare([0.1, 0.1, 0.1], CONTROL, RATIO).df == pytest.approx(4)
    assert compare_blocks([0.1], [0.2], RATIO).word == "undecided"
    assert compare_blocks([0.1, 0.2], [0.2, 0.4], RATIO).word == "undecided"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm": [0.1, math.nan]}, r"arm: 1 of 2 values .* \[1\]"),
        ({"control": [0.1, 0.0]}, r"control: 1 of 2 values .* log scale"),
        ({"arm": []}, "arm has shape"),
        ({"arm": [[0.1, 0.2]]}, "arm has shape"),
        ({"arm_events": np.zeros(1000)}, "one is missing"),
        ({"arm_events": np.zeros(1000), "control_events": np.zeros(1001)}, "not one resampling"),
        ({"arm_events": np.zeros(99), "control_events": np.zeros(99)}, "at least 1000"),
        ({"arm_events": np.full(1000, np.nan), "control_events": np.zeros(1000)}, "arm_events: 1"),
    ],
)
def test_bad_input(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compare(**{"arm": ARM, "control": CONTROL, "comparison": RATIO, **change})


def test_bad_blocks() -> None:
    with pytest.raises(ValueError, match="5 and 4 blocks"):
        compare_blocks(ARM, CONTROL[:4], RATIO)
    with pytest.raises(ValueError, match="folds is 1"):
        compare_blocks(ARM, CONTROL, RATIO, folds=1)
    with pytest.raises(UserError, match="control"):
        compare_blocks(ARM, -CONTROL, RATIO)
