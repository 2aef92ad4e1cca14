"""Run folders: members that are complete or do not count, tables, and specifications of sweeps."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from headsweep.errors import DamagedError, UserError
from headsweep.store import runs
from helpers.run_folders import PROCESSES, make_job, write_for_ever

pytestmark = pytest.mark.slow


def test_member_is_read_back_exactly(tmp_path: Path) -> None:
    job = make_job(tmp_path / "0", finished=[3], failed=[4])
    result = runs.read_result(job / "seed_3")
    assert result is not None
    assert result["schema"] == runs.RUN_SCHEMA
    assert result["metrics"] == {"val_qoverpt_r68": 0.13, "steps_to_95": None}
    assert "NaN" not in (job / "seed_3" / "result.json").read_text()
    weights = runs.load_weights(job / "seed_3" / "head.safetensors")
    torch.testing.assert_close(weights["regression_head.0.weight"], torch.full((4, 3), 3.0))
    history = pd.read_csv(job / "seed_3" / "history.csv")
    assert history["val_loss"][2] == np.random.default_rng(3).random((3, 3))[2, 2]
    predictions = pd.read_parquet(job / "seed_3" / "predictions_val.parquet")
    assert list(predictions["event"]) == [1, 2]
    results = runs.read_results(job)
    assert list(results) == [3, 4]
    assert results[4]["reason"] == "loss is NaN at step 70"


def test_weights_may_be_slices_of_a_stack_that_trains(tmp_path: Path) -> None:
    stack = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    weights = {"a": stack[1].T, "b": stack[1, 0]}
    runs.write_member(tmp_path / "seed_0", {"status": "finished"}, weights=weights)
    read = runs.load_weights(tmp_path / "seed_0" / "head.safetensors")
    assert torch.equal(read["a"], stack[1].T)
    assert torch.equal(read["b"], stack[1, 0])


@pytest.mark.parametrize("content", ['{"schema": 99}', "{}"])
def test_other_schema_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match=rf"schema (99|None), .* reads {runs.RUN_SCHEMA}"):
        runs.read_result(tmp_path)


@pytest.mark.parametrize("name", ["head.safetensors", "history.csv", "predictions_val.parquet"])
def test_a_file_of_another_training_is_refused_by_name(tmp_path: Path, name: str) -> None:
    job = make_job(tmp_path / "0", finished=[0, 1])
    path = job / "seed_0" / name
    whole = path.read_bytes()
    for bad in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", None):
        path.unlink() if bad is None else path.write_bytes(bad)
        with pytest.raises(DamagedError, match=f"seed_0/{name}: .*command that trained it again"):
            runs.open_file(job / "seed_0", name)
    path.write_bytes(whole)
    assert runs.open_file(job / "seed_0", name).getvalue() == whole
    (job / "seed_1" / "head.safetensors").replace(job / "seed_0" / "head.safetensors")
    with pytest.raises(DamagedError, match=r"seed_0/head\.safetensors: "):
        runs.load_weights(job / "seed_0" / "head.safetensors")


def test_members_and_configurations_in_the_place_of_others_are_refused(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / str(n), finished=[0, 1]) for n in range(2)]
    (jobs[0] / "seed_0").rename(tmp_path / "kept")
    (jobs[0] / "seed_1").rename(jobs[0] / "seed_0")
    with pytest.raises(DamagedError, match="0/seed_0: is the member of another job or seed"):
        runs.read_results(jobs[0])
    (jobs[1] / "config.yaml").replace(jobs[0] / "config.yaml")
    with pytest.raises(DamagedError, match=r"0/config\.yaml: damaged"):
        runs.read_config(jobs[0])
    with pytest.raises(DamagedError, match=r"1/config\.yaml: missing"):
        runs.read_config(jobs[1])
    (jobs[1] / "job.json").unlink()
    assert jobs[1] in runs.find_jobs(tmp_path)
    with pytest.raises(DamagedError, match=r"1/job\.json: missing"):
        runs.frame(jobs[1])


def test_a_backup_of_a_job_folder_is_no_job(tmp_path: Path) -> None:
    make_job(tmp_path / "sweeps/s/jobs/0", finished=[0])
    make_job(tmp_path / "sweeps/s/jobs/0.bak", finished=[0])
    assert len(runs.frame(tmp_path)) == 1


@pytest.mark.parametrize("text", [None, "", "headsweep train -m name=s", "headsweep train 'name\n"])
def test_a_lost_or_cut_command_is_not_shown_as_one(tmp_path: Path, text: str | None) -> None:
    folder = tmp_path / "sweeps/s"
    runs.write_command(folder, "headsweep train -m name=s data=tiny")
    assert " -m name=s data=tiny" in runs.read_command(folder)
    (folder / "command.txt").unlink()
    if text is not None:
        (folder / "command.txt").write_text(text)
    assert "command.txt is damaged" in runs.read_command(folder)


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.027, 0.041])
def test_a_kill_leaves_a_complete_member_or_none(tmp_path: Path, delay: float) -> None:
    folder = tmp_path / "seed_0"
    process = PROCESSES.Process(target=write_for_ever, args=(folder,))
    process.start()
    while not (folder / "result.json").exists():
        assert process.is_alive()
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    result = runs.read_result(folder)
    if result is not None:
        assert pd.read_csv(folder / "history.csv")["step"].unique() == [result["round"]]
        weights = runs.load_weights(folder / "head.safetensors")
        assert weights["w"].unique() == result["round"]


def test_progress(tmp_path: Path) -> None:
    assert runs.read_progress(tmp_path) is None
    runs.write_progress(tmp_path, {"phase": "training", "step": 3, "val": float("nan")})
    assert runs.read_progress(tmp_path) == {"phase": "training", "step": 3, "val": None}


def test_jobs_are_found_in_number_order(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    numbers = [make_job(root / "sweeps" / "b" / "jobs" / str(n)) for n in (10, 9, 0)][::-1]
    other = make_job(root / "sweeps" / "a" / "jobs" / "0")
    single = make_job(root / "runs" / "0f3a")
    assert runs.find_jobs(root) == [other, *numbers, single]
    assert runs.find_jobs(root / "sweeps" / "b") == numbers
    assert runs.find_jobs(root / "runs") == [single]
    assert runs.find_jobs(single) == [single]
    assert runs.find_jobs(tmp_path / "nowhere") == []


def test_frame_has_one_row_a_member(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "presets"
    make_job(sweep / "jobs" / "0", finished=[0, 1])
    make_job(
        sweep / "jobs" / "1",
        head={"regression_num_layers": 1},
        overrides=["head=direct_projection", "optim.lr=0.01"],
        failed=[0],
    )
    (sweep / "jobs" / "1" / "seed_1").mkdir()
    table = runs.frame(sweep)
    assert table[["job", "seed"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert list(table["head"]) == ["conservative", "conservative", "direct_projection"]
    assert list(table["head.regression_num_layers"]) == [3, 3, 1]
    assert list(table["status"]) == ["finished", "finished", "failed"]
    assert list(table["data.source.pt_edges"]) == ["5,10"] * 3
    np.testing.assert_array_equal(table["val_qoverpt_r68"], [0.1, 0.11, np.nan])
    assert table["steps_to_95"].isna().all()
    assert table["steps_to_95"].dtype == float
    assert set(table["params_total"]) == {65476}
    assert set(table["aggregated_dim"]) == {288}
    assert set(table["sweep"]) == {"presets"}
    assert Path(table["folder"][1]) == sweep / "jobs" / "0" / "seed_1"


def test_frame_of_single_runs_and_of_nothing(tmp_path: Path) -> None:
    assert len(runs.frame(tmp_path)) == 0
    assert "member_key" in runs.frame(tmp_path)
    make_job(tmp_path / "runs" / "0f3a", finished=[0])
    row = runs.frame(tmp_path).iloc[0]
    assert row["job"] == "0f3a"
    assert pd.isna(row["sweep"])
