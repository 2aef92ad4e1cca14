"""Verdicts with failed seeds, against brute force, scipy and the figures of a simulation."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from headsweep.stats.failures import allowing_for_failures, completions, outer, rate_limit
from headsweep.stats.margins import Better, Comparison
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict, compare
from headsweep.stats.welch import Moments, classify, welch

TERMS = Comparison(math.log(1.05))


def whole(
    seen: Sequence[Array], failed: Sequence[Array], terms: Comparison = TERMS
) -> tuple[Verdict, Verdict]:
    """The verdict on what is left, and the one that allows for failures."""
    found = compare(seen[0], seen[1], terms)
    cases = completions(seen, failed, (1.0, -1.0), terms.better)
    return found, allowing_for_failures(found, *(compare(a, b, terms) for a, b in cases))


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_no_values_of_the_failed_seeds_give_a_smaller_or_larger_difference(better: Better) -> None:
    rng = np.random.default_rng(0)
    seen = [rng.uniform(0.1, 0.2, 3), rng.uniform(0.1, 0.2, 4)]
    blind = 0.9 if better == "lower" else 0.02
    failed = [np.array([blind, 0.15]), np.array([blind])]
    ends = (min(map(min, seen)), max(map(max, seen)))
    # The second failed seed: without information it would be no worse than what is seen.
    free, bounded = np.linspace(min(blind, ends[0]), max(blind, ends[1]), 7), np.linspace(*ends, 7)
    differences = [
        np.mean([*seen[0], a, b]) - np.mean([*seen[1], c])
        for a, b, c in itertools.product(free, bounded, free)
    ]
    smallest, largest = completions(seen, failed, (1.0, -1.0), better)
    assert smallest[0].mean() - smallest[1].mean() == pytest.approx(min(differences))
    assert largest[0].mean() - largest[1].mean() == pytest.approx(max(differences))
    for case in (smallest, largest):
        assert [len(cell) for cell in case] == [5, 5]
        np.testing.assert_array_equal(case[0][:3], seen[0])


def test_cells_of_a_contrast_go_to_the_ends_by_the_signs_of_their_weights() -> None:
    seen, failed = [np.array([0.1, 0.2])] * 4, [np.array([1.0])] * 4
    smallest, largest = completions(seen, failed, (0.5, -0.5, 0.5, -0.5))
    assert [cell[-1] for cell in smallest] == [0.1, 1.0, 0.1, 1.0]
    assert [cell[-1] for cell in largest] == [1.0, 0.1, 1.0, 0.1]


def test_a_standing_word_survives_every_value_of_the_failed_seeds() -> None:
    """Brute force: no values on a grid give the opposite word, or a mean on the other side."""
    rng, stood = np.random.default_rng(1), {"better": 0, "worse": 0, "equivalent": 0}
    for _ in range(70):
        spread, shift = rng.choice([0.002, 0.02]), rng.choice([-0.4, -0.1, 0.0, 0.1, 0.4])
        seen = [
            0.1 * np.exp(spread * rng.normal(size=rng.integers(3, 9)) + own) for own in (shift, 0.0)
        ]
        bound = float(rng.choice([0.11, 0.3]))
        failed = [np.full(rng.integers(0, 2), bound), np.full(rng.integers(0, 2), bound)]
        found, after = whole(seen, failed)
        if after.word != found.word or after.word == "undecided":
            continue
        stood[after.word] += 1
        low = min(map(min, seen))
        high = max(bound, *map(max, seen))
        grid = np.exp(np.linspace(np.log(low), np.log(high), 9))
        for values in itertools.product(grid, repeat=sum(map(len, failed))):
            arm, control = np.split(np.array(values), [len(failed[0])])
            full = compare(np.append(seen[0], arm), np.append(seen[1], control), TERMS)
            if after.word == "equivalent":
                assert abs(full.delta) < TERMS.margin
            else:
                assert (full.delta < 0) == (after.word == "better")
                assert full.word not in {"better", "worse"} - {after.word}
    assert min(stood.values()) >= 2


def test_failures_take_an_end_of_the_interval_only_where_they_speak_against_the_claim() -> None:
    arm, control = np.array([0.150, 0.152, 0.149, 0.151]), np.array([0.1, 0.101, 0.099, 0.1, 0.102])
    found, after = whole([arm, control], [np.array([1.0]), np.array([])])
    assert (found.word, after.word) == ("worse", "worse")
    filled = np.log([*arm, 0.099])
    expected = stats.ttest_ind(filled, np.log(control), equal_var=False).confidence_interval()
    assert after.sim_low == pytest.approx(expected.low)
    # Two more at the level of the control, and it is no longer shown to be worse.
    _, lost = whole([arm[:3], control], [np.array([1.0, 1.0]), np.array([])])
    assert lost.word == "undecided"


def test_false_words_where_the_worst_seeds_are_lost() -> None:
    """Null pairs of normal seeds, sd 6%; what is left errs in 11% (2 of 5) and in 52% (8 of 20)."""
    rng, draws = np.random.default_rng(0), 4000
    for n, lost, published in ((5, 2, 0.11), (20, 8, 0.52)):
        arm, control = np.sort(0.06 * rng.normal(size=(2, draws, n)), axis=-1)
        seen = [arm[:, : n - lost], control]
        # Nothing is known of a head without information: the worst seed seen is the only bound.
        failed = [np.full(lost, seen[0].min()), np.array([])]
        cases = [seen, *completions(seen, failed, (1.0, -1.0))]
        intervals = [welch(*map(Moments.of, cells)).interval() for cells in cases]
        words = classify(*intervals[0], TERMS.margin)
        after = classify(*outer(*intervals), TERMS.margin)
        assert np.mean(words == "better") == pytest.approx(published, abs=0.02)
        assert np.mean((words == after) & (after == "better")) <= 0.05
        assert np.mean((words == after) & (after == "worse")) <= 0.05


@pytest.mark.parametrize(("failed", "n"), [(0, 5), (0, 3), (1, 5), (3, 20), (5, 5), (0, 1)])
def test_the_limit_of_the_rate_of_failures_is_that_of_scipy(failed: int, n: int) -> None:
    exact = stats.binomtest(failed, n, alternative="less").proportion_ci(0.95, method="exact")
    assert rate_limit(failed, n) == pytest.approx(exact.high)


def test_five_seeds_without_a_failure_leave_up_to_45_percent() -> None:
    assert rate_limit(0, 5) == pytest.approx(1 - 0.05**0.2)
    assert f"{rate_limit(0, 5):.0%}" == "45%"
    assert math.isnan(rate_limit(0, 0))
