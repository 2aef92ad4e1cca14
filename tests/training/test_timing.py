"""The expected time of a job: real steps of the real update, scaled to the budget."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from headsweep.config import MLPHeadConfig, OptimConfig, PoolingConfig
from headsweep.training import timing
from headsweep.training.builder import population_builder
from headsweep.training.loss import Loss
from headsweep.training.timing import OVERHEAD, TIMED_STEPS, estimate_seconds

BUILD = population_builder(
    {"pooling": asdict(PoolingConfig()), "head": asdict(MLPHeadConfig())}, 5, 4, 4
)


def estimate(optim: OptimConfig) -> float:
    return estimate_seconds(
        BUILD, [0, 1], 5, 4, Loss.unfitted({"target": {"name": "plain"}}), optim
    )


def test_the_median_step_times_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which the steps take 9 (the kernel is loaded), then 1, 2, 3, 4 and 20 s."""
    durations = [9.0, 1.0, 2.0, 3.0, 4.0, 20.0]
    assert len(durations) == TIMED_STEPS + 1
    ticks = iter([t for d in durations for t in (0.0, d)])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert estimate(OptimConfig(steps=100, batch_size=8)) == pytest.approx(3.0 * 100 * OVERHEAD)


def test_a_real_estimate_is_a_time_above_zero() -> None:
    assert 0 < estimate(OptimConfig(steps=1, batch_size=8)) < 60
