"""Command lines that tests run: the fixture ``command`` of conftest.py, and small trainings."""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from headsweep import cli
from headsweep.sweep import worker
from headsweep.sweep.worker_pool import WorkerPool

Command = Callable[..., tuple[int, str, str]]
"""Takes the arguments of ``headsweep``; gives its exit code, stdout and stderr."""

SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false", "rates=tuned"),
    *("optim.steps=4", "optim.batch_size=16", "workers=1"),
]
"""Overrides of a training that takes less than a second."""


def times(folder: Path) -> dict[Path, int]:
    """Time of writing of every file of every member."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("seed_*/*")}


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Let commands train in this process, without the seconds that a worker takes to start.

    For tests of what comes after a training. Real workers are tested in tests/sweep and
    tests/system/test_kills.py.
    """

    def run(pool: WorkerPool) -> None:
        hydra = GlobalHydra.instance()
        command = hydra.hydra
        hydra.clear()  # a process has one, and here it is the worker's for a while
        try:
            with pool.leases.attended():
                worker.work(pool.order, threading.Event())
        finally:
            hydra.hydra = command

    patch.setattr(WorkerPool, "run", run)


def run_here(folder: Path, *arguments: str) -> None:
    """Run ``headsweep`` in a folder, with its workers in this process; it must end well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; this takes it back
        patch.setattr(sys, "argv", ["headsweep", *arguments])
        work_here(patch)
        with pytest.raises(SystemExit) as caught:
            cli.main()
    logging.disable(logging.NOTSET)
    assert not caught.value.code
