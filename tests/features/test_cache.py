"""The feature cache on disk: keys, checksums, splits, and builders at the same time."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import split_events
from headsweep.features.cache import Features, FeatureSet
from headsweep.features.extract import build
from helpers.toy_backbones import RandomBackbone
from helpers.toy_events import ToySource, toy_events

DOCUMENT = FeaturesConfig("document", 0.1)
TRUTH = TruthBackbone(1.0, 1.0, 0, 4)


@pytest.fixture
def source() -> ToySource:
    return ToySource(toy_events(60))


def test_arrays_are_mapped_read_only_and_small(source: ToySource, tmp_path: Path) -> None:
    built = build(source, RandomBackbone(), SplitConfig(), DOCUMENT, tmp_path)
    features = built.load("train")
    for f in fields(features):
        array = getattr(features, f.name)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == (np.int64 if f.name in ("offsets", "event") else np.float32)
    assert 0 < built.meta.bytes_per_track <= 10_000
    assert built.folder == tmp_path / "cache" / "features" / built.meta.key


def test_a_second_build_reads_only(source: ToySource, tmp_path: Path) -> None:
    first = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    stamp = (first.folder / "meta.json").stat().st_mtime_ns
    second = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert len(source.loads) == 1
    assert (second.folder / "meta.json").stat().st_mtime_ns == stamp
    assert second.meta == first.meta


def test_two_builds_are_the_same_to_the_byte(source: ToySource, tmp_path: Path) -> None:
    a, b = (
        build(source, RandomBackbone(), SplitConfig(), DOCUMENT, tmp_path / name)
        for name in ("a", "b")
    )
    assert a.meta == b.meta
    for name in a.meta.files:
        assert (a.folder / name).read_bytes() == (b.folder / name).read_bytes()


def test_of_two_builders_at_once_one_waits(source: ToySource, tmp_path: Path) -> None:
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
def test_a_damaged_cache_is_refused_then_built_again_and_says_so(
    source: ToySource, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    good = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    DAMAGE[damage](good.folder)
    with pytest.raises(DataError, match=f"{good.folder.name}.*run the training command again"):
        FeatureSet(good.folder)
    with caplog.at_level(logging.WARNING):
        again = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert "again" in caplog.text
    assert again.meta == good.meta
    assert len(source.loads) == 2


def test_the_key_holds_everything_the_content_depends_on(source: ToySource, tmp_path: Path) -> None:
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


def test_splits_are_those_of_the_configuration(source: ToySource, tmp_path: Path) -> None:
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


def test_meta_says_what_is_in_the_cache(source: ToySource, tmp_path: Path) -> None:
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
