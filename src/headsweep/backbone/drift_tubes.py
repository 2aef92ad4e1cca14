"""Agreement of each drift tube with the other tubes of its chamber, before any track is known.

A muon's line touches the drift circles of all tubes that it crosses. A tube that a delta ray hid
lies where the muon passed, but its circle is too small: only the other tubes of the chamber can
tell. Coordinates are of order 10 m and drift radii are good to 0.1 mm, which no small network
resolves by itself, so this is computed and given to it.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from headsweep.events.base import Events

COLUMNS = (
    "globEdgeLowX",
    "globEdgeLowY",
    "globEdgeLowZ",
    "driftR",
    "stationPhi",
    "stationEta",
    "stationIndex",
    "technology",
)
"""Hit features read, as in the ATLAS-muon layout: m, drift radius in mm, technology 0 for tubes."""

TOUCH_WIDTHS = (0.1e-3, 0.4e-3, 1e-3)
"""Distances in m within which a tangent touches a circle; the finest is about the resolution."""

N_VALUES = len(TOUCH_WIDTHS) + 1
CROWDED = 24
"""A chamber with more hit tubes says nothing, and would cost too much."""
SHORTEST = 0.02
LONGEST_LEVER = 8.0
"""Pairs nearer than this many metres, or that see another tube this much worse, do not count."""
ELEMENTS_AT_ONCE = 200_000


def tangent_support(events: Events) -> NDArray[np.float32]:
    """Agreement of each tube with its chamber.

    Every two other tubes of a chamber (station, side and sector) have four common tangents. Each
    counts for a tube by exp(-x^2 / 2), x being the distance of the tube's circle from the tangent
    over the width, which grows with the extrapolation.

    Args:
        events: Events with the hit features ``COLUMNS``.

    Returns:
        float32 [H, N_VALUES]: ln(1 + sum) for each of ``TOUCH_WIDTHS``, then ln(1 + number of
        pairs). Zero for hits that are not tubes, and in chambers of fewer than 3 tubes or a crowd.
    """
    values = np.zeros((len(events.hits), N_VALUES))
    x, y, z, drift, sector, side, station, technology = (
        events.column(name).astype(np.float64) for name in COLUMNS
    )
    tube = np.flatnonzero(technology == 0)
    event = np.searchsorted(events.hit_offsets, tube, side="right") - 1
    chamber = (event, station[tube], np.sign(side[tube]), sector[tube])
    order = np.lexsort(chamber)
    tube = tube[order]
    new = np.any([np.diff(key[order]) != 0 for key in chamber], axis=0)
    start = np.flatnonzero(np.concatenate([[True], new])) if len(tube) else np.zeros(0, np.int64)
    size = np.diff(start, append=len(tube))
    r = np.hypot(x, y)
    for n in range(3, CROWDED + 1):
        rows = tube[start[size == n, None] + np.arange(n)]
        for some in np.array_split(rows, len(rows) * n**3 // ELEMENTS_AT_ONCE + 1):
            values[some] = _support(r[some], z[some], drift[some] * 1e-3)
    return np.log1p(values).astype(np.float32)


def _support(
    r: NDArray[np.float64], z: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums and number of pairs for B chambers of n tubes, all [B, n] in metres: [B, n, 4]."""
    n = r.shape[1]
    first, second = np.triu_indices(n, 1)
    tube = np.arange(n)[:, None]
    # From the first wire of a pair to the second one, and from the first one to every tube.
    length = np.maximum(np.hypot(r[:, second] - r[:, first], z[:, second] - z[:, first]), 1e-9)
    along_r = (r[:, second] - r[:, first]) / length
    along_z = (z[:, second] - z[:, first]) / length
    dr, dz = r[:, :, None] - r[:, None, first], z[:, :, None] - z[:, None, first]
    along = dr * along_r[:, None] + dz * along_z[:, None]
    across = dz * along_r[:, None] - dr * along_z[:, None]
    lever = np.sqrt(1 + (along / length[:, None]) ** 2 + (1 - along / length[:, None]) ** 2)
    counts = (tube != first) & (tube != second) & (length > SHORTEST)[:, None]
    counts &= lever < LONGEST_LEVER

    result = np.zeros((*r.shape, N_VALUES))
    result[..., -1] = counts.sum(-1)
    for side_1, side_2 in product((-1, 1), repeat=2):
        # The tangent with the first wire on side_1 and the second on side_2 has this angle.
        sine = (side_2 * radius[:, second] - side_1 * radius[:, first]) / length
        cosine = np.sqrt(np.clip(1 - sine**2, 0, None))
        distance = sine[:, None] * along + cosine[:, None] * across
        distance += (side_1 * radius[:, first])[:, None]
        miss = (np.abs(distance) - radius[..., None]) / lever
        exists = counts & (np.abs(sine) < 1)[:, None]
        for column, width in enumerate(TOUCH_WIDTHS):
            result[..., column] += (exists * np.exp(-0.5 * (miss / width) ** 2)).sum(-1)
    return result
