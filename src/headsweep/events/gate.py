"""The gate that the events of every source pass: physical ranges, whole events, each event once.

A source reads; the gate decides what counts. It refuses what no detector can have measured, leaves
out events that are incomplete or copies of others, and orders the rest by what they are, so that
no split depends on the order of rows in a file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError
from headsweep.events.base import (
    BLOCK_HITS,
    ORIGINS,
    TRACK_COLUMNS,
    Events,
    Floats,
    Source,
    event_hashes,
    own_number,
    row_hashes,
    track_hashes,
    with_phi_in_turn,
)
from headsweep.events.checks import check_events, name_event
from headsweep.events.spool import taken

NO_TRACKS = "without a true track"
NO_HITS = "with a track row without hits"
TWICE = "with one hit listed twice"
COPIES = "copies of other events"
"""Why events are left out, the keys of ``Events.left_out``."""

NONE = "no event is complete"
MENDS = {
    NO_TRACKS: "training and metrics need true tracks (particles.parquet, num_tracks), only "
    "`headsweep predict` does not",
    NO_HITS: "a true track needs a hit that names it (column 'particle', truthLink); take the "
    "rows of other particles out of particles.parquet",
    TWICE: "write each hit once",
}
"""What to do where every event is left out, by the reason."""

WILD = 1e6
"""A value so many times the median of its column (zeros aside) is a fault, not a measurement."""

TURN = 2 * math.pi * (1 + 1e-6)
"""Largest |phi|: angles come in [-pi, pi) or [0, 2 pi), and a full turn may be rounded up."""


@dataclass(frozen=True)
class Limits:
    """Units and ranges of a source; the defaults fit any detector, a source narrows them.

    Attributes:
        extent: Distance from the origin along an axis, in m, between which the outermost hit lies.
        abs_eta: Largest |eta| of a true track.
        pt: Least and largest true pT in GeV.
        field: Field that bends the tracks, in T, positive where positive charge turns right, as
            ``headsweep data inspect`` measures it; None if that is not to be compared. Of a toroid
            only the sign is.
        compare: Compare truth with hits: tracks come from near the origin.
    """

    extent: tuple[float, float] = (0.01, 100.0)
    abs_eta: float = 7.0
    pt: tuple[float, float] = (0.01, 10_000.0)
    field: float | None = None
    compare: bool = True

    @classmethod
    def of(cls, source: Source) -> "Limits":
        """The limits of a source; those for any detector if a user's own source has none."""
        limits = getattr(source, "limits", None)
        return limits if isinstance(limits, Limits) else cls()

    def changed(self, changes: Mapping[str, Any]) -> "Limits":
        """The same with the values of ``data.source.limits``.

        Raises:
            UserError: A key is unknown, or a value is no number or no rising pair.
        """
        if not isinstance(changes, Mapping):
            raise UserError(
                f"data.source.limits={changes}: must be a mapping, such as {{extent: [0.5, 10]}}"
            )
        known = {f.name for f in fields(self)}
        values: dict[str, Any] = {}
        for key, value in changes.items():
            where = f"data.source.limits.{key}={value}"
            if key not in known:
                raise UserError(f"{where}: no such limit, only {', '.join(sorted(known))}")
            if key == "compare":
                ok, must = isinstance(value, bool), "true or false"
            elif key in ("extent", "pt"):
                value = tuple(value) if isinstance(value, list | tuple) else ()
                ok = len(value) == 2 and all(map(_number, value)) and 0 <= value[0] < value[1]
                must = "two rising numbers, such as [0.1, 1000]"
            elif key == "field":
                ok, must = value is None or (_number(value) and value != 0), "a number but 0, null"
            else:
                ok, must = _number(value) and value > 0, "a number above 0"
            if not ok:
                raise UserError(f"{where}: must be {must}")
            values[key] = value
        return replace(self, **values)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_events(source: Source, root: Path, *, truth: bool = True) -> Events:
    """Read the events of a source through the gate.

    phi comes in [-pi, pi]. Events are in the order of their numbers, those with one number in the
    order of their content; numbers that repeat are replaced by 0, 1, ...

    Args:
        source: Ours, or a user's own.
        root: The folder of all output.
        truth: Whether true tracks are needed. Without, events of which none has one pass.

    Raises:
        DataError: A value is impossible, or no event is left; names source, event and column.
    """
    where = place(source)
    events = source.load(root)
    with np.errstate(over="ignore"):  # an infinity is refused below, with event and column
        hits, tracks = (v.astype(np.float32, copy=False) for v in (events.hits, events.tracks))
    events = check_events(replace(events, hits=hits, tracks=tracks), where)
    if truth or len(events.tracks):
        events = _only(events, np.diff(events.track_offsets) > 0, NO_TRACKS)
        events = _only(events, _all_tracks_have_hits(events), NO_HITS)
    if position_columns(events.features) and not getattr(source, "hits_by_track", False):
        events = _only(events, _all_hits_differ(events), TWICE)
    if len(events) == 0:
        mends = [mend for reason, mend in MENDS.items() if events.left_out.get(reason)]
        raise DataError("; ".join([f"{where}: {NONE}: {describe(events.left_out)}", *mends]))
    _check_ranges(events, Limits.of(source), where)
    return _in_order(replace(events, tracks=with_phi_in_turn(events.tracks)), where)


def _all_tracks_have_hits(events: Events) -> NDArray[np.bool_]:
    """Whether a hit belongs to each true track of an event, bool [E]; each has one at least."""
    found = np.ones(len(events), bool)
    for rows, part in events.blocks():
        true = part.hit_track >= 0
        track = part.track_offsets[_event_of_hits(part)[true]] + part.hit_track[true]
        seen = np.bincount(track, minlength=len(part.tracks)) > 0
        if len(part):
            found[rows] = np.logical_and.reduceat(seen, part.track_offsets[:-1])
    return found


def _all_hits_differ(events: Events) -> NDArray[np.bool_]:
    """Whether no hit stands twice for one track, or as noise, in all its columns, bool [E].

    Without a position nothing is asked: two hits may then be equal in the columns that are read.
    """
    found = np.ones(len(events), bool)
    for rows, part in events.blocks():
        event = _event_of_hits(part)
        order = np.lexsort((row_hashes(part.hits, part.features), part.hit_track, event))
        hits, track, event = part.hits[order], part.hit_track[order], event[order]
        same = (event[1:] == event[:-1]) & (track[1:] == track[:-1])
        same &= (hits[1:] == hits[:-1]).all(axis=1)
        found[rows.start + event[1:][same]] = False
    return found


def _event_of_hits(events: Events) -> NDArray[np.int64]:
    """Place of the event of each hit, int64 [H]."""
    return np.repeat(np.arange(len(events)), np.diff(events.hit_offsets))


def place(source: Source) -> str:
    """Where the events of a source come from, for messages."""
    return str(getattr(source, "path", type(source).__name__))


def describe(left_out: Mapping[str, int]) -> str:
    """What was left out, in words; empty for nothing."""
    return ", ".join(f"{n:,} {reason}" for reason, n in left_out.items() if n)


def _only(events: Events, kept: NDArray[np.bool_], reason: str) -> Events:
    """The events of a mask; the others are counted under a reason."""
    if kept.all():
        return events
    left_out = _counted(events, kept, reason)
    return replace(taken(events, np.flatnonzero(kept)), left_out=left_out)


def _counted(events: Events, kept: NDArray[np.bool_], reason: str) -> dict[str, int]:
    """``Events.left_out`` with those that are not kept; without them, if all are."""
    if kept.all():
        return {**events.left_out}
    found = events.left_out.get(reason, 0) + int(np.count_nonzero(~kept))
    return {**events.left_out, reason: found}


def _in_order(events: Events, where: str) -> Events:
    """Each event once, by its content, in the order of number and content."""
    hashes = event_hashes(events)
    if events.origin is not None:
        _refuse_shared(events, events.origin, where)
    order = np.lexsort((hashes, events.ids))
    # The copy with the lowest number stays, wherever it is in the files.
    first = np.zeros(len(events), bool)
    first[order[np.unique(hashes[order], return_index=True)[1]]] = True
    if not first.all() or (np.diff(order) < 0).any():
        left_out = _counted(events, first, COPIES)
        events = replace(taken(events, order[first[order]]), left_out=left_out)
    if len(np.unique(events.ids)) < len(events):
        events = replace(events, ids=np.arange(len(events)))
    return events


def _refuse_shared(events: Events, origin: NDArray[np.int8], where: str) -> None:
    """Refuse a true track that is in two of the source's own splits, as its event is in both."""
    owner = np.repeat(np.arange(len(events)), np.diff(events.track_offsets))
    tracks = track_hashes(events.tracks)
    order = np.lexsort((origin[owner], tracks))
    same = tracks[order[1:]] == tracks[order[:-1]]
    shared = np.flatnonzero(same & (np.diff(origin[owner[order]]) != 0))
    if len(shared):
        first, second = owner[order[shared[0]]], owner[order[shared[0] + 1]]
        said = [
            f"{own_number(events.ids[e], origin[e])} of {ORIGINS[origin[e]]}"
            for e in (first, second)
        ]
        raise DataError(
            f"{where}: a true track of event {said[0]} is in event {said[1]} "
            f"({len(shared):,} such pairs): "
            "training and evaluation would share events; take them out of one of the two"
        )


def _check_ranges(events: Events, limits: Limits, where: str) -> None:
    """Refuse a value outside of the limits, by event and column."""
    truth = dict(zip(TRACK_COLUMNS, events.tracks.T.astype(np.float64), strict=True))
    for name, low, high, hint in (
        ("phi", -TURN, TURN, _degrees(truth["phi"])),
        ("eta", -limits.abs_eta, limits.abs_eta, ""),
        ("pt", *limits.pt, _momentum_unit(truth["pt"], limits.pt)),
    ):
        if ((truth[name] < low) | (truth[name] > high)).any():
            said = _outside(events, "track", name, low, high)
            raise DataError(f"{where}: {said}{hint and '; ' + hint}")
    if not len(events.hits):
        raise DataError(f"{where}: no event has a hit; do both files number events alike?")
    sizes, largest = _sizes(events)
    _check_positions(events, sizes, largest, limits.extent, where)
    for column, name in enumerate(events.features):
        size = sizes[:, column]
        usual = float(np.median(size[size > 0])) if size.any() else 0.0
        high = WILD * usual
        if largest[column] > high:
            said = _outside(events, "hit", name, -high, high)
            raise DataError(f"{where}: {said}; the median of its size is {usual:.3g}")


def _sizes(events: Events) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sizes of the hit features of at most ``BLOCK_HITS`` hits, [H, F], and the largest, [F]."""
    step = -(-len(events.hits) // BLOCK_HITS)
    sizes, largest = [], np.zeros(len(events.features), np.float32)
    for rows, part in events.blocks():
        size = np.abs(part.hits)
        largest = np.maximum(largest, size.max(axis=0, initial=0))
        # A view would keep the whole block.
        sizes.append(size[-events.hit_offsets[rows.start] % step :: step].copy())
    return np.concatenate(sizes), largest


def _check_positions(
    events: Events,
    sizes: NDArray[np.float32],
    largest: NDArray[np.float32],
    extent: tuple[float, float],
    where: str,
) -> None:
    """Refuse hits outside of the detector, and a detector that is far too small."""
    low, high = extent
    names = [name for columns in position_columns(events.features) for name in columns]
    if not names and {"r", "s", "theta"} <= {*events.features}:  # those of ``base.derive``
        names = ["r", "s"]
    columns = [events.features.index(name) for name in names]
    for name, column in zip(names, columns, strict=True):
        # A distance may be that of a corner.
        most = high * math.sqrt(3) if name in ("r", "s") else high
        if largest[column] > most:
            hint = f"hits lie within {high:g} m of the origin, see data.source.limits.extent"
            if np.quantile(sizes[:, column], 0.5) > most:
                hint = f"positions look like mm where m are expected; {hint}"
            raise DataError(f"{where}: {_outside(events, 'hit', name, -most, most)}; {hint}")
    farthest = float(largest[columns].max(initial=0))
    if 0 < farthest < low:
        raise DataError(
            f"{where}: hit columns {', '.join(names[:3])}: no hit is farther than "
            f"{farthest:.3g} m from the origin along an axis, but at least {low:g} m are expected: "
            "positions look a thousandfold too small; they must come out in m "
            "(data.source.limits.extent holds the range)"
        )


def _outside(
    events: Events, kind: Literal["hit", "track"], name: str, low: float, high: float
) -> str:
    """The first value of a column outside of a range, and how many there are, in words."""
    first, count = "", 0
    for rows, part in events.blocks():
        table, names, offsets = {
            "hit": (part.hits, part.features, part.hit_offsets),
            "track": (part.tracks, TRACK_COLUMNS, part.track_offsets),
        }[kind]
        values = table[:, names.index(name)].astype(np.float64)
        wrong = (values < low) | (values > high)
        if wrong.any() and not first:
            row = int(np.argmax(wrong))
            event = name_event(part, row, offsets, rows.start)
            first = f"{event}, {kind} column {name!r}: {values[row]:g}"
        count += int(np.count_nonzero(wrong))
    unit = {"pt": " GeV", "phi": " rad"}.get(name, "") if kind == "track" else ""
    return f"{first} is outside of {low:.4g} to {high:.4g}{unit} ({count} such values)"


def _degrees(phi: Floats) -> str:
    """Hint that a column looks like degrees; empty if it does not."""
    outside = np.abs(phi) > TURN
    looks = len(phi) and np.mean(outside) > 0.5 and np.abs(phi).max() <= 361
    return "phi looks like degrees; it must be in radians" if looks else ""


def _momentum_unit(pt: Floats, limits: tuple[float, float]) -> str:
    """Hint that pT has another unit, if most of it then lies within the limits."""
    middle = float(np.median(pt)) if len(pt) else 0.0
    if middle > limits[1] / 10 and limits[0] <= middle / 1000 <= limits[1]:
        return "pT looks like MeV; it must be in GeV"
    if middle < 10 * limits[0]:
        return "pT looks like TeV or like 1/pT; it must be pT in GeV"
    return "data.source.limits.pt holds the range"


def position_columns(features: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Columns x, y, z of each point of a hit; a wire has two points, a bare channel none."""
    points = [(f"globEdge{end}X", f"globEdge{end}Y", f"globEdge{end}Z") for end in ("Low", "High")]
    points.append(("x", "y", "z"))
    return [columns for columns in points if set(columns) <= set(features)]
