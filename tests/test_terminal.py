"""Progress as read from run folders, on a terminal and in a pipe."""

import io
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from headsweep import terminal as module
from headsweep.identity import member_key
from headsweep.store.runs import SCHEMA, write_progress
from headsweep.sweep.progress import Followed, look
from headsweep.terminal import State, duration, following, preparing


@pytest.fixture
def jobs(tmp_path: Path) -> list[Followed]:
    """Three jobs of two seeds: one done, one half-way in its second seed, one not begun."""
    found = [Followed(tmp_path / str(n), f"job {n}", range(2), f"key{n}") for n in range(3)]
    for job, seeds in ((0, (0, 1)), (1, (0,))):
        for seed in seeds:
            folder = tmp_path / str(job) / f"seed_{seed}"
            folder.mkdir(parents=True)
            result = {"schema": SCHEMA, "member_key": member_key(f"key{job}", seed)}
            (folder / "result.json").write_text(json.dumps(result))
    progress = {"phase": "training", "step": 50, "steps": 100, "seeds": [1], "val": 0.25}
    write_progress(tmp_path / "1", progress | {"started": 100.0, "updated": 200.0})
    return found


def test_look(jobs: list[Followed]) -> None:
    running = ["job 1: step 50 of 100, val r68 0.250"]
    assert look(jobs[0], since=150.0) == State("2 of 2 members done", 1.0, [])
    assert look(jobs[1], since=150.0) == State("1 of 2 members done", 0.75, running)


def test_results_of_another_job_are_not_done(jobs: list[Followed]) -> None:
    assert jobs[0].done() == 2
    assert replace(jobs[0], job_key="other").done() == 0
    assert replace(jobs[0], job_key=None).done() == 2  # a trial, whose key nobody knows


def test_progress_of_an_earlier_run_does_not_count(jobs: list[Followed]) -> None:
    assert look(jobs[1], since=300.0) == State("1 of 2 members done", 0.5, [])


@pytest.mark.parametrize("terminal", [True, False])
def test_following(terminal: bool, jobs: list[Followed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    out = io.StringIO()
    with following(
        partial(look, jobs[1], 150.0), Console(file=out, force_terminal=terminal, width=120)
    ):
        time.sleep(0.3)
    assert "1 of 2 members done" in out.getvalue()
    assert ("\x1b" in out.getvalue()) is terminal


def test_lines_are_few_in_a_pipe() -> None:
    out = io.StringIO()
    with preparing(Console(file=out, force_terminal=False)) as report:
        for step in range(100):
            report("features", step / 100)
        report("MLflow", 1.0)
    assert out.getvalue() == "features: 0%\nMLflow: 100%\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (240, "4 min"), (7200, "2.0 h")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
