"""The verb ``worker``: what it says where there is nothing to work on, and SIGTERM."""

import os
import signal
from pathlib import Path

import pytest

from headsweep.sweep import attendant
from headsweep.sweep.attendant import TERMINATED, Attendant
from helpers.command import Command


def test_nothing_to_work_on(command: Command, tmp_path: Path) -> None:
    code, _, err = command("worker", "s", "root=x")
    assert code == 2
    assert "no command is at work on a sweep 's' in x; start it first" in err
    (tmp_path / "x/sweeps/s").mkdir(parents=True)
    code, out, _ = command("worker", "s", "root=x")
    assert (code, out) == (0, "no command is at work on s: nothing to do\n")


def test_sigterm_ends_a_launched_process_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def attend(root: Path, name: str) -> None:
        assert (root, name, os.getcwd()) == (Path("runs"), "s", str(tmp_path))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(attendant, "attend", attend)
    # Not an error, which a launcher would write down as the result of its job.
    with pytest.raises(SystemExit) as caught:
        Attendant(str(tmp_path), "runs", "s")(None)
    assert caught.value.code == TERMINATED
    assert signal.getsignal(signal.SIGTERM) == before
