"""Events of any number: their hits go into files, from which they are mapped."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from headsweep.events import base
from headsweep.events.base import Events, cut
from headsweep.files import writing


class Spool:
    """Collects blocks of events; the hits of many go into files without a name.

    The system removes the files when nobody has the events any more, however that came about.

    Args:
        folder: Folder of the files; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Events] = []
        self._hits = 0
        self._files: dict[str, IO[bytes]] = {}

    def add(self, part: Events) -> None:
        """Add events behind those that are there.

        Raises:
            UserError: The folder cannot be written, or the disk is full.
        """
        self._parts.append(part)
        self._hits += len(part.hits)
        if self._hits <= base.BLOCK_HITS:
            return
        with writing(self._folder):
            if not self._files:
                self._folder.mkdir(parents=True, exist_ok=True)
                for name in ("hits", "hit_track"):
                    self._files[name] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            for place, kept in enumerate(self._parts):
                if len(kept.hits):
                    kept.hits.tofile(self._files["hits"])
                    kept.hit_track.tofile(self._files["hit_track"])
                    hits, track = np.zeros_like(kept.hits[:0]), np.zeros_like(kept.hit_track[:0])
                    self._parts[place] = replace(kept, hits=hits, hit_track=track)

    def events(self) -> Events:
        """All events that were added, at least one block."""
        found = concatenate(self._parts)
        if not self._files:
            return found
        with writing(self._folder):
            for file in self._files.values():
                file.flush()
        width = len(found.features)
        return replace(
            found,
            hits=self._mapped("hits", np.float32, (self._hits, width)),
            hit_track=self._mapped("hit_track", np.int32, (self._hits,)),
            scratch=self._folder,
        )

    def _mapped(self, name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
        with self._files[name] as file:
            return np.memmap(file, dtype, "r", shape=shape)


def mapped(blocks: Iterable[NDArray[np.float32]], folder: Path) -> NDArray[np.float32]:
    """Join blocks of rows, at least one, in a file without a name, and map it.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    rows = 0
    with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
        for block in blocks:
            block.tofile(file)
            rows += len(block)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=(rows, block.shape[1]))


def concatenate(parts: Sequence[Events]) -> Events:
    """Join events of the same features, at least one part; in memory."""

    def joined(name: str) -> NDArray[np.int64]:
        counts = np.concatenate([np.diff(getattr(part, name)) for part in parts])
        return np.concatenate([[0], np.cumsum(counts)])

    origins = [part.origin for part in parts if part.origin is not None]
    return Events(
        hits=np.concatenate([part.hits for part in parts]),
        features=parts[0].features,
        hit_track=np.concatenate([part.hit_track for part in parts]),
        hit_offsets=joined("hit_offsets"),
        tracks=np.concatenate([part.tracks for part in parts]),
        track_offsets=joined("track_offsets"),
        ids=np.concatenate([part.ids for part in parts]),
        left_out=dict(sum((Counter(part.left_out) for part in parts), Counter[str]())),
        origin=np.concatenate(origins) if origins else None,
    )


def taken(events: Events, rows: NDArray[np.int64]) -> Events:
    """The given events in the given order, as ``Events.take``; of mapped ones they are mapped."""
    if events.scratch is None:
        return events.take(rows)
    spool = Spool(events.scratch)
    for part in cut(np.diff(events.hit_offsets)[rows]):
        spool.add(events.take(rows[part]))
    return spool.events()
