"""Tracks: angles that wrap, and which predictions can be used."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.stats.tracks import TRUTH, Tracks, concatenate, wrap_phi


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4), st.integers(-3, 3))
def test_phi_wraps(angle: float, turns: int) -> None:
    wrapped = float(wrap_phi(np.array(angle)))
    assert -np.pi < wrapped <= np.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-9)
    again = wrap_phi(np.array(wrapped + 2 * np.pi * turns))
    assert abs(float(wrap_phi(again - wrapped))) < 1e-9


def test_phi_at_the_seam() -> None:
    seam = np.array([np.pi, -np.pi, np.nextafter(np.pi, 4), np.nextafter(-np.pi, -4)])
    np.testing.assert_allclose(np.abs(wrap_phi(seam)), np.pi)
    assert (wrap_phi(seam) > -np.pi).all()


def test_reference_tracks_and_their_usable_ones() -> None:
    truth = np.array([[1.0, 0.5, 20.0, -1.0], [0.2, 0.1, 5.0, 1.0]], dtype=np.float32)
    estimate = np.array([[1.1, 0.5, 25.0, -1.0], [np.nan] * 4], dtype=np.float32)
    tracks = Tracks.from_estimate(np.array([7, 7]), truth, estimate)
    assert tracks.usable.tolist() == [True, False]
    usable = tracks.take(tracks.usable)
    np.testing.assert_allclose(usable.rho, [-0.2])
    assert not usable.wrong_charge.any()
    assert usable.kappa.dtype == np.float64


def test_an_uncertainty_is_a_column_only_where_there_is_one() -> None:
    truth = np.array([[1.0, 0.5, 20.0, -1.0], [0.2, 0.1, 5.0, 1.0]])
    plain = Tracks.from_estimate(np.array([7, 8]), truth, truth)
    assert not any(name.endswith("sigma") for name in plain.columns())
    assert concatenate([plain, plain]).kappa_sigma is None
    sigmas = {f"{of}_sigma": np.array([0.1, 0.2]) for of in ("eta", "phi", "kappa")}
    known = replace(plain, **sigmas)
    both = concatenate([known.take(known.event == 8), known])
    assert both.columns().keys() == plain.columns().keys() | sigmas.keys()
    assert both.columns()["phi_sigma"].tolist() == [0.2, 0.1, 0.2]
    with pytest.raises(ValueError, match=r"Tracks.eta_sigma has shape \(3,\)"):
        replace(plain, eta_sigma=np.ones(3))


def test_predictions_share_the_truth_where_it_is_equal() -> None:
    truth = np.array([[1.0, 0.5, 20.0, -1.0], [0.2, 0.1, 5.0, 1.0]])
    one, two = (Tracks.from_estimate(np.array([7, 8]), truth, truth + k) for k in (0, 1))
    shared = two.sharing_truth(one)
    for name, values in two.columns().items():
        np.testing.assert_array_equal(getattr(shared, name), values)
        assert np.shares_memory(getattr(shared, name), getattr(one, name)) == (name in TRUTH)
    other = replace(one, pt_true=np.array([20.0, 5.1]))
    assert two.sharing_truth(other) is two
    assert two.sharing_truth(one.take(np.array([0]))) is two
