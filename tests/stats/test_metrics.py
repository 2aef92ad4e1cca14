"""Metrics of tracks, each against a closed form, scipy or numbers worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headsweep.errors import UserError
from headsweep.stats import metrics
from headsweep.stats.metrics import METRICS, evaluate
from headsweep.stats.tracks import Tracks


def make_tracks(n: int = 400, seed: int = 0, rho_width: float = 0.1) -> Tracks:
    """Random tracks whose rho is normal with the given width; about 2% of the charges flip."""
    rng = np.random.default_rng(seed)
    pt_true = np.exp(rng.uniform(np.log(2.5), np.log(400), n))
    q_true = rng.choice([-1.0, 1.0], n)
    kappa = q_true / pt_true * (1 + rho_width * rng.normal(size=n))
    kappa = np.where(rng.random(n) < 0.02, -kappa, kappa)
    eta_true, phi_true = rng.uniform(-2.7, 2.7, n), rng.uniform(-np.pi, np.pi, n)
    return Tracks(
        event=np.arange(n) // 2,
        eta_true=eta_true,
        phi_true=phi_true,
        pt_true=pt_true,
        q_true=q_true,
        eta=eta_true + 0.01 * rng.normal(size=n),
        phi=phi_true + 0.02 * rng.normal(size=n),
        pt=1 / np.abs(kappa),
        kappa=kappa,
        charge=np.sign(kappa) + 0.3 * rng.normal(size=n),
        clipped=rng.random(n) < 0.01,
    )


def toy(**columns: list[float]) -> Tracks:
    """Perfect tracks of pT 10 GeV and charge +1, but for the given columns."""
    n = len(next(iter(columns.values())))
    values = {
        "event": np.arange(n),
        **{name: np.zeros(n) for name in ("eta_true", "phi_true", "eta", "phi")},
        **{name: np.full(n, 10.0) for name in ("pt_true", "pt")},
        **{name: np.ones(n) for name in ("q_true", "charge")},
        "kappa": np.full(n, 0.1),
        "clipped": np.zeros(n, dtype=bool),
    }
    return Tracks(**{**values, **{k: np.array(v) for k, v in columns.items()}})


def test_every_metric_says_its_direction_unit_and_meaning() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.better in ("lower", "higher", "zero", "one", "0.6827")
        assert metric.scale in ("log", "plain")
        assert metric.function.__doc__
    assert {n for n, m in METRICS.items() if m.unit == "GeV"} == {"pt_rmse"}
    assert {n for n, m in METRICS.items() if m.unit == "rad"} == {
        "phi_abs68",
        "phi_core",
        "phi_rmse",
    }


def test_perfect_predictions() -> None:
    result = evaluate(
        toy(q_true=[1.0, 1.0, 1.0, -1.0], kappa=[0.1] * 3 + [-0.1], charge=[1, 1, 1, -1])
    )
    for name, value in result.items():
        if name == "qoverpt_r95_r68":  # 0 / 0
            assert math.isnan(value)
            continue
        assert value == pytest.approx(1.0 if METRICS[name].better == "higher" else 0.0), name


def test_no_tracks_give_nan_everywhere() -> None:
    empty = make_tracks().take(np.zeros(400, dtype=bool))
    assert all(math.isnan(value) for value in evaluate(empty).values())


def test_one_track_is_enough_for_all_but_those_that_need_both_charges() -> None:
    result = evaluate(toy(kappa=[0.12]))
    assert {n for n, v in result.items() if math.isnan(v)} == {"charge_auc", "sagitta_bias_minus"}
    assert result["qoverpt_r68"] == pytest.approx(0.2)


def test_normal_residuals_have_the_known_quantiles() -> None:
    n = 200_001
    z = stats.norm.ppf((np.arange(n) + 0.5) / n)  # an exact normal sample, no randomness
    tracks = toy(kappa=list(0.1 * (1 + 0.05 + 0.2 * z)), eta=list(0.3 * z), phi=list(0.01 * z))
    assert metrics.qoverpt_core(tracks) == pytest.approx(0.2, rel=1e-3)
    assert metrics.scale_bias(tracks) == pytest.approx(0.05, abs=1e-9)
    assert metrics.qoverpt_iqr(tracks) == pytest.approx(0.2, rel=1e-3)
    assert metrics.qoverpt_std(tracks) == pytest.approx(0.2, rel=1e-3)
    # A shifted normal: |rho| is folded normal with location 0.05 / 0.2.
    assert metrics.qoverpt_r68(tracks) == pytest.approx(
        stats.foldnorm.ppf(0.6827, 0.25, scale=0.2), rel=1e-3
    )
    assert metrics.eta_abs68(tracks) == pytest.approx(0.3, rel=1e-3)
    assert metrics.eta_core(tracks) == pytest.approx(0.3, rel=1e-3)
    assert metrics.eta_rmse(tracks) == pytest.approx(0.3, rel=1e-3)
    for name in ("phi_abs68", "phi_core", "phi_rmse"):
        assert METRICS[name].function(tracks) == pytest.approx(0.01, rel=1e-3)
    # A truncated normal is stable where its cut is 3 of its own deviations.
    cut = 2.95
    for _ in range(100):
        cut = 3 * stats.truncnorm.std(-cut, cut)
    assert metrics.qoverpt_iterative_rms(tracks) == pytest.approx(0.2 * cut / 3, rel=1e-3)
    assert metrics.qoverpt_iterative_cut(tracks) == pytest.approx(2 * stats.norm.sf(cut), rel=0.02)


UNCERTAINTY = [
    f"{of}_{what}" for what in ("pull_r68", "coverage") for of in ("eta", "phi", "qoverpt")
]


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_pulls_and_coverage_of_a_normal_distribution(factor: float) -> None:
    """Uncertainties that are ``factor`` times the deviation of normal errors."""
    n = 200_001
    z = stats.norm.ppf((np.arange(n) + 0.5) / n)
    tracks = dataclasses.replace(
        toy(kappa=list(0.1 + 0.02 * z), eta=list(0.3 * z), phi=list(np.pi - 0.01 * z)),
        phi_true=np.full(n, -np.pi),
        eta_sigma=np.full(n, 0.3 * factor),
        phi_sigma=np.full(n, 0.01 * factor),
        kappa_sigma=np.full(n, 0.02 * factor),
    )
    result = evaluate(tracks, UNCERTAINTY)
    covered = stats.norm.cdf(factor) - stats.norm.cdf(-factor)
    for name, value in result.items():
        expected = 1 / factor if name.endswith("r68") else covered
        assert value == pytest.approx(expected, rel=1e-3), name


def test_tracks_without_an_uncertainty_have_no_metrics_of_it() -> None:
    tracks = make_tracks(50)
    assert not {*UNCERTAINTY} & evaluate(tracks).keys()
    assert all(math.isnan(value) for value in evaluate(tracks, UNCERTAINTY).values())
    sigmas = {f"{of}_sigma": np.ones(50) for of in ("eta", "phi", "kappa")}
    known = dataclasses.replace(tracks, **sigmas)
    assert evaluate(known).keys() == METRICS.keys()
    sigmas["eta_sigma"][3] = np.nan
    result = evaluate(dataclasses.replace(tracks, **sigmas), UNCERTAINTY)
    assert {name for name, value in result.items() if math.isnan(value)} == {
        "eta_pull_r68",
        "eta_coverage",
    }


def test_sagitta_bias_of_a_shift_in_kappa_and_of_a_scale_error() -> None:
    tracks = make_tracks()
    kappa_true = tracks.q_true / tracks.pt_true
    shifted = dataclasses.replace(tracks, kappa=kappa_true + 0.4e-3)
    for name in ("sagitta_bias", "sagitta_bias_plus", "sagitta_bias_minus"):
        assert METRICS[name].function(shifted) == pytest.approx(0.4)  # 1/TeV
    scaled = dataclasses.replace(tracks, kappa=1.1 * kappa_true)
    assert metrics.sagitta_bias_plus(scaled) > 0 > metrics.sagitta_bias_minus(scaled)
    assert metrics.scale_bias(scaled) == pytest.approx(0.1)


def test_momentum_errors_by_hand() -> None:
    tracks = toy(pt=[7.0, 10.0, 14.0])
    assert metrics.pt_rmse(tracks) == pytest.approx(5 / math.sqrt(3))
    low, high = np.quantile([-0.3, 0.0, 0.4], [0.15865, 0.84135])
    assert metrics.pt_core(tracks) == pytest.approx((high - low) / 2)


def test_charge_by_hand() -> None:
    tracks = toy(q_true=[1.0, 1.0, -1.0, -1.0], charge=[0.3, 0.0, -0.1, 0.2])
    assert metrics.charge_misid(tracks) == 0.5  # exactly zero counts as wrong
    assert metrics.charge_auc(tracks) == 0.75


def test_charge_flip_is_an_outlier_at_minus_two() -> None:
    tracks = toy(kappa=[-0.1, 0.1, 0.16, 0.15])
    np.testing.assert_allclose(tracks.rho, [-2.0, 0.0, 0.6, 0.5], atol=1e-12)
    assert metrics.outlier_fraction(tracks) == 0.5
    assert metrics.clip_fraction(toy(clipped=[True, False, False, False])) == 0.25


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 1.0]), st.integers(-5, 5)), min_size=2, max_size=40)
)
def test_auc_is_mann_whitney(pairs: list[tuple[float, int]]) -> None:
    q = np.array([pair[0] for pair in pairs])
    charge = np.array([float(pair[1]) for pair in pairs])
    auc = metrics.charge_auc(toy(q_true=list(q), charge=list(charge)))
    plus, minus = charge[q > 0], charge[q < 0]
    if not len(plus) or not len(minus):
        assert math.isnan(auc)
    else:
        u = stats.mannwhitneyu(plus, minus, method="asymptotic", nan_policy="raise").statistic
        assert auc == pytest.approx(u / (len(plus) * len(minus)))


def test_phi_error_is_wrapped() -> None:
    tracks = toy(phi_true=[np.pi - 0.01], phi=[-np.pi + 0.01])
    assert metrics.phi_rmse(tracks) == pytest.approx(0.02)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_relative_metrics_do_not_know_the_momentum_unit(factor: float, seed: int) -> None:
    tracks = make_tracks(60, seed)
    other = dataclasses.replace(
        tracks,
        pt=tracks.pt * factor,
        pt_true=tracks.pt_true * factor,
        kappa=tracks.kappa / factor,
    )
    before, after = evaluate(tracks), evaluate(other)
    for name in ("qoverpt_r68", "qoverpt_core", "pt_core", "scale_bias", "charge_misid"):
        assert after[name] == pytest.approx(before[name], rel=1e-9)
    assert after["pt_rmse"] == pytest.approx(factor * before["pt_rmse"])
    assert after["sagitta_bias"] == pytest.approx(before["sagitta_bias"] / factor, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100))
def test_metrics_do_not_know_the_order_or_the_charge_convention(seed: int) -> None:
    tracks = make_tracks(60, seed)
    shuffled = tracks.take(np.random.default_rng(seed).permutation(len(tracks)))
    assert evaluate(shuffled) == pytest.approx(evaluate(tracks))
    mirrored = dataclasses.replace(
        tracks, q_true=-tracks.q_true, kappa=-tracks.kappa, charge=-tracks.charge
    )
    before, after = evaluate(tracks), evaluate(mirrored)
    assert after["sagitta_bias_plus"] == pytest.approx(-before["sagitta_bias_minus"])
    for name in ("qoverpt_r68", "charge_misid", "charge_auc", "outlier_fraction"):
        assert after[name] == pytest.approx(before[name])


def test_nan_never_flatters() -> None:
    tracks = toy(kappa=[np.nan, 0.1], charge=[np.nan, 1.0])
    result = evaluate(tracks)
    assert result["charge_misid"] == result["outlier_fraction"] == 0.5
    assert math.isnan(result["qoverpt_r68"])
    assert math.isnan(result["qoverpt_iterative_rms"])


def test_bad_input() -> None:
    with pytest.raises(UserError, match="qoverpt_r86; known: qoverpt_r68"):
        evaluate(make_tracks(4), ["qoverpt_r86"])
    tracks = make_tracks(4)
    with pytest.raises(ValueError, match=r"Tracks.eta has shape \(3,\)"):
        dataclasses.replace(tracks, eta=tracks.eta[:3])
