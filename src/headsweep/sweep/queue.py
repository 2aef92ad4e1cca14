"""What a worker takes and hands in, whether the jobs come from a list or from a search."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headsweep.files import sync_folder
from headsweep.store.outcome import Outcome
from headsweep.sweep.leases import Lease

if TYPE_CHECKING:
    from optuna.trial import Trial


class Turn(Enum):
    """What a queue says when it has no task to give."""

    WAIT = "others still work on what comes before, or may leave work undone"
    DONE = "nothing is left"


@dataclass(frozen=True)
class Task:
    """A job to be trained.

    Attributes:
        number: Its number in the sweep.
        overrides: What tells it from the sweep's other jobs.
        folder: Where to write; becomes the job's folder when it is handed in.
        lease: The right to work on it.
        trial: Of a search, what its pruner is asked with.
    """

    number: int
    overrides: list[str]
    folder: Path
    lease: Lease
    trial: "Trial | None" = None


class Queue(Protocol):
    """Where workers get their tasks, and bring what came of them."""

    def take(self) -> Task | Turn:
        """The next task, or why there is none."""
        ...

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Take over what was trained; False where somebody else has the task by now."""
        ...

    def give_back(self, task: Task) -> None:
        """Leave a task that was broken off, to be begun anew by anybody."""
        ...

    def collect(self) -> None:
        """Requeue what dead workers left, and fail what killed them too often."""
        ...


Compose = Callable[[list[str]], Mapping[str, Any]]
"""The resolved configuration that some overrides of a sweep's jobs give."""


def attempt_folder(sweep: Path, lease: Lease) -> Path:
    """Where one attempt at a job writes; what earlier attempts left is removed."""
    drop_attempts(sweep, lease.number)
    return sweep / "attempts" / f"{lease.number}-{lease.attempt}"


def drop_attempts(sweep: Path, number: int) -> None:
    """Remove what attempts at a job have left.

    A worker that lives on without its lease loses its folder here, and its result.
    """
    for old in (sweep / "attempts").glob(f"{number}-*"):
        shutil.rmtree(old, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Give a folder its final name; what stands there is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    os.rename(source, target)
    sync_folder(target.parent)
