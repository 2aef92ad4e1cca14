"""Layout of a folder of frozen features, and what writes it; ``frozen.py`` reads it.

A folder has ``metadata.json``, which holds the checksums of all, and pairs of files, the parts:

- ``part-0.safetensors``: ``raw`` [H, F], ``encoded`` [H, D], ``p`` [H], ``correct`` [H] (the hit
  truly belongs to the track), ``offsets`` [T+1] and ``query`` [T, D], for T true tracks;
- ``part-0.parquet``: ``event``, ``split`` (train, val or test), ``eta``, ``phi``, ``pt`` (GeV),
  ``q`` and ``found`` of each track, those of an event adjacent; ``batch_events`` and ``batch_hits``
  are the shape of the batch that the event passed the model in.

A track has its hits down to ``lowest_p`` and its true hits below; one that the model did not find
has ``found`` false. ``split`` says where the event came from: ``train`` trained the model.

Parts are written while the model runs, in one recording or in one for each split. A recording that
was killed goes on where it was, and until then the folder is refused. Nothing here needs Hydra or
MLflow, as it runs where the model runs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import save

from headsweep.errors import DamagedError, DataError, UserError
from headsweep.events.base import NUMBERS, ORIGINS, own_number
from headsweep.files import checksum, flat, plain, read_sealed, write_atomic, write_sealed

METADATA, FORMAT = "metadata.json", 1
KINDS = ("safetensors", "parquet")
"""Endings of the files of a part."""

MEND = "write it again with headsweep.hepattn.writer"

PART_BYTES = 2**26
"""A part is written when its arrays have so many bytes, 300,000 hits or so."""

COUNTS = ("events", "tracks", "unmatched")
"""What ``metadata.json`` counts in each split; unmatched are tracks that no query has."""

_IDENTITY = ("features", "dim", "lowest_p", "model")


@dataclass(frozen=True)
class RecordedTrack:
    """A true track, n hits of it, and what the model says.

    Attributes:
        truth: ``eta``, ``phi``, ``pt`` in GeV and ``q``.
        found: Whether a query is matched to it; else query and p are 0.
        query: float32 [D].
        raw, encoded, p, correct: Of each hit, float32 [n, F], [n, D], [n] and bool [n].
    """

    truth: Mapping[str, float]
    found: bool
    query: NDArray[np.float32]
    raw: NDArray[np.float32]
    encoded: NDArray[np.float32]
    p: NDArray[np.float32]
    correct: NDArray[np.bool_]


def event_number(split: str, number: int) -> int:
    """Number of an event that has one of its own in its split, different in all splits.

    Raises:
        UserError: There is no such split.
    """
    if split not in ORIGINS:
        raise UserError(f"split {split!r}: must be one of {', '.join(ORIGINS)}")
    return ORIGINS.index(split) * NUMBERS + int(number)


def read_metadata(folder: Path, *, complete: bool = True) -> dict[str, Any]:
    """``metadata.json`` of a folder.

    Args:
        folder: The folder.
        complete: Whether its recording must have ended.

    Raises:
        DataError: It is missing, damaged or of another version, or its recording has not ended.
    """
    path = folder / METADATA
    try:
        found = read_sealed(path)
    except DamagedError as error:
        raise DataError(f"{path}: its content is not what was written; {MEND}") from error
    if found is None:
        raise DataError(f"{path}: no such file; is this a folder of frozen features? Else {MEND}")
    missing = {"format", "complete", "counts", "parts", *_IDENTITY} - found.keys()
    if missing or found["format"] != FORMAT:
        said = f"it lacks {', '.join(sorted(missing))}" if missing else f"format {found['format']}"
        raise DataError(f"{path}: {said}; this version reads format {FORMAT}; {MEND}")
    if complete and not (found["complete"] and all(found["complete"].values())):
        open_splits = [split for split, ended in found["complete"].items() if not ended]
        raise DataError(
            f"{folder}: the recording of {', '.join(open_splits) or 'any split'} has not ended; "
            "start it again: it goes on where it was"
        )
    return found


class FolderWriter:
    """Writes the parts of a folder; one at a time may.

    Args:
        folder: A new folder, or one with the same ``about``, which goes on.
        about: ``features``, ``dim``, ``lowest_p`` and ``model``, see ``read_metadata``.

    Raises:
        UserError: The folder has other things in it, was written otherwise, or is being written.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder = folder
        new = not (folder / METADATA).exists()
        if new and folder.exists() and any(p.name[0] != "." for p in folder.iterdir()):
            raise UserError(f"{folder} exists and is no folder of frozen features; choose another")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{folder}: another process writes it; record on one device") from error
        empty = {"format": FORMAT, **plain(about), "complete": {}, "counts": {}, "parts": {}}
        self._about = empty if new else read_metadata(folder, complete=False)
        self.check(about)
        before = [
            pq.read_table(folder / f"{name}.parquet", columns=["event"])["event"].to_numpy()
            for name in self._about["parts"]
        ]
        self._before: NDArray[np.int64] = np.unique(
            np.concatenate([np.zeros(0, np.int64), *before])
        )
        self._known = self._before
        self._begun: set[str] = set()
        self._write_metadata()
        self._clear()

    def check(self, about: Mapping[str, Any]) -> None:
        """Refuse what differs from the facts that the folder was begun with."""
        old, new = (flat({k: plain(a)[k] for k in _IDENTITY}) for a in (self._about, about))
        for key in old.keys() | new.keys():
            if old.get(key) != new.get(key):
                raise UserError(
                    f"{self._folder}: was written with {key} {old.get(key)}, not {new.get(key)}; "
                    "choose another folder"
                )

    def begin(self, split: str) -> None:
        """Mark a split as begun; it is not complete before ``close``.

        Raises:
            UserError: There is no such split.
        """
        event_number(split, 0)
        if split not in self._begun:
            self._begun.add(split)
            self._about["complete"][split] = False
            self._write_metadata()

    def __contains__(self, event: int) -> bool:
        """Whether an earlier recording has written an event."""
        place = np.searchsorted(self._before, event)
        return bool(place < len(self._before) and self._before[place] == event)

    def add(
        self, event: int, split: str, tracks: Sequence[RecordedTrack], batch: tuple[int, int]
    ) -> None:
        """Take an event with its true tracks, of which there is at least one.

        Args:
            event: Its number.
            split: One of ``ORIGINS``.
            tracks: Its true tracks.
            batch: Events, and hits with padding, of its batch.

        Raises:
            UserError: A value is not finite, or an event of this part is there already.
        """
        self.begin(split)
        for track in tracks:
            values = (track.query, track.raw, track.encoded, track.p, [*track.truth.values()])
            if not all(np.isfinite(v).all() for v in values):
                number = own_number(event, ORIGINS.index(split))
                raise UserError(
                    f"event {number} of {split}: a value of hits or model is not finite"
                )
            row = {"event": event, "split": split, **track.truth, "found": track.found}
            self._rows.append(row | {"batch_events": batch[0], "batch_hits": batch[1]})
            self._bytes += track.raw.nbytes + track.encoded.nbytes
        self._tracks += tracks
        self._events.append(event)
        if self._bytes >= PART_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and mark the splits that were begun as complete."""
        self._flush()
        self._about["complete"] |= dict.fromkeys(self._begun, True)
        self._write_metadata()
        self._lock.release()

    def _clear(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._tracks: list[RecordedTrack] = []
        self._events: list[int] = []
        self._bytes = 0

    def _flush(self) -> None:
        """Write a part; it counts when the metadata have its checksums."""
        if not self._rows:
            return
        twice = {n for n, count in Counter(self._events).items() if count > 1}
        twice |= {*np.intersect1d(self._events, self._known)}
        if twice:
            first = next(row for row in self._rows if row["event"] in twice)
            number = own_number(first["event"], ORIGINS.index(first["split"]))
            raise UserError(
                f"{self._folder}: event {number} of {first['split']} stands in two places; number "
                "events apart"
            )
        arrays = {
            name: np.concatenate([getattr(track, name) for track in self._tracks])
            for name in ("raw", "encoded", "p", "correct")
        }
        arrays["query"] = np.stack([track.query for track in self._tracks])
        arrays["offsets"] = np.cumsum([0, *(len(track.p) for track in self._tracks)])
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self._rows), buffer)
        name = f"part-{len(self._about['parts'])}"
        contents = (save(arrays), buffer.getvalue().to_pybytes())
        for kind, content in zip(KINDS, contents, strict=True):
            write_atomic(self._folder / f"{name}.{kind}", content)
        self._about["parts"][name] = dict(zip(KINDS, map(checksum, contents), strict=True))
        for split in {row["split"] for row in self._rows}:
            rows = [row for row in self._rows if row["split"] == split]
            count = self._about["counts"].setdefault(split, dict.fromkeys(COUNTS, 0))
            count["events"] += len({row["event"] for row in rows})
            count["tracks"] += len(rows)
            count["unmatched"] += sum(not row["found"] for row in rows)
        self._known = np.union1d(self._known, self._events)
        self._write_metadata()
        self._clear()

    def _write_metadata(self) -> None:
        write_sealed(self._folder / METADATA, self._about)
