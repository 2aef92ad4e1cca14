"""Arrays and values that no event can have are named with their event."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headsweep.errors import DataError
from headsweep.events import base
from headsweep.events.base import Events
from headsweep.events.checks import check_events
from helpers.toy_events import FEATURES, toy_events


def put(events: Events, name: str, where: tuple[int, ...] | int, value: float) -> Events:
    """The same events with one other number."""
    array = getattr(events, name).copy()
    array[where] = value
    return replace(events, **{name: array})


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("hits", FEATURES.index("t"), np.nan, ["hit column 't'", "nan"]),
        ("tracks", 1, np.inf, ["track column 'phi'", "inf"]),
        ("tracks", 2, 0.0, ["track column 'pt'", "0.0"]),
        ("tracks", 3, 2.0, ["track column 'q'", "2.0"]),
        ("hit_track", None, 9, ["a hit belongs to track 9"]),
        ("hit_track", None, -2, ["a hit belongs to track -2"]),
    ],
)
def test_a_bad_value_is_named_with_its_event(
    name: str, column: int | None, value: float, said: list[str]
) -> None:
    events = toy_events(6)
    row = events.track_offsets[4] if name == "tracks" else events.hit_offsets[4]
    spoilt = put(events, name, row if column is None else (row, column), value)
    with pytest.raises(DataError) as caught:
        check_events(spoilt, "somewhere")
    for text in ("somewhere", f"event {events.ids[4]}", *said):
        assert text in str(caught.value)


def test_no_events_are_refused() -> None:
    with pytest.raises(DataError, match="no events"):
        check_events(toy_events(6).take(np.zeros(0, np.int64)), "somewhere")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hits", lambda a: a[:, :-1], "hits is float32"),
        ("hits", lambda a: a.astype(str), "hits is <U"),
        ("hit_track", lambda a: a[:-1], "hit_track is int32"),
        ("hit_track", lambda a: a.astype(float), "hit_track is float64"),
        ("tracks", lambda a: a[:, :3], "tracks is float32"),
        ("ids", lambda a: a[:-1], "hit_offsets is int64"),
        ("hit_offsets", lambda a: a[::-1], "offsets of the hits must rise"),
        ("hit_offsets", lambda a: a + 1, "offsets of the hits must rise"),
        ("track_offsets", lambda a: a - a[3], "offsets of the tracks must rise"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    name: str, change: Callable[[NDArray[Any]], NDArray[Any]], said: str
) -> None:
    """A source of a user's own may give anything."""
    events = toy_events(6)
    with pytest.raises(DataError, match=f"somewhere: .*{said}"):
        check_events(replace(events, **{name: change(getattr(events, name))}), "somewhere")


def test_an_event_in_a_later_block_has_its_place_in_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "BLOCK_HITS", 10)
    monkeypatch.setattr(base, "BLOCK_STEP", 4)
    events = toy_events(12)
    events = replace(events, ids=np.zeros_like(events.ids))
    spoilt = put(events, "hits", (events.hit_offsets[9], 0), np.nan)
    with pytest.raises(DataError, match=r"event 0 \(number 109 from 0 in the files\)"):
        check_events(spoilt, "somewhere", first=100)
