"""The bootstrap over events: whole events, one resample for all, known variances."""

import numpy as np
import pytest

from headsweep.stats.bootstrap import event_bootstrap, event_resamples, joint_resamples


def test_resamples_draw_whole_events() -> None:
    event = np.array([9, 4, 9, 4, 4, 2])
    seen = set()
    for rows in event_resamples(event, 200, np.random.default_rng(0)):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2]
        assert counts[1] == counts[3] == counts[4]
        assert counts[0] + counts[1] + counts[5] == 3
        seen.add(tuple(counts))
    assert len(seen) == 10  # all multisets of three out of three events


def test_variance_of_a_mean_over_events() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 400)
    event = np.arange(400)
    replicas = event_bootstrap(lambda rows: values[rows].mean(), event, rng, 4000)
    assert replicas.shape == (4000,)
    # A variance from 4,000 draws has a relative error of 2.2%.
    assert replicas.var(ddof=1) == pytest.approx(values.var() / 400, rel=0.1)


def test_two_equal_tracks_of_an_event_are_one_observation() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(0, 1, 200), 2)
    event = np.repeat(np.arange(200), 2)
    alone, together = (
        event_bootstrap(lambda rows: values[rows].mean(), of, np.random.default_rng(3), 2000).var()
        for of in (np.arange(400), event)
    )
    assert together == pytest.approx(2 * alone, rel=0.2)


def test_all_arms_see_the_same_resample() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, (3, 5, 100))  # arms, seeds, tracks
    values[1] = values[0] + 0.5
    event = rng.integers(0, 40, 100)
    replicas = event_bootstrap(lambda rows: values[..., rows].mean(axis=-1), event, rng, 50)
    assert replicas.shape == (50, 3, 5)
    np.testing.assert_allclose(replicas[:, 1] - replicas[:, 0], 0.5)
    assert (replicas[:, 2] - replicas[:, 0]).std() > 0.01


def test_the_generator_decides() -> None:
    values = np.arange(30.0)
    draws = [
        event_bootstrap(lambda rows: np.median(values[rows]), np.arange(30) // 2, rng, 20)
        for rng in (np.random.default_rng(s) for s in (1, 1, 2))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_sets_of_tracks_see_the_same_draws_of_their_events() -> None:
    """Event 3 has no track in the first set, and event 0 none in the second."""
    first, second = np.array([0, 1, 1, 2]), np.array([1, 2, 3])
    rng = np.random.default_rng(4)
    for ours, theirs in joint_resamples([first, second], 50, rng):
        for number in (1, 2):
            assert np.sum(first[ours] == number) == (1 + (number == 1)) * np.sum(
                second[theirs] == number
            )
        drawn = np.sum(first[ours] == 0) + np.sum(np.isin(second[theirs], (1, 2, 3)))
        assert drawn == 4
