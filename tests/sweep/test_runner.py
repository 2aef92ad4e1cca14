"""A sweep through the real command: what it keeps, refuses, and leaves to Hydra."""

from pathlib import Path

import pytest

from helpers.command import SMALL, Command

pytestmark = pytest.mark.slow


def test_a_search_grows_and_is_refused_to_another_specification(
    command: Command, tmp_path: Path
) -> None:
    search = ["train", "-m", *SMALL, "head.dropout=interval(0.0,0.4)", "name=mine"]
    assert command(*search, "hydra.sweeper.n_trials=2")[0] == 0
    kept = (tmp_path / "runs/sweeps/mine/command.txt").read_text().split()
    assert kept[:3] == ["headsweep", "train", "-m"]
    assert kept.count("name=mine") == 1
    code, out, _ = command(*search, "hydra.sweeper.n_trials=3")
    assert code == 0
    assert "3 of 3 trials are done, 2 were there before" in out
    for change, key in (
        ("hydra.sweeper.lag=2", "lag"),
        ("seeds=2", "seeds"),
        ("hydra/sweeper/pruner=none", "pruner"),
    ):
        code, _, err = command(*search, "hydra.sweeper.n_trials=3", change)
        assert code == 2
        assert key in err
        assert "name=mine-2" in err


def test_the_command_that_goes_on_names_a_sweep_that_its_file_does_not(
    command: Command, tmp_path: Path
) -> None:
    grid = [*SMALL, "head=simpler", "optim.steps=1"]
    assert command("train", "sweeps=smoke", "name=b", *grid)[0] == 0
    line = (tmp_path / "runs/sweeps/b/command.txt").read_text()
    assert line.startswith("headsweep train name=b sweeps=smoke")


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
