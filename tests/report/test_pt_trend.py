"""The change of r68 from low to high pT, of a head that is worse above 50 GeV by a known factor."""

import math

import numpy as np
import pytest
from scipy import stats

from headsweep.errors import UserError
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.pt_trend import PtTrend
from headsweep.stats.bins import Bins
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_runs import PT_EDGES, normal_grid

PT = np.exp(np.linspace(np.log(5.0), np.log(200.0), 1200, endpoint=False))
"""Over the five quoted bins, each with 225 tracks or more."""

BINS = Bins(tuple(PT_EDGES), 200)


def head(errors: np.ndarray, high: float = 1.0) -> HeadRow:
    """One seed whose rho is 0.1 times the errors, above 50 GeV times ``high``."""
    n = np.arange(len(PT))
    q = np.where(n % 3, 1.0, -1.0)
    truth = np.stack([0 * PT, 0 * PT, PT, q], axis=1)
    kappa = q / PT * (1 + 0.1 * np.where(PT >= 50, high, 1.0) * errors)
    tracks = Tracks.from_estimate(
        n // 2, truth, np.stack([0 * PT, 0 * PT, 1 / np.abs(kappa), np.sign(kappa)], axis=1)
    )
    return make_head_row("a", [Sample(tracks, np.ones(len(PT), bool), {}, Block(0, 0), 0)])


def test_the_ratio_is_that_of_the_generated_widths() -> None:
    row = head(normal_grid(len(PT), 7), high=1.5)
    trend = PtTrend.find(row, BINS)
    assert (trend.low, trend.high) == ((1, 2), (4, 5))
    flat = PtTrend.find(row, BINS).values(head(normal_grid(len(PT), 7)))
    assert trend.values(row) / flat == pytest.approx(1.5)


def test_events_act_as_on_four_independent_bins() -> None:
    """ln r68 of n normal tracks has the standard error sqrt(q (1 - q) / n) / (2 f(1))."""
    rng = np.random.default_rng(1)
    row = head(rng.normal(size=len(PT)))
    spread = PtTrend.find(row, BINS).event_values([row], rng)["a"].mean(axis=1).std()
    counts = np.histogram(PT, PT_EDGES)[0][[0, 1, 3, 4]]
    each = np.sqrt(0.6827 * 0.3173 / counts) / (2 * stats.norm.pdf(1))
    assert spread == pytest.approx(math.sqrt(np.sum(each**2)) / 2, rel=0.25)


def test_under_and_overflow_are_no_quoted_bins() -> None:
    with pytest.raises(UserError, match="3 of 3 quoted pT bins"):
        PtTrend.find(head(normal_grid(len(PT), 7)), Bins((10.0, 20.0, 50.0, 100.0), 200))


def test_bins_with_few_tracks_do_not_count() -> None:
    with pytest.raises(UserError, match="0 of 5 quoted pT bins have 1000 tracks"):
        PtTrend.find(head(normal_grid(len(PT), 7)), Bins(tuple(PT_EDGES), 1000))
