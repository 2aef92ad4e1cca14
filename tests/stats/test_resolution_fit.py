"""The resolution fit, on samples whose resolution is known."""

import numpy as np
import pytest

from headsweep.stats.resolution_fit import LOG_BINS, fit_resolution
from headsweep.stats.tracks import Tracks

TRUE = (0.3, 0.03, 4e-4)


def resolution_curve(pt: np.ndarray, r: tuple[float, float, float]) -> np.ndarray:
    return np.sqrt((r[0] / pt) ** 2 + r[1] ** 2 + (r[2] * pt) ** 2)


def make_tracks(n: int, r: tuple[float, float, float], seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(5), np.log(200), n))
    truth = np.stack([np.zeros(n), np.zeros(n), pt, np.ones(n)], axis=1)
    estimate = truth.copy()
    estimate[:, 2] = pt / (1 + resolution_curve(pt, r) * rng.normal(size=n))
    return Tracks.from_estimate(np.arange(n) // 2, truth, estimate)


def test_fit_finds_the_generated_resolution() -> None:
    fit = fit_resolution(make_tracks(40_000, TRUE), 5, 200, np.random.default_rng(1))
    assert fit.r is not None
    assert fit.errors is not None
    for value, error, true in zip(fit.r, fit.errors, TRUE, strict=True):
        assert abs(value - true) < 3 * error < 0.6 * true
    assert (fit.bins, fit.ndf) == (LOG_BINS, LOG_BINS - 3)
    assert fit.chi2 < 25
    assert "chi2/ndf" in str(fit)


def test_bootstrap_errors_match_the_spread_over_samples() -> None:
    fits = [
        fit_resolution(make_tracks(3000, TRUE, seed), 5, 200, np.random.default_rng(seed), 50)
        for seed in range(12)
    ]
    r = np.array([fit.r for fit in fits])
    errors = np.array([fit.errors for fit in fits])
    assert np.median(errors[:, 1]) == pytest.approx(r[:, 1].std(ddof=1), rel=0.8)


def test_a_coefficient_is_never_negative() -> None:
    fit = fit_resolution(make_tracks(5000, (0.0, 0.05, 0.0)), 5, 200, np.random.default_rng(1), 20)
    assert fit.r is not None
    assert min(fit.r) >= 0
    assert fit.r[1] == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("r", [(0.0, 0.5, 0.0), (0.0, 0.0, 0.0)])
def test_not_fitted_where_bins_are_too_bad_or_perfect(r: tuple[float, float, float]) -> None:
    fit = fit_resolution(make_tracks(5000, r), 5, 200, np.random.default_rng(1))
    assert fit.r is None
    assert str(fit) == "not fitted (0 of 12 log bins usable, 8 needed)"


def test_not_fitted_on_few_events() -> None:
    few = make_tracks(100, TRUE)
    copies = few.take(np.tile(np.arange(100), 50))  # copies of a track add no event
    assert fit_resolution(copies, 5, 200, np.random.default_rng(1)).r is None
    empty = few.take(np.zeros(100, dtype=bool))
    assert fit_resolution(empty, 5, 200, np.random.default_rng(1)).bins == 0


def test_the_generator_decides() -> None:
    tracks = make_tracks(3000, TRUE)
    fits = [fit_resolution(tracks, 5, 200, np.random.default_rng(s), 20) for s in (1, 1, 2)]
    assert fits[0] == fits[1] != fits[2]
