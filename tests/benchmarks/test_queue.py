"""The benchmark of the queue: two workers empty a grid and a search, and all tasks are counted."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/queue"))

import takes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["grid", "journal"])
def test_all_tasks_are_handed_in_once(kind: str) -> None:
    rate, used = takes.measure(kind, tasks=4, workers=2, storage=None)
    assert rate > 0
    assert used > 0
