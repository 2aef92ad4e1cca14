"""Frozen features of events that a cache does not hold: a new test sample, or a user's events."""

import logging
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
from headsweep.events.base import TRACK_COLUMNS, Events, Source, splits_of
from headsweep.features.bending import TrackHits, bending_features, bending_hits, hits_of_tracks
from headsweep.features.cache import Features, FeatureSet, Meta, save
from headsweep.features.extract import (
    TrackFormula,
    calibrate,
    count_by_abs_eta,
    count_events,
    find_tracks,
    no_estimate,
    select_tracks,
    standardised,
)
from headsweep.features.truth_check import load_events
from headsweep.files import atomic_dir, locked

log = logging.getLogger(__name__)


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
        events = load_events(source, root)
        train = events.take(splits_of(events, split)["train"])
        rows, truth = _rows(train, cache.load("train")), cache.load("train").truth
        formula = calibrate(cache.meta.plane, hits_of_tracks(train, rows), truth)
        fresh = load_events(sample, root)
        refuse_seen(backbone, {"test": fresh})
        counted, frozen = _apply(cache.meta, backbone, fresh, formula)
        with atomic_dir(folder) as temporary:
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
            save(temporary, {"test": frozen}, meta)
        return FeatureSet(folder)


def features_of_events(meta: Meta, backbone: Backbone, events: Events) -> Features:
    """Frozen features of a user's events, standardised with the scales of a cache.

    The references of these tracks are NaN: they are calibrated on a cache's training split. Tracks
    that the cache's selection cuts are left out. Of events without truth the tracks are those that
    the backbone finds itself (``assign_valid``), without a selection, and the truth is NaN.

    Args:
        meta: Facts about the cache that a head was trained on.
        backbone: The backbone that made it.
        events: The events to apply the head to.

    Raises:
        UserError: The backbone or the hit features are others than the cache's, or no track passes
            its selection.
        DataError: The backbone finds nothing in the events.
    """
    if not len(events.tracks):  # which the backbone has not seen: it was trained on true tracks
        return _without_truth(meta, backbone, events)
    refuse_seen(backbone, {"the given data": events})
    return _apply(meta, backbone, events, no_estimate)[1]


def _without_truth(meta: Meta, backbone: Backbone, events: Events) -> Features:
    """Features of the tracks that the backbone finds itself."""
    _check_fit(meta, backbone, events)
    batches = backbone.run(events)
    found = join([assign_valid(events, batch, meta.threshold) for batch in batches])
    if not len(found.track):
        raise DataError(
            f"the events have no true track, and the backbone finds none in {len(events):,} events "
            f"(a query valid with p of at least {VALID}); backbone=truth finds none without truth"
        )
    truth = np.full((len(found.track), len(TRACK_COLUMNS)), np.nan, np.float32)
    unknown = replace(events, tracks=truth)
    found = replace(found, track=np.arange(len(truth)))
    assigned, raw = _hits(meta, unknown, found)
    no = no_estimate(assigned)
    return standardised(unknown, found, assigned, raw, meta.scales, no, no)


def _apply(
    meta: Meta, backbone: Backbone, events: Events, formula: TrackFormula
) -> tuple[NDArray[np.bool_], Features]:
    """Mask of the true tracks that pass the cuts, and the features of those that are found."""
    _check_fit(meta, backbone, events)
    parts = {"other": events}
    counted = select_tracks(parts, meta.selection)
    found = find_tracks(parts, counted, backbone, meta.threshold, lambda what, share: None)["other"]
    assigned, raw = _hits(meta, events, found)
    analytic, classical = formula(assigned), formula(hits_of_tracks(events, found.track))
    frozen = standardised(events, found, assigned, raw, meta.scales, analytic, classical)
    return counted["other"], frozen


def _hits(meta: Meta, events: Events, found: Assignment) -> tuple[TrackHits, NDArray[np.float32]]:
    """Assigned hits of the found tracks, and their features as the cache has them."""
    assigned = TrackHits(events.hits[found.hit], events.features, found.offsets)
    bent = meta.features == "bending"
    return assigned, bending_hits(meta.plane, assigned) if bent else assigned.hits


def _check_fit(meta: Meta, backbone: Backbone, events: Events) -> None:
    """Refuse another backbone, or other hit features, than those of the cache."""
    if backbone.key() != meta.backbone_key:
        raise UserError(
            f"the backbone's checkpoint ({backbone.key()}) is not the one that the head was "
            f"trained on ({meta.backbone_key}); put that file back"
        )
    bent = meta.features == "bending"
    names = bending_features(meta.plane, events.features) if bent else events.features
    if list(names) != meta.feature_names:
        raise UserError(
            f"the events have the hit features {', '.join(names)}, "
            f"but the head was trained on {', '.join(meta.feature_names)}"
        )


def _rows(events: Events, frozen: Features) -> NDArray[np.int64]:
    """Rows in ``Events.tracks`` of frozen tracks, found by event and truth."""
    event = np.repeat(events.ids, np.diff(events.track_offsets)).tolist()
    row = {(e, *t): i for i, (e, t) in enumerate(zip(event, events.tracks.tolist(), strict=True))}
    own = zip(frozen.event.tolist(), frozen.truth.tolist(), strict=True)
    return np.array([row[e, *t] for e, t in own], dtype=np.int64)
