"""Source of events: Parquet tracks, the layout for any detector, described by a YAML alone.

A folder with two files, in any row order and with any numbering of events and particles:

- ``hits.parquet``: ``event``, ``particle`` (-1 for noise) and any numeric feature columns;
- ``particles.parquet``: ``event``, ``particle``, ``pt`` (GeV), ``eta``, ``phi``, ``q`` (+-1).

Without the second file the events have no truth; the hits need no ``particle`` then.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError, reading
from headsweep.events.base import TRACK_COLUMNS, Events, derive, file_hash
from headsweep.events.checks import check_events
from headsweep.events.gate import Limits
from headsweep.identity import stable_hash

HITS_FILE, PARTICLES_FILE = "hits.parquet", "particles.parquet"
NOISE_PARTICLE = -1
XYZ = ("x", "y", "z")
"""Names of the position in ``Events``, whatever the file calls it."""


class ParquetTracks:
    """A folder in the Parquet layout as a source of events.

    Args:
        path: The folder.
        features: Hit columns to read, in order.
        scales: Factor on reading by column; 1 where not named. Positions must come out in m.
        derived: Features computed from the scaled position: r, s, theta, phi, eta.
        position: The three of ``features`` that hold x, y, z; ``Events`` calls them x, y, z. None
            of the three may be there: hits of wires and planes have no position.
        plane: Bending plane, ``"xy"`` or ``"rz"``.
        pt_edges: Quoted pT bins in GeV.
        min_bin_tracks: A bin with fewer tracks never gets a verdict.
        limits: What differs from the ranges of any detector, see ``gate.Limits``.
        coils: Number of coils of a toroid, see ``base.Source``; else None.

    Raises:
        UserError: The arguments contradict each other.
    """

    not_modelled: Sequence[str] = ()

    def __init__(
        self,
        path: str,
        features: Sequence[str],
        scales: Mapping[str, float],
        derived: Sequence[str],
        position: Sequence[str],
        plane: str,
        pt_edges: Sequence[float],
        min_bin_tracks: int,
        limits: Mapping[str, Any],
        coils: int | None,
    ) -> None:
        self.limits = Limits().changed(limits)
        if tuple(position) == XYZ and not set(position) & set(features):
            position = ()
        for key, names in (("scales", scales), ("position", position)):
            unknown = [name for name in names if name not in features]
            if unknown:
                raise UserError(
                    f"data.source.{key}: {unknown[0]!r} is not among data.source.features"
                )
        if len(position) not in (0, 3):
            raise UserError(f"data.source.position={list(position)}: must name three columns")
        if derived and not position:
            raise UserError(
                f"data.source.derived={list(derived)}: is computed from x, y and z, which are not "
                "among data.source.features; data.source.position names columns in their place"
            )
        for name in derived:
            try:
                derive(name, *np.zeros((3, 0), np.float32))
            except UserError as error:
                raise DataError(f"{path}: data.source.derived: {error}") from None
        renamed = dict(zip(position, XYZ, strict=bool(position)))
        self.names = (*(renamed.get(name, name) for name in features), *derived)
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise UserError(f"data.source.features: {repeated[0]!r} would appear twice")
        self.path = Path(path)
        self.features, self.scales = tuple(features), dict(scales)
        self.derived, self.position = tuple(derived), tuple(position)
        self.plane, self.coils = plane, coils
        self.pt_edges: Sequence[float] = tuple(pt_edges)
        self.min_bin_tracks = min_bin_tracks

    def key(self) -> str:
        """Hash (16 hex) of the files' contents and of how they are read, not of their place."""
        return self._key

    @cached_property
    def _key(self) -> str:
        names = (HITS_FILE, PARTICLES_FILE) if self._has_truth() else (HITS_FILE,)
        files = [file_hash(self.path / name) for name in names]
        reading = [self.features, self.scales, self.derived, self.position, self.plane]
        return stable_hash([files, reading])

    def test_sample(self) -> None:
        """Return None: its test split is a part of the events."""

    def _has_truth(self) -> bool:
        return (self.path / PARTICLES_FILE).exists()

    def load(self, root: Path) -> Events:
        """Read the files; ``root`` is not used.

        Events come in rising number; hits keep the file's order within an event, tracks are
        sorted by particle number.

        Raises:
            DataError: A file, column or row that cannot be used; names file, event and column.
        """
        event = particle = np.zeros(0, np.int64)
        tracks = np.zeros((0, len(TRACK_COLUMNS)), np.float32)
        truth = self._has_truth()
        if truth:
            event, particle, tracks = _particles(self.path / PARTICLES_FILE)
        file = self.path / HITS_FILE
        table = _read(file, [*(["particle"] if truth else []), *self.features])
        hit_event = _integers(file, table, "event")
        hit_order = np.argsort(hit_event, kind="stable")
        hit_event = hit_event[hit_order]
        hit_track = np.full(len(hit_event), NOISE_PARTICLE, np.int32)
        if truth:
            hit_particle = _integers(file, table, "particle")[hit_order]
            hit_track = _link(file, hit_event, hit_particle, event, particle)
        columns = {
            new: _floats(file, table, name, self.scales.get(name, 1.0))[hit_order]
            for name, new in zip(self.features, self.names, strict=False)
        }
        columns |= {name: derive(name, *(columns[axis] for axis in XYZ)) for name in self.derived}

        ids = np.unique(np.concatenate([event, hit_event]))
        events = Events(
            hits=np.stack(list(columns.values()), axis=1),
            features=self.names,
            hit_track=hit_track,
            hit_offsets=np.append(np.searchsorted(hit_event, ids), len(hit_event)),
            tracks=tracks,
            track_offsets=np.append(np.searchsorted(event, ids), len(event)),
            ids=ids,
        )
        return check_events(events, str(self.path))


def _read(file: Path, names: Sequence[str]) -> pa.Table:
    """Read the columns ``event`` and ``names`` of one file."""
    wanted = ["event", *names]
    if not file.is_file():
        raise DataError(f"{file}: missing; is data.source.path the folder with both Parquet files?")
    with (
        reading(file, "it must be a whole Parquet file", DataError),
        pq.ParquetFile(file, page_checksum_verification=True) as parquet,
    ):
        present = parquet.schema_arrow.names
        for name in wanted:
            if present.count(name) != 1:
                what = "more than one column" if name in present else "no column"
                raise DataError(f"{file}: {what} {name!r}; it has {', '.join(present)}")
        table = parquet.read(columns=wanted)
        table.validate(full=True)
        return table


def _particles(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Event and number of each particle, in their order, and its track [T, 4]."""
    table = _read(file, ["particle", *TRACK_COLUMNS])
    event, particle = _integers(file, table, "event"), _integers(file, table, "particle")
    order = np.lexsort((particle, event))
    event, particle = event[order], particle[order]
    tracks = np.stack([_floats(file, table, name, 1.0) for name in TRACK_COLUMNS], 1)[order]
    _check_particles(file, event, particle)
    return event, particle, tracks


def _integers(file: Path, table: pa.Table, name: str) -> NDArray[np.int64]:
    column = table.column(name)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(
            f"{file}: column {name!r} holds {column.type} with {column.null_count} empty values; "
            "it must be integers"
        )
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise DataError(f"{file}: column {name!r}: a number is beyond 64 bits ({error})") from error


def _floats(file: Path, table: pa.Table, name: str, scale: float) -> NDArray[np.float32]:
    """One column times its scale; an empty value becomes NaN, which ``check_events`` refuses.

    Half floats and small integers are scaled as float32 at least: their own range would not do.
    """
    column = table.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{file}: column {name!r} holds {column.type}; it must be numbers")
    values = column.to_numpy()
    with np.errstate(over="ignore"):
        scaled = values.astype(np.promote_types(values.dtype, np.float32)) * float(scale)
        return np.asarray(scaled, dtype=np.float32)


def _check_particles(file: Path, event: NDArray[np.int64], particle: NDArray[np.int64]) -> None:
    """Refuse negative numbers and repeated rows; both arrays sorted by event, then particle."""
    if len(event) == 0:
        raise DataError(f"{file}: no particles")
    repeated = np.flatnonzero((event[1:] == event[:-1]) & (particle[1:] == particle[:-1]))
    for rows, what in (
        (np.flatnonzero(particle < 0), "is negative, which means noise"),
        (repeated, "has more than one row"),
    ):
        if len(rows):
            row = rows[0]
            raise DataError(
                f"{file}: event {event[row]}, column 'particle': {particle[row]} {what} "
                f"({len(rows)} such rows)"
            )


def _link(
    file: Path,
    hit_event: NDArray[np.int64],
    hit_particle: NDArray[np.int64],
    event: NDArray[np.int64],
    particle: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Row of each hit's particle within its event, -1 for noise; int32 [H].

    Args:
        file: For the message.
        hit_event: Event number of each hit.
        hit_particle: Particle number of each hit.
        event: Event number of each particle, sorted.
        particle: Particle number, rising within an event.
    """
    numbers = np.unique(particle)
    rank = np.minimum(np.searchsorted(numbers, hit_particle), len(numbers) - 1)
    first = np.searchsorted(event, hit_event)
    # Events are sorted and particles rise within them, so one integer orders the pairs.
    pair = np.searchsorted(event, event) * len(numbers) + np.searchsorted(numbers, particle)
    row = np.minimum(np.searchsorted(pair, first * len(numbers) + rank), len(pair) - 1)
    known = (event[row] == hit_event) & (particle[row] == hit_particle)
    # A hit of an event without particles is left to check_events, which names that mistake.
    lonely = event[np.minimum(first, len(event) - 1)] != hit_event
    wrong = ~known & (hit_particle != NOISE_PARTICLE) & ~lonely
    if wrong.any():
        _unknown(file, hit_event[wrong], hit_particle[wrong])
    return np.where(known, row - first, NOISE_PARTICLE).astype(np.int32)


def _unknown(file: Path, event: NDArray[np.int64], particle: NDArray[np.int64]) -> NoReturn:
    raise DataError(
        f"{file}: event {event[0]}, column 'particle': {particle[0]} has no row in "
        f"{PARTICLES_FILE} ({len(event)} such hits); noise is -1"
    )
