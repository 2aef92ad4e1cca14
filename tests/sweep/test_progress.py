"""Progress of a single run and of a grid, as read from their folders."""

from dataclasses import replace
from pathlib import Path

import pytest

from headsweep.identity import member_key
from headsweep.store.outcome import Outcome
from headsweep.store.runs import write_progress
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.progress import GridProgress, JobProgress, running
from headsweep.terminal import State
from helpers.killable import world, write_result


@pytest.fixture
def jobs(tmp_path: Path) -> list[JobProgress]:
    """Three jobs of two seeds: one done, one half-way in its second seed, one not begun."""
    found = [JobProgress(tmp_path / str(n), range(2), f"key{n}") for n in range(3)]
    for job, seeds in ((0, (0, 1)), (1, (0,))):
        for seed in seeds:
            write_result(tmp_path / f"{job}/seed_{seed}", member_key(f"key{job}", seed))
    progress = {"phase": "training", "step": 50, "steps": 100, "seeds": [1], "val": 0.25}
    write_progress(tmp_path / "1", progress | {"started": 100.0, "updated": 200.0})
    return found


def test_state(jobs: list[JobProgress]) -> None:
    running = ["run: step 50 of 100, val r68 0.250"]
    assert jobs[0].state(since=150.0) == State("2 of 2 members done", 1.0, [])
    assert jobs[1].state(since=150.0) == State("1 of 2 members done", 0.75, running)
    before = "run: loads PyTorch and its features, builds its heads"
    assert jobs[2].state(since=150.0) == State("0 of 2 members done", 0.0, [before])


def test_results_of_another_job_are_not_done(jobs: list[JobProgress]) -> None:
    assert jobs[0].done() == 2
    assert replace(jobs[0], job_key="other").done() == 0


def test_progress_of_an_earlier_run_does_not_count(jobs: list[JobProgress]) -> None:
    looked = jobs[1].state(since=300.0)
    assert (looked.summary, looked.share) == ("1 of 2 members done", 0.5)


def test_what_runs_is_shown_with_its_share() -> None:
    with world() as here:
        assert running(here.folder) == []
        progress = {"step": 3, "steps": 12, "val": None}
        write_progress(here.folder / "attempts/7-2", progress)
        (here.folder / "attempts/8-1").mkdir()
        assert running(here.folder) == [(7, 0.25, progress)]


def test_the_state_of_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Entry(n, [f"k={n}"], f"key{n}", [0, 1]) for n in range(3)]
    with world() as here:
        for seed in (0, 1):
            write_result(here.folder / f"jobs/0/seed_{seed}", member_key("key0", seed))
        write_result(here.folder / "jobs/1/seed_1", member_key("key1", 1))
        grid = GridQueue(here.folder, jobs, here.leases().leases, 2)
        state = GridProgress(grid, {0: "a", 1: "b", 2: ""})
        assert state.left() == 2
        start = "workers start: each loads PyTorch and compiles its kernels"
        assert state.state().running == [start]
        worker = here.leases().leases
        with worker.lock():
            worker.claim(2)
        assert state.state().running == ["job 2: loads PyTorch and its features, builds its heads"]
        write_progress(here.folder / "attempts/1-1", {"step": 5, "steps": 10, "val": None})
        looked = state.state()
        assert looked.summary == "1 of 3 jobs, 3 of 6 members done"
        assert looked.share == (3 + 0.5) / 6
        assert looked.running[0] == "job 1 b: step 5 of 10"
        Outcome("failed", "no memory").write(here.folder / "jobs/2")
        assert state.words() == "3 of 6 members are done, 3 of them were there before"
        assert state.conclude() == 1
        assert capsys.readouterr().err.startswith("job 2 : no memory\n")
