"""Changes in a sweep's folder since the last look; cheap to find, so that looks can be often."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headsweep.store.paths import JOBS
from headsweep.store.tracking.records import JobState

SETTLED_NS = 10**9
"""Age from which a folder's time of change tells it from any later state."""

Stamp = tuple[int, int]
"""Inode and time of change of a folder, in ns."""


def job_stamps(sweep: Path) -> dict[str, Stamp | None]:
    """Stamps that tell each job folder of a sweep from its later states, in order of its numbers.

    Queues move whole files and members into a job's folder, which changes its time. After a change
    of this very moment another may come with the same time: then there is no stamp yet.
    """
    settled = time.time_ns() - SETTLED_NS
    found: dict[str, Stamp | None] = {}
    with suppress(FileNotFoundError), os.scandir(sweep / JOBS) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it is being replaced: the next look will see it
                status = entry.stat()
                stamp = (status.st_ino, status.st_mtime_ns)
                found[entry.name] = stamp if stamp[1] < settled else None
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


@dataclass
class SweepSnapshot:
    """The jobs of a sweep as they were when they were last looked at, by name.

    Attributes:
        stamps: Of their folders.
        states: What was found; None where there was nothing to read.
    """

    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    states: dict[str, JobState | None] = field(default_factory=dict)

    def changed(self, now: dict[str, Stamp | None]) -> list[str]:
        """Names of the jobs that are new, may have changed or are gone."""
        names = (name for name, old in self.stamps.items() if old is None or old != now.get(name))
        return list(dict.fromkeys([*(n for n in now if n not in self.stamps), *names]))

    def update(self, now: dict[str, Stamp | None], states: dict[str, JobState | None]) -> None:
        """Remember what was found in the changed jobs."""
        self.stamps = dict(now)
        self.states = {name: one for name, one in {**self.states, **states}.items() if name in now}
