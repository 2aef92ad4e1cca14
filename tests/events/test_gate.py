"""The gate: each event once and whole, in an order that no file decides, and values in range."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError
from headsweep.events import base, gate
from headsweep.events.base import NUMBERS, Events, event_hashes, own_number, split_events
from headsweep.events.gate import (
    COPIES,
    NO_HITS,
    NO_TRACKS,
    TWICE,
    Limits,
    describe,
    place,
    read_events,
)
from headsweep.events.hepattn import Hepattn
from headsweep.events.hepattn_files import FILE_INDEX, METADATA, ROW_INDEX, write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.events.spectrometer import Spectrometer
from helpers.toy_events import FEATURES, ToySource, toy_events

ROOT = Path("unused")


def read(events: Events) -> Events:
    return read_events(ToySource(events), ROOT)


def hashes_of_splits(events: Events) -> dict[str, set[int]]:
    parts = split_events(len(events), val=0.2, dev=0.2, test=0.2, seed=5)
    return {name: set(event_hashes(events.take(rows)).tolist()) for name, rows in parts.items()}


def test_events_in_order_pass_as_they_are() -> None:
    """So the splits of a source whose numbers rise are those of its rows."""
    events = toy_events(40)
    found = read(events)
    for name in ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(events, name))
    assert found.left_out == {}


@pytest.mark.parametrize("numbers", ["own", "repeated", "none"])
def test_no_split_depends_on_the_order_of_rows(numbers: str) -> None:
    events = toy_events(50)
    ids = {"own": events.ids, "repeated": np.arange(50) % 7, "none": np.zeros(50, np.int64)}
    events = replace(events, ids=ids[numbers])
    order = np.random.default_rng(2).permutation(50)
    first, second = read(events), read(events.take(order))
    np.testing.assert_array_equal(first.hits, second.hits)
    np.testing.assert_array_equal(first.ids, second.ids)
    assert len(np.unique(first.ids)) == 50
    assert hashes_of_splits(first) == hashes_of_splits(second)


@pytest.mark.parametrize("renumbered", [False, True])
def test_copies_are_left_out_and_leave_every_split_as_it_was(renumbered: bool) -> None:
    """Where the copies stand, and which numbers they have, changes no split."""
    events = toy_events(50)
    rows = np.random.default_rng(4).permutation(np.concatenate([np.arange(50), np.arange(9, 21)]))
    ids = events.ids[rows].copy()
    if renumbered:  # the copy with the lowest number stays
        second = np.setdiff1d(np.arange(62), np.unique(rows, return_index=True)[1])
        ids[second] += 5000
    found = read(replace(events.take(rows), ids=ids))
    assert found.left_out == {COPIES: 12}
    np.testing.assert_array_equal(found.hits, read(events).hits)
    assert hashes_of_splits(found) == hashes_of_splits(events)


def test_a_file_copied_under_another_name_shares_no_event(tmp_path: Path) -> None:
    """The copy has other event numbers, and the folder names both files."""
    write_hepattn(tmp_path, simulate_chunks(30, 2))
    content = (tmp_path / "events_000.h5").read_bytes()
    (tmp_path / "other.h5").write_bytes(content)
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        numbers = file["event_numbers"][()] + 1000
        del file["event_numbers"]
        file["event_numbers"] = numbers
    metadata = yaml.safe_load((tmp_path / METADATA).read_text())
    metadata["event_mapping"]["chunk_summary"].append({"h5_file": "other.h5"})
    (tmp_path / METADATA).write_text(yaml.safe_dump(metadata))
    for name, values in ((FILE_INDEX, np.repeat([0, 1], 30)), (ROW_INDEX, np.tile(range(30), 2))):
        np.save(tmp_path / name, values)
    found = read_events(Hepattn(str(tmp_path), [5.0, 20.0], 50, {}, None, None, None), tmp_path)
    assert len(found) == 30
    assert found.left_out == {COPIES: 30}
    assert describe(found.left_out) == "30 copies of other events"


def test_the_default_simulation_keeps_its_rows(tmp_path: Path) -> None:
    source = Spectrometer(events=60, seed=1)
    np.testing.assert_array_equal(read_events(source, tmp_path).hits, source.load(tmp_path).hits)


def without_tracks(events: Events, event: int) -> Events:
    rows = np.delete(np.arange(len(events)), event)
    lengths = np.diff(events.track_offsets)
    lengths[event] = 0
    tracks = events.take(rows).tracks
    return replace(events, tracks=tracks, track_offsets=np.concatenate([[0], np.cumsum(lengths)]))


def test_events_without_a_track_are_left_out_and_counted() -> None:
    events = toy_events(30)
    found = read(without_tracks(events, 4))
    assert found.left_out == {NO_TRACKS: 1}
    np.testing.assert_array_equal(found.ids, np.delete(events.ids, 4))
    only = without_tracks(events.take(np.array([4])), 0)
    with pytest.raises(DataError, match="ToySource: no event is complete: 1 without a true track"):
        read(only)


def test_events_with_a_track_without_hits_are_left_out_and_counted() -> None:
    """Which no reader of a source has to know; that of HDF5 does, as its rows have no names."""
    events = toy_events(30)
    second = int(np.flatnonzero(np.diff(events.track_offsets) == 2)[3])
    hits = slice(*events.hit_offsets[second : second + 2])
    link = events.hit_track.copy()
    link[hits][link[hits] == 1] = -1
    found = read(replace(events, hit_track=link))
    assert found.left_out == {NO_HITS: 1}
    np.testing.assert_array_equal(found.ids, np.delete(events.ids, second))
    with pytest.raises(DataError, match=r"30 with a track row without hits; a true track needs a"):
        read(replace(events, hit_track=np.full_like(link, -1)))


@pytest.mark.parametrize("of", ["one track", "noise", "two tracks", "a track and noise"])
def test_events_that_list_a_hit_twice_for_one_track_are_left_out(of: str) -> None:
    """A hit of two tracks may stand once for each of them."""
    events = toy_events(30)
    event = int(np.flatnonzero(np.diff(events.track_offsets) == 2)[0])
    links = {"one track": (1, 1), "noise": (-1, -1), "two tracks": (0, 1)}
    first, again = links.get(of, (1, -1))
    start, stop = events.hit_offsets[event : event + 2]
    row = start + int(np.flatnonzero(events.hit_track[start:stop] == first)[0])
    offsets = events.hit_offsets.copy()
    offsets[event + 1 :] += 1
    more = replace(
        events,
        hits=np.insert(events.hits, stop, events.hits[row], axis=0),
        hit_track=np.insert(events.hit_track, stop, np.int32(again)),
        hit_offsets=offsets,
    )
    assert read(more).left_out == ({TWICE: 1} if first == again else {})


def test_hits_without_a_position_may_be_equal() -> None:
    """As channels of wires are, or a hit of which only some columns are read."""
    events = toy_events(30)
    wires = replace(events, hits=np.round(events.hits[:, 3:4]), features=("t",))
    assert read(wires).left_out == {}


def test_events_of_which_none_has_a_track_pass_where_no_truth_is_needed() -> None:
    """Their hits are judged as ever; where some have tracks, the others are left out."""
    events = toy_events(30)
    bare = replace(events, tracks=events.tracks[:0], track_offsets=np.zeros(31, np.int64))
    bare = replace(bare, hit_track=np.full_like(events.hit_track, -1))
    found = read_events(ToySource(bare), Path(), truth=False)
    np.testing.assert_array_equal(found.hits, events.hits)
    some = read_events(ToySource(without_tracks(events, 4)), Path(), truth=False)
    assert some.left_out == {NO_TRACKS: 1}
    far = replace(bare, hits=bare.hits * np.float32(1000))
    with pytest.raises(DataError, match="positions look like mm"):
        read_events(ToySource(far), Path(), truth=False)


def changed(name: str, column: int, change: NDArray[np.float64] | float, row: int = 40) -> Events:
    events = toy_events(40)
    values = getattr(events, name).copy()
    values[row, column] = change
    return replace(events, **{name: values})


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("tracks", 0, 7.5, r"track column 'eta': 7\.5 is outside of -7 to 7"),
        ("tracks", 1, 6.4, r"track column 'phi': 6\.4 is outside of -6\.283 to 6\.283 rad"),
        ("tracks", 2, 2e4, r"track column 'pt': 20000 is outside of 0\.01 to 1e\+04 GeV"),
        ("tracks", 2, -1.0, r"track column 'pt': -1\.0 is not allowed"),
        ("hits", FEATURES.index("z"), 101.0, r"hit column 'z': 101 is outside of -100 to 100"),
        ("hits", FEATURES.index("t"), 1e30, r"hit column 't': 1e\+30 is outside.*the median"),
        ("hits", FEATURES.index("t"), -1e9, r"hit column 't': -1e\+09 is outside"),
    ],
)
def test_one_wild_value_is_named_with_its_event(
    name: str, column: int, value: float, said: str
) -> None:
    events = changed(name, column, value)
    offsets = events.hit_offsets if name == "hits" else events.track_offsets
    number = events.ids[np.searchsorted(offsets, 40, side="right") - 1]
    with pytest.raises(DataError, match=f"ToySource: event {number}, {said}"):
        read(events)


def test_an_event_of_a_recording_has_the_number_of_its_own_file() -> None:
    """Recordings set the splits apart by 10^12; a user looks for event 40 of his folder val."""
    events = changed("tracks", 2, 1e30)
    apart = replace(
        events, ids=events.ids + 2 * NUMBERS, origin=np.full(len(events), 2, dtype=np.int8)
    )
    with pytest.raises(DataError, match=r"ToySource: event 10\d\d of test, track column 'pt'"):
        read(apart)
    numbers = [(7, 0), (7, 1), (NUMBERS + 7, 1), (2 * NUMBERS + 7, 2), (5 * NUMBERS, 1)]
    assert [own_number(*pair) for pair in numbers] == [7, 7, 7, 7, 5 * NUMBERS]


def test_where_numbers_repeat_the_place_is_said() -> None:
    events = changed("tracks", 0, 7.5)
    place = np.searchsorted(events.track_offsets, 40, side="right") - 1
    with pytest.raises(DataError, match=rf"event 3 \(number {place} from 0 in the files\)"):
        read(replace(events, ids=np.full(40, 3)))


def test_a_source_of_a_users_own_may_give_doubles() -> None:
    events = toy_events(20)
    found = read(replace(events, hits=events.hits.astype(np.float64)))
    assert found.hits.dtype == np.float32
    huge = events.hits.astype(np.float64)
    huge[0, 0] = 1e300
    with pytest.raises(DataError, match="hit column 'x': inf is not finite"):
        read(replace(events, hits=huge))


def test_limits_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.source\.limits=3: must be a mapping, such as \{"):
        Limits().changed(3)  # type: ignore[arg-type]


def test_limits_are_the_sources_own_or_those_of_any_detector() -> None:
    assert Limits.of(ToySource(toy_events(3))) == Limits()
    assert Limits.of(Spectrometer(20, 1)).abs_eta == 2.7
    narrow = Limits().changed({"extent": [1, 2], "field": -0.5})
    assert narrow == Limits(extent=(1, 2), field=-0.5)
    assert place(Hepattn("some/where", [1.0], 9, {}, None, None, None)) == "some/where"


def test_sizes_of_many_hits_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the hits is kept, not the blocks that it is from."""
    events = toy_events(2000)
    monkeypatch.setattr(base, "BLOCK_HITS", len(events.hits) // 40)
    monkeypatch.setattr(base, "BLOCK_STEP", 4)
    monkeypatch.setattr(gate, "BLOCK_HITS", len(events.hits) // 40)
    tracemalloc.start()
    try:
        sizes, largest = gate._sizes(events)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sizes) <= len(events.hits) // 40 + 1
    np.testing.assert_array_equal(largest, np.abs(events.hits).max(axis=0))
    assert peak < events.hits.nbytes / 4


def test_distances_in_mm_are_refused_where_there_are_no_positions() -> None:
    """As in hepattn's shortest list of hit features."""
    events = toy_events(20)
    r, theta, phi, eta = (events.hits[:, FEATURES.index(c)] for c in ("r", "theta", "phi", "eta"))
    s = r / np.sin(theta)
    names = ("r", "s", "theta", "phi", "eta")
    metres = replace(events, hits=np.stack([r, s, theta, phi, eta], axis=1), features=names)
    read(metres)
    size = np.array([1000, 1000, 1, 1, 1], np.float32)
    with pytest.raises(DataError, match=r"hit column 'r'.*look like mm where m are expected"):
        read(replace(metres, hits=metres.hits * size))
