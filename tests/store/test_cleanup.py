"""Summaries of sweeps, and removal of files that nothing uses."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.store import runs, specification
from headsweep.store.cleanup import ABANDONED, remove_unused, summarise, summarise_root
from headsweep.store.outcome import Outcome
from helpers.run_folders import make_job


def fill(path: Path, size: int, age: float = 0.0) -> Path:
    """A file of ``size`` bytes that, with its folder, did not change for ``age`` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * size)
    for item in (path, path.parent):
        os.utime(item, (time.time() - age,) * 2)
    return path


def test_summaries_count_jobs_members_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "presets"
    specification.claim_sweep(folder, {"jobs": ["a", "b", "c"], "seeds": 2})
    make_job(folder / "jobs" / "0", finished=[0, 1])
    make_job(folder / "jobs" / "1", finished=[0], failed=[1])
    make_job(folder / "jobs" / "2", finished=[0])
    (summary,) = summarise_root(tmp_path)
    assert (summary.name, summary.jobs, summary.jobs_finished) == ("presets", 3, 2)
    assert (summary.finished, summary.failed) == (4, 1)
    assert summary.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert abs(summary.updated - time.time()) < 60


def test_jobs_that_did_not_start_and_seeds_that_were_added_are_missing(tmp_path: Path) -> None:
    specification.claim_sweep(tmp_path, {"jobs": ["a", "b", "c"], "seeds": 3})
    make_job(tmp_path / "jobs" / "0", finished=[0, 1], seeds=2)
    summary = summarise(tmp_path)
    assert (summary.jobs, summary.jobs_finished) == (3, 0)


def test_seeds_of_an_earlier_command_do_not_stand_for_those_of_the_last(tmp_path: Path) -> None:
    make_job(tmp_path / "jobs" / "0", finished=[5, 6, 7], seeds=2)  # the last asked for 0 and 1
    assert summarise(tmp_path).jobs_finished == 0


def test_single_runs_have_a_summary_of_their_own(tmp_path: Path) -> None:
    make_job(tmp_path / "runs" / "0f3a", finished=[0], seeds=1)
    make_job(tmp_path / "runs" / "1c9b", failed=[0], seeds=1)
    make_job(tmp_path / "sweeps" / "b" / "jobs" / "0", finished=[0], seeds=2)
    found = [(s.kind, s.name, s.jobs_finished, s.failed) for s in summarise_root(tmp_path)]
    assert found == [("sweep", "b", 0, 0), ("run", "0f3a", 1, 0), ("run", "1c9b", 1, 1)]


def test_failures_are_counted_with_their_reasons(tmp_path: Path) -> None:
    """Of seeds, of a job that broke in its training, and of one that never began it."""
    folder = tmp_path / "sweeps" / "presets"
    specification.claim_sweep(folder, {"jobs": ["a", "b", "c", "d"], "seeds": 3})
    make_job(folder / "jobs" / "0", finished=[0, 1, 2], seeds=3)
    make_job(folder / "jobs" / "1", finished=[0], failed=[1, 2], seeds=3)
    make_job(folder / "jobs" / "2", finished=[0], seeds=3)
    Outcome("failed", "out of memory").write(folder / "jobs" / "2")
    Outcome("failed", "no such file [x]").write(folder / "jobs" / "3")
    make_job(tmp_path / "runs" / "0f3a", failed=[0], seeds=1)
    sweep, run = summarise_root(tmp_path)
    assert (sweep.finished, sweep.failed) == (5, 2 + 2 + 3)
    assert sweep.reasons == [
        "job 1: loss is NaN at step 70",
        "job 2: out of memory",
        "job 3: no such file [x]",
    ]
    assert run.why() == "0f3a: loss is NaN at step 70\n"
    many = replace(sweep, reasons=[str(n) for n in range(9)]).why().splitlines()
    assert many == ["presets: 0", "presets: 1", "presets: 2", "presets: and 6 more"]


def test_the_last_result_is_the_recorded_one(tmp_path: Path) -> None:
    job = make_job(tmp_path / "runs" / "0f3a", finished=[0, 1])
    assert abs(summarise(job).updated - time.time()) < 60  # a record of an older version has none
    for seed, ended in ((0, 1.7e9), (1, 1.6e9)):
        result = {**(runs.read_result(job / f"seed_{seed}") or {}), "ended": ended}
        runs.write_member(job / f"seed_{seed}", result)
    copy = shutil.copytree(job, tmp_path / "runs" / "copy")
    assert summarise(copy).updated == 1.7e9


def test_a_file_that_goes_while_it_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path / "runs" / "0f3a", finished=[0])
    monkeypatch.setattr(os, "walk", lambda _: [(str(job), [], ["gone", "job.json"])])
    assert summarise(job).bytes == (job / "job.json").stat().st_size


def test_clean_removes_unused_caches_and_abandoned_folders_only(tmp_path: Path) -> None:
    job = make_job(tmp_path / "runs" / "0f3a", finished=[0], cache_key="usedkey")
    caches = tmp_path / "cache"
    kept = [
        fill(caches / "features" / "usedkey" / "raw.npy", 10),
        fill(caches / "features" / "oldkey.lock", 0),
        fill(caches / "data" / "spectrometer-0123456789abcdef" / "hits.h5", 10),
        fill(caches / "other" / "file", 10),
        fill(caches / "features" / ".tmp-young" / "raw.npy", 10),
        fill(caches / "features" / "of-a-run-without-job-json" / "raw.npy", 10),
        fill(tmp_path / "mlflow.db", 10),
    ]
    gone = [
        fill(caches / "features" / "oldkey" / "raw.npy", 1000, age=ABANDONED + 60),
        fill(caches / "data" / "spectrometer-ffff" / "hits.h5", 200, age=ABANDONED + 60),
        fill(caches / "features" / ".tmp-old" / "raw.npy", 30, age=ABANDONED + 60),
        fill(job / "seed_1" / ".tmp-file", 4, age=ABANDONED + 60),
    ]
    assert remove_unused(tmp_path) == 1234
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)
    assert runs.read_results(job).keys() == {0}
    assert remove_unused(tmp_path) == 0


def test_clean_removes_a_named_sweep_and_then_what_it_used(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "mine"
    make_job(sweep / "jobs" / "0", finished=[0], cache_key="mykey")
    other = make_job(tmp_path / "sweeps" / "other" / "jobs" / "0", finished=[0])
    cache = fill(tmp_path / "cache" / "features" / "mykey" / "raw.npy", 10)
    assert remove_unused(tmp_path) == 0
    assert remove_unused(tmp_path, "mine") > 10
    assert not sweep.exists()
    assert not cache.exists()
    assert runs.read_results(other).keys() == {0}


def test_clean_follows_no_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sweeps").mkdir(parents=True)
    kept = [
        fill(outside / "features" / "oldkey" / "raw.npy", 10, age=ABANDONED + 60),
        fill(outside / "data" / "old" / "raw.npy", 10, age=ABANDONED + 60),
        fill(outside / ".tmp-old" / "raw.npy", 10, age=ABANDONED + 60),
        make_job(outside / "mine" / "jobs" / "0", finished=[0]) / "job.json",
    ]
    links = {
        "cache/features": outside / "features",  # a folder on another disk
        "cache/data/entry": outside / "data" / "old",
        "cache/data/circle": root / "cache/data/circle",
        "cache/data/nothing": outside / "nothing",
        "sweeps/mine": outside / "mine",
        ".tmp-link": outside / ".tmp-old",
    }
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
        os.utime(root / name, (0, 0), follow_symlinks=False)
    assert remove_unused(root) == 0
    with pytest.raises(UserError, match=r"is a link to .*remove that yourself"):
        remove_unused(root, "mine")
    assert all(path.exists() for path in kept)
    assert [summary.name for summary in summarise_root(root)] == ["mine"]
    linked = tmp_path / "linked"
    linked.symlink_to(root)  # the root itself may be one
    gone = fill(root / "cache/data/old", 7, age=ABANDONED + 60)
    assert remove_unused(linked) == 7
    assert not gone.exists()


def test_clean_keeps_the_caches_of_jobs_at_work(tmp_path: Path) -> None:
    make_job(tmp_path / "sweeps/long/attempts/0-1", cache_key="busykey")
    cache = fill(tmp_path / "cache" / "features" / "busykey" / "raw.npy", 10, age=ABANDONED + 60)
    assert remove_unused(tmp_path) == 0
    assert cache.exists()


@pytest.mark.parametrize("look", [summarise_root, remove_unused])
def test_a_root_that_is_no_folder_is_refused(
    tmp_path: Path, look: Callable[[Path], object]
) -> None:
    for root in (tmp_path / "nowhere", fill(tmp_path / "file", 1)):
        with pytest.raises(UserError, match=f"^--root {root}: no such folder; .*root=FOLDER"):
            look(root)
    assert summarise_root(tmp_path) == []
    assert remove_unused(tmp_path) == 0


@pytest.mark.parametrize("name", ["nothing", "..", "", "mine/jobs"])
def test_clean_refuses_what_is_no_sweep(tmp_path: Path, name: str) -> None:
    job = make_job(tmp_path / "sweeps" / "mine" / "jobs" / "0", finished=[0])
    with pytest.raises(UserError, match="no sweep"):
        remove_unused(tmp_path, name)
    assert job.exists()
