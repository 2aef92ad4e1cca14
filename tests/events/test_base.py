"""The promises of every source, ragged events in blocks, and the splits."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.errors import DataError, UserError
from headsweep.events import base
from headsweep.events.base import (
    TRACK_COLUMNS,
    Events,
    Source,
    cut,
    derive,
    event_hashes,
    file_hash,
    ragged_rows,
    split_events,
)
from headsweep.events.checks import check_events
from headsweep.events.hepattn import Hepattn
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.events.spectrometer import Spectrometer
from helpers.acts import ACTS, NEEDS_ACTS, parquet_source
from helpers.toy_events import toy_events


def spectrometer(folder: Path) -> Source:
    return Spectrometer(events=30, seed=4)


def hepattn(folder: Path) -> Source:
    (folder / "layout").mkdir()
    write_hepattn(folder / "layout", simulate_chunks(30, 4))
    return Hepattn(str(folder / "layout"), [5.0, 20.0], 50, {}, None, None, None)


def parquet(folder: Path) -> Source:
    rng = np.random.default_rng(0)
    event, particle = np.repeat(np.arange(30), 2), np.tile([4, 9], 30)
    tracks = pd.DataFrame({"event": event, "particle": particle, "pt": rng.uniform(1, 9, 60)})
    tracks["eta"], tracks["phi"], tracks["q"] = 0.1, 0.2, np.tile([1, -1], 30)
    tracks.to_parquet(folder / "particles.parquet")
    hits = tracks.loc[tracks.index.repeat(5), ["event", "particle"]]
    hits[["x", "y", "z", "t"]] = rng.normal(size=(300, 4))
    hits.to_parquet(folder / "hits.parquet")
    return parquet_source(folder)


def acts(folder: Path) -> Source:
    return parquet_source(ACTS)


SOURCES = [spectrometer, hepattn, parquet, pytest.param(acts, marks=NEEDS_ACTS)]


@pytest.mark.parametrize("make", SOURCES)
def test_every_source_keeps_the_contract(make: Callable[[Path], Source], tmp_path: Path) -> None:
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
def test_same_events_and_key_again(make: Callable[[Path], Source], tmp_path: Path) -> None:
    source = make(tmp_path)
    first, second = source.load(tmp_path), source.load(tmp_path)
    for name in ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert source.key() == source.key()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
@settings(max_examples=40, deadline=None)
def test_ragged_rows_are_those_of_a_loop(lengths: list[int], data: st.DataObject) -> None:
    offsets = np.cumsum([0, *lengths])
    groups = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    rows, new_offsets = ragged_rows(offsets, np.array(groups, np.int64))
    parts = [list(range(offsets[group], offsets[group + 1])) for group in groups]
    assert [rows[a:b].tolist() for a, b in pairwise(new_offsets)] == parts
    assert len(rows) == sum(map(len, parts))


def test_taken_events_are_the_chosen_ones_in_the_given_order() -> None:
    events, chosen = toy_events(9), np.array([7, 0, 7, 3])
    taken = events.take(chosen)
    assert taken.ids.tolist() == events.ids[chosen].tolist()
    for place, event in enumerate(chosen):
        for name, offsets in (("hits", "hit_offsets"), ("tracks", "track_offsets")):
            new, old = (
                getattr(e, offsets)[i : i + 2] for e, i in ((taken, place), (events, event))
            )
            np.testing.assert_array_equal(
                getattr(taken, name)[slice(*new)], getattr(events, name)[slice(*old)]
            )


def shuffled(events: Events, rng: np.random.Generator) -> Events:
    """The same events: hits and columns in another order, particles and events renumbered."""
    order = np.lexsort(
        (rng.random(len(events.hits)), np.repeat(events.ids, np.diff(events.hit_offsets)))
    )
    columns = rng.permutation(len(events.features))
    n_tracks = np.repeat(np.diff(events.track_offsets), np.diff(events.hit_offsets))
    link = np.where(events.hit_track >= 0, n_tracks - 1 - events.hit_track, -1)
    tracks = np.lexsort(
        (
            -np.arange(len(events.tracks)),
            np.repeat(np.arange(len(events)), np.diff(events.track_offsets)),
        )
    )
    return replace(
        events,
        hits=events.hits[order][:, columns],
        features=tuple(events.features[c] for c in columns),
        hit_track=link[order].astype(np.int32),
        tracks=events.tracks[tracks],
        ids=events.ids + 77,
    )


def test_the_hash_of_an_event_is_that_of_its_content() -> None:
    events, rng = toy_events(200), np.random.default_rng(3)
    hashes = event_hashes(events)
    assert hashes.dtype == np.uint64
    assert len(np.unique(hashes)) == 200
    again = shuffled(events, rng)
    assert not np.array_equal(again.tracks, events.tracks)
    np.testing.assert_array_equal(event_hashes(again), hashes)
    order = rng.permutation(200)
    np.testing.assert_array_equal(event_hashes(events.take(order)), hashes[order])


def test_any_other_number_is_another_event() -> None:
    """Two hits that swap one coordinate keep every sum over columns, and are told apart."""
    events = toy_events(6)
    hashes, row = event_hashes(events), events.hit_offsets[4]
    swapped = events.hits.copy()
    swapped[[row, row + 1], 0] = swapped[[row + 1, row], 0]
    more, neutral = events.hits.copy(), events.tracks.copy()
    more[row, 2] = np.nextafter(more[row, 2], np.float32(99))
    neutral[events.track_offsets[4], 3] = 0
    for other in (
        replace(events, hits=more),
        replace(events, tracks=neutral),
        replace(events, hits=swapped),
    ):
        assert (event_hashes(other) != hashes).tolist() == [e == 4 for e in range(6)]


@given(st.floats(1e-3, 20), st.floats(-3.1, 3.1), st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_derived_features_are_those_of_polar_coordinates(r: float, phi: float, eta: float) -> None:
    """The position is built from r, phi and eta, and gives them back."""
    theta = 2 * np.arctan(np.exp(-eta))
    x, y, z = (np.float32([v]) for v in (r * np.cos(phi), r * np.sin(phi), r / np.tan(theta)))
    expected = {"r": r, "phi": phi, "theta": theta, "eta": eta, "s": r / np.sin(theta)}
    for name, value in expected.items():
        np.testing.assert_allclose(derive(name, x, y, z), value, rtol=1e-5, atol=1e-5)


def test_an_unknown_feature_is_refused() -> None:
    with pytest.raises(UserError, match="'rapidity'"):
        derive("rapidity", *np.zeros((3, 1), np.float32))


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"hits" * 1000)
    assert file_hash(file) == hashlib.sha256(b"hits" * 1000).hexdigest()
    file.write_bytes(b"HITS" * 1000)
    assert file_hash(file) == hashlib.sha256(b"HITS" * 1000).hexdigest()
    with pytest.raises(DataError, match="absent: cannot be read"):
        file_hash(tmp_path / "absent")


@pytest.mark.parametrize("folds", [None, 5])
def test_splits_are_disjoint_and_whole(folds: int | None) -> None:
    fold = 0 if folds is None else 2
    parts = split_events(103, val=0.2, dev=0.2, test=0.0, seed=3, folds=folds, fold=fold)
    together = np.concatenate(list(parts.values()))
    assert sorted(together) == list(range(103))


def test_every_event_is_held_out_once() -> None:
    held_out = [
        split_events(53, val=0.15, dev=0.2, test=0.0, seed=1, folds=5, fold=fold)["dev"]
        for fold in range(5)
    ]
    assert sorted(np.concatenate(held_out)) == list(range(53))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="'dev'"):
        split_events(4, val=0.25, dev=0.05, test=0.0, seed=0)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 200), st.integers(1, 9))
def test_blocks_are_all_events_and_fit(n_hits: list[int], hits: int, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "BLOCK_HITS", hits)
        patch.setattr(base, "BLOCK_STEP", step)
        found = list(cut(np.array(n_hits, np.int64)))
    rows = [row for block in found for row in range(block.start, block.stop)]
    assert rows == list(range(len(n_hits)))
    for block in found:
        assert block.start % step == 0
        more = block.stop - block.start > step
        assert not more or sum(n_hits[block]) <= hits


def test_blocks_are_slices_of_the_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BLOCK_HITS", 60)
    monkeypatch.setattr(base, "BLOCK_STEP", 4)
    events = toy_events(30)
    parts = list(events.blocks())
    assert len(parts) > 2
    for rows, part in parts:
        want = events.take(np.arange(rows.start, rows.stop))
        for field in ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids"):
            np.testing.assert_array_equal(getattr(part, field), getattr(want, field))
    whole = event_hashes(events)
    monkeypatch.setattr(base, "BLOCK_HITS", 2**20)
    np.testing.assert_array_equal(event_hashes(events), whole)
