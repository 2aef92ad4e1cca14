"""Frozen features of events that a cache does not hold: a new test sample, or a user's events."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.backbone.base import (
    VALID,
    Assignment,
    Backbone,
    assign_valid,
    join,
    refuse_seen,
)
from headsweep.config import SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import TRACK_COLUMNS, Events, Source, row_hashes, splits_of
from headsweep.events.spool import taken
from headsweep.features.analytic import Measured, measure
from headsweep.features.bending import TrackHits, hits_of_tracks
from headsweep.features.cache import (
    REBUILD,
    Features,
    FeatureSet,
    FeatureWriter,
    Meta,
    finish,
    mapped,
    standardised,
    trained_elsewhere,
)
from headsweep.features.extract import (
    TrackFormula,
    calibrate,
    frozen_features,
    no_estimate,
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
from headsweep.files import atomic_dir, locked

log = logging.getLogger(__name__)

SPREAD = 0x9E3779B97F4A7C15
"""An odd number that carries the number of an event into all bits of a hash."""


def build_test(
    cache: FeatureSet, source: Source, split: SplitConfig, backbone: Backbone, root: Path
) -> FeatureSet:
    """Open the test sample of a simulation's cache; it is made first if missing or damaged.

    It is standardised with the cache's scales, and its references are calibrated on the cache's
    training tracks. Its folder lies beside the cache; ``cache.load("test")`` then reads it.

    Args:
        cache: The cache that the heads were trained on.
        source: The source of its events; its ``test_sample`` is not None.
        split: Shares of its splits.
        backbone: The backbone that made the cache.
        root: The folder of all output.

    Raises:
        UserError: The backbone is another one, or no track passes the cache's selection.
        DataError: The backbone finds nothing in the events.
    """
    sample = source.test_sample()
    assert sample is not None
    folder = cache.beside("test")
    with locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():
            try:
                found = FeatureSet(folder)
                if found.meta.data_key == sample.key():
                    return found
                log.warning("building the test sample again: it is of another simulation")
            except DataError as error:
                log.warning("building the test sample again: %s", error)
        formula = calibrated(cache, source, split, root)
        fresh = load_events(sample, root)
        refuse_seen(backbone, {"test": fresh})
        counted = select_tracks({"test": fresh}, cache.meta.selection)["test"]
        with atomic_dir(folder) as temporary:
            with FeatureWriter(temporary / "test") as writer:
                for block in _with_truth(cache.meta, backbone, fresh, counted, formula):
                    writer.add(block)
            frozen = mapped(temporary / "test")
            if not len(frozen):
                refuse_empty("test", 0, 0, counted, cache.meta.threshold)
            meta = replace(
                cache.meta,
                key=folder.name,
                data_key=sample.key(),
                left_out=dict(fresh.left_out),
                selected={"test": float(counted.mean())},
                n_events={"test": count_events(fresh, counted)},
                n_tracks={"test": len(frozen)},
                efficiency={"test": len(frozen) / int(counted.sum())},
                by_abs_eta={"test": count_by_abs_eta(frozen, fresh.tracks[counted])},
            )
            finish(temporary, meta)
        return FeatureSet(folder)


def calibrated(cache: FeatureSet, source: Source, split: SplitConfig, root: Path) -> TrackFormula:
    """The formula of a cache's estimates, calibrated again on its training tracks.

    Args:
        cache: The cache.
        source: The source of its events, which are read.
        split: Shares of its splits.
        root: The folder of all output.
    """
    events = load_events(source, root)
    train, frozen = taken(events, splits_of(events, split)["train"]), cache.load("train")
    rows, found = _rows(train, frozen), []
    for block, part in train.blocks():
        first, last = train.track_offsets[[block.start, block.stop]]
        own = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]  # they rise
        found.append(measure(cache.meta.plane, hits_of_tracks(part, own - first)))
    return calibrate(cache.meta.plane, Measured.joined(found), frozen.truth)


def features_of_events(
    meta: Meta,
    backbone: Backbone,
    events: Events,
    root: Path,
    formula: TrackFormula = no_estimate,
) -> Iterator[Features]:
    """Frozen features of a user's events, standardised with the scales of a cache, block by block.

    Tracks that the cache's selection cuts are left out. Of events without truth the tracks are
    those that the backbone finds itself (``assign_valid``), without a selection, and the truth is
    NaN.

    Args:
        meta: Facts about the cache that a head was trained on.
        backbone: The backbone that made it.
        events: The events to apply the head to.
        root: The folder of all output.
        formula: Gives the estimates of the tracks, see ``calibrated``; without it they are NaN.

    Yields:
        Features of some tracks, none of them empty.

    Raises:
        UserError: The backbone or the hit features are others than the cache's, or no track passes
            its selection.
        DataError: The backbone finds nothing in the events.
    """
    if not len(events.tracks):  # which the backbone has not seen: it was trained on true tracks
        counted = np.zeros(0, bool)
        blocks = _without_truth(meta, backbone, events, formula)
    else:
        refuse_seen(backbone, {"the given data": events}, trained_elsewhere(root, backbone))
        counted = select_tracks({"other": events}, meta.selection)["other"]
        blocks = _with_truth(meta, backbone, events, counted, formula)
    found = 0
    for block in blocks:
        found += len(block)
        if len(block):
            yield block
    if not found and len(counted):
        refuse_empty("other", 0, 0, counted, meta.threshold)
    elif not found:
        raise DataError(
            f"the events have no true track, and the backbone finds none in {len(events):,} events "
            f"(a query valid with p of at least {VALID}); backbone=truth finds none without truth"
        )


def _without_truth(
    meta: Meta, backbone: Backbone, events: Events, formula: TrackFormula
) -> Iterator[Features]:
    """Features of the tracks that the backbone finds itself."""
    _check_fit(meta, backbone, events)
    for _, part in events.blocks():
        batches = backbone.run(part)
        found = join([assign_valid(part, batch, meta.threshold) for batch in batches])
        truth = np.full((len(found.track), len(TRACK_COLUMNS)), np.nan, np.float32)
        found = replace(found, track=np.arange(len(truth)))
        assigned, raw = _hits(meta, part, found)
        analytic = _estimated(formula, meta.plane, assigned)
        frozen = frozen_features(replace(part, tracks=truth), found, assigned, raw, analytic, truth)
        yield standardised(frozen, meta.scales)
        del part, batches, found, assigned, raw, frozen  # before the next ones are made


def _with_truth(
    meta: Meta,
    backbone: Backbone,
    events: Events,
    counted: NDArray[np.bool_],
    formula: TrackFormula,
) -> Iterator[Features]:
    """Features of the true tracks of a mask that the backbone finds."""
    _check_fit(meta, backbone, events)
    for rows, part in events.blocks():
        own = counted[events.track_offsets[rows.start] : events.track_offsets[rows.stop]]
        found = find_tracks(part, own, backbone, meta.threshold)
        assigned, raw = _hits(meta, part, found)
        estimates = [
            _estimated(formula, meta.plane, hits)
            for hits in (assigned, hits_of_tracks(part, found.track))
        ]
        yield standardised(frozen_features(part, found, assigned, raw, *estimates), meta.scales)
        del part, found, assigned, raw, estimates  # before the next ones are made


def _estimated(formula: TrackFormula, plane: str, hits: TrackHits) -> NDArray[np.float32]:
    """Estimates of a formula; rows of NaN, where the hits lack a column of it."""
    measured = measure(plane, hits)
    nothing = np.full((len(hits), len(TRACK_COLUMNS)), np.nan, np.float32)
    return nothing if measured is None else formula(measured)


def _hits(meta: Meta, events: Events, found: Assignment) -> tuple[TrackHits, NDArray[np.float32]]:
    """Assigned hits of the found tracks, and their features as the cache has them."""
    assigned = TrackHits(events.hits[found.hit], events.features, found.offsets)
    return assigned, _hit_features(meta).of(assigned)


def _hit_features(meta: Meta) -> HitFeatures:
    return HitFeatures(meta.features, meta.plane, meta.coils)


def _check_fit(meta: Meta, backbone: Backbone, events: Events) -> None:
    """Refuse another backbone, or other hit features, than those of the cache."""
    if backbone.key() != meta.backbone_key:
        raise UserError(
            f"the backbone's checkpoint ({backbone.key()}) is not the one that the head was "
            f"trained on ({meta.backbone_key}); put that file back"
        )
    names = _hit_features(meta).names(events.features)
    if list(names) != meta.feature_names:
        raise UserError(
            f"the events have the hit features {', '.join(names)}, "
            f"but the head was trained on {', '.join(meta.feature_names)}"
        )


def _rows(events: Events, frozen: Features) -> NDArray[np.int64]:
    """Rows in ``Events.tracks`` of frozen tracks, which have its order: found by event and truth.

    Raises:
        DataError: A track is not among the events.
    """
    own = _named(np.repeat(events.ids, np.diff(events.track_offsets)), events.tracks)
    wanted = _named(frozen.event, frozen.truth)
    order = np.argsort(own, kind="stable")
    rows = order[np.searchsorted(own, wanted, side="right", sorter=order) - 1]
    if (own[rows] != wanted).any():
        raise DataError(f"the events are not those of the cache of frozen features; {REBUILD}")
    return rows


def _named(event: NDArray[np.int64], tracks: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash of the event's number and the truth of each track, uint64 [T]."""
    return row_hashes(tracks, TRACK_COLUMNS) + event.astype(np.uint64) * np.uint64(SPREAD)
