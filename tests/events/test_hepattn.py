"""Events of the ATLAS-muon layout against an event-by-event reader, and bad values."""

import json
import re
import shutil
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

from headsweep.config import SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import TRACK_COLUMNS, Events, event_hashes, has_test, splits_of
from headsweep.events.gate import read_events
from headsweep.events.hepattn import DERIVED, FEATURES, Hepattn, read_hepattn
from headsweep.events.hepattn_files import (
    FILE_INDEX,
    HITS,
    METADATA,
    ROW_INDEX,
    Chunk,
    write_hepattn,
)
from headsweep.events.simulation import simulate_chunks
from helpers.hepattn_folders import (
    Change,
    Damage,
    chunks,
    edit,
    index,
    metadata,
    put,
    second,
)
from helpers.upstream import NEEDS_UPSTREAM, UPSTREAM

SCALES = [1e-3] * 6 + [1e-5, 1.0] + [1e-6] * 4 + [1e-3, 1.0, 1.0, 1.0, 0.1, 1.0]
"""As the layout's description lists them, written out once more."""


def by_event(folder: Path) -> Iterator[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Number, hits [H, 23], track row of each hit and tracks [T, 4], one event after another."""
    about = yaml.safe_load((folder / METADATA).read_text())
    files = [entry["h5_file"] for entry in about["event_mapping"]["chunk_summary"]]
    track_names = about["track_features"]
    for number, row in zip(np.load(folder / FILE_INDEX), np.load(folder / ROW_INDEX), strict=True):
        with h5py.File(folder / files[number]) as file:
            disk = file["hits"][row, : file["num_hits"][row]].astype(np.float64)
            tracks = file["tracks"][row, : file["num_tracks"][row]]
            event_number = int(file["event_numbers"][row])
        link = disk[:, about["hit_features"].index("spacePoint_truthLink")]
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
    source = Hepattn(str(hepattn_folder), [5.0, 50.0], 80, {}, None, None, None)
    assert source.splits is None
    assert source.plane == "rz"
    assert source.pt_edges == (5.0, 50.0)
    assert source.min_bin_tracks == 80
    assert source.not_modelled == ()
    assert len(source.load(tmp_path_factory.mktemp("root"))) == 24

    same = Hepattn(str(hepattn_folder), [1.0], 200, {}, None, None, None)
    assert len(source.key()) == 16
    assert source.key() == same.key()
    np.save(hepattn_folder / ROW_INDEX, np.load(hepattn_folder / ROW_INDEX)[::-1])
    assert Hepattn(str(hepattn_folder), [1.0], 200, {}, None, None, None).key() != source.key()


def test_key_of_a_missing_file(hepattn_folder: Path) -> None:
    (hepattn_folder / "events_001.h5").unlink()
    with pytest.raises(DataError, match=r"events_001\.h5: cannot be read"):
        Hepattn(str(hepattn_folder), [1.0], 200, {}, None, None, None).key()


@NEEDS_UPSTREAM
@pytest.mark.parametrize("name", ["stage1", "filtered"])
def test_reads_what_the_dataset_of_hepattn_reads(name: str) -> None:
    """Its own writers made the folders; it computes theta and eta in float32."""
    about = json.loads((UPSTREAM / "reader_expected.json").read_text())[name]
    events = read_hepattn(UPSTREAM / name)
    assert events.ids.tolist() == about["event_numbers"]
    assert np.diff(events.hit_offsets).tolist() == about["num_hits"]
    assert np.diff(events.track_offsets).tolist() == about["num_tracks"]
    with np.load(UPSTREAM / "reader_expected.npz") as want:
        for picked in about["picked"]:
            one = events.take(np.array([picked]))
            inputs, targets = (f"{name}/{picked}/{kind}/" for kind in ("inputs", "targets"))
            for column, feature in enumerate(FEATURES):
                prefix = "" if feature in DERIVED else "spacePoint_"
                theirs = want[f"{inputs}hit_{prefix}{feature}"][0]
                np.testing.assert_allclose(one.hits[:, column], theirs, rtol=1e-6, atol=6e-6)
            n = len(one.tracks)
            masks = want[targets + "particle_hit_valid"][0, :n]
            assert np.array_equal(np.equal(one.hit_track, np.arange(n)[:, None]), masks)
            for column, truth in enumerate(TRACK_COLUMNS):
                theirs = want[f"{targets}particle_truthMuon_{truth}"][0, :n]
                assert np.array_equal(one.tracks[:, column], theirs)


LISTS: dict[int, list[str]] = {
    18: [n for n in FEATURES if n != "time" and not n.startswith("cov")],
    20: ["readOutSide", *FEATURES[:-4]],
    22: list(FEATURES[:-1]),
    3: ["eta", "globEdgeLowZ", "driftR"],
}


@NEEDS_UPSTREAM
@pytest.mark.parametrize("names", LISTS.values(), ids=map(str, LISTS))
def test_a_list_of_features_is_read_in_its_order(names: list[str]) -> None:
    whole = read_hepattn(UPSTREAM / "filtered")
    prefixed = [n if n in DERIVED else "spacePoint_" + n for n in names]
    source = Hepattn(str(UPSTREAM / "filtered"), [5.0], 50, {}, None, None, prefixed)
    events = source.load(Path())
    assert events.features == tuple(names)
    for name in names:
        if name != "readOutSide":
            np.testing.assert_array_equal(events.column(name), whole.column(name))
    if "readOutSide" in names:
        with h5py.File(UPSTREAM / "filtered/data/filtered_events.h5") as file:
            column = [k.endswith("readOutSide") for k in stored_columns()].index(True)
            padded, counts = file["hits"][..., column], file["num_hits"][()]
        valid = np.arange(padded.shape[1]) < counts[:, None]
        np.testing.assert_array_equal(events.column("readOutSide"), padded[valid])
    assert source.key() != at(UPSTREAM / "filtered").key()


def stored_columns() -> list[str]:
    names: list[str] = yaml.safe_load((UPSTREAM / "filtered" / METADATA).read_text())[
        "hit_features"
    ]
    return names


def test_only_columns_that_are_used_need_be_there(hepattn_folder: Path) -> None:
    gone = [HITS.index(name) for name in ("time", "covXX", "channel")]

    def drop(content: dict[str, Any]) -> None:
        content["hit_features"] = np.delete(content["hit_features"], gone).tolist()

    metadata(drop)(hepattn_folder)
    for name in ("events_000.h5", "events_001.h5"):
        edit(hepattn_folder / name, hits=lambda hits: np.delete(hits, gone, axis=2))
    with pytest.raises(DataError, match="lacks the column 'spacePoint_time'"):
        at(hepattn_folder).load(Path())
    names = [n for n in FEATURES if n not in ("time", "covXX", "channel")]
    assert at(hepattn_folder, features=names).load(Path()).features == tuple(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "name at least one"),
        (["r", "theta", "speed"], "'speed' is none of globEdgeHighX, .* readOutSide, r, s, theta"),
        (["r", "spacePoint_truthLink"], "'spacePoint_truthLink' is none of"),
        (["time", "spacePoint_time"], "'spacePoint_time' stands twice"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        at(Path("nowhere"), features=names)


def at(
    path: Path,
    val: Path | None = None,
    test: Path | None = None,
    features: list[str] | None = None,
) -> Hepattn:
    own = [None if folder is None else str(folder) for folder in (val, test)]
    return Hepattn(str(path), [5.0, 20.0], 50, {}, *own, features)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Folders of 20, 12 and 6 events whose numbers overlap."""
    folders = [tmp_path / name for name in ("train", "val", "test")]
    for seed, (folder, n) in enumerate(zip(folders, (20, 12, 6), strict=True), start=1):
        folder.mkdir()
        write_hepattn(folder, simulate_chunks(n, seed))
        edit(folder / "events_000.h5", event_numbers=lambda numbers: np.arange(len(numbers)))
    return folders


def test_three_folders_are_three_splits(three: list[Path], tmp_path: Path) -> None:
    source = at(*three)
    assert source.splits == ("train", "val", "test")
    assert has_test(source, SplitConfig())
    events = read_events(source, tmp_path)
    assert len(events) == 38
    found = splits_of(events, SplitConfig(val=0.1, dev=0.2))
    assert {name: len(rows) for name, rows in found.items()} == {
        "train": 20,
        "val": 4,
        "dev": 8,
        "test": 6,
    }
    of_folder = [set(event_hashes(read_hepattn(folder)).tolist()) for folder in three]
    for name, rows in found.items():
        own = set(event_hashes(events.take(rows)).tolist())
        assert own <= of_folder[("train", "val", "test").index(name.replace("dev", "val"))]
    two = at(*three[:2])
    assert two.splits == ("train", "val")
    assert not has_test(two, SplitConfig(test=0.2))
    assert has_test(at(three[0]), SplitConfig(test=0.2))
    keys = {s.key() for s in (source, two, at(three[0]), at(three[0], three[2], three[1]))}
    assert len(keys) == 4


def test_an_event_in_two_folders_is_refused(three: list[Path], tmp_path: Path) -> None:
    """It has another number there."""
    shutil.copy(three[0] / "events_000.h5", three[2] / "events_000.h5")
    edit(three[2] / "events_000.h5", event_numbers=lambda numbers: numbers + 500)
    message = r"a true track of event \d+ of train is in event 50\d of test \(\d+ such pairs\)"
    with pytest.raises(DataError, match=message):
        read_events(at(*three), tmp_path)


def test_an_event_whose_hits_were_filtered_is_still_the_same(
    three: list[Path], tmp_path: Path
) -> None:
    """As in a folder before the filter of hits and one after it."""
    shutil.copy(three[0] / "events_000.h5", three[2] / "events_000.h5")
    edit(three[2] / "events_000.h5", hits=link_noise(-1.0), num_hits=lambda n: n - 1)
    with pytest.raises(DataError, match="of train is in event"):
        read_events(at(*three), tmp_path)


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
