"""The new test sample of a simulation: as if it had always been a split of the cache."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from headsweep.backbone.transformer import load
from headsweep.backbone.truth import TruthBackbone
from headsweep.config import TEST_SEED, FeaturesConfig, SelectionConfig, SplitConfig
from headsweep.errors import UserError
from headsweep.events.base import split_events
from headsweep.events.simulation import EVENTS_PER_SEED
from headsweep.events.spectrometer import TEST_EVENTS, Spectrometer
from headsweep.features import cache as features_cache
from headsweep.features.cache import Features, FeatureSet
from headsweep.features.extract import build, build_test
from headsweep.sweep.inputs import check_test, find_inputs
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan
from helpers.toy_events import ToySource, toy_events

TRUTH = TruthBackbone(0.8, 0.9, 0, 4)
SPLIT, CUTS = SplitConfig(), SelectionConfig(min_pt=3.0)
EVENTS = toy_events(400, most_tracks=2)
DEV = split_events(400, val=0.2, dev=0.2, test=0, seed=0)["dev"]


def make(root: Path, sample: ToySource) -> tuple[FeatureSet, FeatureSet, ToySource]:
    source = ToySource(EVENTS, sample=sample)
    cache = build(source, TRUTH, SPLIT, FeaturesConfig(), root, selection=CUTS)
    return cache, build_test(cache, source, SPLIT, TRUTH, root), source


def test_the_same_events_give_what_the_cache_has_of_them(tmp_path: Path) -> None:
    """Standardised with the training's scales, references calibrated on the training tracks."""
    cache, test, _ = make(tmp_path, ToySource(EVENTS.take(DEV)))
    got, want = cache.load("test"), cache.load("dev")
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name))
    assert np.isfinite(got.classical).any()
    for name in ("selected", "n_events", "n_tracks", "efficiency"):
        assert getattr(test.meta, name) == {"test": getattr(cache.meta, name)["dev"]}
    assert test.meta.scales == cache.meta.scales


def test_it_is_made_once_and_made_again_where_it_is_damaged(tmp_path: Path) -> None:
    sample = ToySource(replace(toy_events(100, seed=5), ids=9000 + np.arange(100)))
    cache, test, source = make(tmp_path, sample)
    assert set(cache.load("test").event) <= set(range(9000, 9100))
    assert build_test(cache, source, SPLIT, TRUTH, tmp_path).meta == test.meta
    assert len(sample.loads) == 1
    (test.folder / "test" / "raw.npy").write_bytes(b"")
    assert build_test(cache, source, SPLIT, TRUTH, tmp_path).meta == test.meta
    assert len(sample.loads) == 2
    assert "test" not in features_cache.load(tmp_path, cache.meta.key).meta.n_tracks
    other = TruthBackbone(0.5, 0.5, 0, 4)
    source.sample = ToySource(EVENTS.take(DEV))
    with pytest.raises(UserError, match="not the one that the head was trained on"):
        build_test(cache, source, SPLIT, other, tmp_path)


def test_no_seed_of_a_configuration_reaches_a_test_sample() -> None:
    sample = Spectrometer(500, 1).test_sample()
    assert sample.events == TEST_EVENTS >= 10_000
    assert sample.key() == Spectrometer(15_000, 1).test_sample().key()
    assert sample.key() != Spectrometer(500, 2).test_sample().key()
    assert sample.seed == TEST_SEED + 1
    for seed in (-1, TEST_SEED):
        with pytest.raises(UserError, match=r"data.source.seed=.*: must be in \[0, 1,000,000\)"):
            make_plan([f"data.source.seed={seed}"], multirun=False)
    trained_on = str(load("shipped").facts["command"])
    assert "data.source.seed=1001" in trained_on


def test_event_numbers_of_the_sample_are_its_own(tmp_path: Path) -> None:
    ids = [Spectrometer(30, seed).load(tmp_path).ids for seed in (1, TEST_SEED - 1, TEST_SEED + 1)]
    assert len(np.unique(np.concatenate(ids))) == 90
    np.testing.assert_array_equal(ids[2], (TEST_SEED + 1) * EVENTS_PER_SEED + np.arange(30))


def test_training_never_opens_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, load_split = [], FeatureSet.load

    def load_and_tell(self: FeatureSet, split: str) -> Features:
        opened.append(split)
        return load_split(self, split)

    monkeypatch.setattr(FeatureSet, "load", load_and_tell)
    small = ["data=tiny", "data.source.events=60", "backbone=truth", "optim.steps=2"]
    more = ["optim.batch_size=16", "tracking=false", f"root={tmp_path}", "data.split.test=0.1"]
    job = make_plan([*small, *more], multirun=False).jobs[0]
    run_job(job, find_inputs(job), tmp_path / "run")
    assert set(opened) == {"train", "val"}
    assert not list(tmp_path.glob("cache/features/*-test"))
    assert find_inputs(job).source.test_sample() is not None


@pytest.mark.parametrize(
    ("overrides", "ok"),
    [([], False), (["data.split.test=0.1"], True), (["data.split.folds=5"], False)],
)
def test_data_that_are_no_simulation_need_a_test_split(overrides: list[str], ok: bool) -> None:
    job = make_plan(["backbone=truth", *overrides], multirun=False).jobs[0]
    simulated = find_inputs(job)
    check_test([job], [simulated])
    given = replace(simulated, source=ToySource(EVENTS))
    if ok:
        check_test([job], [given])
    else:
        with pytest.raises(
            UserError, match=r"no test split to confirm on; .*data\.split\.test=0\.2"
        ):
            check_test([job], [given])
