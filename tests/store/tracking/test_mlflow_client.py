"""MLflow's database below a root, and what is done where it cannot be used."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from headsweep.store.tracking import columns, database
from headsweep.store.tracking.database import TrackingError, tracking_uri
from headsweep.store.tracking.mlflow_client import (
    check_uri,
    init,
    open_experiment,
    view_address,
)
from helpers.mlflow_runs import rows
from helpers.run_folders import PROCESSES

pytestmark = pytest.mark.slow


def test_importing_tracking_does_not_import_mlflow(tmp_path: Path) -> None:
    code = "import sys, headsweep.store.tracking.mlflow_client;"
    code += "print({'mlflow', 'torch', 'pandas'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"set()"


def test_eight_processes_may_create_the_database_at_once(tmp_path: Path) -> None:
    root = tmp_path / "new"
    with PROCESSES.Pool(8) as pool:
        assert pool.map(init, [root] * 8, chunksize=1) == [None] * 8
    names = rows(root, "SELECT name FROM experiments")
    assert names == [("Default",), (database.EXPERIMENT,)]
    assert not list(root.glob(".tmp-*"))


def test_an_older_database_gets_the_view_of_this_version(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    init(tmp_path)
    client = MlflowClient(tracking_uri(tmp_path))
    known = client.get_experiment_by_name(database.EXPERIMENT)
    assert known is not None
    experiment = known.experiment_id
    new = client.get_experiment(experiment).tags
    client.set_experiment_tag(experiment, columns.TAG, "{}")
    assert view_address(tmp_path) == columns.address(experiment)
    assert client.get_experiment(experiment).tags == new == {columns.TAG: columns.content()}


def test_unusable_databases_are_errors(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(TrackingError, match="not a database"):
        init(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="no run folder is touched"):
        init(tmp_path / "file")


def test_only_addresses_of_servers_are_taken(tmp_path: Path) -> None:
    for uri in (None, "http://127.0.0.1:5000", "https://mlflow.example"):
        check_uri(uri)
    with pytest.raises(TrackingError, match=r"tracking_uri=sqlite:.*must be http"):
        check_uri("sqlite:///x.db")
    with (
        pytest.raises(TrackingError, match="must be http"),
        open_experiment(tmp_path, tmp_path, "x"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_only_our_own_database_is_spared_the_wait_for_the_disk(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    ours, other = tmp_path / "runs", tmp_path / "other"
    other.mkdir()
    MlflowClient(f"sqlite:///{other}/mlflow.db")
    with open_experiment(ours, ours):
        waits = {path: synchronous(path / "mlflow.db") for path in (ours, other)}
        assert waits == {ours: 0, other: 2}  # OFF and FULL
        assert synchronous(ours / "trials.db") == 2
    assert synchronous(ours / "mlflow.db") == 2  # a connection of others, after the block


def synchronous(database: Path) -> int:
    """SQLite's setting ``synchronous`` in a new connection of SQLAlchemy to a database."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    engine.dispose()
    return int(found)
