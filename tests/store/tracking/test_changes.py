"""Changes in a sweep's folder between two looks."""

import os
import shutil
import time
from pathlib import Path

from headsweep.store.tracking.changes import SweepSnapshot, job_stamps


def test_only_jobs_that_changed_are_looked_at_again(tmp_path: Path) -> None:
    known = SweepSnapshot()
    assert (job_stamps(tmp_path), known.changed({})) == ({}, [])
    for number in (0, 2, 10):
        (tmp_path / "jobs" / str(number)).mkdir(parents=True)
    now = job_stamps(tmp_path)
    assert now == {"0": None, "2": None, "10": None}  # too young to be sure of
    known.update(now, {})
    assert known.changed(job_stamps(tmp_path)) == ["0", "2", "10"]
    for folder in (tmp_path / "jobs").iterdir():
        os.utime(folder, times=(time.time() - 5, time.time() - 5))
    known.update(job_stamps(tmp_path), {})
    assert known.changed(job_stamps(tmp_path)) == []
    (tmp_path / "jobs" / "2" / "seed_0").mkdir()
    (tmp_path / "jobs" / "11").mkdir()
    shutil.rmtree(tmp_path / "jobs" / "10")
    assert known.changed(job_stamps(tmp_path)) == ["11", "2", "10"]
    known.update(job_stamps(tmp_path), {})
    assert "10" not in known.stamps


def test_a_job_that_vanishes_while_it_is_looked_at_hides_no_other(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "jobs" / str(number)).mkdir(parents=True)
    (tmp_path / "jobs" / "gone").symlink_to(tmp_path / "nowhere")
    assert list(job_stamps(tmp_path)) == ["0", "1", "2"]
