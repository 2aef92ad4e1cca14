"""Removal of what is damaged in the folders of jobs, so that it counts as missing and is trained.

Readers refuse damage by name; only the command that trains removes it.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headsweep.errors import DamagedError
from headsweep.files import MEND
from headsweep.identity import member_key
from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.store.runs import open_file, read_config, read_job, read_result

Damage = dict[Path, str]
"""Each file or folder that counts no more, with the reason."""


def find_damage(job: Path, key: str | None) -> Damage:
    """Damage in a job folder; empty where all is as it was written.

    A damaged member counts no more; the job as a whole where ``config.yaml`` or ``job.json`` is
    damaged, which say what its members are. So does a trial of which anything is missing, as its
    outcome is that of all its members.

    Args:
        job: The folder.
        key: Key of the job that belongs there; None for a trial of a search.

    Raises:
        UserError: It was written by another version of headsweep.
    """
    if not job.is_dir():
        return {}
    members = paths.seed_folders(job)
    try:
        about = read_job(job)
        if about is not None or members:
            read_config(job)
    except DamagedError as error:
        return {job: str(error)}
    if about is not None and key is not None and about["job_key"] != key:
        return {job: f"{job}: is another job's; {MEND}"}
    found: Damage = {}
    for seed, folder in members.items():
        assert about is not None
        if (reason := member_damage(folder, about.get("job_key"), seed)) is not None:
            found[folder] = reason
    try:
        outcome = Outcome.read(job)
    except DamagedError as error:
        outcome, found = None, {**found, job / paths.OUTCOME: str(error)}
    if key is None:
        reasons = [*found.values(), *_lacks(job, outcome, about, [*members])]
        return {job: reasons[0]} if reasons else {}
    return found


def missing_seeds(job: Path, key: str, seeds: Sequence[int]) -> list[int]:
    """Seeds of a job without a result of this very job; damaged results are none.

    Only ``result.json`` is looked at, so that this is quick.

    Args:
        job: The folder.
        key: Key of the job.
        seeds: Those that it shall have.
    """
    return [seed for seed in seeds if _key(paths.seed_folder(job, seed)) != member_key(key, seed)]


def _key(folder: Path) -> str | None:
    """Key of the member in a seed folder; None where there is none, or a damaged one."""
    try:
        result = read_result(folder)
    except DamagedError:
        return None
    return None if result is None else result.get("member_key")


def _lacks(
    job: Path, outcome: Outcome | None, about: Mapping[str, Any] | None, members: Sequence[int]
) -> list[str]:
    """What is missing of a trial, whose folder appeared with all of it."""
    if outcome is None:
        return [f"{job / paths.OUTCOME}: missing; {MEND}"]
    if outcome.state == "failed" and not members:
        return []  # before it had any
    if about is None:
        return [f"{job / paths.JOB}: missing; {MEND}"]
    first, count = about["seeds"]
    missing = sorted({*range(first, first + count)}.difference(members))
    return [f"{paths.seed_folder(job, seed)}: missing; {MEND}" for seed in missing]


def remove_damage(job: Path, key: str | None) -> list[str]:
    """Remove what is damaged in a job folder; returns a line for each file or folder.

    Args:
        job: The folder.
        key: As of ``find_damage``.
    """
    found = find_damage(job, key)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [f"{reason.removesuffix(MEND)}trained again" for reason in found.values()]


def member_damage(folder: Path, job_key: str | None, seed: int) -> str | None:
    """Reason why a seed folder is not what the training of a member wrote; None where it is.

    Args:
        folder: The seed folder.
        job_key: Key of its job.
        seed: That of the member.
    """
    try:
        result = read_result(folder)
        for name in result["files"] if result is not None else ():
            open_file(folder, name)
    except DamagedError as error:
        return str(error)
    if result is None:
        return f"{folder / paths.RESULT}: missing; {MEND}"
    if job_key is not None and result.get("member_key") != member_key(job_key, seed):
        return f"{folder}: is the member of another job or seed; {MEND}"
    return None
