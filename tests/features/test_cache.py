"""The feature cache on disk: keys, checksums, splits, and builders at the same time."""

import atexit
import hashlib
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import split_events
from headsweep.features import cache as features_cache
from headsweep.features.cache import ColumnScale, Features, FeatureSet, FeatureWriter
from headsweep.features.extract import build
from headsweep.files import SEAL
from helpers.toy_backbones import RandomBackbone
from helpers.toy_events import ToySource, toy_events

DOCUMENT = FeaturesConfig("document", 0.1)
TRUTH = TruthBackbone(1.0, 1.0, 0, 4)


@pytest.fixture
def source() -> ToySource:
    return ToySource(toy_events(60))


def test_arrays_are_mapped_and_small(source: ToySource, tmp_path: Path) -> None:
    built = build(source, RandomBackbone(), SplitConfig(), DOCUMENT, tmp_path)
    features = built.load("train")
    for f in fields(features):
        array = getattr(features, f.name)
        assert isinstance(array, np.memmap)
        before = array.copy()
        array[:] = 7  # stays in memory
        np.testing.assert_array_equal(getattr(built.load("train"), f.name), before)
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
    assert (a.folder / SEAL).read_bytes() == (b.folder / SEAL).read_bytes()


def test_of_two_builders_at_once_one_waits(source: ToySource, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(build, source, TRUTH, SplitConfig(), DOCUMENT, tmp_path) for _ in range(2)
        ]
        folders = {job.result().folder for job in jobs}
    assert len(folders) == 1
    assert len(source.loads) == 1


@lru_cache
def flipped_cache() -> Path:
    """A cache for many tests that damage and mend it."""
    root = Path(mkdtemp())
    atexit.register(shutil.rmtree, root)
    return build(ToySource(toy_events(60)), TRUTH, SplitConfig(), DOCUMENT, root).folder


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))


DAMAGE = {
    "a flipped byte": lambda f: flip_a_byte(f / "train" / "raw.npy"),
    "a torn file": lambda f: (f / "dev" / "p.npy").write_bytes(b"\x93NUMPY"),
    "a missing file": lambda f: (f / "val" / "truth.npy").unlink(),
    "no meta": lambda f: (f / "meta.json").unlink(),
    "torn meta": lambda f: (f / "meta.json").write_text('{"key": '),
    "meta of another version": lambda f: (f / "meta.json").write_text("{}"),
    "meta of another cache": lambda f: edit(f / "meta.json", f.name, "0" * 16),
    "a changed figure of meta": lambda f: edit(f / "meta.json", '"dim": 4', '"dim": 5'),
    "another data type": lambda f: edit(f / "val" / "p.npy", "<f4", "<f2"),
    "another shape": lambda f: np.save(f / "val" / "p.npy", np.zeros(3, np.float32)),
    "no checksums": lambda f: (f / "checksums.json").unlink(),
    "torn checksums": lambda f: (f / "checksums.json").write_text('{"meta.json": "'),
    "checksums of other files": lambda f: (f / "checksums.json").write_text('{"a": "b"}'),
    "checksums of none": lambda f: (f / "checksums.json").write_text("{}"),
}


@pytest.mark.slow
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
        (replace(source, coils=6), TRUTH, SplitConfig(), FeaturesConfig("harmonics", 0.1)),
        (replace(source, coils=8), TRUTH, SplitConfig(), FeaturesConfig("harmonics", 0.1)),
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


def test_every_file_has_a_checksum(source: ToySource, tmp_path: Path) -> None:
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    arrays = {f"{split}/{f.name}.npy" for split in built.meta.n_tracks for f in fields(Features)}
    sums = json.loads((built.folder / "checksums.json").read_bytes())
    assert set(sums) == {"meta.json", *arrays}
    for name, digest in sums.items():
        assert hashlib.sha256((built.folder / name).read_bytes()).hexdigest() == digest


def test_a_file_is_read_for_its_checksum_once(
    source: ToySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind)
    )
    FeatureSet(built.folder)
    assert read == []
    flip_a_byte(built.folder / "val" / "p.npy")
    with pytest.raises(DataError, match=r"val/p\.npy is missing or not what was written"):
        FeatureSet(built.folder)
    assert [Path(path).name for path in read] == ["p.npy"]


@settings(max_examples=40)
@given(st.data())
def test_no_flipped_bit_of_any_file_is_read(data: st.DataObject) -> None:
    folder = flipped_cache()
    path = data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    good = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
    try:
        with pytest.raises(DataError, match=f"{folder}.*run the training command again"):
            FeatureSet(folder)
    finally:
        path.write_bytes(good)


def test_features_in_blocks_are_the_files_of_numpy(tmp_path: Path) -> None:
    whole = load_toy(tmp_path)
    with FeatureWriter(tmp_path / "blocks") as writer:
        for start, stop in pairwise([0, 1, 7, 7, len(whole)]):
            hits = slice(*whole.offsets[[start, stop]])
            rows = {f.name: getattr(whole, f.name)[start:stop] for f in fields(whole)}
            rows |= {n: getattr(whole, n)[hits] for n in ("raw", "encoded", "p")}
            rows["offsets"] = whole.offsets[start : stop + 1] - hits.start
            writer.add(replace(whole, **rows))
    for f in fields(whole):
        np.save(tmp_path / "one.npy", getattr(whole, f.name))
        assert (tmp_path / "blocks" / f"{f.name}.npy").read_bytes() == (
            tmp_path / "one.npy"
        ).read_bytes()


def load_toy(folder: Path) -> Features:
    return build(ToySource(toy_events(60)), TRUTH, SplitConfig(), DOCUMENT, folder).load("val")


def test_scales_are_those_of_numpy_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(1000, 5)) * [1, 1e3, 1e-4, 0, 7] + 3).astype(np.float32)
    for rows in (2**17, 64, 1):
        monkeypatch.setattr(features_cache, "ROWS", rows)
        found = ColumnScale.of(values)
        assert found.mean == values.mean(axis=0, dtype=np.float64).tolist()
        std = values.std(axis=0, dtype=np.float64)
        std[3] = 0
        assert found.std == std.tolist()
