"""Queue of the jobs of a grid; a job is done when its folder has all its members."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headsweep.files import sync_folder
from headsweep.identity import member_key
from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.store.runs import read_result, read_results
from headsweep.sweep.leases import Lease, Leases
from headsweep.sweep.queue import NoTask, Task, drop_attempts, move, new_attempt


@dataclass(frozen=True)
class Entry:
    """One job of a grid.

    Attributes:
        overrides: Those that make it from the sweep's configuration.
        key: Key of the job.
        seeds: Seeds of its members.
    """

    overrides: list[str]
    key: str
    seeds: list[int]


class GridQueue:
    """Queue of the jobs of a grid.

    Args:
        folder: The sweep's folder, ``root/sweeps/<name>``.
        entries: Its jobs, by number.
        leases: Those of this process.
        max_retries: So many deaths of its worker a job survives.
    """

    def __init__(
        self, folder: Path, entries: Sequence[Entry], leases: Leases, max_retries: int
    ) -> None:
        self.folder, self.entries, self.leases = folder, entries, leases
        self.max_retries = max_retries
        self._done: set[int] = set()

    def missing(self, number: int) -> list[int]:
        """Seeds of a job that have no result of this very job yet."""
        entry, folder = self.entries[number], self.job_folder(number)
        results = {seed: read_result(paths.seed_folder(folder, seed)) for seed in entry.seeds}
        return [
            seed
            for seed, result in results.items()
            if result is None or result.get("member_key") != member_key(entry.key, seed)
        ]

    def job_folder(self, number: int) -> Path:
        """Folder of a job."""
        return paths.job_folder(self.folder, number)

    def reset(self) -> None:
        """Allow another attempt at the jobs that an earlier command could not train."""
        with self.leases.lock():
            if all(self.leases.is_dead(lease) for lease in self.leases.all()):
                for number in range(len(self.entries)):
                    (self.job_folder(number) / paths.OUTCOME).unlink(missing_ok=True)

    def take(self) -> Task | NoTask:
        """Take the next job that nobody works on."""
        with self.leases.lock():
            waiting = False
            for number, entry in enumerate(self.entries):
                if self._is_over(number):
                    continue
                lease = self.leases.read(number) or Lease(number, attempt=0)
                if not self.leases.is_dead(lease):
                    waiting = True
                elif self._survives(lease):
                    lease = self.leases.claim(number)
                    folder = new_attempt(self.folder, lease)
                    return Task(number, entry.overrides, folder, lease, self.missing(number))
            return NoTask.WAIT if waiting else NoTask.DONE

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Add the members of an attempt to the job's folder; False where the lease was lost."""
        folder = self.job_folder(task.number)
        if outcome.state == "failed":
            outcome.write(task.folder)
        with self.leases.lock():
            if not self.leases.is_mine(task.lease):
                return False
            folder.mkdir(parents=True, exist_ok=True)
            self._forget_others(task.number)
            # The members come last: with all of them the job is over, whatever else is missing.
            for path in (p for p in task.folder.iterdir() if p.is_file()):
                path.replace(folder / path.name)
            for path in paths.seed_folders(task.folder).values():
                move(path, folder / path.name)
            sync_folder(folder)
            task.folder.rmdir()
            self.leases.remove(task.number)
        return True

    def give_back(self, task: Task) -> None:
        """Put back a job that was broken off on purpose."""
        with self.leases.lock():
            if self.leases.is_mine(task.lease):
                self.leases.free(task.lease)

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

    def _forget_others(self, number: int) -> None:
        """Remove members of another job, which would pass for members of this one."""
        entry = self.entries[number]
        for seed, result in read_results(self.job_folder(number)).items():
            if result.get("member_key") != member_key(entry.key, seed):
                shutil.rmtree(paths.seed_folder(self.job_folder(number), seed))

    def _is_over(self, number: int) -> bool:
        if number not in self._done:
            failed = Outcome.read(self.job_folder(number)) is not None
            if failed or not self.missing(number):
                self._done.add(number)
        return number in self._done
