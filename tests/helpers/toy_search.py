"""A search without any training: its rules, its outcomes, its workers, and Optuna's own account.

The reference is Optuna itself in a plain loop, which knows nothing of our queue.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial

from headsweep.config import MLPHeadConfig
from headsweep.identity import stable_hash
from headsweep.store.outcome import Outcome
from headsweep.sweep.compose import Sweep, loaded_sweep
from headsweep.sweep.leases import Leases
from headsweep.sweep.queue import NoTask, Task
from headsweep.sweep.search.mirror import STATES
from headsweep.sweep.search.queue import SearchQueue, tell
from headsweep.sweep.search.reading import read_search
from headsweep.sweep.search.rules import Given, Search
from helpers.killable import World

LAYERS, WIDTH, DROPOUT, RATE = (
    "head.regression_num_layers",
    "head.regression_hidden_dim",
    "head.dropout",
    "optim.lr",
)
SPACE = {
    WIDTH: IntDistribution(8, 64, log=True),
    LAYERS: IntDistribution(1, 3),
    DROPOUT: FloatDistribution(0.0, 0.4),
    RATE: FloatDistribution(1e-3, 1e-1, log=True),
}
OF_TPE = {"n_startup_trials": 2, "n_ei_candidates": 4, "constant_liar": False}
TPE = {"_target_": "optuna.samplers.TPESampler", **OF_TPE}
RANDOM = {"_target_": "optuna.samplers.RandomSampler"}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}
FIRST = (
    Given("head=two", {LAYERS: 2, RATE: 0.01, WIDTH: 16, DROPOUT: 0.1}),
    Given("head=one", {LAYERS: 1, RATE: 0.02}),
)
SEED = 7
TRIALS = 9
Row = tuple[int, str, dict[str, Any], list[float] | None, dict[int, float]]


def make_search(**more: Any) -> Search:
    """Rules of a search of nine trials by TPE, with a pruner."""
    values = {
        "space": SPACE,
        "fixed": ["seeds=1"],
        "objectives": ["val_loss"],
        "sampler": TPE,
        "pruner": MEDIAN,
        "custom": None,
        "seed": SEED,
        "lag": 2,
        "n_trials": TRIALS,
        "max_failures": None,
        "storage": None,
    }
    return Search(**(values | more))


def compose(overrides: Sequence[str]) -> Mapping[str, Any]:
    """As much of a configuration as decides which parameters a trial has."""
    values = dict(override.split("=") for override in overrides)
    layers = int(values.get(LAYERS, 3))
    head = {"_target_": MLPHeadConfig._target_, "regression_num_layers": layers}
    return resolved(values, head)


def resolved(values: Mapping[str, Any], head: Mapping[str, Any]) -> Mapping[str, Any]:
    """As much of a configuration as an identity is made of."""
    data = {"source": {}, "split": {"folds": None}, "selection": {"min_stations": 0}}
    return {
        "head": head,
        "data": data,
        "backbone": {},
        "features": {"name": "document"},
        "pooling": {"projection": "linear"},
        "target": {"standardise": True},
        "optim": {k: v for k, v in values.items() if k not in ("seed", "seeds", "optim.ignored")},
        "seed": int(values.get("seed", 0)),
        "seeds": int(values.get("seeds", 1)),
    }


def judge(trial: Trial, number: int) -> tuple[str, list[float], dict[int, float]]:
    """Train: state, values and intermediate values follow from the number and the parameters."""
    chance, curve = random.Random(stable_hash([number, trial.params])), {}
    if chance.random() < 0.2:
        return "failed", [], {}
    for step in (10, 20, 30):
        curve[step] = (
            trial.params.get(RATE, 0.0) + trial.params.get(DROPOUT, 0.2) + chance.random() / step
        )
        trial.report(curve[step], step)
        if trial.should_prune():
            return "pruned", [curve[step]], curve
    return "complete", [curve[30]], curve


def train(task: Task) -> Outcome:
    """What a worker does with a task; the folder says who ran in it."""
    assert task.trial is not None
    task.folder.mkdir(parents=True)
    assert task.lease.worker is not None
    (task.folder / f"run-{task.lease.worker.pid}-{task.lease.attempt}").touch()
    state, values, curve = judge(task.trial, task.number)
    attrs = tell(task.trial, state, values)
    reason = None if state == "complete" else state
    params = dict(task.trial.params)
    return Outcome(state, reason, values, intermediate=curve, params=params, attrs=attrs)


@lru_cache
def uninterrupted(
    lag: int, sampler: type, n_trials: int = TRIALS, first: bool = False
) -> list[Row]:
    """The same search by Optuna alone, one trial after the other."""
    trials: list[FrozenTrial] = []
    for number in range(n_trials):
        more = OF_TPE if sampler is TPESampler else {}
        study = optuna.create_study(
            sampler=sampler(seed=int(stable_hash([SEED, number], 8), 16), **more),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )
        study.add_trials(trials[: max(number - lag, 0)])
        if first and number < len(FIRST):
            study.enqueue_trial(FIRST[number].params)
        trial = study.ask()
        layers = trial.suggest_int(LAYERS, 1, 3)
        trial.suggest_float(RATE, 1e-3, 1e-1, log=True)
        if layers > 1:
            trial.suggest_int(WIDTH, 8, 64, log=True)
            trial.suggest_float(DROPOUT, 0.0, 0.4)
        state, values, _ = judge(trial, number)
        given = values if state == "complete" else None
        trials.append(study.tell(trial, given, state=STATES[state]))
    return rows(trials)


def rows(trials: Sequence[FrozenTrial]) -> list[Row]:
    """What is compared of each trial."""
    return [
        (number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for number, trial in enumerate(trials)
    ]


def stored(folder: Path) -> list[Row]:
    """What Optuna itself finds in the journal."""
    backend = JournalFileBackend(str(folder / "journal.log"))
    study = optuna.load_study(study_name=folder.name, storage=JournalStorage(backend))
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    return rows(study.trials)


def in_folders(folder: Path) -> list[Row]:
    """The same, from the folders of the trials, each of which one run has written."""
    found = []
    for number in range(len(list((folder / "jobs").iterdir()))):
        job = folder / "jobs" / str(number)
        assert len(list(job.glob("run-*"))) == 1
        outcome = Outcome.read(job)
        assert outcome is not None
        state, values = STATES[outcome.state].name, outcome.values or None
        found.append((number, state, outcome.params, values, outcome.intermediate))
    return found


SWEPT_RATE = "optim.lr=interval(0.001,0.1)"


@lru_cache
def composed() -> Sweep:
    """A composed sweep, whose configuration of the sweeper tests change."""
    with loaded_sweep(["name=s", "data=tiny", "hydra.sweeper.n_trials=5"], None) as sweep:
        return sweep


def read(
    *arguments: str, explicit: Sequence[str] = (), pruner: bool = True, **sweeper: Any
) -> Search:
    """The search of some overrides, with keys of the sweeper set as a command line would."""
    node = composed().master.hydra.sweeper.copy()
    for key, value in sweeper.items():
        node[key] = value
    if not pruner:
        node.pruner = {"_target_": "optuna.pruners.NopPruner"}
    return read_search(
        node, [SWEPT_RATE, *arguments], explicit, lambda values: composed().compose(values).resolved
    )


class Worker:
    """A worker of our own making: it takes, trains and hands in when it is told to.

    Args:
        here: Where the search is.
        search: Its rules.
        elsewhere: For a worker on another host.
        max_retries: As of ``SearchQueue``.
        train: What is made of a task.
    """

    def __init__(
        self,
        here: World,
        search: Search,
        elsewhere: bool = False,
        max_retries: int = 1000,
        train: Callable[[Task], Outcome] = train,
    ) -> None:
        self.here, self.hand = here, here.leases(elsewhere)
        self.max_retries, self.train = max_retries, train
        self.task: Task | None = None
        self.open(search)

    def open(self, search: Search) -> None:
        """See the search as a new process would."""
        mine = self.hand.leases
        leases = Leases(self.here.folder, mine.worker, mine.command, self.here.clock)
        self.queue = SearchQueue(self.here.folder, search, leases, self.max_retries, compose)

    def take(self) -> Task | NoTask:
        found = self.queue.take()
        if isinstance(found, Task):
            assert not (self.here.folder / f"jobs/{found.number}/outcome.json").exists()
            self.task = found
        return found

    def begin(self) -> Task:
        """Take a task, where there must be one."""
        found = self.take()
        assert isinstance(found, Task)
        return found

    def finish(self) -> bool:
        assert self.task is not None
        task, self.task = self.task, None
        return self.queue.hand_in(task, self.train(task))

    def work(self) -> None:
        """Until nothing is left; what is waited for is dead, and elsewhere it takes a silence."""
        for _ in range(20 * TRIALS):
            match self.take():
                case NoTask.DONE:
                    return
                case NoTask.WAIT:
                    self.here.clock.now += 61
                case _:
                    assert self.finish()
        raise AssertionError("the search does not end")


def run(here: World, search: Search, **more: Any) -> None:
    """Let one more worker end a search; ``more`` as of ``Worker``."""
    Worker(here, search, **more).work()
