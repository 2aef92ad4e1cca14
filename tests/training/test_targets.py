"""Every target turns back into the physics it came from; pT is clipped as documented."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from headsweep.config import TARGETS, TargetConfig
from headsweep.errors import UserError
from headsweep.stats import metrics
from headsweep.stats.tracks import Tracks, wrap_phi
from headsweep.training.targets import MIN_PT, MOMENTA, Target


def truth(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            rng.uniform(-2.7, 2.7, n),
            rng.uniform(-np.pi, np.pi, n),
            np.exp(rng.uniform(np.log(2.5), np.log(400), n)),
            rng.choice([-1.0, 1.0], n),
        ],
        axis=1,
    )


@pytest.mark.parametrize(
    ("relative", "phi"), [(False, "angle"), (True, "angle"), (False, "sincos")]
)
@pytest.mark.parametrize("name", TARGETS)
def test_decoding_the_encoded_truth_is_perfect(name: str, relative: bool, phi: str) -> None:
    true = truth(500)
    axis = true[:, :2] + np.random.default_rng(1).normal(0, 0.1, (500, 2))
    axis[:, 1] = wrap_phi(axis[:, 1])
    target = Target.fit(TargetConfig(name, relative, phi=phi), true, axis)
    encoded = target.encode(true, axis)
    outputs = (3 if name == "q_over_pt" else 4) + (phi == "sincos")
    assert encoded.shape == (500, target.outputs) == (500, outputs)
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(encoded.std(0), 1)
    tracks = target.decode(encoded, true, axis, np.arange(500))
    for value in metrics.evaluate(tracks, ["qoverpt_r68", "eta_rmse", "phi_rmse"]).values():
        assert value < 1e-9
    assert metrics.evaluate(tracks)["charge_misid"] == 0
    assert not tracks.clipped.any()


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("plain", [0.5, -3.0, 0.25, -1.0]),
        ("inverse_pt", [0.5, -3.0, 4.0, -1.0]),
        ("q_over_pt", [0.5, -3.0, -4.0]),
    ],
)
def test_targets_in_units_of_200_gev_as_hepattn_learns_them(
    name: str, outputs: list[float]
) -> None:
    """A track of eta 0.5, phi -3, 50 GeV and charge -1: pT is 0.25 of the unit."""
    true = np.array([[0.5, -3.0, 50.0, -1.0], [0.0, 0.0, 400.0, 1.0]])
    config = TargetConfig(name, standardise=False, pt_unit=200.0)
    target = Target.fit(config, true, np.zeros((2, 2)))
    np.testing.assert_allclose(target.encode(true, np.zeros((2, 2)))[0], outputs)
    tracks = target.decode(np.array([outputs]), true[:1], np.zeros((1, 2)), np.zeros(1))
    np.testing.assert_allclose([tracks.pt[0], tracks.kappa[0]], [50, -1 / 50])


@pytest.mark.parametrize("name", TARGETS)
def test_a_raw_target_comes_back_too(name: str) -> None:
    true = truth(100)
    target = Target.fit(TargetConfig(name, standardise=False), true, np.zeros((100, 2)))
    assert (target.mean == 0).all()
    assert (target.std == 1).all()
    encoded = target.encode(true, np.zeros((100, 2)))
    tracks = target.decode(encoded, true, np.zeros((100, 2)), np.arange(100))
    np.testing.assert_allclose(tracks.pt, true[:, 2])
    np.testing.assert_allclose(tracks.kappa, true[:, 3] / true[:, 2])


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("phi", ["angle", "sincos"])
@pytest.mark.parametrize("name", TARGETS)
def test_an_uncertainty_is_propagated_as_a_small_change_of_the_outputs(
    name: str, phi: str, standardise: bool
) -> None:
    true, nowhere = truth(60), np.zeros((60, 2))
    target = Target.fit(TargetConfig(name, standardise=standardise, phi=phi), true, nowhere)
    outputs = target.encode(true, nowhere)
    sigma = np.random.default_rng(2).uniform(0.5, 2, outputs.shape)
    tracks = target.decode(outputs, true, nowhere, np.arange(60), sigma)
    small, variance = 1e-6, dict.fromkeys(("eta", "phi", "kappa"), np.zeros(60))
    for i in range(target.outputs):
        moved = outputs + small * sigma * (np.arange(target.outputs) == i)
        other = target.decode(moved, true, nowhere, np.arange(60))
        for key in variance:
            change = getattr(other, key) - getattr(tracks, key)
            change = wrap_phi(change) if key == "phi" else change
            variance[key] = variance[key] + (change / small) ** 2
    for key, expected in variance.items():
        found = getattr(tracks, f"{key}_sigma")
        np.testing.assert_allclose(found, np.sqrt(expected), rtol=1e-3)


def test_a_classified_charge_needs_no_uncertainty() -> None:
    true, nowhere = truth(5), np.zeros((5, 2))
    target = Target.fit(TargetConfig("log_pt"), true, nowhere, logit=True)
    outputs = target.encode(true, nowhere)
    tracks = target.decode(outputs, true, nowhere, np.arange(5), np.ones((5, 3)))
    np.testing.assert_allclose(tracks.kappa_sigma, target.std[2] / true[:, 2])
    assert target.decode(outputs, true, nowhere, np.arange(5)).eta_sigma is None


def test_sine_and_cosine_have_no_jump() -> None:
    true = np.array([[0.0, 3.14159, 10, 1], [0.0, -3.14159, 20, -1], [0, 0.5, 30, 1]])
    target = Target.fit(TargetConfig("plain", phi="sincos"), true, np.zeros((3, 2)))
    assert target.quantities == ("eta", "phi", "phi", "pt", "q")
    encoded = target.encode(true, np.zeros((3, 2)))
    assert np.abs(encoded[0, 1:3] - encoded[1, 1:3]).max() < 1e-3
    tracks = target.decode(encoded, true, np.zeros((3, 2)), np.arange(3))
    np.testing.assert_allclose(tracks.phi, true[:, 1])
    with pytest.raises(UserError, match=r"target.phi=sincos: not with target.relative=true"):
        TargetConfig(relative=True, phi="sincos")


def test_a_unit_without_effect_is_refused() -> None:
    with pytest.raises(UserError, match=r"target.pt_unit=200.0: must be 1 where"):
        TargetConfig(pt_unit=200.0)


def decode_pt(name: str, last_two: list[list[float]]) -> Tracks:
    """Outputs given in unstandardised units: [pt, q], or [kappa] for q_over_pt."""
    true = truth(50)
    true[0, 2] = 100.0
    true[1:, 2] = np.minimum(true[1:, 2], 100)
    target = Target.fit(TargetConfig(name), true, np.zeros((50, 2)))
    assert target.max_pt == 500
    values = np.array([[0.0, 0.0, *row] for row in last_two])
    standard = (values - target.mean) / target.std
    n = len(values)
    return target.decode(standard, true[:n], np.zeros((n, 2)), np.arange(n))


@pytest.mark.parametrize(
    ("name", "outputs", "pt", "clipped"),
    [
        ("plain", [-3.0, 0.05, 7.0, 501.0], [MIN_PT, MIN_PT, 7, 500], [1, 1, 0, 1]),
        ("log_pt", [-50.0, np.log(7), 50.0], [MIN_PT, 7, 500], [1, 0, 1]),
        ("inverse_pt", [-1.0, 0.001, 0.1, 20.0], [500, 500, 10, MIN_PT], [1, 1, 0, 1]),
    ],
)
def test_pt_is_clipped(
    name: str, outputs: list[float], pt: list[float], clipped: list[int]
) -> None:
    tracks = decode_pt(name, [[value, -0.3] for value in outputs])
    np.testing.assert_allclose(tracks.pt, pt)
    np.testing.assert_allclose(tracks.kappa, -1 / np.array(pt))
    assert tracks.clipped.tolist() == [bool(c) for c in clipped]


def test_q_over_pt_keeps_kappa_unclipped() -> None:
    tracks = decode_pt("q_over_pt", [[1e-5], [-0.1], [40.0]])
    np.testing.assert_allclose(tracks.kappa, [1e-5, -0.1, 40.0])
    np.testing.assert_allclose(tracks.pt, [500, 10, MIN_PT])
    assert tracks.clipped.tolist() == [True, False, True]


def test_relative_phi_crosses_the_wrap() -> None:
    true = np.array([[0.0, 3.1, 10, 1], [0.0, -3.1, 20, -1], [0, 0.5, 30, 1]])
    axis = np.array([[0.0, -3.1], [0.0, 3.1], [0.0, 0.4]])
    target = Target.fit(TargetConfig("plain", True), true, axis)
    assert abs(target.mean[1]) < 0.2
    tracks = target.decode(target.encode(true, axis), true, axis, np.arange(3))
    np.testing.assert_allclose(wrap_phi(tracks.phi - true[:, 1]), 0, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(TARGETS)
)
def test_any_output_is_a_finite_momentum(outputs: np.ndarray, name: str) -> None:
    true = truth(3)
    target = Target.fit(TargetConfig(name), true, np.zeros((3, 2)))
    tracks = target.decode(outputs[:, : target.outputs], true, np.zeros((3, 2)), np.arange(3))
    assert ((tracks.pt >= MIN_PT) & (tracks.pt <= target.max_pt)).all()
    assert np.isfinite(tracks.kappa).all()


def test_the_schema_knows_every_parametrisation() -> None:
    assert set(MOMENTA) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_an_estimate_as_input_is_the_target_that_it_stands_for(name: str) -> None:
    true = truth(6)
    target = Target.fit(TargetConfig(name), true, true[:, :2])
    estimate = true.copy()
    estimate[1, 2], estimate[2, 0], estimate[3] = 1e9, np.nan, np.nan
    got = target.encode_estimate(estimate, true[:, :2])
    assert got.shape == (6, target.outputs + 1)
    assert got[:, -1].tolist() == [1, 1, 0, 0, 1, 1]
    np.testing.assert_array_equal(got[[2, 3], :-1], 0)
    np.testing.assert_array_equal(got[[0, 4, 5], :-1], target.encode(true, true[:, :2])[[0, 4, 5]])
    largest = true[1:2] * [1, 1, 0, 1] + [0, 0, target.max_pt, 0]
    np.testing.assert_allclose(got[1:2, :-1], target.encode(largest, true[1:2, :2]))
