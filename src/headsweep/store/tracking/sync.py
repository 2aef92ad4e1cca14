"""Bringing MLflow in line with the run folders: of a job, a sweep, a report, or all."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headsweep.errors import UserError
from headsweep.files import read_json
from headsweep.store import paths
from headsweep.store.runs import find_jobs
from headsweep.store.tracking import database
from headsweep.store.tracking.changes import SweepSnapshot, job_stamps
from headsweep.store.tracking.database import DamagedError, OtherVersionError, TrackingError
from headsweep.store.tracking.mlflow_client import (
    LOCK_SECONDS,
    NO_VERDICT,
    UNKNOWN,
    VERDICT,
    open_experiment,
    verify,
)
from headsweep.store.tracking.records import objectives, read_records, read_state
from headsweep.store.tracking.sweep_records import sweep_record

log = logging.getLogger(__name__)


def sync_job(
    root: Path,
    folder: Path,
    timeout: float = LOCK_SECONDS,
    uri: str | None = None,
    rows: Mapping[str, int] = UNKNOWN,
) -> None:
    """Bring the MLflow runs of one job, of its seeds and of its sweep in line with its folder.

    Complete members become runs with parameters, ``history/*`` metrics for each evaluation, final
    metrics under their plain names, data set, configuration and weights. The job's run carries
    ``<metric>_mean`` and ``<metric>_std`` of the main metrics over its n finished members. It is
    FINISHED when every seed has a result, KILLED when some are missing, FAILED when all failed or
    it could not be trained.

    Args:
        root: The folder of all output.
        folder: The job folder below it.
        timeout: Seconds to wait for others that write.
        uri: Of a tracking server; None for the database below the root.
        rows: Number of metric values of each run, from ``database.verify``.

    Raises:
        TrackingError: MLflow cannot be written.
    """
    sweep = paths.sweep_of(folder)
    with open_experiment(root, sweep or folder, uri, timeout, rows) as experiment:
        searched = objectives(sweep) if sweep else []
        parent = None
        if sweep:
            found = (read_state(paths.job_folder(sweep, name)) for name in job_stamps(sweep))
            if states := [one for one in found if one]:
                parent = experiment.write_sweep(sweep_record(sweep, states, searched))
        stored = experiment.find(folder)
        records = read_records(folder, searched)
        if records:
            experiment.write_job(records, parent, stored)
        experiment.forget(stored)


def sync_sweep(
    root: Path,
    folder: Path,
    uri: str | None = None,
    known: SweepSnapshot | None = None,
    rows: Mapping[str, int] = UNKNOWN,
) -> None:
    """Bring the MLflow runs of a whole sweep in line with its folders.

    A grid's jobs become what ``sync_job`` makes of them. A trial of a search becomes one run: its
    objectives under their plain names, their ``_std``, ``seed_<s>/<metric>`` for each finished
    seed, the curve it was pruned by under ``history/``. The sweep's run carries what may change
    when it goes on: counts, and the figure of the best configuration or trial, or the Pareto front.

    Args:
        root: The folder of all output.
        folder: The sweep's folder below it.
        uri: Of a tracking server; None for the database below the root.
        known: The sweep as earlier calls in this process found it, kept up to date here. With it
            only jobs that have changed since are looked at.
        rows: Number of metric values of each run, from ``database.verify``.

    Raises:
        TrackingError: MLflow cannot be written.
    """
    known = SweepSnapshot() if known is None else known
    if not known.changed(job_stamps(folder)):
        return
    with open_experiment(root, folder, uri, rows=rows) as experiment:
        now = job_stamps(folder)  # again: others may have written while this call waited
        changed, searched = known.changed(now), objectives(folder)
        jobs = {name: paths.job_folder(folder, name) for name in changed}
        records = {name: read_records(job, searched) for name, job in jobs.items()}
        new = {name: own.state if own else None for name, own in records.items()}
        states = [one for name, one in {**known.states, **new}.items() if one and name in now]
        stored = experiment.find(*(jobs.values() if known.stamps else [folder / paths.JOBS]))
        parent = experiment.write_sweep(sweep_record(folder, states, searched)) if states else None
        for own in records.values():
            if own:
                experiment.write_job(own, parent, stored)
        experiment.forget(stored)
    known.update(now, new)


def sync_report(root: Path, sweep: Path, uri: str | None = None) -> None:
    """Copy the ``report`` folder of a sweep to the artifacts of its run, and what it says.

    The sweep's run gets the answer as its verdict. Each reported job gets its verdict and its
    figures, named by their split: ``dev_qoverpt_r68_mean``.

    Args:
        root: The folder of all output.
        sweep: The sweep's folder below it; at least one of its jobs has been synced.
        uri: Of a tracking server; None for the database below the root.

    Raises:
        TrackingError: MLflow cannot be written, or does not know the sweep.
    """
    with open_experiment(root, sweep, uri) as experiment:
        stored = experiment.find_sweep(sweep)
        if not stored:
            raise TrackingError(
                f"{sweep}: not in MLflow, as after tracking=false; headsweep sync copies it"
            )
        for run in stored:
            experiment.copy_folder(run, sweep / paths.REPORT)
        summary = read_json(sweep / paths.REPORT / paths.SUMMARY) or {}
        experiment.add_new(sweep, {VERDICT: summary.get("answer", NO_VERDICT)}, {})
        for row in summary.get("rows", ()):
            for job in row["jobs"]:
                folder = paths.job_folder(sweep, job)
                experiment.add_new(folder, {VERDICT: row["verdict"]}, row["metrics"])


def sync_all(root: Path, name: str | None = None, uri: str | None = None) -> list[str]:
    """Bring the MLflow runs of sweeps and single runs in line with their folders.

    A database below the root that is damaged is moved aside and made anew from all run folders.

    Args:
        root: The folder of all output.
        name: Of a sweep, or key of a single run; None for all.
        uri: Of a tracking server; None for the database below the root.

    Returns:
        The names of what is now in MLflow.

    Raises:
        UserError: There is no such sweep or run, or MLflow cannot be written.
    """
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder; it is the root=FOLDER of the trainings")
    if name is not None and name not in {path.name for path in _stored(root)}:
        raise UserError(f"no finished job of {name!r} in {root}; `headsweep list` shows all")
    if uri is not None:
        return _sync_folders(root, name, uri, UNKNOWN)
    try:
        rows = verify(root)
        with open_experiment(root, root) as experiment:
            experiment.forget_nameless()
        return _sync_folders(root, name, None, rows)
    except DamagedError as error:
        aside = database.set_aside(root)
        log.warning(
            "%s; it was moved to %s, and MLflow is made anew from the run folders", error, aside
        )
        return _sync_folders(root, None, None, UNKNOWN)


@contextmanager
def mending(root: Path) -> Iterator[None]:
    """Make a damaged database below a root anew from all run folders, where a block finds it so.

    One of another version of MLflow stays, as two that share a root would move it aside in turn.
    """
    try:
        yield
    except OtherVersionError:
        raise
    except DamagedError:
        sync_all(root)


def _stored(root: Path) -> list[Path]:
    """Folders of all sweeps and single runs below a root."""
    sweeps = (path for path in paths.sweep_folders(root) if (path / paths.JOBS).is_dir())
    return [*sweeps, *find_jobs(root / paths.RUNS)]


def _sync_folders(
    root: Path, name: str | None, uri: str | None, rows: Mapping[str, int]
) -> list[str]:
    """Bring one sweep or run, or all, into MLflow; returns their names."""
    delivered: list[str] = []
    for folder in _stored(root):
        if name not in (None, folder.name):
            continue
        try:
            _sync_folder(root, folder, uri, rows)
        except DamagedError:
            raise
        except TrackingError as error:
            before = f"; in MLflow before: {', '.join(delivered)}" if delivered else ""
            raise TrackingError(f"{error}{before}") from error
        delivered.append(folder.name)
    return delivered


def _sync_folder(root: Path, folder: Path, uri: str | None, rows: Mapping[str, int]) -> None:
    if folder.parent.name == paths.RUNS:
        sync_job(root, folder, uri=uri, rows=rows)
        return
    sync_sweep(root, folder, uri, rows=rows)
    if (folder / paths.REPORT).is_dir():
        sync_report(root, folder, uri)
