"""Summaries of the sweeps and runs below a root, and the removal of files that nothing uses."""

import os
import shlex
import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from headsweep.errors import UserError
from headsweep.files import TEMPORARY, CacheKind, cache_folder
from headsweep.store import paths
from headsweep.store.labels import failed_seeds, planned_seeds
from headsweep.store.question import question
from headsweep.store.runs import (
    find_jobs,
    last_end,
    read_command,
    read_job,
    read_results,
    read_spec,
)
from headsweep.terminal import file_size

ABANDONED = 3600.0
"""Seconds without a change after which a file that no run uses is taken for abandoned."""

MOST_REASONS = 3
"""Most failures of one sweep whose reasons ``headsweep list`` prints."""


@dataclass(frozen=True)
class Summary:
    """State of a sweep or of a single run.

    Attributes:
        kind: ``sweep`` or ``run``.
        name: Name of its folder: of a single run its key.
        about: The question of its file, else its overrides.
        jobs: Number of its jobs: as its specification lists them, or as many as have started.
        jobs_finished: Jobs of which every seed has a result.
        finished: Members that finished.
        failed: Members that failed, and those of jobs that could not be trained.
        reasons: Reason of each job with failed members, of a sweep with the number of the job.
        bytes: Size on disk.
        updated: Time of the last recorded result, else of the last change of a file; seconds since
            the epoch.
    """

    kind: Literal["sweep", "run"]
    name: str
    about: str
    jobs: int
    jobs_finished: int
    finished: int
    failed: int
    reasons: list[str]
    bytes: int
    updated: float

    def cells(self) -> list[str]:
        """Cells of its row in the table of ``headsweep list``."""
        return [
            self.name,
            f"{self.jobs_finished} of {self.jobs}",
            str(self.finished),
            str(self.failed),
            file_size(self.bytes),
            datetime.fromtimestamp(self.updated).strftime("%Y-%m-%d %H:%M"),
            self.about,
        ]

    def why(self) -> str:
        """A line for each of the first ``MOST_REASONS`` failures, and their number."""
        lines = self.reasons[:MOST_REASONS]
        if len(self.reasons) > MOST_REASONS:
            lines.append(f"and {len(self.reasons) - MOST_REASONS} more")
        return "".join(f"{self.name}: {line}\n" for line in lines)


def summarise_root(root: Path) -> list[Summary]:
    """Summaries of all sweeps below a root, by name, then of all single runs.

    Raises:
        UserError: There is no such folder.
    """
    _check_root(root)
    return [summarise(f) for f in (*paths.sweep_folders(root), *find_jobs(root / paths.RUNS))]


def summarise(folder: Path) -> Summary:
    """State of the folder of a sweep or of a single run."""
    spec, jobs = read_spec(folder), find_jobs(folder)
    abouts = [read_job(job) for job in jobs]
    results = [read_results(job, about) for job, about in zip(jobs, abouts, strict=True)]
    asked = spec.get("seeds", 1)
    wanted = [
        None if about is None else planned_seeds(about, asked, r)
        for about, r in zip(abouts, results, strict=True)
    ]
    statuses = [result["status"] for of_job in results for result in of_job.values()]
    size, changed = _disk(folder)
    is_run = jobs == [folder]
    failures = {
        job: _failures(job, frozenset(range(asked)) if seeds is None else seeds, of_job)
        for job, seeds, of_job in zip(jobs, wanted, results, strict=True)
    }
    for outcome in sorted(folder.glob(f"{paths.JOBS}/*/{paths.OUTCOME}")):
        if outcome.parent not in failures:  # has not even its job.json
            failures[outcome.parent] = failed_seeds(outcome.parent, range(asked), {})
    reasons = [(job.name, reason) for job, own in failures.items() for reason in {*own.values()}]
    return Summary(
        kind="run" if is_run else "sweep",
        name=folder.name,
        about=shlex.join((abouts[0] or {}).get("overrides", ())) if is_run else _question(folder),
        jobs=max(len(jobs), len(spec.get("jobs", ())), spec.get("n_trials", 0)),
        jobs_finished=sum(r.keys() == w for r, w in zip(results, wanted, strict=True)),
        finished=statuses.count("finished"),
        failed=sum(map(len, failures.values())),
        reasons=[reason if is_run else f"job {name}: {reason}" for name, reason in reasons],
        bytes=size,
        updated=last_end(result for of_job in results for result in of_job.values()) or changed,
    )


def _failures(
    job: Path, seeds: frozenset[int], results: Mapping[int, Mapping[str, Any]]
) -> dict[int, str]:
    """Reasons of the failed members of a job; its outcome is read only where some are missing."""
    good = {seed for seed, result in results.items() if result["status"] != "failed"}
    return failed_seeds(job, seeds, results) if seeds - good else {}


def _question(sweep: Path) -> str:
    """The question of a sweep's file, else what its command sets; empty where neither is known."""
    if not (sweep / paths.COMMAND).is_file():
        return ""
    command = read_command(sweep)
    return question(command) or command.removeprefix("headsweep train ").partition(" --root ")[0]


def find_sweep(root: Path, name: str) -> Path:
    """The folder of a sweep that is to be removed.

    Args:
        root: The folder of all output.
        name: Name of the sweep.

    Raises:
        UserError: There is no such folder or sweep, or it lies elsewhere.
    """
    _check_root(root)
    folder = paths.sweep_folder(root, name)
    if folder not in paths.sweep_folders(root):
        known = paths.command("list", root)
        raise UserError(f"clean: no sweep {name!r} in {root}; `{known}` shows them")
    if not _is_below(folder, root):
        raise UserError(f"clean: {folder} is a link to {folder.resolve()}; remove that yourself")
    return folder


def remove_unused(root: Path, sweep: str | None = None) -> int:
    """Remove caches and temporary files that no run folder uses.

    Removed are entries of the caches whose key no job names, and temporary files and folders.
    Both stay while they are younger than an hour: a run that has just begun makes its cache before
    its folder. Run folders stay, except the sweep that is named, whose caches go at once. What lies
    behind a link is not below the root, and stays.

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
        folder = find_sweep(root, sweep)
        orphans = {key for job in find_jobs(folder) for key in _caches(job)}
        freed += _remove(folder)
    used = {key for job in (*find_jobs(root), *_at_work(root)) for key in _caches(job)}
    for kind in get_args(CacheKind):
        for path in cache_folder(root, kind).glob("[!.]*"):
            if path.suffix == ".lock" or _names(path, used) or not _is_below(path, root):
                continue
            if _names(path, orphans) or _abandoned(path):
                freed += _remove(path)
    for path in list(root.rglob(f"{TEMPORARY}*")):
        if path.exists() and _is_below(path, root) and _abandoned(path):
            freed += _remove(path)
    return freed


def _at_work(root: Path) -> list[Path]:
    """Job folders that workers train into, which may last longer than an hour."""
    sweeps = paths.sweep_folders(root)
    return [attempt for sweep in sweeps for _, attempt in paths.attempt_folders(sweep)]


def _is_below(path: Path, root: Path) -> bool:
    """True for what lies below a root itself, not behind a link."""
    real = os.path.realpath  # unlike Path.resolve it takes a link to itself
    return not path.is_symlink() and real(path) == os.path.join(real(root), path.relative_to(root))


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
    files = (os.path.join(top, name) for top, _, names in os.walk(path) for name in names)
    for file in files if path.is_dir() else (path,):
        with suppress(FileNotFoundError):  # a training replaces its files meanwhile
            status = os.lstat(file)
            size, updated = size + status.st_size, max(updated, status.st_mtime)
    return size, updated


def _remove(path: Path) -> int:
    size, _ = _disk(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return size
