"""Metrics of training curves, against numbers worked out by hand and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.stats import curves
from headsweep.stats.curves import CURVE_METRICS


def test_gap() -> None:
    assert curves.gap(0.3, 0.2) == pytest.approx(1.5)
    assert math.isnan(curves.gap(0.3, 0.0))
    assert CURVE_METRICS["gap"].better == "one"


def test_steps_by_hand() -> None:
    steps, losses = np.array([0, 100, 200, 400]), np.array([1.0, 0.5, 0.2, 0.0])
    # 95% of the way is L = 0.05, three quarters of the way from step 200 to step 400.
    assert curves.steps_to_95(steps, losses) == pytest.approx(350 / 400)
    assert curves.loss_at_10pct(steps, losses) == pytest.approx(0.8)


def test_steps_to_95_is_the_first_crossing() -> None:
    steps, losses = np.array([0, 10, 20, 30]), np.array([1.0, 0.0, 0.9, 0.0])
    assert curves.steps_to_95(steps, losses) == pytest.approx(9.5 / 30)


def test_exponential_decay() -> None:
    steps = np.arange(2001)
    losses = np.exp(-steps / 100)
    assert curves.steps_to_95(steps, losses) == pytest.approx(100 * math.log(20) / 2000, rel=1e-4)


def test_a_loss_that_does_not_fall_has_no_time() -> None:
    steps = np.array([0, 10, 20])
    for losses in ([1.0, 0.5, 1.0], [1.0, 1.0, 2.0], [1.0, 0.5, math.nan]):
        assert math.isnan(curves.steps_to_95(steps, np.array(losses)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.floats(0.01, 100), st.integers(1, 7))
def test_steps_to_95_does_not_know_units(seed: int, factor: float, stretch: int) -> None:
    rng = np.random.default_rng(seed)
    steps, losses = np.arange(20), np.append(rng.random(19) + 1, 0.5)
    expected = curves.steps_to_95(steps, losses)
    assert 0 <= expected <= 1
    assert curves.steps_to_95(steps * stretch, losses * factor) == pytest.approx(expected)


def test_gradient_noise_is_measured_beside_its_trend() -> None:
    rng = np.random.default_rng(0)
    noise = 0.2 * rng.normal(size=4000)
    trend = np.exp(-np.arange(4000) / 2000)
    assert curves.grad_norm_cv(np.exp(noise) * trend) == pytest.approx(0.2, rel=0.05)
    wild_start = np.concatenate([1e3 * np.exp(rng.normal(size=400)), np.exp(noise[400:])])
    assert curves.grad_norm_cv(wild_start) == pytest.approx(0.2, rel=0.05)
    assert curves.grad_norm_cv(np.full(300, 0.7)) == 0.0


def test_running_median_is_that_of_a_centred_window() -> None:
    norms = np.random.default_rng(3).random(333) + 0.1
    running = [np.median(norms[max(0, i - 50) : i + 51]) for i in range(333)]
    expected = np.std(np.log(norms / running)[333 // 5 :])
    assert curves.grad_norm_cv(norms) == pytest.approx(expected)


def test_loss_spikes_are_counted_once_each() -> None:
    losses = np.exp(0.05 * np.random.default_rng(0).normal(size=2000))
    assert curves.loss_spikes(losses) == 0.0
    losses[[300, 305, 315, 900, 911]] *= 5  # three within ten steps of each other, then two
    assert curves.loss_spikes(losses) == pytest.approx(3 / 2)
    losses[1500] /= 5  # a dip is no spike
    assert curves.loss_spikes(losses) == pytest.approx(3 / 2)


def test_nothing_and_nonsense_give_nan() -> None:
    empty, nothing = np.array([], dtype=np.int64), np.array([])
    assert math.isnan(curves.steps_to_95(empty, nothing))
    assert math.isnan(curves.loss_at_10pct(empty, nothing))
    for bad in (nothing, np.array([1.0, 0.0, 1.0]), np.array([1.0, math.nan])):
        assert math.isnan(curves.loss_spikes(bad))
    for bad in (nothing, np.array([1.0, 0.0]), np.array([1.0, math.inf])):
        assert math.isnan(curves.grad_norm_cv(bad))
