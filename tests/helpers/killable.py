"""Workers of a queue that can be killed between any two changes of the disk, within one process.

What makes a worker dead is real: each has a child process for its identity, and a kill is SIGKILL
to that child. What the worker was doing ends with an exception at that very place.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from optuna.storages.journal import JournalFileBackend

from headsweep.store import runs
from headsweep.store.paths import JOURNAL
from headsweep.sweep.leases import Leases, Process

CHANGES = ("rename", "replace", "unlink", "rmdir")
"""Functions of ``os`` by which names in a folder change; all else of the tool ends in them."""


class Killed(BaseException):
    """The worker is dead from here on."""


class Fuse:
    """Kills a worker before one of its changes of the disk."""

    def __init__(self) -> None:
        self._kills: Callable[[], bool] = lambda: False

    def burn(self) -> None:
        """Called before each change."""
        if self._kills():
            raise Killed

    @contextmanager
    def when(self, kills: Callable[[], bool]) -> Iterator[None]:
        """Kill within a block before the first change that finds a condition true."""
        self._kills = kills
        try:
            yield
        finally:
            self._kills = lambda: False

    @contextmanager
    def lit(self, length: int | None) -> Iterator[None]:
        """Kill within a block after so many changes; None for a block that survives."""
        left = float("inf") if length is None else length

        def kills() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        with self.when(kills):
            yield

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, before which the fuse burns."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            return function(*args, **kwargs)

        return wrapped

    def journal(self, append: Callable[..., None], path: Path) -> Callable[..., None]:
        """Also killed in the midst of writing, which leaves half of it and the lock."""

        def wrapped(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            self.burn()
            try:
                self.burn()
            except Killed:
                text = "".join(json.dumps(record) + "\n" for record in logs)
                with path.open("a") as file:
                    file.write(text[: len(text) * 2 // 3])
                os.symlink(path, f"{path}.lock")
                raise
            append(backend, logs)

        return wrapped


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A folder for a sweep, a fuse in all that is written to it, and a clock."""

    folder: Path
    fuse: Fuse = field(default_factory=Fuse)
    clock: Clock = field(default_factory=Clock)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def process(self) -> tuple[subprocess.Popen[bytes], Process]:
        """A child that does nothing, and its identity."""
        child = subprocess.Popen(["sleep", "1000"])
        self.children.append(child)
        return child, Process.of(child.pid)

    def leases(self, elsewhere: bool = False) -> "Hand":
        """Leases of a worker and a command of their own."""
        worker, identity = self.process()
        command, theirs = self.process()
        if elsewhere:
            identity = Process("elsewhere", "boot", identity.pid, identity.start)
            theirs = Process("elsewhere", "boot", theirs.pid, theirs.start)
        return Hand(Leases(self.folder, identity, theirs, self.clock), worker, command)


@dataclass
class Hand:
    """A worker's leases, and the children that stand for it and its command."""

    leases: Leases
    worker: subprocess.Popen[bytes]
    command: subprocess.Popen[bytes]

    def die(self, alone: bool = False) -> None:
        """Kill the worker; its command too unless alone."""
        for child in (self.worker,) if alone else (self.worker, self.command):
            child.kill()
            child.wait()


@contextmanager
def world() -> Iterator[World]:
    """An empty folder whose writes can kill; nothing waits for the disk or another program."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as root, ExitStack() as stack:
        folder = Path(root) / "sweeps" / "s"
        folder.mkdir(parents=True)
        found = World(folder)
        for name in CHANGES:
            stack.enter_context(patch.object(os, name, found.fuse.before(getattr(os, name))))
        append = found.fuse.journal(JournalFileBackend.append_logs, folder / JOURNAL)
        stack.enter_context(patch.object(JournalFileBackend, "append_logs", append))
        stack.enter_context(patch("headsweep.sweep.search.storage.FOREIGN_SECONDS", 0.0))
        stack.enter_context(patch("os.fsync"))
        stack.callback(_end, found.children)
        yield found


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        child.wait()


def write_result(folder: Path, key: str) -> None:
    """A member's result, as much of it as a queue looks at."""
    runs.write_member(folder, {"member_key": key, "status": "finished"})
