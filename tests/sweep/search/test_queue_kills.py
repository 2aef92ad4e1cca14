"""A search whose workers are killed anywhere ends as if nothing had been."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState

from headsweep.store.outcome import Outcome
from headsweep.sweep.queue import NoTask, Task
from headsweep.sweep.search.rules import Search
from helpers.killable import Killed, World, world
from helpers.toy_search import (
    FIRST,
    RANDOM,
    TPE,
    TRIALS,
    Worker,
    in_folders,
    make_search,
    run,
    stored,
    train,
    uninterrupted,
)

ACTIONS = (
    *("take", "take", "take", "finish", "finish", "finish", "die", "die", "die alone"),
    *("open", "open longer", "collect", "beat", "silence", "give back"),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4), st.none() | st.integers(0, 30)),
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


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, lag=st.integers(0, 4), tpe=st.booleans(), first=st.booleans())
def test_kills_anywhere_change_nothing(
    steps: list[tuple[str, int, int | None]], lag: int, tpe: bool, first: bool
) -> None:
    search = make_search(lag=lag, sampler=TPE if tpe else RANDOM, first=FIRST if first else ())
    with world() as here:
        among = Interleaving(here, search)
        for step in steps:
            among.step(*step)
        for place in range(lag + 1):
            among.kill(place)
        run(here, search)
        expected = uninterrupted(lag, TPESampler if tpe else RandomSampler, first=first)
        assert stored(here.folder) == expected
        assert in_folders(here.folder) == expected
        assert max(among.accepted.values(), default=0) <= 1
        assert not list((here.folder / "leases").glob("*.json"))
        # A stale worker may die before it has removed what nobody wants.
        assert among.stale or not list((here.folder / "attempts").glob("*"))


def test_who_waits_for_the_last_trial_gets_it_when_its_worker_dies() -> None:
    with world() as here:
        first, second = (Worker(here, make_search(n_trials=1)) for _ in range(2))
        begun = first.begin()
        assert second.take() is NoTask.WAIT
        first.hand.die()
        again = second.begin()
        assert (again.number, again.lease.attempt) == (0, 2)
        assert again.trial is not None
        assert begun.trial is not None
        assert again.trial.params == begun.trial.params
        assert second.finish()
        assert first.take() is second.take() is NoTask.DONE


def test_a_stale_worker_discards_its_result() -> None:
    with world() as here:
        stale, other = Worker(here, make_search(), elsewhere=True), Worker(here, make_search())
        task = stale.begin()
        other.queue.collect()  # sees it for the first time
        here.clock.now += 61
        again = other.begin()
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
        task = far.begin()
        for _ in range(5):
            other.queue.collect()
            here.clock.now += 40
            assert far.queue.leases.beat(task.lease)
        assert far.finish()


def test_deaths_count_only_while_the_command_lives() -> None:
    with world() as here:
        search = make_search(n_trials=1)
        for alone in (True, False, True, False):
            worker = Worker(here, search, max_retries=2)
            task = worker.begin()
            task.folder.mkdir(parents=True)
            worker.hand.die(alone)
        last = Worker(here, search, max_retries=2)
        task = last.begin()
        assert task.lease.deaths == 2
        assert task.lease.attempt == 5
        last.hand.die(alone=True)
        command = Worker(here, search, max_retries=2)
        command.queue.collect()
        (row,) = stored(here.folder)
        assert task.trial is not None
        assert row == (0, "FAIL", task.trial.params, None, {})
        outcome = Outcome.read(here.folder / "jobs/0")
        assert outcome is not None
        assert " 3 times" in str(outcome.reason)
        assert outcome.params == task.trial.params
        assert command.take() is NoTask.DONE
        assert not list((here.folder / "attempts").glob("*"))


def test_a_trial_that_had_ended_does_not_fail_by_a_death_after_it() -> None:
    with world() as here:
        search = make_search(n_trials=1)
        worker = Worker(here, search, max_retries=0)
        task = worker.begin()
        found = train(task)
        job = here.folder / "jobs/0"
        with pytest.raises(Killed), here.fuse.when(lambda: Outcome.read(job) is not None):
            worker.queue.hand_in(task, found)
        outcome = Outcome.read(job)
        assert outcome is not None
        assert (outcome.values, outcome.params) == (found.values, found.params)
        assert [trial.state for trial in worker.queue.trials()] == [TrialState.RUNNING]
        worker.hand.die(alone=True)
        command = Worker(here, search, max_retries=0)
        command.queue.collect()
        assert stored(here.folder) == in_folders(here.folder) == uninterrupted(2, TPESampler)[:1]


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
