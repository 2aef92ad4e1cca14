"""The queue that workers take their tasks from; a grid and a search each have one."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headsweep.files import sync_folder
from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.sweep.leases import Lease

if TYPE_CHECKING:
    from optuna.trial import Trial


class NoTask(Enum):
    """Answer of a queue that has no task to give."""

    WAIT = "others still work on what comes before, or may leave work undone"
    DONE = "nothing is left"


@dataclass(frozen=True)
class Task:
    """A job to be trained.

    Attributes:
        number: Its number in the sweep.
        overrides: Those that make it from the sweep's configuration.
        folder: Where to write; becomes the job's folder when it is handed in.
        lease: The right to work on it.
        seeds: Those to train; None for all of the job.
        key: Of a grid, key of the job as the command found it.
        found: Of a grid, folders of members of the same job elsewhere, to be copied.
        trial: Of a search, Optuna's trial, which its pruner is asked with.
    """

    number: int
    overrides: list[str]
    folder: Path
    lease: Lease
    seeds: list[int] | None = None
    key: str | None = None
    found: Sequence[str] = ()
    trial: "Trial | None" = None


Fits = Callable[[list[str]], bool]
"""Whether the job of some overrides fits the stack that a worker fills."""


class Queue(Protocol):
    """Tasks of one sweep, given to workers and handed in by them."""

    def take(self, fits: Fits | None = None) -> Task | NoTask:
        """Give the next task, or say why there is none; with ``fits`` one for a stack."""
        ...

    def side_by_side(self, most: int) -> int:
        """Number of tasks that may be trained at the same time, counted up to ``most``."""
        ...

    def is_done(self) -> bool:
        """True when no task is left, and none is worked on."""
        ...

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Take over a trained task; False where another worker has the task by now."""
        ...

    def give_back(self, task: Task, alone: bool = False) -> None:
        """Put back a task that was broken off; any worker may begin it anew, perhaps alone."""
        ...

    def collect(self) -> None:
        """Requeue the tasks of dead workers; fail those that killed a worker too often."""
        ...


Compose = Callable[[list[str]], Mapping[str, Any]]
"""From the overrides of a job to its resolved configuration."""


def new_attempt(sweep: Path, lease: Lease) -> Path:
    """Folder of a new attempt at a job; those of earlier attempts are removed."""
    drop_attempts(sweep, lease.number)
    return paths.attempt_folder(sweep, lease.number, lease.attempt)


def drop_attempts(sweep: Path, number: int) -> None:
    """Remove the folders of all attempts at a job.

    A worker that lives on without its lease loses its folder here, and its result.
    """
    for job, old in paths.attempt_folders(sweep):
        if job == number:
            shutil.rmtree(old, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Give a folder its final name, in place of an older folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    os.rename(source, target)
    sync_folder(target.parent)
