"""Metrics of members on resampled events, against what normal errors give."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from headsweep.report.predictions import Row, Sample
from headsweep.report.resampling import event_means, values_of
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.toy_runs import normal_grid

T = 1000
TRUTH = np.stack([np.zeros(T), np.zeros(T), np.full(T, 50.0), np.where(np.arange(T) % 2, 1, -1)], 1)


def row(label: str, width: float, shift: float = 0.0) -> Row:
    """Two members with the same errors of q/pT: exactly normal, one track an event."""
    kappa = TRUTH[:, 3] / TRUTH[:, 2] * (1 + shift + width * normal_grid(T, 0))
    estimate = np.stack([TRUTH[:, 0], TRUTH[:, 1], 1 / np.abs(kappa), np.sign(kappa)], 1)
    tracks = Tracks.from_estimate(np.arange(T), TRUTH, estimate)
    samples = [Sample(tracks, np.ones(T, dtype=bool), {"gap": 1.2}, Block(0, 0), s) for s in (0, 1)]
    return Row(label, None, samples)


def test_the_scatter_over_events_is_that_of_a_quantile() -> None:
    own = row("a", 0.1)
    assert values_of(own.samples, "qoverpt_r68") == pytest.approx([0.1, 0.1], rel=0.01)
    means = event_means([own], "qoverpt_r68", np.random.default_rng(0))["a"]
    expected = np.sqrt(0.6827 * 0.3173 / T) / (2 * stats.norm.pdf(1))
    assert means.std() == pytest.approx(expected, rel=0.1)


def test_configurations_on_the_same_events_see_the_same_draws() -> None:
    rows = [row("a", 0.1), row("b", 0.2)]
    means = event_means(rows, "qoverpt_r68", np.random.default_rng(0))
    np.testing.assert_allclose(means["b"] - means["a"], np.log(2))


def test_a_bias_is_compared_by_its_distance_from_0() -> None:
    own = row("a", 0.1, shift=-0.05)
    assert values_of(own.samples, "scale_bias") == pytest.approx([0.05, 0.05], abs=1e-3)
    assert (event_means([own], "scale_bias", np.random.default_rng(0))["a"] > 0).all()


def test_what_is_no_function_of_tracks_is_not_resampled() -> None:
    rows = [row("a", 0.1), replace(row("b", 0.1), samples=[])]
    assert values_of(rows[0].samples, "gap").tolist() == [1.2, 1.2]
    assert event_means(rows, "gap", np.random.default_rng(0)) == {}
    assert event_means(rows, "qoverpt_r68", np.random.default_rng(0)).keys() == {"a"}
