"""The description of a metric."""

import numpy as np

from headsweep.stats.metric import Metric
from headsweep.stats.tracks import Tracks


def test_the_head_of_its_column_has_unit_and_direction() -> None:
    metric = Metric("misid", lambda tracks: 0.0, "lower", unit="%")
    assert metric.head() == "misid [%] ↓"
    assert metric.head("wrong") == "wrong [%] ↓"
    assert metric.factor == 100
    assert Metric("a", lambda tracks: 0.0, "zero").head() == "a →0"


def test_metrics_of_an_uncertainty_need_one() -> None:
    truth = np.array([[0.1, 0.2, 5.0, 1.0]])
    tracks = Tracks.from_estimate(np.array([0]), truth, truth)
    assert Metric("a", lambda tracks: 0.0, "lower").applies(tracks)
    assert not Metric("b", lambda tracks: 0.0, "one", tables=("uncertainty",)).applies(tracks)
