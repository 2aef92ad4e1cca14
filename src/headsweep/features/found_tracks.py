"""True tracks that count, and those among them that a backbone finds."""

from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import Assignment, Backbone, Recorder, assign, join
from headsweep.config import SelectionConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, ragged_rows
from headsweep.events.selection import selected, words
from headsweep.features.cache import Features
from headsweep.stats.bins import ABS_ETA


def select_tracks(
    parts: Mapping[str, Events], selection: SelectionConfig
) -> dict[str, NDArray[np.bool_]]:
    """Masks of the true tracks of each split that pass the cuts, bool [T].

    Raises:
        UserError: A split has no such track.
    """
    counted = {name: selected(part, selection) for name, part in parts.items()}
    for name, tracks in counted.items():
        if not tracks.any():
            raise UserError(
                f"data.selection: none of the {len(tracks)} true tracks of split {name!r} passes "
                f"({words(selection)}); loosen it, or use more events"
            )
    return counted


def count_events(events: Events, tracks: NDArray[np.bool_]) -> int:
    """Number of events with a track of a mask over ``Events.tracks``."""
    before = np.concatenate([[0], np.cumsum(tracks)])
    return int(np.count_nonzero(np.diff(before[events.track_offsets])))


def count_by_abs_eta(found: Features, true: NDArray[np.float32]) -> list[list[int]]:
    """Count found and all true tracks [T, 4] in each bin of ``ABS_ETA``."""
    counts = (np.histogram(np.abs(t[:, 0]), ABS_ETA.edges)[0] for t in (found.truth, true))
    return [[int(n), int(total)] for n, total in zip(*counts, strict=True)]


def find_tracks(
    events: Events,
    counted: NDArray[np.bool_],
    backbone: Backbone,
    threshold: float,
    report: Callable[[int], None] = lambda n_events: None,
) -> Assignment:
    """Pass events in memory through the backbone once, and keep the found tracks of the mask.

    Args:
        events: The events.
        counted: Their true tracks that pass the cuts, bool [T].
        backbone: The backbone that assigns hits to tracks.
        threshold: Least p of an assigned hit.
        report: Called with the number of events that are done.
    """
    if isinstance(backbone, Recorder):
        return _only(backbone.assigned(events, threshold), counted)
    batches = []
    for batch in backbone.run(events):
        # Matched among all tracks, so that none takes the query of one that does not count.
        batches.append(_only(assign(events, batch, threshold), counted))
        report(batch.events.stop)
    return join(batches)


def _only(found: Assignment, counted: NDArray[np.bool_]) -> Assignment:
    """Keep the found tracks of a mask over all true tracks, with their hits."""
    tracks = np.flatnonzero(counted[found.track])
    hits, offsets = ragged_rows(found.offsets, tracks)
    return Assignment(
        track=found.track[tracks],
        event=found.event[tracks],
        query=found.query[tracks],
        offsets=offsets,
        hit=found.hit[hits],
        encoded=found.encoded[hits],
        p=found.p[hits],
        correct=found.correct[hits],
    )


def refuse_empty(
    name: str, tracks: int, hits: int, counted: NDArray[np.bool_], threshold: float
) -> NoReturn:
    """Say that a backbone found nothing that a split needs."""
    raise DataError(
        f"split {name!r}: the backbone found {tracks} of {counted.sum()} tracks and "
        f"assigned {hits} hits to them at features.assignment_threshold={threshold}; "
        "lower it, or train a backbone on these data with `headsweep backbone`, of data=frozen "
        "record a model that finds tracks"
    )
