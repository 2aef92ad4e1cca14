"""Command lines that tests run: the fixture ``command`` of conftest.py, and small trainings."""

from collections.abc import Callable
from pathlib import Path

Command = Callable[..., tuple[int, str, str]]
"""Takes the arguments of ``headsweep``; gives its exit code, stdout and stderr."""

SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false"),
    *("optim.steps=4", "optim.batch_size=16", "workers=1"),
]
"""Overrides of a training that takes less than a second."""


def times(folder: Path) -> dict[Path, int]:
    """Time of writing of every file of every member."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("seed_*/*")}
