"""Metrics of a member's curves, of made-up ones whose values are known."""

import math

import pandas as pd
import pytest

from headsweep.training.record import Log


def test_metrics_of_known_curves() -> None:
    """A validation loss that falls from 2 to 1 along a line, and one spike in the training loss."""
    losses = [1.0 + 0.1 * math.sin(step) for step in range(200)]
    losses[150] = 50.0
    log = Log(losses=losses, norms=[3.0] * 200)
    curve = pd.DataFrame({"step": [0, 100, 200], "train_loss": [2.0, 1.6, 1.1]})
    found = log.curve_metrics(curve.assign(val_loss=[2.0, 1.5, 1.0]))
    assert found == {
        "train_loss": 1.1,
        "last_val_loss": 1.0,
        "steps_to_95": pytest.approx(0.95),
        "loss_at_10pct": pytest.approx(1.9),
        "grad_norm_cv": 0.0,
        "loss_spikes": pytest.approx(1000 / 200),
    }
