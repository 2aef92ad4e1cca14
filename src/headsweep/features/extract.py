"""The one pass through the frozen backbone that makes the cache of features/cache.py."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from headsweep.backbone.base import Assignment, Backbone, Progress, assign, join
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, Source, ragged_rows, split_events
from headsweep.events.selection import selected, true_hits, words
from headsweep.features.analytic import Estimator
from headsweep.features.bending import REPLACED, Selection, bending_hits
from headsweep.features.cache import Features, FeatureSet, Meta, Scale, sha256
from headsweep.files import atomic_dir, cache_folder, write_atomic
from headsweep.identity import NUMERICS, stable_hash
from headsweep.stats.bins import ABS_ETA

VERSION = 3
"""Raised when the layout or the content of the cache changes; part of its key."""

ALL_TRACKS = SelectionConfig()
"""The selection that every true track passes."""

Estimate = Callable[[Selection], NDArray[np.float32]]
"""eta, phi, pt and q by formula from the hits of T tracks, float32 [T, 4]; NaN where unusable."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recipe:
    """All that the content of a cache depends on."""

    source: Source
    backbone: Backbone
    split: SplitConfig
    features: FeaturesConfig
    selection: SelectionConfig

    def key(self) -> str:
        s = self.source
        facts = [s.key(), s.plane, list(s.pt_edges), s.min_bin_tracks, list(s.not_modelled)]
        configs = [asdict(config) for config in (self.split, self.features, self.selection)]
        return stable_hash([facts, self.backbone.key(), configs, NUMERICS, VERSION])


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
    """The frozen features, from the cache where they are there and whole, else made now.

    Of two processes that ask at once, one builds and the other waits.

    Args:
        source: Where the events come from.
        backbone: Assigns hits to tracks.
        split: How the events are split.
        features: What is kept of each hit, and the threshold.
        root: Folder of all output; the cache is ``root/cache/features/<key>``.
        progress: Told how far it is.
        selection: Which true tracks count.

    Raises:
        DataError: The events cannot be used, or the backbone assigns no hit to any track.
        UserError: The backbone, the features or the selection do not fit the events.
    """
    recipe = _Recipe(source, backbone, split, features, selection)
    folder = cache_folder(root, "features") / recipe.key()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.exists():
            try:
                return FeatureSet(folder)
            except DataError as error:
                log.warning("building the features again: %s", error)
        with atomic_dir(folder) as temporary:
            _write(temporary, recipe, root, progress or (lambda description, fraction: None))
        return FeatureSet(folder)


def build_test(
    cache: FeatureSet, source: Source, split: SplitConfig, backbone: Backbone, root: Path
) -> FeatureSet:
    """The test sample of a simulation's cache, which is there and whole, or is made now.

    It is standardised with the cache's scales, and its references are calibrated on the cache's
    training tracks. Its folder lies beside the cache; ``cache.load("test")`` then reads it.

    Args:
        cache: What the heads were trained on.
        source: Its events, whose ``test_sample`` is not None.
        split: How they were split.
        backbone: The one that made the cache.
        root: The folder of all output.

    Raises:
        UserError: The backbone is another one, or no track passes the cache's selection.
        DataError: The backbone finds nothing in the events.
    """
    sample = source.test_sample()
    assert sample is not None
    folder = cache.beside("test")
    with FileLock(f"{folder}.lock"):
        if folder.exists():
            try:
                found = FeatureSet(folder)
                if found.meta.data_key == sample.key():
                    return found
                log.warning("building the test sample again: it is of another simulation")
            except DataError as error:
                log.warning("building the test sample again: %s", error)
        events = source.load(root)
        train = events.take(split_events(len(events), **asdict(split))["train"])
        rows, truth = _rows(train, cache.load("train")), cache.load("train").truth
        estimate = _calibrated(cache.meta.plane, _true_hits(train, rows), truth)
        fresh = sample.load(root)
        counted, frozen = _apply(cache.meta, backbone, fresh, estimate)
        with atomic_dir(folder) as temporary:
            _save(temporary, "test", frozen)
            meta = replace(
                cache.meta,
                key=folder.name,
                data_key=sample.key(),
                selected={"test": float(counted.mean())},
                n_events={"test": _n_events(fresh, counted)},
                n_tracks={"test": len(frozen)},
                efficiency={"test": len(frozen) / int(counted.sum())},
                by_abs_eta={"test": _by_abs_eta(frozen, fresh.tracks[counted])},
                files=_files(temporary),
            )
            _write_meta(temporary, meta)
        return FeatureSet(folder)


def _rows(events: Events, frozen: Features) -> NDArray[np.int64]:
    """Rows in ``Events.tracks`` of frozen tracks, which are known by event and truth."""
    event = np.repeat(events.ids, np.diff(events.track_offsets)).tolist()
    row = {(e, *t): i for i, (e, t) in enumerate(zip(event, events.tracks.tolist(), strict=True))}
    own = zip(frozen.event.tolist(), frozen.truth.tolist(), strict=True)
    return np.array([row[e, *t] for e, t in own], dtype=np.int64)


def of_other_events(meta: Meta, backbone: Backbone, events: Events) -> Features:
    """Frozen features of events that a cache does not hold, standardised with its scales.

    The references of these tracks are NaN: they are calibrated on a cache's training split. Tracks
    that the cache's selection cuts are left out.

    Args:
        meta: Of the cache that a head was trained on.
        backbone: The one that made it.
        events: What the head is to be applied to.

    Raises:
        UserError: The backbone or the hit features are others than the cache's, or no track passes
            its selection.
        DataError: The backbone finds nothing in the events.
    """
    return _apply(meta, backbone, events, _unknown)[1]


def _apply(
    meta: Meta, backbone: Backbone, events: Events, estimate: Estimate
) -> tuple[NDArray[np.bool_], Features]:
    """Which true tracks count in other events, and the frozen features of those that are found."""
    if backbone.key() != meta.backbone_key:
        raise UserError(
            f"the backbone's checkpoint ({backbone.key()}) is not the one that the head was "
            f"trained on ({meta.backbone_key}); put that file back"
        )
    bent = meta.features == "bending"
    names = [REPLACED[meta.plane] if n == "residual" else n for n in meta.feature_names]
    if list(events.features) != names:
        raise UserError(
            f"the events have the hit features {', '.join(events.features)}, "
            f"but the head was trained on {', '.join(names)}"
        )
    parts = {"other": events}
    counted = _select(parts, meta.selection)
    found = _assign(parts, counted, backbone, meta.threshold, lambda what, share: None)["other"]
    assigned = Selection(events.hits[found.hit], events.features, found.offsets)
    raw = bending_hits(meta.plane, assigned) if bent else assigned.hits
    analytic, classical = estimate(assigned), estimate(_true_hits(events, found.track))
    frozen = _frozen(events, found, assigned, raw, meta.scales, analytic, classical)
    return counted["other"], frozen


def _write(folder: Path, recipe: _Recipe, root: Path, report: Progress) -> None:
    """Fill an empty folder with the arrays of every split and ``meta.json``."""
    source, backbone, features = recipe.source, recipe.backbone, recipe.features
    report("data", 0.0)
    events = source.load(root)
    indices = split_events(len(events), **asdict(recipe.split))
    parts = {name: events.take(rows) for name, rows in indices.items() if len(rows)}
    counted = _select(parts, recipe.selection)
    found = _assign(parts, counted, backbone, features.assignment_threshold, report)
    bent = features.name == "bending"
    scales, splits = _content(parts, found, source.plane, bent)
    for name, split in splits.items():
        _save(folder, name, split)
    files = _files(folder)
    n_tracks = {name: len(split) for name, split in splits.items()}
    correct = int(found["val"].correct.sum())
    n_true_hits = int(counted["val"][true_hits(parts["val"])[1]].sum())
    replaced = REPLACED[source.plane] if bent else None
    meta = Meta(
        key=recipe.key(),
        data_key=source.key(),
        backbone_key=backbone.key(),
        features=features.name,
        feature_names=["residual" if name == replaced else name for name in events.features],
        threshold=features.assignment_threshold,
        dim=backbone.dim,
        plane=source.plane,
        pt_edges=list(source.pt_edges),
        min_bin_tracks=source.min_bin_tracks,
        not_modelled=list(source.not_modelled),
        selection=recipe.selection,
        selected={name: float(tracks.mean()) for name, tracks in counted.items()},
        n_events={name: _n_events(part, counted[name]) for name, part in parts.items()},
        n_tracks=n_tracks,
        efficiency={name: n / int(counted[name].sum()) for name, n in n_tracks.items()},
        by_abs_eta={
            name: _by_abs_eta(splits[name], part.tracks[counted[name]])
            for name, part in parts.items()
        },
        hit_purity=correct / max(len(found["val"].correct), 1),
        hit_efficiency=correct / n_true_hits,
        bytes_per_track=sum(size for size, _ in files.values()) / sum(n_tracks.values()),
        scales=scales,
        files=files,
    )
    _write_meta(folder, meta)


def _save(folder: Path, name: str, split: Features) -> None:
    (folder / name).mkdir()
    for f in fields(split):
        np.save(folder / name / f"{f.name}.npy", getattr(split, f.name), allow_pickle=False)


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and checksum of each array below a cache's folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, sha256(path))
        for path in sorted(folder.glob("*/*.npy"))
    }


def _write_meta(folder: Path, meta: Meta) -> None:
    write_atomic(folder / "meta.json", json.dumps(asdict(meta), indent=1).encode())


def _select(
    parts: Mapping[str, Events], selection: SelectionConfig
) -> dict[str, NDArray[np.bool_]]:
    """Which true tracks of each split count; none may be without."""
    counted = {name: selected(part, selection) for name, part in parts.items()}
    for name, tracks in counted.items():
        if not tracks.any():
            raise UserError(
                f"data.selection: none of the {len(tracks)} true tracks of split {name!r} passes "
                f"({words(selection)}); loosen it, or use more events"
            )
    return counted


def _n_events(events: Events, tracks: NDArray[np.bool_]) -> int:
    """Events with one or more of the given tracks, which are a mask over ``Events.tracks``."""
    before = np.concatenate([[0], np.cumsum(tracks)])
    return int(np.count_nonzero(np.diff(before[events.track_offsets])))


def _by_abs_eta(found: Features, true: NDArray[np.float32]) -> list[list[int]]:
    """Found and all true tracks in each bin of ``ABS_ETA``; eta is the first column of both."""
    counts = (np.histogram(np.abs(t[:, 0]), ABS_ETA.edges)[0] for t in (found.truth, true))
    return [[int(n), int(total)] for n, total in zip(*counts, strict=True)]


def _assign(
    parts: Mapping[str, Events],
    counted: Mapping[str, NDArray[np.bool_]],
    backbone: Backbone,
    threshold: float,
    report: Progress,
) -> dict[str, Assignment]:
    """The one pass through the backbone: the found tracks that count, and their assigned hits."""
    total, done = sum(len(part) for part in parts.values()), 0
    found = {}
    for name, part in parts.items():
        batches = []
        for batch in backbone.run(part):
            # Matched among all tracks, so that none takes the query of one that does not count.
            batches.append(_only(assign(part, batch, threshold), counted[name]))
            report("features", (done + batch.events.stop) / total)
        found[name] = join(batches)
        done += len(part)
        # Other splits may be small; the training split is where hits are standardised.
        if len(found[name].track) == 0 or (name == "train" and len(found[name].hit) == 0):
            raise DataError(
                f"split {name!r}: the backbone found {len(found[name].track)} of "
                f"{counted[name].sum()} tracks and assigned {len(found[name].hit)} hits to them at "
                f"features.assignment_threshold={threshold}; lower it, or train a backbone on "
                "these data with `headsweep backbone`"
            )
    return found


def _only(found: Assignment, counted: NDArray[np.bool_]) -> Assignment:
    """The found tracks that count, with their hits; ``counted`` is a mask over all true tracks."""
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
) -> tuple[dict[str, Scale], dict[str, Features]]:
    """What is stored of each split, and the scales that it was standardised with."""
    assigned = {
        name: Selection(part.hits[found[name].hit], part.features, found[name].offsets)
        for name, part in parts.items()
    }
    true = {name: _true_hits(part, found[name].track) for name, part in parts.items()}
    truth = parts["train"].tracks[found["train"].track]
    estimate = _calibrated(plane, true["train"], truth)
    raw = {n: bending_hits(plane, hits) if bent else hits.hits for n, hits in assigned.items()}
    train = {"raw": raw["train"], "encoded": found["train"].encoded, "query": found["train"].query}
    scales = {name: Scale.of(values) for name, values in train.items()}
    return scales, {
        n: _frozen(
            part, found[n], assigned[n], raw[n], scales, estimate(assigned[n]), estimate(true[n])
        )
        for n, part in parts.items()
    }


def _frozen(
    events: Events,
    found: Assignment,
    assigned: Selection,
    raw: NDArray[np.float32],
    scales: Mapping[str, Scale],
    analytic: NDArray[np.float32],
    classical: NDArray[np.float32],
) -> Features:
    """Frozen features of the found tracks, standardised."""
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


def _true_hits(events: Events, tracks: NDArray[np.int64]) -> Selection:
    """The true hits of the given tracks (rows of ``Events.tracks``)."""
    hits, track = true_hits(events)
    counts = np.bincount(track, minlength=len(events.tracks))
    by_track = hits[np.argsort(track, kind="stable")]
    rows, offsets = ragged_rows(np.concatenate([[0], np.cumsum(counts)]), tracks)
    return Selection(events.hits[by_track[rows]], events.features, offsets)


def _calibrated(plane: str, train: Selection, truth: NDArray[np.float32]) -> Estimate:
    """The formula of a plane, calibrated on true hits and truth of training tracks."""
    try:
        return Estimator(plane).fit(train, truth).predict
    except UserError as error:
        # The heads need no reference; only its rows of the report stay empty.
        log.warning("no reference estimate: %s", error)
        return _unknown


def _unknown(hits: Selection) -> NDArray[np.float32]:
    return np.full((len(hits), 4), np.nan, np.float32)


def _axis(selection: Selection, p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean eta and circular mean phi of each track's hits, weighted by p, float32 [T, 2]."""
    for name in ("eta", "phi"):
        if name not in selection.features:
            raise UserError(
                f"the hit features have no {name!r}, from which the direction of a track follows; "
                "add it to data.source.derived"
            )
    track, eta, phi = selection.track(), selection.column("eta"), selection.column("phi")

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(track, values * p, len(selection)).astype(np.float64)

    mean_eta = total(eta) / np.maximum(total(np.ones_like(eta)), 1e-8)
    mean_phi = np.arctan2(total(np.sin(phi)), total(np.cos(phi)))
    return np.stack([mean_eta, mean_phi], axis=1).astype(np.float32)
