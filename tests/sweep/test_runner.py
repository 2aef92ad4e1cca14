"""Sweeps through the real command: failures stay alone, nothing is lost, nothing runs twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import Command
from headsweep.store.outcome import Outcome
from helpers import killing

BIN = Path(sys.executable).parent
SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false"),
    *("optim.steps=4", "optim.batch_size=16", "workers=1"),
]

TROUBLE = '''
import os, signal, time
import torch
from torch import nn

class Trouble(nn.Module):
    """A head that does what its mode says when it is first used."""

    def __init__(self, in_dim: int, out_dim: int, mode: str):
        super().__init__()
        self.mode, self.last = mode, nn.Linear(in_dim, out_dim)

    def forward(self, x):
        if self.training:
            if self.mode == "raises":
                raise RuntimeError("no such tensor")
            if self.mode == "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode == "sleeps":
                time.sleep(60)
            if self.mode == "diverges":
                return self.last(x) * float("nan")
        return self.last(x)
'''


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a head that fails in every way."""
    (tmp_path / "trouble.py").write_text(TROUBLE)
    conf = tmp_path / "conf" / "head"
    conf.mkdir(parents=True)
    (conf / "trouble.yaml").write_text("_target_: trouble.Trouble\nmode: fine\n")
    monkeypatch.syspath_prepend(tmp_path)
    return ["--config-dir", str(conf.parent), "head=trouble", *SMALL]


MODES = "fine,raises,kills,diverges,sleeps"


def test_failures_of_a_search_stay_alone(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    search = [
        *("hydra.sweeper.n_trials=10", f"head.mode=choice({MODES})"),
        *("worker.time_limit=5", "worker.max_retries=1", "name=bad", "seeds=2"),
        *("hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=3"),
        "hydra.sweeper.max_failures=null",
    ]
    code, out, err = command("train", "-m", *trouble, *search)
    assert code in (0, 1), err
    jobs = tmp_path / "runs/sweeps/bad/jobs"
    found = {int(path.name): Outcome.read(path) for path in jobs.iterdir()}
    modes = {n: outcome.params["head.mode"] for n, outcome in found.items() if outcome}
    assert len(modes) == 10
    assert set(modes.values()) == {"fine", "raises", "kills", "diverges", "sleeps"}
    reasons = {
        "raises": "RuntimeError: no such tensor",
        "kills": "its worker was killed 2 times",
        "diverges": "loss is nan at step 1",
        "sleeps": "took longer than worker.time_limit=5 s",
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
    fine = Counter(modes.values())["fine"]
    assert code == 0
    assert f"usable: {fine} of 10, {10 - fine} failed" in out
    raised = next(n for n, mode in modes.items() if mode == "raises")
    assert "no such tensor" in (jobs / str(raised) / "traceback.txt").read_text()

    before = {path: path.stat().st_mtime_ns for path in jobs.rglob("*")}
    code, out, _ = command("train", "-m", *trouble, *search)
    assert code == 0
    assert "10 of 10 trials are done, 10 were there before" in out
    assert {path: path.stat().st_mtime_ns for path in jobs.rglob("*")} == before
    _, out, _ = command("study", "bad")
    assert "10 of 10 trials are done, 0 are being trained" in out
    assert "RuntimeError: no such tensor" in out


def test_failures_of_a_grid_stay_alone_and_are_tried_again(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    grid = ["-m", "head.mode=raises,fine,kills", "name=bad", "worker.max_retries=0"]
    code, out, err = command("train", *trouble, *grid)
    assert code == 1
    assert "1 of 3 members are done" in out
    assert "job 0 head.mode=raises: RuntimeError: no such tensor" in err
    assert "job 2 head.mode=kills: its worker was killed 1 times" in err

    (tmp_path / "trouble.py").write_text(TROUBLE.replace('"raises"', '"other"'))
    code, out, err = command("train", *trouble, *grid)
    assert "2 of 3 members are done, 1 of them were there before" in out
    assert "head.mode=raises" not in err


def test_five_failures_in_a_row_end_a_search(
    trouble: list[str], command: Command, tmp_path: Path
) -> None:
    search = ["hydra.sweeper.n_trials=40", "head.mode=choice(raises,diverges)"]
    code, out, err = command("train", "-m", *trouble, *search, "name=bad", "hydra.sweeper.lag=1")
    assert code == 1
    assert "stopped: trials 0 to 4 failed, 5 in a row" in err
    assert "usable: 0 of 6, 6 failed" in out
    assert len(list((tmp_path / "runs/sweeps/bad/jobs").iterdir())) == 6


def test_a_search_is_refused_to_another_specification(command: Command) -> None:
    search = ["train", "-m", *SMALL, "head.dropout=interval(0.0,0.4)", "name=mine"]
    assert command(*search, "hydra.sweeper.n_trials=2")[0] == 0
    code, out, _ = command(*search, "hydra.sweeper.n_trials=3")
    assert code == 0
    assert "3 of 3 trials are done, 2 were there before" in out
    for change in ("hydra.sweeper.lag=2", "seeds=2", "hydra/sweeper/pruner=none"):
        code, _, err = command(*search, "hydra.sweeper.n_trials=3", change)
        assert code == 2
        assert "this name belongs to another sweep" in err
        assert "name=mine-2" in err


def test_a_wrong_database_is_found_before_anything_is_made(
    command: Command, tmp_path: Path
) -> None:
    where = "hydra.sweeper.storage=sqlite:////nowhere/trials.db"
    code, _, err = command("train", "sweeps=optuna", *SMALL, where)
    assert code == 2
    assert "hydra.sweeper.storage: cannot be opened" in err
    assert not list(tmp_path.glob("runs/[!.]*"))


def test_the_command_that_goes_on_names_its_sweep_once(command: Command, tmp_path: Path) -> None:
    grid = [*SMALL, "head=simpler", "optim.steps=1"]
    assert command("train", "-m", *grid, "name=a")[0] == 0
    line = (tmp_path / "runs/sweeps/a/command.txt").read_text()
    assert line.count("name=a") == 1
    assert command("train", "sweeps=smoke", "name=b", *grid)[0] == 0
    line = (tmp_path / "runs/sweeps/b/command.txt").read_text()
    assert line.startswith("headsweep train name=b sweeps=smoke")


def test_workers_that_cannot_start_are_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    code, _, err = command("train", "-m", *SMALL, "head.dropout=0.1,0.2")
    assert code == 2
    assert "workers die before they begin" in err


def test_the_official_sweeper_can_be_chosen(command: Command, tmp_path: Path) -> None:
    search = ["sweeps=optuna", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]
    code, _, err = command("train", *SMALL, *search, "seeds=1")
    assert code == 0, err
    jobs = tmp_path / "runs/sweeps/optuna/jobs"
    assert sorted(path.name for path in jobs.iterdir()) == ["0", "1"]


def test_other_launchers_are_refused(command: Command) -> None:
    code, _, err = command("train", "-m", *SMALL, "head.dropout=0.1,0.2", "hydra/launcher=other")
    assert code == 2
    assert "other" in err


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nobody touched."""
    root = tmp_path_factory.mktemp("reference")
    killing.run_to_the_end(root)
    return root


def test_a_killed_search_ends_as_if_nothing_had_happened(reference: Path, tmp_path: Path) -> None:
    import random

    tally = killing.Tally()
    killing.torment(tmp_path, 2, random.Random(1), tally)
    assert tally.kills == 2
    assert tally.live >= 1  # one may hit between two trials
    assert killing.differences(reference, tmp_path) == []


def workers(command: int) -> set[psutil.Process]:
    """Workers of a sweep command that are alive."""
    found = set()
    for child in psutil.Process(command).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # nor a zombie, which is a kind of it
            if "headsweep.sweep.worker" in child.cmdline():
                found.add(child)
    return found


def begin(root: Path) -> tuple[subprocess.Popen[bytes], set[psutil.Process]]:
    """The search, or what is left of it, while a trial is being trained, and its two workers."""
    process = killing.start(root)
    while not killing.begun(root):
        assert process.poll() is None
        time.sleep(0.02)
    mine = workers(process.pid)
    assert len(mine) == 2
    return process, mine


def test_nothing_is_lost_with_a_worker_or_by_ctrl_c(reference: Path, tmp_path: Path) -> None:
    process, mine = begin(tmp_path)
    dead = mine.pop()
    dead.kill()
    while not (new := workers(process.pid) - mine - {dead}):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    _, orphans = psutil.wait_procs(mine | new, timeout=5)
    assert not orphans
    leases = tmp_path / "sweeps/optuna/leases"
    assert not any(json.loads(p.read_bytes())["worker"] for p in leases.glob("*.json"))
    assert "RUNNING" not in {trial[1] for trial in killing.trials(tmp_path)}
    killing.run_to_the_end(tmp_path)
    assert killing.differences(reference, tmp_path) == []


def test_workers_die_with_their_command(tmp_path: Path) -> None:
    process, mine = begin(tmp_path)
    process.kill()
    process.wait(timeout=60)
    _, orphans = psutil.wait_procs(mine, timeout=5)
    assert not orphans
