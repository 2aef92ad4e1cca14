"""MLflow, written from run folders; the only module that imports it.

The run folder is the truth and MLflow a copy that can be made again at any time: every call here
may be repeated, writes only what is missing or has changed, and completes what a kill left
half-way. A sweep is a run, its jobs or trials are nested in it, a job's seeds in that. MLflow is
imported inside the functions: that takes 1.6 seconds.
"""

import hashlib
import json
import os
import re
import shlex
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.runs import root_id
from headsweep.store.tracking import columns
from headsweep.store.tracking.changes import Seen, stamps
from headsweep.store.tracking.records import (
    JobPages,
    Page,
    objectives,
    read_facts,
    read_pages,
    sweep_page,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "headsweep"
"""The one experiment, of all sweeps and single runs below a root."""
LOCK_SECONDS = 60.0
"""How long a call waits for others that write the same runs."""

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment that MLflow reads: no usage reports, no notes of its own, no minutes of waiting.

A request is not repeated, as it may have arrived: the next call finds out and goes on from there.
"""
TEXT = 5000
"""Characters that any MLflow takes as a tag or a parameter."""


class TrackingError(UserError):
    """MLflow could not be written; the results in the run folders are not touched."""


def tracking_uri(root: Path) -> str:
    """URI of the SQLite database of all runs below a root."""
    return f"sqlite:///{_database(root)}"


def artifacts(root: Path) -> Path:
    """Folder of MLflow's own copies of configurations, weights and pictures."""
    return root.resolve() / paths.ARTIFACTS


def init(root: Path, timeout: float = LOCK_SECONDS) -> None:
    """Create the database and the experiment where they are missing; safe in many processes.

    Called before jobs start side by side, so that none waits ``timeout`` seconds for it.

    Raises:
        TrackingError: The database cannot be made or opened.
    """
    with _open(root, root, timeout=timeout):
        pass


def page(root: Path, timeout: float = LOCK_SECONDS) -> str:
    """What follows a server's address to open our runs with the columns of ``view``.

    Raises:
        TrackingError: The database cannot be made or opened.
    """
    with _open(root, root, timeout=timeout) as book:
        return columns.address(book.experiment)


def sync_job(
    root: Path, folder: Path, timeout: float = LOCK_SECONDS, uri: str | None = None
) -> None:
    """Bring the MLflow runs of one job, of its seeds and of its sweep in line with its folder.

    Complete members become runs with parameters, ``history/*`` metrics for each evaluation, final
    metrics under their plain names, data set, configuration and weights. The job's run carries
    ``<metric>_mean``, ``<metric>_std`` and ``<metric>_n`` over the finished members. It is FINISHED
    when every seed has a result, KILLED when some are missing, FAILED when all failed or it could
    not be trained.

    Args:
        root: The folder of all output.
        folder: The job folder below it.
        timeout: Seconds to wait for others that write.
        uri: Of a tracking server; None for the database below the root.

    Raises:
        TrackingError: MLflow cannot be written.
    """
    sweep = paths.sweep_of(folder)
    with _open(root, sweep or folder, uri, timeout) as book:
        searched = objectives(sweep) if sweep else []
        parent = None
        if sweep:
            found = (read_facts(paths.job_folder(sweep, name)) for name in stamps(sweep))
            facts = [one for one in found if one]
            parent = book.write_sweep(sweep_page(sweep, facts, searched)) if facts else None
        known = book.find(folder)
        job = read_pages(folder, searched)
        if job:
            book.write_job(job, parent, known)
        book.forget(known)


def sync_sweep(root: Path, folder: Path, uri: str | None = None, seen: Seen | None = None) -> None:
    """Bring the MLflow runs of a whole sweep in line with its folders.

    A grid's jobs become what ``sync_job`` makes of them. A trial of a search becomes one run: its
    objectives under their plain names, their ``_std``, ``seed_<s>/<metric>`` for each finished
    seed, the curve it was pruned by under ``history/``. The sweep's run carries as tags what may
    change when it goes on: counts, and of a search the best trial or the Pareto front.

    Args:
        root: The folder of all output.
        folder: The sweep's folder below it.
        uri: Of a tracking server; None for the database below the root.
        seen: What earlier calls in this process found, kept up to date here. With it only jobs
            that have changed since are looked at.

    Raises:
        TrackingError: MLflow cannot be written.
    """
    seen = Seen() if seen is None else seen
    if not seen.changed(stamps(folder)):
        return
    with _open(root, folder, uri) as book:
        now = stamps(folder)  # again: what others wrote while this call waited is on disk by now
        changed, searched = seen.changed(now), objectives(folder)
        jobs = {name: read_pages(paths.job_folder(folder, name), searched) for name in changed}
        new = {name: job.facts if job else None for name, job in jobs.items()}
        facts = [one for name, one in {**seen.facts, **new}.items() if one and name in now]
        parts = [paths.job_folder(folder, name) for name in changed]
        known = book.find(*parts if seen.stamps else [folder / paths.JOBS])
        parent = book.write_sweep(sweep_page(folder, facts, searched)) if facts else None
        for job in jobs.values():
            if job:
                book.write_job(job, parent, known)
        book.forget(known)
    seen.update(now, new)


def load(root: Path, sweep: Path, uri: str | None = None) -> None:
    """Import and open what the other functions need first; arguments and errors are theirs.

    It does not wait for others that write.
    """
    with _open(root, sweep, uri, timeout=0.1):
        pass


def check_uri(uri: str | None) -> None:
    """Refuse what is no address of a server; None means that there is none.

    Raises:
        TrackingError: It begins with neither http:// nor https://.
    """
    if uri is not None and not uri.startswith(("http://", "https://")):
        raise TrackingError(f"tracking_uri={uri}: must be http://.. or https://.., or null")


def sync_report(root: Path, sweep: Path, uri: str | None = None) -> None:
    """Copy the ``report`` folder of a sweep to the artifacts of its run.

    Args:
        root: The folder of all output.
        sweep: The sweep's folder below it; at least one of its jobs has been synced.
        uri: Of a tracking server; None for the database below the root.

    Raises:
        TrackingError: MLflow cannot be written, or does not know the sweep.
    """
    with _open(root, sweep, uri) as book:
        known = book.find_sweep(sweep)
        if not known:
            raise TrackingError(f"{sweep}: not in MLflow yet; sync one of its jobs first")
        for run in known:
            book.client.log_artifacts(run.info.run_id, str(sweep / paths.REPORT), paths.REPORT)


def sync_command(root: Path, what: Path, uri: str | None) -> str:
    """The command that copies a sweep or single run, or all below the root, to MLflow."""
    name = [] if what == root else [what.name]
    options = ["--root", str(root)] if root != Path("runs") else []
    options += ["--tracking-uri", uri] if uri else []
    return shlex.join(["headsweep", "sync", *name, *options])


@dataclass(frozen=True)
class _Book:
    """The open runs: each is found again by the folder it was written from.

    Attributes:
        client: Of MLflow.
        experiment: Id of the experiment.
        root: The folder of all output.
        prefix: Of the paths of all folders, what tells this root from others on one server.
    """

    client: "MlflowClient"
    experiment: str
    root: Path
    prefix: str

    def path(self, folder: Path) -> str:
        """Name of a folder in MLflow."""
        return self.prefix + quote(str(folder.resolve().relative_to(self.root.resolve())))

    def find(self, *folders: Path) -> dict[str, list["Run"]]:
        """Runs of these folders and of all below them, by path."""
        found: dict[str, list[Run]] = {}
        for path in map(self.path, folders):
            # What LIKE takes for wildcards lets more through, but never less.
            for run in self._search(f"LIKE '{path}%'"):
                own = run.data.tags["headsweep.path"]
                if own == path or own.startswith(f"{path}/"):
                    found.setdefault(own, []).append(run)
        return found

    def find_sweep(self, folder: Path) -> list["Run"]:
        """Runs of a sweep's own folder: one, or more after a mishap."""
        return self._search(f"= '{self.path(folder)}'")

    def _search(self, condition: str) -> list["Run"]:
        where = f"tags.`headsweep.path` {condition}"
        token: str | None = None
        found: list[Run] = []
        while True:
            page = self.client.search_runs([self.experiment], where, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def write_sweep(self, page: Page) -> str:
        """Write the run of a sweep, which stays the same one for ever; returns its id."""
        from mlflow.entities import RunTag

        runs = self.find_sweep(page.folder)
        self.forget({"": runs[1:]})
        tags = {**page.tags, "headsweep.content": _digest(page.tags)}
        if not runs:
            run_id = self._create(page, tags)
        else:
            run_id, known = str(runs[0].info.run_id), runs[0].data.tags
            if known.get("headsweep.content") != tags["headsweep.content"]:
                texts = [RunTag(key, _text(value)) for key, value in tags.items()]
                self.client.log_batch(run_id, tags=texts)
            elif runs[0].info.status == page.status:
                return run_id
        self.client.set_terminated(run_id, page.status, page.end)
        return run_id

    def write_job(self, job: JobPages, parent: str | None, known: dict[str, list["Run"]]) -> None:
        """Write the runs of a job below ``parent``; those that stand are taken out of ``known``."""
        run_id = self._write(job.page, parent, known)
        for page in job.members:
            self._write(page, run_id, known)

    def _write(self, page: Page, parent: str | None, known: dict[str, list["Run"]]) -> str:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        path = self.path(page.folder)
        content = _digest(path, page.params, page.tags, page.metrics, page.status, parent)
        runs = known.get(path, [])
        for run in runs:
            if run.data.tags["headsweep.content"] == content and run.info.status == page.status:
                runs.remove(run)
                return str(run.info.run_id)
        nested = {"mlflow.parentRunId": parent} if parent else {}
        run_id = self._create(page, {**page.tags, "headsweep.content": content, **nested})
        for file in page.files:  # first: MLflow reads the whole run for its place
            self.client.log_artifact(run_id, str(file))
        if page.data is not None:
            name, digest, source = page.data
            context = [InputTag("mlflow.data.context", "training")]
            data = DatasetInput(Dataset(name, digest, EXPERIMENT, source), context)
            self.client.log_inputs(run_id, [data])
        self.client.log_batch(
            run_id,
            [Metric(name, value, page.end, step) for name, value, step in page.metrics],
            [Param(key, _text(value)) for key, value in page.params.items()],
        )
        self.client.set_terminated(run_id, page.status, page.end)
        return run_id

    def forget(self, known: Mapping[str, Iterable["Run"]]) -> None:
        """Delete runs that no folder stands for any more; none stays RUNNING in the bin."""
        for run in chain.from_iterable(known.values()):
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")
            self.client.delete_run(run.info.run_id)

    def _create(self, page: Page, tags: Mapping[str, Any]) -> str:
        own = {"headsweep.path": self.path(page.folder), **tags}
        texts = {key: _text(value) for key, value in own.items()}
        run = self.client.create_run(self.experiment, page.start, texts, page.name)
        return str(run.info.run_id)


@contextmanager
def _open(
    root: Path, what: Path, uri: str | None = None, timeout: float = LOCK_SECONDS
) -> Iterator[_Book]:
    """The runs below a root, held by this process alone.

    Args:
        root: The folder of all output.
        what: The sweep or single run to be written, for the advice in errors.
        uri: Of a tracking server; None for the database below the root, which is made here, whole
            or not at all, where it is missing.
        timeout: Seconds to wait for others that write.
    """
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    check_uri(uri)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mlflow.lock", timeout=timeout):
            if uri is None:
                _prepare(root, timeout)
            client = MlflowClient(uri or tracking_uri(root))
            known = client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known else None
            if experiment is None:
                location = None if uri else str(artifacts(root))  # a server has its own place
                experiment = client.create_experiment(EXPERIMENT, artifact_location=location)
            if known is None or known.tags.get(columns.TAG) != columns.content():
                client.set_experiment_tag(experiment, columns.TAG, columns.content())
            yield _Book(client, experiment, root, f"{root_id(root)}/" if uri else "")
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackingError(
            f"{uri or _database(root)}: MLflow was not written ({_short(error)}); the results are "
            f"complete in the run folders; `{sync_command(root, what, uri)}` delivers them later"
        ) from error


def _prepare(root: Path, timeout: float) -> None:
    """Make the database where it is missing, and find out whether it can be written."""
    from mlflow import MlflowClient
    from sqlalchemy import Engine, event

    if not event.contains(Engine, "connect", _relax):
        event.listen(Engine, "connect", _relax)
    database = _database(root)
    if not database.exists():
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=root) as folder:
            new = Path(folder).resolve() / database.name
            MlflowClient(f"sqlite:///{new}")
            os.replace(new, database)
    _probe(database, timeout)


def _relax(connection: object, _: object) -> None:
    """Spare our database the wait for the disk at every commit: it can be made again."""
    if isinstance(connection, sqlite3.Connection):
        ((_, _, file),) = connection.execute("PRAGMA database_list")
        if Path(file).name == paths.DATABASE:
            connection.execute("PRAGMA synchronous = OFF")


def _probe(database: Path, timeout: float) -> None:
    """Fail at once on a broken, read-only or locked file, which MLflow tries for minutes."""
    uri = f"{database.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, timeout, isolation_level=None, uri=True)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _short(error: Exception) -> str:
    """What went wrong, of requests only their cause: the rest names the address again and again."""
    text = str(error)
    cause = re.search(r"Caused by \w+\((.*)\)\)", text)
    return re.split(r": |, '", cause[1])[-1].strip("\"'") if cause else text


def _text(value: object) -> str:
    """As a tag or a parameter; MLflow would warn of every text that it has to shorten."""
    return str(value)[:TEXT]


def _database(root: Path) -> Path:
    return root.resolve() / paths.DATABASE


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
