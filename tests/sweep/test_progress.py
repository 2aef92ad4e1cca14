"""Progress of a single run, as read from its folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headsweep.identity import member_key
from headsweep.store.runs import SCHEMA, write_progress
from headsweep.sweep.progress import JobProgress
from headsweep.terminal import State


@pytest.fixture
def jobs(tmp_path: Path) -> list[JobProgress]:
    """Three jobs of two seeds: one done, one half-way in its second seed, one not begun."""
    found = [JobProgress(tmp_path / str(n), range(2), f"key{n}") for n in range(3)]
    for job, seeds in ((0, (0, 1)), (1, (0,))):
        for seed in seeds:
            folder = tmp_path / str(job) / f"seed_{seed}"
            folder.mkdir(parents=True)
            result = {"schema": SCHEMA, "member_key": member_key(f"key{job}", seed)}
            (folder / "result.json").write_text(json.dumps(result))
    progress = {"phase": "training", "step": 50, "steps": 100, "seeds": [1], "val": 0.25}
    write_progress(tmp_path / "1", progress | {"started": 100.0, "updated": 200.0})
    return found


def test_state(jobs: list[JobProgress]) -> None:
    running = ["run: step 50 of 100, val r68 0.250"]
    assert jobs[0].state(since=150.0) == State("2 of 2 members done", 1.0, [])
    assert jobs[1].state(since=150.0) == State("1 of 2 members done", 0.75, running)
    assert jobs[2].state(since=150.0).share == 0


def test_results_of_another_job_are_not_done(jobs: list[JobProgress]) -> None:
    assert jobs[0].done() == 2
    assert replace(jobs[0], job_key="other").done() == 0


def test_progress_of_an_earlier_run_does_not_count(jobs: list[JobProgress]) -> None:
    assert jobs[1].state(since=300.0) == State("1 of 2 members done", 0.5, [])
