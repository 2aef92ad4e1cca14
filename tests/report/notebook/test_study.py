"""A search as the notebooks see it."""

from pathlib import Path

import pytest

import headsweep
from headsweep.store import specification
from headsweep.store.outcome import Outcome
from helpers.toy_runs import write_toy_job

VALUES = {0: 0.30, 1: 0.20, 2: 0.25, 3: 0.40}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> headsweep.SweepResults:
    """Four trials of one searched number."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "sweeps" / "s"
    for number, value in VALUES.items():
        job = folder / "jobs" / str(number)
        write_toy_job(job, {0: value, 1: value}, labels={"optim.lr": 0.1 * (1 + number)})
        params = {"optim.lr": 0.1 * (1 + number)}
        Outcome("complete", values=[value], spread=[0.01], params=params).write(job)
    search = {"search": {"optim.lr": "interval(0.01, 1)"}, "n_trials": 5}
    specification.claim_sweep(
        folder, {**search, "objective": ["val_loss"], "direction": ["minimize"]}
    )
    return headsweep.open_sweep("s", root)


def test_trials_and_front(opened: headsweep.SweepResults) -> None:
    study = opened.study()
    assert study.progress().startswith("4 of 5 trials")
    front = study.front()  # all have as many parameters
    assert front.index.tolist() == [1]
    assert front.loc[1, "val_loss"] == VALUES[1]
    assert study.importances.table.index.tolist() == ["optim.lr"]


def test_pictures_are_shown_by_a_notebook(opened: headsweep.SweepResults) -> None:
    study = opened.study()
    for figure in (study.history(), study.accuracy_against_size(), study.importance_figure()):
        assert figure._repr_png_().startswith(b"\x89PNG")
    (history,) = study.history().axes
    (line,) = [line for line in history.lines if line.get_drawstyle() == "steps-post"]
    assert list(line.get_ydata()) == [0.3, 0.2, 0.2, 0.2]


def test_a_grid_is_no_study(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "sweeps" / "grid" / "jobs" / "0", {0: 0.1})
    with pytest.raises(headsweep.UserError, match="grid is no search"):
        headsweep.open_sweep("grid", tmp_path).study()
