"""The resolution fit, on samples whose resolution is known."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from headsweep.stats.bootstrap import event_resamples
from headsweep.stats.resolution_fit import LOG_BINS, fit_resolution
from headsweep.stats.tracks import Tracks
from headsweep.stats.widths import abs68

TRUE = (0.3, 0.03, 4e-4)


def resolution_curve(pt: np.ndarray, r: tuple[float, float, float]) -> np.ndarray:
    return np.sqrt((r[0] / pt) ** 2 + r[1] ** 2 + (r[2] * pt) ** 2)


def make_tracks(n: int, r: tuple[float, float, float], seed: int = 0, slope: float = 0.0) -> Tracks:
    """Tracks of this resolution, times 1 +- slope in turn of the bins, which no fit describes."""
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(np.log(5), np.log(200), n))
    truth = np.stack([np.zeros(n), np.zeros(n), pt, np.ones(n)], axis=1)
    estimate = truth.copy()
    bin_ = np.digitize(pt, np.geomspace(5, 200, LOG_BINS + 1))
    curve = resolution_curve(pt, r) * (1 + slope * (-1.0) ** bin_)
    estimate[:, 2] = pt / (1 + curve * rng.normal(size=n))
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


def bins_of(tracks: Tracks, seed: int, resamples: int) -> tuple[np.ndarray, ...]:
    """Mean pT, squared r68 and its bootstrap error in each bin."""
    bin_ = np.digitize(tracks.pt_true, np.geomspace(5, 200, LOG_BINS + 1)) - 1
    rho = np.abs(tracks.rho)

    def squares(rows: np.ndarray) -> np.ndarray:
        return np.array([abs68(rho[rows][bin_[rows] == b]) ** 2 for b in range(LOG_BINS)])

    rng = np.random.default_rng(seed)
    drawn = [squares(rows) for rows in event_resamples(tracks.event, resamples, rng)]
    pt = [np.exp(np.log(tracks.pt_true[bin_ == b]).mean()) for b in range(LOG_BINS)]
    return np.array(pt), squares(np.arange(len(rho))), np.std(drawn, axis=0, ddof=1)


@pytest.mark.parametrize(("slope", "seed"), [(0.0, 1), (0.035, 1), (0.035, 2)])
def test_the_fit_is_that_of_scipy_and_its_errors_are_scaled_alike(slope: float, seed: int) -> None:
    """Curve_fit without absolute errors multiplies them by sqrt(chi2/ndf), too."""
    tracks = make_tracks(12_000, TRUE, seed, slope)
    found = fit_resolution(tracks, 5, 200, np.random.default_rng(3), 200)
    pt, squares, sigma = bins_of(tracks, 3, 200)

    def model(pt: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a / pt**2 + b + c * pt**2

    start = np.array(TRUE) ** 2
    values, covariance = curve_fit(model, pt, squares, p0=start, sigma=sigma)
    assert found.r is not None
    assert found.errors is not None
    assert np.array(found.r) ** 2 == pytest.approx(values, rel=1e-3)
    chi2 = np.sum(((squares - model(pt, *values)) / sigma) ** 2)
    assert found.chi2 == pytest.approx(chi2, rel=1e-3)
    assert found.scale == pytest.approx(max(1.0, np.sqrt(chi2 / 9)), rel=1e-3)
    assert (found.scale > 1.2) == (slope > 0)
    assert ("errors times" in str(found)) == (found.scale > 1)
    if found.scale > 1:  # of r: half of that of r^2, over r
        errors = np.sqrt(np.diag(covariance)) / 2 / np.array(found.r)
        assert np.array(found.errors) == pytest.approx(errors, rel=0.35)


def test_a_fit_that_does_not_describe_the_bins_gives_no_values() -> None:
    fit = fit_resolution(make_tracks(40_000, TRUE, 0, 0.2), 5, 200, np.random.default_rng(1))
    assert fit.r is None
    assert fit.scale > 2
    assert str(fit) == f"fit does not describe the bins (chi2/ndf = {fit.chi2:.1f}/9)"


def test_a_coefficient_at_its_bound_has_an_upper_limit() -> None:
    """In half of the samples r2 of 0 comes out at its bound; the limit nearly always holds."""
    fits = [
        fit_resolution(
            make_tracks(3000, (0.3, 0.03, r2), seed), 5, 200, np.random.default_rng(0), 50
        )
        for r2 in (0.0, 5e-5)
        for seed in range(12)
    ]
    limited = [(5e-5 if at >= 12 else 0.0, fit) for at, fit in enumerate(fits) if fit.limits[2]]
    assert 4 <= sum(true == 0 for true, _ in limited) <= 10
    for true, fit in limited:
        assert fit.limits[2] is not None
        assert true < fit.limits[2] < 2e-4
        assert f"r2 < {fit.limits[2]:.2g} /GeV (95%)" in str(fit)
        assert "r2 = " not in str(fit)


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
