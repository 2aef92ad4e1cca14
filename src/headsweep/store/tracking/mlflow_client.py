"""The experiment in MLflow that holds the runs below a root; the only module that imports MLflow.

The run folder is the truth and MLflow a copy that can be made again at any time: every call here
may be repeated, writes only what is missing or has changed, and completes what a kill left
half-way. A sweep is a run, its jobs or trials are nested in it, a job's seeds in that. MLflow is
imported inside the functions: that takes 1.6 seconds.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from headsweep.errors import UserError, without_secrets
from headsweep.files import locked_within
from headsweep.store import paths
from headsweep.store.runs import root_id
from headsweep.store.tracking import columns, database
from headsweep.store.tracking.database import EXPERIMENT, DamagedError, TrackingError
from headsweep.store.tracking.records import REPORTED, JobRecords, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

UNKNOWN: Mapping[str, int] = {}
"""Numbers of metric values of runs that nobody has counted."""

_COMPLETE = "the results are complete in the run folders"

LOCK_SECONDS = 60.0
"""Seconds that a call waits for others that write the same runs."""

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment that MLflow reads: no usage reports, no notes of its own, no minutes of waiting.
No connection is kept, so that a running server sees a database that was made anew.

A request is not repeated, as it may have arrived: the next call finds out and goes on from there.
"""
VERDICT, NO_VERDICT = "verdict", "none: report"
"""Tag of sweeps and jobs, and its value until a report is made."""

TEXT = 5000
"""Most characters that any MLflow takes as a tag or a parameter."""


def init(root: Path, timeout: float = LOCK_SECONDS) -> None:
    """Create the database and the experiment where they are missing; safe in many processes.

    Called before jobs start side by side, so that none waits ``timeout`` seconds for it.

    Raises:
        TrackingError: The database cannot be made or opened.
    """
    with open_experiment(root, root, timeout=timeout):
        pass


def view_address(root: Path, timeout: float = LOCK_SECONDS) -> str:
    """Address of our runs on an MLflow server, below its own, with the columns of ``columns``.

    Raises:
        TrackingError: The database cannot be made or opened.
    """
    with open_experiment(root, root, timeout=timeout) as experiment:
        return columns.address(experiment.id)


def warm_up(root: Path, what: Path, uri: str | None = None) -> None:
    """Import and open what later calls in this process need; does not wait for others that write.

    Arguments and errors are those of ``open_experiment``.
    """
    with open_experiment(root, what, uri, timeout=0.1):
        pass


def check_uri(uri: str | None) -> None:
    """Refuse what is no address of a server; None means that there is none.

    Raises:
        TrackingError: It begins with neither http:// nor https://.
    """
    if uri is not None and not uri.startswith(("http://", "https://")):
        raise TrackingError(f"tracking_uri={uri}: must be http://.. or https://.., or null")


def sync_command(root: Path, what: Path, uri: str | None) -> str:
    """The command that copies a sweep or single run, or all below the root, to MLflow."""
    name = [] if what == root else [what.name]
    return paths.command("sync", root, *name, *(["--tracking-uri", uri] if uri else []))


@dataclass(frozen=True)
class Experiment:
    """MLflow's experiment with the runs below a root, open for this process alone.

    A run is found again by its tag ``headsweep.path``, the folder that it was written from.

    Attributes:
        client: Of MLflow.
        id: MLflow's identifier of the experiment.
        root: The folder of all output.
        prefix: Begins the paths of all folders, to tell this root from others on one server.
        rows: Number of metric values of each run, where that was counted.
        delivered: Folders of the jobs that are whole in MLflow since it was opened.
    """

    client: "MlflowClient"
    id: str
    root: Path
    prefix: str
    rows: Mapping[str, int] = field(default_factory=dict)
    delivered: list[Path] = field(default_factory=list)

    def path(self, folder: Path) -> str:
        """Value of the tag ``headsweep.path`` of a folder's run."""
        return self.prefix + quote(str(folder.resolve().relative_to(self.root.resolve())))

    def find(self, *folders: Path) -> dict[str, list["Run"]]:
        """Runs of these folders and of all below them, by path."""
        found: dict[str, list[Run]] = {}
        for path in map(self.path, folders):
            # What LIKE takes for wildcards lets more through, but never less.
            for run in self._search(f"tags.`headsweep.path` LIKE '{path}%'"):
                own = run.data.tags["headsweep.path"]
                if own == path or own.startswith(f"{path}/"):
                    found.setdefault(own, []).append(run)
        return found

    def find_sweep(self, folder: Path) -> list["Run"]:
        """Runs of a sweep's own folder: one, or more after a mishap."""
        return self._search(f"tags.`headsweep.path` = '{self.path(folder)}'")

    def forget_nameless(self) -> None:
        """Delete runs of ours that a damaged database has robbed of the folder they stand for."""
        runs = self._search("tags.`headsweep.content` LIKE '%'")
        runs += self._search("tags.level LIKE '%'")
        lost = {r.info.run_id: r for r in runs if "headsweep.path" not in r.data.tags}
        self.forget({"": lost.values()})

    def _search(self, where: str) -> list["Run"]:
        token: str | None = None
        found: list[Run] = []
        while True:
            page = self.client.search_runs([self.id], where, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def write_sweep(self, record: RunRecord) -> str:
        """Write the run of a sweep, which stays the same one for ever; returns its id."""
        runs = self.find_sweep(record.folder)
        self.forget({"": runs[1:]})
        content = _digest(record.tags, record.metrics)
        metrics = {metric.name: metric.value for metric in record.metrics}
        # A report of other results holds no longer.
        tags = {**record.tags, "headsweep.content": content, VERDICT: NO_VERDICT}
        if not runs:
            run_id = self._create(record, tags)
            self.add(run_id, {}, metrics)
        else:
            run_id, known = str(runs[0].info.run_id), runs[0].data
            if known.tags.get("headsweep.content") != content:
                self._drop_verdicts(record.folder, known.tags)
                self.add(run_id, tags, metrics)
            elif any(
                known.metrics.get(name) != value for name, value in metrics.items()
            ) or self.rows.get(run_id, len(metrics)) < len(metrics):
                self.add(run_id, {}, metrics)
            elif runs[0].info.status == record.status:
                return run_id
        self.client.set_terminated(run_id, record.status, record.end)
        return run_id

    def _drop_verdicts(self, sweep: Path, tags: Mapping[str, str]) -> None:
        """Take back the verdicts of a sweep's jobs, where it has any."""
        if tags.get(VERDICT, NO_VERDICT) != NO_VERDICT:
            for run in chain.from_iterable(self.find(sweep / paths.JOBS).values()):
                if VERDICT in run.data.tags:
                    self.client.set_tag(run.info.run_id, VERDICT, NO_VERDICT)

    def add(self, run_id: str, tags: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write tags and metrics of a run over older ones; MLflow shows the latest values."""
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        self.client.log_batch(
            run_id,
            [Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[RunTag(key, _text(value)) for key, value in tags.items()],
        )

    def add_new(self, folder: Path, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Write what a report says of a sweep or job into its run, where that is not there yet."""
        for run in self.find_sweep(folder):
            new = {n: v for n, v in metrics.items() if run.data.metrics.get(n) != v}
            if new or any(run.data.tags.get(key) != _text(text) for key, text in tags.items()):
                self.add(run.info.run_id, tags, new)

    def write_job(
        self, records: JobRecords, parent: str | None, stored: dict[str, list["Run"]]
    ) -> None:
        """Write the runs of a job below ``parent``; what stands is taken out of ``stored``."""
        run_id = self._write(records.job, parent, stored)
        for member in records.members:
            self._write(member, run_id, stored)
        self.delivered.append(records.job.folder)

    def _write(self, record: RunRecord, parent: str | None, stored: dict[str, list["Run"]]) -> str:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        path = self.path(record.folder)
        content = _digest(path, record.params, record.tags, record.metrics, record.status, parent)
        runs = stored.get(path, [])
        for run in runs:
            if self._stands(run, record, content):
                runs.remove(run)
                return str(run.info.run_id)
        nested = {"mlflow.parentRunId": parent} if parent else {}
        run_id = self._create(record, {**record.tags, "headsweep.content": content, **nested})
        for file in record.files:  # first: MLflow reads the whole run for its place
            self.client.log_artifact(run_id, str(file))
        if record.data is not None:
            context = [InputTag("mlflow.data.context", "training")]
            data = Dataset(
                record.data.name, record.data.digest, EXPERIMENT, _text(record.data.source)
            )
            self.client.log_inputs(run_id, [DatasetInput(data, context)])
        self.client.log_batch(
            run_id,
            [Metric(name, value, record.end, step) for name, value, step in record.metrics],
            [Param(key, _text(value)) for key, value in record.params.items()],
        )
        self.client.set_terminated(run_id, record.status, record.end)
        return run_id

    def _stands(self, run: "Run", record: RunRecord, content: str) -> bool:
        """True if all of a record is in a run; rows of a damaged database may have gone."""
        names = {name for name, _, _ in record.metrics}
        stored = {name for name in run.data.metrics if not name.startswith(REPORTED)}
        return (
            run.data.tags.get("headsweep.content") == content
            and run.info.status == record.status
            and run.data.params.keys() == record.params.keys()
            and stored == names
            and self.rows.get(run.info.run_id, len(record.metrics)) == len(record.metrics)
            and _has_files(run, record)
        )

    def copy_folder(self, run: "Run", folder: Path) -> None:
        """Copy a folder to the artifacts of a run, under its own name."""
        self.client.log_artifacts(run.info.run_id, str(folder), folder.name)

    def forget(self, stored: Mapping[str, Iterable["Run"]]) -> None:
        """Delete runs that no folder stands for any more; none stays RUNNING in the bin."""
        for run in chain.from_iterable(stored.values()):
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")
            self.client.delete_run(run.info.run_id)

    def _create(self, record: RunRecord, tags: Mapping[str, Any]) -> str:
        own = {"headsweep.path": self.path(record.folder), **tags}
        texts = {key: _text(value) for key, value in own.items()}
        run = self.client.create_run(self.id, record.start, texts, record.name)
        return str(run.info.run_id)


@contextmanager
def open_experiment(
    root: Path,
    what: Path,
    uri: str | None = None,
    timeout: float = LOCK_SECONDS,
    rows: Mapping[str, int] = UNKNOWN,
) -> Iterator[Experiment]:
    """Open the runs below a root for this process alone.

    Args:
        root: The folder of all output.
        what: The sweep or single run to be written, for the advice in errors.
        uri: Of a tracking server; None for the database below the root, which is made here, whole
            or not at all, where it is missing.
        timeout: Seconds to wait for others that write.
        rows: Number of metric values of each run, from ``database.verify``.

    Raises:
        DamagedError: The database below the root cannot be used.
        TrackingError: MLflow cannot be opened, or an error of it ended the block.
    """
    os.environ.update({k: v for k, v in MLFLOW_SETTINGS.items() if k not in os.environ})
    check_uri(uri)
    delivered: list[Path] = []
    with _explaining(root, what, uri, delivered):
        from mlflow import MlflowClient

        # It would print the traceback of an error, of which `_explaining` says all in one line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with locked_within(root / ".mlflow.lock", timeout), database.without_disk_waits(root):
            if uri is None:
                database.prepare(root, MlflowClient, timeout)
            client = MlflowClient(uri or database.tracking_uri(root))
            identifier = _experiment(client, EXPERIMENT, None if uri else database.artifacts(root))
            prefix = f"{root_id(root)}/" if uri else ""
            yield Experiment(client, identifier, root, prefix, rows, delivered)


def verify(root: Path) -> dict[str, int]:
    """Look at every page of the database below a root; see ``database.verify``.

    Raises:
        DamagedError: It is no sound database of MLflow.
        TrackingError: Others hold it, or it may not be read.
    """
    with _explaining(root, root, None):
        return database.verify(root)


def _has_files(run: "Run", record: RunRecord) -> bool:
    """Whether the files of a record are with its run; taken for granted on a server."""
    place = urlsplit(run.info.artifact_uri)
    folder = Path(unquote(place.path))
    return place.scheme != "file" or all((folder / file.name).is_file() for file in record.files)


@contextmanager
def _explaining(
    root: Path, what: Path, uri: str | None, delivered: Sequence[Path] = ()
) -> Iterator[None]:
    """Say of every error what it is about, and whether the database has to be made anew.

    Jobs that were ``delivered`` before the error are counted in it.

    What is no database and no MLflow fails in ways that nobody can list.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, DamagedError):
            raise
        damaged = isinstance(error, DamagedError) or (
            uri is None and not database.is_blocked(error)
        )
        kind, why = (DamagedError, "is damaged") if damaged else (TrackingError, "was not written")
        folders = "no run folder is touched" if what == root else _COMPLETE
        mend = "makes it anew" if damaged else "delivers them later"
        if damaged and database.SCHEMA_WORDS in str(error):
            kind = database.OtherVersionError
        if delivered and not damaged:
            jobs = "1 job" if len(delivered) == 1 else f"{len(delivered)} jobs"
            why, mend = f"was not written after {jobs}", "delivers the rest"
        raise kind(
            f"{uri or database.path_of(root)}: MLflow {why} ({database.short(error)}); {folders}; "
            f"`{sync_command(root, what, uri)}` {mend}"
        ) from error


def _experiment(client: "MlflowClient", name: str, location: str | None) -> str:
    """Identifier of an experiment, made or taken out of the bin where it has to be."""
    known = client.get_experiment_by_name(name)
    if known is None:  # a server has its own place
        identifier = str(client.create_experiment(name, artifact_location=location))
    else:
        identifier = str(known.experiment_id)
        if known.lifecycle_stage != "active":
            client.restore_experiment(identifier)
            log.warning("MLflow's experiment %s had been deleted; it is taken out of the bin", name)
    if known is None or known.tags.get(columns.TAG) != columns.content():
        client.set_experiment_tag(identifier, columns.TAG, columns.content())
    return identifier


def _text(value: object) -> str:
    """Text of a tag or a parameter; MLflow would warn of every text that it has to shorten."""
    return str(without_secrets(str(value)))[:TEXT]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
