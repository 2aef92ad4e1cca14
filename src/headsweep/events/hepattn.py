"""Source of events: directories in the ATLAS-muon HDF5 layout (``hepattn_files.py``)."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError
from headsweep.events.base import ORIGINS, TRACK_COLUMNS, Events, derive, file_hash
from headsweep.events.checks import check_events
from headsweep.events.gate import NO_HITS, Limits, describe
from headsweep.events.hepattn_files import (
    FILE_INDEX,
    HIT_PREFIX,
    HITS,
    LINK,
    METADATA,
    ROW_INDEX,
    TRACKS,
    Chunk,
    data_files,
    read_chunks,
)
from headsweep.events.spool import Spool, taken
from headsweep.files import cache_folder

SCALES = dict.fromkeys((*HITS[:-1], "readOutSide"), 1.0) | {
    **{f"globEdge{end}{axis}": 1e-3 for end in ("High", "Low") for axis in "XYZ"},
    **{f"cov{axes}": 1e-6 for axes in ("XX", "XY", "YX", "YY")},
    "time": 1e-5,
    "channel": 1e-3,
    "stationIndex": 0.1,
}
"""Factor of each hit feature on reading. driftR stays in mm; positions become metres."""

DERIVED = ("r", "s", "theta", "phi", "eta")
FEATURES = (*HITS[:-1], *DERIVED)
"""The 23 features in memory, in their order; the derived ones are those of the Low edge."""

POSITION = ("globEdgeLowX", "globEdgeLowY", "globEdgeLowZ")
"""Columns from which the derived features are computed."""

LIMITS = Limits(extent=(1.0, 50.0), abs_eta=4.0, pt=(0.1, 10_000.0))
"""Of a muon spectrometer of the size of ATLAS's; positions in m, pT in GeV."""

LARGEST_LINK = 2**24
"""Above this a float32 truthLink may stand for more than one particle."""


class Hepattn:
    """Directories in the ATLAS-muon HDF5 layout as a source of events.

    Args:
        path: The directory; with ``val``, that of the training events.
        pt_edges: Quoted pT bins in GeV.
        min_bin_tracks: A bin with fewer tracks never gets a verdict.
        limits: What differs from ``LIMITS``, see ``gate.Limits``.
        val: The directory of the events that are cut into val and dev; None for a split of one
            directory.
        test: The directory of the test events; None for none.
        features: Hit features in their order, with or without ``spacePoint_``; None for
            ``FEATURES``.

    Attributes:
        splits: Names of the splits that the directories give; None if there is only one directory.
    """

    plane = "rz"
    coils = 8  # of each of ATLAS's toroids
    not_modelled: Sequence[str] = ()

    def __init__(
        self,
        path: str,
        pt_edges: Sequence[float],
        min_bin_tracks: int,
        limits: Mapping[str, Any],
        val: str | None,
        test: str | None,
        features: Sequence[str] | None,
    ) -> None:
        self.limits = LIMITS.changed(limits)
        self.path = Path(path)
        self.folders = [Path(folder) for folder in (path, val, test) if folder is not None]
        self.splits = ORIGINS[: len(self.folders)] if len(self.folders) > 1 else None
        self.features = FEATURES if features is None else known_features(features, f"{path}: ")
        self.pt_edges: Sequence[float] = tuple(pt_edges)
        self.min_bin_tracks = min_bin_tracks

    def key(self) -> str:
        """Hash (16 hex) of the contents of all files that are read, and of the features."""
        return self._key

    @cached_property
    def _key(self) -> str:
        digest = hashlib.sha256()
        for split, folder in zip(ORIGINS, self.folders, strict=False):
            if split != ORIGINS[0]:
                digest.update(f"{split}\n".encode())
            names = (folder / name for name in (METADATA, FILE_INDEX, ROW_INDEX))
            for path in (*names, *data_files(folder)):
                digest.update(f"{path.relative_to(folder)} {file_hash(path)}\n".encode())
        if self.features != FEATURES:
            digest.update(f"features {','.join(self.features)}\n".encode())
        return digest.hexdigest()[:16]

    def test_sample(self) -> None:
        """Return None: its test split is a part of the events."""

    def load(self, root: Path) -> Events:
        """Read the directories; many events have files in ``root/cache/data`` until they are used.

        Raises:
            DataError: See ``read_hepattn``.
        """
        scratch = cache_folder(root, "data")
        if self.splits is None:
            return read_hepattn(self.path, self.features, scratch)
        spool, left_out = Spool(scratch), Counter[str]()
        for number, folder in enumerate(self.folders):
            events = read_hepattn(folder, self.features, scratch)
            left_out.update(events.left_out)
            for _, part in events.blocks():
                spool.add(replace(part, origin=np.full(len(part), number, np.int8)))
        return replace(spool.events(), left_out=dict(left_out))


def known_features(names: Sequence[str], where: str = "") -> tuple[str, ...]:
    """Names of hit features without their prefix.

    Args:
        names: With or without it.
        where: Beginning of a message, such as the folder that they are read from.

    Raises:
        UserError: A name is no hit feature of this layout, or stands twice, or there is none.
    """
    found = tuple(name.removeprefix(HIT_PREFIX) for name in names)
    known = (*SCALES, *DERIVED)
    for number, name in enumerate(found):
        if name not in known or name in found[:number]:
            said = "stands twice" if name in known else f"is none of {', '.join(known)}"
            raise UserError(f"{where}data.source.features: {names[number]!r} {said}")
    if not found:
        raise UserError(f"{where}data.source.features=[]: name at least one hit feature")
    return found


def read_hepattn(
    folder: Path, features: tuple[str, ...] = FEATURES, scratch: Path | None = None
) -> Events:
    """Read all events of a directory, in the order of its index arrays.

    Events with a track row that no hit names are left out and counted: which row that is, the
    layout does not say.

    Args:
        folder: The directory.
        features: Hit features in their order, out of ``SCALES`` and ``DERIVED``.
        scratch: Folder of the files from which many events are mapped; None for the system's.

    Returns:
        Events with these features; row k of an event's tracks is the particle with its k-th
        smallest non-negative truthLink. Event numbers are those of the files, 0 without any.

    Raises:
        DataError: A file or column is missing or damaged, shapes or indices disagree, a value is
            not finite, or a truthLink has no track row. Names file, event and column.
    """
    spool, places, left_out = Spool(scratch or Path(gettempdir())), [], Counter[str]()
    columns = [name for name in features if name in SCALES]
    if set(features) & set(DERIVED):
        columns += [name for name in POSITION if name not in columns]
    for path, position, chunk in read_chunks(folder, (*columns, LINK)):
        part, complete = _to_events(chunk, columns, features, path, int(position[0]))
        spool.add(part)
        left_out.update(part.left_out)
        places.append(position[complete])
    if not places:
        raise DataError(f"{folder}: no events")
    events = replace(spool.events(), left_out=dict(left_out))
    if len(events) == 0:
        raise DataError(f"{folder}: no event is complete: {describe(events.left_out)}")
    order = np.argsort(np.concatenate(places))
    if (np.diff(order) < 0).any():
        events = replace(taken(events, order), left_out=events.left_out)
    return events


def _to_events(
    chunk: Chunk, columns: Sequence[str], features: tuple[str, ...], path: Path, first: int
) -> tuple[Events, NDArray[np.int64]]:
    """Scale a chunk, derive features, turn truthLinks into track rows, and check the result.

    Args:
        chunk: Events as they are in the file; its last hit column is the truthLink.
        columns: The other hit columns.
        features: The features to make of them.
        path: The file, for messages.
        first: Place of the first event in the index arrays.

    Returns:
        The complete events, and their places in the chunk.
    """
    link, complete, left_out = _track_rows(chunk, path)
    scales = np.array([SCALES[name] for name in columns], np.float32)
    with np.errstate(invalid="ignore"):  # what is not finite is reported below
        values = chunk.hits[:, : len(columns)] * scales
        derived = [name for name in features if name in DERIVED]
        if derived:
            x, y, z = (values[:, columns.index(name)] for name in POSITION)
            more = [derive(name, x, y, z) for name in derived]
            values = np.concatenate([values, np.stack(more, axis=1)], axis=1)
    names = [*columns, *derived]
    events = Events(
        hits=values[:, [names.index(name) for name in features]],
        features=features,
        hit_track=link,
        hit_offsets=chunk.hit_offsets,
        tracks=chunk.tracks[:, [TRACKS.index(name) for name in TRACK_COLUMNS]],
        track_offsets=chunk.track_offsets,
        ids=chunk.numbers,
    )
    if left_out:
        events = replace(events.take(complete), left_out=left_out)
    return check_events(events, str(path), first) if len(complete) else events, complete


def _track_rows(
    chunk: Chunk, path: Path
) -> tuple[NDArray[np.int32], NDArray[np.int64], dict[str, int]]:
    """Rank of each hit's truthLink among the non-negative ones of its event, -1 for noise.

    Returns:
        The ranks, the places of the complete events, and the number of the others by the reason.
    """
    links = chunk.hits[:, -1]
    event = np.repeat(np.arange(len(chunk.numbers)), np.diff(chunk.hit_offsets))
    odd = ~(np.abs(links) <= LARGEST_LINK) | (links != np.round(links))
    if odd.any():
        row = int(np.argmax(odd))
        raise DataError(
            f"{path}: event {chunk.numbers[event[row]]}, hit column '{HIT_PREFIX}{LINK}': "
            f"{links[row]} is not a whole number up to {LARGEST_LINK}"
        )
    result = np.full(len(links), -1, np.int32)
    true = np.flatnonzero(links >= 0)
    numbers = links[true].astype(np.int64)
    stride = numbers.max(initial=0) + 1
    particles, which = np.unique(event[true] * stride + numbers, return_inverse=True)
    linked = np.bincount(particles // stride, minlength=len(chunk.numbers))
    first = np.concatenate([[0], np.cumsum(linked)])
    result[true] = which - first[event[true]]
    n_tracks = np.diff(chunk.track_offsets)
    lonely, wrong = linked < n_tracks, (linked > n_tracks) & (n_tracks > 0)
    if wrong.any():
        bad = int(np.argmax(wrong))
        raise DataError(
            f"{path}: event {chunk.numbers[bad]}: hit column '{HIT_PREFIX}{LINK}' names "
            f"{linked[bad]} particles, but 'tracks' has {n_tracks[bad]} rows "
            f"({wrong.sum()} such events)"
        )
    left_out = {NO_HITS: int(lonely.sum())} if lonely.any() else {}
    return result, np.flatnonzero(~lonely), left_out
