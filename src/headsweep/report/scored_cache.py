"""What a report needs of a cache of frozen features: its references, and facts of its tracks."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.events.mapped import forget
from headsweep.events.selection import STATION
from headsweep.features import cache as features_cache
from headsweep.features.cache import chunks
from headsweep.stats.bins import far_from_reference
from headsweep.stats.tracks import Tracks

CONSTANT = "constant predictor"
"""The reference that is as good as a head that has learnt nothing."""


@dataclass(frozen=True)
class ScoredCache:
    """The part of a cache of frozen features that a report needs.

    Attributes:
        meta: What is known of it.
        split: Which one is scored.
        references: Predictions of each reference on it, NaN where it has no estimate.
        classical_train: The classical reference on the training split.
        hits: Assigned hits of one of its tracks, on average.
        stations: Stations with assigned hits of each track, [T]; None where no feature of the hits
            tells stations apart.
    """

    meta: features_cache.Meta
    split: str
    references: dict[str, Tracks]
    classical_train: Tracks
    hits: float
    stations: NDArray[np.int64] | None

    @classmethod
    def open(cls, root: Path, key: str, split: str) -> "ScoredCache":
        """Read the references of a cache under ``root`` on one split."""
        cache = features_cache.open_cache(root, key)
        scored, train = cache.load(split), cache.load("train")
        own = cache.holding(split).meta
        facts = ("selected", "n_events", "n_tracks", "efficiency", "by_abs_eta")
        both = {name: getattr(cache.meta, name) | getattr(own, name) for name in facts}
        if own.key != key:  # a test sample of its own
            both["left_out"] = dict(Counter(cache.meta.left_out) + Counter(own.left_out))
        # The answer of a head that knows nothing: the training mean, and the more frequent charge.
        constant = np.asarray(train.truth, dtype=np.float64).mean(axis=0)
        constant[3] = 1.0 if constant[3] >= 0 else -1.0
        everywhere = np.broadcast_to(constant, scored.truth.shape)
        truth = np.asarray(scored.truth, dtype=np.float64)  # once for all references
        names = (CONSTANT, "analytic estimate", "classical reference")
        estimates = (everywhere, scored.analytic, scored.classical)
        return cls(
            meta=replace(cache.meta, **both),
            split=split,
            references={
                name: Tracks.from_estimate(scored.event, truth, estimate)
                for name, estimate in zip(names, estimates, strict=True)
            },
            classical_train=Tracks.from_estimate(train.event, train.truth, train.classical),
            hits=float(scored.offsets[-1]) / len(scored),
            stations=count_stations(scored, cache.meta.feature_names),
        )

    @property
    def common(self) -> NDArray[np.bool_]:
        """Scored tracks that every reference can use, [T]; one that can use none is left out."""
        known = [own.usable for own in self.references.values() if own.usable.any()]
        common: NDArray[np.bool_] = np.logical_and.reduce(known)
        return common

    def far(self, tracks: Tracks) -> float:
        """``far_from_reference`` of scored tracks; the reference's core is taken on training."""
        return far_from_reference(tracks, self.classical_train, self.meta.pt_edges)


def count_stations(features: features_cache.Features, names: list[str]) -> NDArray[np.int64] | None:
    """Stations with assigned hits of each track, [T]; None without a feature that tells them."""
    if STATION not in names:
        return None
    column, counts = names.index(STATION), np.zeros(len(features), np.int64)
    for tracks in chunks(len(features), share=32):  # a track has some 20 hits
        offsets = features.offsets[tracks.start : tracks.stop + 1]
        values = features.raw[offsets[0] : offsets[-1], column]
        found, station = np.unique(values, return_inverse=True)
        track = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        pairs = np.unique(track * len(found) + station) // max(len(found), 1)
        counts[tracks] = np.bincount(pairs, minlength=len(offsets) - 1)
        forget(features.raw)
    return counts
