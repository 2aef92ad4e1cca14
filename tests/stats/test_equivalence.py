"""Two one-sided tests against those of scipy, and how often each answer is wrong."""

import numpy as np
import pytest
from scipy import stats

from headsweep.stats.equivalence import two_one_sided

MARGIN = np.log(1.02)


def answers(delta: float, n: int = 5, spread: float = 0.035, times: int = 1000) -> dict[str, float]:
    """Share of each answer over draws of two samples whose means differ by delta."""
    rng = np.random.default_rng(0)
    after, before = rng.normal(delta, spread, (times, n)), rng.normal(0, spread, (times, n))
    found = [two_one_sided(a, b, MARGIN).extent for a, b in zip(after, before, strict=True)]
    return {word: found.count(word) / times for word in ("within", "beyond", "open")}


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.06, -0.06])
def test_each_answer_is_that_of_one_sided_tests(shift: float) -> None:
    rng = np.random.default_rng(1)
    after, before = rng.normal(shift, 0.02, 20), rng.normal(0, 0.01, 12)
    found = two_one_sided(after, before, MARGIN)

    def p(bound: float, side: str) -> float:
        test = stats.ttest_ind(after, before + bound, equal_var=False, alternative=side)
        return float(test.pvalue)

    assert (found.extent == "within") == (max(p(-MARGIN, "greater"), p(MARGIN, "less")) < 0.05)
    assert (found.extent == "beyond") == (min(p(MARGIN, "greater"), p(-MARGIN, "less")) < 0.05)
    assert (found.needed is None) == (found.extent != "open")
    assert found.n == (20, 12)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_without_a_change_hardly_any_is_beyond(n: int) -> None:
    """The point estimate alone, as it was read once, is beyond 2% in a third of such cases."""
    assert answers(0.0, n)["beyond"] <= 0.05


@pytest.mark.parametrize("sign", [-1, 1])
def test_at_the_margin_both_answers_are_wrong_in_5_percent(sign: int) -> None:
    found = answers(sign * MARGIN, n=20, spread=0.01)
    assert found["within"] == pytest.approx(0.05, abs=0.028)
    assert found["beyond"] == pytest.approx(0.05, abs=0.028)


def test_with_enough_seeds_the_answer_is_found() -> None:
    assert answers(0.0, n=80)["within"] > 0.8
    assert answers(0.08, n=10)["beyond"] > 0.8


def test_the_seeds_that_it_names_show_it_in_80_percent() -> None:
    unit = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    sample = 0.035 * unit / unit.std(ddof=1)
    needed = two_one_sided(sample, sample, MARGIN).needed
    assert needed is not None
    assert needed.n is not None
    assert needed.low is not None
    assert needed.high is not None
    assert needed.low < needed.n < needed.high
    assert answers(0.0, needed.n)["within"] == pytest.approx(0.8, abs=0.05)


def test_one_seed_and_equal_seeds_tell_nothing() -> None:
    for after, before in (([0.1], [0.0, 0.1]), ([0.1, 0.1], [0.0, 0.0])):
        found = two_one_sided(np.array(after), np.array(before), MARGIN)
        assert (found.extent, found.needed) == ("open", None)
        assert np.isnan(found.low)
