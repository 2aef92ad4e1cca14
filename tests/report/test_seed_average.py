"""What seeds have in common, against counts by hand, numpy and a bootstrap of its own."""

import math
from dataclasses import replace

import numpy as np
import pytest

from headsweep.report.predictions import Sample
from headsweep.report.seed_average import average, find_agreement, find_averages
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_runs import smear

N = 400
PT = np.exp(np.linspace(1, 5, N))
TRUTH = np.stack([np.linspace(-2, 2, N), np.linspace(-3, 3, N), PT, (-1.0) ** np.arange(N)], axis=1)
EVENT = np.arange(N) // 2


def sample(seed: int, width: float = 0.3, factor: float = 1.0) -> Sample:
    tracks = Tracks.from_estimate(EVENT, TRUTH, smear(TRUTH, width, seed))
    tracks = replace(tracks, kappa=factor * tracks.kappa, charge=factor * tracks.charge)
    return Sample(tracks, np.ones(N, dtype=bool), {}, Block(0, 0), seed)


def flipped(own: Sample, rows: list[int]) -> Sample:
    """The same with the charge of some tracks turned round."""
    sign = np.ones(N)
    sign[rows] = -1
    tracks = replace(own.tracks, kappa=sign * own.tracks.kappa, charge=sign * own.tracks.charge)
    return replace(own, tracks=tracks)


def test_tracks_that_all_seeds_get_wrong() -> None:
    exact = sample(0, width=0.01)
    a = make_head_row("a", [flipped(exact, [1, 2, 3]), flipped(exact, [2, 3, 4, 5])])
    b = make_head_row("b", [flipped(exact, [3]), flipped(exact, [3, 9])])
    own, other, both = find_agreement([a, b])
    assert (own.label, own.seeds, both.label, both.seeds) == ("a", 2, "all heads", 4)
    assert own.wrong_charge == 2 / N
    assert own.one_wrong_charge == pytest.approx(3.5 / N)
    assert (own.far, own.one_far) == (own.wrong_charge, own.one_wrong_charge)  # rho is -2
    assert (other.wrong_charge, both.wrong_charge) == (1 / N, 1 / N)
    alone = make_head_row("one", [exact])
    folds = make_head_row("folds", [exact, exact], folds=2)
    assert find_agreement([alone, folds]) == []
    assert find_averages([alone, folds], np.random.default_rng(0)) == []


def test_the_mean_prediction() -> None:
    parts = [sample(seed).tracks for seed in range(3)]
    parts[0] = replace(parts[0], phi=np.full(N, 3.0))
    parts[1] = replace(parts[1], phi=np.full(N, -3.0))
    parts[2] = replace(parts[2], phi=np.full(N, math.pi))
    found = average(parts)
    np.testing.assert_allclose(np.abs(found.phi), math.pi)  # and not 1.05
    np.testing.assert_allclose(found.rho, np.mean([own.rho for own in parts], axis=0))
    np.testing.assert_allclose(found.eta, np.mean([own.eta for own in parts], axis=0))
    np.testing.assert_allclose(found.pt * np.sign(found.charge), 1 / found.kappa)


def test_figures_of_an_average_and_their_intervals() -> None:
    row = make_head_row("a", [sample(seed) for seed in range(5)])
    (found,) = find_averages([row], np.random.default_rng(0))
    r68 = found.figures[0]
    rho = np.stack([own.tracks.rho for own in row.samples])
    mean = np.abs(rho.mean(axis=0))
    singles = np.quantile(np.abs(rho), 0.6827, axis=1)
    assert found.seeds == r68.averaged.n == 5
    assert r68.averaged.mean == pytest.approx(np.quantile(mean, 0.6827))
    assert r68.single == pytest.approx(singles.mean())
    assert r68.change.delta == pytest.approx(math.log(r68.averaged.mean) - np.log(singles).mean())
    rng, values, changes = np.random.default_rng(1), [], []
    for _ in range(500):
        pairs = rng.integers(N // 2, size=N // 2)
        rows = np.concatenate([2 * pairs, 2 * pairs + 1])
        of_mean = np.quantile(mean[rows], 0.6827)
        values.append(of_mean)
        of_singles = np.quantile(np.abs(rho[:, rows]), 0.6827, axis=1)
        changes.append(math.log(of_mean) - np.log(of_singles).mean())
    assert r68.averaged.half == pytest.approx(1.96 * np.std(values), rel=0.25)
    half = (r68.change.high - r68.change.low) / 2
    assert half == pytest.approx(1.96 * np.std(changes), rel=0.25)
    assert r68.change.high < 0  # independent errors average out
