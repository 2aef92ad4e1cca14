"""Residuals against closed forms, SVD lines and a brute-force tangent."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult, least_squares

from headsweep.errors import UserError
from headsweep.features.bending import (
    SCALE,
    TrackHits,
    bending_features,
    bending_hits,
    hit_residuals,
    line_distance,
    segments,
)

TUBES = ("x", "y", "z", "driftR", "technology", "stationIndex")
LAYERS = (-0.152, -0.126, -0.100, 0.100, 0.126, 0.152)
STATIONS = (5.0, 7.5, 10.0)
PITCH = 0.03


def svd_distance(points: np.ndarray) -> np.ndarray:
    """Independent line fit: main axis by SVD, left of the outward direction positive."""
    centre = points.mean(0)
    axis = np.linalg.svd(points - centre)[2][0]
    axis *= 1 if axis @ centre >= 0 else -1
    return (points - centre) @ np.array([-axis[1], axis[0]])


def tubes(
    along: Callable[[float], float], rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Tube rows in the barrel for a track z = along(r), with exact drift radii."""
    rows, touch = [], []
    for station, at in enumerate(STATIONS):
        for layer, depth in enumerate(LAYERS):
            r = at + depth
            offset = PITCH / 2 * (layer % 2)
            wire = np.round((along(r) - offset) / PITCH) * PITCH + offset
            slope = (along(r + 1e-4) - along(r - 1e-4)) / 2e-4
            side = (along(r) - wire) / np.hypot(1, slope)
            phi = rng.uniform(-np.pi, np.pi) if rng else 0.0
            rows.append([r * np.cos(phi), r * np.sin(phi), wire, 1e3 * abs(side), 0, station])
            touch.append([r - side * slope / np.hypot(1, slope), wire + side / np.hypot(1, slope)])
    return np.array(rows), np.array(touch)


def select(*tracks: np.ndarray, features: tuple[str, ...] = TUBES) -> TrackHits:
    offsets = np.cumsum([0, *(len(t) for t in tracks)])
    hits = np.concatenate([np.reshape(t, (-1, len(features))) for t in tracks])
    return TrackHits(hits.astype(np.float32), features, offsets)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_line_distance_is_that_of_an_svd_line_per_track(sizes: list[int], seed: int) -> None:
    points = np.random.default_rng(seed).normal(3, 1, (sum(sizes), 2))
    track = np.repeat(np.arange(len(sizes)), sizes)
    distance = line_distance(*points.T, track, len(sizes))
    for t, size in enumerate(sizes):
        if size:
            expected = svd_distance(points[track == t])
            np.testing.assert_allclose(distance[track == t], expected, atol=1e-9)


@given(st.floats(0, 2 * np.pi), st.sampled_from([-1, 1]), st.floats(2.0, 200.0))
@settings(max_examples=50, deadline=None)
def test_xy_residuals_of_an_arc_carry_the_sense_of_rotation(
    direction: float, turn: int, radius: float
) -> None:
    """Symmetric arc of a large circle: the middle hit lies 2/3 of the sagitta off the line."""
    lengths = np.array([0.2, 0.6, 1.0])
    angle = lengths / radius
    x, y = radius * np.sin(angle), turn * radius * (1 - np.cos(angle))
    cos, sin = np.cos(direction), np.sin(direction)
    hits = np.stack([cos * x - sin * y, sin * x + cos * y, lengths], 1)
    distance = hit_residuals("xy", select(hits, features=("x", "y", "z")))
    sagitta = radius * (1 - np.cos(0.4 / radius))
    np.testing.assert_allclose(
        distance, -turn * sagitta * np.array([-1, 2, -1]) / 3, rtol=2e-2, atol=2e-7
    )


def test_xy_feature_replaces_t_alone() -> None:
    rng = np.random.default_rng(0)
    track_hits = select(rng.normal(1, 1, (5, 5)), features=("x", "t", "y", "z", "w"))
    hits = bending_hits("xy", track_hits)
    expected = np.arcsinh(svd_distance(track_hits.hits[:, [0, 2]].astype(float)) / SCALE["xy"])
    np.testing.assert_allclose(hits[:, 1], expected, rtol=1e-4, atol=1e-4)
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(hits[:, others], track_hits.hits[:, others])


@pytest.mark.parametrize("plane", ["xy", "rz"])
@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [1], [2, 0, 1]])
def test_tracks_with_hardly_any_hits_have_residual_zero(plane: str, sizes: list[int]) -> None:
    rows, _ = tubes(lambda r: 0.3 * r)
    track_hits = select(np.empty((0, 6)), *(rows[:n] for n in sizes))
    np.testing.assert_allclose(hit_residuals(plane, track_hits), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("plane", "missing"), [("xy", "y"), ("rz", "technology"), ("rz", "stationIndex")]
)
def test_a_missing_column_is_named(plane: str, missing: str) -> None:
    features = tuple(name for name in (*TUBES, "t") if name != missing)
    track_hits = select(np.zeros((3, len(features))), features=features)
    with pytest.raises(UserError, match=f"'{missing}'"):
        bending_hits(plane, track_hits)


@pytest.mark.parametrize("plane", ["xy", "rz"])
def test_without_a_column_to_replace_the_residual_is_added(plane: str) -> None:
    rng = np.random.default_rng(0)
    track_hits = select(rng.normal(1, 1, (5, 4)), features=("x", "w", "y", "z"))
    x, y, z = track_hits.position()
    points = np.stack([x, y] if plane == "xy" else [np.hypot(x, y), z], 1)
    hits = bending_hits(plane, track_hits)
    assert bending_features(plane, track_hits.features) == ("x", "w", "y", "z", "residual")
    np.testing.assert_array_equal(hits[:, :4], track_hits.hits)
    expected = np.arcsinh(svd_distance(points) / SCALE[plane])
    np.testing.assert_allclose(hits[:, 4], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slope", [-1.2, -0.3, 0.0, 0.07, 0.9])
def test_rz_residuals_of_a_straight_track_vanish(slope: float) -> None:
    rng = np.random.default_rng(1)
    rows, touch = tubes(lambda r: 0.02 + slope * r, rng)
    track_hits = select(rows)
    assert np.abs(hit_residuals("rz", track_hits)).max() < 5e-6
    found = segments(track_hits)
    np.testing.assert_allclose(np.stack([found.tube_r, found.tube_z], 1), touch, atol=1e-5)
    np.testing.assert_allclose(found.angle, np.arctan(slope), atol=1e-4)


@pytest.mark.parametrize("bend", [-4e-3, -1e-3, 2e-4, 3e-3])
@pytest.mark.parametrize("slope", [-0.6, 0.4])
def test_rz_residuals_of_a_bent_track_are_those_of_its_touch_points(
    slope: float, bend: float
) -> None:
    rows, touch = tubes(lambda r: slope * r + bend * np.maximum(r - 5, 0) ** 2)
    distance = hit_residuals("rz", select(rows))
    np.testing.assert_allclose(distance, svd_distance(touch), atol=1.5e-4)
    assert np.sign(distance[6:12].mean()) == -np.sign(bend)
    feature = bending_hits("rz", select(rows))[:, TUBES.index("driftR")]
    np.testing.assert_allclose(feature, np.arcsinh(distance / SCALE["rz"]), rtol=1e-5)


def test_mirroring_z_flips_the_sign_as_for_the_opposite_charge() -> None:
    rows, _ = tubes(lambda r: 0.5 * r + 2e-3 * np.maximum(r - 5, 0) ** 2)
    mirrored = rows * np.where(np.array(TUBES) == "z", -1, 1)
    np.testing.assert_allclose(
        hit_residuals("rz", select(mirrored)), -hit_residuals("rz", select(rows)), atol=1e-12
    )


def best_tangent(r: np.ndarray, z: np.ndarray, radius: np.ndarray) -> list[OptimizeResult]:
    """Brute force: exact tangent of circles by nonlinear least squares, for every side."""

    def fit(sides: np.ndarray) -> OptimizeResult:
        def deviation(line: np.ndarray) -> np.ndarray:
            angle, distance = line
            return -np.sin(angle) * r + np.cos(angle) * z - distance - sides * radius

        start = np.arctan2(z[-1] - z[0], r[-1] - r[0])
        offset = np.mean(-np.sin(start) * r + np.cos(start) * z)
        return least_squares(deviation, [start, offset], xtol=1e-12, ftol=1e-12, gtol=1e-12)

    fits = [fit(np.array(sides)) for sides in product((1, -1), repeat=len(r))]
    return sorted(fits, key=lambda result: result.cost)


@pytest.mark.parametrize("n_tubes", [3, 4, 6])
def test_sides_are_those_of_a_brute_force_search(n_tubes: int) -> None:
    rng = np.random.default_rng(n_tubes)
    for _ in range(4):
        slope, shift = rng.uniform(-0.5, 0.5), rng.uniform(-0.02, 0.02)
        rows, _ = tubes(lambda r, a=slope, b=shift: a * r + b * (r - 4))
        rows = rows[np.sort(rng.permutation(6)[:n_tubes])]
        rows[:, 3] = np.abs(rows[:, 3] + rng.normal(0, 0.08, n_tubes))
        track_hits = select(rows)
        r, z = (track_hits.column(name) for name in ("x", "z"))
        best, second = best_tangent(r, z, track_hits.column("driftR") * 1e-3)[:2]
        found = segments(track_hits)
        angle, distance = best.x
        # Near ties may go either way: the fit to fixed sides is exact only to second order.
        if second.cost - best.cost > 1e-8:
            np.testing.assert_allclose(found.angle, angle, atol=1e-4)
            off = -np.sin(angle) * found.r + np.cos(angle) * found.z - distance
            np.testing.assert_allclose(off, 0, atol=1e-5)


def test_a_delta_ray_does_not_move_the_line() -> None:
    rows, _ = tubes(lambda r: 0.4 * r + 1e-3 * np.maximum(r - 5, 0) ** 2)
    clean = hit_residuals("rz", select(rows))
    hit = 6 + rows[6:12, 3].argmax()
    rows[hit, 3] *= 0.3
    found = segments(select(rows))
    assert found.n_tubes.tolist() == [6, 5, 6]
    masked = hit_residuals("rz", select(rows))
    np.testing.assert_allclose(np.delete(masked, hit), np.delete(clean, hit), atol=2e-4)
    assert abs(masked[hit] - clean[6:12].mean()) < 5e-4


def test_a_stray_tube_far_away_is_left_out() -> None:
    rows, _ = tubes(lambda r: 0.4 * r)
    stray = rows[8].copy()
    stray[2] += 1.5
    for base in (rows, np.delete(rows, [9, 10], axis=0)):
        distance = hit_residuals("rz", select(np.vstack([base, stray])))
        assert np.abs(distance).max() < 2e-5


def test_trigger_hits_and_unresolved_stations_are_zero() -> None:
    rows, _ = tubes(lambda r: 0.4 * r + 3e-3 * np.maximum(r - 5, 0) ** 2)
    rows[0, TUBES.index("technology")] = 2
    distance = hit_residuals("rz", select(np.delete(rows, [6, 7, 8, 9], axis=0)))
    assert distance[0] == 0
    assert (distance[6:8] == 0).all()
    assert (distance[8:] != 0).all()


def test_a_track_does_not_depend_on_its_neighbours() -> None:
    curves = [(0.4, 1e-3), (-0.9, -2e-3), (0.1, 0.0)]
    tracks = [tubes(lambda r, a=a, b=b: a * r + b * (r - 5) ** 2)[0] for a, b in curves]
    tracks[2] = tracks[2][3:11]
    together = hit_residuals("rz", select(*tracks))
    alone = np.concatenate([hit_residuals("rz", select(track)) for track in tracks])
    np.testing.assert_allclose(together, alone, atol=1e-12)
