"""Rounds of seeds=auto through the real command, and their budget."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from headsweep.report.build import build_report
from headsweep.store import paths
from headsweep.sweep.rounds import seconds
from helpers.command import SMALL, Command

AUTO = ["seeds=auto", "looks.every=2", "looks.most=5", "name=auto"]
ALIKE = ["train", "-m", *SMALL, "head.dropout=0.05,0.06", "design.metrics=[loss_at_10pct]", *AUTO]
"""Two alike arms, and a metric that no events enter: nothing decides, and nothing is hopeless."""


def trained(root: Path, jobs: int = 2) -> list[list[int]]:
    """Seeds of each job of the sweep ``auto``."""
    folders = [paths.job_folder(root / "runs/sweeps/auto", number) for number in range(jobs)]
    return [sorted(paths.seed_folders(folder)) for folder in folders]


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30.0), ("90min", 5400.0), ("2h", 7200.0), ("1.5h", 5400.0)]
)
def test_a_budget_is_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.slow
def test_a_dry_run_shows_the_first_look_and_the_last(command: Command) -> None:
    code, out, err = command(*ALIKE, "--dry-run")
    assert code == 0, err
    assert "what it leaves open trains on, 2 seeds at a time, up to 5" in out


@pytest.mark.slow
@pytest.mark.usefixtures("working_here")
def test_what_is_open_trains_on_up_to_the_last_look(command: Command, tmp_path: Path) -> None:
    code, out, err = command(*ALIKE, "budget=0s")
    assert code == 0, err
    assert "the same command goes on" in out
    assert trained(tmp_path) == [[0, 1], [0, 1]]
    code, out, err = command(*ALIKE)
    assert code == 0, err
    assert trained(tmp_path) == [[0, 1, 2, 3, 4]] * 2
    assert "10 of 10 members are done, 4 of them were there before" in out
    about = json.loads((tmp_path / "runs/sweeps/auto/jobs/0/job.json").read_text())
    assert about["seeds"] == [0, 5]
    report = build_report(tmp_path / "runs/sweeps/auto", tmp_path / "runs")
    (effect,) = report.effects
    assert effect.verdict is not None
    assert effect.verdict.comparison.looks is not None
    assert effect.verdict.comparison.looks.sizes == (2.0, 4.0, 5.0)
    assert effect.shortfall == ""
    code, out, _ = command(*ALIKE)  # all is there: nothing more is trained
    assert code == 0
    assert trained(tmp_path) == [[0, 1, 2, 3, 4]] * 2
    code, _, err = command("plan", "auto")
    assert code == 2
    assert "seeds=auto" in err


@pytest.mark.slow
@pytest.mark.usefixtures("working_here")
def test_what_is_decided_trains_no_more(command: Command, tmp_path: Path) -> None:
    """An arm that does not learn, with a rate of nearly 0, is worse at the first looks."""
    arms = ["optim.lr=0.02,0.0201,1e-9", "optim.steps=40", "design.metrics=[last_dev_loss]"]
    code, out, err = command("train", "-m", *SMALL, *arms, *AUTO, "looks.most=6")
    assert code == 0, err
    control, alike, dead = trained(tmp_path, 3)
    assert len(control) == len(alike) == 6, out
    assert len(dead) < 6, out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["train", "seeds=auto"], "seeds=auto: is for sweeps"),
        (["train", "seeds=some"], "seeds=some: must be a whole number in [1, 1e6], or auto"),
        (["train", "seeds=2.5"], "seeds=2.5: must be a whole number"),
        (["train", "seeds=true"], "must be a whole number"),
        (["train", "budget=2h"], "budget=2h: is for seeds=auto"),
        (["train", "-m", "head=simpler,dense", "seeds=auto", "budget=2d"], "budget=2d: must be"),
        (["train", "-m", "head=simpler,dense", "seeds=auto", "looks.every=70"], "looks.most=60"),
        (["train", "sweeps=factorial", "seeds=auto"], "not with design.kind=factorial"),
        (["train", "sweeps=presets", "seeds=auto", "data.split.folds=5"], "data.repeats"),
        (["train", "sweeps=search", "seeds=auto"], "a trial of a search has a number of seeds"),
    ],
)
def test_where_no_look_decides_it_is_refused(
    command: Command, words: Sequence[str], what: str
) -> None:
    code, _, err = command(*words, "--dry-run")
    assert code == 2
    assert what in err
