"""Outcomes of the jobs of a sweep, and the best trials of a search."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from headsweep.files import read_sealed, write_sealed
from headsweep.store.paths import OUTCOME

COUNTS = ("params_total",)
"""Objectives that are known without training."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial, or of a job that could not be trained.

    Attributes:
        state: ``complete``, ``pruned`` or ``failed``.
        reason: Reason why it did not complete.
        values: Of each objective, the mean over the seeds.
        spread: Its standard deviation over the seeds (ddof 1), of each objective.
        seeds: Value of each objective for each seed.
        intermediate: Mean over the seeds of the first objective at the evaluations, by step.
        params: Values that the search chose, by key.
        attrs: Notes of its sampler and pruner.
        distributions: Distribution of each of ``params``, in Optuna's plain form.
        point: Hash of its configuration; trials of one point differ in their seeds only.
        notes: What a search space of the user's own has noted of the trial.
        origin: What the trial is, where no sampler has chosen it, such as ``head=simpler``.
    """

    state: str
    reason: str | None = None
    values: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    seeds: dict[int, list[float]] = field(default_factory=dict)
    intermediate: dict[int, float] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, Any] = field(default_factory=dict)
    point: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    def write(self, folder: Path) -> None:
        """Put it into a job folder."""
        write_sealed(folder / OUTCOME, asdict(self), bound=_number(folder))

    @classmethod
    def read(cls, folder: Path) -> "Outcome | None":
        """The outcome in a job folder, if there is one.

        Raises:
            DamagedError: It is damaged, or the outcome of another job.
        """
        values = read_sealed(folder / OUTCOME, bound=_number(folder))
        if values is None:
            return None
        for name in ("seeds", "intermediate"):
            values[name] = {int(key): value for key, value in values[name].items()}
        return cls(**values)


def _number(folder: Path) -> str:
    """Number of the job that a folder ``jobs/3`` or ``attempts/3-1`` is of."""
    return folder.name.partition("-")[0]


def pooled(outcomes: Mapping[int, Outcome]) -> dict[int, Outcome]:
    """Outcomes with one complete trial for each point: the first, with the seeds of all others.

    Its values are the means over all these seeds.
    """
    groups: dict[str, list[int]] = {}
    for number, outcome in sorted(outcomes.items()):
        if outcome.state == "complete" and outcome.point and outcome.seeds:
            groups.setdefault(outcome.point, []).append(number)
    found = dict(outcomes)
    for first, *others in groups.values():
        if others:
            found[first] = _together([outcomes[number] for number in (first, *others)])
            for number in others:
                del found[number]
    return found


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    seeds = {seed: values for outcome in outcomes for seed, values in outcome.seeds.items()}
    counts = [len(outcome.seeds) for outcome in outcomes]
    columns = zip(*(outcome.values for outcome in outcomes), strict=True)
    values = [
        sum(n * value for n, value in zip(counts, column, strict=True)) / sum(counts)
        for column in columns
    ]
    searched = [list(column) for column in zip(*seeds.values(), strict=True)]
    spread = [statistics.stdev(column) for column in searched[: len(values)]]
    spread += [0.0] * (len(values) - len(spread))  # of a count that was added later
    return replace(outcomes[0], values=values, spread=spread, seeds=seeds)


def best_trials(outcomes: Mapping[int, Outcome], directions: Sequence[str]) -> list[int]:
    """Numbers of the complete trials, best first; of several objectives only the Pareto front.

    Of several trials of one point only the first is among them, with the mean over all seeds.

    Args:
        outcomes: Of the finished trials.
        directions: ``minimize`` or ``maximize`` for each objective.
    """
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    costs = {
        number: [sign * value for sign, value in zip(signs, outcome.values, strict=True)]
        for number, outcome in pooled(outcomes).items()
        if outcome.state == "complete"
    }

    ranked = sorted(costs, key=lambda number: (costs[number], number))
    if len(signs) == 1:
        return ranked
    front: list[int] = []
    for number in ranked:  # whichever beats a trial comes before it
        if not any(_beats(costs[other], costs[number]) for other in front):
            front.append(number)
    return front


def _beats(cost: Sequence[float], other: Sequence[float]) -> bool:
    """True if no cost is larger and one is smaller."""
    return cost != other and all(a <= b for a, b in zip(cost, other, strict=True))
