"""Members by their key: what was trained once is found wherever it lies below the root."""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from headsweep.errors import UserError
from headsweep.files import atomic_dir
from headsweep.store import paths
from headsweep.store.repair import member_damage
from headsweep.store.runs import find_jobs, open_file, read_job, read_result, read_results

_JOB_KEY = re.compile(rb'^ "job_key": "([^"]+)",?$', re.MULTILINE)

COUNTS = ("finished", "failed")
"""States of members that are results of their training; a pruned one was cut short."""


class MemberIndex:
    """All jobs below a root by their key, listed when the first is looked for.

    Args:
        root: The folder of all output.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def jobs(self) -> dict[str, list[Path]]:
        """Folders of the jobs by key."""
        found: dict[str, list[Path]] = {}
        for job in find_jobs(self.root):
            try:
                # To parse 10,000 files would take seconds; what is found is checked.
                match = _JOB_KEY.search((job / paths.JOB).read_bytes())
            except OSError:
                continue
            if match is not None:
                found.setdefault(match[1].decode(), []).append(job)
        return found

    def find(self, key: str, seeds: Sequence[int]) -> list[str]:
        """Folder of one undamaged member for each seed of a job that has one.

        Args:
            key: Of the job.
            seeds: Those that are looked for.
        """
        found: dict[int, str] = {}
        for job in self.jobs.get(key, ()) if seeds else ():
            usable = usable_members(paths.seed_folders(job).values(), key, seeds)
            found |= {seed: str(path) for seed, path in usable.items() if seed not in found}
        return list(found.values())


def used_seeds(root: Path, keys: Sequence[str]) -> dict[int, list[Path]]:
    """Seeds that any run below a root has used for jobs, with the folders of those jobs.

    Args:
        root: The folder of all output.
        keys: Of the jobs.
    """
    found: dict[int, list[Path]] = {}
    index = MemberIndex(root)
    for job in (job for key in dict.fromkeys(keys) for job in index.jobs.get(key, ())):
        for seed in read_results(job):
            found.setdefault(seed, []).append(job)
    return found


def fresh_seed(used: Collection[int], seeds: range) -> int:
    """The first seed of a range, or of the next as long as it that has no used one."""
    while not {*seeds}.isdisjoint(used):
        seeds = range(seeds.stop, seeds.stop + len(seeds))
    return seeds.start


def usable_members(folders: Iterable[Path], key: str, seeds: Sequence[int]) -> dict[int, Path]:
    """Seed folders that hold undamaged members of a job, by seed.

    Args:
        folders: Those to look at.
        key: Of the job.
        seeds: Those that are looked for.
    """
    found: dict[int, Path] = {}
    for folder in folders:
        seed = paths.seed_of(folder)
        try:
            result = read_result(folder)
            counts = result is not None and result["status"] in COUNTS and seed in seeds
            if counts and member_damage(folder, key, seed) is None and read_job(folder.parent):
                found.setdefault(seed, folder)
        except UserError:  # by another version of headsweep, or damaged: it is trained
            continue
    return found


def copy_member(source: Path, target: Path) -> None:
    """Copy a member; whenever it is killed, the copy is complete or not there.

    Args:
        source: Its seed folder.
        target: Its new seed folder.

    Raises:
        DamagedError: It has been damaged meanwhile.
    """
    names = (read_result(source) or {}).get("files", {})
    content = {name: open_file(source, name).getvalue() for name in names}
    content[paths.RESULT] = (source / paths.RESULT).read_bytes()
    with atomic_dir(target) as folder:
        for name, data in content.items():
            (folder / name).write_bytes(data)


def training_of(members: Iterable[Path]) -> dict[str, Any]:
    """Version of the code and the environment that trained some members, for ``job.json``."""
    for folder in members:
        about = read_job(folder.parent) or {}
        return {key: about[key] for key in ("code_version", "environment") if key in about}
    return {}
