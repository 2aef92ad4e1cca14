"""Leases: which worker trains which job, so that several commands can share one sweep.

Every change is made while the sweep's lock is held. The lock is the kernel's and goes with its
process; a lease outlives its owner, and says whether the work was lost or is still going on.
"""

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from headsweep.files import TEMPORARY, locked, write_atomic
from headsweep.identity import stable_hash
from headsweep.store import paths

BEAT_SECONDS = 5.0
"""Seconds between two times that a live worker raises the counter of its lease."""

SILENT_SECONDS = 60.0
"""A worker on another host is taken for dead when its counter has not changed for this long."""

COMMAND = "command-"
"""Prefix of the file of a living command beside the leases."""

START_TOLERANCE = 2.0
"""Start times of one process may differ by this much, as the host's own is in whole seconds."""


@dataclass(frozen=True)
class Process:
    """A process, distinct from later ones with the same number.

    Attributes:
        host: Host, and the space of its process numbers.
        boot: Identifier of the host's present boot.
        pid: Its number.
        start: When it started, seconds since the host did.
    """

    host: str
    boot: str
    pid: int
    start: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process with this number on this host."""
        return cls(*_here(), pid, _start(psutil.Process(pid)))

    def is_local(self) -> bool:
        """True for a process of this host."""
        return self.host == _here()[0]

    def is_alive(self) -> bool:
        """True for a process of this host that still runs."""
        if self.boot != _here()[1]:
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(_start(process) - self.start) < START_TOLERANCE
        except psutil.NoSuchProcess:
            return False

    def is_stopped(self) -> bool:
        """True for a living process of this host that sleeps until somebody lets it go on."""
        with suppress(psutil.NoSuchProcess):
            return self.is_alive() and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    @property
    def key(self) -> str:
        """A name for files of this process, which no other on any host has."""
        return f"{self.pid}-{stable_hash(asdict(self), 8)}"

    def __str__(self) -> str:
        where = "" if self.is_local() else f" on {self.host.split()[0]}"
        return f"process {self.pid}{where}{' (stopped)' if self.is_stopped() else ''}"


@dataclass(frozen=True)
class Lease:
    """The right to work on a job.

    Attributes:
        number: Of the job.
        attempt: Counts the times that somebody began with it.
        deaths: How many of them ended with the worker's death while its command lived.
        counter: Raised by the living owner.
        worker: The owner; None while nobody works on it.
        command: The sweep command that started the worker.
        alone: True once a stack with it broke off on an error, which may have been its own.
    """

    number: int
    attempt: int
    deaths: int = 0
    counter: int = 0
    worker: Process | None = None
    command: Process | None = None
    alone: bool = False

    @property
    def stacks(self) -> bool:
        """Whether it may be trained in one stack with others: it has not ended any yet."""
        return not self.alone and self.deaths == 0


@dataclass(frozen=True)
class Holder:
    """A living process that works in a sweep's folder.

    Attributes:
        process: Which.
        job: Number of the job that it trains; None for a command that looks after workers.
    """

    process: Process
    job: int | None = None

    def __str__(self) -> str:
        return f"{self.process}, {'a command' if self.job is None else f'training {self.job}'}"


def alive(sweep: Path) -> list[Holder]:
    """All living processes that work in a sweep's folder; quick, and without its lock.

    A process of another host lives while its file was changed within ``SILENT_SECONDS``, by the
    clock that stamps the files: on a network disk the server's, so that hosts may go wrong.

    Args:
        sweep: The sweep's folder, which may be missing.
    """
    leases, found = Leases(sweep), []
    for path in sorted(leases.folder.glob("*.json")):
        if path.name.startswith(COMMAND):
            holder = Holder(process) if (process := _read_command(path)) else None
        else:
            lease = leases.read(int(path.stem)) if path.stem.isdecimal() else None
            holder = Holder(lease.worker, lease.number) if lease and lease.worker else None
        if holder is not None and _works(holder.process, path):
            found.append(holder)
    return found


def _works(process: Process, path: Path) -> bool:
    if process.is_local():
        return process.is_alive()
    try:
        return _now(path.parent) - path.stat().st_mtime < SILENT_SECONDS
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """Time of the clock that stamps the files in a folder; this host's where it is read-only."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


class Silences:
    """How long others have been silent, by the clock of this process alone.

    Args:
        clock: Seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._seen: dict[object, tuple[object, float]] = {}

    def is_silent(self, who: object, sign: object) -> bool:
        """True when somebody has given the same sign for more than ``SILENT_SECONDS``."""
        now = self.clock()
        known, since = self._seen.get(who, (None, now))
        self._seen[who] = (sign, since if known == sign else now)
        return known == sign and now - since > SILENT_SECONDS


def _read_command(path: Path) -> Process | None:
    try:
        return Process(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class Leases:
    """All leases of one sweep, as seen by one process.

    Args:
        folder: The sweep's folder.
        worker: The process that takes leases here; None for one that only looks.
        command: The sweep command behind it.
        clock: Seconds since some moment, by which silences are measured.
    """

    def __init__(
        self,
        folder: Path,
        worker: Process | None = None,
        command: Process | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder / paths.LEASES
        self.worker, self.command = worker, command
        self._lock = folder / ".sweep.lock"
        self._silences = Silences(clock)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all other processes from changing the sweep."""
        with locked(self._lock, poll_interval=0.002):
            yield

    @contextmanager
    def attended(self) -> Iterator[Callable[[], None]]:
        """Let others see that this command is at work; yields a call that says it again.

        Workers have no lease before their first job and between two, and ``alive`` must not take
        the sweep for forgotten then.
        """
        assert self.command is not None
        file, process = self.folder / f"{COMMAND}{self.command.key}.json", asdict(self.command)

        def say() -> None:
            write_atomic(file, json.dumps(process).encode(), sync=False)

        self._forget_the_dead()
        say()
        try:
            yield say
        finally:
            file.unlink(missing_ok=True)
            self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Remove the files of commands that were killed."""
        for path in self.folder.glob(f"{COMMAND}*.json"):
            other = _read_command(path)
            if other is None or not _works(other, path):
                path.unlink(missing_ok=True)

    def all(self) -> list[Lease]:
        """All leases, by number."""
        files = [file for file in self.folder.glob("*.json") if file.stem.isdecimal()]
        found = [lease for file in files if (lease := self.read(int(file.stem)))]
        return sorted(found, key=lambda lease: lease.number)

    def read(self, number: int) -> Lease | None:
        """The lease of a job, or None where nobody began with it."""
        try:
            values: dict[str, Any] = json.loads(self._file(number).read_bytes())
            for name in ("worker", "command"):
                values[name] = Process(**values[name]) if values[name] else None
            return Lease(**values)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None  # cut by a crash of the machine, or edited: nobody holds it

    def claim(self, number: int) -> Lease:
        """Take a job that nobody works on."""
        old = self.read(number) or Lease(number, attempt=0)
        lease = replace(
            old, attempt=old.attempt + 1, counter=0, worker=self.worker, command=self.command
        )
        self._write(lease)
        return lease

    def is_mine(self, lease: Lease) -> bool:
        """True while no other worker has taken the job over."""
        now = self.read(lease.number)
        return now is not None and (now.worker, now.attempt) == (lease.worker, lease.attempt)

    def beat(self, lease: Lease) -> bool:
        """Raise the counter of a lease; False where another worker has it."""
        now = self.read(lease.number)
        if now is None or not self.is_mine(lease):
            return False
        self._write(replace(now, counter=now.counter + 1))
        return True

    def free(self, lease: Lease, deaths: int = 0, alone: bool = False) -> None:
        """Give a job back, for anybody to begin anew, and perhaps alone."""
        total, alone = lease.deaths + deaths, lease.alone or alone
        self._write(replace(lease, worker=None, command=None, deaths=total, alone=alone))

    def remove(self, number: int) -> None:
        """Forget the lease of a job that is done."""
        self._file(number).unlink(missing_ok=True)

    def is_dead(self, lease: Lease) -> bool:
        """True when the owner is gone: at once on this host, after ``SILENT_SECONDS`` elsewhere."""
        if lease.worker is None or lease.worker.is_local():
            return lease.worker is None or not lease.worker.is_alive()
        sign = (lease.worker, lease.attempt, lease.counter)
        return self._silences.is_silent(lease.number, sign)

    def stopped(self) -> list[str]:
        """A line for each job whose worker sleeps, for the progress display."""
        return [
            f"{lease.number} waits: {lease.worker}; let it go on: kill -CONT {lease.worker.pid}"
            for lease in self.all()
            if lease.worker is not None and lease.worker.is_local() and lease.worker.is_stopped()
        ]

    def died_alone(self, lease: Lease) -> bool:
        """True when a dead worker's command lives on, so that the job may have killed the worker.

        False for a command on another host, of which nothing is known.
        """
        command = lease.command
        return command is not None and command.is_local() and command.is_alive()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _write(self, lease: Lease) -> None:
        # A crash of the machine ends all its owners, so the disk need not be waited for.
        data = json.dumps(asdict(lease)).encode()
        write_atomic(self._file(lease.number), data, sync=False)


def _start(process: psutil.Process) -> float:
    # Not since the epoch, whose clock may be set while a worker lives.
    boot = psutil.boot_time()
    return process.create_time() - boot


@lru_cache(maxsize=1)
def _here() -> tuple[str, str]:
    """Host and boot of this process."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        space, boot = "", f"{psutil.boot_time():.0f}"
    return f"{socket.gethostname()} {space}".strip(), boot
