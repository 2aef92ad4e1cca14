"""A grid as a queue: killed anywhere, every member is there once, with all that belongs to it."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headsweep.identity import member_key
from headsweep.store.outcome import Outcome
from headsweep.store.runs import read_results, write_job
from headsweep.sweep.grid_queue import LOOK_AHEAD, Entry, GridQueue
from headsweep.sweep.queue import NoTask, Task
from helpers.killable import Hand, Killed, World, world, write_result

RETRIES = 2
FAILED = Outcome("failed", "broken data")


def entries(jobs: int, seeds: int = 2) -> list[Entry]:
    return [Entry(n, [f"k={n}"], f"key{n}", list(range(seeds))) for n in range(jobs)]


class Worker:
    """Takes a job, trains what it lacks, hands it in, each when it is told to."""

    def __init__(self, here: World, jobs: Sequence[Entry], elsewhere: bool = False) -> None:
        self.hand: Hand = here.leases(elsewhere)
        self.queue = GridQueue(here.folder, jobs, self.hand.leases, RETRIES)
        self.task: Task | None = None

    def take(self) -> Task:
        task = self.queue.take()
        assert isinstance(task, Task)
        self.task = task
        return task

    def train(self) -> list[int]:
        """Write the attempt's folder as ``stack.train_together`` does."""
        assert self.task is not None
        task, entry = self.task, self.queue.entries[self.task.number]
        missing = self.queue.missing(task.number)
        assert missing
        write_job(task.folder, {"seeds": len(missing)}, {"job_key": entry.key})
        for seed in missing:
            write_result(task.folder / f"seed_{seed}", member_key(entry.key, seed))
        return missing

    def finish(self) -> bool:
        self.train()
        return self.hand_in(Outcome("complete"))

    def hand_in(self, outcome: Outcome) -> bool:
        assert self.task is not None
        task, self.task = self.task, None
        return self.queue.hand_in(task, outcome)


def run(here: World, jobs: Sequence[Entry]) -> None:
    worker = Worker(here, jobs)
    for _ in range(20 * len(jobs)):
        match worker.queue.take():
            case NoTask.DONE:
                return
            case NoTask.WAIT:
                here.clock.now += 61
            case Task() as task:
                worker.task = task
                assert worker.finish()
    raise AssertionError("the grid does not end")


def check_whole(here: World, jobs: Sequence[Entry]) -> None:
    for number, entry in enumerate(jobs):
        folder = here.folder / "jobs" / str(number)
        keys = {seed: result["member_key"] for seed, result in read_results(folder).items()}
        assert keys == {seed: member_key(entry.key, seed) for seed in entry.seeds}
        assert (folder / "job.json").exists()
        assert (folder / "config.yaml").exists()
        assert Outcome.read(folder) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "finish", "finish", "die", "give back", "collect"]),
        st.integers(0, 2),
        st.none() | st.integers(0, 40),
    ),
    min_size=5,
    max_size=30,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_kills_anywhere_leave_every_member_once(steps: list[tuple[str, int, int | None]]) -> None:
    jobs = entries(3)
    with world() as here:
        workers = [Worker(here, jobs, elsewhere=place == 1) for place in range(3)]
        done: set[int] = set()
        for action, place, fuse in steps:
            worker = workers[place]
            try:
                with here.fuse.lit(fuse):
                    match action:
                        case "take" if worker.task is None:
                            task = worker.queue.take()
                            if isinstance(task, Task):
                                assert task.number not in done
                                worker.task = task
                        case "finish" if worker.task is not None:
                            number = worker.task.number
                            assert worker.finish()
                            done.add(number)
                        case "give back" if worker.task is not None:
                            worker.queue.give_back(worker.task)
                            worker.task = None
                        case "collect":
                            worker.queue.collect()
                        case "die":
                            raise Killed
            except Killed:
                worker.hand.die()
                workers[place] = Worker(here, jobs, elsewhere=place == 1)
        for worker in workers:
            worker.hand.die()
        run(here, jobs)
        check_whole(here, jobs)
        last = Worker(here, jobs).queue
        here.clock.now += 61
        last.collect()
        here.clock.now += 61
        last.collect()
        assert not list((here.folder / "leases").glob("*.json"))
        assert not list((here.folder / "attempts").glob("*"))


def test_jobs_are_given_in_order_each_to_one() -> None:
    jobs = entries(2)
    with world() as here:
        first, second, third = (Worker(here, jobs) for _ in range(3))
        assert [first.take().number, second.take().number] == [0, 1]
        assert third.queue.take() is NoTask.WAIT
        assert first.task is not None
        assert first.task.overrides == ["k=0"]
        assert first.finish()
        assert third.queue.take() is NoTask.WAIT
        second.hand.die()
        assert third.take().number == 1
        assert third.finish()
        assert first.queue.take() is third.queue.take() is NoTask.DONE
        check_whole(here, jobs)


def test_more_seeds_train_only_what_is_missing() -> None:
    with world() as here:
        run(here, entries(2, seeds=2))
        longer = entries(2, seeds=5)
        worker = Worker(here, longer)
        assert worker.queue.missing(0) == [2, 3, 4]
        worker.take()
        assert worker.train() == [2, 3, 4]
        assert worker.hand_in(Outcome("complete"))
        run(here, longer)
        check_whole(here, longer)


def test_who_wants_fewer_seeds_takes_no_lease_from_who_wants_more() -> None:
    with world() as here:
        run(here, entries(1, seeds=1))
        long, short = Worker(here, entries(1, seeds=2)), Worker(here, entries(1, seeds=1))
        long.take()
        short.queue.collect()
        assert short.queue.take() is NoTask.DONE
        assert long.finish()


def test_a_grid_that_has_ended_runs_nothing_again() -> None:
    with world() as here:
        run(here, entries(3))
        assert Worker(here, entries(3)).queue.take() is NoTask.DONE


def test_members_of_another_job_do_not_pass_for_this_ones() -> None:
    with world() as here:
        run(here, entries(1))
        other = [Entry(0, ["k=9"], "key9", [0, 1, 2])]
        write_result(here.folder / "jobs/0/seed_1", member_key("key9", 1))
        queue = Worker(here, other).queue
        assert queue.missing(0) == [0, 2]
        run(here, other)
        check_whole(here, other)


def test_a_stale_worker_discards_its_result() -> None:
    jobs = entries(1)
    with world() as here:
        stale, other = Worker(here, jobs, elsewhere=True), Worker(here, jobs)
        stale.take()
        assert other.queue.take() is NoTask.WAIT
        here.clock.now += 61
        assert other.take().lease.attempt == 2
        stale.train()
        assert not stale.hand_in(Outcome("complete"))
        assert not (here.folder / "jobs").exists()
        assert other.finish()


def test_a_job_that_kills_its_workers_fails_and_is_tried_again_by_the_next_command() -> None:
    jobs = entries(2)
    with world() as here:
        for deaths in range(RETRIES + 1):
            worker = Worker(here, jobs)
            task = worker.take()
            assert (task.number, task.lease.deaths) == (0, deaths)
            worker.train()
            worker.hand.die(alone=True)
            Worker(here, jobs).queue.collect()
        outcome = Outcome.read(here.folder / "jobs/0")
        assert outcome is not None
        assert " 3 times" in str(outcome.reason)
        assert not list((here.folder / "attempts").glob("*"))
        run(here, jobs)
        assert not read_results(here.folder / "jobs/0")
        again = Worker(here, jobs)
        again.queue.reset()
        task = again.take()
        assert (task.number, task.lease.attempt, task.lease.deaths) == (0, 1, 0)
        assert again.finish()
        check_whole(here, jobs)


def test_a_command_that_dies_with_its_workers_counts_nothing() -> None:
    jobs = entries(1)
    with world() as here:
        for _ in range(RETRIES + 3):
            worker = Worker(here, jobs)
            assert worker.take().lease.deaths == 0
            worker.hand.die()
        run(here, jobs)
        check_whole(here, jobs)


def test_a_job_that_is_whole_does_not_fail_by_a_death_after_it() -> None:
    jobs = entries(1, seeds=1)
    with world() as here:
        for _ in range(RETRIES):
            worker = Worker(here, jobs)
            worker.take()
            worker.hand.die(alone=True)
            Worker(here, jobs).queue.collect()
        worker = Worker(here, jobs)
        worker.take()
        worker.train()
        with pytest.raises(Killed), here.fuse.when(lambda: not worker.queue.missing(0)):
            worker.hand_in(Outcome("complete"))
        worker.hand.die(alone=True)
        assert list((here.folder / "leases").iterdir())
        Worker(here, jobs).queue.collect()
        check_whole(here, jobs)
        for folder in ("leases", "attempts"):
            assert not list((here.folder / folder).iterdir())


def test_an_attempt_that_fails_leaves_its_reason_until_the_next_command() -> None:
    jobs = entries(2)
    with world() as here:
        worker = Worker(here, jobs)
        task = worker.take()
        task.folder.mkdir(parents=True)
        (task.folder / "traceback.txt").write_text("why")
        assert worker.hand_in(FAILED)
        assert Outcome.read(here.folder / "jobs/0") == FAILED
        assert (here.folder / "jobs/0/traceback.txt").read_text() == "why"
        other = Worker(here, jobs)
        other.take()
        Worker(here, jobs).queue.reset()  # beside one that is at work
        assert Outcome.read(here.folder / "jobs/0") == FAILED
        assert other.finish()
        assert worker.queue.take() is NoTask.DONE
        again = Worker(here, jobs)
        again.queue.reset()
        assert again.take().number == 0


def test_given_back_is_no_death() -> None:
    jobs = entries(1)
    with world() as here:
        worker = Worker(here, jobs)
        for attempt in (1, 2, 3, 4):
            lease = worker.take().lease
            assert (lease.attempt, lease.deaths) == (attempt, 0)
            assert worker.task is not None
            worker.queue.give_back(worker.task)
        run(here, jobs)


def test_folders_of_attempts_are_their_own() -> None:
    jobs = entries(1)
    with world() as here:
        folders = set()
        for _ in range(3):
            worker = Worker(here, jobs)
            folder = worker.take().folder
            worker.train()
            folders.add(folder)
            assert list((here.folder / "attempts").iterdir()) == [folder]
            worker.hand.die()
        assert {folder.name for folder in folders} == {"0-1", "0-2", "0-3"}


def test_a_stack_takes_what_fits_and_ended_nothing() -> None:
    """Not a job whose worker died with it, nor one that was put back to be trained alone."""
    jobs = entries(6)
    with world() as here:
        worker, other = Worker(here, jobs), Worker(here, jobs)
        assert worker.take().number == 0
        assert other.take().number == 1
        other.hand.die(alone=True)
        worker.queue.collect()
        broken = worker.queue.take(lambda overrides: overrides == ["k=2"])
        assert isinstance(broken, Task)
        worker.queue.give_back(broken, alone=True)
        assert worker.queue.side_by_side(4) == 4
        assert worker.queue.side_by_side(10) == 6

        found = []
        while isinstance(task := worker.queue.take(lambda overrides: overrides != ["k=4"]), Task):
            found.append(task.number)
        assert found == [3, 5]
        assert task is NoTask.WAIT

        rest = [worker.take() for _ in range(3)]
        assert [task.number for task in rest] == [1, 2, 4]
        assert [task.lease.stacks for task in rest] == [False, False, True]


def test_a_stack_looks_at_some_jobs_only() -> None:
    asked: list[list[str]] = []

    def fits(overrides: list[str]) -> bool:
        asked.append(overrides)
        return False

    with world() as here:
        queue = Worker(here, entries(LOOK_AHEAD + 5)).queue
        assert queue.take(fits) is NoTask.WAIT
    assert len(asked) == LOOK_AHEAD
