"""Facts of the scored tracks."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.features import cache
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


@given(counts=st.lists(st.integers(0, 5), max_size=40), rows=st.integers(1, 200), data=st.data())
@settings(max_examples=50)
def test_stations_are_counted_in_parts_of_any_size(
    counts: list[int], rows: int, data: st.DataObject
) -> None:
    """Against the set of the values of each track."""
    total = sum(counts)
    values = data.draw(st.lists(st.sampled_from([-1.0, 0.1, 0.3]), min_size=total, max_size=total))
    ends = np.cumsum([0, *counts]).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "ROWS", 32 * rows // 10)
        found = count_stations(features(values, ends), ["x", "stationIndex"])
    assert found is not None
    assert found.tolist() == [len({*values[a:b]}) for a, b in pairwise(ends)]
