"""Workers of a queue that can be killed between any two of its writes, all within one process.

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

from headsweep.store import outcome, runs
from headsweep.sweep import grid_queue, queue
from headsweep.sweep import leases as sweep_leases
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.search import queue as search_queue


class Killed(BaseException):
    """The worker is dead from here on."""


class Fuse:
    """Burns down by one at each write, and kills the worker when it is gone."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    @contextmanager
    def lit(self, length: int | None) -> Iterator[None]:
        """Let the fuse burn within a block; None for a block that survives."""
        self.left = length
        try:
            yield
        finally:
            self.left = None

    def before_and_after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            result = function(*args, **kwargs)
            self.burn()
            return result

        return wrapped

    def journal(self, append: Callable[..., None]) -> Callable[..., None]:
        """Also killed in the midst of writing, which leaves half of it and the lock."""

        def wrapped(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            self.burn()
            try:
                self.burn()
            except Killed:
                path = Path(backend._file_path)
                text = "".join(json.dumps(record) + "\n" for record in logs)
                with path.open("a") as file:
                    file.write(text[: len(text) * 2 // 3])
                os.symlink(path, f"{path}.lock")
                raise
            append(backend, logs)
            self.burn()

        return wrapped


class Clock:
    """Stands for the module ``time``, and goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
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
        return Hand(Leases(self.folder, identity, theirs), worker, command)


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
    with tempfile.TemporaryDirectory(dir=memory) as name, ExitStack() as stack:
        folder = Path(name) / "sweeps" / "s"
        folder.mkdir(parents=True)
        found = World(folder)
        fuse = found.fuse
        # The last place where each name is looked up.
        for owner, function in (
            *((module, "write_atomic") for module in (sweep_leases, outcome)),
            *((module, "move") for module in (search_queue, grid_queue)),
            *((module, "drop_attempts") for module in (search_queue, grid_queue)),
            *((queue.shutil, "rmtree"), (Leases, "remove"), (Path, "replace"), (Path, "rmdir")),
        ):
            wrapped = fuse.before_and_after(getattr(owner, function))
            stack.enter_context(patch.object(owner, function, wrapped))
        append = fuse.journal(JournalFileBackend.append_logs)
        stack.enter_context(patch.object(JournalFileBackend, "append_logs", append))
        stack.enter_context(patch.object(sweep_leases, "time", found.clock))
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
