"""Source of events: a folder of frozen features; ``frozen_folder.py`` has its layout."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from headsweep.errors import DataError, reading
from headsweep.events.base import ORIGINS, TRACK_COLUMNS, Events, file_hash, own_number, ragged_rows
from headsweep.events.checks import check_events
from headsweep.events.frozen_folder import MEND, METADATA, read_metadata
from headsweep.events.gate import Limits
from headsweep.events.mapped import forget
from headsweep.events.spool import Spool
from headsweep.files import cache_folder
from headsweep.identity import stable_hash

CHECKED_ROWS = 2**20
"""Rows of an array that are in memory at once while it is checked."""

_TYPES = {"F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
"""Types of the arrays by their names in safetensors."""


@dataclass(frozen=True)
class Recorded:
    """A folder, checked: T tracks with H hits of E events. Arrays of hits and queries are mapped.

    Attributes:
        parts: ``raw``, ``encoded``, ``p``, ``correct`` and ``query`` of each part.
        hit_starts: First hit of each part, and H, int64 [P+1].
        track_starts: First track of each part, and T, int64 [P+1].
        hit_offsets: Hits of track t are rows ``hit_offsets[t]:hit_offsets[t + 1]``, int64 [T+1].
        tracks: True tracks, columns ``TRACK_COLUMNS``, float32 [T, 4].
        found: Whether the model found the track, bool [T].
        track_offsets: Tracks of event e, like ``hit_offsets``, int64 [E+1].
        ids: Event numbers, int64 [E].
        origin: Place of the event's split in ``ORIGINS``, int8 [E].
    """

    parts: Sequence[Mapping[str, NDArray[Any]]]
    hit_starts: NDArray[np.int64]
    track_starts: NDArray[np.int64]
    hit_offsets: NDArray[np.int64]
    tracks: NDArray[np.float32]
    found: NDArray[np.bool_]
    track_offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    origin: NDArray[np.int8]

    def rows(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows of an array of hits, or of ``query``, in memory."""
        starts = self.track_starts if name == "query" else self.hit_starts
        place = np.searchsorted(starts, rows, side="right") - 1
        first = self.parts[0][name]
        result = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for part in np.unique(place):
            here = place == part
            result[here] = self.parts[part][name][rows[here] - starts[part]]
            forget(self.parts[part][name])
        return result

    def events(self, rows: NDArray[np.int64], features: tuple[str, ...]) -> Events:
        """Some events; a hit stands once for each track that has it."""
        tracks, track_offsets = ragged_rows(self.track_offsets, rows)
        hits, hit_offsets = ragged_rows(self.hit_offsets, tracks)
        number = np.arange(len(tracks)) - np.repeat(track_offsets[:-1], np.diff(track_offsets))
        own = np.repeat(number, np.diff(hit_offsets))
        return Events(
            hits=self.rows("raw", hits),
            features=features,
            hit_track=np.where(self.rows("correct", hits), own, -1).astype(np.int32),
            hit_offsets=hit_offsets[track_offsets],
            tracks=self.tracks[tracks],
            track_offsets=track_offsets,
            ids=self.ids[rows],
            origin=self.origin[rows],
        )

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Consecutive events of about ``CHECKED_ROWS`` hits."""
        ends = self.hit_offsets[self.track_offsets[1:]]
        yield from np.split(np.arange(len(ends)), np.flatnonzero(np.diff(ends // CHECKED_ROWS)) + 1)


def feature_names(folder: Path) -> tuple[str, ...]:
    """Names of the hit features of a folder, as headsweep has them."""
    return tuple(name.removeprefix("spacePoint_") for name in read_metadata(folder)["features"])


def open_recorded(folder: Path) -> Recorded:
    """Check a folder and map its arrays; once for one content, as all of it is read.

    Raises:
        DataError: A file is missing or damaged, shapes disagree, or an event stands in two places.
    """
    return _open(folder.resolve(), json.dumps(read_metadata(folder)))


@lru_cache(maxsize=2)
def _open(folder: Path, metadata: str) -> Recorded:
    about = json.loads(metadata)
    parts = [_open_part(folder, name, sums, about) for name, sums in about["parts"].items()]
    if not parts:
        raise DataError(f"{folder}: no part in it; {MEND}")
    tables = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    starts = np.flatnonzero(np.diff(tables["event"], prepend=tables["event"][0] - 1))
    ids = tables["event"][starts]
    if (tables["split"] < 0).any():
        raise DataError(f"{folder}: a split is not one of {', '.join(ORIGINS)}; {MEND}")
    if len(np.unique(ids)) < len(ids):
        again = np.flatnonzero(np.bincount(np.unique(ids, return_inverse=True)[1]) > 1)[0]
        row = starts[np.flatnonzero(ids == np.unique(ids)[again])[0]]
        origin = int(tables["split"][row])
        raise DataError(
            f"{folder}: event {own_number(tables['event'][row], origin)} of {ORIGINS[origin]} "
            f"stands in two places; number events apart; {MEND}"
        )
    tracks = np.stack([tables[name] for name in TRACK_COLUMNS], axis=1).astype(np.float32)
    return Recorded(
        parts=[part[0] for part in parts],
        hit_starts=_starts([len(part[0]["p"]) for part in parts]),
        track_starts=_starts([len(part[0]["query"]) for part in parts]),
        hit_offsets=_starts(tables["hits"]),
        tracks=tracks,
        found=tables["found"].astype(bool),
        track_offsets=np.append(starts, len(tracks)).astype(np.int64),
        ids=ids.astype(np.int64),
        origin=tables["split"][starts].astype(np.int8),
    )


def _starts(counts: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _open_part(
    folder: Path, name: str, checksums: Mapping[str, str], about: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Mapped arrays of one part, and the table of its tracks with their numbers of ``hits``."""
    path = folder / f"{name}.safetensors"
    for kind, checksum in checksums.items():
        if not (file := folder / f"{name}.{kind}").is_file():
            raise DataError(f"{file}: missing, but {METADATA} names it; copy it again, or {MEND}")
        if file_hash(file) != checksum:
            raise DataError(f"{file}: its content is not what was written; {MEND}")
    with reading(path, MEND, DataError):
        arrays = _mapped(path)
        table = pq.read_table(folder / f"{name}.parquet")
        split = {origin: number for number, origin in enumerate(ORIGINS)}
        columns: dict[str, NDArray[Any]] = {
            column: table[column].to_numpy() for column in ("event", "found", *TRACK_COLUMNS)
        }
        columns["split"] = np.array([split.get(s, -1) for s in table["split"].to_pylist()])
        offsets = np.array(arrays.pop("offsets"))
        hits, tracks = len(arrays["p"]), len(columns["event"])
    shapes = {
        "raw": (hits, len(about["features"])),
        "encoded": (hits, about["dim"]),
        "p": (hits,),
        "correct": (hits,),
        "query": (tracks, about["dim"]),
    }
    ragged = len(offsets) == tracks + 1 and offsets[0] == 0 and offsets[-1] == hits
    if (
        {n: a.shape for n, a in arrays.items()} != shapes
        or not ragged
        or (np.diff(offsets) < 0).any()
    ):
        raise DataError(
            f"{path}: its arrays do not fit together, {tracks} tracks and {hits} hits; {MEND}"
        )
    if not _all(arrays["p"], lambda p: (p >= 0) & (p <= 1)):
        raise DataError(f"{path}: p is not between 0 and 1; {MEND}")
    if not all(_all(arrays[n], np.isfinite) for n in ("encoded", "query")):
        raise DataError(f"{path}: encoded or query is not finite; {MEND}")
    return arrays, {**columns, "hits": np.diff(offsets)}


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file of safetensors, mapped: eight bytes, a header in JSON, the arrays."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    arrays: dict[str, NDArray[Any]] = {}
    for name, about in header.items():
        dtype, shape = _TYPES[about["dtype"]], tuple(about["shape"])
        place = 8 + size + about["data_offsets"][0]
        # Nothing cannot be mapped.
        arrays[name] = (
            np.zeros(shape, dtype) if 0 in shape else np.memmap(path, dtype, "r", place, shape)
        )
    return arrays


def _all(array: NDArray[Any], right: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> bool:
    """Whether all values of a mapped array are right."""
    for start in range(0, len(array), CHECKED_ROWS):
        if not right(array[start : start + CHECKED_ROWS]).all():
            return False
        forget(array)
    return True


class FrozenFeatures:
    """A folder of frozen features as a source of events.

    A hit that the model gave to two tracks stands twice.

    Args:
        path: The folder.
        plane: Bending plane, ``"xy"`` or ``"rz"``.
        pt_edges: Quoted pT bins in GeV.
        min_bin_tracks: A bin with fewer tracks never gets a verdict.
        limits: What differs from the ranges of any detector, see ``gate.Limits``.
        coils: Number of coils of a toroid, see ``base.Source``; else None.
    """

    not_modelled: Sequence[str] = ()
    hits_by_track = True

    def __init__(
        self,
        path: str,
        plane: str,
        pt_edges: Sequence[float],
        min_bin_tracks: int,
        limits: Mapping[str, Any],
        coils: int | None,
    ) -> None:
        self.limits = Limits().changed(limits)
        self.path, self.plane, self.coils = Path(path), plane, coils
        self.pt_edges: Sequence[float] = tuple(pt_edges)
        self.min_bin_tracks = min_bin_tracks

    def key(self) -> str:
        """Hash (16 hex) of the content of the folder, by the checksums of its parts."""
        return stable_hash(read_metadata(self.path))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that its events come from."""
        return tuple(name for name in ORIGINS if name in read_metadata(self.path)["counts"])

    def test_sample(self) -> None:
        """Return None: its test split is a part of the events."""

    def load(self, root: Path) -> Events:
        """Read the folder; many events have files in ``root/cache/data`` until they are used.

        Raises:
            DataError: It cannot be used.
        """
        found, features = open_recorded(self.path), feature_names(self.path)
        spool = Spool(cache_folder(root, "data"))
        for rows in found.blocks():
            spool.add(found.events(rows, features))
        return check_events(spool.events(), str(self.path))
