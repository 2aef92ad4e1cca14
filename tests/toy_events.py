"""Small events that need no simulation: bent tracks of hits in three layers, and noise."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headsweep.config import stable_hash
from headsweep.events.base import Events, derive

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

    def key(self) -> str:
        return stable_hash([self.events.hits.tolist(), self.events.ids.tolist()])

    def load(self, root: Path) -> Events:
        self.loads.append(root)
        return self.events
