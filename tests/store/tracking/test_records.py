"""Contents of MLflow runs, as they are read from run folders."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from headsweep.identity import member_key
from headsweep.store import runs
from headsweep.store.outcome import Outcome
from headsweep.store.tracking.records import (
    JobRecords,
    read_records,
    read_state,
)
from helpers.run_folders import make_job, make_search, make_trial, write_member

R68 = "val_qoverpt_r68"


def records_of(folder: Path, searched: Sequence[str] = ()) -> JobRecords:
    """Records of a job folder that has some."""
    found = read_records(folder, searched)
    assert found is not None
    return found


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
        ("n", 0): 3,
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


def test_a_job_has_few_metrics_and_the_main_one_first(tmp_path: Path) -> None:
    """MLflow's page that compares runs opens with the first; the seeds have all."""
    folder = make_job(tmp_path / "s" / "jobs" / "0", finished=[0, 1])
    for seed in (0, 1):
        others = {"val_loss": 0.3, "val_charge_misid": 0.01, R68: 0.1 + seed, "train_loss": 0.2}
        key = member_key("job-0", seed)
        (folder / f"seed_{seed}" / "history.csv").unlink()
        runs.write_member(
            folder / f"seed_{seed}",
            {"member_key": key, "status": "finished", "best_step": 5, "metrics": others},
        )
    records = records_of(folder)
    names = [metric.name for metric in records.job.metrics]
    assert names[:2] == [f"{R68}_mean", f"{R68}_std"]
    assert sorted(names[2:]) == ["n", "val_charge_misid_mean", "val_charge_misid_std"]
    assert {metric.name for metric in records.members[0].metrics} == set(others)
