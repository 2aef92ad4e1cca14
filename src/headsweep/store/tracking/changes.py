"""What has changed in a sweep's folder since the last look; cheap, so that it can be often."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headsweep.store.paths import JOBS
from headsweep.store.tracking.records import Facts

SETTLED_NS = 10**9
"""Age from which a folder's time of change tells it from any later state."""

Stamp = tuple[int, int]


def stamps(sweep: Path) -> dict[str, Stamp | None]:
    """What tells each job folder of a sweep from its later states, by name in order of numbers.

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
class Seen:
    """The jobs of a sweep as they were when they were last looked at, by name.

    Attributes:
        stamps: Of their folders.
        facts: What was found; None where there was nothing to read.
    """

    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    facts: dict[str, Facts | None] = field(default_factory=dict)

    def changed(self, now: dict[str, Stamp | None]) -> list[str]:
        """Names of the jobs that are new, may have changed or are gone."""
        names = (name for name, old in self.stamps.items() if old is None or old != now.get(name))
        return list(dict.fromkeys([*(n for n in now if n not in self.stamps), *names]))

    def update(self, now: dict[str, Stamp | None], facts: dict[str, Facts | None]) -> None:
        """Remember what was found in the changed jobs."""
        self.stamps = dict(now)
        self.facts = {name: one for name, one in {**self.facts, **facts}.items() if name in now}
