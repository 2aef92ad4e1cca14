"""The one pass through the frozen backbone that makes a cache of frozen features."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import (
    Assignment,
    Backbone,
    Progress,
    Recorder,
    assign,
    join,
    refuse_seen,
)
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, Source, ragged_rows, splits_of
from headsweep.events.gate import describe, place
from headsweep.events.selection import selected, true_hits, words
from headsweep.features.analytic import Estimator
from headsweep.features.bending import TrackHits, bending_features, bending_hits, hits_of_tracks
from headsweep.features.cache import (
    ColumnScale,
    Features,
    FeatureSet,
    Meta,
    save,
)
from headsweep.features.truth_check import load_events
from headsweep.files import atomic_dir, cache_folder, locked
from headsweep.identity import NUMERICS, stable_hash
from headsweep.stats.bins import ABS_ETA

CACHE_VERSION = 4
"""Raised when the layout or the content of the cache changes; part of its key."""

ALL_TRACKS = SelectionConfig()
"""The selection that every true track passes."""

TrackFormula = Callable[[TrackHits], NDArray[np.float32]]
"""Formula for eta, phi, pt and q from the hits of T tracks, float32 [T, 4]; NaN where unusable."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recipe:
    """Everything that determines the content of a cache."""

    source: Source
    backbone: Backbone
    split: SplitConfig
    features: FeaturesConfig
    selection: SelectionConfig

    def key(self) -> str:
        s = self.source
        facts = [s.key(), s.plane, list(s.pt_edges), s.min_bin_tracks, list(s.not_modelled)]
        configs = [asdict(config) for config in (self.split, self.features, self.selection)]
        return stable_hash([facts, self.backbone.key(), configs, NUMERICS, CACHE_VERSION])


def cache_key(
    source: Source,
    backbone: Backbone,
    split: SplitConfig,
    features: FeaturesConfig,
    selection: SelectionConfig = ALL_TRACKS,
) -> str:
    """Key of the cache that ``build`` finds or makes with the same arguments (16 hex)."""
    return _Recipe(source, backbone, split, features, selection).key()


def build(
    source: Source,
    backbone: Backbone,
    split: SplitConfig,
    features: FeaturesConfig,
    root: Path,
    progress: Progress | None = None,
    selection: SelectionConfig = ALL_TRACKS,
) -> FeatureSet:
    """Open the cache of frozen features; it is made first if it is missing or damaged.

    Of two processes that ask at once, one builds and the other waits.

    Args:
        source: Where the events come from.
        backbone: The backbone that assigns hits to tracks.
        split: Shares of the splits.
        features: Kind of hit features, and the threshold of the assignment.
        root: Folder of all output; the cache is ``root/cache/features/<key>``.
        progress: Called with what is being done and the share that is done.
        selection: Cuts on true tracks.

    Raises:
        DataError: The events cannot be used, or the backbone assigns no hit to any track.
        UserError: The backbone, the features or the selection do not fit the events.
    """
    recipe = _Recipe(source, backbone, split, features, selection)
    folder = cache_folder(root, "features") / recipe.key()
    with locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():
            try:
                return FeatureSet(folder)
            except DataError as error:
                log.warning("building the features again: %s", error)
        with atomic_dir(folder) as temporary:
            _write(temporary, recipe, root, progress or (lambda description, fraction: None))
        return FeatureSet(folder)


def _write(folder: Path, recipe: _Recipe, root: Path, report: Progress) -> None:
    """Fill an empty folder with the arrays of every split and ``meta.json``."""
    source, backbone, features = recipe.source, recipe.backbone, recipe.features
    report(f"events of {place(source)}: simulated where they are not cached, checked", 0.0)
    events = load_events(source, root)
    if events.left_out:
        log.warning("%s: left out %s", place(source), describe(events.left_out))
    parts, counted = split_parts(events, source.plane, recipe.split, features, recipe.selection)
    refuse_seen(backbone, parts)
    found = find_tracks(parts, counted, backbone, features.assignment_threshold, report)
    bent = features.name == "bending"
    report("features of the tracks", 1.0)
    scales, splits = _content(parts, found, source.plane, bent)
    n_tracks = {name: len(split) for name, split in splits.items()}
    correct = int(found["val"].correct.sum())
    n_true_hits = int(counted["val"][true_hits(parts["val"])[1]].sum())
    names = bending_features(source.plane, events.features) if bent else events.features
    meta = Meta(
        key=recipe.key(),
        data_key=source.key(),
        backbone_key=backbone.key(),
        features=features.name,
        feature_names=list(names),
        threshold=features.assignment_threshold,
        dim=backbone.dim,
        plane=source.plane,
        pt_edges=list(source.pt_edges),
        min_bin_tracks=source.min_bin_tracks,
        not_modelled=list(source.not_modelled),
        selection=recipe.selection,
        selected={name: float(tracks.mean()) for name, tracks in counted.items()},
        left_out=dict(events.left_out),
        n_events={name: count_events(part, counted[name]) for name, part in parts.items()},
        n_tracks=n_tracks,
        efficiency={name: n / int(counted[name].sum()) for name, n in n_tracks.items()},
        by_abs_eta={
            name: count_by_abs_eta(splits[name], part.tracks[counted[name]])
            for name, part in parts.items()
        },
        hit_purity=correct / max(len(found["val"].correct), 1),
        hit_efficiency=correct / n_true_hits,
        bytes_per_track=sum(split.size for split in splits.values()) / sum(n_tracks.values()),
        scales=scales,
    )
    save(folder, splits, meta)


def split_parts(
    events: Events,
    plane: str,
    split: SplitConfig,
    features: FeaturesConfig,
    selection: SelectionConfig,
) -> tuple[dict[str, Events], dict[str, NDArray[np.bool_]]]:
    """Events of each split, and the masks of their true tracks that pass the cuts.

    All that a configuration of data and features asks of events is checked here, for training and
    for ``headsweep data validate``.

    Raises:
        UserError: A split is empty or has no selected track, or a hit column is missing.
    """
    if features.name == "bending":
        none = np.zeros(0, np.int64)
        bending_hits(plane, hits_of_tracks(events, none))  # names a column that is missing
    parts = {
        name: events.take(rows) for name, rows in splits_of(events, split).items() if len(rows)
    }
    return parts, select_tracks(parts, selection)


def select_tracks(
    parts: Mapping[str, Events], selection: SelectionConfig
) -> dict[str, NDArray[np.bool_]]:
    """Masks of the true tracks of each split that pass the cuts, bool [T].

    Raises:
        UserError: A split has no such track.
    """
    counted = {name: selected(part, selection) for name, part in parts.items()}
    for name, tracks in counted.items():
        if not tracks.any():
            raise UserError(
                f"data.selection: none of the {len(tracks)} true tracks of split {name!r} passes "
                f"({words(selection)}); loosen it, or use more events"
            )
    return counted


def count_events(events: Events, tracks: NDArray[np.bool_]) -> int:
    """Number of events with a track of a mask over ``Events.tracks``."""
    before = np.concatenate([[0], np.cumsum(tracks)])
    return int(np.count_nonzero(np.diff(before[events.track_offsets])))


def count_by_abs_eta(found: Features, true: NDArray[np.float32]) -> list[list[int]]:
    """Count found and all true tracks [T, 4] in each bin of ``ABS_ETA``."""
    counts = (np.histogram(np.abs(t[:, 0]), ABS_ETA.edges)[0] for t in (found.truth, true))
    return [[int(n), int(total)] for n, total in zip(*counts, strict=True)]


def find_tracks(
    parts: Mapping[str, Events],
    counted: Mapping[str, NDArray[np.bool_]],
    backbone: Backbone,
    threshold: float,
    report: Progress,
) -> dict[str, Assignment]:
    """Pass all events through the backbone once, and keep the found tracks of the masks.

    Args:
        parts: Events of each split.
        counted: True tracks of each split that pass the cuts, bool [T].
        backbone: The backbone that assigns hits to tracks.
        threshold: Least p of an assigned hit.
        report: Called with what is being done and the share that is done.

    Raises:
        DataError: A split has no found track, or the training split no assigned hit.
    """
    total, done = sum(len(part) for part in parts.values()), 0
    found = {}
    for name, part in parts.items():
        batches = []
        if isinstance(backbone, Recorder):
            recorded = backbone.assigned(part, threshold)
            found[name] = _checked(_only(recorded, counted[name]), name, counted[name], threshold)
            done += len(part)
            continue
        for batch in backbone.run(part):
            # Matched among all tracks, so that none takes the query of one that does not count.
            batches.append(_only(assign(part, batch, threshold), counted[name]))
            report("hits through the backbone", (done + batch.events.stop) / total)
        found[name] = _checked(join(batches), name, counted[name], threshold)
        done += len(part)
    return found


def _checked(
    found: Assignment, name: str, counted: NDArray[np.bool_], threshold: float
) -> Assignment:
    """Refuse a split without a found track."""
    # Other splits may be small; the training split is where hits are standardised.
    if len(found.track) == 0 or (name == "train" and len(found.hit) == 0):
        raise DataError(
            f"split {name!r}: the backbone found {len(found.track)} of {counted.sum()} tracks and "
            f"assigned {len(found.hit)} hits to them at features.assignment_threshold={threshold}; "
            "lower it, or train a backbone on these data with `headsweep backbone`"
        )
    return found


def _only(found: Assignment, counted: NDArray[np.bool_]) -> Assignment:
    """Keep the found tracks of a mask over all true tracks, with their hits."""
    tracks = np.flatnonzero(counted[found.track])
    hits, offsets = ragged_rows(found.offsets, tracks)
    return Assignment(
        track=found.track[tracks],
        event=found.event[tracks],
        query=found.query[tracks],
        offsets=offsets,
        hit=found.hit[hits],
        encoded=found.encoded[hits],
        p=found.p[hits],
        correct=found.correct[hits],
    )


def _content(
    parts: Mapping[str, Events], found: Mapping[str, Assignment], plane: str, bent: bool
) -> tuple[dict[str, ColumnScale], dict[str, Features]]:
    """Features of each split, and the scales from training that standardise them."""
    assigned = {
        name: TrackHits(part.hits[found[name].hit], part.features, found[name].offsets)
        for name, part in parts.items()
    }
    true = {name: hits_of_tracks(part, found[name].track) for name, part in parts.items()}
    truth = parts["train"].tracks[found["train"].track]
    formula = calibrate(plane, true["train"], truth)
    raw = {n: bending_hits(plane, hits) if bent else hits.hits for n, hits in assigned.items()}
    train = {"raw": raw["train"], "encoded": found["train"].encoded, "query": found["train"].query}
    scales = {name: ColumnScale.of(values) for name, values in train.items()}
    return scales, {
        n: standardised(
            part, found[n], assigned[n], raw[n], scales, formula(assigned[n]), formula(true[n])
        )
        for n, part in parts.items()
    }


def standardised(
    events: Events,
    found: Assignment,
    assigned: TrackHits,
    raw: NDArray[np.float32],
    scales: Mapping[str, ColumnScale],
    analytic: NDArray[np.float32],
    classical: NDArray[np.float32],
) -> Features:
    """Frozen features of the found tracks, standardised with the given scales."""
    return Features(
        raw=scales["raw"].apply(raw),
        encoded=scales["encoded"].apply(found.encoded),
        p=found.p,
        offsets=found.offsets,
        query=scales["query"].apply(found.query),
        truth=events.tracks[found.track],
        event=events.ids[found.event],
        axis=_axis(assigned, found.p),
        analytic=analytic,
        classical=classical,
    )


def calibrate(plane: str, train: TrackHits, truth: NDArray[np.float32]) -> TrackFormula:
    """Calibrate the formula of a bending plane on true hits and truth of training tracks."""
    try:
        return Estimator(plane).fit(train, truth).predict
    except UserError as error:
        # The heads need no reference; only its rows of the report stay empty.
        log.warning("no reference estimate: %s", error)
        return no_estimate


def no_estimate(hits: TrackHits) -> NDArray[np.float32]:
    """Rows of NaN, for tracks without a calibrated formula, float32 [T, 4]."""
    return np.full((len(hits), 4), np.nan, np.float32)


def _axis(track_hits: TrackHits, p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean eta and circular mean phi of each track's hits, weighted by p, float32 [T, 2].

    NaN where the hits have neither eta and phi nor a position.
    """
    found = track_hits.directions()
    if found is None:
        return np.full((len(track_hits), 2), np.nan, np.float32)
    eta, phi = found
    track = track_hits.track()

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(track, values * p, len(track_hits)).astype(np.float64)

    mean_eta = total(eta) / np.maximum(total(np.ones_like(eta)), 1e-8)
    mean_phi = np.arctan2(total(np.sin(phi)), total(np.cos(phi)))
    return np.stack([mean_eta, mean_phi], axis=1).astype(np.float32)
