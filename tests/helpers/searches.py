"""A small search, whose trials are trained by hand."""

from typing import Any

from optuna.distributions import FloatDistribution

from headsweep.store.outcome import Outcome
from headsweep.store.runs import write_progress
from headsweep.sweep.queue import Task
from headsweep.sweep.search.queue import SearchQueue, tell
from headsweep.sweep.search.rules import Search
from helpers.killable import World
from helpers.toy_search import compose

SEARCH = Search(
    space={"optim.lr": FloatDistribution(0.0, 1.0)},
    fixed=[],
    objectives=["val_qoverpt_r68"],
    sampler={"_target_": "optuna.samplers.RandomSampler"},
    pruner=None,
    custom=None,
    seed=0,
    lag=0,
    n_trials=4,
    max_failures=2,
    storage=None,
)


def open_queue(here: World, search: Search = SEARCH) -> SearchQueue:
    return SearchQueue(here.folder, search, here.leases().leases, 2, compose)


def take(queue: SearchQueue) -> Task:
    task = queue.take()
    assert isinstance(task, Task)
    return task


def end(task: Task, state: str = "complete") -> Outcome:
    """Train, with the learning rate for a result."""
    assert task.trial is not None
    params: dict[str, Any] = dict(task.trial.params)
    values = [params["optim.lr"]] if state == "complete" else []
    attrs = tell(task.trial, state, values)
    write_progress(task.folder, {"step": 5, "steps": 10, "val": None})
    reason = None if state == "complete" else "broken data"
    return Outcome(state, reason, values, params=params, attrs=attrs)


def work(queue: SearchQueue, trials: int, state: str = "complete") -> None:
    for _ in range(trials):
        task = take(queue)
        assert queue.hand_in(task, end(task, state))
