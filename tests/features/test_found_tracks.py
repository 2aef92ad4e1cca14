"""Tracks that count and tracks that are found, against loops over events."""

import numpy as np
import pytest

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import SelectionConfig
from headsweep.errors import DataError, UserError
from headsweep.features.found_tracks import (
    count_events,
    find_tracks,
    refuse_empty,
    select_tracks,
)
from helpers.toy_events import toy_events

BACKBONE = TruthBackbone(1.0, 1.0, 0, 4)


def test_events_with_a_counted_track() -> None:
    events = toy_events(30)
    counted = np.random.default_rng(0).random(len(events.tracks)) < 0.3
    want = [
        counted[a:b].any()
        for a, b in zip(events.track_offsets[:-1], events.track_offsets[1:], strict=True)
    ]
    assert count_events(events, counted) == sum(want)


def test_found_tracks_are_those_of_the_mask_with_their_hits() -> None:
    events = toy_events(30)
    counted = np.arange(len(events.tracks)) % 3 == 0
    done: list[int] = []
    found = find_tracks(events, counted, BACKBONE, 0.5, done.append)
    np.testing.assert_array_equal(found.track, np.flatnonzero(counted))
    assert done == [30]
    for number, track in enumerate(found.track):
        event = int(found.event[number])
        mask = events.hit_track == track - events.track_offsets[event]
        mask[: events.hit_offsets[event]] = mask[events.hit_offsets[event + 1] :] = False
        own = found.hit[found.offsets[number] : found.offsets[number + 1]]
        np.testing.assert_array_equal(own, np.flatnonzero(mask))


def test_nothing_to_learn_from_is_refused() -> None:
    events = toy_events(10)
    with pytest.raises(UserError, match=r"none of the \d+ true tracks of split 'train' passes"):
        select_tracks({"train": events}, SelectionConfig(min_pt=99.0))
    with pytest.raises(DataError, match=r"split 'val': the backbone found 0 of 2 tracks"):
        refuse_empty("val", 0, 0, np.array([True, True, False]), 0.5)
