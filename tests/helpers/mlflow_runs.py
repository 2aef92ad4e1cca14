"""What is in the MLflow database below a root, for tests."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headsweep.store.tracking import database

if TYPE_CHECKING:
    from mlflow.entities import Run


def rows(root: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query, sorted."""
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        return sorted(connection.execute(query).fetchall())


def dump(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Content of every table that MLflow fills for runs."""
    tables = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags", "inputs")
    return {table: rows(root, f"SELECT * FROM {table}") for table in (*tables, "datasets")}


def runs(root: Path, folder: Path, uri: str | None = None) -> dict[str, "Run"]:
    """Runs of a folder and of what is below it, by path relative to it; none may be RUNNING."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or database.tracking_uri(root))
    experiment = client.get_experiment_by_name(database.EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], max_results=10000)
    prefix = quote(str(folder.relative_to(root)))
    if uri:
        prefix = f"{(root / '.id').read_text()}/{prefix}"
    own = {run.data.tags["headsweep.path"]: run for run in found}
    assert len(own) == len(found)
    assert all(run.info.status != "RUNNING" for run in found)
    return {
        path[len(prefix) :].strip("/"): run
        for path, run in own.items()
        if path == prefix or path.startswith(f"{prefix}/")
    }


def artifacts(run: "Run", uri: str | None = None) -> list[str]:
    """Names of a run's files."""
    from mlflow.artifacts import list_artifacts

    found = list_artifacts(run_id=run.info.run_id, tracking_uri=uri) if uri else None
    found = list_artifacts(run.info.artifact_uri) if found is None else found
    return sorted(Path(file.path).name for file in found)
