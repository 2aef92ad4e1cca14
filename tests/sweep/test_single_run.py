"""A single run through the real command: its folder, its seeds, its failures."""

import json
from pathlib import Path

from helpers.command import SMALL, Command, times


def test_a_run_is_kept_under_its_key_and_trains_only_what_is_missing(
    command: Command, tmp_path: Path
) -> None:
    code, out, _ = command("train", *SMALL, "seeds=2")
    assert code == 0
    assert "2 of 2 members are done, 0 of them" in out
    [folder] = (tmp_path / "runs/runs").iterdir()
    assert f"results: runs/runs/{folder.name}" in out
    assert f"headsweep report {folder.name}" in out
    assert json.loads((folder / "job.json").read_text())["job_key"] == folder.name
    before = times(folder)
    code, out, _ = command("train", *SMALL, "seeds=2", "workers=2")
    assert code == 0
    assert "2 of 2 members are done, 2 of them" in out
    assert times(folder) == before
    assert "3 of 3 members are done, 2 of them" in command("train", *SMALL, "seeds=3")[1]
    assert {path: at for path, at in times(folder).items() if path in before} == before


def test_a_member_that_fails_is_named(command: Command) -> None:
    code, out, err = command("train", *SMALL, "optim.lr=1e38", "optim.steps=30", "seeds=2")
    assert code == 1
    assert err.count("loss is") == 2
    assert "2 of 2 members are done" in out
