"""Content of the MLflow run of a sweep: its counts, and its best figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.store.outcome import Outcome
from headsweep.store.tracking.changes import job_stamps
from headsweep.store.tracking.records import (
    RunRecord,
    objectives,
    read_records,
    read_state,
)
from headsweep.store.tracking.sweep_records import sweep_record
from helpers.run_folders import make_job, make_search, make_trial

R68 = "val_qoverpt_r68"


def record_of(sweep: Path) -> RunRecord:
    """A sweep's record, from all of its jobs."""
    searched = objectives(sweep)
    jobs = [sweep / "jobs" / name for name in job_stamps(sweep)]
    states = [read_state(job) for job in jobs]
    assert states == [records.state for job in jobs if (records := read_records(job, searched))]
    return sweep_record(sweep, [state for state in states if state], searched)


def tags_of(sweep: Path) -> Mapping[str, Any]:
    """Tags of that record."""
    return record_of(sweep).tags


def best(sweep: Path) -> dict[str, Any]:
    return {k: v for k, v in tags_of(sweep).items() if k.startswith(("best", "pareto"))}


def test_the_best_trial_comes_with_its_interval_over_the_seeds(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    make_trial(sweep, 0, "complete", 0.3)
    make_trial(sweep, 1, "failed")
    assert best(sweep)["best_trial"] == 0
    figures = {metric.name: metric.value for metric in record_of(sweep).metrics}
    assert figures == {f"{R68}_mean": pytest.approx(0.3), f"{R68}_std": pytest.approx(0.01)}
    make_trial(sweep, 2, "pruned", 0.01)
    make_trial(sweep, 3, "complete", 0.2)
    make_trial(sweep, 10, "complete", 0.2)
    low, high = stats.t.interval(0.95, 2, 0.2, 0.01 / np.sqrt(3))
    assert best(sweep) == {
        "best": "trial 3",
        "best_trial": 3,
        "best_params": "head.dropout=0.25 head.regression_hidden_dim=144 data/selection=all",
        "best_mean": "0.2",
        "best_n": 3,
        "best_low": f"{low:.6g}",
        "best_high": f"{high:.6g}",
    }
    tags = tags_of(sweep)
    assert [tags[f"trials_{s}"] for s in ("complete", "pruned", "failed")] == [3, 1, 1]
    assert [tags[f"members_{s}"] for s in ("finished", "pruned", "failed")] == [9, 3, 3]


def test_one_seed_gives_no_interval_and_no_trial_no_best(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    make_trial(sweep, 0, "failed")
    assert best(sweep) == {}
    make_trial(sweep, 1, "complete", 0.2, seeds=1)
    assert best(sweep).keys() == {"best", "best_trial", "best_params", "best_mean", "best_n"}


def test_large_is_best_where_the_metric_says_so(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s", "val_charge_auc")
    for number, value in enumerate((0.7, 0.9, 0.8)):
        make_trial(sweep, number, "complete", value)
    assert best(sweep)["best_trial"] == 1


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s", "val_charge_auc", "params_total")
    points = [(0.7, 9.0), (0.9, 20.0), (0.9, 10.0), (0.6, 9.0), (0.7, 9.0), (0.5, 1.0)]
    for number, point in enumerate(points):
        make_trial(sweep, number, "complete", *point)
    assert best(sweep) == {"pareto_front": "0 2 4 5"}
    assert tags_of(sweep)["objective"] == "val_charge_auc params_total"


def test_a_grid_has_counts_and_the_figure_of_its_lowest_configuration(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    make_job(sweep / "jobs" / "0", finished=[0, 1])
    make_job(sweep / "jobs" / "1", finished=[0], failed=[1])
    Outcome("failed", "out of memory").write(sweep / "jobs" / "2")
    assert tags_of(sweep) == {
        "level": "sweep",
        "data": "spectrometer",
        "best": "conservative",
        "jobs": 3,
        "members_finished": 3,
        "members_failed": 1,
    }
    # Seeds 0 and 1 of the first job; of the other seed 1 alone failed, and seed 0 is lower.
    assert record_of(sweep).metrics == [(f"{R68}_mean", 0.10, 0)]


def test_folds_of_a_cross_validation_are_one_configuration(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    for number, (head, seeds) in enumerate((("simpler", (0, 1)), ("big", (2, 3)))):
        for fold in (0, 1):
            overrides = [f"head={head}", f"data.split.fold={fold}"]
            folder = sweep / f"jobs/{2 * number + fold}"
            make_job(folder, overrides=overrides, finished=[s + 4 * fold for s in seeds], folds=2)
    record = record_of(sweep)
    assert record.tags["best"] == "simpler"
    # Two folds, each with the mean of its seeds: 0.105 and 0.145.
    assert [metric.name for metric in record.metrics] == [f"{R68}_mean", f"{R68}_std"]
    found = [metric.value for metric in record.metrics]
    assert found == pytest.approx([0.125, np.std([0.105, 0.145], ddof=1)])
    fold = read_records(sweep / "jobs/1")
    assert fold is not None
    assert fold.job.name == "simpler fold=1"
