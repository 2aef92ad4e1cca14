"""The interface of a backbone, the tracks that it finds, and what it has seen."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.matching import MATCH_THRESHOLD, match
from headsweep.errors import UserError
from headsweep.events.base import Events, event_hashes, ragged_rows, track_hashes

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Progress callback: what is being done, and the share of it that is done."""

EVENTS_PER_BATCH = 1024

VALID = 0.5
"""Without truth, a query is a track where its validity is at least this."""


@dataclass(frozen=True)
class BackboneBatch:
    """Output of a backbone for a slice of consecutive events, padded to the largest.

    Attributes:
        events: Which events: ``slice(start, stop)``, E of them.
        query: Track queries, float32 [E, N, D].
        encoded: Encoded hits, float32 [E, M, D]; anything where an event has fewer hits.
        p: Probability that the hit belongs to the query, float32 [E, N, M]; 0 for padding.
        valid: Probability that the query is a track, float32 [E, N].
    """

    events: slice
    query: NDArray[np.float32]
    encoded: NDArray[np.float32]
    p: NDArray[np.float32]
    valid: NDArray[np.float32]


class Backbone(Protocol):
    """A frozen hit transformer, or a stand-in for one.

    It should have an attribute ``seen`` as well: the ``track_hashes`` of the true tracks that it
    was trained on, or the ``event_hashes`` of the events, by which ``refuse_seen`` keeps them out
    of its test. Only tracks tell events whose hits a filter has changed. Without it a warning is
    given.

    Attributes:
        dim: D, the width of queries and encoded hits.
    """

    dim: int

    def key(self) -> str:
        """Hash (16 hex) of everything that determines the output."""
        ...

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        """Yield the output for all events once, in order."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """A backbone that ran elsewhere: its tracks are found and matched already."""

    def assigned(self, events: Events, threshold: float) -> "Assignment":
        """The found tracks of the events with their hits, in the order of ``Events.tracks``."""
        ...


def refuse_seen(
    backbone: Backbone, parts: Mapping[str, Events], also: NDArray[np.uint64] | None = None
) -> None:
    """Refuse events that the backbone was trained on wherever it is judged.

    Args:
        backbone: The backbone.
        parts: Events by split; ``train`` may have events that it knows.
        also: Hashes of true tracks beside those that the backbone names.

    Raises:
        UserError: It knows some of them; the message has their number in each split.
    """
    seen = getattr(backbone, "seen", None)
    if seen is None:
        log.warning(
            "backbone %s does not say which events it was trained on (`seen`), so that nobody can "
            "check whether they are among those that judge it",
            type(backbone).__name__,
        )
        return
    if also is not None:
        seen = np.concatenate([seen, also])
    known = {
        name: f"{count:,} of {len(part):,} events of {name}"
        for name, part in parts.items()
        if name != "train" and (count := _count_known(part, seen))
    }
    if known:
        raise UserError(
            f"backbone: it was trained on {', '.join(known.values())}, which would judge it; use "
            "other events, or train one with `headsweep backbone` on these data and this data.split"
        )


def _count_known(events: Events, seen: NDArray[np.uint64]) -> int:
    """Number of events with a hash among some, be it their own or that of a true track."""
    known = np.isin(event_hashes(events), seen)
    owner = np.repeat(np.arange(len(events)), np.diff(events.track_offsets))
    known[owner[np.isin(track_hashes(events.tracks), seen)]] = True
    return int(np.count_nonzero(known))


@dataclass(frozen=True)
class Assignment:
    """Assigned hits of the T tracks that a batch found, H hits in all, ragged.

    Attributes:
        track: Row of each found track in ``Events.tracks``, int64 [T]; -1 without truth.
        event: Its event, as an index into ``Events``, int64 [T].
        query: Its query, float32 [T, D].
        offsets: Hits of found track t are ``offsets[t]:offsets[t + 1]``, int64 [T+1].
        hit: Row of each assigned hit in ``Events.hits``, int64 [H].
        encoded: Encoded hits, float32 [H, D].
        p: Assignment probability, float32 [H].
        correct: Whether the hit truly belongs to the track, bool [H].
    """

    track: NDArray[np.int64]
    event: NDArray[np.int64]
    query: NDArray[np.float32]
    offsets: NDArray[np.int64]
    hit: NDArray[np.int64]
    encoded: NDArray[np.float32]
    p: NDArray[np.float32]
    correct: NDArray[np.bool_]


def event_slices(n_events: int) -> Iterator[slice]:
    """Slices of consecutive events, ``EVENTS_PER_BATCH`` at a time."""
    for start in range(0, n_events, EVENTS_PER_BATCH):
        yield slice(start, min(start + EVENTS_PER_BATCH, n_events))


def join(parts: Sequence[Assignment]) -> Assignment:
    """Join the assignments of consecutive batches."""
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Assignment(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Assignment)
            if f.name != "offsets"
        },
    )


def truth_masks(events: Events, event: int) -> NDArray[np.bool_]:
    """Masks of the true hits of each track of one event, bool [T, M]."""
    hit_track = events.hit_track[events.hit_offsets[event] : events.hit_offsets[event + 1]]
    n_tracks = events.track_offsets[event + 1] - events.track_offsets[event]
    return np.equal(hit_track, np.arange(n_tracks)[:, None])


def assign(events: Events, batch: BackboneBatch, threshold: float) -> Assignment:
    """Match the batch's queries to the true tracks and take each one's hits.

    Args:
        events: All events, of which the batch describes a slice.
        batch: Output of a backbone.
        threshold: A hit counts for a track where p is at least this; above 0.

    Returns:
        Found tracks in the order of ``Events.tracks``, their hits in the order of
        ``Events.hits``. A found track may have no hit; tracks that are not found are left out.
    """
    indices = np.arange(batch.events.start, batch.events.stop)
    n_hits = np.diff(events.hit_offsets)[batch.events]
    query = np.concatenate(
        [
            match(batch.p[row, :, : n_hits[row]], truth_masks(events, event))
            for row, event in enumerate(indices)
        ]
    )
    tracks, track_offsets = ragged_rows(events.track_offsets, indices)
    found = query >= 0
    row = np.repeat(np.arange(len(indices)), np.diff(track_offsets))[found]
    track = tracks[found]
    number_in_event = track - events.track_offsets[indices[row]]
    taken = _take(events, batch, row, query[found], threshold)
    owner = np.repeat(np.arange(len(track)), np.diff(taken.offsets))
    correct = events.hit_track[taken.hit] == number_in_event[owner]
    return replace(taken, track=track, correct=correct)


def assign_valid(events: Events, batch: BackboneBatch, threshold: float) -> Assignment:
    """Take the tracks that the backbone itself finds, and their hits; no truth enters.

    A track is a query that is valid with p of at least ``VALID`` and that has a hit of p >=
    ``MATCH_THRESHOLD``, which a query that is matched to a true track must have as well.

    Args:
        events: All events, of which the batch describes a slice.
        batch: Output of a backbone.
        threshold: As for ``assign``.

    Returns:
        Found tracks in the order of events and queries; ``track`` is -1, no hit is correct.
    """
    sure = (batch.p >= MATCH_THRESHOLD).any(axis=-1)
    row, query = np.nonzero((batch.valid >= VALID) & sure)
    return _take(events, batch, row, query, threshold)


def _take(
    events: Events,
    batch: BackboneBatch,
    row: NDArray[np.intp],
    query: NDArray[np.intp] | NDArray[np.int64],
    threshold: float,
) -> Assignment:
    """Hits of the given queries [T] of the given events [T] of a batch, without truth."""
    event = np.arange(batch.events.start, batch.events.stop)[row]
    p = batch.p[row, query]
    owner, column = np.nonzero(p >= threshold)
    counts = np.bincount(owner, minlength=len(row))
    return Assignment(
        track=np.full(len(row), -1),
        event=event,
        query=batch.query[row, query],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        hit=events.hit_offsets[event[owner]] + column,
        encoded=batch.encoded[row[owner], column],
        p=p[owner, column],
        correct=np.zeros(len(owner), bool),
    )
