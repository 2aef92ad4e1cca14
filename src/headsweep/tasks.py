"""What a worker takes and hands in, whether the jobs come from a list or from a search."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from headsweep.leases import Lease
from headsweep.store import sync_folder, write_atomic

if TYPE_CHECKING:
    from optuna.trial import Trial

OUTCOME = "outcome.json"
"""In a job folder: how its trial ended, or why a job of a grid could not be trained."""

COUNTS = ("params_total",)
"""Objectives that are known without training."""


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


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: ``complete``, ``pruned`` or ``failed``.
        reason: Why it did not complete.
        values: Of each objective, the mean over the seeds.
        spread: Its standard deviation over the seeds (ddof 1), of each objective.
        seeds: Value of each objective for each seed.
        intermediate: Mean over the seeds of the first objective at the evaluations, by step.
        params: What the search chose.
        attrs: What its sampler and pruner noted.
    """

    state: str
    reason: str | None = None
    values: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    seeds: dict[int, list[float]] = field(default_factory=dict)
    intermediate: dict[int, float] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into a job folder."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        write_atomic(folder / OUTCOME, text.encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> "Outcome | None":
        """The outcome in a job folder, if there is one."""
        try:
            values: dict[str, Any] = orjson.loads((folder / OUTCOME).read_bytes())
        except FileNotFoundError:
            return None
        for name in ("seeds", "intermediate"):
            values[name] = {int(key): value for key, value in values[name].items()}
        return cls(**values)


def best_trials(outcomes: Mapping[int, Outcome], directions: Sequence[str]) -> list[int]:
    """Numbers of the complete trials, best first; of several objectives only the Pareto front.

    Args:
        outcomes: Of the finished trials.
        directions: ``minimize`` or ``maximize`` for each objective.
    """
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    costs = {
        number: [sign * value for sign, value in zip(signs, outcome.values, strict=True)]
        for number, outcome in outcomes.items()
        if outcome.state == "complete"
    }

    ranked = sorted(costs, key=lambda number: (costs[number], number))
    if len(signs) == 1:
        return ranked
    front: list[int] = []
    for number in ranked:  # what beats a trial comes before it
        if not any(_beats(costs[other], costs[number]) for other in front):
            front.append(number)
    return front


def _beats(cost: Sequence[float], other: Sequence[float]) -> bool:
    return cost != other and all(a <= b for a, b in zip(cost, other, strict=True))


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
