"""Hits and truth of the simulated muon spectrometer, from a seed.

Muons are drawn, followed to the stations (``detector.py``) and measured by drift tubes and
trigger chambers. The result is in the disk units of the ATLAS-muon layout (``hepattn_files.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsweep.events.base import Floats
from headsweep.events.detector import STATIONS, Crossings, Muons, propagate
from headsweep.events.hepattn_files import HITS, LINK, MDT, RPC, TGC, Chunk

SIMULATION_VERSION = 1
"""Raised by hand when the same seed gives other events; part of the data key."""

EVENTS_PER_CHUNK = 2500
"""Events simulated together; each chunk has its own generator."""
EVENTS_PER_SEED = 10_000_000
"""Event numbers of a seed start at this times the seed: no two seeds share one."""

PT_GEV = (2.5, 400.0)
MAX_ETA = 2.7
BEAM_SPOT = (1e-5, 1e-5, 0.05)
"""Standard deviations of x, y and z of the vertex, in metres."""

TUBE = 0.030
"""Pitch of the drift tubes in metres; trigger strips along the same coordinate have it too."""
TUBE_OFFSETS = (-0.152, -0.126, -0.100, 0.100, 0.126, 0.152)
"""Depth of the tube layers in a station: two multilayers of three close-packed layers."""
DRIFT_SIGMA = 80e-6
DRIFT_TIME_NS = 700.0
TRIGGER_SIGMA = 0.01
TRIGGER_TIME_NS = 2.0
EFFICIENCY = 0.95
MASKED = 0.10
"""Share of a muon's tube hits that a delta ray passing nearer to the wire hides."""
BACKGROUND_HITS = 53.0
"""Mean number of background hits in an event."""
FEWEST_HITS = 3
"""A muon that leaves fewer true hits is drawn again: it stopped, curled or met no station."""

SECTORS = 16
CHAMBER = 2.0
"""Length of a chamber along its measured coordinate, in metres."""
BACKGROUND, DELTA_RAY = -1, -2
"""truthLink of the two kinds of noise."""


@dataclass(frozen=True)
class _Surfaces:
    """All sensitive surfaces: the tube layers and trigger planes of every station; arrays [L]."""

    station: NDArray[np.int64]
    depth: Floats
    layer: NDArray[np.int64]
    technology: NDArray[np.int64]


def _surfaces() -> _Surfaces:
    rows = [
        (index, depth, layer, technology)
        for index, station in enumerate(STATIONS)
        for technology, depths in (
            (MDT, TUBE_OFFSETS),
            (RPC if station.barrel else TGC, station.trigger),
        )
        for layer, depth in enumerate(depths)
    ]
    station, depth, layer, technology = (np.array(column) for column in zip(*rows, strict=True))
    return _Surfaces(station, depth, layer, technology)


SURFACES = _surfaces()
_BARREL = np.array([station.barrel for station in STATIONS])
_AT, _LOW, _HIGH = np.array([(s.at, s.low, s.high) for s in STATIONS]).T


_HIT = np.dtype(
    [
        ("surface", np.int64),  # row of SURFACES
        ("along", np.float64),  # centre of the wire or strip: z in the barrel, r in the end-caps; m
        ("side", np.float64),  # sign of z
        ("phi", np.float64),  # measured azimuth; of tubes only the sector is kept
        ("drift", np.float64),  # drift radius in m, 0 for trigger chambers
        ("time", np.float64),  # ns
        ("link", np.int64),  # truthLink
        ("owner", np.int64),  # the muon it belongs to; in the end the event
    ]
)


def simulate_chunks(events: int, seed: int) -> Iterator[Chunk]:
    """Simulate events, chunk by chunk; the same arguments give the same bits."""
    numbers = event_numbers(events, seed)
    for index, start in enumerate(range(0, events, EVENTS_PER_CHUNK)):
        rng = np.random.default_rng([seed, index])
        yield _simulate_chunk(numbers[start : start + EVENTS_PER_CHUNK], rng)


def event_numbers(events: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the events of a seed, int64 [E]."""
    return seed * EVENTS_PER_SEED + np.arange(events)


def draw_muons(n: int, rng: np.random.Generator) -> Muons:
    """Draw muons from the beam spot: uniform in log pT, eta and phi, charge +-1."""
    low, high = np.log(PT_GEV)
    return Muons(
        eta=rng.uniform(-MAX_ETA, MAX_ETA, n),
        phi=rng.uniform(-np.pi, np.pi, n),
        pt=np.exp(rng.uniform(low, high, n)),
        q=rng.choice([-1.0, 1.0], n),
        vertex=rng.standard_normal((3, n)) * np.array(BEAM_SPOT)[:, None],
    )


def _simulate_chunk(numbers: NDArray[np.int64], rng: np.random.Generator) -> Chunk:
    n_tracks = rng.integers(1, 3, len(numbers))
    track_offsets = np.concatenate([[0], np.cumsum(n_tracks)])
    event = np.repeat(np.arange(len(numbers)), n_tracks)
    tracks, hits = _visible_muons(len(event), rng)
    particle = np.arange(len(event)) - track_offsets[event]
    hits["link"] = np.where(hits["link"] < 0, hits["link"], particle[hits["owner"]])
    hits["owner"] = event[hits["owner"]]
    hits = np.concatenate([hits, _background(len(numbers), rng)])
    # In a random order within the event, which must not tell signal from noise.
    hits = hits[np.lexsort((rng.random(len(hits)), hits["owner"]))]
    counts = np.bincount(hits["owner"], minlength=len(numbers))
    return Chunk(
        hits=_disk_columns(hits),
        hit_offsets=np.concatenate([[0], np.cumsum(counts)]),
        tracks=tracks.astype(np.float32),
        track_offsets=track_offsets,
        numbers=numbers,
    )


def _visible_muons(
    n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.void]]:
    """Draw tracks [n, 4] (``TRACKS``) with at least ``FEWEST_HITS`` hits each; also the hits."""
    tracks = np.empty((n, 4))
    parts = []
    missing = np.arange(n)
    while len(missing):
        muons = draw_muons(len(missing), rng)
        hits = measure(propagate(muons, rng=rng), rng)
        true_hits = np.bincount(hits["owner"][hits["link"] >= 0], minlength=len(missing))
        visible = true_hits >= FEWEST_HITS
        drawn = np.stack([muons.pt, muons.eta, muons.phi, muons.q], axis=1)
        tracks[missing[visible]] = drawn[visible]
        hits = hits[visible[hits["owner"]]]
        hits["owner"] = missing[hits["owner"]]
        parts.append(hits)
        missing = missing[~visible]
    return tracks, np.concatenate(parts)


def measure(crossings: Crossings, rng: np.random.Generator) -> NDArray[np.void]:
    """Measure the hits of muons, dtype ``_HIT`` [H].

    ``owner`` is the muon, ``link`` is 0 or ``DELTA_RAY``.

    In each tube layer the tube nearest to the track is hit. Its drift radius is the distance of
    the wire from the track, smeared, without a sign.
    """
    station, depth = SURFACES.station, SURFACES.depth[:, None]
    bending = crossings.curve[station] * depth
    along = crossings.along[station] + (crossings.slope[station] + bending / 2) * depth
    surface, muon = np.nonzero(
        crossings.seen[station]
        & (np.abs(along) >= _LOW[station, None])
        & (np.abs(along) < _HIGH[station, None])
        & (rng.random(along.shape) < EFFICIENCY)
    )
    at, depth, along = (station[surface], muon), depth[surface, 0], along[surface, muon]
    slope = crossings.slope[at] + crossings.curve[at] * depth
    n = len(surface)
    tube = SURFACES.technology[surface] == MDT
    centre = _centre(surface, along)
    distance = np.abs((along - centre) / np.hypot(1, slope) + DRIFT_SIGMA * rng.standard_normal(n))
    masked = tube & (rng.random(n) < MASKED)
    distance[masked] *= rng.random(masked.sum())
    drift = np.where(tube, np.minimum(distance, TUBE / 2), 0)
    r = np.where(_BARREL[at[0]], _AT[at[0]] + depth, along)
    hits = np.empty(n, _HIT)
    hits["surface"], hits["along"], hits["side"] = surface, centre, crossings.side[at]
    hits["phi"] = crossings.phi[at] + crossings.phi_slope[at] * depth
    hits["phi"] += TRIGGER_SIGMA / r * rng.standard_normal(n)
    hits["drift"], hits["time"] = drift, _time(drift, tube, rng)
    hits["link"], hits["owner"] = np.where(masked, DELTA_RAY, 0), muon
    return hits


def _background(n_events: int, rng: np.random.Generator) -> NDArray[np.void]:
    """Draw background hits, spread evenly over all surfaces and over the length of each."""
    counts = rng.poisson(BACKGROUND_HITS, n_events)
    n = counts.sum()
    surface = rng.integers(0, len(SURFACES.station), n)
    station = SURFACES.station[surface]
    tube = SURFACES.technology[surface] == MDT
    side = rng.choice([-1.0, 1.0], n)
    along = rng.uniform(_LOW[station], _HIGH[station]) * np.where(_BARREL[station], side, 1)
    drift = np.where(tube, rng.uniform(0, TUBE / 2, n), 0)
    hits = np.empty(n, _HIT)
    hits["surface"], hits["along"], hits["side"] = surface, _centre(surface, along), side
    hits["phi"] = rng.uniform(-np.pi, np.pi, n)
    hits["drift"], hits["time"] = drift, _time(drift, tube, rng)
    hits["link"], hits["owner"] = BACKGROUND, np.repeat(np.arange(n_events), counts)
    return hits


def _centre(surface: NDArray[np.int64], along: Floats) -> Floats:
    """Centre of the nearest wire or strip; every second layer is shifted by half a pitch."""
    shift = SURFACES.layer[surface] % 2 / 2
    return (np.round(along / TUBE - shift) + shift) * TUBE


def _time(drift: Floats, tube: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Time in ns: of a tube, grows faster than the drift radius; of a trigger chamber, noise."""
    drift_time = DRIFT_TIME_NS * (drift / (TUBE / 2)) ** 1.5
    return np.where(tube, drift_time, TRIGGER_TIME_NS * rng.standard_normal(len(drift)))


def _disk_columns(hits: NDArray[np.void]) -> NDArray[np.float32]:
    """Hits in the columns ``HITS`` of the layout, float32 [H, 19].

    The edges of a tube are the ends of its wire, an arc over its sector at fixed r and z; those of
    a trigger strip are half a pitch before and behind its centre at the measured azimuth.
    """
    surface = hits["surface"]
    station, tube = SURFACES.station[surface], SURFACES.technology[surface] == MDT
    barrel = _BARREL[station]
    normal = _AT[station] + SURFACES.depth[surface]
    width = 2 * np.pi / SECTORS
    sector = np.floor(hits["phi"] / width) % SECTORS
    columns = {}
    for end, sign, edge in (("High", 1, sector + 1), ("Low", -1, sector)):
        along = hits["along"] + np.where(tube, 0, sign * TUBE / 2)
        phi = np.where(tube, edge * width, hits["phi"])
        r = np.where(barrel, normal, along)
        columns[f"globEdge{end}X"] = 1e3 * r * np.cos(phi)
        columns[f"globEdge{end}Y"] = 1e3 * r * np.sin(phi)
        columns[f"globEdge{end}Z"] = 1e3 * np.where(barrel, along, hits["side"] * normal)
    chamber, within = np.divmod(np.abs(hits["along"]), CHAMBER)
    wire_length = 1e3 * np.where(barrel, normal, hits["along"]) * width
    columns |= {
        "time": hits["time"],
        "driftR": 1e3 * hits["drift"],
        "covXX": np.where(tube, (1e3 * DRIFT_SIGMA) ** 2, (1e3 * TUBE) ** 2 / 12),
        "covXY": np.zeros(len(hits)),
        "covYX": np.zeros(len(hits)),
        "covYY": np.where(tube, wire_length**2 / 12, (1e3 * TRIGGER_SIGMA) ** 2),
        "channel": np.floor(within / TUBE),
        "layer": SURFACES.layer[surface],
        "stationPhi": sector + 1,
        "stationEta": hits["side"] * (chamber + 1),
        "stationIndex": station,
        "technology": SURFACES.technology[surface],
        LINK: hits["link"],
    }
    return np.stack([columns[name] for name in HITS], axis=1).astype(np.float32)
