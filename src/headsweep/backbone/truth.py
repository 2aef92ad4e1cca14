"""A backbone made of truth: perfect or spoilt hit assignment, no learned vectors."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import BackboneBatch, event_slices, truth_masks
from headsweep.errors import UserError
from headsweep.events.base import Events
from headsweep.identity import stable_hash


@dataclass(frozen=True)
class TruthBackbone:
    """Backbone that assigns each track its true hits; query and encoded vectors are zero.

    Attributes:
        purity: Share of true hits among the hits of a track; the rest is noise of its event.
            An event with too little noise gives a purer track.
        efficiency: Probability that a true hit is kept.
        seed: Of the hits that are dropped and added; with the event number it decides them.
        dim: Width of the zero vectors.
        seen: Hashes of the events that it was trained on: none.
    """

    purity: float
    efficiency: float
    seed: int
    dim: int
    seen: ClassVar[NDArray[np.uint64]] = np.zeros(0, np.uint64)

    def key(self) -> str:
        """Hash (16 hex) of the parameters; without its seed where that decides nothing."""
        unspoilt = self.purity == self.efficiency == 1
        return stable_hash(["truth", asdict(self) | ({"seed": 0} if unspoilt else {})])

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        """Yield the output for all events once, in order.

        There are as many queries as the largest event has tracks.

        Raises:
            UserError: A purity below 1 is asked of events that have no noise.
        """
        if self.purity < 1 and not (events.hit_track < 0).any():
            raise UserError(
                f"backbone.purity={self.purity}: these events have no noise hits to mix in; use 1"
            )
        n_queries = int(np.diff(events.track_offsets).max(initial=0))
        n_hits = np.diff(events.hit_offsets)
        for rows in event_slices(len(events)):
            n_rows, width = rows.stop - rows.start, int(n_hits[rows].max(initial=0))
            p = np.zeros((n_rows, n_queries, width), dtype=np.float32)
            valid = np.zeros((n_rows, n_queries), dtype=np.float32)
            for row in range(n_rows):
                chosen = self._choose(events, rows.start + row)
                p[row, : len(chosen), : chosen.shape[1]] = chosen
                valid[row, : len(chosen)] = 1
            yield BackboneBatch(
                events=rows,
                query=np.zeros((n_rows, n_queries, self.dim), dtype=np.float32),
                encoded=np.zeros((n_rows, width, self.dim), dtype=np.float32),
                p=p,
                valid=valid,
            )

    def _choose(self, events: Events, event: int) -> NDArray[np.bool_]:
        """The hits of each track of one event, spoilt as asked, bool [T, M]."""
        truth = truth_masks(events, event)
        if self.purity == 1 and self.efficiency == 1:
            return truth
        # The event number as uint64, because a seed must not be negative.
        rng = np.random.default_rng([self.seed, int(events.ids[event].astype(np.uint64))])
        chosen = truth & (rng.random(truth.shape) < self.efficiency)
        noise = np.flatnonzero(~truth.any(axis=0))
        for hits in chosen:
            wanted = hits.sum() * (1 - self.purity) / self.purity
            # Rounded at random, so that the purity is right on average for short tracks too.
            n_noise = min(int(wanted + rng.random()), len(noise))
            hits[rng.choice(noise, n_noise, replace=False)] = True
        return chosen
