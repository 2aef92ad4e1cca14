"""A folder of frozen features is read as it was written, and refused where it is damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from headsweep.errors import DataError, UserError
from headsweep.events import frozen
from headsweep.events.frozen import FrozenFeatures, open_recorded
from headsweep.events.gate import read_events
from headsweep.files import read_sealed, write_sealed
from helpers.frozen import checksums, write_folder


def source(folder: Path, **changes: Any) -> FrozenFeatures:
    arguments: dict[str, Any] = {"plane": "rz", "pt_edges": [5, 200], "min_bin_tracks": 1}
    return FrozenFeatures(str(folder), **(arguments | {"limits": {}, "coils": None} | changes))


def test_events_have_the_hits_of_their_tracks(tmp_path: Path) -> None:
    tables = write_folder(tmp_path / "f", events=12)
    events = source(tmp_path / "f").load(tmp_path)
    assert events.ids.tolist() == list(range(12))
    assert events.features == ("r", "s", "theta", "phi", "eta")
    assert len(events.tracks) == len(tables["event"])
    assert events.origin is not None
    assert events.origin.tolist() == [0] * 6 + [1] * 4 + [2] * 2
    for event in range(12):
        rows = np.flatnonzero(tables["event"] == event)
        own = slice(events.hit_offsets[event], events.hit_offsets[event + 1])
        hits = np.concatenate([tables["raw"][row] for row in rows])
        np.testing.assert_array_equal(events.hits[own], hits)
        track = np.repeat(np.arange(len(rows)), [len(tables["raw"][row]) for row in rows])
        correct = np.concatenate([tables["correct"][row] for row in rows])
        assert events.hit_track[own].tolist() == np.where(correct, track, -1).tolist()


def test_the_gate_leaves_the_numbers_and_the_splits_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "f", events=12)
    loaded = source(tmp_path / "f").load(tmp_path)
    checked = read_events(source(tmp_path / "f"), tmp_path)
    assert checked.ids.tolist() == loaded.ids.tolist()
    assert checked.origin is not None
    assert loaded.origin is not None
    assert checked.origin.tolist() == loaded.origin.tolist()


def rewrite(folder: Path, **changes: Any) -> None:
    """Change keys of ``metadata.json``."""
    write_sealed(folder / "metadata.json", content(folder) | changes)


def content(folder: Path) -> dict[str, Any]:
    found = read_sealed(folder / "metadata.json")
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["part-0.safetensors", "part-1.parquet", "metadata.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    write_folder(tmp_path / "f", events=12)
    path = tmp_path / "f" / name
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    with pytest.raises(UserError, match=name.partition(".")[0]) as caught:
        open_recorded(tmp_path / "f")
    assert "write it again with headsweep.hepattn.writer" in str(caught.value)
    if damage == "delete" and name != "metadata.json":
        assert f"{name}: missing, but metadata.json names it; copy it again" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2; this version reads format 1"),
        ({"parts": {}}, "no part in it"),
        (
            {"complete": {"train": True, "val": False}},
            "recording of val has not ended; start it again",
        ),
        ({"dim": 9}, "do not fit together"),
        ({"features": ["r"]}, "do not fit together"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_folder(tmp_path / "f", events=12)
    rewrite(tmp_path / "f", **changes)
    with pytest.raises(DataError, match=message):
        open_recorded(tmp_path / "f")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("split", ["holdout"], "not one of train, val, test"),
        ("event", [0], "event 0 of train stands in two places"),
    ],
)
def test_tracks_that_cannot_be_are_refused(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    write_folder(tmp_path / "f", events=12)
    folder = tmp_path / "f"
    table = pq.read_table(folder / "part-1.parquet")
    place = table.column_names.index(column)
    new = pa.array(values + table[column].to_pylist()[1:])
    pq.write_table(table.set_column(place, column, new), folder / "part-1.parquet")
    rewrite(folder, parts=content(folder)["parts"] | {"part-1": checksums(folder, 1)})
    with pytest.raises(DataError, match=message):
        open_recorded(folder)


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_a_p_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    write_folder(tmp_path / "f", events=12)
    folder = tmp_path / "f"
    arrays = load_file(folder / "part-0.safetensors")
    arrays["p"][0] = value
    save_file(arrays, folder / "part-0.safetensors")
    rewrite(folder, parts=content(folder)["parts"] | {"part-0": checksums(folder, 0)})
    with pytest.raises(DataError, match="p is not between 0 and 1"):
        open_recorded(folder)


def test_a_folder_is_mapped_and_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of any part in any order; no array of hits is in memory as a whole."""
    tables = write_folder(tmp_path / "f", events=12)
    monkeypatch.setattr(frozen, "CHECKED_ROWS", 25)
    found = open_recorded(tmp_path / "f")
    assert len(found.parts) == 2
    assert all(isinstance(array, np.memmap) for part in found.parts for array in part.values())
    hits = sum(len(raw) for raw in tables["raw"])
    rows = np.random.default_rng(0).permutation(hits)
    for name in ("raw", "encoded", "p", "correct"):
        np.testing.assert_array_equal(found.rows(name, rows), np.concatenate(tables[name])[rows])
    query = np.array([len(tables["query"]) - 1, 0])
    np.testing.assert_array_equal(found.rows("query", query), tables["query"][query])
    blocks = list(found.blocks())
    assert len(blocks) > 3
    assert np.concatenate(blocks).tolist() == list(range(12))
    whole = source(tmp_path / "f").load(tmp_path)
    for block in blocks:
        part, want = found.events(block, whole.features), whole.take(block)
        for field in ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids"):
            np.testing.assert_array_equal(getattr(part, field), getattr(want, field))


def test_a_part_without_hits_is_read(tmp_path: Path) -> None:
    """As of tracks that the model did not find and that have no true hit."""
    write_folder(tmp_path / "f", events=12)
    folder = tmp_path / "f"
    arrays = load_file(folder / "part-1.safetensors")
    for name in ("raw", "encoded", "p", "correct"):
        arrays[name] = arrays[name][:0]
    arrays["offsets"][:] = 0
    save_file(arrays, folder / "part-1.safetensors")
    rewrite(folder, parts=content(folder)["parts"] | {"part-1": checksums(folder, 1)})
    events = source(folder).load(tmp_path)
    assert np.diff(events.hit_offsets)[-1] == 0
    assert len(events) == 12
