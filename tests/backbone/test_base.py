"""Assignment against a loop over tracks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.backbone.base import (
    BackboneBatch,
    assign,
    assign_valid,
    join,
    refuse_seen,
)
from headsweep.backbone.matching import match
from headsweep.backbone.truth import TruthBackbone
from headsweep.errors import UserError
from headsweep.events.base import event_hashes
from helpers.toy_backbones import Knows
from helpers.toy_events import toy_events


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.sampled_from([0.1, 0.5, 0.9]))
def test_assign_equals_a_loop_over_tracks(seed: int, queries: int, threshold: float) -> None:
    events = toy_events(7, seed, most_tracks=3, noise=4)
    rng = np.random.default_rng(seed)
    lengths = np.diff(events.hit_offsets)
    parts, want = [], []
    for rows in (slice(0, 3), slice(3, 7)):
        n, width = rows.stop - rows.start, lengths[rows].max()
        p = rng.uniform(size=(n, queries, width)).astype(np.float32)
        for row in range(n):
            p[row, :, lengths[rows][row] :] = 0
        batch = BackboneBatch(
            rows,
            query=rng.normal(size=(n, queries, 3)).astype(np.float32),
            encoded=rng.normal(size=(n, width, 3)).astype(np.float32),
            p=p,
            valid=np.ones((n, queries), np.float32),
        )
        parts.append(assign(events, batch, threshold))
        for row, e in enumerate(range(rows.start, rows.stop)):
            first, length = events.hit_offsets[e], lengths[e]
            links = events.hit_track[first : first + length]
            n_tracks = events.track_offsets[e + 1] - events.track_offsets[e]
            truth = np.array([links == k for k in range(n_tracks)])
            for k, q in enumerate(match(p[row, :, :length], truth)):
                if q >= 0:
                    columns = [m for m in range(length) if p[row, q, m] >= threshold]
                    want.append((e, k, batch.query[row, q], batch.encoded[row], p[row, q], columns))
    found = join(parts)
    assert len(found.track) == len(want)
    for t, (e, k, query, encoded, p, columns) in enumerate(want):
        part = slice(found.offsets[t], found.offsets[t + 1])
        first = events.hit_offsets[e]
        assert found.event[t] == e
        assert found.track[t] == events.track_offsets[e] + k
        np.testing.assert_array_equal(found.query[t], query)
        np.testing.assert_array_equal(found.hit[part] - first, columns)
        np.testing.assert_array_equal(found.encoded[part], encoded[columns])
        np.testing.assert_array_equal(found.p[part], p[columns])
        np.testing.assert_array_equal(found.correct[part], events.hit_track[found.hit[part]] == k)


def test_the_threshold_does_not_change_which_tracks_are_found() -> None:
    events = toy_events(20, 3)
    rng = np.random.default_rng(0)
    lengths = np.diff(events.hit_offsets)
    p = rng.uniform(size=(20, 2, lengths.max())).astype(np.float32) ** 4
    p[np.broadcast_to(np.arange(lengths.max()) >= lengths[:, None, None], p.shape)] = 0
    batch = BackboneBatch(
        slice(0, 20),
        np.zeros((20, 2, 1), np.float32),
        np.zeros((20, lengths.max(), 1), np.float32),
        p,
        np.ones((20, 2), np.float32),
    )
    found = [assign(events, batch, threshold) for threshold in (0.01, 0.5, 0.99)]
    for other in found[1:]:
        np.testing.assert_array_equal(other.track, found[0].track)
    assert (np.diff(found[-1].offsets) == 0).any()


def test_events_of_the_training_may_only_be_in_train(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever their numbers are, and in whatever order their hits come."""
    events = toy_events(30, seed=1)
    backbone = Knows(1.0, 1.0, 0, 4, seen=event_hashes(events.take(np.arange(10))))
    new = events.take(np.arange(10, 30))
    refuse_seen(backbone, {"train": events, "val": new, "dev": new})
    renumbered = replace(events, ids=events.ids + 5000)
    mixed = {"train": new, "val": renumbered.take(np.arange(8, 12)), "dev": new, "test": events}
    message = r"trained on 2 of 4 events of val, 10 of 30 events of test, which would judge it"
    with pytest.raises(UserError, match=message):
        refuse_seen(backbone, mixed)
    assert not caplog.records
    refuse_seen(TruthBackbone(1.0, 1.0, 0, 4), mixed)
    assert not caplog.records
    refuse_seen(Knows(1.0, 1.0, 0, 4), mixed)
    assert "Knows does not say which events it was trained on" in caplog.text


def test_without_truth_the_valid_queries_are_the_tracks() -> None:
    """A loop over queries: valid, with one sure hit; hits by the threshold, padding never."""
    events = toy_events(7)
    rng = np.random.default_rng(3)
    counts = np.diff(events.hit_offsets)
    p = rng.choice([0, 0.2, 0.4, 0.9], (4, 3, counts.max()), p=[0.7, 0.1, 0.18, 0.02])
    p = (p * (np.arange(counts.max()) < counts[2:6, None])[:, None]).astype(np.float32)
    batch = BackboneBatch(
        events=slice(2, 6),
        query=rng.normal(size=(4, 3, 5)).astype(np.float32),
        encoded=rng.normal(size=(4, counts.max(), 5)).astype(np.float32),
        p=p,
        valid=rng.choice([0.49, 0.5, 0.9], (4, 3)).astype(np.float32),
    )
    found = assign_valid(events, batch, 0.3)
    expected = [
        (row, q, np.flatnonzero(p[row, q] >= 0.3))
        for row in range(4)
        for q in range(3)
        if batch.valid[row, q] >= 0.5 and p[row, q].max() >= 0.5
    ]
    assert 0 < len(expected) < 12
    assert len(found.track) == len(expected)
    for i, (row, q, hits) in enumerate(expected):
        mine = slice(*found.offsets[i : i + 2])
        assert found.event[i] == 2 + row
        np.testing.assert_array_equal(found.query[i], batch.query[row, q])
        np.testing.assert_array_equal(found.hit[mine], events.hit_offsets[2 + row] + hits)
        np.testing.assert_array_equal(found.encoded[mine], batch.encoded[row, hits])
        np.testing.assert_array_equal(found.p[mine], p[row, q, hits])
    assert not found.correct.any()
