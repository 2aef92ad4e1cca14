"""The feature cache against a loop over events, tracks and hits."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.backbone.base import BackboneBatch, match, truth_masks
from headsweep.backbone.transformer import Architecture, HitTransformer
from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events, split_events
from headsweep.features.analytic import Estimator
from headsweep.features.bending import TrackHits, bending_hits
from headsweep.features.cache import ColumnScale, Features, FeatureSet
from headsweep.features.extract import build
from helpers.toy_events import FEATURES, ToySource, toy_events

DOCUMENT = FeaturesConfig("document", 0.1)
TRUTH = TruthBackbone(1.0, 1.0, 0, 4)


@dataclass(frozen=True)
class RandomBackbone:
    """Truth spoilt at random, different for each event; with vectors that tell hits apart."""

    seed: int = 0
    spoilt: float = 0.3
    dim: int = 3

    def key(self) -> str:
        return f"{self.seed:08d}{self.spoilt:.6f}"

    def one(self, events: Events, event: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, events.ids[event]])
        truth = truth_masks(events, event)
        p = rng.uniform(size=(2, truth.shape[1]))
        for q, mask in zip(p, rng.permutation(truth), strict=False):
            q[:] = np.where(rng.random(len(q)) < self.spoilt, q, np.where(mask, 0.8, 0.02))
        return {
            "query": rng.normal(size=(2, 3)),
            "encoded": rng.normal(size=(truth.shape[1], 3)),
            "p": p.astype(np.float32),
        }

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        for start in range(0, len(events), 10):
            rows = slice(start, min(start + 10, len(events)))
            alone = [self.one(events, event) for event in range(rows.start, rows.stop)]
            width = max(len(a["encoded"]) for a in alone)
            pad = [(0, 0), (0, 0)]
            yield BackboneBatch(
                events=rows,
                query=np.array([a["query"] for a in alone], np.float32),
                encoded=np.array(
                    [
                        np.pad(e, [(0, width - len(e)), (0, 0)])
                        for e in (a["encoded"] for a in alone)
                    ],
                    np.float32,
                ),
                p=np.array(
                    [np.pad(p, [pad[0], (0, width - p.shape[1])]) for p in (a["p"] for a in alone)]
                ),
                valid=np.ones((len(alone), 2), np.float32),
            )


def undo(scale: ColumnScale, values: np.ndarray) -> np.ndarray:
    return values * np.array(scale.std) + np.array(scale.mean)


def check_against_loop(
    built: FeatureSet, events: Events, split: str, indices: np.ndarray, backbone, threshold: float
) -> None:
    """Every array of a split, track by track, from the definitions."""
    features, scales = built.load(split), built.meta.scales
    t = 0
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


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([0.2, 0.4, 0.9]),
    st.sampled_from([0.05, 0.5, 0.85]),
    st.integers(1, 3),
    st.integers(0, 8),
)
def test_the_cache_holds_what_a_loop_over_tracks_finds(seed, spoilt, threshold, tracks, noise):
    events = toy_events(25, seed, most_tracks=tracks, noise=noise)
    backbone, split = RandomBackbone(seed, spoilt), SplitConfig(seed=seed)
    with TemporaryDirectory() as root:
        features = FeaturesConfig("document", threshold)
        built = build(ToySource(events), backbone, split, features, Path(root))
        for name, indices in split_events(25, val=0.2, dev=0.2, test=0, seed=seed).items():
            if name != "test":
                check_against_loop(built, events, name, indices, backbone, threshold)
        train = built.load("train")
        for name in ("raw", "encoded", "query"):
            values = getattr(train, name).astype(float)
            np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
            np.testing.assert_allclose(values.std(0), 1, atol=1e-5)


@pytest.fixture
def source() -> ToySource:
    return ToySource(toy_events(60))


def test_arrays_are_mapped_read_only_and_small(source, tmp_path):
    built = build(source, RandomBackbone(), SplitConfig(), DOCUMENT, tmp_path)
    features = built.load("train")
    for f in fields(features):
        array = getattr(features, f.name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == (np.int64 if f.name in ("offsets", "event") else np.float32)
    assert 0 < built.meta.bytes_per_track <= 10_000
    assert built.folder == tmp_path / "cache" / "features" / built.meta.key


def test_a_second_build_reads_only(source, tmp_path):
    first = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    stamp = (first.folder / "meta.json").stat().st_mtime_ns
    second = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert len(source.loads) == 1
    assert (second.folder / "meta.json").stat().st_mtime_ns == stamp
    assert second.meta == first.meta


def test_two_builds_are_the_same_to_the_byte(source, tmp_path):
    a, b = (
        build(source, RandomBackbone(), SplitConfig(), DOCUMENT, tmp_path / name)
        for name in ("a", "b")
    )
    assert a.meta == b.meta
    for name in a.meta.files:
        assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes()


def test_of_two_builders_at_once_one_waits(source, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(build, source, TRUTH, SplitConfig(), DOCUMENT, tmp_path) for _ in range(2)
        ]
        folders = {job.result().folder for job in jobs}
    assert len(folders) == 1
    assert len(source.loads) == 1


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped byte": lambda f: flip_a_byte(f / "train" / "raw.npy"),
    "a torn file": lambda f: (f / "dev" / "p.npy").write_bytes(b"\x93NUMPY"),
    "a missing file": lambda f: (f / "val" / "truth.npy").unlink(),
    "no meta": lambda f: (f / "meta.json").unlink(),
    "torn meta": lambda f: (f / "meta.json").write_text('{"key": '),
    "meta of another version": lambda f: (f / "meta.json").write_text("{}"),
    "meta of another cache": lambda f: (f / "meta.json").write_text(
        (f / "meta.json").read_text().replace(f.name, "0" * 16)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_refused_then_built_again_and_says_so(source, tmp_path, caplog, damage):
    good = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    DAMAGE[damage](good.folder)
    with pytest.raises(DataError, match=f"{good.folder.name}.*run the training command again"):
        FeatureSet(good.folder)
    with caplog.at_level(logging.WARNING):
        again = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert "again" in caplog.text
    assert again.meta == good.meta
    assert len(source.loads) == 2


def test_the_key_holds_everything_the_content_depends_on(source, tmp_path):
    base = (source, TRUTH, SplitConfig(), DOCUMENT)
    variants = [
        base,
        (ToySource(toy_events(60, seed=1)), *base[1:]),
        (replace(source, pt_edges=(1.0, 2.0)), *base[1:]),
        (replace(source, min_bin_tracks=3), *base[1:]),
        (source, TruthBackbone(1.0, 0.9, 0, 4), *base[2:]),
        (source, TRUTH, SplitConfig(seed=1), DOCUMENT),
        (source, TRUTH, SplitConfig(folds=3, fold=1), DOCUMENT),
        (source, TRUTH, SplitConfig(), FeaturesConfig("document", 0.2)),
        (source, TRUTH, SplitConfig(), FeaturesConfig("bending", 0.1)),
    ]
    built = [build(*variant, tmp_path) for variant in variants]
    assert len({b.meta.key for b in built}) == len(variants)
    for b in built:
        assert len(b.meta.key) == 16


def test_an_error_midway_leaves_nothing(tmp_path):
    @dataclass(frozen=True)
    class Broken(RandomBackbone):
        def run(self, events: Events) -> Iterator[BackboneBatch]:
            yield from super().run(events)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(ToySource(toy_events(60)), Broken(), SplitConfig(), DOCUMENT, tmp_path)
    assert not [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]


def test_no_parameter_of_the_frozen_transformer_changes(source, tmp_path):
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


def test_tracks_without_hits_stay_and_unmatched_ones_are_counted(tmp_path):
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


def test_constant_columns_become_zero(tmp_path):
    events = toy_events(60)
    events.hits[:, FEATURES.index("t")] = 0.1
    built = build(ToySource(events), TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert built.meta.scales["raw"].std[FEATURES.index("t")] == 0
    for split in ("train", "val", "dev"):
        features = built.load(split)
        assert not features.raw[:, FEATURES.index("t")].any()
        assert not features.query.any()
        assert not features.encoded.any()


def test_phi_is_averaged_on_the_circle(tmp_path):
    events = toy_events(60)
    events.hits[:, FEATURES.index("phi")] = np.where(np.arange(len(events.hits)) % 2, 3.1, -3.1)
    built = build(ToySource(events), TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert (np.abs(built.load("train").axis[:, 1]) > 3.09).all()


def test_bending_replaces_one_column(source, tmp_path):
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


def test_references_are_calibrated_on_training_tracks(tmp_path):
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

    estimator = Estimator("xy").fit(true_hits("train"), built.load("train").truth)
    dev = built.load("dev")
    np.testing.assert_array_equal(dev.classical, estimator.predict(true_hits("dev")))
    usable = np.isfinite(dev.classical).all(1)
    assert usable.mean() > 0.5
    assert (dev.classical[usable, 3] == dev.truth[usable, 3]).mean() > 0.9
    hits = undo(built.meta.scales["raw"], dev.raw).astype(np.float32)
    assigned = estimator.predict(TrackHits(hits, FEATURES, dev.offsets))
    np.testing.assert_allclose(dev.analytic, assigned, rtol=1e-2, atol=1e-4)
    assert (dev.classical[usable] != dev.analytic[usable]).any()


def test_without_columns_for_a_reference_it_is_nan_and_says_so(tmp_path, caplog):
    names = ("u", *FEATURES[1:])
    source = ToySource(replace(toy_events(60), features=names))
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert "no reference" in caplog.text
    assert np.isnan(built.load("dev").classical).all()
    with pytest.raises(UserError, match="'x'"):
        build(source, TRUTH, SplitConfig(), FeaturesConfig("bending", 0.1), tmp_path)


def test_events_that_cannot_be_used_are_refused(tmp_path):
    flat = ToySource(replace(toy_events(60), features=(*FEATURES[:-1], "slope")))
    with pytest.raises(UserError, match=r"no 'eta'.*data\.source\.derived"):
        build(flat, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    with pytest.raises(DataError, match=r"split 'train'.*assignment_threshold=0\.99"):
        build(
            ToySource(toy_events(60)),
            RandomBackbone(spoilt=0.0),
            SplitConfig(),
            FeaturesConfig("document", 0.99),
            tmp_path,
        )


def test_splits_are_those_of_the_configuration(source, tmp_path):
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert list(built.meta.n_tracks) == ["train", "val", "dev"]
    with pytest.raises(UserError, match="no split 'test', only train, val, dev"):
        built.load("test")
    with_test = build(source, TRUTH, SplitConfig(test=0.2), DOCUMENT, tmp_path)
    ids = [set(with_test.load(split).event) for split in ("train", "val", "dev", "test")]
    assert sum(len(part) for part in ids) == len(set.union(*ids)) == 60
    fold = build(source, TRUTH, SplitConfig(folds=3, fold=2), DOCUMENT, tmp_path)
    want = split_events(60, val=0.2, dev=0.2, test=0, seed=0, folds=3, fold=2)["dev"]
    assert set(fold.load("dev").event) == set(source.events.ids[want])


def test_meta_says_what_is_in_the_cache(source, tmp_path):
    backbone = TruthBackbone(0.8, 0.9, 0, 4)
    meta = build(source, backbone, SplitConfig(), DOCUMENT, tmp_path).meta
    assert meta.data_key == source.key()
    assert meta.backbone_key == backbone.key()
    assert (meta.features, meta.threshold, meta.dim, meta.plane) == ("document", 0.1, 4, "xy")
    assert meta.pt_edges == [1.0, 5.0, 10.0]
    assert meta.min_bin_tracks == 10
    assert meta.not_modelled == ["everything"]
    assert meta.n_events == {"train": 36, "val": 12, "dev": 12}
    assert meta.hit_purity == pytest.approx(0.8, abs=0.1)
    assert meta.hit_efficiency == pytest.approx(0.9, abs=0.1)
    assert set(json.loads(json.dumps(asdict(meta)))["files"]) == {
        f"{split}/{f.name}.npy" for split in meta.n_tracks for f in fields(Features)
    }


def test_progress_rises_to_one(source, tmp_path):
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
    assert seen[0] == ("data", 0.0)
    assert shares == sorted(shares)
    assert seen[-1] == ("features", 1.0)
