"""Verdicts on two configurations, against Welch's test of scipy and the formula of Nadeau."""

import numpy as np
import pytest
from scipy import stats

from headsweep.report.pair_verdict import compare_rows, judge_pair
from headsweep.report.predictions import HeadRow, Sample
from headsweep.stats.margins import Comparison
from headsweep.stats.metrics import MARGINS
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row

TERMS: Comparison = MARGINS["qoverpt_r68"]


def row(label: str, blocks: list[Block], folds: int | None = None) -> HeadRow:
    """A head with one member for each block."""
    truth = np.tile([0.0, 0.0, 20.0, 1.0], (8, 1))
    tracks = Tracks.from_estimate(np.arange(8), truth, truth)
    common = np.ones(8, dtype=bool)
    samples = [Sample(tracks, common, {}, block, seed) for seed, block in enumerate(blocks)]
    return make_head_row(label, samples, folds=folds)


def test_seeds_are_compared_by_welchs_test_of_their_logarithms() -> None:
    values = {"a": np.array([0.21, 0.25, 0.22]), "b": np.array([0.30, 0.29, 0.33, 0.31])}
    arm, control = (row(name, [Block(0, 0)] * len(values[name])) for name in "ab")
    verdict, note = judge_pair(arm, control, "qoverpt_r68", values, {}, TERMS)
    assert verdict is not None
    assert (verdict.word, note) == ("better", "")
    welch = stats.ttest_ind(np.log(values["a"]), np.log(values["b"]), equal_var=False)
    interval = welch.confidence_interval()
    assert (verdict.low, verdict.high) == pytest.approx((interval.low, interval.high))
    assert verdict.p_value == pytest.approx(welch.pvalue)


def test_only_folds_that_both_have_are_compared_and_seeds_of_a_fold_are_averaged() -> None:
    ours = [Block(0, 0), Block(0, 1), Block(0, 1), Block(1, 0), Block(1, 1)]
    theirs = [Block(1, 1), Block(0, 1), Block(0, 0)]
    arm, control = row("a", ours, folds=2), row("b", theirs, folds=2)
    values = {"a": np.array([0.2, 0.3, 0.5, 0.9, 0.22]), "b": np.array([0.31, 0.6, 0.35])}
    verdict = compare_rows(arm, control, values, {}, TERMS)
    d = np.log([0.2 / 0.35, 0.4 / 0.6, 0.22 / 0.31])
    assert verdict.delta == pytest.approx(d.mean())
    assert verdict.se_seeds == pytest.approx(np.sqrt((1 / 3 + 1) * d.var(ddof=1)))
    assert verdict.test == "Nadeau-Bengio"
