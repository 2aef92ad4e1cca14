"""Single jobs and reports in MLflow, as they stand after a first and every further sync."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.files import write_json
from headsweep.identity import member_key
from headsweep.store.tracking.database import TrackingError, tracking_uri
from headsweep.store.tracking.sync import sync_job, sync_report
from helpers.mlflow_runs import artifacts, dump, rows, runs
from helpers.run_folders import PROCESSES, make_job, write_member

STATES = "SELECT name, status, lifecycle_stage FROM runs"

pytestmark = pytest.mark.slow


def test_a_sweep_is_nested_and_readable(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = root / "sweeps" / "presets"
    job = make_job(sweep / "jobs" / "0", finished=[0, 1], evaluations=3)
    other = make_job(
        sweep / "jobs" / "1",
        overrides=["seeds=1", "head=simpler", "optim.lr=0.01"],
        finished=[0],
        seeds=1,
    )
    sync_job(root, job)
    sync_job(root, other)
    found = runs(root, sweep)
    assert {path: run.info.run_name for path, run in found.items()} == {
        "": "presets",
        "jobs/0": "conservative",
        "jobs/0/seed_0": "conservative seed 0",
        "jobs/0/seed_1": "conservative seed 1",
        "jobs/1": "simpler lr=0.01",
        "jobs/1/seed_0": "simpler lr=0.01 seed 0",
    }
    parents = {path: run.data.tags.get("mlflow.parentRunId") for path, run in found.items()}
    top, first, second = (found[p].info.run_id for p in ("", "jobs/0", "jobs/1"))
    assert list(dict(sorted(parents.items())).values()) == [None, top, first, first, top, second]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    tags = found[""].data.tags
    assert (tags["jobs"], tags["members_finished"], tags["members_failed"]) == ("2", "3", "0")

    member = found["jobs/0/seed_1"]
    assert member.data.params == {
        "head": "conservative",
        "hidden_dim": "144",
        "num_layers": "3",
        "dropout": "0.1",
        "pooling": "full",
        "statistics": "avg sum max min",
        "inputs": "query raw encoded",
        "data": "spectrometer",
        "features": "bending",
        "assignment_threshold": "0.1",
        "target": "plain",
        "target_relative": "False",
        "target_standardise": "True",
        "target_pt_unit": "1.0",
        "target_phi": "angle",
        "loss": "smooth_l1",
        "arm": "baseline",
        "steps": "100",
        "batch_size": "256",
        "lr": "0.003",
        "seed": "1",
        "params_raw_projection": "768",
        "params_encoded_projection": "1056",
        "params_head": "63652",
        "params_total": "65476",
        "aggregated_dim": "288",
    }
    assert member.data.metrics["val_qoverpt_r68"] == 0.11
    assert "steps_to_95" not in member.data.metrics
    assert artifacts(member) == ["config.yaml", "head.safetensors"]
    assert member.data.tags["member_key"] == member_key("job-0", 1)
    assert member.data.tags["arm"] == "baseline"
    assert member.info.end_time - member.info.start_time == pytest.approx(12500, abs=1)
    data = member.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest) == ("spectrometer", "01234567")

    summary = found["jobs/0"].data.metrics
    assert summary["val_qoverpt_r68_mean"] == pytest.approx(np.mean([0.10, 0.11]))
    assert summary["val_qoverpt_r68_std"] == pytest.approx(np.std([0.10, 0.11], ddof=1))
    assert summary["n"] == 2
    assert "val_qoverpt_r68_std" not in found["jobs/1"].data.metrics
    assert found["jobs/0"].data.tags["status"] == "2 of 2 finished"
    assert not list(tmp_path.iterdir())


def test_every_evaluation_is_a_metric_with_its_step(root: Path) -> None:
    from mlflow import MlflowClient

    job = make_job(root / "runs" / "history", finished=[0], seeds=1, evaluations=60)
    sync_job(root, job)
    member = runs(root, job)["seed_0"]
    client = MlflowClient(tracking_uri(root))
    written = pd.read_csv(job / "seed_0" / "history.csv").set_index("step")
    for name, column in written.items():
        metrics = client.get_metric_history(member.info.run_id, f"history/{name}")
        stored = pd.Series({m.step: m.value for m in metrics}).sort_index()
        pd.testing.assert_series_equal(stored, column.dropna(), check_names=False)
    assert len(written) == 60


def test_syncing_again_changes_nothing(root: Path) -> None:
    job = make_job(root / "sweeps" / 'again & it\'s "so"' / "jobs" / "0", finished=[0], failed=[1])
    sync_job(root, job)
    before = dump(root)
    sync_job(root, job)
    sync_job(root, job)
    assert dump(root) == before


def test_deleted_artifacts_are_written_again(root: Path) -> None:
    job = make_job(root / "runs" / "bare", finished=[0], seeds=1)
    sync_job(root, job)
    before = {path: artifacts(run) for path, run in runs(root, job).items()}
    lost = runs(root, job)["seed_0"].info.run_id
    shutil.rmtree(root / "mlartifacts" / lost)
    sync_job(root, job)
    after = runs(root, job)
    assert {path: artifacts(run) for path, run in after.items()} == before
    assert before["seed_0"]


def test_failed_members_fail_alone(root: Path) -> None:
    job = make_job(root / "sweeps" / "failing" / "jobs" / "0", finished=[0, 2], failed=[1], seeds=3)
    sync_job(root, job)
    found = runs(root, job)
    assert found["seed_1"].info.status == "FAILED"
    assert found["seed_1"].data.tags["reason"] == "loss is NaN at step 70"
    assert artifacts(found["seed_1"]) == ["config.yaml"]
    assert found[""].info.status == "FINISHED"
    assert found[""].data.tags["status"] == "2 of 3 finished"
    assert found[""].data.tags["reason"] == "seed 1: loss is NaN at step 70"
    assert found[""].data.metrics["n"] == 2
    assert runs(root, job.parents[1])[""].data.tags["members_failed"] == "1"


def test_job_without_any_success_failed_and_an_interrupted_one_was_killed(root: Path) -> None:
    all_failed = make_job(root / "runs" / "failed", failed=[0, 1])
    interrupted = make_job(root / "runs" / "interrupted", finished=[0], seeds=2)
    none = make_job(root / "runs" / "none")
    for job, status in ((all_failed, "FAILED"), (interrupted, "KILLED"), (none, "KILLED")):
        sync_job(root, job)
        assert runs(root, job)[""].info.status == status


def test_more_seeds_and_members_trained_again_replace_what_stood(root: Path) -> None:
    job = root / "sweeps" / "growing" / "jobs" / "0"
    make_job(job, finished=[0, 1])
    sync_job(root, job)
    make_job(job, finished=[2], seeds=3)
    write_member(job, 0, failed=True, evaluations=3)
    sync_job(root, job)
    found = runs(root, job)
    states = {path: run.info.status for path, run in found.items()}
    done = {"": "FINISHED", "seed_1": "FINISHED", "seed_2": "FINISHED"}
    assert states == {**done, "seed_0": "FAILED"}
    assert found[""].data.metrics["val_qoverpt_r68_mean"] == pytest.approx(0.115)
    assert {run.data.tags["mlflow.parentRunId"] for path, run in found.items() if path} == {
        found[""].info.run_id
    }
    shutil.rmtree(job / "seed_2")
    sync_job(root, job)
    assert sorted(runs(root, job)) == ["", "seed_0", "seed_1"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"regression_num_layers": 1}, {"num_layers": "1", "hidden_dim": "0", "dropout": "0"}),
        ({"regression_hidden_dim": None}, {"hidden_dim": None, "dropout": "0.1"}),
        ({"_target_": "Mine", "width": [3, 4]}, {"hidden_dim": "144", "width": "[3, 4]"}),
    ],
)
def test_head_parameters_are_those_in_effect(
    root: Path, head: dict[str, object], expected: dict[str, str | None]
) -> None:
    job = make_job(root / "runs" / "head", head=head, finished=[0], seeds=1)
    sync_job(root, job)
    params = runs(root, job)["seed_0"].data.params
    assert {name: params.get(name) for name in expected} == expected


def test_parameters_of_an_arm_are_those_in_effect(root: Path) -> None:
    pooling = {"width": "half", "statistics": ["avg"], "query": False}
    overrides = ["arm=half_projections"]  # the chosen file is still pooling=full
    job = make_job(root / "runs" / "arm", overrides=overrides, pooling=pooling, finished=[0])
    sync_job(root, job)
    params = runs(root, job)["seed_0"].data.params
    assert (params["arm"], params["pooling"]) == ("half_projections", "half")
    assert (params["statistics"], params["inputs"]) == ("avg", "raw encoded")


def test_a_sync_killed_half_way_is_completed_by_the_next(root: Path) -> None:
    job = make_job(root / "sweeps" / "killed" / "jobs" / "0", finished=range(12), seeds=12)
    begun = len(rows(root, STATES))
    for new in (1, 2, 4):
        process = PROCESSES.Process(target=sync_job, args=(root, job))
        process.start()
        while len(rows(root, STATES)) < begun + new:
            assert process.is_alive()
        process.kill()
        process.join()
        begun = len(rows(root, STATES))
    sync_job(root, job)
    found = runs(root, job)
    assert sorted(found) == sorted(["", *(f"seed_{seed}" for seed in range(12))])
    for path, run in found.items():
        assert run.info.status == "FINISHED"
        assert len(run.data.metrics) == (3 - 1 if not path else 5 + 1) + (not path)
    assert "RUNNING" not in {state[1] for state in rows(root, STATES)}


def test_processes_may_sync_the_same_jobs_at_once(root: Path) -> None:
    sweep = root / "sweeps" / "parallel"
    jobs = [make_job(sweep / "jobs" / str(n), finished=[0, 1]) for n in range(3)]
    with PROCESSES.Pool(4) as pool:
        pool.starmap(sync_job, [(root, job) for job in jobs * 3], chunksize=1)
    assert len(runs(root, sweep)) == 1 + 3 * 3
    assert runs(root, sweep)[""].data.tags["members_finished"] == "6"


def test_the_report_goes_to_the_sweeps_run(root: Path) -> None:
    sweep = root / "sweeps" / "reported"
    (sweep / "report" / "figures").mkdir(parents=True)
    (sweep / "report" / "report.md").write_text("# Report")
    (sweep / "report" / "figures" / "r68.png").write_bytes(b"png")
    with pytest.raises(TrackingError, match="reported: not in MLflow, as"):
        sync_report(root, sweep)
    job = make_job(sweep / "jobs" / "0", finished=[0], seeds=1)
    sync_job(root, job)
    assert runs(root, sweep)[""].data.tags["verdict"] == "none: report"
    row = {"jobs": ["0"], "verdict": "control", "metrics": {"dev_qoverpt_r68_mean": 0.125}}
    write_json(sweep / "report" / "summary.json", {"answer": "No verdict.", "rows": [row]})
    sync_report(root, sweep)
    before = dump(root)
    sync_report(root, sweep)
    sync_job(root, job)
    assert dump(root) == before
    run, own = runs(root, sweep)[""], runs(root, job)[""]
    assert (run.data.tags["verdict"], own.data.tags["verdict"]) == ("No verdict.", "control")
    assert own.data.metrics["dev_qoverpt_r68_mean"] == 0.125
    assert run.data.metrics["val_qoverpt_r68_mean"] == 0.10
    assert artifacts(run) == ["report"]
    copied = root / "mlartifacts" / run.info.run_id / "artifacts" / "report"
    assert sorted(p.name for p in copied.rglob("*.*")) == ["r68.png", "report.md", "summary.json"]
    make_job(sweep / "jobs" / "1", finished=[1], seeds=1)  # the report holds no longer
    sync_job(root, sweep / "jobs" / "1")
    assert runs(root, sweep)[""].data.tags["verdict"] == "none: report"
    assert runs(root, job)[""].data.tags["verdict"] == "none: report"


def test_a_locked_database_is_an_error_within_the_time_given(root: Path) -> None:
    job = make_job(root / "runs" / "locked", finished=[0], seeds=1)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"mlflow\.db: .*locked"):
            sync_job(root, job, timeout=0.1)
        assert time.monotonic() - start < 30  # not LOCK_SECONDS


def test_a_job_of_five_seeds_takes_well_below_a_second_or_two(root: Path) -> None:
    job = make_job(
        root / "sweeps" / "timed" / "jobs" / "0", finished=range(5), seeds=5, evaluations=60
    )
    for name in ("first", "again"):
        start = time.process_time()  # whatever else the machine does
        sync_job(root, job)
        seconds = time.process_time() - start
        print(f"sync of 5 seeds with 60 evaluations each, {name}: {seconds:.3f} s")
        assert seconds < 5
