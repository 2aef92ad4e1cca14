"""One search on one task with a budget of epochs: ours through ``Search.replica``, peers plain."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol

import optuna
from lcbench import EPOCHS, SPACE, Surrogate
from optuna.trial import FrozenTrial, Trial, TrialState

from headsweep.sweep.search.queue import tell
from headsweep.sweep.search.rules import Search

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

BUDGET = 60 * EPOCHS
"""Epochs of one search: sixty whole trainings."""

TPE: dict[str, Any] = {"_target_": "optuna.samplers.TPESampler"}
RANDOM: dict[str, Any] = {"_target_": "optuna.samplers.RandomSampler"}
MEDIAN: dict[str, Any] = {"_target_": "optuna.pruners.MedianPruner"}
PERCENTILE: dict[str, Any] = {"_target_": "optuna.pruners.PercentilePruner"}
ASHA: dict[str, Any] = {"_target_": "optuna.pruners.SuccessiveHalvingPruner"}


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        name: For the tables.
        sampler: ``_target_`` and arguments, without the seed.
        pruner: The same; None for none.
        lag: Ours with this lag; None for Optuna's own study, one trial after the other.
    """

    name: str
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None = None
    lag: int | None = None


@dataclass(frozen=True)
class Result:
    """What a search came to.

    Attributes:
        regret: Of the recommended configuration: among the trials that completed all epochs, the
            one with the lowest last value.
        epochs: Spent in all.
        begun: Trials begun.
        complete: Trials that completed all epochs.
    """

    regret: float
    epochs: int
    begun: int
    complete: int


class Source(Protocol):
    """Gives trials, and is told what came of them."""

    def ask(self) -> Trial:
        """The next trial, with its parameters chosen."""

    def tell(self, trial: Trial, state: str, values: list[float] | None) -> None:
        """Take over a finished trial."""


class Ours:
    """Headsweep's rules: trial k is decided in a replica that knows those below k - lag."""

    def __init__(self, method: Method, seed: int) -> None:
        assert method.lag is not None
        self.search = Search(
            space=SPACE,
            fixed=[],
            objectives=["val_loss"],
            sampler=method.sampler,
            pruner=method.pruner,
            custom=None,
            seed=seed,
            lag=method.lag,
            n_trials=BUDGET,
            max_failures=None,
            storage=None,
        )
        self.trials: list[FrozenTrial] = []

    def ask(self) -> Trial:
        """A replica's trial."""
        trial: Trial = self.search.replica(len(self.trials), self.trials)
        self.search.suggest(trial, _no_configuration)
        return trial

    def tell(self, trial: Trial, state: str, values: list[float] | None) -> None:
        """Keep it for the replicas to come."""
        tell(trial, state, values)
        self.trials.append(trial.study.get_trials(deepcopy=False)[-1])


class Plain:
    """Optuna's own study in memory."""

    def __init__(self, method: Method, seed: int) -> None:
        self.study = optuna.create_study(
            sampler=_make(method.sampler, seed=seed),
            pruner=optuna.pruners.NopPruner() if method.pruner is None else _make(method.pruner),
        )

    def ask(self) -> Trial:
        """A trial of the study."""
        return self.study.ask(SPACE)

    def tell(self, trial: Trial, state: str, values: list[float] | None) -> None:
        """Tell the study."""
        self.study.tell(trial, values, state=TrialState[state.upper()])


def play(
    method: Method, surrogate: Surrogate, task: str, seed: int, budget: int = BUDGET
) -> Result:
    """Search until the budget is spent; a trial that it cuts off is spent in vain.

    The next trial begins when the one before has ended. With a lag this still shows what parallel
    workers would find: decisions depend only on which trials are known, not on when they ran.
    """
    number = seed * 1_000_000 + int(task)
    source: Source = Plain(method, number) if method.lag is None else Ours(method, number)
    spent, begun, complete = 0, 0, []
    while spent < budget:
        trial = source.ask()
        begun += 1
        curve = surrogate.curve(task, trial.params)
        epochs, pruned = EPOCHS, False
        if method.pruner is not None:
            epochs, pruned = _train(trial, curve[: budget - spent])
        if spent + epochs > budget or (epochs < EPOCHS and not pruned):
            spent = budget
            break
        spent += epochs
        source.tell(trial, "pruned" if pruned else "complete", None if pruned else [curve[-1]])
        if not pruned:
            complete.append(curve[-1])
    regret = surrogate.reference(task).regret(min(complete)) if complete else math.inf
    return Result(regret, spent, begun, len(complete))


def _train(trial: Trial, curve: list[float]) -> tuple[int, bool]:
    """Report every epoch and ask whether to go on: epochs trained, and whether it was pruned."""
    for epoch, value in enumerate(curve, 1):
        trial.report(value, epoch)
        if trial.should_prune():
            return epoch, True
    return len(curve), False


def _make(node: Mapping[str, Any], **more: Any) -> Any:
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    return resolve_name(node["_target_"])(**arguments, **more)


def _no_configuration(_: object) -> Any:
    raise AssertionError("the space has no key that depends on another")
