"""Contents of MLflow runs, as they are read from run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.store.outcome import Outcome
from headsweep.store.tracking.changes import job_stamps
from headsweep.store.tracking.records import (
    JobRecords,
    objectives,
    read_records,
    read_state,
    sweep_record,
)
from helpers.run_folders import make_job, make_search, make_trial, write_member

R68 = "val_qoverpt_r68"


def tags_of(sweep: Path) -> Mapping[str, Any]:
    """Tags of a sweep's record, from all of its jobs."""
    searched = objectives(sweep)
    jobs = [sweep / "jobs" / name for name in job_stamps(sweep)]
    states = [read_state(job) for job in jobs]
    assert states == [records.state for job in jobs if (records := read_records(job, searched))]
    return sweep_record(sweep, [state for state in states if state], searched).tags


def records_of(folder: Path, searched: Sequence[str] = ()) -> JobRecords:
    """Records of a job folder that has some."""
    found = read_records(folder, searched)
    assert found is not None
    return found


def best(sweep: Path) -> dict[str, Any]:
    return {k: v for k, v in tags_of(sweep).items() if k.startswith(("best", "pareto"))}


def test_a_complete_trial_holds_all_seeds_on_one_page(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    records = records_of(make_trial(sweep, 7, "complete", 0.11), [R68])
    record = records.job
    assert (record.name, record.status, records.members) == ("trial 7", "FINISHED", [])
    assert (record.tags["level"], record.tags["trial_state"]) == ("trial", "complete")
    assert (record.tags["job_key"], record.tags["overrides"]) == ("job-7", "head.dropout=0.25")
    assert "reason" not in record.tags
    # In effect 0.1: the values of the fabricated config.yaml stand, not what was asked for.
    assert (record.params["dropout"], record.params["hidden_dim"]) == (0.1, 144)
    assert (record.params["data/selection"], record.params["lr"]) == ("all", 0.003)
    assert record.params["params_total"] == 65476
    metrics = {(name, step): value for name, value, step in record.metrics}
    assert len(metrics) == len(record.metrics)
    assert metrics == {
        ("history/val_qoverpt_r68", 0): 0.9,
        ("history/val_qoverpt_r68", 50): 0.5,
        **{(f"seed_{seed}/{R68}", 50): 0.1 + 0.01 * seed for seed in range(3)},
        (f"{R68}_mean", 0): pytest.approx(0.11),
        (f"{R68}_std", 0): pytest.approx(0.01),
        (f"{R68}_n", 0): 3,
        (R68, 0): 0.11,
    }
    assert [path.name for path in record.files] == ["config.yaml", "outcome.json"]
    assert record.data is not None
    assert (record.data.name, record.data.digest) == ("spectrometer", "01234567")
    assert record.end - record.start == pytest.approx(12500, abs=2000)


def test_a_pruned_trial_has_its_curve_but_no_final_value(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    reason = "pruned at step 50 with val_qoverpt_r68 0.5"
    record = records_of(make_trial(sweep, 0, "pruned", 0.5, reason=reason), [R68]).job
    assert (record.status, record.tags["trial_state"], record.tags["reason"]) == (
        "FINISHED",
        "pruned",
        reason,
    )
    assert {name for name, _, _ in record.metrics} == {f"history/{R68}"}


def test_a_failed_trial_may_have_nothing_but_its_outcome(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    folder = sweep / "jobs" / "4"
    reason = "its worker was killed 3 times, perhaps for want of memory"
    Outcome("failed", reason, params={"head.dropout": 0.25, "target.name": "plain"}).write(folder)
    (folder / "traceback.txt").write_text("Traceback")
    record = records_of(folder, [R68]).job
    assert (record.name, record.status) == ("trial 4", "FAILED")
    assert record.tags == {"level": "trial", "trial_state": "failed", "reason": reason}
    assert record.params == {"dropout": 0.25, "target.name": "plain"}
    assert (record.metrics, record.data) == ([], None)
    assert [path.name for path in record.files] == ["outcome.json", "traceback.txt"]


def test_a_job_that_could_not_be_trained_failed(tmp_path: Path) -> None:
    folder = tmp_path / "s" / "jobs" / "3"
    Outcome("failed", "out of memory").write(folder)
    records = records_of(folder)
    assert (records.job.name, records.job.status) == ("job 3", "FAILED")
    assert records.job.tags["reason"] == "out of memory"
    assert records.members == []
    make_job(folder, finished=[0], seeds=2)
    records = records_of(folder)
    assert (records.job.name, records.job.status) == ("conservative", "FAILED")
    assert records.job.tags["status"] == "1 of 2 finished"
    assert len(records.members) == 1


def test_a_job_of_which_all_seeds_failed_shows_its_size_and_reason(tmp_path: Path) -> None:
    record = records_of(make_job(tmp_path / "s/jobs/0", failed=[0, 1])).job
    assert (record.status, record.params["params_total"]) == ("FAILED", 65476)
    assert record.tags["reason"] == "seed 0: loss is NaN at step 70; seed 1: loss is NaN at step 70"


def test_a_folder_that_is_being_filled_has_no_pages_yet(tmp_path: Path) -> None:
    assert read_records(tmp_path) is None
    assert read_state(tmp_path) is None
    assert read_records(tmp_path / "none") is None
    write_member(tmp_path / "0", 0, failed=False, evaluations=3)
    assert read_records(tmp_path / "0") is None


def test_the_best_trial_comes_with_its_interval_over_the_seeds(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "s")
    make_trial(sweep, 0, "complete", 0.3)
    make_trial(sweep, 1, "failed")
    assert best(sweep)["best_trial"] == 0
    make_trial(sweep, 2, "pruned", 0.01)
    make_trial(sweep, 3, "complete", 0.2)
    make_trial(sweep, 10, "complete", 0.2)
    low, high = stats.t.interval(0.95, 2, 0.2, 0.01 / np.sqrt(3))
    assert best(sweep) == {
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
    assert best(sweep).keys() == {"best_trial", "best_params", "best_mean", "best_n"}


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


def test_a_grid_has_counts_only(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    make_job(sweep / "jobs" / "0", finished=[0, 1])
    make_job(sweep / "jobs" / "1", finished=[0], failed=[1])
    Outcome("failed", "out of memory").write(sweep / "jobs" / "2")
    assert tags_of(sweep) == {
        "level": "sweep",
        "jobs": 3,
        "members_finished": 3,
        "members_failed": 1,
    }
