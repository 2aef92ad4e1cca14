"""The database below a root: it follows its root, and a damaged one is made anew."""

import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from headsweep.store.tracking import database
from headsweep.store.tracking.database import DamagedError, TrackingError
from headsweep.store.tracking.mlflow_client import init
from headsweep.store.tracking.sync import mending, sync_all, sync_job
from helpers.mlflow_runs import artifacts, dump, rows, runs
from helpers.run_folders import make_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a grid of two jobs and a single run, all in MLflow."""
    root = tmp_path_factory.mktemp("database") / "runs"
    for number in (0, 1):
        make_job(root / "sweeps/grid/jobs" / str(number), finished=[0, 1])
    make_job(root / "runs/abc", finished=[0], seeds=1)
    assert sync_all(root) == ["grid", "abc"]
    return root


@pytest.fixture
def root(synced: Path, tmp_path: Path) -> Path:
    """A copy of the root, to be damaged."""
    return shutil.copytree(synced, tmp_path / "copy")


def _content(root: Path) -> dict[str, tuple[object, ...]]:
    """Parameters, metrics and files of every run, by folder."""
    found = {**runs(root, root / "sweeps/grid"), **runs(root, root / "runs/abc")}
    return {
        path: (run.data.params, run.data.metrics, artifacts(run), run.info.status)
        for path, run in found.items()
    }


def _times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_artifacts_are_found_where_the_root_is_now(how: str, synced: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "ü & 100% #1"
    shutil.copytree(synced, old)
    init(old)
    if how == "moved":
        old.rename(new)
    else:
        shutil.copytree(old, new)
        before = _times(old)
    make_job(new / "runs/later", finished=[0], seeds=1)
    assert sync_all(new) == ["grid", "abc", "later"]
    for folder in ("runs/abc", "runs/later"):
        (member,) = [run for path, run in runs(new, new / folder).items() if path]
        assert artifacts(member) == ["config.yaml", "head.safetensors"]
        assert member.info.artifact_uri.startswith((new / "mlartifacts").as_uri())
    if how == "moved":
        assert not old.exists()
    else:
        assert _times(old) == before


ORDERS = {
    "tag": "DELETE FROM tags WHERE key = 'headsweep.content'",
    "metrics": "DELETE FROM metrics WHERE rowid % 2",
    "all metrics": "DELETE FROM metrics",
    "latest metrics": "DELETE FROM latest_metrics",
    "parameters": "DELETE FROM params WHERE rowid % 3",
    "bin": "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'headsweep'",
    "status": "UPDATE runs SET status = 'RUNNING'",
}
"""Rows that are lost or wrong in a sound database: ``sync`` writes the runs again."""

HISTORIES = (
    "SELECT key, step, count(DISTINCT run_uuid) FROM metrics JOIN runs USING (run_uuid) "
    "WHERE lifecycle_stage = 'active' GROUP BY key, step"
)
"""Every point of a curve that MLflow shows, with the number of runs that have it."""

BROKEN = {
    "metrics table": "DROP TABLE metrics",
    "tags table": "DROP TABLE tags",
    "column": "ALTER TABLE runs DROP COLUMN artifact_uri",
    "newer schema": "UPDATE alembic_version SET version_num = 'ffffffffffff'",
    "older schema": "UPDATE alembic_version SET version_num = '451aebb31d03'",
    "no schema": "DELETE FROM alembic_version",
}
"""What MLflow cannot open: ``sync`` moves the database aside."""


def _execute(root: Path, order: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute(order)
        connection.commit()


@pytest.mark.parametrize("what", ORDERS)
def test_lost_rows_are_written_again(what: str, root: Path) -> None:
    before, histories = _content(root), rows(root, HISTORIES)
    _execute(root, ORDERS[what])
    sync_all(root)
    assert (_content(root), rows(root, HISTORIES)) == (before, histories)
    assert not list(root.glob("mlflow-damaged-*"))
    kept = dump(root)
    sync_all(root)
    assert dump(root) == kept


def test_runs_without_any_tag_do_not_come_twice(root: Path) -> None:
    before = _content(root)
    _execute(root, "DELETE FROM tags")
    sync_all(root)
    assert _content(root) == before
    assert len(list(root.glob("mlflow-damaged-*"))) == 1


def test_a_training_mends_what_is_damaged(root: Path) -> None:
    before = _content(root)
    _execute(root, BROKEN["tags table"])
    with mending(root):
        sync_job(root, root / "runs/abc")
    assert _content(root) == before
    assert len(list(root.glob("mlflow-damaged-*"))) == 1


def test_a_training_leaves_a_database_of_another_version_alone(root: Path) -> None:
    _execute(root, BROKEN["newer schema"])
    words = r"schema.*`headsweep sync.* makes it anew"
    with pytest.raises(TrackingError, match=words), mending(root):
        sync_job(root, root / "runs/abc")
    assert not list(root.glob("mlflow-damaged-*"))


@pytest.mark.parametrize("what", [*BROKEN, "garbage", "pages", "cut", "empty", "folder", "link"])
def test_a_damaged_database_is_moved_aside_and_made_anew(
    what: str, root: Path, synced: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, file = _content(synced), root / "mlflow.db"
    data = bytearray(file.read_bytes())
    if what in BROKEN:
        _execute(root, BROKEN[what])
    elif what == "pages":
        rng = random.Random(0)
        for place in range(8192, len(data), 4096):
            data[place : place + 200] = rng.randbytes(200)
    file.write_bytes(
        {
            "garbage": b"\xff\xfenot a database" * 500,
            "pages": bytes(data),
            "cut": bytes(data[: len(data) // 2]),
            "empty": b"",
        }.get(what, file.read_bytes())
    )
    if what in ("folder", "link"):
        file.unlink()
        file.mkdir() if what == "folder" else file.symlink_to(file)
    start = time.monotonic()
    with pytest.raises(DamagedError, match=r"mlflow\.db: MLflow is damaged .*`headsweep sync"):
        sync_job(root, root / "runs/abc")
    assert time.monotonic() - start < 30  # MLflow itself tries for minutes
    assert sync_all(root, "abc") == ["grid", "abc"]  # a new database needs all of them
    assert time.monotonic() - start < 60
    (aside,) = root.glob("mlflow-damaged-*")
    assert (aside / "mlflow.db").is_symlink() or (aside / "mlflow.db").exists()
    assert str(aside) in caplog.text
    assert _content(root) == before


def test_a_locked_database_is_waited_for_but_not_for_long(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(TrackingError, match="locked") as caught:
            sync_all(root)
        assert time.monotonic() - start < 30  # MLflow itself tries for minutes
    assert not isinstance(caught.value, DamagedError)
    assert not list(root.glob("mlflow-damaged-*"))
    sync_all(root)


@pytest.mark.parametrize("name", ["a%20b", "what?", "%3f"])
def test_a_root_that_no_address_can_name_is_refused_before_anything_is_written(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(TrackingError, match=r"rename it, or train with tracking=false"):
        init(tmp_path / name)
    assert not (tmp_path / name / "mlflow.db").exists()


def test_an_experiment_in_the_bin_comes_back_and_is_said(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _execute(root, ORDERS["bin"])
    sync_all(root)
    assert "had been deleted; it is taken out of the bin" in caplog.text
    assert ("headsweep", "active") in rows(root, "SELECT name, lifecycle_stage FROM experiments")


def test_a_run_that_has_lost_its_folder_is_replaced(root: Path) -> None:
    live = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
    before, count = _content(root), len(rows(root, live))
    _execute(root, "DELETE FROM tags WHERE key = 'headsweep.path' AND rowid % 2")
    sync_all(root)
    assert _content(root) == before
    assert len(rows(root, live)) == count
    assert not list(root.glob("mlflow-damaged-*"))
