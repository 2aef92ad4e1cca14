"""Workers that others start: a command that launches none waits, and what it makes of a launch."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.sweep.attendant import attend
from headsweep.sweep.launched import Launched
from headsweep.sweep.launching import Launch
from headsweep.sweep.leases import Process
from headsweep.sweep.order import FATAL
from helpers.command import SMALL, Command
from helpers.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def launched(tmp_path: Path) -> Launched:
    """Workers of a sweep of which none was launched yet."""
    launch = Launch([], None, None, str(tmp_path), "s", 0, 2)
    found = Launched(tmp_path, launch, Process.of(os.getpid()))
    found.log.parent.mkdir(parents=True)
    found.log.write_text("some words\nerror: the reason\n")
    return found


def ended(code: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    return process


def test_what_nobody_could_launch_ends_the_command(launched: Launched) -> None:
    with pytest.raises(UserError, match="no worker could be launched: the reason"):
        launched._ended(ended(4), 3)


def test_what_no_worker_can_do_ends_the_command(launched: Launched) -> None:
    launched._seen = True
    with pytest.raises(UserError, match=r"^the reason$"):
        launched._ended(ended(FATAL), 3)


def test_launches_end_when_no_job_is_ever_finished(launched: Launched) -> None:
    launched._seen = True
    for left in (9, 8, 7, 7, 6, 6, 6):
        launched._ended(ended(4), left)
    with pytest.raises(UserError, match="3 times in a row; is their time too short"):
        launched._ended(ended(4), 6)


def test_a_command_without_workers_waits_for_others(command: Command, tmp_path: Path) -> None:
    code = "import sys; from headsweep.cli import main; sys.argv[1:] = ['worker', 's']; main()"
    worker = [sys.executable, "-c", code]
    found: list[int] = []

    def other() -> None:
        wait_for((tmp_path / "runs/orders/s").is_dir)
        found.append(subprocess.run(worker, cwd=tmp_path, check=False).returncode)

    thread = threading.Thread(target=other)
    thread.start()
    small = [word for word in SMALL if word != "workers=1"]
    status, out, err = command("train", "-m", *small, "workers=0", "name=s", "head.dropout=0.1,0.2")
    thread.join()
    assert status == 0, err
    assert "2 of 2 members are done, 0 of them were there before" in out
    assert found == [0]
    assert not (tmp_path / "runs/orders").exists()
    assert attend(tmp_path / "runs", "s") == 0


def test_nothing_that_is_launched_is_told_a_secret(command: Command) -> None:
    storage = "hydra.sweeper.storage=postgresql+psycopg://u:not-for-any-file@127.0.0.1/x"
    search = ["sweeps=search", storage, "hydra/launcher=submitit_local"]
    code, out, err = command("train", *SMALL, *search)
    assert code == 2
    assert "workers on other machines are told no secrets" in err
    assert "not-for-any-file" not in out + err
