"""What a source may leave out, and what the gate leaves out of it, in the cache of its features."""

import tracemalloc
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from headsweep.backbone.truth import TruthBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.events import base, gate, hepattn_files
from headsweep.events.hepattn import Hepattn
from headsweep.events.hepattn_files import read_chunks, write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.features import cache as features_cache
from headsweep.features.extract import build
from headsweep.features.truth_check import load_events
from helpers.toy_events import FEATURES, ToySource, toy_events

TRUTH = TruthBackbone(purity=1.0, efficiency=1.0, seed=0, dim=4)
DOCUMENT = FeaturesConfig("document", 0.1)


def test_the_direction_of_hits_comes_from_columns_or_the_position(tmp_path: Path) -> None:
    """Without eta it is computed; without a position too there is none, and none is needed."""
    events = toy_events(60)
    flat, wires = (*FEATURES[:-1], "slope"), ("u", "v", "w", *FEATURES[3:6], "sector", "slope")
    axes = []
    for i, names in enumerate((FEATURES, flat, wires)):
        source = ToySource(replace(events, features=names))
        built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path / str(i))
        axes.append(built.load("dev").axis)
    np.testing.assert_array_equal(axes[1], axes[0])
    assert np.isnan(axes[2]).all()


def test_events_that_are_left_out_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = toy_events(60)
    twice = events.take(np.arange(63) % 60)
    source = ToySource(replace(twice, ids=np.arange(63)))
    built = build(source, TRUTH, SplitConfig(), DOCUMENT, tmp_path)
    assert built.meta.left_out == {"copies of other events": 3}
    assert sum(built.meta.n_events.values()) == 60
    assert "left out 3 copies of other events" in caplog.text


def test_bending_needs_no_column_to_replace(tmp_path: Path) -> None:
    """Without a time the residual is a column more, and all others are as in the document."""
    events = replace(toy_events(60), features=("x", "y", "z", "w", *FEATURES[4:]))
    bent, plain = (
        build(ToySource(events), TRUTH, SplitConfig(), FeaturesConfig(name, 0.1), tmp_path)
        for name in ("bending", "document")
    )
    assert bent.meta.feature_names == [*events.features, "residual"]
    np.testing.assert_array_equal(bent.load("dev").raw[:, :-1], plain.load("dev").raw)
    assert bent.load("dev").raw[:, -1].std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["document", "bending"])
def test_blocks_change_nothing(
    name: Literal["document", "bending"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hits that are read, mapped, selected, written and standardised in many pieces."""
    (tmp_path / "data").mkdir()
    write_hepattn(tmp_path / "data", (c for seed in (1, 2) for c in simulate_chunks(40, seed)))
    source = Hepattn(str(tmp_path / "data"), [5.0, 20.0], 50, {}, None, None, None)
    backbone, split = TruthBackbone(0.7, 0.9, 0, 4), SplitConfig(test=0.2)
    make = partial(build, source, backbone, split, FeaturesConfig(name, 0.1))
    whole = make(tmp_path / "whole")
    assert source.load(tmp_path).scratch is None
    for module, key, value in (
        (base, "BLOCK_HITS", 700),
        (base, "BLOCK_STEP", 4),
        (hepattn_files, "SLAB", 3),
        (hepattn_files, "READ_BYTES", 30_000),
        (features_cache, "ROWS", 50),
    ):
        monkeypatch.setattr(module, key, value)
    assert source.load(tmp_path).scratch == tmp_path / "cache/data"
    assert len(list(read_chunks(tmp_path / "data"))) > 10
    pieces = make(tmp_path / "pieces")
    assert pieces.meta == whole.meta
    for part in whole.meta.n_tracks:
        one, other = whole.load(part), pieces.load(part)
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert not list((tmp_path / "cache/data").iterdir())


@pytest.mark.slow
def test_no_check_holds_all_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write_hepattn(tmp_path / "data", simulate_chunks(1000, 1))
    source = Hepattn(str(tmp_path / "data"), [5.0, 20.0], 50, {}, None, None, None)
    for module, key, value in (
        (base, "BLOCK_HITS", 5000),
        (gate, "BLOCK_HITS", 5000),
        (base, "BLOCK_STEP", 8),
        (hepattn_files, "SLAB", 8),
        (hepattn_files, "READ_BYTES", 100_000),
    ):
        monkeypatch.setattr(module, key, value)
    tracemalloc.start(1)
    try:
        events = load_events(source, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert events.scratch is not None
    assert peak < events.hits.nbytes / 2
