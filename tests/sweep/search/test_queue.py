"""A search as a queue: which trials it gives to whom, and what it tells Optuna of them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from headsweep.errors import UserError
from headsweep.identity import stable_hash
from headsweep.instantiate import allow
from headsweep.store.outcome import Outcome
from headsweep.sweep.plan import make_plan
from headsweep.sweep.queue import NoTask, Task, move
from headsweep.sweep.search import queue
from headsweep.sweep.search.mirror import STATES
from headsweep.sweep.search.queue import tell
from helpers.killable import world
from helpers.toy_search import (
    DROPOUT,
    FIRST,
    LAYERS,
    RANDOM,
    RATE,
    SEED,
    WIDTH,
    Worker,
    compose,
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


def test_first_trials_are_those_that_optuna_enqueues() -> None:
    with world() as here:
        run(here, make_search(lag=1, first=FIRST))
        expected = uninterrupted(1, TPESampler, first=True)
        assert [row[2] for row in expected[:2]] == [given.params for given in FIRST]
        assert stored(here.folder) == expected
        outcomes = [Outcome.read(here.folder / f"jobs/{number}") for number in range(3)]
        assert [o.origin for o in outcomes if o is not None] == ["head=two", "head=one", ""]
        assert Worker(here, make_search(lag=1, first=FIRST)).queue.storage.damage is None


def test_each_first_trial_goes_to_one_worker_and_begins_again_as_it_was() -> None:
    with world() as here:
        search = make_search(lag=4, first=FIRST)
        workers = [Worker(here, search) for _ in range(3)]
        tasks = [worker.begin() for worker in workers]
        assert [task.number for task in tasks] == [0, 1, 2]
        params = [task.trial.params for task in tasks if task.trial is not None]
        assert params[:2] == [given.params for given in FIRST]
        assert params[2] not in params[:2]
        workers[1].hand.die()
        again = Worker(here, search).begin()
        assert again.trial is not None
        assert (again.number, again.trial.params) == (1, params[1])


def test_an_outcome_that_is_deleted_at_once_is_told_and_trained_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world() as here:
        worker = Worker(here, make_search(n_trials=2))
        worker.begin()

        def lose(source: Path, target: Path) -> None:
            move(source, target)
            (target / "outcome.json").unlink()

        with monkeypatch.context() as patched:
            patched.setattr(queue, "move", lose)
            assert worker.finish()
        run(here, make_search(n_trials=2))
        assert stored(here.folder) == uninterrupted(2, TPESampler, 2)


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


SMALL = {WIDTH: CategoricalDistribution(["null", "64"])}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_point_that_was_tried_gets_new_seeds(workers: int) -> None:
    with world() as here:
        search = make_search(space=SMALL, fixed=["seed=3", "seeds=2"], n_trials=7, sampler=RANDOM)
        others = [Worker(here, search) for _ in range(workers)]
        seeds: dict[str, list[int]] = {}
        while True:
            tasks = [worker.take() for worker in others]
            if all(task is NoTask.DONE for task in tasks):
                break
            for worker, task in zip(others, tasks, strict=True):
                if isinstance(task, Task):
                    config = compose(task.overrides)
                    seeds.setdefault(config["optim"][WIDTH], []).append(config["seed"])
                    assert worker.finish()
        assert sorted(len(found) for found in seeds.values()) == [3, 4]  # both points, again
        for found in seeds.values():
            assert found == [3 + 2 * i for i in range(len(found))]
        points = {Outcome.read(path).point for path in (here.folder / "jobs").iterdir()}
        assert len(points) == 2


def test_a_width_of_its_own_makes_no_new_point() -> None:
    """The preset's 144 is what null stands for, half of the inputs."""
    with world() as here:
        key = "head.regression_hidden_dim"
        space = {key: CategoricalDistribution(["null", "144"])}
        search = make_search(space=space, fixed=["seeds=1"], n_trials=6, sampler=RANDOM)
        worker = Worker(here, search)
        worker.queue.compose = lambda o: (
            make_plan(["data=tiny", *o], multirun=False).jobs[0].resolved
        )
        found = []
        for _ in range(6):
            found.append(worker.begin().overrides)
            assert worker.finish()
        assert {o for overrides in found for o in overrides if key in o} == {
            f"{key}=null",
            f"{key}=144",
        }
        seeds = [[o for o in overrides if o.startswith("seed=")] for overrides in found]
        assert seeds == [[], *([f"seed={n}"] for n in range(1, 6))]


def test_what_is_without_effect_makes_no_new_point() -> None:
    """Of one layer; the identity knows it, however the parameters are spelled."""
    allow(__name__)
    with world() as here:
        fixed = [f"{LAYERS}=1", "seeds=1"]
        search = make_search(space={}, fixed=fixed, custom=f"{__name__}.inert_width", n_trials=3)
        worker = Worker(here, search)
        found = []
        for _ in range(3):
            task = worker.begin()
            found.append([o for o in task.overrides if o.startswith("seed=")])
            task.folder.mkdir(parents=True)
            assert task.trial is not None
            attrs = tell(task.trial, "complete", [0.5])
            outcome = Outcome("complete", values=[0.5], attrs=attrs)
            assert worker.queue.hand_in(task, outcome)
        assert found == [[], ["seed=1"], ["seed=2"]]
        kept = Outcome.read(here.folder / "jobs/2")
        assert kept is not None
        assert kept.notes == {"mine": 2}
        assert worker.queue.trials()[2].user_attrs["mine"] == 2


def inert_width(config: Any, trial: optuna.Trial) -> None:
    trial.suggest_int("optim.ignored", 0, 10**9)
    trial.set_user_attr("mine", trial.number)


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
        with pytest.raises(UserError, match="no_such_function: fails in trial 0 "):
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
            "point": trial.user_attrs["point"],
        }
        found = Outcome.read(here.folder / "jobs/0")
        assert found is not None
        assert found == replace(
            outcome, distributions=found.distributions, point=trial.user_attrs["point"]
        )
