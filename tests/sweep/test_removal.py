"""What stands before the removal of a sweep."""

import os
import sys
from io import StringIO
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.removal import check_removal
from helpers.run_folders import make_job


class Terminal(StringIO):
    """Standard input of somebody who types."""

    def isatty(self) -> bool:
        return True


def test_a_sweep_at_work_is_not_removed(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "busy"
    make_job(sweep / "jobs" / "0", finished=[0])
    here = Process.of(os.getpid())
    leases = Leases(sweep, here, here)
    lease = leases.claim(1)
    with pytest.raises(UserError, match=f"is being trained .*process {os.getpid()}"):
        check_removal(tmp_path, "busy", yes=True, force=False)
    check_removal(tmp_path, "busy", yes=True, force=True)
    leases.free(lease)
    check_removal(tmp_path, "busy", yes=True, force=False)


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_terminal_is_asked(
    typed: str, agreed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job(tmp_path / "sweeps/old/jobs/0", finished=[0, 1], failed=[2])
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    if agreed:
        check_removal(tmp_path, "old", yes=False, force=False)
    else:
        with pytest.raises(UserError, match="nothing was removed"):
            check_removal(tmp_path, "old", yes=False, force=False)


def test_nobody_agrees_in_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_job(tmp_path / "sweeps/old/jobs/0", finished=[0, 1], failed=[2])
    for stdin in (StringIO("y\n"), None):  # None is a closed one
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UserError, match=r"old: 1 jobs, 2 results, .* add --yes"):
            check_removal(tmp_path, "old", yes=False, force=False)
