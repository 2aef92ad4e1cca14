"""Bringing MLflow in line with the run folders: of a job, a sweep, a report, or all."""

from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.runs import find_jobs
from headsweep.store.tracking.changes import SweepSnapshot, job_stamps
from headsweep.store.tracking.mlflow_client import LOCK_SECONDS, TrackingError, open_experiment
from headsweep.store.tracking.records import (
    objectives,
    read_records,
    read_state,
    sweep_record,
)


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
    with open_experiment(root, sweep or folder, uri, timeout) as experiment:
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
    root: Path, folder: Path, uri: str | None = None, known: SweepSnapshot | None = None
) -> None:
    """Bring the MLflow runs of a whole sweep in line with its folders.

    A grid's jobs become what ``sync_job`` makes of them. A trial of a search becomes one run: its
    objectives under their plain names, their ``_std``, ``seed_<s>/<metric>`` for each finished
    seed, the curve it was pruned by under ``history/``. The sweep's run carries as tags what may
    change when it goes on: counts, and of a search the best trial or the Pareto front.

    Args:
        root: The folder of all output.
        folder: The sweep's folder below it.
        uri: Of a tracking server; None for the database below the root.
        known: The sweep as earlier calls in this process found it, kept up to date here. With it
            only jobs that have changed since are looked at.

    Raises:
        TrackingError: MLflow cannot be written.
    """
    known = SweepSnapshot() if known is None else known
    if not known.changed(job_stamps(folder)):
        return
    with open_experiment(root, folder, uri) as experiment:
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
    """Copy the ``report`` folder of a sweep to the artifacts of its run.

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
            raise TrackingError(f"{sweep}: not in MLflow yet; sync one of its jobs first")
        for run in stored:
            experiment.copy_folder(run, sweep / paths.REPORT)


def sync_all(root: Path, name: str | None = None, uri: str | None = None) -> list[str]:
    """Bring the MLflow runs of sweeps and single runs in line with their folders.

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
    runs = {path.name: path for path in find_jobs(root / paths.RUNS)}
    sweeps = {path.name: path for path in paths.sweep_folders(root) if (path / paths.JOBS).is_dir()}
    if name is not None:
        runs = {key: path for key, path in runs.items() if key == name}
        sweeps = {key: path for key, path in sweeps.items() if key == name}
        if not runs and not sweeps:
            known = paths.command("list", root)
            raise UserError(f"no finished job of {name!r} in {root}; `{known}` shows all")
    for folder in sweeps.values():
        sync_sweep(root, folder, uri)
        if (folder / paths.REPORT).is_dir():
            sync_report(root, folder, uri)
    for folder in runs.values():
        sync_job(root, folder, uri=uri)
    return [*sweeps, *runs]
