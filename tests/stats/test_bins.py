"""Binned evaluation, against masks written out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from headsweep.errors import UserError
from headsweep.stats.bins import ABS_ETA, PHI, binned, far_from_reference, pt_axis
from headsweep.stats.metrics import qoverpt_r68
from headsweep.stats.tracks import Tracks

EDGES = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0]


def make_tracks(pt: np.ndarray, eta: np.ndarray, rho: np.ndarray) -> Tracks:
    n = len(pt)
    truth = np.stack([eta, np.linspace(-3, 3, n), pt, np.ones(n)], axis=1)
    estimate = truth.copy()
    estimate[:, 2] = pt / (1 + rho)
    return Tracks.from_estimate(np.arange(n), truth, estimate)


def random_tracks(n: int = 500) -> Tracks:
    rng = np.random.default_rng(0)
    pt = np.exp(rng.uniform(np.log(2.5), np.log(400), n))
    return make_tracks(pt, rng.uniform(-3, 3, n), 0.1 * rng.normal(size=n))


def test_pt_bins_hold_their_lower_edge_and_show_under_and_overflow() -> None:
    pt = np.array([4.999, 5.0, 9.999, 10.0, 199.999, 200.0, 5000.0])
    table = binned(make_tracks(pt, 0 * pt, 0 * pt), pt_axis(EDGES), ["qoverpt_r68"])
    assert table["n"].tolist() == [1, 2, 1, 0, 0, 1, 2]
    assert table["low"].tolist() == [0, *EDGES]
    assert table["high"].tolist() == [*EDGES, math.inf]
    assert table["qoverpt_r68"].isna().tolist() == [n == 0 for n in table["n"]]


def test_bins_partition_the_tracks() -> None:
    tracks = random_tracks()
    for axis in (pt_axis(EDGES), ABS_ETA, PHI):
        table = binned(tracks, axis, ["qoverpt_r68"])
        values = axis.values(tracks)
        assert table["n"].sum() == len(tracks)
        for row in table.itertuples():
            inside = tracks.take((values >= row.low) & (values < row.high))
            assert row.n == len(inside)
            assert row.qoverpt_r68 == pytest.approx(qoverpt_r68(inside))


def test_phi_sectors_take_the_seam_from_both_sides() -> None:
    tracks = random_tracks(4)
    phi = np.array([np.pi, -np.pi, 3 * np.pi, 0.0])
    table = binned(dataclasses.replace(tracks, phi_true=phi), PHI, [])
    assert len(table) == 16
    assert table["n"].sum() == 4
    assert table["n"].iloc[8] == 1


def test_far_from_reference_cell_by_cell() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    pt = np.where(np.arange(n) % 2, 7.0, 70.0)
    width = np.where(pt < 10, 0.01, 0.1)  # the reference is ten times better at low pT
    reference = make_tracks(pt, np.zeros(n), width * rng.normal(size=n))
    probe_pt = np.array([7.0, 7.0, 70.0, 70.0])
    probe = make_tracks(probe_pt, np.zeros(4), np.array([0.04, 0.2, 0.2, 0.8]))
    assert far_from_reference(probe, reference, EDGES) == 0.5


def test_far_from_reference_leaves_out_cells_without_a_core() -> None:
    n = 30
    rho = np.where(np.arange(n) % 2, 0.1, -0.1)
    reference = make_tracks(np.full(n, 7.0), np.zeros(n), rho)
    probe = make_tracks(np.array([7.0, 70.0]), np.zeros(2), np.array([0.9, 0.9]))
    assert far_from_reference(probe, reference, EDGES) == 1.0
    assert math.isnan(far_from_reference(probe.take(np.array([1])), reference, EDGES))
    few = reference.take(np.arange(19))
    assert math.isnan(far_from_reference(probe, few, EDGES))
    lost = dataclasses.replace(reference, kappa=np.full(n, np.nan))
    assert math.isnan(far_from_reference(probe, lost, EDGES))


@pytest.mark.parametrize("edges", [[], [10.0, 5.0], [0.0, 5.0], [5.0, 5.0], [math.nan, 5.0]])
def test_bad_edges(edges: list[float]) -> None:
    with pytest.raises(UserError, match="ascending"):
        pt_axis(edges)
