"""Summaries of the sweeps below a root, and the removal of files that nothing uses."""

import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from headsweep.errors import UserError
from headsweep.files import TEMPORARY, CacheKind, cache_folder
from headsweep.store import paths
from headsweep.store.labels import planned_seeds
from headsweep.store.runs import find_jobs, read_job, read_results, read_spec

ABANDONED = 3600.0
"""Seconds without a change after which a file that no run uses is taken for abandoned."""


@dataclass(frozen=True)
class SweepSummary:
    """State of a sweep, or of all single runs.

    Attributes:
        name: Name of its folder.
        jobs: Number of its jobs: as its specification lists them, or as many as have started.
        jobs_finished: Jobs of which every seed has a result.
        finished: Members that finished.
        failed: Members that failed.
        bytes: Size on disk.
        updated: Time of the last change, seconds since the epoch.
    """

    name: str
    jobs: int
    jobs_finished: int
    finished: int
    failed: int
    bytes: int
    updated: float


def summarise_root(root: Path) -> list[SweepSummary]:
    """Summaries of all sweeps below a root, by name; the last is of all single runs, if any.

    Raises:
        UserError: There is no such folder.
    """
    _check_root(root)
    singles = root / paths.RUNS
    folders = [*paths.sweep_folders(root), *([singles] if singles.is_dir() else [])]
    return [summarise(folder) for folder in folders]


def summarise(folder: Path) -> SweepSummary:
    """State of one sweep folder, or of all single runs for the folder ``root/runs``."""
    spec, jobs = read_spec(folder), find_jobs(folder)
    results = [read_results(job) for job in jobs]
    asked = spec.get("seeds", 1)
    abouts = [read_job(job) for job in jobs]
    wanted = [
        None if about is None else planned_seeds(about, asked, r)
        for about, r in zip(abouts, results, strict=True)
    ]
    statuses = [result["status"] for of_job in results for result in of_job.values()]
    size, updated = _disk(folder)
    return SweepSummary(
        name=folder.name,
        jobs=max(len(jobs), len(spec.get("jobs", ())), spec.get("n_trials", 0)),
        jobs_finished=sum(r.keys() == w for r, w in zip(results, wanted, strict=True)),
        finished=statuses.count("finished"),
        failed=statuses.count("failed"),
        bytes=size,
        updated=updated,
    )


def remove_unused(root: Path, sweep: str | None = None) -> int:
    """Remove caches and temporary files that no run folder uses.

    Removed are entries of the caches whose key no job names, and temporary files and folders.
    Both stay while they are younger than an hour: a run that has just begun makes its cache before
    its folder. Run folders stay, except the sweep that is named, whose caches go at once.

    Args:
        root: The folder of all output.
        sweep: Name of a sweep to remove first, with its results.

    Returns:
        Bytes freed.

    Raises:
        UserError: There is no such folder or sweep.
    """
    _check_root(root)
    freed, orphans = 0, set[str]()
    if sweep is not None:
        folder = paths.sweep_folder(root, sweep)
        if folder not in paths.sweep_folders(root):
            raise UserError(f"clean: no sweep {sweep!r} in {root}; `headsweep list` shows them")
        orphans = {key for job in find_jobs(folder) for key in _caches(job)}
        freed += _remove(folder)
    used = {key for job in find_jobs(root) for key in _caches(job)}
    for kind in get_args(CacheKind):
        for path in cache_folder(root, kind).glob("[!.]*"):
            if path.suffix == ".lock" or _names(path, used):
                continue
            if _names(path, orphans) or _abandoned(path):
                freed += _remove(path)
    for path in list(root.rglob(f"{TEMPORARY}*")):
        if path.exists() and _abandoned(path):
            freed += _remove(path)
    return freed


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise UserError(
            f"--root {root}: no such folder; nothing was trained into it yet, or it is not the "
            "root=FOLDER of the trainings"
        )


def _caches(job: Path) -> set[str]:
    """Keys of the caches that a job reads."""
    about = read_job(job) or {}
    return {str(about[key]) for key in ("cache_key", "data_key") if about.get(key)}


def _names(path: Path, keys: Collection[str]) -> bool:
    return any(key in path.name for key in keys)


def _abandoned(path: Path) -> bool:
    return time.time() - _disk(path)[1] > ABANDONED


def _disk(path: Path) -> tuple[int, float]:
    """Size in bytes and time of the last change of a file or of all below a folder."""
    size, updated = 0, path.lstat().st_mtime
    files = (Path(top, name) for top, _, names in os.walk(path) for name in names)
    for file in files if path.is_dir() else (path,):
        with_status = file.lstat()
        size, updated = size + with_status.st_size, max(updated, with_status.st_mtime)
    return size, updated


def _remove(path: Path) -> int:
    size, _ = _disk(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return size
