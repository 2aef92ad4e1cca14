"""A cache of selected tracks: the rows of the whole cache that a loop over tracks keeps."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from headsweep.backbone.base import BackboneBatch, truth_masks
from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, split_events
from headsweep.features.cache import ColumnScale, Features, FeatureSet
from headsweep.features.extract import build, cache_key
from headsweep.features.other_events import features_of_events
from headsweep.stats.bins import ABS_ETA
from helpers.toy_events import ToySource, passes, toy_events, with_stations

FEATURES = FeaturesConfig("document", 0.1)
SPLIT = SplitConfig()
EVENTS = with_stations(toy_events(120, most_tracks=3))
SOURCE = ToySource(EVENTS)
TRUTH = TruthBackbone(1.0, 1.0, 0, 4)
CUTS = {
    "hits": SelectionConfig(min_hits=8),
    "eta": SelectionConfig(min_abs_eta=0.3, max_abs_eta=1.5),
    "pt": SelectionConfig(min_pt=5.0),
    "stations": SelectionConfig(min_stations=3, min_station_hits=2),
    "all of them": SelectionConfig(6, 0.1, 1.9, 3.0, 3, 1),
}


@dataclass(frozen=True)
class OneQuery:
    """One query an event, which likes the hits of the first true track best."""

    dim: int = 3

    def key(self) -> str:
        return "0" * 16

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        for event, (first, last) in enumerate(
            zip(events.hit_offsets[:-1], events.hit_offsets[1:], strict=True)
        ):
            rng = np.random.default_rng(events.ids[event])
            p = np.where(truth_masks(events, event)[0], 0.9, 0.6).astype(np.float32)
            yield BackboneBatch(
                events=slice(event, event + 1),
                query=rng.normal(size=(1, 1, 3)).astype(np.float32),
                encoded=rng.normal(size=(1, last - first, 3)).astype(np.float32),
                p=p[None, None],
                valid=np.ones((1, 1), np.float32),
            )


def rows(features: Features) -> list[tuple[float, ...]]:
    """What identifies each track: its event and its truth."""
    return [(e, *t) for e, t in zip(features.event, features.truth.tolist(), strict=True)]


def kept_by_loop(events: Events, indices: np.ndarray, cuts: SelectionConfig) -> list[list]:
    """The true tracks of each event that pass, as ``rows`` has them."""
    return [
        [
            (events.ids[event], *events.tracks[events.track_offsets[event] + number].tolist())
            for number in range(np.diff(events.track_offsets)[event])
            if passes(events, event, number, cuts)
        ]
        for event in indices
    ]


def undo(scale: ColumnScale, values: np.ndarray) -> np.ndarray:
    return values * np.array(scale.std) + np.array(scale.mean)


def splits(events: Events) -> dict[str, np.ndarray]:
    found = split_events(len(events), val=0.2, dev=0.2, test=0, seed=0)
    return {name: indices for name, indices in found.items() if name != "test"}


def same_tracks(
    few: Features,
    many: Features,
    few_scales: dict[str, ColumnScale],
    many_scales: dict[str, ColumnScale],
) -> None:
    """Check that the tracks of ``few`` are found in ``many``, with the same hits."""
    places = [rows(many).index(row) for row in rows(few)]
    hits = np.concatenate([np.arange(*many.offsets[p : p + 2]) for p in places])
    np.testing.assert_array_equal(np.diff(few.offsets), np.diff(many.offsets)[places])
    np.testing.assert_array_equal(few.p, many.p[hits])
    np.testing.assert_array_equal(few.axis, many.axis[places])
    for name, where in (("raw", hits), ("encoded", hits), ("query", places)):
        got = undo(few_scales[name], getattr(few, name))
        want = undo(many_scales[name], getattr(many, name)[where])
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("backbone", [OneQuery(), TruthBackbone(0.7, 0.2, 0, 4)])
def test_only_tracks_that_pass_are_in_the_cache(
    tmp_path: Path, backbone: OneQuery | TruthBackbone, cuts: SelectionConfig
) -> None:
    everything = build(SOURCE, backbone, SPLIT, FEATURES, tmp_path)
    built = build(SOURCE, backbone, SPLIT, FEATURES, tmp_path, selection=cuts)
    meta = built.meta
    assert meta.selection == cuts
    for split, indices in splits(EVENTS).items():
        few, many = built.load(split), everything.load(split)
        by_event = kept_by_loop(EVENTS, indices, cuts)
        kept = {row for event in by_event for row in event}
        assert rows(few) == [row for row in rows(many) if row in kept]
        same_tracks(few, many, meta.scales, everything.meta.scales)
        n_true = np.diff(EVENTS.track_offsets)[indices].sum()
        assert 0 < len(few) < len(many) < n_true
        assert meta.n_tracks[split] == len(few)
        assert meta.n_events[split] == sum(len(event) > 0 for event in by_event)
        assert meta.selected[split] == pytest.approx(len(kept) / n_true)
        assert meta.efficiency[split] == pytest.approx(len(few) / len(kept))
        etas = [np.abs([row[1] for row in found]) for found in (rows(few), kept)]
        assert meta.by_abs_eta[split] == [
            [int(np.sum((low <= eta) & (eta < high))) for eta in etas]
            for low, high in pairwise(ABS_ETA.edges)
        ]
    raw = built.load("train").raw.astype(float)
    np.testing.assert_allclose(raw.mean(0), 0, atol=1e-5)  # standardised on the selected tracks


def test_shares_of_hits_are_those_of_the_selected_tracks(tmp_path: Path) -> None:
    cuts = CUTS["pt"]
    built = build(SOURCE, TruthBackbone(0.7, 0.8, 0, 4), SPLIT, FEATURES, tmp_path, selection=cuts)
    val, scales = built.load("val"), built.meta.scales
    found = {tuple(np.round(hit, 4)) for hit in undo(scales["raw"], val.raw)}
    n_true = n_correct = 0
    for event in splits(EVENTS)["val"]:
        for number, mask in enumerate(truth_masks(EVENTS, event)):
            if passes(EVENTS, event, number, cuts):
                hits = EVENTS.hits[EVENTS.hit_offsets[event] + np.flatnonzero(mask)].astype(float)
                near = [min(np.abs(np.subtract(h, f)).max() for f in found) < 1e-3 for h in hits]
                n_true += len(hits)
                n_correct += sum(near)
    assert built.meta.hit_efficiency == pytest.approx(n_correct / n_true)
    assert built.meta.hit_purity == pytest.approx(n_correct / len(val.raw))


def test_a_selection_that_all_pass_changes_nothing_but_the_key(tmp_path: Path) -> None:
    cuts = SelectionConfig(min_hits=1, max_abs_eta=3.0)
    a, b = (
        build(SOURCE, OneQuery(), SPLIT, FEATURES, tmp_path, selection=selection)
        for selection in (SelectionConfig(), cuts)
    )
    assert a.meta == replace(b.meta, key=a.meta.key, selection=SelectionConfig())
    assert b.meta.selected == {"train": 1, "val": 1, "dev": 1}


def test_the_key_holds_the_selection(tmp_path: Path) -> None:
    keys = {cache_key(SOURCE, TRUTH, SPLIT, FEATURES, cuts) for cuts in CUTS.values()}
    whole = cache_key(SOURCE, TRUTH, SPLIT, FEATURES)
    assert whole == cache_key(SOURCE, TRUTH, SPLIT, FEATURES, SelectionConfig())
    assert len(keys | {whole}) == len(CUTS) + 1
    built = build(SOURCE, TRUTH, SPLIT, FEATURES, tmp_path, selection=CUTS["eta"])
    assert built.meta.key == cache_key(SOURCE, TRUTH, SPLIT, FEATURES, CUTS["eta"])
    assert FeatureSet(built.folder).meta == built.meta


def test_a_split_without_a_selected_track_is_refused(tmp_path: Path) -> None:
    events = with_stations(toy_events(60))
    for event in splits(events)["dev"]:
        events.tracks[events.track_offsets[event] : events.track_offsets[event + 1], 2] = 1.0
    cuts = SelectionConfig(min_pt=1.5)
    with pytest.raises(UserError, match=r"data\.selection: none of the \d+ .*'dev'.*pT ≥ 1\.5 GeV"):
        build(ToySource(events), TRUTH, SPLIT, FEATURES, tmp_path, selection=cuts)
    assert not [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]


def test_a_split_whose_selected_tracks_are_not_found_is_refused(tmp_path: Path) -> None:
    """OneQuery finds the first track of an event, and these are not the selected ones."""
    events = with_stations(toy_events(60, most_tracks=3))
    events.tracks[:, 2] = 10.0
    events.tracks[events.track_offsets[:-1], 2] = 1.0
    n_high = (np.diff(events.track_offsets) - 1)[splits(events)["train"]].sum()
    cuts = SelectionConfig(min_pt=5.0)
    with pytest.raises(DataError, match=rf"split 'train': the backbone found 0 of {n_high} tracks"):
        build(ToySource(events), OneQuery(), SPLIT, FEATURES, tmp_path, selection=cuts)


@pytest.mark.parametrize("backbone", [OneQuery(), TruthBackbone(0.7, 0.2, 0, 4)])
def test_other_events_are_selected_as_the_cache_was(
    tmp_path: Path, backbone: OneQuery | TruthBackbone
) -> None:
    cuts = CUTS["all of them"]
    built = build(SOURCE, backbone, SPLIT, FEATURES, tmp_path, selection=cuts)
    other = features_of_events(built.meta, backbone, EVENTS)
    assert len(other) == sum(built.meta.n_tracks.values())
    for split in built.meta.n_tracks:
        part, own = built.load(split), rows(other)
        places = [own.index(row) for row in rows(part)]
        hits = np.concatenate([np.arange(*other.offsets[p : p + 2]) for p in places])
        for field in fields(Features):
            if field.name in ("raw", "encoded", "p"):
                got = getattr(other, field.name)[hits]
                np.testing.assert_array_equal(got, getattr(part, field.name))
        np.testing.assert_array_equal(other.query[places], part.query)


def test_other_events_without_a_selected_track_are_refused(tmp_path: Path) -> None:
    built = build(SOURCE, TRUTH, SPLIT, FEATURES, tmp_path, selection=CUTS["pt"])
    events = replace(EVENTS, tracks=EVENTS.tracks * np.float32([1, 1, 0.1, 1]))
    with pytest.raises(UserError, match=r"data\.selection: none of the \d+ true tracks"):
        features_of_events(built.meta, TRUTH, events)
