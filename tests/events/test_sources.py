"""What every source promises, whatever it reads."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.events.base import TRACK_COLUMNS, check_events, split_events
from headsweep.events.hepattn import Hepattn
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.parquet_tracks import ParquetTracks
from headsweep.events.simulation import simulate_chunks
from headsweep.events.spectrometer import Spectrometer

ACTS = Path("../shared/data/acts_muons")


def spectrometer(folder):
    return Spectrometer(events=30, seed=4)


def hepattn(folder):
    (folder / "layout1").mkdir()
    write_hepattn(folder / "layout1", simulate_chunks(30, 4))
    return Hepattn(str(folder / "layout1"), [5.0, 20.0], 50)


def parquet(folder, path=None):
    if path is None:
        path = folder / "parquet"
        path.mkdir()
        rng = np.random.default_rng(0)
        event, particle = np.repeat(np.arange(30), 2), np.tile([4, 9], 30)
        tracks = pd.DataFrame({"event": event, "particle": particle, "pt": rng.uniform(1, 9, 60)})
        tracks["eta"], tracks["phi"], tracks["q"] = 0.1, 0.2, np.tile([1, -1], 30)
        tracks.to_parquet(path / "particles.parquet")
        hits = tracks.loc[tracks.index.repeat(5), ["event", "particle"]]
        hits[["x", "y", "z", "t"]] = rng.normal(size=(300, 4))
        hits.to_parquet(path / "hits.parquet")
    features = ["x", "y", "z", "t"]
    derived = ["r", "s", "theta", "phi", "eta"]
    position = ["x", "y", "z"]
    scales = {"x": 1e-3, "y": 1e-3, "z": 1e-3}
    return ParquetTracks(str(path), features, scales, derived, position, "xy", [0.5, 2, 5], 80)


def acts(folder):
    return parquet(folder, ACTS)


SOURCES = [spectrometer, hepattn, parquet] + [acts] * ACTS.is_dir()


@pytest.mark.parametrize("make", SOURCES)
def test_contract(make, tmp_path):
    source = make(tmp_path)
    events = source.load(tmp_path)
    assert check_events(events, "contract") is events
    assert source.plane in ("rz", "xy")
    assert list(source.pt_edges) == sorted(source.pt_edges)
    assert source.min_bin_tracks >= 1
    assert all(isinstance(line, str) for line in source.not_modelled)
    assert len(source.key()) == 16
    assert events.hits.dtype == events.tracks.dtype == np.float32
    assert events.tracks.shape[1] == len(TRACK_COLUMNS)
    assert len(np.unique(events.ids)) == len(events)
    assert {"eta", "phi", "r"} <= set(events.features)
    assert events.hits.shape == (events.hit_offsets[-1], len(events.features))
    # Every track has a hit, and hits point to tracks of their own event.
    first = np.repeat(events.track_offsets[:-1], np.diff(events.hit_offsets))
    on_track = events.hit_track >= 0
    reached = np.unique((first + events.hit_track)[on_track])
    np.testing.assert_array_equal(reached, np.arange(len(events.tracks)))


@pytest.mark.parametrize("make", SOURCES)
def test_same_events_and_key_again(make, tmp_path):
    source = make(tmp_path)
    first, second = source.load(tmp_path), source.load(tmp_path)
    for name in ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert source.key() == source.key()


def test_splits_are_disjoint_and_whole():
    for folds in (None, 5):
        parts = split_events(103, val=0.2, dev=0.2, test=0.0, seed=3, folds=folds, fold=2)
        together = np.concatenate(list(parts.values()))
        assert sorted(together) == list(range(103))


def test_every_event_is_held_out_once():
    held_out = [
        split_events(53, val=0.15, dev=0.2, test=0.0, seed=1, folds=5, fold=fold)["dev"]
        for fold in range(5)
    ]
    assert sorted(np.concatenate(held_out)) == list(range(53))
