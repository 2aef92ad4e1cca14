"""Residuals of hits to a straight line through their track, which show its bending to pooling.

The bending is a small difference of large coordinates, which pooling destroys. The ``bending``
features therefore replace one hit column by the signed distance of each hit to a straight line
through its own track, in the plane where tracks bend. No truth enters, only the assigned hits.
The pattern of these distances is close to an analytic sagitta: a head that reads them combines
an analytic measurement with a prior, and does not find the bending by itself.

Sign: a distance is positive on the left of the outward direction, in (x, y) or in (r, z). A
field along z, or along phi with one sense, turns a charge to the same side everywhere, so the
sign carries the charge in the barrel and in both end-caps alike.

Positions are in m: columns ``globEdgeLowX``, ``globEdgeLowY``, ``globEdgeLowZ``, or ``x``, ``y``,
``z`` where there are none. The plane ``rz`` also needs ``driftR`` (mm), ``technology`` (0 for
drift tubes) and ``stationIndex``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.events.base import Events, Floats, derive, ragged_rows
from headsweep.events.gate import position_columns
from headsweep.events.selection import true_hits

Integers = NDArray[np.int64]

REPLACED = {"rz": "driftR", "xy": "t"}
"""Hit column that the residual replaces, by bending plane; without it the residual is added."""

RESIDUAL = "residual"
"""Name of the column that holds it."""

SCALE = {"rz": 0.3e-3, "xy": 0.1e-3}
"""Residual in m at which the feature turns from linear to logarithmic, by bending plane."""

MOST_TUBES = 6
"""Tubes of one station that are resolved: at most 2^6 = 64 combinations of sides."""

FEWEST_TUBES = 3
"""With fewer tubes every choice of sides fits, and the station stays unresolved."""

ROAD = 0.15
"""Half width in m of the road through a station, towards its median tube, in which tubes count."""

STATIONS_PER_CHUNK = 4096
"""Stations fitted at once: keeps the combinations in the processor's cache."""

OUTLIER_SQUARES = 25 * 0.08e-3**2
"""Drop in the sum of squares (m^2) that excludes one tube: 5 standard deviations of 80 um."""


@dataclass(frozen=True)
class TrackHits:
    """Hits of T tracks, scaled on reading but not standardised; hits of one track are adjacent.

    Attributes:
        hits: float32 [H, F].
        features: Names of the F columns.
        offsets: Hits of track t are rows ``offsets[t]:offsets[t + 1]``, int64 [T + 1].
    """

    hits: NDArray[np.float32]
    features: tuple[str, ...]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def index(self, name: str) -> int:
        """Column of a feature.

        Raises:
            UserError: There is no such feature.
        """
        if name not in self.features:
            raise UserError(
                f"hit column {name!r} is needed to measure the bending, and the hits have only "
                f"{', '.join(self.features)}: add it (of Parquet tracks also to "
                "data.source.features), or use features=document"
            )
        return self.features.index(name)

    def column(self, name: str) -> Floats:
        """One feature, float64 [H]; errors as for ``index``."""
        return self.hits[:, self.index(name)].astype(np.float64)

    def directions(self) -> tuple[Floats, Floats] | None:
        """Eta and phi of each hit, float64 [H]: columns, or of the position; None without both."""
        found = []
        for name in ("eta", "phi"):
            if name in self.features:
                found.append(self.column(name))
            elif position_columns(self.features):
                axes = (axis.astype(np.float32) for axis in self.position())
                found.append(derive(name, *axes).astype(np.float64))
        return (found[0], found[1]) if len(found) == 2 else None

    def position(self) -> tuple[Floats, Floats, Floats]:
        """x, y and z of each hit in m, float64 [H] each."""
        stem = "globEdgeLow" if "globEdgeLowX" in self.features else ""
        x, y, z = (self.column(stem + (axis.upper() if stem else axis)) for axis in "xyz")
        return x, y, z

    def track(self) -> Integers:
        """Index of the track of each hit, int64 [H]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def hits_of_tracks(events: Events, tracks: NDArray[np.int64]) -> TrackHits:
    """True hits of the given tracks, which are rows of ``Events.tracks``."""
    hits, track = true_hits(events)
    counts = np.bincount(track, minlength=len(events.tracks))
    by_track = hits[np.argsort(track, kind="stable")]
    rows, offsets = ragged_rows(np.concatenate([[0], np.cumsum(counts)]), tracks)
    return TrackHits(events.hits[by_track[rows]], events.features, offsets)


def bending_features(plane: str, features: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of ``bending_hits``."""
    if REPLACED[plane] not in features:
        return (*features, RESIDUAL)
    return tuple(RESIDUAL if name == REPLACED[plane] else name for name in features)


def bending_hits(plane: str, track_hits: TrackHits) -> NDArray[np.float32]:
    """Put asinh(residual / ``SCALE[plane]``) into the hits.

    It replaces the column ``REPLACED[plane]``; without one it is the last.

    Args:
        plane: ``"rz"`` or ``"xy"``, the source's bending plane.
        track_hits: The assigned hits of each track.

    Returns:
        float32 [H, F], a copy, or [H, F + 1].

    Raises:
        UserError: A column that the plane needs is missing.
    """
    names = bending_features(plane, track_hits.features)
    hits = np.zeros((len(track_hits.hits), len(names)), np.float32)
    hits[:, : len(track_hits.features)] = track_hits.hits
    hits[:, names.index(RESIDUAL)] = np.arcsinh(hit_residuals(plane, track_hits) / SCALE[plane])
    return hits


def hit_residuals(plane: str, track_hits: TrackHits) -> Floats:
    """Signed distance of each hit to the straight line of its track, in m, float64 [H].

    The line is the orthogonal least-squares line through all hits of the track in the plane.

    ``rz`` with drift tubes (a column ``driftR``): only these count. In each station
    (``stationIndex``) a segment is fitted and every drift circle gets its side, see ``segments``.
    The line runs through the points where the segments touch the circles, and the residual
    is the distance of that point. A tube that its segment excludes takes the segment's centre
    instead, so that a delta ray or a stray hit does not move the line. Zero, which says
    "nothing measured", for trigger hits and for tubes of a station with fewer than
    ``FEWEST_TUBES``.
    """
    if plane == "xy" or REPLACED["rz"] not in track_hits.features:
        x, y, z = track_hits.position()
        first, second = (x, y) if plane == "xy" else (np.hypot(x, y), z)
        return line_distance(first, second, track_hits.track(), len(track_hits))
    found = segments(track_hits)
    result = np.zeros(len(track_hits.hits))
    result[found.tube] = line_distance(
        found.tube_r, found.tube_z, found.track[found.segment], len(track_hits)
    )
    return result


def line_distance(x: Floats, y: Floats, track: Integers, n_tracks: int) -> Floats:
    """Signed distance of each point to the orthogonal least-squares line of its track.

    The line runs through the centroid along the main axis of the points' second moments and is
    directed away from the origin; positive is left of it. Points of a track with one or two
    points have distance zero.

    Args:
        x: First coordinate of each point, [N].
        y: Second coordinate, [N].
        track: Track of each point, [N].
        n_tracks: Number of tracks T.

    Returns:
        float64 [N].
    """

    def total(values: Floats) -> Floats:
        return np.bincount(track, values, n_tracks).astype(np.float64)

    count = np.maximum(np.bincount(track, minlength=n_tracks), 1)
    mean_x, mean_y = total(x) / count, total(y) / count
    dx, dy = x - mean_x[track], y - mean_y[track]
    angle = 0.5 * np.arctan2(2 * total(dx * dy), total(dx * dx) - total(dy * dy))
    cos, sin = np.cos(angle), np.sin(angle)
    outward = np.where(cos * mean_x + sin * mean_y < 0, -1.0, 1.0)
    return (outward * cos)[track] * dy - (outward * sin)[track] * dx


@dataclass(frozen=True)
class Segments:
    """Straight segments in (r, z), one for each station of a track, and their tubes.

    Attributes:
        track: Track of each of G segments, rising, int64 [G].
        station: Its ``stationIndex`` as the source has it, float64 [G].
        n_tubes: Tubes it was fitted to, int64 [G].
        r: Its centre, the centroid of its touch points, m, float64 [G].
        z: The same.
        angle: Its outward direction, atan2(dz, dr), float64 [G].
        tube: Hit row of each of N tubes, int64 [N].
        segment: Segment of each tube, int64 [N].
        tube_r: Where the segment touches the drift circle, m; the centre of the segment for a
            tube that it excludes. float64 [N].
        tube_z: The same.
    """

    track: Integers
    station: Floats
    n_tubes: Integers
    r: Floats
    z: Floats
    angle: Floats
    tube: Integers
    segment: Integers
    tube_r: Floats
    tube_z: Floats


def segments(track_hits: TrackHits) -> Segments:
    """Fit a segment to the drift tubes of each station of each track that has enough of them.

    The line of a segment is a tangent to its drift circles; on which side it passes each wire is
    not measured. All combinations of sides (at most 64) are fitted by least squares, and the
    best one counts. One tube may be excluded from four or more where that lowers the sum of
    squares by more than ``OUTLIER_SQUARES``. Left out from the start are tubes outside of a road
    of half width ``ROAD`` around the station's median polar angle, and of more than
    ``MOST_TUBES`` tubes those farthest from it.
    """
    tube = np.flatnonzero(track_hits.column("technology") == 0)
    x, y, z = (axis[tube] for axis in track_hits.position())
    r = np.hypot(x, y)
    stations, station = np.unique(track_hits.column("stationIndex")[tube], return_inverse=True)
    group = track_hits.track()[tube] * len(stations) + station
    groups, group = np.unique(group, return_inverse=True)
    chosen = _nearest(np.arctan2(r, z), np.hypot(r, z), group)
    size = np.bincount(group[chosen], minlength=len(groups))
    start = np.cumsum(size) - size

    lines = np.full((len(groups), 4), np.nan)
    touch = np.full((2, len(tube)), np.nan)
    radius = track_hits.column("driftR")[tube] * 1e-3
    for n in range(FEWEST_TUBES, MOST_TUBES + 1):
        of_size = np.flatnonzero(size == n)
        for part in np.array_split(of_size, len(of_size) // STATIONS_PER_CHUNK + 1):
            rows = chosen[start[part, None] + np.arange(n)]
            lines[part], touch[:, rows] = _tangent(r[rows], z[rows], radius[rows])

    good = np.flatnonzero(size >= FEWEST_TUBES)
    number = np.full(len(groups), -1)
    number[good] = np.arange(len(good))
    use = np.flatnonzero(number[group] >= 0)
    segment = number[group[use]]
    left_out = np.isnan(touch[:, use])
    return Segments(
        track=groups[good] // max(len(stations), 1),
        station=stations[groups[good] % max(len(stations), 1)],
        n_tubes=lines[good, 3].astype(np.int64),
        r=lines[good, 0],
        z=lines[good, 1],
        angle=lines[good, 2],
        tube=tube[use],
        segment=segment,
        tube_r=np.where(left_out[0], lines[good, 0][segment], touch[0, use]),
        tube_z=np.where(left_out[1], lines[good, 1][segment], touch[1, use]),
    )


def _nearest(theta: Floats, away: Floats, group: Integers) -> Integers:
    """Rows of the tubes to fit, by group, the one nearest to the median angle first."""
    order = np.lexsort((theta, group))
    size = np.bincount(group)
    start = np.cumsum(size) - size
    median = theta[order[start + size // 2]]
    off = np.abs(theta - median[group]) * away
    order = np.lexsort((off, group))
    rank = np.arange(len(order)) - start[group[order]]
    return np.asarray(order[(rank < MOST_TUBES) & (off[order] < ROAD)])


def _tangent(r: Floats, z: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """The best common tangent of n drift circles, for B stations at once.

    The fit runs in a frame whose first axis points from the origin to the first wire, where the
    slope b of the segment is small: wire i obeys v_i - side_i radius_i sqrt(1 + b^2) =
    a + b u_i. The root is taken from a first fit without it.

    Args:
        r: Wires, m, [B, n], the one with the median polar angle first.
        z: The same.
        radius: Drift radii, m, [B, n].

    Returns:
        The lines, columns r, z of the centre, angle and number of tubes used, [B, 4]; the touch
        points, [2, B, n], NaN for an excluded tube.
    """
    n = r.shape[1]
    frame = np.arctan2(z[:, :1], r[:, :1])
    u, v = _rotate(r, z, -frame)
    du = u - u.mean(1, keepdims=True)
    lever = np.maximum((du**2).sum(1, keepdims=True), 1e-12)

    shift = np.array(list(product((-1.0, 1.0), repeat=n))) * radius[:, None, :]
    slope = (v[:, None] - shift) @ (du / lever)[..., None]
    height = v[:, None] - shift * np.sqrt(1 + slope**2)
    slope = height @ (du / lever)[..., None]
    error = height - height.mean(-1, keepdims=True) - slope * du[:, None]
    square = (error**2).sum(-1)
    # Without tube i the sum of squares falls by error_i^2 / (1 - leverage_i).
    fall = error**2 / np.maximum(1 - 1 / n - du**2 / lever, 1e-9)[:, None]
    worst = fall.max(-1)
    exclude = (worst > OUTLIER_SQUARES) & (n > FEWEST_TUBES)
    best = np.where(exclude, square - worst + OUTLIER_SQUARES, square).argmin(1)[:, None, None]

    slope = np.take_along_axis(slope[..., 0], best[..., 0], 1)
    height, fall = (np.take_along_axis(w, best, 1)[:, 0] for w in (height, fall))
    exclude = np.take_along_axis(exclude, best[..., 0], 1)
    kept = ~exclude | (fall < fall.max(1, keepdims=True))

    # side x radius / sqrt(1 + b^2), then from the wire along the normal (-b, 1) to the line.
    offset = (v - height) / (1 + slope**2)
    touch_u, touch_v = u + offset * slope, v - offset
    count = kept.sum(1, keepdims=True)
    mean_u, mean_v = ((kept * w).sum(1, keepdims=True) / count for w in (touch_u, touch_v))
    du, dv = kept * (touch_u - mean_u), kept * (touch_v - mean_v)
    slope = (du * dv).sum(1, keepdims=True) / np.maximum((du**2).sum(1, keepdims=True), 1e-12)

    lines = [*_rotate(mean_u, mean_v, frame), frame + np.arctan(slope), count]
    touch = np.stack(_rotate(touch_u, touch_v, frame))
    return np.concatenate(lines, axis=1), np.where(kept, touch, np.nan)


def _rotate(x: Floats, y: Floats, angle: Floats) -> tuple[Floats, Floats]:
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x - sin * y, sin * x + cos * y
