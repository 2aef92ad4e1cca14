"""A search in real processes, killed and interrupted: it ends as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from helpers import killing
from helpers.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nobody touched."""
    root = tmp_path_factory.mktemp("reference")
    killing.run_to_the_end(root)
    return root


def test_a_killed_search_ends_as_if_nothing_had_happened(reference: Path, tmp_path: Path) -> None:
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


def begin(root: Path, *more: str) -> tuple[subprocess.Popen[bytes], set[psutil.Process]]:
    """The search, or what is left of it, while a trial is being trained, and its two workers."""
    process = killing.start(root, *more)
    wait_for(lambda: killing.begun(root), process)
    mine = workers(process.pid)
    assert len(mine) == 2
    return process, mine


def test_nothing_is_lost_with_a_worker_or_by_ctrl_c(reference: Path, tmp_path: Path) -> None:
    process, mine = begin(tmp_path)
    dead = mine.pop()
    dead.kill()
    new = wait_for(lambda: workers(process.pid) - mine - {dead}, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    _, orphans = psutil.wait_procs(mine | new, timeout=30)
    assert not orphans
    leases = tmp_path / "sweeps/search/leases"
    assert not any(json.loads(p.read_bytes())["worker"] for p in leases.glob("*.json"))
    assert "RUNNING" not in {trial[1] for trial in killing.trials(tmp_path)}
    killing.run_to_the_end(tmp_path)
    assert killing.differences(reference, tmp_path) == []


def test_workers_die_with_their_command(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference / "cache", tmp_path / "cache")
    process, mine = begin(tmp_path, "tracking=false")
    process.kill()
    process.wait(timeout=60)
    _, orphans = psutil.wait_procs(mine, timeout=30)
    assert not orphans
