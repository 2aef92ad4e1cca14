"""The pass through the backbone against a loop over events, tracks and hits; cuts on tracks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headsweep.backbone.base import BackboneBatch, truth_masks
from headsweep.backbone.matching import match
from headsweep.backbone.transformer import Architecture, HitTransformer
from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, split_events
from headsweep.events.gate import Limits
from headsweep.features.analytic import Estimator, circle
from headsweep.features.bending import TrackHits, bending_hits
from headsweep.features.cache import ColumnScale, Features, FeatureSet
from headsweep.features.extract import build, cache_key
from headsweep.stats.bins import ABS_ETA
from helpers.toy_backbones import OneQuery, RandomBackbone, rows, undo
from helpers.toy_events import FEATURES, ToySource, passes, toy_events, with_stations

SPLIT, TRUTH = SplitConfig(), TruthBackbone(1.0, 1.0, 0, 4)
EVENTS = with_stations(toy_events(120, most_tracks=3))
SOURCE = ToySource(EVENTS)
CUTS = {
    "hits": SelectionConfig(min_hits=8),
    "eta": SelectionConfig(min_abs_eta=0.3, max_abs_eta=1.5),
    "pt": SelectionConfig(min_pt=5.0),
    "stations": SelectionConfig(min_stations=3, min_station_hits=2),
    "all of them": SelectionConfig(6, 0.1, 1.9, 3.0, 3, 1),
}


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


DOCUMENT = FeaturesConfig("document", 0.1)


@pytest.fixture
def source() -> ToySource:
    return ToySource(toy_events(60))


def check_against_loop(
    built: FeatureSet,
    events: Events,
    split: str,
    indices: np.ndarray,
    backbone: RandomBackbone,
    threshold: float,
) -> dict[str, np.ndarray]:
    """Every array of a split, track by track, from the definitions; returns what was scaled."""
    features, scales = built.load(split), built.meta.scales
    t, plain = 0, {name: [] for name in scales}
    for event in indices:
        first, last = events.hit_offsets[event], events.hit_offsets[event + 1]
        hits, output = events.hits[first:last], backbone.one(events, event)
        for number, query in enumerate(match(output["p"], truth_masks(events, event))):
            if query < 0:
                continue
            p = output["p"][query]
            chosen = p >= threshold
            row = slice(features.offsets[t], features.offsets[t + 1])
            np.testing.assert_array_equal(features.p[row], p[chosen])
            for got, name, want in (
                (features.raw[row], "raw", hits[chosen]),
                (features.encoded[row], "encoded", output["encoded"][chosen]),
                (features.query[[t]], "query", output["query"][[query]]),
            ):
                np.testing.assert_allclose(got, scales[name].apply(want), rtol=1e-5, atol=1e-5)
                plain[name].append(want)
            truth = events.tracks[events.track_offsets[event] + number]
            np.testing.assert_array_equal(features.truth[t], truth)
            assert features.event[t] == events.ids[event]
            axis = [0.0, 0.0]
            if chosen.any():
                w, (phi, eta) = p[chosen].astype(float), hits[chosen][:, -2:].T.astype(float)
                axis = [w @ eta / w.sum(), np.angle(w @ np.exp(1j * phi))]
            np.testing.assert_allclose(features.axis[t], axis, rtol=1e-4, atol=1e-5)
            t += 1
    assert len(features) == t == len(features.offsets) - 1
    assert features.offsets[-1] == len(features.raw) == len(features.encoded) == len(features.p)
    assert built.meta.n_tracks[split] == t
    n_true = np.diff(events.track_offsets)[indices].sum()
    assert built.meta.efficiency[split] == pytest.approx(t / n_true)
    return {name: np.concatenate(values).astype(float) for name, values in plain.items()}


def standard_score(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and deviation 1, or all 0 where a column has one value only."""
    return np.stack(
        [np.zeros(len(c)) if (c == c[0]).all() else (c - np.mean(c)) / np.std(c) for c in values.T],
        axis=1,
    )


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([0.2, 0.4, 0.9]),
    st.sampled_from([0.05, 0.5, 0.85]),
    st.integers(1, 3),
    st.integers(0, 8),
)
@example(seed=3, spoilt=0.2, threshold=0.85, tracks=1, noise=1)  # one hit is chosen in train
def test_the_cache_holds_what_a_loop_over_tracks_finds(
    seed: int, spoilt: float, threshold: float, tracks: int, noise: int
) -> None:
    events = toy_events(25, seed, most_tracks=tracks, noise=noise)
    backbone, split = RandomBackbone(seed, spoilt), SplitConfig(seed=seed)
    with TemporaryDirectory() as root:
        features = FeaturesConfig("document", threshold)
        built = build(ToySource(events), backbone, split, features, Path(root))
        for name, indices in split_events(25, val=0.2, dev=0.2, test=0, seed=seed).items():
            if name != "test":
                plain = check_against_loop(built, events, name, indices, backbone, threshold)
                for array, values in plain.items() if name == "train" else ():
                    got = getattr(built.load(name), array)
                    np.testing.assert_allclose(got, standard_score(values), atol=1e-4)


def test_an_error_midway_leaves_nothing(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Broken(RandomBackbone):
        def run(self, events: Events) -> Iterator[BackboneBatch]:
            yield from super().run(events)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(ToySource(toy_events(60)), Broken(), SplitConfig(), DOCUMENT, tmp_path)
    assert not [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]


def test_no_parameter_of_the_frozen_transformer_changes(source: ToySource, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = HitTransformer(Architecture(FEATURES, queries=2, dim=8, hidden=8, heads=2))
    model.set_scale(model.prepare(source.events))
    with torch.no_grad():
        model.mask_net[-1].bias.fill_(5.0)  # so that an untrained network claims hits
    model.freeze()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    key = model.key()
    built = build(source, model, SplitConfig(), FeaturesConfig("document", 0.01), tmp_path)
    assert built.meta.backbone_key == key == model.key()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for parameter in model.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None


def test_tracks_without_hits_stay_and_unmatched_ones_are_counted(tmp_path: Path) -> None:
    source, backbone = ToySource(toy_events(60, most_tracks=3)), RandomBackbone(spoilt=0.5)
    built = [
        build(source, backbone, SplitConfig(), FeaturesConfig("document", t), tmp_path)
        for t in (0.1, 0.9)
    ]
    low, high = (b.load("train") for b in built)
    np.testing.assert_array_equal(low.truth, high.truth)
    np.testing.assert_array_equal(low.event, high.event)
    empty = np.diff(high.offsets) == 0
    assert empty.any()
    assert not high.axis[empty].any()
    assert np.isnan(high.analytic[empty]).all()
    # Three tracks share two queries.
    assert 0.5 < built[0].meta.efficiency["train"] < 1
    assert built[0].meta.efficiency == built[1].meta.efficiency


def test_constant_columns_become_zero(tmp_path: Path) -> None:
    events = toy_events(60)
    events.hits[:, FEATURES.index("t")] = 0.1
    built = build(ToySource(events), TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert built.meta.scales["raw"].std[FEATURES.index("t")] == 0
    for split in ("train", "val", "dev"):
        features = built.load(split)
        assert not features.raw[:, FEATURES.index("t")].any()
        assert not features.query.any()
        assert not features.encoded.any()


def test_phi_is_averaged_on_the_circle(tmp_path: Path) -> None:
    events = toy_events(60)
    events.hits[:, FEATURES.index("phi")] = np.where(np.arange(len(events.hits)) % 2, 3.1, -3.1)
    built = build(ToySource(events), TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert (np.abs(built.load("train").axis[:, 1]) > 3.09).all()


def test_bending_replaces_one_column(source: ToySource, tmp_path: Path) -> None:
    document = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    bending = build(source, TRUTH, SplitConfig(), FeaturesConfig("bending", 0.1), tmp_path)
    column = FEATURES.index("t")
    assert bending.meta.feature_names == [*FEATURES[:column], "residual", *FEATURES[column + 1 :]]
    assert document.meta.feature_names == list(FEATURES)
    plain, bent = document.load("dev"), bending.load("dev")
    hits = undo(document.meta.scales["raw"], plain.raw).astype(np.float32)
    want = bending_hits("xy", TrackHits(hits, FEATURES, plain.offsets))
    np.testing.assert_allclose(
        undo(bending.meta.scales["raw"], bent.raw)[:, column], want[:, column], atol=2e-3
    )
    np.testing.assert_array_equal(np.delete(plain.raw, column, 1), np.delete(bent.raw, column, 1))


def test_references_are_calibrated_on_training_tracks(tmp_path: Path) -> None:
    events = toy_events(250)
    backbone = TruthBackbone(0.7, 0.9, 0, 4)
    built = build(ToySource(events), backbone, SplitConfig(), DOCUMENT, tmp_path)

    def true_hits(split: str) -> TrackHits:
        rows, lengths = [], []
        for event in split_events(250, val=0.2, dev=0.2, test=0, seed=0)[split]:
            for mask in truth_masks(events, event):
                rows.append(events.hit_offsets[event] + np.flatnonzero(mask))
                lengths.append(mask.sum())
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return TrackHits(events.hits[np.concatenate(rows)], FEATURES, offsets)

    estimator = Estimator("xy").fit(circle(true_hits("train")), built.load("train").truth)
    dev = built.load("dev")
    np.testing.assert_array_equal(dev.classical, estimator.predict(circle(true_hits("dev"))))
    usable = np.isfinite(dev.classical).all(1)
    assert usable.mean() > 0.5
    assert (dev.classical[usable, 3] == dev.truth[usable, 3]).mean() > 0.9
    hits = undo(built.meta.scales["raw"], dev.raw).astype(np.float32)
    assigned = estimator.predict(circle(TrackHits(hits, FEATURES, dev.offsets)))
    np.testing.assert_allclose(dev.analytic, assigned, rtol=1e-2, atol=1e-4)
    assert (dev.classical[usable] != dev.analytic[usable]).any()


def test_without_columns_for_a_reference_it_is_nan_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("u", *FEATURES[1:])
    source = ToySource(replace(toy_events(60), features=names))
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert "no reference" in caplog.text
    assert np.isnan(built.load("dev").classical).all()
    with pytest.raises(UserError, match="'x'"):
        build(source, TRUTH, SplitConfig(), FeaturesConfig("bending", 0.1), tmp_path)


def test_events_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split 'train'.*assignment_threshold=0\.99"):
        build(
            ToySource(toy_events(60)),
            RandomBackbone(spoilt=0.0),
            SplitConfig(),
            FeaturesConfig("document", 0.99),
            tmp_path,
        )


def test_progress_rises_to_one(source: ToySource, tmp_path: Path) -> None:
    seen = []
    build(
        source,
        RandomBackbone(),
        SplitConfig(),
        DOCUMENT,
        tmp_path,
        lambda text, share: seen.append((text, share)),
    )
    shares = [share for _, share in seen]
    assert seen[0][0].startswith("events of ToySource")
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert seen[-1] == ("features of the tracks", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("backbone", [OneQuery(), TruthBackbone(0.7, 0.2, 0, 4)])
def test_only_tracks_that_pass_are_in_the_cache(
    tmp_path: Path, backbone: OneQuery | TruthBackbone, cuts: SelectionConfig
) -> None:
    everything = build(SOURCE, backbone, SPLIT, DOCUMENT, tmp_path)
    built = build(SOURCE, backbone, SPLIT, DOCUMENT, tmp_path, selection=cuts)
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
    built = build(SOURCE, TruthBackbone(0.7, 0.8, 0, 4), SPLIT, DOCUMENT, tmp_path, selection=cuts)
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
        build(SOURCE, OneQuery(), SPLIT, DOCUMENT, tmp_path, selection=selection)
        for selection in (SelectionConfig(), cuts)
    )
    assert a.meta == replace(b.meta, key=a.meta.key, selection=SelectionConfig())
    assert b.meta.selected == {"train": 1, "val": 1, "dev": 1}


def test_the_key_holds_the_selection(tmp_path: Path) -> None:
    keys = {cache_key(SOURCE, TRUTH, SPLIT, DOCUMENT, cuts) for cuts in CUTS.values()}
    whole = cache_key(SOURCE, TRUTH, SPLIT, DOCUMENT)
    assert whole == cache_key(SOURCE, TRUTH, SPLIT, DOCUMENT, SelectionConfig())
    assert len(keys | {whole}) == len(CUTS) + 1
    built = build(SOURCE, TRUTH, SPLIT, DOCUMENT, tmp_path, selection=CUTS["eta"])
    assert built.meta.key == cache_key(SOURCE, TRUTH, SPLIT, DOCUMENT, CUTS["eta"])
    assert FeatureSet(built.folder).meta == built.meta


def test_a_split_without_a_selected_track_is_refused(tmp_path: Path) -> None:
    events = with_stations(toy_events(60))
    for event in splits(events)["dev"]:
        events.tracks[events.track_offsets[event] : events.track_offsets[event + 1], 2] = 1.0
    cuts = SelectionConfig(min_pt=1.5)
    with pytest.raises(UserError, match=r"data\.selection: none of the \d+ .*'dev'.*pT ≥ 1\.5 GeV"):
        build(ToySource(events), TRUTH, SPLIT, DOCUMENT, tmp_path, selection=cuts)
    assert not [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]


def test_a_split_whose_selected_tracks_are_not_found_is_refused(tmp_path: Path) -> None:
    """OneQuery finds the first track of an event, and these are not the selected ones."""
    events = with_stations(toy_events(60, most_tracks=3))
    events.tracks[:, 2] = 10.0
    events.tracks[events.track_offsets[:-1], 2] = 1.0
    n_high = (np.diff(events.track_offsets) - 1)[splits(events)["train"]].sum()
    cuts = SelectionConfig(min_pt=5.0)
    source = ToySource(events, limits=Limits(compare=False))
    with pytest.raises(DataError, match=rf"split 'train': the backbone found 0 of {n_high} tracks"):
        build(source, OneQuery(), SPLIT, DOCUMENT, tmp_path, selection=cuts)
