"""The ATLAS-muon HDF5 layout: round trips against an event-by-event reader, and every bad input."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
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
from headsweep.events.simulation import simulate_chunks

SCALES = [1e-3] * 6 + [1e-5, 1.0] + [1e-6] * 4 + [1e-3, 1.0, 1.0, 1.0, 0.1, 1.0]
"""As the layout's description lists them, written out once more."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_hepattn(folder, (chunk for seed in (1, 2) for chunk in simulate_chunks(12, seed)))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of two files with 12 events each."""
    return shutil.copytree(original, tmp_path / "copy")


def by_event(folder: Path) -> Iterator[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Number, hits [H, 23], track row of each hit and tracks [T, 4], one event after another."""
    metadata = yaml.safe_load((folder / METADATA).read_text())
    files = [entry["h5_file"] for entry in metadata["event_mapping"]["chunk_summary"]]
    track_names = metadata["track_features"]
    for index, row in zip(np.load(folder / FILE_INDEX), np.load(folder / ROW_INDEX), strict=True):
        with h5py.File(folder / files[index]) as file:
            disk = file["hits"][row, : file["num_hits"][row]].astype(np.float64)
            tracks = file["tracks"][row, : file["num_tracks"][row]]
            number = int(file["event_numbers"][row])
        link = disk[:, metadata["hit_features"].index("spacePoint_truthLink")]
        hits = disk[:, :18] * SCALES
        x, y, z = hits[:, 3], hits[:, 4], hits[:, 5]
        s = np.sqrt(x**2 + y**2 + z**2)
        theta = np.arccos(z / s)
        derived = [np.hypot(x, y), s, theta, np.arctan2(y, x), -np.log(np.tan(theta / 2))]
        particles = sorted({value for value in link.tolist() if value >= 0})
        rank = np.array([particles.index(v) if v >= 0 else -1 for v in link.tolist()])
        columns = [track_names.index("truthMuon_" + name) for name in TRACK_COLUMNS]
        yield number, np.column_stack([hits, *derived]), rank, tracks[:, columns]


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


def test_reads_what_an_event_by_event_reader_reads(folder: Path) -> None:
    events = read_hepattn(folder)
    assert events.features == FEATURES
    assert events.hits.dtype == np.float32
    assert events.hits.shape[1] == 23
    check_against_reference(events, folder)


def test_order_is_that_of_the_index_arrays(folder: Path) -> None:
    straight = read_hepattn(folder)
    keep = np.random.default_rng(0).permutation(24)[:17]
    for name in (FILE_INDEX, ROW_INDEX):
        np.save(folder / name, np.load(folder / name)[keep])
    events = read_hepattn(folder)
    assert np.array_equal(events.ids, straight.ids[keep])
    check_against_reference(events, folder)


def test_event_numbers_that_repeat_are_replaced(folder: Path) -> None:
    for name in ("events_000.h5", "events_001.h5"):
        edit(folder / name, event_numbers=lambda _: np.arange(12))
    assert np.array_equal(read_hepattn(folder).ids, np.arange(24))


def test_columns_are_found_by_name(folder: Path) -> None:
    expected = read_hepattn(folder)
    metadata = yaml.safe_load((folder / METADATA).read_text())
    order = np.random.default_rng(1).permutation(len(HITS) + 1)
    metadata["hit_features"].append("spacePoint_readOutSide")
    metadata["hit_features"] = [metadata["hit_features"][i] for i in order]
    (folder / METADATA).write_text(yaml.safe_dump(metadata))

    def shuffled(hits: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([hits, np.full_like(hits[..., :1], np.nan)], axis=2)[..., order]

    for name in ("events_000.h5", "events_001.h5"):
        edit(folder / name, hits=shuffled)
    assert np.array_equal(read_hepattn(folder).hits, expected.hits)


@st.composite
def chunks(draw: st.DrawFn) -> list[Chunk]:
    """Up to three files with up to five events: one hit or many, any particle numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    result, first = [], 0
    for n_events in draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)):
        links, n_hits, n_tracks = [], [], []
        for _ in range(n_events):
            particles = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True))
            more = rng.choice([*particles, -1, -5], draw(st.integers(0, 8)))
            links.append(rng.permutation(np.concatenate([particles, more])))
            n_hits.append(len(links[-1]))
            n_tracks.append(len(particles))
        total, n = sum(n_hits), sum(n_tracks)
        hits = rng.normal(0, 1e4, (total, len(HITS))).astype(np.float32)
        hits[:, HITS.index("truthLink")] = np.concatenate(links)
        tracks = rng.normal(0, 1, (n, 4))
        tracks[:, 0] = rng.uniform(1, 400, n)
        tracks[:, 3] = rng.choice([-1, 1], n)
        result.append(
            Chunk(
                hits,
                np.cumsum([0, *n_hits]),
                tracks.astype(np.float32),
                np.cumsum([0, *n_tracks]),
                np.arange(first, first + n_events),
            )
        )
        first += n_events
    return result


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


def test_source(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = Hepattn(str(folder), [5.0, 50.0], 80)
    assert source.plane == "rz"
    assert source.pt_edges == (5.0, 50.0)
    assert source.min_bin_tracks == 80
    assert source.not_modelled == ()
    assert len(source.load(tmp_path_factory.mktemp("root"))) == 24

    same = Hepattn(str(folder), [1.0], 200)
    assert len(source.key()) == 16
    assert source.key() == same.key()
    np.save(folder / ROW_INDEX, np.load(folder / ROW_INDEX)[::-1])
    assert Hepattn(str(folder), [1.0], 200).key() != source.key()


def test_key_of_a_missing_file(folder: Path) -> None:
    (folder / "events_001.h5").unlink()
    with pytest.raises(DataError, match=r"events_001\.h5: cannot be read"):
        Hepattn(str(folder), [1.0], 200).key()


# Bad input: each case damages real files, and names what the message must contain.

Damage = Callable[[Path], object]
Change = Callable[[NDArray[Any]], NDArray[Any] | None]


def edit(path: Path, **changes: Change) -> None:
    """Replace datasets of an HDF5 file; a change that returns None removes its dataset."""
    with h5py.File(path, "r") as file:
        arrays = {name: file[name][()] for name in file}
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            changed = changes[name](array) if name in changes else array
            if changed is not None:
                file[name] = changed


def second(**changes: Change) -> Damage:
    """Change datasets of the second file."""
    return lambda folder: edit(folder / "events_001.h5", **changes)


def put(value: float, *where: int) -> Change:
    """Change one number; ``where`` is event, entry and column."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        array[where] = value
        return array

    return change


def metadata(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the parsed metadata in place."""

    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / METADATA).read_text())
        change(content)
        (folder / METADATA).write_text(yaml.safe_dump(content))

    return damage


def index(name: str, change: Change) -> Damage:
    return lambda folder: np.save(folder / name, np.asarray(change(np.load(folder / name))))


def truncate(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "events_001.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "events_001.h5").write_bytes(content)


def link_noise(value: float) -> Change:
    """Give the first noise hit of event 3 another truthLink."""

    def change(hits: NDArray[Any]) -> NDArray[Any]:
        column = HITS.index("truthLink")
        hits[3, np.flatnonzero(hits[3, :, column] < 0)[0], column] = value
        return hits

    return change


def no_true_hits(hits: NDArray[Any]) -> NDArray[Any]:
    hits[3, :, HITS.index("truthLink")] = -1
    return hits


TIME, PT, Q = HITS.index("time"), 0, 3
EVENT = r"events_001\.h5: event 20000003"
ONE, BOTH = "event_mapping", "chunk_summary"

BAD: dict[str, tuple[Damage, str]] = {
    "no metadata": (lambda f: (f / METADATA).unlink(), r"metadata\.yaml: cannot be read"),
    "metadata is no YAML": (lambda f: (f / METADATA).write_text("a: ["), "cannot be read"),
    "metadata is binary": (lambda f: (f / METADATA).write_bytes(b"\xff\xfe"), "cannot be read"),
    "metadata is a list": (lambda f: (f / METADATA).write_text("[]"), "must be a mapping"),
    "no chunk summary": (metadata(lambda m: m.pop(ONE)), r"chunk_summary must list"),
    "entry without file": (metadata(lambda m: m[ONE][BOTH][1].clear()), "with an h5_file"),
    "file outside": (
        metadata(lambda m: m[ONE][BOTH][1].update(h5_file="../events_001.h5")),
        "must be inside the directory",
    ),
    "hit column missing": (
        metadata(lambda m: m["hit_features"].remove("spacePoint_driftR")),
        r"metadata\.yaml: hit_features lacks the column 'spacePoint_driftR'",
    ),
    "track column missing": (
        metadata(lambda m: m["track_features"].remove("truthMuon_q")),
        "track_features lacks the column 'truthMuon_q'",
    ),
    "column named twice": (
        metadata(lambda m: m["hit_features"].append("spacePoint_time")),
        "hit_features must be a list of different names",
    ),
    "no feature list": (metadata(lambda m: m.pop("hit_features")), "hit_features must be a list"),
    "feature lists disagree": (
        metadata(lambda m: m["hit_features"].append("spacePoint_side")),
        r"'hits' has 19 columns, but metadata\.yaml names 20",
    ),
    "no index": (lambda f: (f / ROW_INDEX).unlink(), r"row_indices\.npy: cannot be read"),
    "index truncated": (truncate(FILE_INDEX, 0.5), r"file_indices\.npy: cannot be read"),
    "index empty": (truncate(FILE_INDEX, 0), r"file_indices\.npy: cannot be read"),
    "index is a pickle": (
        index(ROW_INDEX, lambda rows: rows.astype(object)),
        r"row_indices\.npy: cannot be read",
    ),
    "index of floats": (index(ROW_INDEX, lambda rows: rows / 1.0), "array of integers"),
    "index of two dimensions": (index(ROW_INDEX, lambda rows: rows[None]), "one-dimensional"),
    "indices of different length": (index(ROW_INDEX, lambda rows: rows[1:]), "24 events.* has 23"),
    "no such file index": (
        index(FILE_INDEX, put(2, 20)),
        r"file_indices\.npy: entry 20 is 2, but there are 2 files",
    ),
    "no such row": (
        index(ROW_INDEX, put(12, 20)),
        r"row_indices\.npy: events_001\.h5: entry 8 is 12, but there are 12 rows",
    ),
    "negative row": (index(ROW_INDEX, put(-1, 20)), "entry 20 is -1, must be 0 at least"),
    "event indexed twice": (
        index(ROW_INDEX, put(3, 20)),
        r"row 3 of events_001\.h5, is there more than once",
    ),
    "no events": (
        lambda f: [index(n, lambda a: a[:0])(f) for n in (FILE_INDEX, ROW_INDEX)],
        "no events",
    ),
    "no data file": (lambda f: (f / "events_001.h5").unlink(), r"events_001\.h5: missing"),
    "data truncated": (truncate("events_001.h5", 0.7), r"events_001\.h5: .*truncated"),
    "data empty": (truncate("events_001.h5", 0), r"events_001\.h5: .*truncated"),
    "data damaged": (flip_a_byte, r"events_001\.h5: .*damaged"),
    "dataset missing": (second(hits=lambda _: None), "dataset 'hits' is missing"),
    "counts missing": (second(num_tracks=lambda _: None), "dataset 'num_tracks' is missing"),
    "hits of two dimensions": (second(hits=lambda h: h[0]), "'hits' must have 3 dimensions"),
    "hits are text": (second(hits=lambda h: h.astype("S4")), "'hits' must have .* numbers"),
    "counts are floats": (second(num_hits=lambda n: n / 1.0), "'num_hits' must have .* integers"),
    "hits of fewer events": (second(hits=lambda h: h[1:]), "12 event_numbers, but 11 rows"),
    "counts of fewer events": (second(num_hits=lambda n: n[1:]), "and 11 in 'num_hits'"),
    "too large a count": (second(num_tracks=put(3, 3)), "row 3: num_tracks is 3, but .* for 2"),
    "negative count": (second(num_hits=put(-1, 3)), "row 3: num_hits is -1"),
    "NaN in a hit": (second(hits=put(np.nan, 3, 0, TIME)), EVENT + ", hit column 'time': nan"),
    "infinite hit": (second(hits=put(np.inf, 3, 0, TIME)), EVENT + ", hit column 'time': inf"),
    "too large for float32": (
        second(hits=lambda h: put(1e300, 3, 0, TIME)(h.astype(np.float64))),
        EVENT + ", hit column 'time': inf",
    ),
    "NaN in a track": (second(tracks=put(np.nan, 3, 0, PT)), EVENT + ", track column 'pt': nan"),
    "negative pT": (second(tracks=put(-5.0, 3, 0, PT)), EVENT + ", track column 'pt': -5.0"),
    "charge of 2": (second(tracks=put(2.0, 3, 0, Q)), EVENT + ", track column 'q': 2.0"),
    "no tracks": (second(num_tracks=put(0, 3)), EVENT + " has no tracks"),
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
    "track without a truthLink": (second(hits=no_true_hits), "names 0 particles, but 'tracks' has"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, folder: Path) -> None:
    damage, message = BAD[case]
    damage(folder)
    with pytest.raises(DataError) as caught:
        read_hepattn(folder)
    assert re.search(message, str(caught.value))
    assert str(folder) in str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_hepattn(folder, simulate_chunks(3, seed=1))
    return folder


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_damage_is_silent_or_another_error(tiny: Path, data: st.DataObject) -> None:
    """Any flipped byte either does not matter or is a DataError."""
    good = read_hepattn(tiny)
    file = tiny / "events_000.h5"
    content = file.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[position] ^= data.draw(st.integers(1, 255))
    file.write_bytes(damaged)
    try:
        read = read_hepattn(tiny)
    except DataError:
        return
    finally:
        file.write_bytes(content)
    assert np.array_equal(read.hits, good.hits)
    assert np.array_equal(read.hit_track, good.hit_track)
    assert np.array_equal(read.tracks, good.tracks)
