"""Checks of the arrays that a source gives: their shapes, and values that no event can have."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError
from headsweep.events.base import ORIGINS, TRACK_COLUMNS, Events, own_number


def name_event(events: Events, row: int, offsets: NDArray[np.int64], first: int = 0) -> str:
    """The event of a row of hits or tracks, in words; with its place where numbers repeat.

    Args:
        events: The events, or a block of them.
        row: The row of a hit or track among theirs.
        offsets: Their ``hit_offsets`` or ``track_offsets``.
        first: Place of the first of them in the files.
    """
    place = int(np.searchsorted(offsets, row, side="right")) - 1
    number = events.ids[place]
    unique = np.count_nonzero(events.ids == number) == 1
    where = f" (number {first + place} from 0 in the files)"
    if events.origin is not None:
        origin = int(events.origin[place])
        number = f"{own_number(number, origin)} of {ORIGINS[origin]}"
    return f"event {number}{'' if unique else where}"


def check_events(events: Events, where: str, first: int = 0) -> Events:
    """Check events and return them unchanged.

    Args:
        events: The events that a source read.
        where: The file or folder, for the message.
        first: Place of the first event in the files.

    Raises:
        DataError: Arrays whose shapes disagree, a NaN or infinity, a hit that points to no track,
            a charge other than +-1, or a pT that is not positive. Names event and column.
    """
    _check_shapes(events, where)
    if len(events) == 0:
        raise DataError(f"{where}: no events")
    for rows, part in events.blocks():
        _check_block(part, where, first + rows.start)
    return events


def _check_block(events: Events, where: str, first: int) -> None:
    """Refuse values that are not finite, or that no event can have."""
    for values, names, offsets, kind in (
        (events.hits, events.features, events.hit_offsets, "hit"),
        (events.tracks, TRACK_COLUMNS, events.track_offsets, "track"),
    ):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = (int(v) for v in bad[0])
            raise DataError(
                f"{where}: {name_event(events, row, offsets, first)}, {kind} column "
                f"{names[column]!r}: "
                f"{values[row, column]} is not finite ({len(bad)} such values)"
            )
    n_tracks = np.diff(events.track_offsets)
    limit = np.repeat(n_tracks, np.diff(events.hit_offsets))
    bad_link = (events.hit_track < -1) | (events.hit_track >= limit)
    bad_link &= limit > 0  # events without tracks are left out as a whole
    if bad_link.any():
        row = int(np.argmax(bad_link))
        raise DataError(
            f"{where}: {name_event(events, row, events.hit_offsets, first)}: a hit belongs to "
            f"track {events.hit_track[row]}, but the event has {limit[row]} track rows"
        )
    for column, name, wrong in (
        (2, "pt", events.tracks[:, 2] <= 0),
        (3, "q", np.abs(events.tracks[:, 3]) != 1),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{where}: {name_event(events, row, events.track_offsets, first)}, track column "
                f"{name!r}: {events.tracks[row, column]} is not allowed"
            )


def _check_shapes(events: Events, where: str) -> None:
    """Refuse arrays that do not fit together, as a source of a user's own may give."""
    counts = {"hits": len(events.hits), "tracks": len(events.tracks)}
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...], str]] = {
        "hits": (events.hits, (counts["hits"], len(events.features)), "f"),
        "hit_track": (events.hit_track, (counts["hits"],), "i"),
        "tracks": (events.tracks, (counts["tracks"], len(TRACK_COLUMNS)), "f"),
        "hit_offsets": (events.hit_offsets, (len(events) + 1,), "i"),
        "track_offsets": (events.track_offsets, (len(events) + 1,), "i"),
        "ids": (events.ids, (len(events),), "i"),
    }
    for name, (array, shape, kind) in shapes.items():
        if array.shape != shape or array.dtype.kind != kind:
            raise DataError(
                f"{where}: {name} is {array.dtype} {array.shape}, but must be "
                f"{'float' if kind == 'f' else 'int'} {shape}"
            )
    for name, offsets in (("hits", events.hit_offsets), ("tracks", events.track_offsets)):
        if offsets[0] != 0 or offsets[-1] != counts[name] or (np.diff(offsets) < 0).any():
            raise DataError(
                f"{where}: the offsets of the {name} must rise from 0 to {counts[name]}"
            )
    if len(set(events.features)) < len(events.features):
        raise DataError(f"{where}: a hit feature appears twice: {', '.join(events.features)}")
