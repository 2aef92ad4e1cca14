"""Small events that need no simulation: bent tracks of hits in three layers, and noise."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headsweep.config import SelectionConfig
from headsweep.events.base import Events, derive
from headsweep.events.gate import Limits
from headsweep.identity import stable_hash

FEATURES = ("x", "y", "z", "t", "r", "theta", "phi", "eta")
LAYERS = (5.0, 7.5, 10.0)
TESLA = 0.1


def toy_events(n: int, seed: int = 0, most_tracks: int = 2, noise: int = 15) -> Events:
    rng = np.random.default_rng(seed)
    n_tracks = rng.integers(1, most_tracks + 1, n)
    hits, links, tracks, n_hits = [], [], [], []
    for k in n_tracks:
        rows, link = [], []
        for track in range(k):
            eta, phi, pt = rng.uniform(-2, 2), rng.uniform(-np.pi, np.pi), rng.uniform(2, 10)
            q, m = rng.choice([-1, 1]), rng.integers(6, 12)
            tracks.append((eta, phi, pt, q))
            r = rng.choice(LAYERS, m)
            bent = phi - q * np.arcsin(0.15 * TESLA * r / pt)
            rows.append((r, eta + rng.normal(0, 0.01, m), bent + rng.normal(0, 0.001, m)))
            link += [track] * m
        anywhere = rng.uniform(-2, 2, noise), rng.uniform(-np.pi, np.pi, noise)
        rows.append((rng.choice(LAYERS, noise), *anywhere))
        link += [-1] * noise
        r, eta, phi = (np.concatenate(column) for column in zip(*rows, strict=True))
        order = rng.permutation(len(link))
        hits.append(np.stack([r * np.cos(phi), r * np.sin(phi), r * np.sinh(eta)], 1)[order])
        links.append(np.array(link)[order])
        n_hits.append(len(link))
    xyz = np.concatenate(hits).astype(np.float32)
    columns = [*xyz.T, rng.normal(size=len(xyz)), *(derive(c, *xyz.T) for c in FEATURES[4:])]
    return Events(
        hits=np.stack(columns, 1).astype(np.float32),
        features=FEATURES,
        hit_track=np.concatenate(links).astype(np.int32),
        hit_offsets=np.concatenate([[0], np.cumsum(n_hits)]),
        tracks=np.array(tracks, np.float32),
        track_offsets=np.concatenate([[0], np.cumsum(n_tracks)]),
        ids=1000 + np.arange(n),
    )


@dataclass
class ToySource:
    """Ready-made events behind the interface of a source; counts how often they are loaded."""

    events: Events
    plane: str = "xy"
    pt_edges: tuple[float, ...] = (1.0, 5.0, 10.0)
    min_bin_tracks: int = 10
    not_modelled: tuple[str, ...] = ("everything",)
    loads: list[Path] = field(default_factory=list)
    sample: "ToySource | None" = None
    limits: Limits = field(default_factory=Limits)
    coils: int | None = None

    def key(self) -> str:
        return stable_hash([self.events.hits.tolist(), self.events.ids.tolist()])

    def test_sample(self) -> "ToySource | None":
        return self.sample

    def load(self, root: Path) -> Events:
        self.loads.append(root)
        return self.events


def with_stations(events: Events) -> Events:
    """The same with a hit feature ``stationIndex``, scaled: which layer a hit lies in."""
    radius = events.column("r")[:, None]
    station = np.abs(radius - np.array(LAYERS)).argmin(1) * np.float32(0.1)
    return replace(
        events,
        hits=np.concatenate([events.hits, station[:, None]], axis=1),
        features=(*events.features, "stationIndex"),
    )


def passes(events: Events, event: int, number: int, cuts: SelectionConfig) -> bool:
    """Whether one true track passes a selection, from the words of the specification."""
    eta, _, pt, _ = (float(v) for v in events.tracks[events.track_offsets[event] + number])
    first, last = events.hit_offsets[event], events.hit_offsets[event + 1]
    own = [hit for hit in range(first, last) if events.hit_track[hit] == number]
    ok = len(own) >= cuts.min_hits and abs(eta) >= cuts.min_abs_eta and pt >= cuts.min_pt
    if cuts.max_abs_eta is not None:
        ok = ok and abs(eta) <= cuts.max_abs_eta
    if cuts.min_stations:
        column = events.features.index("stationIndex")
        stations = Counter(round(10 * float(events.hits[hit, column])) for hit in own)
        good = [name for name, hits in stations.items() if hits >= cuts.min_station_hits]
        ok = ok and len(good) >= cuts.min_stations
    return ok
