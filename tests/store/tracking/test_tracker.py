"""Copies to MLflow beside a training and beside a report, also when MLflow cannot be reached."""

import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from headsweep.config import Config
from headsweep.store.tracking import tracker
from headsweep.store.tracking.changes import SweepSnapshot
from headsweep.store.tracking.database import TrackingError
from headsweep.store.tracking.sync import sync_sweep
from helpers.mlflow_runs import artifacts, runs
from helpers.run_folders import make_search, make_trial
from helpers.serving import free_port

pytestmark = pytest.mark.slow


def test_the_tracker_warns_once_and_delivers_when_it_can(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tries = []
    sweep = make_search(tmp_path / "sweeps" / "s")
    make_trial(sweep, 0, "complete", 0.2)
    config = Config(root=str(tmp_path), tracking_uri=f"http://127.0.0.1:{free_port()}")

    def counted(root: Path, folder: Path, uri: str | None, known: SweepSnapshot) -> None:
        tries.append(uri)
        sync_sweep(root, folder, uri, known)

    monkeypatch.setattr(tracker, "sync_sweep", counted)
    monkeypatch.setattr(tracker, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(tracker, "RETRY_SECONDS", 0.01)
    with tracker.Tracker(config, sweep):
        end = time.monotonic() + 60
        while len(tries) < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        make_trial(sweep, 1, "complete", 0.1)
        config.tracking_uri = server
    assert sorted(runs(tmp_path, sweep, server)) == ["", "jobs/0", "jobs/1"]
    err = capfd.readouterr().err
    assert (err.count("warning: "), err.count("\n")) == (1, 1)


def test_what_is_missing_in_the_end_is_said_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = iter(["early", "meanwhile", "end"])

    def fail(*_: object) -> None:
        raise TrackingError(next(texts))

    monkeypatch.setattr(tracker, "sync_sweep", fail)
    follower = tracker.Tracker(Config(root=str(tmp_path)), tmp_path)
    assert not follower._sync()
    assert not follower._sync()
    assert not follower._sync(last=True)
    assert capfd.readouterr().err == "warning: early\nwarning: end\n"


def test_a_damaged_database_is_made_anew(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "sweeps" / "s")
    make_trial(sweep, 0, "complete", 0.2)
    sync_sweep(tmp_path, sweep)
    database = tmp_path / "mlflow.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    with tracker.Tracker(Config(root=str(tmp_path)), sweep):
        pass
    assert sorted(runs(tmp_path, sweep)) == ["", "jobs/0"]


def test_a_fault_in_tracking_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("head")

    monkeypatch.setattr(tracker, "sync_sweep", fail)
    with tracker.Tracker(Config(root=str(tmp_path)), tmp_path):
        pass
    assert capfd.readouterr().err == "warning: MLflow: KeyError: 'head'\n"


def test_without_tracking_nothing_is_written(tmp_path: Path) -> None:
    sweep = make_search(tmp_path / "sweeps" / "s")
    make_trial(sweep, 0, "complete", 0.2)
    with tracker.Tracker(Config(root=str(tmp_path), tracking=False), sweep):
        pass
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("place", ["database", "server"])
def test_a_report_is_copied_by_a_process_of_its_own(root: Path, place: str, server: str) -> None:
    uri = server if place == "server" else None
    sweep = make_search(root / "sweeps" / f"copied-{place}")
    make_trial(sweep, 0, "complete", 0.2)
    sync_sweep(root, sweep, uri)
    (sweep / "report").mkdir()
    (sweep / "report" / "report.md").write_text("# Report")
    with tracker.report_copier(root, sweep, uri) as copy:
        copy()
        assert artifacts(runs(root, sweep, uri)[""], uri) == ["report"]
        (process,) = active_children()
        process.kill()
        advice = f"headsweep sync copied-{place} {f'--tracking-uri {uri} ' if uri else ''}--root"
        with pytest.raises(TrackingError, match=advice):
            copy()
