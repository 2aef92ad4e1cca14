"""Hit features against numpy on the raw positions of hits, read from the source itself."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import UserError
from headsweep.events.base import split_events
from headsweep.events.hepattn import Hepattn
from headsweep.events.hepattn_files import HITS, write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.features.bending import TrackHits
from headsweep.features.extract import build
from headsweep.features.hit_features import HitFeatures, track_phi
from helpers.toy_events import FEATURES, ToySource, toy_events

TRUTH = TruthBackbone(1.0, 1.0, 0, 4)


def by_hand(folder: Path, n: int) -> dict[tuple[int, int], tuple[float, float]]:
    """cos and sin of n phi of each true track, by event and number, from the file's millimetres.

    phi is the direction of the sum of unit vectors to the trigger hits.
    """
    found = {}
    [path] = folder.glob("*.h5")
    with h5py.File(path) as file:
        hits, counts, numbers = (file[k][:] for k in ("hits", "num_hits", "event_numbers"))
    x, y = HITS.index("globEdgeLowX"), HITS.index("globEdgeLowY")
    for event, count, number in zip(hits, counts, numbers, strict=True):
        own = event[:count]
        link = own[:, HITS.index("truthLink")]
        for track in sorted({int(k) for k in link if k >= 0}):
            trigger = own[(link == track) & (own[:, HITS.index("technology")] > 0)]
            total = sum((complex(h[x], h[y]) / abs(complex(h[x], h[y])) for h in trigger), 0j)
            wave = (total / abs(total)) ** n if len(trigger) else 0j
            found[int(number), track] = (wave.real, wave.imag)
    return found


def test_harmonics_are_those_of_the_trigger_hits_of_each_track(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_hepattn(folder, simulate_chunks(60, 3))
    source = Hepattn(str(folder), [5.0, 20.0], 50, {}, None, None, None)
    bent, waves = (
        build(source, TRUTH, SplitConfig(), FeaturesConfig(name, 0.1), tmp_path)
        for name in ("bending", "harmonics")
    )
    assert waves.meta.feature_names == [*bent.meta.feature_names, "cos8phi", "sin8phi"]
    want = by_hand(folder, 8)
    scale = waves.meta.scales["raw"]
    for split in ("train", "val", "dev"):
        got, plain = waves.load(split), bent.load(split)
        np.testing.assert_array_equal(got.raw[:, :-2], plain.raw)
        unscaled = got.raw[:, -2:] * scale.std[-2:] + scale.mean[-2:]
        track = -1
        for i, event in enumerate(got.event):
            track = track + 1 if i and event == got.event[i - 1] else 0
            own = unscaled[got.offsets[i] : got.offsets[i + 1]]
            np.testing.assert_allclose(
                own, np.tile(want[int(event), track], (len(own), 1)), atol=1e-4
            )


def test_without_trigger_chambers_every_hit_measures_phi(tmp_path: Path) -> None:
    events = toy_events(60)
    source = ToySource(events, coils=3)
    built = build(source, TRUTH, SplitConfig(), FeaturesConfig("harmonics", 0.1), tmp_path)
    dev, scale = built.load("dev"), built.meta.scales["raw"]
    first = int(split_events(60, val=0.2, dev=0.2, test=0, seed=0)["dev"][0])
    rows = np.arange(events.hit_offsets[first], events.hit_offsets[first + 1])
    x, y = events.hits[rows[events.hit_track[rows] == 0], :2].T
    angle = 3 * np.angle(np.exp(1j * np.arctan2(y, x)).sum())
    np.testing.assert_allclose(
        dev.raw[0, -2:] * scale.std[-2:] + scale.mean[-2:],
        [np.cos(angle), np.sin(angle)],
        atol=1e-4,
    )


def test_a_track_without_trigger_hits_has_no_harmonics() -> None:
    columns = ("x", "y", "z", "technology")
    hits = np.array([[1, 1, 0, 0], [0, 5, 0, 1], [5, 5, 0, 0], [0, 0, 3, 0]], np.float32)
    track_hits = TrackHits(hits, columns, np.array([0, 2, 3, 3, 4]))
    assert np.isnan(track_phi(track_hits)).tolist() == [False, True, True, True]
    got = HitFeatures("harmonics", "xy", 8).of(track_hits)
    np.testing.assert_allclose(got[:, -2:], [[1, 0], [1, 0], [0, 0], [0, 0]], atol=1e-6)


def test_a_field_without_symmetry_has_no_harmonics(tmp_path: Path) -> None:
    source, harmonics = ToySource(toy_events(60)), FeaturesConfig("harmonics", 0.1)
    with pytest.raises(UserError, match="use features=bending"):
        build(source, TRUTH, SplitConfig(), harmonics, tmp_path)
    assert not source.loads
    flat = replace(toy_events(60), features=("x", "u", "z", "w", *FEATURES[4:6], "v", "eta"))
    with pytest.raises(UserError, match="'y' is needed"):
        build(ToySource(flat, coils=8), TRUTH, SplitConfig(), harmonics, tmp_path)
