"""Analytic estimates of (eta, phi, pt, q) from the hits of a track, calibrated on training tracks.

From the true hits this is the classical reference, from the assigned hits the analytic estimate.
It is a reference, not a floor: a head may use the prior, which a formula does not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.events.base import Floats
from headsweep.features.bending import TrackHits, segments
from headsweep.stats.widths import CENTRAL

FEWEST_TRACKS = 100
"""Training tracks below which a combination of stations is not calibrated, hence unusable."""

MOST_TRACKS = 2**16
"""Training tracks of a combination of stations that its response is learned from, at most."""

TRACKS_PER_NODE, MOST_NODES = 50, 20
"""Nodes in |eta| of a toroid's response: one for so many training tracks, at most so many."""

COILS = 8
"""A toroid's field repeats this often in phi: its response has the harmonics 8 and 16."""

ROUNDS = 4
"""Rounds of the fit, each with weights and cuts from the one before."""

OUTLIER_FACTOR = 4.0
"""Tracks farther off than this times the 68.27% quantile of the relative deviation are cut."""

SINGULAR = 1e-10
"""Directions of the normal equations weaker than this times the strongest are left at zero."""


@dataclass(frozen=True)
class Measured:
    """Result of a formula for T tracks before calibration; NaN where a track is unusable.

    Attributes:
        eta: Pseudorapidity at the origin, float64 [T].
        phi: Azimuth at the origin, float64 [T].
        bend: Signed curvature, about proportional to q/pt, 1/m, float64 [T].
        stations: ``stationIndex`` of the first, middle and last segment, float64 [T, 3]; zeros
            for a circle.
    """

    eta: Floats
    phi: Floats
    bend: Floats
    stations: Floats

    def __len__(self) -> int:
        return len(self.eta)

    @classmethod
    def joined(cls, parts: Sequence["Measured | None"]) -> "Measured | None":
        """The tracks of all parts; None if the hits of any have no formula."""
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        names = [f.name for f in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in found]) for n in names})


def circle(track_hits: TrackHits) -> Measured:
    """Fit a circle in (x, y) and a straight line in (arc length, z); needs three hits.

    The circle is V. Karimäki's explicit solution, Nucl. Instrum. Meth. A305 (1991) 187, with unit
    weights: curvature rho, distance d from the origin and direction phi at the nearest point. It
    needs no start value and has no bias for flat arcs. Positive bend turns to the right.
    """
    x, y, z = track_hits.position()
    track, count = track_hits.track(), np.diff(track_hits.offsets)
    with np.errstate(divide="ignore", invalid="ignore"):

        def mean(values: Floats) -> Floats:
            return np.bincount(track, values, len(count)) / count

        def cov(a: Floats, b: Floats) -> Floats:
            return mean((a - mean(a)[track]) * b)

        rr = x * x + y * y
        c_rr, c_xr, c_yr = cov(rr, rr), cov(x, rr), cov(y, rr)
        phi = 0.5 * np.arctan2(
            2 * (c_rr * cov(x, y) - c_xr * c_yr),
            c_rr * (cov(x, x) - cov(y, y)) - c_xr**2 + c_yr**2,
        )
        phi += np.where(np.cos(phi) * mean(x) + np.sin(phi) * mean(y) < 0, np.pi, 0.0)
        sin, cos = np.sin(phi), np.cos(phi)
        kappa = (sin * c_xr - cos * c_yr) / c_rr
        delta = sin * mean(x) - cos * mean(y) - kappa * mean(rr)
        root = np.sqrt(1 - 4 * delta * kappa)
        rho, d = 2 * kappa / root, 2 * delta / (1 + root)
        chord = np.hypot(x - (d * sin)[track], y + (d * cos)[track])
        half = np.clip(rho[track] / 2 * chord, -1, 1)
        arc = chord * np.where(half == 0, 1, np.arcsin(half) / half)
        eta = np.arcsinh(cov(arc, z) / cov(arc, arc))
    usable = (count >= 3) & np.isfinite(rho) & np.isfinite(eta)
    eta, phi, rho = (np.where(usable, v, np.nan) for v in (eta, _wrap(phi), rho))
    return Measured(eta, phi, rho, np.where(usable[:, None], np.zeros(3), np.nan))


def sagitta(track_hits: TrackHits) -> Measured:
    """Measure the sagitta of three segments in (r, z).

    A track needs three stations with enough tubes, and a trigger hit.

    The bend is 2 h / (l1 l2): h is the signed distance of the middle segment's centre from the
    chord between the first and the last one, l1 and l2 are the parts of the chord on both sides;
    in a uniform field this is the curvature. Of more than three segments the middle one is that
    nearest to half the way. eta is that of the first segment's centre, phi the circular mean of
    the trigger hits. Positive bend turns to the right.
    """
    found = segments(track_hits)
    n_tracks = len(track_hits)
    number = np.bincount(found.track, minlength=n_tracks)
    tracks = np.flatnonzero(number >= 3)
    away = np.hypot(found.r, found.z)
    by_distance = np.lexsort((away, found.track))
    end = np.cumsum(number)
    first, last = by_distance[(end - number)[tracks]], by_distance[end[tracks] - 1]
    half_way = np.full(n_tracks, np.nan)
    half_way[tracks] = (away[first] + away[last]) / 2
    off_middle = np.abs(away - half_way[found.track])
    off_middle[[first, last]] = np.inf
    middle = np.lexsort((off_middle, found.track))[(end - number)[tracks]]

    chord_r, chord_z = found.r[last] - found.r[first], found.z[last] - found.z[first]
    r, z = found.r[middle] - found.r[first], found.z[middle] - found.z[first]
    chord = np.hypot(chord_r, chord_z)
    before = (chord_r * r + chord_z * z) / chord
    height = (chord_r * z - chord_z * r) / chord
    bend, eta = np.full((2, n_tracks), np.nan)
    bend[tracks] = 2 * height / (before * (chord - before))
    eta[tracks] = np.arcsinh(found.z[first] / found.r[first])
    stations = np.full((n_tracks, 3), np.nan)
    stations[tracks] = found.station[np.stack([first, middle, last], axis=1)]

    x, y, _ = track_hits.position()
    trigger = np.flatnonzero(track_hits.column("technology") != 0)
    away = np.hypot(x, y)[trigger]
    of_track = track_hits.track()[trigger]
    mean_x = np.bincount(of_track, x[trigger] / away, n_tracks)
    mean_y = np.bincount(of_track, y[trigger] / away, n_tracks)
    phi = np.where(
        np.bincount(of_track, minlength=n_tracks) > 0, np.arctan2(mean_y, mean_x), np.nan
    )
    return Measured(eta, phi, bend, stations)


MEASURE = {"rz": sagitta, "xy": circle}


def measure(plane: str, track_hits: TrackHits) -> Measured | None:
    """The formula of a bending plane; None for hits that lack a column that it needs."""
    try:
        return MEASURE[plane](track_hits)
    except UserError:
        return None


@dataclass(frozen=True)
class _Response:
    """pt |bend| of one combination of stations, a linear function of ``Estimator._terms``."""

    sign: float
    nodes: Floats
    coefficients: Floats


class Estimator:
    """Analytic estimate of pt and charge, with a response learned from training tracks.

    For ``xy`` the response pt |bend| = 0.3 B is one number. For ``rz`` it is learned for each
    combination of stations: for the field's map, piecewise linear in |eta| times 1, cos and sin of
    8 phi and 16 phi; for the energy loss before the stations, plus such a function of |eta| times
    |bend|; for the way that the bending itself changes, plus one times sign(eta) bend. The
    detector is taken to be symmetric in z. Fitted by least squares of the relative deviation,
    where outliers are cut.

    Tracks are measured by ``MEASURE`` on hits with the source's own columns, not those of
    ``bending_hits``.

    Args:
        plane: ``"rz"`` or ``"xy"``, the source's bending plane.
    """

    def __init__(self, plane: str) -> None:
        self.plane = plane
        self._responses: dict[tuple[float, ...], _Response] = {}

    def fit(self, measured: Measured, truth: NDArray[np.float32]) -> "Estimator":
        """Learn the response from training tracks; returns itself.

        A combination of stations with fewer than ``FEWEST_TRACKS`` tracks is left out; of one with
        more than ``MOST_TRACKS``, every n-th track counts.

        Args:
            measured: T training tracks.
            truth: eta, phi, pt, q of the same tracks, [T, 4].
        """
        usable = np.isfinite(measured.bend) & np.isfinite(measured.phi)
        self._responses = {}
        for combination in np.unique(measured.stations[usable], axis=0):
            rows = np.flatnonzero(usable & (measured.stations == combination).all(1))
            if len(rows) >= FEWEST_TRACKS:
                rows = rows[:: -(-len(rows) // MOST_TRACKS)]
                self._responses[tuple(combination)] = self._respond(measured, rows, truth)
        return self

    def predict(self, measured: Measured) -> NDArray[np.float32]:
        """Estimate eta, phi, pt (GeV) and q (+-1), float32 [T, 4]; rows of NaN where unusable."""
        result = np.full((len(measured), 4), np.nan)
        for combination, response in self._responses.items():
            rows = np.flatnonzero((measured.stations == combination).all(1))
            bend = measured.bend[rows]
            product = self._terms(measured, rows, response.nodes) @ response.coefficients
            pt = product / np.maximum(np.abs(bend), 1e-12)
            result[rows] = np.stack(
                [measured.eta[rows], measured.phi[rows], pt, response.sign * np.sign(bend)], 1
            )
        unusable = ~np.isfinite(result).all(1) | (result[:, 2] <= 0) | (result[:, 3] == 0)
        result[unusable] = np.nan
        return result.astype(np.float32)

    def _respond(
        self, measured: Measured, rows: NDArray[np.intp], truth: NDArray[np.float32]
    ) -> _Response:
        bend = measured.bend[rows]
        pt, q = truth[rows, 2].astype(np.float64), truth[rows, 3].astype(np.float64)
        sign = float(np.sign(np.median(q * bend)))
        product = sign * q * pt * bend
        n_nodes = min(len(rows) // TRACKS_PER_NODE, MOST_NODES)
        nodes = np.unique(np.quantile(np.abs(measured.eta[rows]), np.linspace(0, 1, n_nodes)))
        terms = self._terms(measured, rows, nodes)
        typical = np.median(np.abs(product))
        expected, kept = np.full(len(rows), typical), np.ones(len(rows), bool)
        for _ in range(ROUNDS):
            weight = kept / np.maximum(np.abs(expected), 0.1 * typical)
            scaled = terms * weight[:, None]
            coefficients = np.linalg.lstsq(
                scaled.T @ scaled, scaled.T @ (product * weight), rcond=SINGULAR
            )[0]
            expected = terms @ coefficients
            deviation = np.abs(product / expected - 1)
            kept = deviation < OUTLIER_FACTOR * np.quantile(deviation, CENTRAL)
        return _Response(sign, nodes, coefficients)

    def _terms(
        self, measured: Measured, rows: NDArray[np.intp], nodes: Floats
    ) -> NDArray[np.float64]:
        """The functions whose sum is pt |bend|, [len(rows), n]."""
        if self.plane == "xy":
            return np.ones((len(rows), 1))
        eta, phi, bend = measured.eta[rows], measured.phi[rows], measured.bend[rows]
        hats = np.stack([np.interp(np.abs(eta), nodes, peak) for peak in np.eye(len(nodes))], 1)
        waves = [wave(k * COILS * phi) for k in (1, 2) for wave in (np.cos, np.sin)]
        along = [np.ones_like(bend), np.abs(bend), np.sign(eta) * bend]
        return np.concatenate([hats * factor[:, None] for factor in (*along, *waves)], axis=1)


def _wrap(angle: Floats) -> Floats:
    return np.arctan2(np.sin(angle), np.cos(angle))
