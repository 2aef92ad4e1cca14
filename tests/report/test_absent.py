"""Jobs of a sweep without a run folder, and those that are equal to others."""

from pathlib import Path

import pytest

from headsweep.report.absent import absent_jobs, failed_folds, same_labels
from headsweep.store.labels import StoredJob, group_rows, read_jobs
from headsweep.store.outcome import Outcome
from helpers.toy_runs import write_toy_job

SPEC = {
    "jobs": {
        f"{2 * fold + arm} arm=a{arm} fold={fold}": {"arm": f"a{arm}", "data.split.fold": fold}
        for fold in range(3)
        for arm in range(2)
    },
    "same": {"arm=a2 fold=0": 0, "arm=a3 fold=2": 5},
}
LOST = {"4 arm=a0 fold=2": "no memory", "5 arm=a1 fold=2": ""}


@pytest.fixture
def jobs(tmp_path: Path) -> list[StoredJob]:
    """Two arms of three folds; of the last fold one arm failed, and one is not trained yet."""
    for name, own in list(SPEC["jobs"].items())[:4]:
        write_toy_job(
            tmp_path / "jobs" / name.partition(" ")[0],
            {0: 0.1},
            labels={"arm": own["arm"]},  # type: ignore[dict-item]
            overrides=[f"arm={own['arm']}"],
            split={"folds": 3, "fold": own["data.split.fold"]},
        )
    Outcome("failed", "no memory").write(tmp_path / "jobs" / "4")
    return read_jobs(tmp_path)


def test_a_job_without_a_folder_has_failed_or_is_not_trained_yet(
    tmp_path: Path, jobs: list[StoredJob]
) -> None:
    assert absent_jobs(tmp_path, SPEC, jobs) == LOST
    assert absent_jobs(tmp_path, {}, jobs) == {}  # a single run has no specification


def test_a_configuration_that_lost_a_fold_is_objected_to(jobs: list[StoredJob]) -> None:
    found = failed_folds(SPEC, group_rows(jobs), LOST)
    assert found == {"a0": "its job 4 arm=a0 fold=2 failed: no memory"}


def test_equal_jobs_are_said_by_the_label_of_the_other(jobs: list[StoredJob]) -> None:
    assert same_labels(SPEC, group_rows(jobs)) == {"arm=a2 fold=0": "a0"}  # 5 is not there
