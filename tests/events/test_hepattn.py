"""Events of the ATLAS-muon layout against an event-by-event reader, and bad values."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from numpy.typing import NDArray

from headsweep.errors import DataError
from headsweep.events.base import TRACK_COLUMNS, Events
from headsweep.events.hepattn import FEATURES, Hepattn, read_hepattn
from headsweep.events.hepattn_files import (
    FILE_INDEX,
    HITS,
    METADATA,
    ROW_INDEX,
    Chunk,
    write_hepattn,
)
from helpers.hepattn_folders import (
    Change,
    Damage,
    chunks,
    edit,
    index,
    put,
    second,
)

SCALES = [1e-3] * 6 + [1e-5, 1.0] + [1e-6] * 4 + [1e-3, 1.0, 1.0, 1.0, 0.1, 1.0]
"""As the layout's description lists them, written out once more."""


def by_event(folder: Path) -> Iterator[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Number, hits [H, 23], track row of each hit and tracks [T, 4], one event after another."""
    metadata = yaml.safe_load((folder / METADATA).read_text())
    files = [entry["h5_file"] for entry in metadata["event_mapping"]["chunk_summary"]]
    track_names = metadata["track_features"]
    for number, row in zip(np.load(folder / FILE_INDEX), np.load(folder / ROW_INDEX), strict=True):
        with h5py.File(folder / files[number]) as file:
            disk = file["hits"][row, : file["num_hits"][row]].astype(np.float64)
            tracks = file["tracks"][row, : file["num_tracks"][row]]
            event_number = int(file["event_numbers"][row])
        link = disk[:, metadata["hit_features"].index("spacePoint_truthLink")]
        hits = disk[:, :18] * SCALES
        x, y, z = hits[:, 3], hits[:, 4], hits[:, 5]
        s = np.sqrt(x**2 + y**2 + z**2)
        theta = np.arccos(z / s)
        derived = [np.hypot(x, y), s, theta, np.arctan2(y, x), -np.log(np.tan(theta / 2))]
        particles = sorted({value for value in link.tolist() if value >= 0})
        rank = np.array([particles.index(v) if v >= 0 else -1 for v in link.tolist()])
        columns = [track_names.index("truthMuon_" + name) for name in TRACK_COLUMNS]
        yield event_number, np.column_stack([hits, *derived]), rank, tracks[:, columns]


def check_against_reference(events: Events, folder: Path) -> None:
    reference = list(by_event(folder))
    assert len(events) == len(reference)
    for e, (number, hits, rank, tracks) in enumerate(reference):
        mine = slice(events.hit_offsets[e], events.hit_offsets[e + 1])
        np.testing.assert_allclose(events.hits[mine], hits, rtol=2e-6, atol=2e-6)
        assert np.array_equal(events.hit_track[mine], rank)
        mine = slice(events.track_offsets[e], events.track_offsets[e + 1])
        assert np.array_equal(events.tracks[mine], tracks)
        assert events.ids[e] == number


def test_reads_what_an_event_by_event_reader_reads(hepattn_folder: Path) -> None:
    events = read_hepattn(hepattn_folder)
    assert events.features == FEATURES
    assert events.hits.dtype == np.float32
    assert events.hits.shape[1] == 23
    check_against_reference(events, hepattn_folder)


def test_order_is_that_of_the_index_arrays(hepattn_folder: Path) -> None:
    straight = read_hepattn(hepattn_folder)
    keep = np.random.default_rng(0).permutation(24)[:17]
    for name in (FILE_INDEX, ROW_INDEX):
        np.save(hepattn_folder / name, np.load(hepattn_folder / name)[keep])
    events = read_hepattn(hepattn_folder)
    assert np.array_equal(events.ids, straight.ids[keep])
    check_against_reference(events, hepattn_folder)


def without_a_hit(hits: NDArray[Any]) -> NDArray[Any]:
    """No hit of event 3 names a particle."""
    hits[3, :, HITS.index("truthLink")] = -1
    return hits


INCOMPLETE: dict[str, tuple[Damage, str]] = {
    "a track row without hits": (second(hits=without_a_hit), "with a track row without hits"),
    "no hit": (second(num_hits=put(0, 3)), "with a track row without hits"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_incomplete_events_are_left_out_and_counted(case: str, hepattn_folder: Path) -> None:
    whole = read_hepattn(hepattn_folder)
    damage, reason = INCOMPLETE[case]
    damage(hepattn_folder)
    events = read_hepattn(hepattn_folder)
    assert events.left_out == {reason: 1}
    kept = np.delete(np.arange(24), 15)
    for name in ("hits", "hit_track", "tracks", "ids"):
        expected = getattr(whole.take(kept), name)
        np.testing.assert_array_equal(getattr(events, name), expected)


def test_events_without_tracks_are_left_to_the_gate(hepattn_folder: Path) -> None:
    whole = read_hepattn(hepattn_folder)
    second(num_tracks=put(0, 3))(hepattn_folder)
    events = read_hepattn(hepattn_folder)
    assert events.left_out == {}
    np.testing.assert_array_equal(events.hits, whole.hits)
    kept = np.delete(np.arange(24), 15)
    assert np.flatnonzero(np.diff(events.track_offsets) > 0).tolist() == kept.tolist()
    np.testing.assert_array_equal(events.tracks, whole.take(kept).tracks)


def test_a_folder_without_event_numbers_is_read(hepattn_folder: Path) -> None:
    whole = read_hepattn(hepattn_folder)
    for name in ("events_000.h5", "events_001.h5"):
        edit(hepattn_folder / name, event_numbers=lambda _: None)
    events = read_hepattn(hepattn_folder)
    np.testing.assert_array_equal(events.hits, whole.hits)
    assert set(events.ids) == {0}


@settings(max_examples=25, deadline=None)
@given(chunks())
def test_round_trip_of_ragged_events(parts: list[Chunk]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_hepattn(Path(name), parts)
        events = read_hepattn(Path(name))
        check_against_reference(events, Path(name))
    disk = np.concatenate([part.hits for part in parts])
    scaled = disk[:, :18] * np.array(SCALES, np.float32)
    assert np.array_equal(events.hits[:, :18], scaled)
    tracks = np.concatenate([part.tracks for part in parts])
    assert np.array_equal(events.tracks, tracks[:, [1, 2, 0, 3]])
    assert np.array_equal(events.hit_track < 0, disk[:, HITS.index("truthLink")] < 0)


def test_source(hepattn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = Hepattn(str(hepattn_folder), [5.0, 50.0], 80, {})
    assert source.plane == "rz"
    assert source.pt_edges == (5.0, 50.0)
    assert source.min_bin_tracks == 80
    assert source.not_modelled == ()
    assert len(source.load(tmp_path_factory.mktemp("root"))) == 24

    same = Hepattn(str(hepattn_folder), [1.0], 200, {})
    assert len(source.key()) == 16
    assert source.key() == same.key()
    np.save(hepattn_folder / ROW_INDEX, np.load(hepattn_folder / ROW_INDEX)[::-1])
    assert Hepattn(str(hepattn_folder), [1.0], 200, {}).key() != source.key()


def test_key_of_a_missing_file(hepattn_folder: Path) -> None:
    (hepattn_folder / "events_001.h5").unlink()
    with pytest.raises(DataError, match=r"events_001\.h5: cannot be read"):
        Hepattn(str(hepattn_folder), [1.0], 200, {}).key()


def link_noise(value: float) -> Change:
    """Give the first noise hit of event 3 another truthLink."""

    def change(hits: NDArray[Any]) -> NDArray[Any]:
        column = HITS.index("truthLink")
        hits[3, np.flatnonzero(hits[3, :, column] < 0)[0], column] = value
        return hits

    return change


TIME, PT, Q = HITS.index("time"), 0, 3
EVENT = r"events_001\.h5: event 20000003"

BAD: dict[str, tuple[Damage, str]] = {
    "no events": (
        lambda f: [index(n, lambda a: a[:0])(f) for n in (FILE_INDEX, ROW_INDEX)],
        "no events",
    ),
    "NaN in a hit": (second(hits=put(np.nan, 3, 0, TIME)), EVENT + ", hit column 'time': nan"),
    "infinite hit": (second(hits=put(np.inf, 3, 0, TIME)), EVENT + ", hit column 'time': inf"),
    "too large for float32": (
        second(hits=lambda h: put(1e300, 3, 0, TIME)(h.astype(np.float64))),
        EVENT + ", hit column 'time': inf",
    ),
    "NaN in a track": (second(tracks=put(np.nan, 3, 0, PT)), EVENT + ", track column 'pt': nan"),
    "negative pT": (second(tracks=put(-5.0, 3, 0, PT)), EVENT + ", track column 'pt': -5.0"),
    "charge of 2": (second(tracks=put(2.0, 3, 0, Q)), EVENT + ", track column 'q': 2.0"),
    "no event is complete": (
        lambda f: [edit(f / f"events_00{i}.h5", num_hits=lambda n: 0 * n) for i in (0, 1)],
        "no event is complete: 24 with a track row without hits",
    ),
    "truthLink is NaN": (
        second(hits=link_noise(np.nan)),
        EVENT + ", hit column 'spacePoint_truthLink': nan is not a whole number",
    ),
    "truthLink is a fraction": (second(hits=link_noise(0.5)), "0.5 is not a whole number"),
    "truthLink is too large": (second(hits=link_noise(1e9)), "is not a whole number up to"),
    "truthLink without a track": (
        second(hits=link_noise(7)),
        EVENT + ": hit column 'spacePoint_truthLink' names . particles, but 'tracks' has . rows",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, hepattn_folder: Path) -> None:
    damage, message = BAD[case]
    damage(hepattn_folder)
    with pytest.raises(DataError) as caught:
        read_hepattn(hepattn_folder)
    assert re.search(message, str(caught.value))
    assert str(hepattn_folder) in str(caught.value)
