"""Rows of predictions: the same tracks or not, folds pooled, members read import shutil
from their folders."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.report.predictions import Sample, head_row, reference_rows, val_row
from headsweep.report.scored_cache import ScoredCache
from headsweep.stats.tracks import Tracks
from headsweep.store import labels, runs
from headsweep.store.labels import Block, StoredJob
from helpers.head_rows import make_head_row
from helpers.toy_presets import WIDTHS, tracks_of
from helpers.toy_runs import toy_score


def sample(events: range, block: Block, seed: int = 0) -> Sample:
    """Perfect tracks of 10 GeV."""
    n = len(events)
    truth = np.tile([0.0, 0.0, 10.0, 1.0], (n, 1))
    tracks = Tracks.from_estimate(np.array(events), truth, truth)
    return Sample(tracks, np.arange(n) % 2 == 0, {}, block, seed)


@pytest.fixture
def groups(root: Path) -> dict[str, list[StoredJob]]:
    """Label and jobs of the two heads."""
    return labels.group_rows(labels.read_jobs(root / "sweeps" / "presets"))


def test_folds_of_one_seed_are_pooled() -> None:
    blocks = [(split, fold, seed) for split in (0, 1) for fold in (0, 1) for seed in (0, 1)]
    row = make_head_row(
        "a",
        [sample(range(4 * f, 4 * f + 4 + f), Block(split, f), seed) for split, f, seed in blocks],
        folds=2,
    )
    pooled = row.pooled()
    assert [(s.block.split_seed, s.seed) for s in pooled] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {tuple(s.tracks.event) for s in pooled} == {tuple(range(9))}
    assert {int(s.common.sum()) for s in pooled} == {2 + 3}
    alone = make_head_row("a", row.samples)
    assert alone.pooled() is alone.samples


def test_rows_share_their_tracks_or_not() -> None:
    one, same, other, none = (
        make_head_row(name, samples)
        for name, samples in (
            ("one", [sample(range(4), Block(0, 0))]),
            ("same", [sample(range(4), Block(0, 0), seed=7)]),
            ("other", [sample(range(1, 5), Block(0, 0))]),
            ("none", []),
        )
    )
    assert one.shares_tracks(same)
    assert not one.shares_tracks(other)
    assert not one.shares_tracks(none)
    assert not none.shares_tracks(none)
    assert (one.common_share(same), one.common_share(other)) == (1.0, 3 / 5)


def test_a_head_has_its_finished_members(root: Path, groups: dict[str, list[StoredJob]]) -> None:
    caches = {"cache": ScoredCache.open(root, "cache", "dev")}
    row = head_row("simpler", groups["simpler"], caches, root, toy_score)
    assert [s.seed for s in row.samples] == [seed for seed, width in WIDTHS.items() if width]
    assert (row.planned, len(row.curves)) == (5, 4)
    assert row.loss == labels.loss_key({"target": {"name": "plain"}})
    assert row.seconds == 12.0 + 4  # the longest of those that train together
    (problem,) = row.problems
    assert "seed 3" in problem
    first = row.samples[0].scalars
    assert (first["train_loss"], first["dev_loss"]) == (0.10, 0.10)
    assert (first["last_dev_loss"], first["gap"]) == (0.3, pytest.approx(1.5))
    assert math.isnan(first["loss_spikes"])  # null in result.json


def test_references_are_made_once(root: Path, groups: dict[str, list[StoredJob]]) -> None:
    rows = reference_rows(groups, {"cache": ScoredCache.open(root, "cache", "dev")})
    assert {row.reference: row.usable for row in rows} == {
        "constant predictor": 1.0,
        "analytic estimate": 1.0,
        "classical reference": 0.9,
    }
    assert [len(row.samples[0].tracks) for row in rows] == [600, 600, 540]


def test_validation_is_read_as_training_stored_it(
    tmp_path: Path, root: Path, groups: dict[str, list[StoredJob]]
) -> None:
    tracks = tracks_of(root, 0.1, 0)
    (job,) = groups["simpler"]
    for seed, width in WIDTHS.items():
        result = runs.read_result(job.folder / f"seed_{seed}")
        assert result is not None
        frame = pd.DataFrame(tracks.take(np.arange(10 + seed)).columns()) if width else None
        runs.write_member(tmp_path / f"seed_{seed}", result, predictions=frame)
    for name in ("job.json", "config.yaml"):
        shutil.copy(job.folder / name, tmp_path)
    row = val_row("simpler", [replace(job, folder=tmp_path)])
    assert [(s.seed, len(s.tracks)) for s in row.samples] == [(s, 10 + s) for s in (0, 1, 2, 4)]
    np.testing.assert_array_equal(row.samples[0].tracks.kappa, tracks.kappa[:10])
