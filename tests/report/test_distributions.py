"""Distributions and maps against direct counts."""

from dataclasses import replace

import numpy as np
import pytest

from headsweep.report.distributions import RHO, find_distributions, resolution_map
from headsweep.report.predictions import Sample
from headsweep.stats.histograms import PULL_EDGES, RHO_EDGES
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_runs import PT_EDGES, smear

N = 2000
RNG = np.random.default_rng(0)
TRUTH = np.stack(
    [
        RNG.uniform(-2.6, 2.6, N),
        RNG.uniform(-3, 3, N),
        np.exp(RNG.uniform(np.log(2.5), np.log(400), N)),
        (-1.0) ** np.arange(N),
    ],
    axis=1,
)


def sample(seed: int) -> Sample:
    tracks = Tracks.from_estimate(np.arange(N), TRUTH, smear(TRUTH, 0.3, seed))
    return Sample(tracks, np.ones(N, dtype=bool), {}, Block(0, 0), seed)


def test_errors_in_bins_of_pt() -> None:
    row = make_head_row("a", [sample(0), sample(1)])
    found = [*find_distributions(row, PT_EDGES)]
    assert {d.quantity for d in found} == {RHO}  # without uncertainties there are no pulls
    assert [d.low for d in found] == [0.0, *PT_EDGES]
    third = found[2]
    inside = (TRUTH[:, 2] >= 10) & (TRUTH[:, 2] < 20)
    assert (third.low, third.high, third.tracks) == (10, 20, inside.sum())
    expected = np.mean(
        [np.histogram(s.tracks.rho[inside], RHO_EDGES)[0] / inside.sum() for s in row.samples],
        axis=0,
    )
    np.testing.assert_allclose(third.shares, expected)
    assert [*find_distributions(make_head_row("none", []), PT_EDGES)] == []


def test_pulls_of_a_head_with_uncertainties() -> None:
    own = sample(0)
    sigmas = {name: np.full(N, 0.03) for name in ("eta_sigma", "phi_sigma", "kappa_sigma")}
    row = make_head_row("a", [replace(own, tracks=replace(own.tracks, **sigmas))])
    pulls = {d.quantity: d for d in find_distributions(row, PT_EDGES) if d.quantity != RHO}
    assert [*pulls] == ["eta", "phi", "q/pT"]
    values = (own.tracks.eta - own.tracks.eta_true) / 0.03
    np.testing.assert_allclose(pulls["eta"].shares, np.histogram(values, PULL_EDGES)[0] / N)
    assert pulls["eta"].tracks == N


def test_the_map_has_r68_of_each_cell() -> None:
    row = make_head_row("a", [sample(0), sample(1)])
    found = resolution_map(row, PT_EDGES)
    eta, pt = np.abs(TRUTH[:, 0]), TRUTH[:, 2]
    inside = (eta >= 0.9) & (eta < 1.4) & (pt >= 20) & (pt < 50)
    assert found.tracks[1][3] == inside.sum() > 20
    expected = np.mean([np.quantile(np.abs(s.tracks.rho[inside]), 0.6827) for s in row.samples])
    assert found.r68[1][3] == pytest.approx(expected)
    assert np.sum(found.tracks) == N
    assert np.isnan(found.r68[-1]).all()  # no track beyond 2.7
