"""Events whose hits are mapped from files are those in memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headsweep.errors import UserError
from headsweep.events import base
from headsweep.events.base import Events
from headsweep.events.spool import Spool, concatenate, mapped, taken
from helpers.toy_events import toy_events

FIELDS = ("hits", "hit_track", "hit_offsets", "tracks", "track_offsets", "ids", "origin")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about 60 hits, which are 8 events."""
    monkeypatch.setattr(base, "BLOCK_HITS", 60)
    monkeypatch.setattr(base, "BLOCK_STEP", 4)


def spooled(parts: Sequence[Events], folder: Path) -> Events:
    spool = Spool(folder)
    for part in parts:
        spool.add(part)
    return spool.events()


def same(found: Events, want: Events) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))


@pytest.mark.usefixtures("small")
def test_many_events_are_mapped(tmp_path: Path) -> None:
    events = replace(toy_events(50), origin=np.repeat(np.int8([0, 1]), 25))
    parts = [events.take(rows) for rows in np.array_split(np.arange(50), 7)]
    found = spooled(parts, tmp_path / "new")
    same(found, events)
    same(concatenate(parts), events)
    assert isinstance(found.hits, np.memmap)
    assert found.scratch == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []  # no name, so nothing is left behind
    for rows, part in found.blocks():
        assert type(part.hits) is np.ndarray
        same(part, events.take(np.arange(rows.start, rows.stop)))


def test_few_events_stay_in_memory(tmp_path: Path) -> None:
    found = spooled([toy_events(5)], tmp_path / "none")
    assert found.scratch is None
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [0, 1, 50])
def test_taken_events_are_those_of_take(count: int, tmp_path: Path) -> None:
    events = spooled([toy_events(50)], tmp_path)
    rows = np.random.default_rng(0).permutation(50)[:count]
    found = taken(events, rows)
    same(found, toy_events(50).take(rows))
    assert (found.scratch is None) == (count < 50)
    assert type(events.take(rows).hits) is np.ndarray


@pytest.mark.usefixtures("small")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        spooled([toy_events(50)], tmp_path / "file")


def test_blocks_are_joined_in_a_file(tmp_path: Path) -> None:
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    found = mapped(iter([rows[:4], rows[4:4], rows[4:]]), tmp_path)
    np.testing.assert_array_equal(found, rows)
    assert list(tmp_path.iterdir()) == []
