"""A folder is written in parts; a recording that ends early goes on, and is refused until then."""

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headsweep.errors import DataError, UserError
from headsweep.events import frozen_folder
from headsweep.events.frozen import open_recorded
from headsweep.events.frozen_folder import (
    FolderWriter,
    RecordedTrack,
    event_number,
    read_metadata,
)

ABOUT: dict[str, Any] = {"features": ["r", "s"], "dim": 3, "lowest_p": 0.01}
ABOUT["model"] = {"checkpoint": "a.ckpt", "commit": "4d1f84b"}


def tracks_of(event: int) -> list[RecordedTrack]:
    """One or two tracks, the second not found."""
    rng = np.random.default_rng(event)
    tracks = []
    for number in range(1 + event % 2):
        n = int(rng.integers(1, 6))
        tracks.append(
            RecordedTrack(
                truth={"eta": 0.5, "phi": 1.0, "pt": 10.0 + event, "q": 1.0},
                found=number == 0,
                query=rng.normal(size=3).astype(np.float32),
                raw=rng.normal(size=(n, 2)).astype(np.float32),
                encoded=rng.normal(size=(n, 3)).astype(np.float32),
                p=rng.random(n).astype(np.float32),
                correct=rng.random(n) < 0.5,
            )
        )
    return tracks


def fill(writer: FolderWriter, events: Iterable[int]) -> None:
    """What a recording does: events that are there already are left out."""
    for event in events:
        split = "val" if event < 12 else "test"
        writer.begin(split)
        if event not in writer:
            writer.add(event, split, tracks_of(event), (4, 9))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_folder, "PART_BYTES", 400)


def check(folder: Path, events: int) -> None:
    found = open_recorded(folder)
    assert sorted(found.ids) == list(range(events))
    for event, first in zip(found.ids, found.track_offsets, strict=False):
        for row, track in enumerate(tracks_of(int(event)), int(first)):
            own = np.arange(found.hit_offsets[row], found.hit_offsets[row + 1])
            np.testing.assert_array_equal(found.rows("raw", own), track.raw)
            np.testing.assert_array_equal(found.rows("encoded", own), track.encoded)
            np.testing.assert_array_equal(found.rows("p", own), track.p)
            np.testing.assert_array_equal(found.rows("correct", own), track.correct)
            np.testing.assert_array_equal(found.rows("query", np.array([row]))[0], track.query)
            assert found.found[row] == track.found
            assert found.tracks[row, 2] == 10 + event


def test_what_is_written_is_read(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "f", ABOUT)
    fill(writer, range(20))
    writer.close()
    check(tmp_path / "f", 20)
    about = read_metadata(tmp_path / "f")
    assert len(about["parts"]) > 3
    assert about["counts"] == {
        "val": {"events": 12, "tracks": 18, "unmatched": 6},
        "test": {"events": 8, "tracks": 12, "unmatched": 4},
    }


def test_an_early_end_is_refused_and_goes_on(tmp_path: Path) -> None:
    """Without its end the events of the last part are missing; they come when it runs again."""
    whole = FolderWriter(tmp_path / "whole", ABOUT)
    fill(whole, range(20))
    whole.close()
    writer = FolderWriter(tmp_path / "f", ABOUT)
    fill(writer, range(14))
    del writer
    gc.collect()  # a process that ends gives its lock back
    with pytest.raises(DataError, match="recording of val, test has not ended; start it again"):
        open_recorded(tmp_path / "f")
    again = FolderWriter(tmp_path / "f", ABOUT)
    assert 0 in again
    assert not all(event in again for event in range(14))
    fill(again, range(20))
    again.close()
    check(tmp_path / "f", 20)
    assert read_metadata(tmp_path / "f")["counts"] == read_metadata(tmp_path / "whole")["counts"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["part-1.safetensors", "part-1.parquet", "metadata.json"])
def test_an_end_while_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    writer = FolderWriter(tmp_path / "f", ABOUT)
    fill(writer, range(5))
    assert len(read_metadata(tmp_path / "f", complete=False)["parts"]) == 1
    name = "write_sealed" if file == "metadata.json" else "write_atomic"
    real = getattr(frozen_folder, name)

    def dies(path: Path, *arguments: Any) -> None:
        if path.name == file:
            raise KeyboardInterrupt
        real(path, *arguments)

    monkeypatch.setattr(frozen_folder, name, dies)
    with pytest.raises(KeyboardInterrupt):
        fill(writer, range(5, 20))
    monkeypatch.setattr(frozen_folder, name, real)
    del writer
    gc.collect()
    with pytest.raises(DataError, match="has not ended"):
        open_recorded(tmp_path / "f")
    again = FolderWriter(tmp_path / "f", ABOUT)
    fill(again, range(20))
    again.close()
    check(tmp_path / "f", 20)


def test_a_complete_folder_takes_more_splits(tmp_path: Path) -> None:
    for events in (range(12), range(12, 20)):
        writer = FolderWriter(tmp_path / "f", ABOUT)
        fill(writer, events)
        writer.close()
    check(tmp_path / "f", 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest_p": 0.1}, r"was written with lowest_p 0\.01, not 0\.1"),
        ({"features": ["r"]}, r"features \['r', 's'\], not \['r'\]"),
        ({"model": {"checkpoint": "b.ckpt"}}, "model"),
    ],
)
def test_another_model_needs_another_folder(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    FolderWriter(tmp_path / "f", ABOUT).close()
    with pytest.raises(UserError, match=message):
        FolderWriter(tmp_path / "f", ABOUT | changes)


def test_what_else_is_refused(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "f", ABOUT)
    with pytest.raises(UserError, match="another process writes it"):
        FolderWriter(tmp_path / "f", ABOUT)
    [track] = tracks_of(2)
    track.encoded[0, 1] = np.nan
    with pytest.raises(UserError, match="event 2 of val: a value of hits or model is not finite"):
        writer.add(2, "val", [track], (1, 1))
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "notes.txt").touch()
    with pytest.raises(UserError, match="is no folder of frozen features"):
        FolderWriter(tmp_path / "g", ABOUT)
    with pytest.raises(DataError, match="no such file"):
        read_metadata(tmp_path / "g")
    with pytest.raises(UserError, match="split 'dev': must be one of"):
        event_number("dev", 1)


@pytest.mark.parametrize("between", [0, 1, 30])
def test_an_event_in_two_places_is_refused(tmp_path: Path, between: int) -> None:
    """In one part and in two; only those of an earlier recording are left out without a word."""
    writer = FolderWriter(tmp_path / "f", ABOUT)
    for event in (100, *range(between), 100):
        assert event not in writer
        writer.add(event, "val", tracks_of(event)[:1], (1, 1))
    with pytest.raises(UserError, match="event 100 of val stands in two places; number"):
        writer.close()


def test_each_split_ends_by_itself(tmp_path: Path) -> None:
    """A recording of val that was killed stays open when that of test has ended."""
    for numbers, ends in ((range(6), False), (range(20, 26), True)):
        writer = FolderWriter(tmp_path / "f", ABOUT)
        fill(writer, numbers)
        if ends:
            writer.close()
        del writer
        gc.collect()
    with pytest.raises(DataError, match="recording of val has not ended"):
        read_metadata(tmp_path / "f")
    again = FolderWriter(tmp_path / "f", ABOUT)
    fill(again, range(6))
    again.close()
    assert read_metadata(tmp_path / "f")["complete"] == {"val": True, "test": True}
