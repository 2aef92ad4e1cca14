"""A search as a queue: killed anywhere, at any number of workers, it ends as if nothing had been.

The reference is Optuna itself in a plain loop, which knows nothing of our queue.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.identity import stable_hash
from headsweep.store.outcome import Outcome
from headsweep.sweep.leases import Leases
from headsweep.sweep.queue import NoTask, Task
from headsweep.sweep.search.queue import STATES, SearchQueue, tell
from headsweep.sweep.search.rules import Search
from helpers.killable import Killed, World, world

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
TPE = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 2, "n_ei_candidates": 4}
RANDOM = {"_target_": "optuna.samplers.RandomSampler"}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}
SEED = 7
TRIALS = 9
Row = tuple[int, str, dict[str, Any], list[float] | None, dict[int, float]]


def make_search(**more: Any) -> Search:
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
    values = dict(override.split("=") for override in overrides)
    layers = int(values.get(LAYERS, 3))
    return {"head": {"_target_": MLPHeadConfig._target_, "regression_num_layers": layers}}


def judge(trial: Trial, number: int) -> tuple[str, list[float], dict[int, float]]:
    """Train: state, values and intermediate values follow from the number and the parameters."""
    chance, curve = random.Random(stable_hash([number, trial.params])), {}
    if chance.random() < 0.2:
        return "failed", [], {}
    for step in (10, 20, 30):
        curve[step] = trial.params[RATE] + trial.params.get(DROPOUT, 0.2) + chance.random() / step
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
def uninterrupted(lag: int, sampler: type, n_trials: int = TRIALS) -> list[Row]:
    """The same search by Optuna alone, one trial after the other."""
    trials: list[FrozenTrial] = []
    for number in range(n_trials):
        more = {"n_startup_trials": 2, "n_ei_candidates": 4} if sampler is TPESampler else {}
        study = optuna.create_study(
            sampler=sampler(seed=int(stable_hash([SEED, number], 8), 16), **more),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
        )
        study.add_trials(trials[: max(number - lag, 0)])
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


class Worker:
    """A worker of our own making: it takes, trains and hands in when it is told to."""

    train = staticmethod(train)

    def __init__(self, here: World, search: Search, elsewhere: bool = False) -> None:
        self.here, self.hand = here, here.leases(elsewhere)
        self.task: Task | None = None
        self.open(search)

    def open(self, search: Search) -> None:
        """See the search as a new process would."""
        hand = self.hand
        leases = Leases(self.here.folder, hand.leases.worker, hand.leases.command)
        self.queue = SearchQueue(self.here.folder, search, leases, 1000, compose)

    def take(self) -> Task | NoTask:
        found = self.queue.take()
        if isinstance(found, Task):
            assert not (self.here.folder / f"jobs/{found.number}/outcome.json").exists()
            self.task = found
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


def run(here: World, search: Search) -> None:
    Worker(here, search).work()


ACTIONS = (
    *("take", "take", "take", "finish", "finish", "finish", "die", "die", "die alone"),
    *("open", "open longer", "collect", "beat", "silence", "give back"),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4), st.none() | st.integers(0, 14)),
    min_size=8,
    max_size=50,
)


class Interleaving:
    """Workers of which any may be killed in whatever it does; later a new one takes its place."""

    def __init__(self, here: World, search: Search) -> None:
        self.here, self.short = here, replace(search, n_trials=TRIALS // 2)
        self.search = search
        self.workers: list[Worker | None] = [None] * (search.lag + 1)
        self.accepted: Counter[int] = Counter()
        self.stale = False

    def step(self, action: str, place: int, fuse: int | None) -> None:
        place %= len(self.workers)
        try:
            with self.here.fuse.lit(fuse):
                worker = self.workers[place]
                if worker is None:
                    worker = Worker(self.here, self.short, elsewhere=place % 3 == 1)
                    self.workers[place] = worker
                self.act(action, worker)
        except Killed:
            self.kill(place)

    def kill(self, place: int, alone: bool = False) -> None:
        if (worker := self.workers[place]) is not None:
            worker.hand.die(alone)
        self.workers[place] = None

    def act(self, action: str, worker: Worker) -> None:
        here, task = self.here, worker.task
        match action:
            case "take" if task is None:
                found = worker.take()
                if isinstance(found, Task):
                    self.check(found)
            case "finish" if task is not None:
                self.stale |= not worker.queue.leases.is_mine(task.lease)
                self.accepted[task.number] += worker.finish()
            case "give back" if task is not None:
                worker.queue.give_back(task)
                worker.task = None
            case "die" | "die alone":
                self.kill(self.workers.index(worker), alone=action == "die alone")
            case "open":
                worker.open(worker.queue.search)
            case "open longer":
                worker.open(self.search)
            case "collect":
                worker.queue.collect()
            case "beat" if task is not None:
                worker.queue.leases.beat(task.lease)
            case "silence":
                here.clock.now += 61

    def check(self, task: Task) -> None:
        """Only a worker that others elsewhere must take for dead may hold the same trial."""
        for other in self.workers:
            if other is None or other.task is None or other.task is task:
                continue
            if other.task.number == task.number:
                assert not other.queue.leases.is_mine(other.task.lease)
                assert other.hand.leases.worker.host == "elsewhere"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, lag=st.integers(0, 4), tpe=st.booleans())
def test_kills_anywhere_change_nothing(
    steps: list[tuple[str, int, int | None]], lag: int, tpe: bool
) -> None:
    search = make_search(lag=lag, sampler=TPE if tpe else RANDOM)
    with world() as here:
        among = Interleaving(here, search)
        for step in steps:
            among.step(*step)
        for place in range(lag + 1):
            among.kill(place)
        run(here, search)
        expected = uninterrupted(lag, TPESampler if tpe else RandomSampler)
        assert stored(here.folder) == expected
        assert in_folders(here.folder) == expected
        assert max(among.accepted.values(), default=0) <= 1
        assert not list((here.folder / "leases").glob("*"))
        # A stale worker may die before it has removed what nobody wants.
        assert among.stale or not list((here.folder / "attempts").glob("*"))


def test_optuna_alone_makes_the_same_search_without_a_lag() -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    for number in range(6):
        seed = int(stable_hash([SEED, number], 8), 16)
        study.sampler = TPESampler(seed=seed, n_startup_trials=2, n_ei_candidates=4)
        trial = study.ask()
        if trial.suggest_int(LAYERS, 1, 3) > 1:
            trial.suggest_float(RATE, 1e-3, 1e-1, log=True)
            trial.suggest_int(WIDTH, 8, 64, log=True)
            trial.suggest_float(DROPOUT, 0.0, 0.4)
        else:
            trial.suggest_float(RATE, 1e-3, 1e-1, log=True)
        state, values, _ = judge(trial, number)
        study.tell(trial, values if state == "complete" else None, state=STATES[state])
    with world() as here:
        run(here, make_search(lag=0, n_trials=6))
        assert stored(here.folder) == rows(study.trials)


def test_a_database_holds_the_same_search() -> None:
    with world() as here:
        path = here.folder / "trials.db"
        search = make_search(n_trials=5, storage=f"sqlite:///{path}")
        run(here, search)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        study = optuna.load_study(study_name=None, storage=storage)
        assert rows(study.trials) == uninterrupted(2, TPESampler)[:5]
        assert not (here.folder / "journal.log").exists()
        storage.engine.dispose()
        Worker(here, search).queue.storage.optuna.engine.dispose()


def test_no_number_is_given_twice_and_nobody_runs_ahead() -> None:
    with world() as here:
        first, *others = (Worker(here, make_search(lag=2)) for _ in range(4))
        taken = [worker.take() for worker in (first, *others)]
        assert [task.number for task in taken[:3] if isinstance(task, Task)] == [0, 1, 2]
        assert taken[3] is NoTask.WAIT
        assert others[0].finish()
        assert others[2].take() is NoTask.WAIT  # trial 3 wants to know trial 0
        assert first.finish()
        found = others[2].take()
        assert isinstance(found, Task)
        assert found.number == 3


def test_who_waits_for_the_last_trial_gets_it_when_its_worker_dies() -> None:
    with world() as here:
        first, second = (Worker(here, make_search(n_trials=1)) for _ in range(2))
        begun = first.take()
        assert isinstance(begun, Task)
        assert second.take() is NoTask.WAIT
        first.hand.die()
        again = second.take()
        assert isinstance(again, Task)
        assert (again.number, again.lease.attempt) == (0, 2)
        assert again.trial is not None
        assert begun.trial is not None
        assert again.trial.params == begun.trial.params
        assert second.finish()
        assert first.take() is second.take() is NoTask.DONE


def test_a_stale_worker_discards_its_result() -> None:
    with world() as here:
        stale, other = Worker(here, make_search(), elsewhere=True), Worker(here, make_search())
        task = stale.take()
        assert isinstance(task, Task)
        other.queue.collect()  # sees it for the first time
        here.clock.now += 61
        again = other.take()
        assert isinstance(again, Task)
        assert again.number == task.number == 0
        assert not stale.queue.leases.beat(task.lease)
        stale.queue.give_back(task)  # does not take it from the other
        assert not stale.finish()
        assert not (here.folder / "jobs").exists()
        assert other.finish()
        assert in_folders(here.folder) == uninterrupted(2, TPESampler)[:1]


def test_a_worker_elsewhere_that_beats_keeps_its_trial() -> None:
    with world() as here:
        far, other = Worker(here, make_search(lag=0), elsewhere=True), Worker(here, make_search())
        task = far.take()
        assert isinstance(task, Task)
        for _ in range(5):
            other.queue.collect()
            here.clock.now += 40
            assert far.queue.leases.beat(task.lease)
        assert far.finish()


def test_deaths_count_only_while_the_command_lives() -> None:
    with world() as here:
        search = make_search(n_trials=1)
        for alone in (True, False, True, False):
            worker = Worker(here, search)
            worker.queue.max_retries = 2
            task = worker.take()
            assert isinstance(task, Task)
            task.folder.mkdir(parents=True)
            worker.hand.die(alone)
        last = Worker(here, search)
        last.queue.max_retries = 2
        task = last.take()
        assert isinstance(task, Task)
        assert task.lease.deaths == 2
        assert task.lease.attempt == 5
        last.hand.die(alone=True)
        command = Worker(here, search)
        command.queue.max_retries = 2
        command.queue.collect()
        (row,) = stored(here.folder)
        assert task.trial is not None
        assert row == (0, "FAIL", task.trial.params, None, {})
        outcome = Outcome.read(here.folder / "jobs/0")
        assert outcome is not None
        assert "killed 3 times" in str(outcome.reason)
        assert outcome.params == task.trial.params
        assert command.take() is NoTask.DONE
        assert not list((here.folder / "attempts").glob("*"))


def test_a_trial_that_had_ended_does_not_fail_by_a_death_after_it() -> None:
    with world() as here:
        search = make_search(n_trials=1)
        worker = Worker(here, search)
        worker.queue.max_retries = 0
        task = worker.take()
        assert isinstance(task, Task)
        found = train(task)
        with pytest.raises(Killed), here.fuse.lit(4):
            worker.queue.hand_in(task, found)
        assert Outcome.read(here.folder / "jobs/0") == found
        assert [trial.state for trial in worker.queue.trials()] == [TrialState.RUNNING]
        worker.hand.die(alone=True)
        command = Worker(here, search)
        command.queue.max_retries = 0
        command.queue.collect()
        assert stored(here.folder) == in_folders(here.folder) == uninterrupted(2, TPESampler)[:1]


def test_a_trial_that_was_given_back_is_no_death() -> None:
    with world() as here:
        worker = Worker(here, make_search())
        for attempt in (1, 2, 3):
            task = worker.take()
            assert isinstance(task, Task)
            assert (task.number, task.lease.attempt, task.lease.deaths) == (0, attempt, 0)
            worker.queue.give_back(task)
        assert [trial.state for trial in worker.queue.trials()] == [TrialState.WAITING]


@pytest.mark.parametrize("lost", ["all", "end"])
def test_what_the_storage_has_lost_is_told_again_from_the_folders(lost: str) -> None:
    with world() as here:
        search = make_search(n_trials=5)
        run(here, search)
        journal = here.folder / "journal.log"
        if lost == "all":
            journal.unlink()
        else:
            journal.write_bytes(journal.read_bytes()[: journal.stat().st_size * 2 // 3])
        worker = Worker(here, search)
        assert worker.take() is NoTask.DONE
        assert stored(here.folder) == in_folders(here.folder) == uninterrupted(2, TPESampler)[:5]


def fail(task: Task) -> Outcome:
    assert task.trial is not None
    task.folder.mkdir(parents=True)
    attrs = tell(task.trial, "failed", None)
    return Outcome("failed", "broken data", params=dict(task.trial.params), attrs=attrs)


@pytest.mark.parametrize("lag", [0, 2])
def test_five_failures_in_a_row_stop_a_search(lag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "train", staticmethod(fail))
    with world() as here:
        search = make_search(lag=lag, max_failures=5, n_trials=12)
        run(here, search)
        assert [row[1] for row in stored(here.folder)] == ["FAIL"] * (5 + lag)
        looking = Worker(here, search).queue  # as the command does, which takes nothing
        assert looking.broken() == "trials 0 to 4 failed, 5 in a row"
        on = replace(search, max_failures=None, n_trials=10)
        run(here, on)
        assert len(stored(here.folder)) == 10
        assert Worker(here, on).queue.broken() is None


def test_other_parameters_for_a_trial_that_was_begun_are_an_error() -> None:
    with world() as here:
        worker = Worker(here, make_search())
        task = worker.take()
        assert isinstance(task, Task)
        worker.queue.give_back(task)
        with pytest.raises(UserError, match=r"trial 0 was begun with .* name=s-2"):
            Worker(here, make_search(seed=8)).take()


def test_a_users_code_that_fails_leaves_no_lease() -> None:
    with world() as here:
        worker = Worker(here, make_search(custom="headsweep.sweep.search.rules.no_such_function"))
        with pytest.raises((AttributeError, ImportError)):
            worker.take()
        assert worker.queue.leases.all() == []
        assert worker.queue.trials() == []


def test_a_trial_brings_what_its_seeds_said() -> None:
    with world() as here:
        worker = Worker(here, make_search(objectives=["val_loss", "params_total"], pruner=None))
        task = worker.take()
        assert isinstance(task, Task)
        assert task.trial is not None
        task.folder.mkdir(parents=True)
        attrs = tell(task.trial, "complete", [0.5, 100])
        outcome = Outcome(
            "complete",
            values=[0.5, 100],
            spread=[0.1, 0.0],
            seeds={3: [0.4, 100], 4: [0.6, 100]},
            params=dict(task.trial.params),
            attrs=attrs,
        )
        assert worker.queue.hand_in(task, outcome)
        (trial,) = worker.queue.trials()
        assert trial.values == [0.5, 100]
        assert trial.user_attrs == {
            "spread": [0.1, 0.0],
            "seeds": {"3": [0.4, 100], "4": [0.6, 100]},
        }
        assert Outcome.read(here.folder / "jobs/0") == outcome
