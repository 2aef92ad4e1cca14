"""The analytic estimates against exact helices, toy stations, the simulation and Acts muons."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.errors import UserError
from headsweep.events.base import Events, ragged_rows
from headsweep.events.spectrometer import Spectrometer
from headsweep.features import analytic
from headsweep.features.analytic import (
    FEWEST_TRACKS,
    Estimator,
    Measured,
    circle,
    measure,
    sagitta,
)
from headsweep.features.bending import TrackHits
from helpers.acts import ACTS, NEEDS_ACTS, parquet_source

XYZ = ("x", "y", "z")
TESLA = 2.0


def true_hits(events: Events) -> tuple[TrackHits, np.ndarray]:
    """The true hits of every track, and its truth."""
    of_event = np.repeat(np.arange(len(events)), np.diff(events.hit_offsets))
    track = events.track_offsets[of_event] + events.hit_track
    rows = np.flatnonzero(events.hit_track >= 0)
    rows = rows[np.argsort(track[rows], kind="stable")]
    counts = np.bincount(track[rows], minlength=len(events.tracks))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return TrackHits(events.hits[rows], events.features, offsets), events.tracks


def pick(track_hits: TrackHits, tracks: np.ndarray) -> TrackHits:
    rows, offsets = ragged_rows(track_hits.offsets, np.asarray(tracks))
    return TrackHits(track_hits.hits[rows], track_hits.features, offsets)


def relative(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """q/pt relative to the truth, minus one, of the usable tracks."""
    kappa = estimate[:, 3] / estimate[:, 2] * truth[:, 2] / truth[:, 3] - 1
    return kappa[np.isfinite(kappa)]


def core(values: np.ndarray) -> float:
    return np.diff(np.quantile(values, [0.15865, 0.84135]))[0] / 2


def helices(
    eta: np.ndarray, phi: np.ndarray, pt: np.ndarray, q: np.ndarray, n_hits: int = 8
) -> TrackHits:
    """Exact hits of helices from the origin in a field along +z, where q > 0 turns right."""
    radius = pt / (0.299792458 * TESLA)
    arc = np.linspace(0.05, 1.0, n_hits)[None] * np.minimum(radius, 1)[:, None]
    turned = -q[:, None] * arc / radius[:, None]
    angle = phi[:, None] + turned / 2
    chord = 2 * radius[:, None] * np.sin(arc / radius[:, None] / 2)
    x, y, z = chord * np.cos(angle), chord * np.sin(angle), arc * np.sinh(eta)[:, None]
    hits = np.stack([x, y, z], 2).reshape(-1, 3).astype(np.float32)
    return TrackHits(hits, XYZ, np.arange(len(eta) + 1) * n_hits)


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return (
        rng.uniform(-2.5, 2.5, n),
        rng.uniform(-np.pi, np.pi, n),
        np.exp(rng.uniform(np.log(0.5), np.log(20), n)),
        rng.choice([-1.0, 1.0], n),
    )


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_circle_is_exact_on_helices(seed: int) -> None:
    eta, phi, pt, q = draw(20, np.random.default_rng(seed))
    measured = circle(helices(eta, phi, pt, q))
    np.testing.assert_allclose(measured.eta, eta, atol=1e-4)
    np.testing.assert_allclose(np.cos(measured.phi - phi), 1, atol=1e-8)
    np.testing.assert_allclose(measured.bend, q * 0.299792458 * TESLA / pt, rtol=1e-3, atol=1e-5)


def test_xy_estimate_learns_the_field() -> None:
    rng = np.random.default_rng(0)
    truth = np.stack(draw(2 * FEWEST_TRACKS, rng), 1)
    track_hits = helices(*truth.T)
    train, rest = np.arange(FEWEST_TRACKS), np.arange(FEWEST_TRACKS, 2 * FEWEST_TRACKS)
    estimator = Estimator("xy").fit(
        circle(pick(track_hits, train)), truth[train].astype(np.float32)
    )
    np.testing.assert_allclose(
        estimator.predict(circle(pick(track_hits, rest))), truth[rest], rtol=1e-3, atol=1e-3
    )


def test_unusable_tracks_are_rows_of_nan() -> None:
    rng = np.random.default_rng(1)
    truth = np.stack(draw(FEWEST_TRACKS + 4, rng), 1).astype(np.float32)
    full = helices(*truth.T)
    estimator = Estimator("xy").fit(circle(full), truth)
    counts = np.array([0, 1, 2, 3])
    hits = np.concatenate([full.hits[8 * t : 8 * t + n] for t, n in enumerate(counts)])
    short = TrackHits(hits, XYZ, np.concatenate([[0], np.cumsum(counts)]))
    estimate = estimator.predict(circle(short))
    assert np.isnan(estimate[:3]).all()
    assert np.isfinite(estimate[3]).all()
    nothing = TrackHits(np.empty((0, 3), np.float32), XYZ, np.zeros(1, np.int64))
    assert estimator.predict(circle(nothing)).shape == (0, 4)


def test_too_few_training_tracks_leave_every_track_unusable() -> None:
    truth = np.stack(draw(FEWEST_TRACKS - 1, np.random.default_rng(2)), 1).astype(np.float32)
    track_hits = helices(*truth.T)
    measured = circle(track_hits)
    assert np.isnan(Estimator("xy").fit(measured, truth).predict(measured)).all()
    with pytest.raises(UserError, match="'technology'"):
        sagitta(track_hits)
    assert measure("rz", track_hits) is None
    assert Measured.joined([measured, None]) is None
    twice = Measured.joined([measured, measured])
    assert twice is not None
    np.testing.assert_array_equal(twice.stations, np.tile(measured.stations, (2, 1)))


def test_of_many_tracks_every_nth_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.stack(draw(3 * FEWEST_TRACKS, np.random.default_rng(3)), 1).astype(np.float32)
    measured = circle(helices(*truth.T))
    monkeypatch.setattr(analytic, "MOST_TRACKS", FEWEST_TRACKS)
    own = Estimator("xy").fit(measured, truth).predict(measured)
    third = circle(helices(*truth[::3].T))
    want = Estimator("xy").fit(third, truth[::3]).predict(measured)
    np.testing.assert_array_equal(own, want)


@pytest.mark.parametrize("direction", [-0.9, -0.2, 0.5])
@pytest.mark.parametrize("radius", [-50.0, 30.0, 400.0])
def test_sagitta_of_an_arc_is_its_curvature(direction: float, radius: float) -> None:
    """Tubes with exact drift radii on an arc in (r, z) that turns right for a positive radius."""
    path = np.concatenate([at + np.linspace(-0.15, 0.15, 5) for at in (5.0, 7.5, 10.0)])
    angle = direction - path / radius / 2
    chord = 2 * radius * np.sin(path / radius / 2)
    r, z = chord * np.cos(angle), chord * np.sin(angle)
    normal = direction - path / radius + np.pi / 2
    drift = 0.014 * np.random.default_rng(0).uniform(-1, 1, len(path))
    rows = np.stack(
        [r + drift * np.cos(normal), 0 * r, z + drift * np.sin(normal), 1e3 * np.abs(drift)], 1
    )
    rows = np.column_stack([rows, np.zeros(15), np.repeat([0.1, 0.2, 0.3], 5)])
    trigger = [r[7] * np.cos(0.7), r[7] * np.sin(0.7), z[7], 0, 2, 0.2]
    hits = np.vstack([rows, trigger]).astype(np.float32)
    features = (*XYZ, "driftR", "technology", "stationIndex")
    measured = sagitta(TrackHits(hits, features, np.array([0, 16])))
    np.testing.assert_allclose(measured.bend, 1 / radius, rtol=0.02)
    np.testing.assert_allclose(measured.eta, np.arcsinh(z[2] / r[2]), atol=1e-3)
    np.testing.assert_allclose(measured.phi, 0.7, atol=1e-6)
    np.testing.assert_allclose(measured.stations, [[0.1, 0.2, 0.3]], atol=1e-6)
    without = sagitta(TrackHits(hits[:15], features, np.array([0, 15])))
    assert np.isnan(without.phi).all()


@pytest.fixture(scope="module")
def spectrometer(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrackHits, np.ndarray]:
    events = Spectrometer(events=2500, seed=11).load(tmp_path_factory.mktemp("runs"))
    return true_hits(events)


@pytest.mark.slow
def test_classical_reference_of_the_simulation(spectrometer: tuple[TrackHits, np.ndarray]) -> None:
    track_hits, truth = spectrometer
    cut = int(0.7 * len(truth))
    rest = np.arange(cut, len(truth))
    estimator = Estimator("rz").fit(sagitta(pick(track_hits, np.arange(cut))), truth[:cut])
    estimate = estimator.predict(sagitta(pick(track_hits, rest)))
    truth = truth[rest]
    quoted = (truth[:, 2] >= 5) & (truth[:, 2] < 200)
    assert np.isfinite(estimate[quoted]).all(1).mean() > 0.85
    rho = relative(estimate[quoted], truth[quoted])
    assert core(rho) < 0.04
    assert abs(np.median(rho)) < 0.005
    assert (rho < -1).mean() < 0.01
    usable = quoted & np.isfinite(estimate).all(1)
    assert np.quantile(np.abs(estimate - truth)[usable, 0], 0.6827) < 0.012
    turned = np.angle(np.exp(1j * (estimate - truth)[usable, 1]))
    assert np.quantile(np.abs(turned), 0.6827) < 0.008


def test_a_track_does_not_depend_on_its_neighbours(
    spectrometer: tuple[TrackHits, np.ndarray],
) -> None:
    track_hits, truth = spectrometer
    estimator = Estimator("rz").fit(sagitta(track_hits), truth)
    some = np.random.default_rng(0).permutation(len(truth))[:300]
    np.testing.assert_allclose(
        estimator.predict(sagitta(pick(track_hits, some))),
        estimator.predict(sagitta(track_hits))[some],
        rtol=1e-4,
    )


@NEEDS_ACTS
def test_circle_reference_of_acts_muons() -> None:
    track_hits, truth = true_hits(parquet_source(ACTS).load(ACTS))
    half = np.arange(len(truth)) % 2 == 0
    estimator = Estimator("xy").fit(circle(pick(track_hits, np.flatnonzero(half))), truth[half])
    estimate = estimator.predict(circle(pick(track_hits, np.flatnonzero(~half))))
    assert np.isfinite(estimate).all()
    assert core(relative(estimate, truth[~half])) < 0.02
    assert (estimate[:, 3] == truth[~half, 3]).all()
