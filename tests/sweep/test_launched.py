"""Workers that others start: a command that launches none waits, and what it makes of a launch."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import htcondor2
import pytest

from headsweep.errors import UserError
from headsweep.sweep.attendant import attend
from headsweep.sweep.launched import Launched
from headsweep.sweep.launching import Launch
from headsweep.sweep.leases import Process
from headsweep.sweep.order import FATAL
from headsweep.terminal import State
from helpers import documents
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


def test_what_a_batch_system_starts_trains_for_a_command_without_workers(
    command: Command, tmp_path: Path
) -> None:
    page = documents.pages()["docs/how-to/machines.md"]
    [text] = [t for t in documents.blocks("text", page) if t.startswith("# workers.sub")]
    submit = htcondor2.Submit(text)
    assert submit.getQArgs() == "8"
    assert Path(submit["executable"]).name == "headsweep"
    [line] = [line for line in documents.commands(page) if "workers=0" in line]
    code = "import sys; from headsweep.cli import main; sys.argv[0] = 'headsweep'; main()"
    found: list[int] = []

    def batch_system() -> None:
        wait_for((tmp_path / "runs/orders/presets").is_dir)
        worker = [sys.executable, "-c", code, *submit["arguments"].split()]
        found.append(subprocess.run(worker, cwd=tmp_path, check=False).returncode)

    thread = threading.Thread(target=batch_system)
    thread.start()
    words = [*line.split()[1:], *(w for w in SMALL if w != "workers=1"), "seeds=1"]
    status, out, err = command(*words)
    thread.join()
    assert status == 0, err
    assert "4 of 4 members are done, 0 of them were there before" in out
    assert found == [0]
    assert not (tmp_path / "runs/orders").exists()
    assert attend(tmp_path / "runs", "presets") == 0


def test_who_waits_for_whom_is_said(launched: Launched, tmp_path: Path) -> None:
    state = State("0 of 3", 0.0, ["workers start"])
    assert launched.told(state).running == [
        "no worker is at work; launched jobs start, or wait in a queue"
    ]
    launched.launch = replace(launched.launch, count=0)
    assert launched.told(state).running == [
        f"no worker is at work; start some: headsweep worker s --root {tmp_path}"
    ]
    launched._at_work = True
    assert launched.told(state) == state


def test_nothing_that_is_launched_is_told_a_secret(command: Command) -> None:
    storage = "hydra.sweeper.storage=postgresql+psycopg://u:not-for-any-file@127.0.0.1/x"
    search = ["sweeps=search", storage, "hydra/launcher=submitit_local"]
    code, out, err = command("train", *SMALL, *search)
    assert code == 2
    assert "workers on other machines are told no secrets" in err
    assert "not-for-any-file" not in out + err
