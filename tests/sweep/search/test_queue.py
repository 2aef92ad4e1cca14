"""A search as a queue: which trials it gives to whom, and what it tells Optuna of them."""

import re
from dataclasses import replace

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from headsweep.errors import UserError
from headsweep.identity import stable_hash
from headsweep.store.outcome import Outcome
from headsweep.sweep.queue import NoTask, Task
from headsweep.sweep.search.queue import STATES, tell
from helpers.killable import world
from helpers.toy_search import (
    DROPOUT,
    LAYERS,
    RATE,
    SEED,
    WIDTH,
    Worker,
    judge,
    make_search,
    rows,
    run,
    stored,
    uninterrupted,
)


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
        found = others[2].begin()
        assert found.number == 3


def test_a_trial_that_was_given_back_is_no_death() -> None:
    with world() as here:
        worker = Worker(here, make_search())
        for attempt in (1, 2, 3):
            task = worker.begin()
            assert (task.number, task.lease.attempt, task.lease.deaths) == (0, attempt, 0)
            worker.queue.give_back(task)
        assert [trial.state for trial in worker.queue.trials()] == [TrialState.WAITING]


def fail(task: Task) -> Outcome:
    """Instead of a training."""
    assert task.trial is not None
    task.folder.mkdir(parents=True)
    attrs = tell(task.trial, "failed", None)
    return Outcome("failed", "broken data", params=dict(task.trial.params), attrs=attrs)


@pytest.mark.parametrize("lag", [0, 2])
def test_five_failures_in_a_row_stop_a_search(lag: int) -> None:
    with world() as here:
        search = make_search(lag=lag, max_failures=5, n_trials=12)
        run(here, search, train=fail)
        assert [row[1] for row in stored(here.folder)] == ["FAIL"] * (5 + lag)
        looking = Worker(here, search).queue  # as the command does, which takes nothing
        assert re.findall(r"\d+", looking.broken() or "") == ["0", "4", "5"]
        on = replace(search, max_failures=None, n_trials=10)
        run(here, on, train=fail)
        assert len(stored(here.folder)) == 10
        assert Worker(here, on).queue.broken() is None


def test_other_parameters_for_a_trial_that_was_begun_are_an_error() -> None:
    with world() as here:
        worker = Worker(here, make_search())
        task = worker.begin()
        worker.queue.give_back(task)
        with pytest.raises(UserError, match=r"trial 0 .* name=s-2"):
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
        task = worker.begin()
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
