"""Source of events: a folder of frozen features; ``frozen_folder.py`` has its layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file

from headsweep.errors import DataError, reading
from headsweep.events.base import ORIGINS, TRACK_COLUMNS, Events, check_events, file_hash
from headsweep.events.frozen_folder import MEND, read_metadata
from headsweep.events.gate import Limits
from headsweep.identity import stable_hash


@dataclass(frozen=True)
class Recorded:
    """All parts of a folder: T tracks with H hits of E events.

    Attributes:
        raw, encoded, p, correct: Of each hit, see the module.
        hit_offsets: Hits of track t are rows ``hit_offsets[t]:hit_offsets[t + 1]``, int64 [T+1].
        query: Queries, float32 [T, D].
        tracks: True tracks, columns ``TRACK_COLUMNS``, float32 [T, 4].
        found: Whether the model found the track, bool [T].
        track_offsets: Tracks of event e, like ``hit_offsets``, int64 [E+1].
        ids: Event numbers, rising, int64 [E].
        origin: Place of the event's split in ``ORIGINS``, int8 [E].
    """

    raw: NDArray[np.float32]
    encoded: NDArray[np.float32]
    p: NDArray[np.float32]
    correct: NDArray[np.bool_]
    hit_offsets: NDArray[np.int64]
    query: NDArray[np.float32]
    tracks: NDArray[np.float32]
    found: NDArray[np.bool_]
    track_offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    origin: NDArray[np.int8]


def feature_names(folder: Path) -> tuple[str, ...]:
    """Names of the hit features of a folder, as headsweep has them."""
    return tuple(name.removeprefix("spacePoint_") for name in read_metadata(folder)["features"])


def read_recorded(folder: Path) -> Recorded:
    """Read all parts of a folder.

    Raises:
        DataError: A file is missing or damaged, shapes disagree, or an event stands in two places.
    """
    about = read_metadata(folder)
    parts = [_read_part(folder, name, sums, about) for name, sums in about["parts"].items()]
    if not parts:
        raise DataError(f"{folder}: no part in it; {MEND}")
    arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    tables = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    starts = np.flatnonzero(np.diff(tables["event"], prepend=tables["event"][0] - 1))
    ids = tables["event"][starts]
    if len(np.unique(ids)) < len(ids):
        twice = ids[np.flatnonzero(np.bincount(np.unique(ids, return_inverse=True)[1]) > 1)[0]]
        raise DataError(
            f"{folder}: event {twice} stands in two places; number events apart; {MEND}"
        )
    if (tables["split"] < 0).any():
        raise DataError(f"{folder}: a split is not one of {', '.join(ORIGINS)}; {MEND}")
    counts = arrays.pop("counts")
    tracks = np.stack([tables[name] for name in TRACK_COLUMNS], axis=1).astype(np.float32)
    return Recorded(
        **arrays,
        hit_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tracks=tracks,
        found=tables["found"].astype(bool),
        track_offsets=np.append(starts, len(tracks)).astype(np.int64),
        ids=ids.astype(np.int64),
        origin=tables["split"][starts].astype(np.int8),
    )


def _read_part(
    folder: Path, name: str, checksums: Mapping[str, str], about: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Arrays and the table of tracks of one part."""
    path = folder / f"{name}.safetensors"
    for kind, checksum in checksums.items():
        if file_hash(file := folder / f"{name}.{kind}") != checksum:
            raise DataError(f"{file}: its content is not what was written; {MEND}")
    with reading(path, MEND, DataError):
        arrays = load_file(path)
        table = pq.read_table(folder / f"{name}.parquet")
        split = {origin: number for number, origin in enumerate(ORIGINS)}
        columns: dict[str, NDArray[Any]] = {
            column: table[column].to_numpy() for column in ("event", "found", *TRACK_COLUMNS)
        }
        columns["split"] = np.array([split.get(s, -1) for s in table["split"].to_pylist()])
        offsets = arrays.pop("offsets")
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
        raise DataError(f"{path}: its arrays do not fit together, {tracks} tracks and {hits} hits")
    if not ((arrays["p"] >= 0) & (arrays["p"] <= 1)).all():
        raise DataError(f"{path}: p is not between 0 and 1")
    if not all(np.isfinite(arrays[n]).all() for n in ("encoded", "query")):
        raise DataError(f"{path}: encoded or query is not finite")
    return {**arrays, "counts": np.diff(offsets)}, columns


class FrozenFeatures:
    """A folder of frozen features as a source of events.

    A hit that the model gave to two tracks stands twice.

    Args:
        path: The folder.
        plane: Bending plane, ``"xy"`` or ``"rz"``.
        pt_edges: Quoted pT bins in GeV.
        min_bin_tracks: A bin with fewer tracks never gets a verdict.
        limits: What differs from the ranges of any detector, see ``gate.Limits``.
    """

    not_modelled: Sequence[str] = ()

    def __init__(
        self,
        path: str,
        plane: str,
        pt_edges: Sequence[float],
        min_bin_tracks: int,
        limits: Mapping[str, Any],
    ) -> None:
        self.limits = Limits().changed(limits)
        self.path, self.plane = Path(path), plane
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
        """Read the folder; ``root`` is not used.

        Raises:
            DataError: It cannot be used.
        """
        events = events_of(read_recorded(self.path), feature_names(self.path))
        return check_events(events, str(self.path))


def events_of(found: Recorded, features: tuple[str, ...]) -> Events:
    """The events of a folder; a hit stands once for each track that has it."""
    number = np.arange(len(found.tracks)) - np.repeat(
        found.track_offsets[:-1], np.diff(found.track_offsets)
    )
    own = np.repeat(number, np.diff(found.hit_offsets))
    return Events(
        hits=found.raw,
        features=features,
        hit_track=np.where(found.correct, own, -1).astype(np.int32),
        hit_offsets=found.hit_offsets[found.track_offsets],
        tracks=found.tracks,
        track_offsets=found.track_offsets,
        ids=found.ids,
        origin=found.origin,
    )
