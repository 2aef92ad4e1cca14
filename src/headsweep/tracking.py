"""MLflow, written from run folders; the only module that imports it.

The run folder is the truth and MLflow a copy that can be made again at any time: ``sync_job`` may
be repeated, and after a kill half-way the next call completes it. A sweep is a run, its jobs are
nested in it, their seeds in them. MLflow is imported inside the functions: that takes 1.6 seconds.
"""

import csv
import hashlib
import json
import math
import os
import sqlite3
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from headsweep.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "headsweep"
"""The one experiment, of all sweeps and single runs below a root."""
DATABASE = "mlflow.db"
"""File below a root that holds the runs."""
LOCK_SECONDS = 60.0
"""How long a call waits for others that write the same database."""

MLFLOW_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
"""Environment that MLflow reads when it is imported: no usage reports, no notes on its tables."""


class TrackingError(UserError):
    """MLflow could not be written; the results in the run folders are not touched."""


def tracking_uri(root: Path) -> str:
    """URI of the SQLite database of all runs below a root."""
    return f"sqlite:///{_database(root)}"


def artifacts(root: Path) -> Path:
    """Folder of MLflow's own copies of configurations, weights and pictures."""
    return root.resolve() / "mlartifacts"


def init(root: Path, timeout: float = LOCK_SECONDS) -> None:
    """Create the database and the experiment where they are missing; safe in many processes.

    Called before jobs start side by side, so that none waits ``timeout`` seconds for it.

    Raises:
        TrackingError: The database cannot be made or opened.
    """
    with _open(root, timeout):
        pass


def sync_job(root: Path, folder: Path, timeout: float = LOCK_SECONDS) -> None:
    """Bring the MLflow runs of one job, of its seeds and of its sweep in line with its folder.

    Complete members become runs with parameters, ``history/*`` metrics for each evaluation, final
    metrics under their plain names, data set, configuration and weights. The job's run carries
    ``<metric>_mean``, ``<metric>_std`` and ``<metric>_n`` over the finished members. It is FINISHED
    when every seed has a result, KILLED when some are missing, FAILED when all failed.

    Args:
        root: The folder of all output.
        folder: The job folder below it.
        timeout: Seconds to wait for others that write.

    Raises:
        TrackingError: The database cannot be written.
    """
    with _open(root, timeout) as book:
        job, known = _Job(folder), book.find("headsweep.job", folder)
        page = job.page()
        in_sweep = folder.parent.name == "jobs"
        sweep_id = book.write_sweep(folder.parents[1], page.start, page.end) if in_sweep else None
        job_id = book.write(page, job, sweep_id, known)
        for seed in job.results:
            book.write(job.member_page(seed), job, job_id, known)
        book.forget(known)


def sync_report(root: Path, sweep: Path) -> None:
    """Copy the ``report`` folder of a sweep to the artifacts of its run.

    Args:
        root: The folder of all output.
        sweep: The sweep's folder below it; at least one of its jobs has been synced.

    Raises:
        TrackingError: The database cannot be written, or does not know the sweep.
    """
    with _open(root) as book:
        known = book.find("headsweep.path", sweep)
        if not known:
            raise TrackingError(f"{sweep}: not in MLflow yet; sync one of its jobs first")
        for run in known:
            book.client.log_artifacts(run.info.run_id, str(sweep / "report"), "report")


@dataclass(frozen=True)
class _Page:
    """What the run of one folder shall hold: times in ms, metrics as (name, value, step)."""

    folder: Path
    name: str
    status: str
    start: int
    end: int
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: list[tuple[str, float, int]]
    files: list[Path]


class _Job:
    """A job folder, read for MLflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = json.loads((folder / "job.json").read_bytes())
        self.config = yaml.safe_load((folder / "config.yaml").read_bytes())
        found = {int(path.parent.name[5:]): path for path in folder.glob("seed_*/result.json")}
        self.results: dict[int, dict[str, Any]] = {
            seed: json.loads(path.read_bytes()) for seed, path in sorted(found.items())
        }
        self.finished = [r for r in self.results.values() if r["status"] == "finished"]

    @property
    def name(self) -> str:
        """``conservative``, or with what else was chosen: ``conservative half lr=0.001``."""
        labels = self.about["labels"]
        others = (text.partition("=") for text in self.about["overrides"])
        words = [
            value if key in labels else f"{key.rpartition('.')[2]}={value}"
            for key, _, value in others
            if key not in ("head", "seed", "seeds")
        ]
        return " ".join([labels["head"], *words])

    def page(self) -> _Page:
        """The job's own run: what its members share, and their means."""
        first, done = self.config["seed"], len(self.finished)
        wanted = len({*range(first, first + self.config["seeds"]), *self.results})
        status = "FAILED" if self.results and not done else "FINISHED"
        failed = ((s, r["reason"]) for s, r in self.results.items() if r["status"] == "failed")
        reasons = [f"seed {seed}: {reason}" for seed, reason in failed]
        about = {"status": f"{done} of {wanted} finished", "reason": "; ".join(reasons)}
        return _Page(
            self.folder,
            self.name,
            status if len(self.results) == wanted else "KILLED",
            *self._times(self.results),
            self._params(self.finished[0] if done else {}),
            {"level": "job", **self._tags(), **about},
            _summary(self.finished),
            [self.folder / "config.yaml"],
        )

    def member_page(self, seed: int) -> _Page:
        """The run of one member."""
        folder, result = self.folder / f"seed_{seed}", self.results[seed]
        keys = ("member_key", "status", "reason", "best_step")
        about = {key: result[key] for key in keys if result.get(key) is not None}
        at, metrics = result.get("best_step") or 0, result.get("metrics", {})
        final = [(name, value, at) for name, value in metrics.items() if value is not None]
        files = [self.folder / "config.yaml", folder / "head.safetensors"]
        return _Page(
            folder,
            f"{self.name} seed {seed}",
            "FINISHED" if result["status"] == "finished" else "FAILED",
            *self._times([seed]),
            {**self._params(result), "seed": seed},
            {"level": "seed", **self._tags(), **about},
            [*_history(folder / "history.csv"), *final],
            [file for file in files if file.exists()],
        )

    def _times(self, seeds: Iterable[int]) -> tuple[int, int]:
        """First start and last end of the given members."""
        ends = {s: (self.folder / f"seed_{s}" / "result.json").stat().st_mtime for s in seeds}
        end = max(ends.values(), default=self.folder.stat().st_mtime)
        starts = (at - (self.results[s].get("seconds") or 0.0) for s, at in ends.items())
        return int(1000 * min(starts, default=end)), int(1000 * end)

    def _params(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Flat values in effect; width and dropout are 0 where a one-layer head has no use."""
        counts = result.get("parameters") or {}
        head = {key.removeprefix("regression_"): v for key, v in self.config["head"].items()}
        del head["_target_"]
        if head.get("num_layers") == 1:
            head |= {"hidden_dim": 0, "dropout": 0.0}
        elif counts and head.get("hidden_dim", 0) is None:
            head["hidden_dim"] = counts["aggregated_dim"] // 2
        optim = {key: value for key, value in self.config["optim"].items() if value is not None}
        sizes = {k if k == "aggregated_dim" else f"params_{k}": v for k, v in counts.items()}
        # An arm changes values, not which files are chosen: of the other groups values are shown.
        files = ("head", "arm", "data", "backbone")
        chosen = {k: v for k, v in self.about["labels"].items() if k in files}
        return {**head, **optim, **sizes, **chosen, **self._inputs()}

    def _inputs(self) -> dict[str, Any]:
        """What the head sees and learns."""
        pooling, target, features = (self.config[k] for k in ("pooling", "target", "features"))
        return {
            "pooling": pooling["width"],
            "statistics": " ".join(pooling["statistics"]),
            "inputs": " ".join(k for k in ("query", "raw", "encoded") if pooling[k]),
            "target": target["name"],
            "target_relative": target["relative"],
            "features": features["name"],
            "assignment_threshold": features["assignment_threshold"],
        }

    def _tags(self) -> dict[str, Any]:
        keys = ("job_key", "data_key", "checkpoint", "cache_key", "code_version")
        known = {key: self.about[key] for key in keys if self.about.get(key) is not None}
        arm, overrides = self.about["labels"].get("arm", ""), " ".join(self.about["overrides"])
        return {"arm": arm, "overrides": overrides, **known}


def _summary(results: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, int]]:
    """Mean, standard deviation (ddof 1, for two and more) and number of each final metric."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result["metrics"].items():
            if value is not None:
                values.setdefault(name, []).append(value)
    found = []
    for name, numbers in values.items():
        found += [(f"{name}_mean", statistics.fmean(numbers), 0), (f"{name}_n", len(numbers), 0)]
        if len(numbers) > 1:
            found.append((f"{name}_std", statistics.stdev(numbers), 0))
    return found


def _history(path: Path) -> list[tuple[str, float, int]]:
    """Metrics of each evaluation, named apart: MLflow shows a metric's last step, not the kept."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        cells = [
            (f"history/{name}", float(value or "nan"), int(row["step"]))
            for row in csv.DictReader(file)
            for name, value in row.items()
            if name != "step"
        ]
    return [cell for cell in cells if math.isfinite(cell[1])]


@dataclass(frozen=True)
class _Book:
    """The open database: each run is found again by the folder it was written from."""

    client: "MlflowClient"
    experiment: str
    root: Path

    def find(self, tag: str, folder: Path) -> list["Run"]:
        """Runs whose tag names this folder."""
        where = f"tags.`{tag}` = '{self._path(folder)}'"
        return list(self.client.search_runs([self.experiment], where))

    def write_sweep(self, folder: Path, start: int, end: int) -> str:
        """Write the run of a sweep, with counts of its jobs and members; returns its id."""
        from mlflow.entities import RunTag

        results = [json.loads(f.read_bytes()) for f in folder.glob("jobs/*/seed_*/result.json")]
        statuses = [result["status"] for result in results]
        tags = {
            "level": "sweep",
            "jobs": len(list(folder.glob("jobs/*/job.json"))),
            "members_finished": statuses.count("finished"),
            "members_failed": statuses.count("failed"),
        }
        own = {"headsweep.path": self._path(folder)}
        known = [run.info.run_id for run in self.find("headsweep.path", folder)]
        run_id = next(iter(known), None) or self._create(folder.name, start, own)
        self.client.log_batch(run_id, tags=[RunTag(key, str(n)) for key, n in tags.items()])
        self.client.set_terminated(run_id, "FINISHED", end)
        return run_id

    def write(self, page: _Page, job: _Job, parent: str | None, known: list["Run"]) -> str:
        """Write a job's or member's run below ``parent``; returns its id.

        A complete one of this content among the ``known`` stands, and is taken out of them.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        path = self._path(page.folder)
        content = _digest(path, page.params, page.tags, page.metrics, page.status, parent)
        for run in known:
            if run.data.tags["headsweep.content"] == content and run.info.status == page.status:
                known.remove(run)
                return str(run.info.run_id)
        own = {"headsweep.path": path, "headsweep.job": self._path(job.folder)}
        nested = {"mlflow.parentRunId": parent} if parent else {}
        tags = {**own, "headsweep.content": content, **nested}
        run_id = self._create(page.name, page.start, tags)
        self.client.log_batch(
            run_id,
            [Metric(name, value, page.end, step) for name, value, step in page.metrics],
            [Param(key, str(value)) for key, value in page.params.items()],
            [RunTag(key, str(value)) for key, value in page.tags.items()],
        )
        source = json.dumps(job.config["data"]["source"])
        data = Dataset(job.about["labels"]["data"], job.about["data_key"][:8], EXPERIMENT, source)
        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run_id, [DatasetInput(data, context)])
        for file in page.files:
            self.client.log_artifact(run_id, str(file))
        self.client.set_terminated(run_id, page.status, page.end)
        return run_id

    def forget(self, runs: Iterable["Run"]) -> None:
        """Delete runs that no folder stands for any more; none stays RUNNING in the bin."""
        for run in runs:
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")
            self.client.delete_run(run.info.run_id)

    def _path(self, folder: Path) -> str:
        return quote(str(folder.resolve().relative_to(self.root.resolve())))

    def _create(self, name: str, start: int, tags: dict[str, str]) -> str:
        return str(self.client.create_run(self.experiment, start, tags, name).info.run_id)


@contextmanager
def _open(root: Path, timeout: float = LOCK_SECONDS) -> Iterator[_Book]:
    """The database, held by this process alone; made whole or not at all where it is missing."""
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy import Engine, event
    from sqlalchemy.exc import SQLAlchemyError

    if not event.contains(Engine, "connect", _relax):
        event.listen(Engine, "connect", _relax)
    database = _database(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mlflow.lock", timeout=timeout):
            if not database.exists():
                with tempfile.TemporaryDirectory(prefix=".tmp-", dir=root) as folder:
                    new = Path(folder).resolve() / database.name
                    MlflowClient(f"sqlite:///{new}")
                    os.replace(new, database)
            _probe(database, timeout)
            client = MlflowClient(tracking_uri(root))
            known = client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known else None
            if experiment is None:
                location = str(artifacts(root))
                experiment = client.create_experiment(EXPERIMENT, artifact_location=location)
            yield _Book(client, experiment, root)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackingError(
            f"{database}: MLflow was not written ({error}); the results are complete in the run "
            "folders; free or move the file and run the command again"
        ) from error


def _relax(connection: object, _: object) -> None:
    """Spare our database the wait for the disk at every commit: it can be made again."""
    if isinstance(connection, sqlite3.Connection):
        ((_, _, file),) = connection.execute("PRAGMA database_list")
        if Path(file).name == DATABASE:
            connection.execute("PRAGMA synchronous = OFF")


def _probe(database: Path, timeout: float) -> None:
    """Fail at once on a broken, read-only or locked file, which MLflow tries for minutes."""
    uri = f"{database.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, timeout, isolation_level=None, uri=True)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _database(root: Path) -> Path:
    return root.resolve() / DATABASE


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
