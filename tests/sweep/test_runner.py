"""A sweep through the real command: what it keeps, refuses, and leaves to Hydra."""

import json
from pathlib import Path

import pytest

from helpers.command import SMALL, Command, times
from helpers.own_head import write_head

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("working_here")
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


@pytest.mark.usefixtures("working_here")
def test_the_command_that_goes_on_names_a_sweep_that_its_file_does_not(
    command: Command, tmp_path: Path
) -> None:
    grid = [*SMALL, "head=simpler", "optim.steps=1"]
    assert command("train", "sweeps=smoke", "name=b", *grid)[0] == 0
    line = (tmp_path / "runs/sweeps/b/command.txt").read_text()
    assert line.startswith("headsweep train name=b sweeps=smoke")


def test_other_launchers_are_refused(command: Command) -> None:
    code, _, err = command("train", "-m", *SMALL, "head.dropout=0.1,0.2", "hydra/launcher=other")
    assert code == 2
    assert "other" in err


def test_a_grid_trains_only_what_is_missing(command: Command, tmp_path: Path) -> None:
    grid = ["train", "-m", "head=conservative,direct_projection", "name=grid", *SMALL]
    code, out, _ = command(*grid)
    assert code == 0
    assert "2 of 2 members are done, 0 of them were there before" in out
    assert "headsweep report grid" in out
    folder = tmp_path / "runs/sweeps/grid"
    first = times(folder)
    about = [json.loads((folder / f"jobs/{n}/job.json").read_text()) for n in (0, 1)]
    assert [job["labels"]["head"] for job in about] == ["conservative", "direct_projection"]
    result = json.loads((folder / "jobs/1/seed_0/result.json").read_text())
    assert result["status"] == "finished"
    assert result["parameters"]["head"] == 1156
    # The screen ends with the figures of each job, and with a command that can be pasted.
    *_, heads, first_row, second, last = out.splitlines()
    assert heads.split()[:5] == ["on", "val", "n", "failed", "parameters"]
    assert first_row.split()[:3] == ["conservative", "1", "0"]
    r68 = result["metrics"]["val_qoverpt_r68"]
    total = f"{result['parameters']['total']:,}"
    assert second.split()[:5] == ["direct_projection", "1", "0", total, f"{r68:.4g}"]
    assert last == "verdicts, on dev: headsweep report grid"

    code, out, _ = command(*grid)
    assert code == 0
    assert "2 of 2 members are done, 2 of them were there before" in out
    assert times(folder) == first

    code, out, _ = command(*grid, "seeds=3")
    assert "6 of 6 members are done, 2 of them were there before" in out
    assert {path: at for path, at in times(folder).items() if path in first} == first

    code, _, err = command(*grid, "optim.clip=0.5")
    assert code == 2
    assert "optim.clip: 1.0 there, 0.5 here" in err
    assert "name=grid-2" in err


def test_a_head_from_one_file_and_one_yaml(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    conf = write_head(tmp_path)
    grid = ["-m", "allow=own_heads", "head=bottleneck", "head.width=4,8", "name=own", "seeds=2"]
    code, out, _ = command("train", "--config-dir", str(conf), *grid, *SMALL)
    assert code == 0
    assert "4 of 4 members are done" in out
    results = [
        json.loads((tmp_path / f"runs/sweeps/own/jobs/{n}/seed_1/result.json").read_text())
        for n in (0, 1)
    ]
    assert [r["parameters"]["head"] for r in results] == [w * 289 + (w + 1) * 4 for w in (4, 8)]


@pytest.mark.usefixtures("working_here")
def test_a_search_without_a_finished_trial_says_so(command: Command) -> None:
    search = ["sweeps=search", "hydra.sweeper.n_trials=2", "optim.lr=1e38"]
    code, out, err = command("train", *SMALL, *search, "optim.steps=30")
    assert code == 1
    assert "usable: 0 of 2, 2 failed" in out
    assert "loss is nan at step" in err
    assert "Traceback" not in err
