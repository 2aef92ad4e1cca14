"""The one pass through the frozen backbone that makes a cache of frozen features."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import Assignment, Backbone, Progress, Recorder, refuse_seen
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, Source, splits_of
from headsweep.events.gate import describe, place
from headsweep.events.mapped import forget
from headsweep.events.selection import true_hits
from headsweep.events.spool import taken
from headsweep.features.analytic import Estimator, Measured, measure
from headsweep.features.bending import TrackHits, hits_of_tracks
from headsweep.features.cache import (
    SEEN,
    STANDARDISED,
    ColumnScale,
    Features,
    FeatureSet,
    FeatureWriter,
    Meta,
    chunks,
    finish,
    mapped,
    trained_elsewhere,
)
from headsweep.features.found_tracks import (
    count_by_abs_eta,
    count_events,
    find_tracks,
    refuse_empty,
    select_tracks,
)
from headsweep.features.hit_features import HitFeatures
from headsweep.features.truth_check import load_events
from headsweep.files import atomic_dir, cache_folder, locked
from headsweep.identity import NUMERICS, stable_hash

CACHE_VERSION = 4
"""Raised when the layout or the content of the cache changes; part of its key."""

ALL_TRACKS = SelectionConfig()
"""The selection that every true track passes."""

TrackFormula = Callable[[Measured], NDArray[np.float32]]
"""Formula for eta, phi, pt and q of T measured tracks, float32 [T, 4]; NaN where unusable."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recipe:
    """Everything that determines the content of a cache."""

    source: Source
    backbone: Backbone
    split: SplitConfig
    features: FeaturesConfig
    selection: SelectionConfig

    @property
    def hit_features(self) -> HitFeatures:
        return HitFeatures.of_source(self.source, self.features.name)

    def key(self) -> str:
        s = self.source
        facts = [s.key(), s.plane, list(s.pt_edges), s.min_bin_tracks, list(s.not_modelled)]
        facts += [self.hit_features.coils] if self.features.name == "harmonics" else []
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


@dataclass
class _Found:
    """What is known of a split beside the arrays that are written.

    Attributes:
        assigned, true: Measurements of the found tracks on assigned and on true hits, by block;
            None where the formula lacks a column.
        hits, correct: Number of assigned hits, and of those that truly belong to their track.
        true_hits: Number of hits of the true tracks that count.
    """

    assigned: list[Measured | None] = field(default_factory=list)
    true: list[Measured | None] = field(default_factory=list)
    hits: int = 0
    correct: int = 0
    true_hits: int = 0


def _write(folder: Path, recipe: _Recipe, root: Path, report: Progress) -> None:
    """Fill an empty folder with the arrays of every split and ``meta.json``."""
    source, backbone, features = recipe.source, recipe.backbone, recipe.features
    report(f"events of {place(source)} are read and checked", 0.0)
    events = load_events(source, root)
    if events.left_out:
        log.warning("%s: left out %s", place(source), describe(events.left_out))
    names, left_out = events.features, dict(events.left_out)
    parts, counted = split_parts(events, source, features.name, recipe.split, recipe.selection)
    del events  # many events have files, and the splits now have their own
    refuse_seen(backbone, parts, trained_elsewhere(root, backbone))
    total, found = sum(len(part) for part in parts.values()), {}
    done = 0
    for name, part in parts.items():

        def at(n_events: int, done: int = done) -> None:
            report("hits through the backbone", (done + n_events) / total)

        found[name] = _write_split(folder / name, recipe, part, counted[name], at)
        written = mapped(folder / name)
        counts = (len(written), len(written.p))
        _check_found(name, *counts, counted[name], features.assignment_threshold)
        done += len(part)
    report("features of the tracks", 1.0)
    scales = _standardise(folder, found, source.plane)
    splits = {name: mapped(folder / name) for name in parts}
    n_tracks = {name: len(split) for name, split in splits.items()}
    val = found["val"]
    meta = Meta(
        key=recipe.key(),
        data_key=source.key(),
        backbone_key=backbone.key(),
        features=features.name,
        feature_names=list(recipe.hit_features.names(names)),
        threshold=features.assignment_threshold,
        dim=backbone.dim,
        plane=source.plane,
        coils=recipe.hit_features.coils if features.name == "harmonics" else None,
        pt_edges=list(source.pt_edges),
        min_bin_tracks=source.min_bin_tracks,
        not_modelled=list(source.not_modelled),
        selection=recipe.selection,
        selected={name: float(tracks.mean()) for name, tracks in counted.items()},
        left_out=left_out,
        n_events={name: count_events(part, counted[name]) for name, part in parts.items()},
        n_tracks=n_tracks,
        efficiency={name: n / int(counted[name].sum()) for name, n in n_tracks.items()},
        by_abs_eta={
            name: count_by_abs_eta(splits[name], part.tracks[counted[name]])
            for name, part in parts.items()
        },
        hit_purity=val.correct / max(val.hits, 1),
        hit_efficiency=val.correct / max(val.true_hits, 1),
        bytes_per_track=sum(split.size for split in splits.values()) / sum(n_tracks.values()),
        scales=scales,
    )
    if isinstance(backbone, Recorder):
        np.save(folder / SEEN, getattr(backbone, "seen", np.zeros(0, np.uint64)))
    finish(folder, meta)


def _write_split(
    folder: Path,
    recipe: _Recipe,
    events: Events,
    counted: NDArray[np.bool_],
    report: Callable[[int], None],
) -> _Found:
    """Write the features of one split, neither standardised nor with estimates, block by block."""
    plane, found = recipe.source.plane, _Found()
    threshold = recipe.features.assignment_threshold
    with FeatureWriter(folder) as writer:
        for rows, part in events.blocks():
            tracks = counted[events.track_offsets[rows.start] : events.track_offsets[rows.stop]]

            def at(n_events: int, start: int = rows.start) -> None:
                report(start + n_events)

            tracks_found = find_tracks(part, tracks, recipe.backbone, threshold, at)
            hits = TrackHits(part.hits[tracks_found.hit], part.features, tracks_found.offsets)
            raw = recipe.hit_features.of(hits)
            none = np.full((len(hits), 4), np.nan, np.float32)
            writer.add(frozen_features(part, tracks_found, hits, raw, none, none))
            found.assigned.append(measure(plane, hits))
            found.true.append(measure(plane, hits_of_tracks(part, tracks_found.track)))
            found.hits += len(tracks_found.hit)
            found.correct += int(tracks_found.correct.sum())
            found.true_hits += int(tracks[true_hits(part)[1]].sum())
            del part, tracks_found, hits, raw  # before the next ones are made
    return found


def check_recorded(
    backbone: Backbone,
    parts: Mapping[str, Events],
    counted: Mapping[str, NDArray[np.bool_]],
    threshold: float,
    root: Path,
) -> None:
    """Refuse what ``build`` would refuse of a recorded backbone, before anything is written.

    Of one that is not recorded only the events that it knows are: the rest shows when it runs.

    Args:
        backbone: Of the configuration.
        parts: Events of each split.
        counted: Masks of their true tracks that pass the cuts.
        threshold: Least p of an assigned hit.
        root: The folder of all output.

    Raises:
        UserError: Events that trained it would judge it, or no hit was recorded at the threshold.
        DataError: A split has no found track, or the one that trains no hit.
    """
    refuse_seen(backbone, parts, trained_elsewhere(root, backbone))
    if not isinstance(backbone, Recorder):
        return
    for name, events in parts.items():
        tracks = hits = 0
        for rows, part in events.blocks():
            own = counted[name][events.track_offsets[rows.start] : events.track_offsets[rows.stop]]
            found = find_tracks(part, own, backbone, threshold)
            tracks, hits = tracks + len(found.track), hits + len(found.hit)
        _check_found(name, tracks, hits, counted[name], threshold)


def _check_found(
    name: str, tracks: int, hits: int, counted: NDArray[np.bool_], threshold: float
) -> None:
    """Refuse a split without a found track."""
    # Other splits may be small; the training split is where hits are standardised.
    if tracks == 0 or (name == "train" and hits == 0):
        refuse_empty(name, tracks, hits, counted, threshold)


def _standardise(folder: Path, found: Mapping[str, _Found], plane: str) -> dict[str, ColumnScale]:
    """Standardise what is written with the training split, and write the estimates.

    Returns:
        The scales.
    """
    train = mapped(folder / "train")
    scales = {name: ColumnScale.of(getattr(train, name)) for name in STANDARDISED}
    formula = calibrate(plane, Measured.joined(found["train"].true), train.truth)
    del train
    for split, own in found.items():
        written = mapped(folder / split, "r+")
        for name in STANDARDISED:
            values = getattr(written, name)
            for rows in chunks(len(values)):
                values[rows] = scales[name].apply(values[rows])
                forget(values)
        for name, blocks in (("analytic", own.assigned), ("classical", own.true)):
            values, start = getattr(written, name), 0
            for block in blocks:
                if block is not None:
                    values[start : start + len(block)] = formula(block)
                    start += len(block)
    return scales


def split_parts(
    events: Events,
    source: Source,
    features: str,
    split: SplitConfig,
    selection: SelectionConfig,
) -> tuple[dict[str, Events], dict[str, NDArray[np.bool_]]]:
    """Events of each split, and the masks of their true tracks that pass the cuts.

    All that a configuration of data and features asks of events is checked here, for training and
    for ``headsweep data validate``.

    Args:
        events: Those of the source.
        source: Where they come from.
        features: Name of the hit features.
        split: Shares of the splits.
        selection: The cuts.

    Raises:
        UserError: A split is empty or has no selected track, or a hit column is missing.
    """
    none = np.zeros(0, np.int64)
    hit_features = HitFeatures.of_source(source, features)
    try:
        hit_features.of(hits_of_tracks(events.take(none), none))
    except UserError as error:  # names a column that is missing
        raise UserError(f"{place(source)}: {error}") from error
    parts = {
        name: taken(events, rows) for name, rows in splits_of(events, split).items() if len(rows)
    }
    return parts, select_tracks(parts, selection)


def frozen_features(
    events: Events,
    found: Assignment,
    assigned: TrackHits,
    raw: NDArray[np.float32],
    analytic: NDArray[np.float32],
    classical: NDArray[np.float32],
) -> Features:
    """Frozen features of the found tracks, not standardised."""
    return Features(
        raw=raw,
        encoded=found.encoded,
        p=found.p,
        offsets=found.offsets,
        query=found.query,
        truth=events.tracks[found.track],
        event=events.ids[found.event],
        axis=_axis(assigned, found.p),
        analytic=analytic,
        classical=classical,
    )


def calibrate(plane: str, train: Measured | None, truth: NDArray[np.float32]) -> TrackFormula:
    """Calibrate the formula of a bending plane on true hits and truth of training tracks."""
    if train is None:
        # The heads need no reference; only its rows of the report stay empty.
        log.warning("no reference estimate: the hits lack a column that its formula needs")
        return no_estimate
    return Estimator(plane).fit(train, truth).predict


def no_estimate(measured: Measured) -> NDArray[np.float32]:
    """Rows of NaN, for tracks without a calibrated formula, float32 [T, 4]."""
    return np.full((len(measured), 4), np.nan, np.float32)


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
