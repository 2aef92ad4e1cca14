"""A backbone whose output was recorded: that of a folder of frozen features."""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import Assignment
from headsweep.errors import DataError, UserError
from headsweep.events.base import ORIGINS, Events, ragged_rows, track_hashes
from headsweep.events.frozen import open_recorded
from headsweep.events.frozen_folder import read_metadata
from headsweep.identity import stable_hash


class RecordedBackbone:
    """Gives the tracks of a folder of frozen features their recorded hits.

    Args:
        path: The folder, see ``events/frozen.py``.

    Attributes:
        dim: D, the width of queries and encoded hits.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._about = read_metadata(self.path)
        self.dim = int(self._about["dim"])

    def key(self) -> str:
        """Hash (16 hex) of the model that wrote the folder, whatever events are in it."""
        return stable_hash(["recorded", self._about["model"], self.dim])

    @cached_property
    def seen(self) -> NDArray[np.uint64]:
        """Hashes of the true tracks of the folder's events that trained the model."""
        own = open_recorded(self.path)
        origin = np.repeat(own.origin, np.diff(own.track_offsets))
        return track_hashes(own.tracks[origin == ORIGINS.index("train")])

    def assigned(self, events: Events, threshold: float) -> Assignment:
        """The recorded hits of the found tracks of some of the folder's events.

        Args:
            events: As ``FrozenFeatures`` gives them, or some of them.
            threshold: A hit counts for a track where p is at least this.

        Raises:
            UserError: The folder has no hits down to the threshold.
            DataError: The events are not those of the folder.
        """
        lowest = float(self._about["lowest_p"])
        if threshold < lowest:
            raise UserError(
                f"features.assignment_threshold={threshold}: {self.path} has hits from p = "
                f"{lowest} on; write it with a lower lowest_p, or raise the threshold"
            )
        own = open_recorded(self.path)
        order = np.argsort(own.ids)
        place = np.minimum(np.searchsorted(own.ids[order], events.ids), len(order) - 1)
        row = order[place]
        if not (own.ids[row] == events.ids).all():
            raise DataError(f"{self.path}: it does not have all of these events")
        tracks, _ = ragged_rows(own.track_offsets, row)
        hits, offsets = ragged_rows(own.hit_offsets, tracks)
        if len(hits) != len(events.hits) or not np.array_equal(own.rows("raw", hits), events.hits):
            raise DataError(f"{self.path}: it has other hits in these events")
        found = np.flatnonzero(own.found[tracks])
        # Hits of an event stand in the order of the folder: a row here is a row of the events.
        kept, kept_offsets = ragged_rows(offsets, found)
        p = own.rows("p", hits[kept])
        counts = np.add.reduceat(np.append(p >= threshold, False), kept_offsets[:-1]) * (
            np.diff(kept_offsets) > 0
        )
        chosen = kept[p >= threshold]
        event = np.repeat(np.arange(len(events)), np.diff(events.track_offsets))
        return Assignment(
            track=found,
            event=event[found],
            query=own.rows("query", tracks[found]),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            hit=chosen,
            encoded=own.rows("encoded", hits[chosen]),
            p=p[p >= threshold],
            correct=own.rows("correct", hits[chosen]),
        )
