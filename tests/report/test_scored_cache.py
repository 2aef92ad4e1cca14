"""Facts of the scored tracks."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from headsweep.report.scored_cache import count_stations


def features(station: list[float], offsets: list[int]) -> Any:
    class Some(SimpleNamespace):
        def __len__(self) -> int:
            return len(offsets) - 1

    raw = np.stack([np.zeros(len(station)), station], axis=1).astype(np.float32)
    return Some(raw=raw, offsets=np.array(offsets))


def test_stations_with_assigned_hits() -> None:
    found = count_stations(
        features([0.1, 0.1, 0.3, -1.0, 0.1, 0.3], [0, 3, 3, 4, 6]), ["x", "stationIndex"]
    )
    assert found is not None
    assert found.tolist() == [2, 0, 1, 2]
    assert count_stations(features([], [0, 0]), ["x", "stationIndex"]) == [0]
    assert count_stations(features([0.1], [0, 1]), ["x", "layer"]) is None
