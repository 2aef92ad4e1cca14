"""The check of the event layer, reduced: what its intervals count, on samples that are known."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# Other benchmarks have modules of the same names, so this one is loaded by its path.
spec = importlib.util.spec_from_file_location("events", ROOT / "benchmarks/calibration/events.py")
events = importlib.util.module_from_spec(spec)
spec.loader.exec_module(events)

NAME = "qoverpt_r68"
SHARED, OWN = 0.3, 0.1
"""Deviations of a sample's value: what all members share, and what each has for itself."""


def normal_samples(n: int, true: np.ndarray, spread: float = 1.0) -> list[Any]:
    """Samples of 2 x 2 members; ``spread`` is what the resamples make of the real deviation."""
    rng = np.random.default_rng(0)

    def noise(count: int, factor: float = 1.0) -> np.ndarray:
        shared = rng.normal(0, SHARED, (count, 1))
        return factor * (shared + rng.normal(0, OWN, (count, len(true))))

    return [
        events.Scored({NAME: true + noise(1)[0]}, {NAME: true + noise(2000, spread)})
        for _ in range(n)
    ]


TRUE = np.array([0.0, 0.2, 0.5, 0.7])


def test_a_right_event_layer_covers_and_a_small_one_does_not() -> None:
    ours, apart, _ = events.fixed_seeds(normal_samples(1000, TRUE), TRUE, NAME)
    assert ours.low <= 0.95 <= ours.high
    # What both arms share does not widen the difference: the sum of both does not know that.
    assert ours.width == pytest.approx(1.96 * OWN, rel=0.05)
    both = math.sqrt(2 * (SHARED**2 + OWN**2 / 2))
    assert apart.width == pytest.approx(1.96 * both, rel=0.05)
    half, _, _ = events.fixed_seeds(normal_samples(1000, TRUE, 0.5), TRUE, NAME)
    assert half.share == pytest.approx(0.673, abs=0.05)  # +-0.98 deviations


def test_drawn_seeds_need_the_event_layer() -> None:
    samples = normal_samples(200, np.array([0.0, 0.02, 0.04, 0.1, 0.12, 0.14]))
    true = np.array([0.0, 0.02, 0.04, 0.1, 0.12, 0.14])
    ours, naive = events.drawn_seeds(samples, true, NAME, 5, 50)
    assert ours.share > 0.92
    assert ours.low < ours.share < ours.high
    assert naive.share < ours.share
    assert naive.width < ours.width


def test_parts_are_put_together() -> None:
    rng = np.random.default_rng(0)
    parts = [{name: rng.random((2, 50)) for name in events.NAMES} for _ in range(3)]
    found, tracks = events.truth(iter(parts))
    assert tracks == 150
    whole = np.concatenate([part[NAME] for part in parts], axis=1)
    assert found[NAME] == pytest.approx(np.log(np.quantile(whole, 0.6827, axis=1)))
    whole = np.concatenate([part["charge_misid"] for part in parts], axis=1)
    assert found["charge_misid"] == pytest.approx(whole.mean(axis=1))
