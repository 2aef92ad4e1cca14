"""The Python interface on a sweep of real, tiny trainings and on fabricated ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import headsweep
from headsweep.store import specification
from headsweep.store.outcome import Outcome
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan

TINY = [
    "data=tiny",
    "backbone=truth",
    "optim.steps=4",
    "optim.batch_size=16",
    "seeds=2",
    "rates=tuned",
]
TINY += ["tracking=false"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> headsweep.SweepResults:
    """Two heads of two members each, trained into the folders of a sweep."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "sweeps" / "two" / "jobs"
    for number, head in enumerate(("conservative", "simpler")):
        (job,) = make_plan([f"head={head}", *TINY, f"root={root}"], multirun=False).jobs
        run_job(job, find_inputs(job), folder / str(number))
    return headsweep.open_sweep("two", root=root)


def test_members_are_the_trainings(opened: headsweep.SweepResults) -> None:
    members = opened.members()
    assert sorted(zip(members["head"], members["seed"], strict=True)) == [
        *(("conservative", seed) for seed in (0, 1)),
        *(("simpler", seed) for seed in (0, 1)),
    ]
    assert members["val_qoverpt_r68"].notna().all()


def test_the_table_is_that_of_the_report(opened: headsweep.SweepResults) -> None:
    table = opened.table()
    whole = table.query("axis == 'all' and metric == 'qoverpt_r68'").set_index("label")
    assert whole.loc["simpler", "n"] == 2
    (value,) = opened.report.get("simpler", "qoverpt_r68")
    assert whole.loc["simpler", "mean"] == value.estimate.mean
    assert opened.report is opened.report  # scored once


def test_verdicts_are_the_comparisons(opened: headsweep.SweepResults) -> None:
    (effect,) = opened.report.effects
    (row,) = opened.verdicts().to_dict("records")
    assert (row["arm"], row["control"], row["metric"]) == ("simpler", "conservative", "qoverpt_r68")
    assert row["verdict"] == (effect.verdict.word if effect.verdict else None)
    assert row["note"] or row["low"] <= row["delta"] <= row["high"]
    assert "qoverpt_r68" in opened.answer


def test_figures_by_name(opened: headsweep.SweepResults) -> None:
    figures = opened.figures()
    assert {"qoverpt_r68", "charge_misid", "learning_curves"} <= figures.keys()
    assert all(isinstance(figure, Figure) for figure in figures.values())
    assert opened.figure("charge_misid").axes
    with pytest.raises(headsweep.UserError, match="nothing"):
        opened.figure("nothing")


def test_trials_of_a_search(tmp_path: Path, opened: headsweep.SweepResults) -> None:
    with pytest.raises(headsweep.UserError, match="two is no search"):
        _ = opened.search
    folder = tmp_path / "sweeps" / "search"
    spec = {"search": {}, "objective": ["val_loss"], "direction": ["minimize"], "n_trials": 3}
    specification.claim_sweep(folder, spec)
    columns = ["trial", "state", "origin", "val_loss"]
    assert [*headsweep.open_sweep("search", tmp_path).search] == columns
    first = Outcome("complete", values=[0.5], params={"optim.lr": 0.1}, origin="head=simpler")
    first.write(folder / "jobs" / "0")
    Outcome("failed", reason="NaN", params={"optim.lr": 9.0}).write(folder / "jobs" / "2")
    expected = pd.DataFrame(
        {
            "trial": [0, 2],
            "state": ["complete", "failed"],
            "origin": ["head=simpler", ""],
            "val_loss": [0.5, np.nan],
            "optim.lr": [0.1, 9.0],
        }
    )
    found = headsweep.open_sweep("search", str(tmp_path)).search
    pd.testing.assert_frame_equal(found, expected)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "known").mkdir(parents=True)
    with pytest.raises(headsweep.UserError, match=r"sweeps there: known"):
        headsweep.open_sweep("absent", root=tmp_path)
    for path in ("", ".."):  # of the current folder and of the one above it
        with pytest.raises(headsweep.UserError, match=r"neither a sweep nor a single run"):
            headsweep.open_sweep(path, root=tmp_path)
