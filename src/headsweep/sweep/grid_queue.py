"""Queue of the jobs of a grid; a job is done when its folder has all its members."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from headsweep.errors import DamagedError
from headsweep.files import sync_folder
from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.store.repair import missing_seeds, remove_damage
from headsweep.sweep.leases import Lease, Leases
from headsweep.sweep.queue import Fits, NoTask, Task, drop_attempts, move, new_attempt

LOOK_AHEAD = 64
"""So many jobs at most are looked at for one that fits a stack: each is composed, which takes time
in which no other worker can take one."""


@dataclass(frozen=True)
class Entry:
    """One job of a grid.

    Attributes:
        number: Its number in the sweep.
        overrides: Those that make it from the sweep's configuration.
        key: Key of the job.
        seeds: Seeds of its members.
        found: Folders of members of the same job elsewhere below the root, to be copied.
    """

    number: int
    overrides: list[str]
    key: str
    seeds: list[int]
    found: list[str] = field(default_factory=list)


class GridQueue:
    """Queue of the jobs of a grid.

    Args:
        folder: The sweep's folder, ``root/sweeps/<name>``.
        entries: Its jobs.
        leases: Those of this process.
        max_retries: So many deaths of its worker a job survives.
    """

    def __init__(
        self, folder: Path, entries: Sequence[Entry], leases: Leases, max_retries: int
    ) -> None:
        self.folder, self.leases = folder, leases
        self.entries = {entry.number: entry for entry in entries}
        self.max_retries = max_retries
        self._done: set[int] = set()

    def missing(self, number: int) -> list[int]:
        """Seeds of a job that have no result of this very job yet."""
        entry = self.entries[number]
        return missing_seeds(self.job_folder(number), entry.key, entry.seeds)

    def job_folder(self, number: int) -> Path:
        """Folder of a job."""
        return paths.job_folder(self.folder, number)

    def reset(self) -> list[str]:
        """Remove what is damaged, and allow another attempt at what could not be trained before.

        Returns:
            A line for each file or folder that was removed as damaged.
        """
        with self.leases.lock():
            if all(self.leases.is_dead(lease) for lease in self.leases.all()):
                for number in self.entries:
                    (self.job_folder(number) / paths.OUTCOME).unlink(missing_ok=True)
            removed = [remove_damage(self.job_folder(n), e.key) for n, e in self.entries.items()]
        return [line for lines in removed for line in lines]

    def take(self, fits: Fits | None = None) -> Task | NoTask:
        """Take the next job that nobody works on; with ``fits`` one of the next that fits."""
        with self.leases.lock():
            waiting, asked = False, 0
            for number, entry in self.entries.items():
                if self._is_over(number):
                    continue
                lease = self.leases.read(number) or Lease(number, attempt=0)
                if not self.leases.is_dead(lease):
                    waiting = True
                    continue
                if fits is not None:
                    if asked == LOOK_AHEAD:
                        return NoTask.WAIT
                    asked += 1
                    if not (lease.worker is None and lease.stacks and fits(entry.overrides)):
                        waiting = True
                        continue
                if self._survives(lease):
                    lease = self.leases.claim(number)
                    folder = new_attempt(self.folder, lease)
                    missing = self.missing(number)
                    return Task(
                        number, entry.overrides, folder, lease, missing, entry.key, entry.found
                    )
            return NoTask.WAIT if waiting else NoTask.DONE

    def side_by_side(self, most: int) -> int:
        """Number of jobs that are not over, counted up to ``most``."""
        left = (number for number in self.entries if not self._is_over(number))
        return sum(1 for _ in islice(left, most))

    def is_done(self) -> bool:
        """True when nothing is left to be trained."""
        return all(self._is_over(number) for number in self.entries)

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Add the members of an attempt to the job's folder; False where the lease was lost."""
        folder = self.job_folder(task.number)
        if outcome.state == "failed":
            outcome.write(task.folder)
        with self.leases.lock():
            if not self.leases.is_mine(task.lease):
                return False
            remove_damage(folder, self.entries[task.number].key)
            folder.mkdir(parents=True, exist_ok=True)
            # The members come last: with all of them the job is over, whatever else is missing.
            files = [path for path in task.folder.iterdir() if path.is_file()]
            for path in sorted(files, key=lambda path: path.name == paths.JOB):
                path.replace(folder / path.name)
            for path in paths.seed_folders(task.folder).values():
                move(path, folder / path.name)
            sync_folder(folder)
            task.folder.rmdir()
            self.leases.remove(task.number)
        return True

    def give_back(self, task: Task, alone: bool = False) -> None:
        """Put back a job that was broken off."""
        with self.leases.lock():
            if self.leases.is_mine(task.lease):
                self.leases.free(task.lease, alone=alone)

    def collect(self) -> None:
        """Count the deaths of workers; fail the jobs that killed a worker too often."""
        with self.leases.lock():
            for lease in self.leases.all():
                if not self.leases.is_dead(lease):
                    continue
                if self._is_over(lease.number):
                    drop_attempts(self.folder, lease.number)
                    self.leases.remove(lease.number)  # a kill came before this
                elif lease.worker is not None:
                    self._survives(lease)

    def _survives(self, lease: Lease) -> bool:
        deaths = lease.deaths + self.leases.died_alone(lease)
        if deaths > self.max_retries:
            reason = f"its worker was killed {deaths} times, perhaps for want of memory"
            Outcome("failed", reason).write(self.job_folder(lease.number))
            drop_attempts(self.folder, lease.number)
            self.leases.remove(lease.number)
            return False
        if lease.worker is not None:
            self.leases.free(lease, deaths - lease.deaths)
        return True

    def _is_over(self, number: int) -> bool:
        if number not in self._done and (self._failed(number) or not self.missing(number)):
            self._done.add(number)
        return number in self._done

    def _failed(self, number: int) -> bool:
        try:
            return Outcome.read(self.job_folder(number)) is not None
        except DamagedError:
            return False
