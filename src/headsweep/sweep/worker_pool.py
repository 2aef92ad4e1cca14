"""Pool of the local workers of a sweep: started, watched, and replaced when they die."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.sweep.leases import BEAT_SECONDS, Leases
from headsweep.sweep.order import FATAL, STOPPED, Order

POLL_SECONDS = 0.05

ASK_SECONDS = 1.0
"""Seconds between two questions whether workers are still wanted."""

PATIENCE_SECONDS = 30.0
"""Time that workers have to break off cleanly."""

MAX_FALSE_STARTS = 3
"""Largest number of workers in a row that may die before they take a task."""

MALLOC = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824"
    ":glibc.malloc.trim_threshold=4294967296"
}
"""Environment of workers, unless the user has set one: glibc keeps the memory that a step frees, in
huge pages. Without it every step of a large head pays thousands of page faults."""

TAIL = 15
"""Lines of a worker's log that are shown when none can work."""


class WorkerPool:
    """Local worker processes of one sweep.

    Args:
        order: Sent to each worker.
        places: A name for each worker, and for those that replace it.
        leases: Of the sweep, to find out whether a dead worker had a task.
        collect: Called after a death, to requeue the task.
        wanted: Asked now and then; when it says no, the workers break off.
    """

    def __init__(
        self,
        order: Order,
        places: Sequence[str],
        leases: Leases,
        collect: Callable[[], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.order, self.leases, self.collect, self.wanted = order, leases, collect, wanted
        self.logs = leases.folder.parent / paths.LOGS
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.places = [*places]
        self.false_starts = 0

    def run(self) -> None:
        """Keep the workers going until nothing is left for them.

        Raises:
            UserError: No worker can work; the message has the end of its log.
            KeyboardInterrupt: Ctrl-C; what was running has been left to be begun anew.
        """
        with self.leases.attended() as say:
            self._run(say)

    def _run(self, say: Callable[[], None]) -> None:
        said = asked = time.monotonic()
        try:
            while self.places:
                now = time.monotonic()
                if now - asked > ASK_SECONDS:
                    asked = now
                    if not self.wanted():
                        return
                if now - said > BEAT_SECONDS:
                    said = now
                    say()
                for place in self.places:
                    if place not in self.processes:
                        self.processes[place] = self._start(place)
                time.sleep(POLL_SECONDS)
                for place, process in [*self.processes.items()]:
                    if process.poll() is not None:
                        del self.processes[place]
                        self._ended(place, process)
        finally:
            self._stop()

    def _start(self, place: str) -> subprocess.Popen[bytes]:
        return start_module("headsweep.sweep.worker", self.order.to_json(), self._log(place))

    def _ended(self, place: str, process: subprocess.Popen[bytes]) -> None:
        _close(process)
        if process.returncode == 0:
            self.places.remove(place)
            return
        if process.returncode == FATAL:
            last = self._tail(place)[-1:]
            raise UserError(last[0].removeprefix("error: ") if last else "a worker failed")
        had_work = any(
            lease.worker is not None and lease.worker.pid == process.pid
            for lease in self.leases.all()
        )
        began = had_work or process.returncode == STOPPED
        self.false_starts = 0 if began else self.false_starts + 1
        if self.false_starts >= MAX_FALSE_STARTS:
            lines = "\n".join(self._tail(place))
            raise UserError(
                f"workers die before they begin (exit code {process.returncode}); the end of "
                f"{self._log(place)}:\n{lines}"
            )
        self.collect()

    def _stop(self) -> None:
        """Ask the workers to break off, and make sure that none is left."""
        for process in self.processes.values():
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(b"stop\n")
                process.stdin.flush()
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            for process in self.processes.values():
                process.wait(max(end - time.monotonic(), 0.0))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self.processes.values():
                process.kill()
                process.wait()
        for process in self.processes.values():
            _close(process)
        self.processes.clear()

    def _log(self, place: str) -> Path:
        return self.logs / f"worker-{place}.log"

    def _tail(self, place: str) -> list[str]:
        return self._log(place).read_text(errors="replace").splitlines()[-TAIL:]


def worker_environment() -> dict[str, str]:
    """Environment of a process that becomes a worker, or that starts some."""
    return MALLOC | os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def start_module(
    module: str, line: str, log: Path, *, own_session: bool = False
) -> subprocess.Popen[bytes]:
    """Start a module as a process that is told what to do by a line on its standard input.

    Args:
        module: Its name.
        line: What it reads first; its input stays open.
        log: File to which it prints.
        own_session: True where Ctrl-C is not for it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=worker_environment(),
            start_new_session=own_session,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died already, which will be seen
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
    return process


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
