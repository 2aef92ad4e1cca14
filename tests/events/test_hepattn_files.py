"""Reader and writer of the ATLAS-muon HDF5 layout: round trips, and files that are damaged."""

import re
import tempfile
from dataclasses import fields
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
from headsweep.events.hepattn import read_hepattn
from headsweep.events.hepattn_files import (
    FILE_INDEX,
    HITS,
    METADATA,
    ROW_INDEX,
    Chunk,
    data_files,
    read_chunks,
    write_hepattn,
)
from headsweep.events.simulation import simulate_chunks
from helpers.hepattn_folders import (
    Damage,
    chunks,
    edit,
    flip_a_byte,
    index,
    metadata,
    put,
    second,
    truncate,
)


@settings(max_examples=25, deadline=None)
@given(chunks())
def test_chunks_come_back_as_they_were_written(parts: list[Chunk]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_hepattn(Path(name), parts)
        found = list(read_chunks(Path(name)))
        assert [path for path, _, _ in found] == data_files(Path(name))
    assert np.concatenate([places for _, places, _ in found]).tolist() == list(
        range(sum(len(part.numbers) for part in parts))
    )
    for part, (_, _, chunk) in zip(parts, found, strict=True):
        for field in fields(Chunk):
            np.testing.assert_array_equal(getattr(chunk, field.name), getattr(part, field.name))


def test_columns_are_found_by_name(hepattn_folder: Path) -> None:
    expected = read_hepattn(hepattn_folder)
    content = yaml.safe_load((hepattn_folder / METADATA).read_text())
    order = np.random.default_rng(1).permutation(len(HITS) + 1)
    content["hit_features"].append("spacePoint_readOutSide")
    content["hit_features"] = [content["hit_features"][i] for i in order]
    (hepattn_folder / METADATA).write_text(yaml.safe_dump(content))

    def shuffled(hits: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([hits, np.full_like(hits[..., :1], np.nan)], axis=2)[..., order]

    for name in ("events_000.h5", "events_001.h5"):
        edit(hepattn_folder / name, hits=shuffled)
    assert np.array_equal(read_hepattn(hepattn_folder).hits, expected.hits)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_hepattn(folder, simulate_chunks(3, seed=1))
    return folder


@pytest.mark.slow
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


def declare(path: Path, shape: tuple[int, ...]) -> None:
    """A dataset of a huge shape, of which next to nothing is stored."""
    with h5py.File(path, "r+") as file:
        del file["hits"]
        file.create_dataset("hits", shape, np.float32, chunks=(1, *shape[1:]))


def regroup(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["hits"]
        file.create_group("hits")


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
        r"row_indices\.npy: entry 20 is 12, but events_001\.h5 has 12 rows",
    ),
    "negative row": (index(ROW_INDEX, put(-1, 20)), "entry 20 is -1, must be 0 at least"),
    "event indexed twice": (
        index(ROW_INDEX, put(3, 20)),
        r"row 3 of events_001\.h5, is there more than once",
    ),
    "file listed twice": (
        metadata(lambda m: m[ONE][BOTH][1].update(h5_file="./events_000.h5")),
        r"metadata\.yaml: .*events_000\.h5 is listed more than once",
    ),
    "index of huge unsigned numbers": (
        index(ROW_INDEX, lambda rows: rows.astype(np.uint64) + np.uint64(2**63)),
        "entry 0 is 9223372036854775808, must be",
    ),
    "index longer than its header": (
        lambda f: (f / ROW_INDEX).write_bytes((f / ROW_INDEX).read_bytes() + bytes(8)),
        "its header does not fit its length",
    ),
    "a group for a dataset": (
        lambda f: regroup(f / "events_001.h5"),
        "'hits' must be a dataset",
    ),
    "declares a thousand million events": (
        lambda f: declare(f / "events_001.h5", (10**9, 30, 19)),
        r"events_001\.h5: dataset 'hits' declares the shape \(1000000000, 30, 19\)",
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
    "hits of fewer events": (second(hits=lambda h: h[1:]), "12 events, but 11 rows"),
    "counts of fewer events": (second(num_hits=lambda n: n[1:]), "and 11 in 'num_hits'"),
    "too large a count": (second(num_tracks=put(3, 3)), "row 3: num_tracks is 3, but .* for 2"),
    "negative count": (second(num_hits=put(-1, 3)), "row 3: num_hits is -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, hepattn_folder: Path) -> None:
    damage, message = BAD[case]
    damage(hepattn_folder)
    with pytest.raises(DataError) as caught:
        list(read_chunks(hepattn_folder))
    assert re.search(message, str(caught.value))
    assert str(hepattn_folder) in str(caught.value)
