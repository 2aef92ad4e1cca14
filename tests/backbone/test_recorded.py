"""The recorded hits of each track, at any threshold, whatever events are asked for."""

from pathlib import Path

import numpy as np
import pytest

from headsweep.backbone.base import refuse_seen
from headsweep.backbone.recorded import RecordedBackbone
from headsweep.config import SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import ORIGINS, splits_of
from headsweep.events.frozen import FrozenFeatures
from helpers.frozen import write_folder


@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.999])
def test_hits_of_found_tracks(tmp_path: Path, threshold: float) -> None:
    tables = write_folder(tmp_path / "f", events=12)
    events = FrozenFeatures(str(tmp_path / "f"), "rz", [5, 200], 1, {}, None).load(tmp_path)
    some = np.array([9, 2, 3, 11])
    found = RecordedBackbone(str(tmp_path / "f")).assigned(events.take(some), threshold)
    part = events.take(some)
    rows = [row for event in some for row in np.flatnonzero(tables["event"] == event)]
    kept = [i for i, row in enumerate(rows) if tables["found"][row]]
    assert found.track.tolist() == kept
    assert found.event.tolist() == [
        int(np.flatnonzero(some == tables["event"][rows[i]])[0]) for i in kept
    ]
    for track, i in enumerate(kept):
        row = rows[i]
        use = tables["p"][row] >= np.float32(threshold)
        own = slice(found.offsets[track], found.offsets[track + 1])
        np.testing.assert_array_equal(part.hits[found.hit[own]], tables["raw"][row][use])
        np.testing.assert_array_equal(found.encoded[own], tables["encoded"][row][use])
        np.testing.assert_array_equal(found.p[own], tables["p"][row][use])
        np.testing.assert_array_equal(found.correct[own], tables["correct"][row][use])
        np.testing.assert_array_equal(found.query[track], tables["query"][row])


def test_events_that_trained_the_model_may_not_judge_it(tmp_path: Path) -> None:
    """Six of the twelve did; ``predict`` on the whole folder would count them."""
    write_folder(tmp_path / "f", events=12)
    backbone = RecordedBackbone(str(tmp_path / "f"))
    events = FrozenFeatures(str(tmp_path / "f"), "rz", [5, 200], 1, {}, None).load(tmp_path)
    parts = splits_of(events, SplitConfig())
    refuse_seen(backbone, {name: events.take(rows) for name, rows in parts.items()})
    with pytest.raises(UserError, match="6 of 12 events of the given data"):
        refuse_seen(backbone, {"the given data": events})


def test_two_recordings_of_an_event_are_one_event(tmp_path: Path) -> None:
    """In the second one hits are missing, as a filter or another padding of the batch leaves them.

    Counted by hand: events 0 to 5 trained in the first recording, 3 to 8 in the second.
    """
    write_folder(tmp_path / "f", events=12)
    write_folder(tmp_path / "g", events=12, first_trained=3, dropped=2)
    backbone = RecordedBackbone(str(tmp_path / "f"))
    events = FrozenFeatures(str(tmp_path / "g"), "rz", [5, 200], 1, {}, None).load(tmp_path)
    by_split = {
        name: events.take(np.flatnonzero(events.origin == number))
        for number, name in enumerate(ORIGINS)
    }
    with pytest.raises(UserError, match=r"trained on 1 of 4 events of val, 2 of 2 events of test"):
        refuse_seen(backbone, by_split)


def test_what_the_folder_does_not_have_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "f", events=12)
    write_folder(tmp_path / "g", events=12, seed=1)
    backbone = RecordedBackbone(str(tmp_path / "f"))
    events = FrozenFeatures(str(tmp_path / "f"), "rz", [5, 200], 1, {}, None).load(tmp_path)
    with pytest.raises(UserError, match=r"hits from p = 0\.05 on"):
        backbone.assigned(events, 0.01)
    others = FrozenFeatures(str(tmp_path / "g"), "rz", [5, 200], 1, {}, None).load(tmp_path)
    with pytest.raises(DataError, match="other hits"):
        backbone.assigned(others, 0.1)
    assert backbone.key() == RecordedBackbone(str(tmp_path / "g")).key()  # one model wrote both
