"""Histograms against numpy's."""

import numpy as np

from headsweep.stats.histograms import RHO_EDGES, shares


def test_shares_are_numpys_with_all_that_lies_beyond_in_the_outermost_bins() -> None:
    values = np.random.default_rng(0).standard_t(1, 1000)
    inside = np.clip(values, RHO_EDGES[0], RHO_EDGES[-1])
    np.testing.assert_allclose(shares(values, RHO_EDGES), np.histogram(inside, RHO_EDGES)[0] / 1000)


def test_no_number_lies_beyond_and_nothing_has_no_share() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    assert shares(np.array([0.5, np.nan]), edges).tolist() == [0.5, 0.5]
    assert np.isnan(shares(np.array([]), edges)).all()
