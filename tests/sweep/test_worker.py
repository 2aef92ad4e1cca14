"""Workers, through the real command: whatever a job does, it fails alone."""

import os
import threading
from pathlib import Path

import pytest

from headsweep.store.outcome import Outcome
from headsweep.sweep.grid_queue import Entry
from headsweep.sweep.leases import Process
from headsweep.sweep.order import Order
from headsweep.sweep.worker import work
from helpers.command import SMALL, Command
from helpers.trouble_head import MODES, mend, write_trouble

pytestmark = pytest.mark.slow


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a small training of a head that fails in every way."""
    monkeypatch.syspath_prepend(tmp_path)
    return [*write_trouble(tmp_path), *SMALL]


def test_failures_of_a_search_stay_alone(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    search = [
        *("hydra.sweeper.n_trials=5", f"head.mode=choice({','.join(MODES)})"),
        *("worker.time_limit=3", "worker.max_retries=1", "name=bad", "seeds=2"),
        # This seed draws each mode once.
        *("hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=134"),
        "hydra.sweeper.max_failures=null",
    ]
    code, out, err = command("train", "-m", *trouble, *search)
    assert code == 0, err
    assert "usable: 1 of 5, 4 failed" in out
    jobs = tmp_path / "runs/sweeps/bad/jobs"
    found = {int(path.name): Outcome.read(path) for path in jobs.iterdir()}
    modes = {n: outcome.params["head.mode"] for n, outcome in found.items() if outcome}
    assert sorted(modes.values()) == sorted(MODES)
    reasons = {
        "raises": "RuntimeError: no such tensor",
        "kills": "killed 2 times",
        "diverges": "nan at step 1",
        "sleeps": "worker.time_limit=3",
    }
    for number, outcome in found.items():
        assert outcome is not None
        if modes[number] == "fine":
            assert outcome.state == "complete"
            assert len(outcome.seeds) == 2
        else:
            assert outcome.state == "failed"
            assert reasons[modes[number]] in str(outcome.reason)
            assert f"trial {number} failed: {outcome.reason}" in err
        traceback = jobs / str(number) / "traceback.txt"
        assert traceback.exists() == (modes[number] == "raises")

    before = {path: path.stat().st_mtime_ns for path in jobs.rglob("*")}
    code, out, _ = command("train", "-m", *trouble, *search)
    assert code == 0
    assert "5 of 5 trials are done, 5 were there before" in out
    assert {path: path.stat().st_mtime_ns for path in jobs.rglob("*")} == before
    _, out, _ = command("study", "bad")
    assert "5 of 5 trials are done, 0 are being trained" in out
    assert "RuntimeError: no such tensor" in out


def test_failures_of_a_grid_stay_alone_and_are_tried_again(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    grid = ["-m", "head.mode=raises,fine,kills", "name=bad", "worker.max_retries=0"]
    code, out, err = command("train", *trouble, *grid)
    assert code == 1
    assert "1 of 3 members are done" in out
    assert "job 0 head.mode=raises: RuntimeError: no such tensor" in err
    assert "job 2 head.mode=kills: " in err

    mend(tmp_path, "raises")
    code, out, err = command("train", *trouble, *grid)
    assert "2 of 3 members are done, 1 of them were there before" in out
    assert "head.mode=raises" not in err


def test_failures_in_a_row_end_a_search(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    search = [
        *("hydra.sweeper.n_trials=40", "head.mode=choice(raises,diverges)", "name=bad"),
        *("hydra.sweeper.lag=1", "hydra.sweeper.max_failures=3"),
    ]
    code, out, err = command("train", "-m", *trouble, *search)
    assert code == 1
    assert "trials 0 to 2 failed, 3 in a row" in err
    assert "usable: 0 of 4, 4 failed" in out
    assert len(list((tmp_path / "runs/sweeps/bad/jobs").iterdir())) == 4


def test_what_changed_since_the_command_began_ends_its_job(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps/s"
    overrides = [*SMALL, "name=s", f"root={tmp_path}", "head.dropout=0.1"]
    entry = Entry(0, overrides, "key before", [0])
    order = Order(overrides, None, folder, [entry], Process.of(os.getpid()))
    work(order, threading.Event())
    outcome = Outcome.read(folder / "jobs/0")
    assert outcome is not None
    assert "changed since the command began" in str(outcome.reason)
