"""A test sample and a user's events: as if they had always been a split of the cache."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events import base
from headsweep.events.base import event_hashes, split_events
from headsweep.features import cache as features_cache
from headsweep.features.analytic import Estimator, circle
from headsweep.features.bending import hits_of_tracks
from headsweep.features.cache import Features, FeatureSet
from headsweep.features.extract import build
from headsweep.features.other_events import build_test, calibrated, features_of_events
from helpers.toy_backbones import Knows, OneQuery, rows
from helpers.toy_events import ToySource, toy_events, with_stations

TRUTH = TruthBackbone(0.8, 0.9, 0, 4)
SPLIT, CUTS = SplitConfig(), SelectionConfig(min_pt=3.0)
EVENTS = toy_events(400, most_tracks=2)
DEV = split_events(400, val=0.2, dev=0.2, test=0, seed=0)["dev"]


def make(
    root: Path, sample: ToySource, features: str = "bending", coils: int | None = None
) -> tuple[FeatureSet, FeatureSet, ToySource]:
    source = ToySource(EVENTS, sample=sample, coils=coils)
    cache = build(source, TRUTH, SPLIT, FeaturesConfig(features), root, selection=CUTS)
    return cache, build_test(cache, source, SPLIT, TRUTH, root), source


@pytest.mark.parametrize(("features", "coils"), [("bending", None), ("harmonics", 8)])
def test_the_same_events_give_what_the_cache_has_of_them(
    tmp_path: Path, features: str, coils: int | None
) -> None:
    """Standardised with the training's scales, references calibrated on the training tracks."""
    cache, test, _ = make(tmp_path, ToySource(EVENTS.take(DEV)), features, coils)
    got, want = cache.load("test"), cache.load("dev")
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name))
    assert np.isfinite(got.classical).any()
    for name in ("selected", "n_events", "n_tracks", "efficiency"):
        assert getattr(test.meta, name) == {"test": getattr(cache.meta, name)["dev"]}
    assert test.meta.scales == cache.meta.scales


@pytest.mark.slow
def test_it_is_made_once_and_made_again_where_it_is_damaged(tmp_path: Path) -> None:
    sample = ToySource(replace(toy_events(100, seed=5), ids=9000 + np.arange(100)))
    cache, test, source = make(tmp_path, sample)
    assert set(cache.load("test").event) <= set(range(9000, 9100))
    assert build_test(cache, source, SPLIT, TRUTH, tmp_path).meta == test.meta
    assert len(sample.loads) == 1
    (test.folder / "test" / "raw.npy").write_bytes(b"")
    assert build_test(cache, source, SPLIT, TRUTH, tmp_path).meta == test.meta
    assert len(sample.loads) == 2
    assert "test" not in features_cache.open_cache(tmp_path, cache.meta.key).meta.n_tracks
    other = TruthBackbone(0.5, 0.5, 0, 4)
    source.sample = ToySource(EVENTS.take(DEV))
    with pytest.raises(UserError, match="not the one that the head was trained on"):
        build_test(cache, source, SPLIT, other, tmp_path)


EVERY_CUT = SelectionConfig(6, 0.1, 1.9, 3.0, 3, 1)
WITH_STATIONS = with_stations(toy_events(120, most_tracks=3))


@pytest.mark.parametrize("backbone", [OneQuery(), TruthBackbone(0.7, 0.2, 0, 4)])
def test_other_events_are_selected_as_the_cache_was(
    tmp_path: Path, backbone: OneQuery | TruthBackbone
) -> None:
    source = ToySource(WITH_STATIONS)
    built = build(source, backbone, SPLIT, FeaturesConfig(), tmp_path, selection=EVERY_CUT)
    [other] = features_of_events(built.meta, backbone, WITH_STATIONS, tmp_path)
    assert len(other) == sum(built.meta.n_tracks.values())
    for split in built.meta.n_tracks:
        part, own = built.load(split), rows(other)
        places = [own.index(row) for row in rows(part)]
        hits = np.concatenate([np.arange(*other.offsets[p : p + 2]) for p in places])
        for name in ("raw", "encoded", "p"):
            np.testing.assert_array_equal(getattr(other, name)[hits], getattr(part, name))
        np.testing.assert_array_equal(other.query[places], part.query)


def test_other_events_without_a_selected_track_are_refused(tmp_path: Path) -> None:
    built = build(ToySource(EVENTS), TRUTH, SPLIT, FeaturesConfig(), tmp_path, selection=CUTS)
    events = replace(EVENTS, tracks=EVENTS.tracks * np.float32([1, 1, 0.1, 1]))
    with pytest.raises(UserError, match=r"data\.selection: none of the \d+ true tracks"):
        list(features_of_events(built.meta, TRUTH, events, tmp_path))


def test_events_that_the_backbone_was_trained_on_are_refused(tmp_path: Path) -> None:
    fresh = ToySource(toy_events(100, seed=5))
    source = ToySource(EVENTS, sample=fresh)
    known = fresh.events.take(np.arange(7))
    backbone = Knows(0.8, 0.9, 0, 4, seen=event_hashes(known))
    built = build(source, backbone, SPLIT, FeaturesConfig(), tmp_path)
    with pytest.raises(UserError, match="7 of 100 events of test"):
        build_test(built, source, SPLIT, backbone, tmp_path)
    with pytest.raises(UserError, match="7 of 7 events of the given data"):
        list(features_of_events(built.meta, backbone, known, tmp_path))
    backbone = replace(backbone, seen=event_hashes(EVENTS.take(DEV)))
    with pytest.raises(UserError, match="80 of 80 events of dev"):
        build(source, backbone, SPLIT, FeaturesConfig(), tmp_path / "other")
    assert not list((tmp_path / "other").rglob("meta.json"))


def test_the_formula_is_that_of_all_training_events_at_once(tmp_path: Path) -> None:
    """Bit for bit, in blocks of any size, also where two tracks of an event have one truth."""
    tracks = EVENTS.tracks.copy()
    event = int(np.flatnonzero(np.diff(EVENTS.track_offsets) == 2)[0])
    tracks[EVENTS.track_offsets[event] + 1] = tracks[EVENTS.track_offsets[event]]
    events = replace(EVENTS, tracks=tracks)
    source = ToySource(events)
    cache = build(source, TRUTH, SPLIT, FeaturesConfig(), tmp_path, selection=CUTS)
    train = events.take(split_events(400, val=0.2, dev=0.2, test=0, seed=0)["train"])
    owner = np.repeat(train.ids, np.diff(train.track_offsets)).tolist()
    row = {(e, *t): n for n, (e, t) in enumerate(zip(owner, train.tracks.tolist(), strict=True))}
    frozen = cache.load("train")
    own = zip(frozen.event.tolist(), frozen.truth.tolist(), strict=True)
    measured = circle(hits_of_tracks(train, np.array([row[e, *t] for e, t in own])))
    want = Estimator("xy").fit(measured, frozen.truth).predict(measured)
    assert np.isfinite(want).any()

    @given(hits=st.integers(30, 9000), step=st.integers(1, 300))
    @settings(max_examples=20)
    @example(hits=30, step=1)
    def in_blocks(hits: int, step: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base, "BLOCK_HITS", hits)
            patch.setattr(base, "BLOCK_STEP", step)
            formula = calibrated(cache, source, SPLIT, tmp_path)
        np.testing.assert_array_equal(formula(measured), want)

    in_blocks()


def test_a_cache_of_other_events_gives_no_formula(tmp_path: Path) -> None:
    cache = build(ToySource(EVENTS), TRUTH, SPLIT, FeaturesConfig(), tmp_path)
    other = ToySource(replace(EVENTS, ids=EVENTS.ids + 1))
    with pytest.raises(DataError, match="not those of the cache"):
        calibrated(cache, other, SPLIT, tmp_path)
