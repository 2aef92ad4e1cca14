"""Workers on other machines, as the command of a sweep sees them.

It gives its order below the root (``orders.py``), lets one of Hydra's launchers start workers, and
waits. With ``workers=0`` it starts none: `headsweep worker NAME` is started by others.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.sweep.launching import Launch
from headsweep.sweep.leases import BEAT_SECONDS, Leases, Process, alive
from headsweep.sweep.order import FATAL, Order
from headsweep.sweep.orders import LOOK_SECONDS, Orders, OwnOrder
from headsweep.sweep.queue import Queue
from headsweep.sweep.worker_pool import (
    MAX_FALSE_STARTS,
    PATIENCE_SECONDS,
    TAIL,
    start_module,
)
from headsweep.terminal import State

LOG = "launcher.log"
"""In the folder ``logs`` of a sweep: what a launcher printed."""


class Launched:
    """Workers that the command of a sweep has not started itself, until ``close``.

    They stay from one order of the command to its next: who has waited in a queue of a cluster
    does not wait there again.

    Args:
        root: The folder of all output.
        launch: How to launch workers; with the number 0 where others start them.
        command: The process of the command.
    """

    def __init__(self, root: Path, launch: Launch, command: Process) -> None:
        self.root, self.launch, self.command = root, launch, command
        self.order = OwnOrder(Orders(root, launch.name), command.key)
        self.log = paths.sweep_folder(root, launch.name) / paths.LOGS / LOG
        self._running: dict[subprocess.Popen[bytes], int] = {}
        self._launched = self._failed = self._left = 0
        self._seen = self._at_work = False

    def work(self, order: Order, leases: Leases, queue: Queue, left: Callable[[], int]) -> None:
        """Wait until the workers have trained all of a queue.

        Args:
            order: What to train.
            leases: Of the sweep.
            queue: Its tasks.
            left: Number of unfinished tasks.

        Raises:
            UserError: No worker can work.
        """
        self.order.give(order)
        said = time.monotonic()
        with leases.attended() as say:
            while not queue.is_done():
                self._at_work = self._others(order.folder)
                if time.monotonic() - said > BEAT_SECONDS:
                    said = time.monotonic()
                    say()
                    self.order.beat()
                if self.launch.count:
                    self._keep(left)
                time.sleep(LOOK_SECONDS)

    def told(self, state: State) -> State:
        """A state for the progress bar, which says so where no worker is at work."""
        if self._at_work:
            return state
        what = (
            "launched jobs start, or wait in a queue"
            if self.launch.count
            else f"start some: {paths.command('worker', self.root, self.launch.name)}"
        )
        return replace(state, running=[f"no worker is at work; {what}"])

    def _keep(self, left: Callable[[], int]) -> None:
        """Launch workers where all have ended, or a next order takes more of them."""
        self._seen |= self._at_work
        for process in [p for p in self._running if p.poll() is not None]:
            del self._running[process]
            self._ended(process, left())
        if not self._running and self._at_work:
            return  # a worker was lost, and its launch with it, but not the other workers
        missing = min(self.launch.count, left()) - sum(self._running.values())
        if missing > 0:
            self._start(missing)

    def _others(self, folder: Path) -> bool:
        """Whether another command, or a process that looks after a worker, is at work."""
        return any(h.job is None and h.process != self.command for h in alive(folder))

    def _start(self, count: int) -> None:
        launch = replace(self.launch, first=self._launched, count=count)
        process = start_module(
            "headsweep.sweep.launching", launch.to_json(), self.log, own_session=True
        )
        self._running[process] = count
        self._seen = False
        self._launched += count

    def _ended(self, process: subprocess.Popen[bytes], left: int) -> None:
        """Judge a launch that has ended while something was left."""
        lines = self.log.read_text(errors="replace").splitlines()
        last = next((x.removeprefix("error: ") for x in reversed(lines) if "error: " in x), "")
        if process.returncode == FATAL:
            raise UserError(last)
        if not self._seen:
            raise UserError(f"no worker could be launched: {last or f'see {self.log}'}")
        self._failed = 0 if left < self._left else self._failed + 1
        self._left = left
        if self._failed >= MAX_FALSE_STARTS:
            words = "\n".join(lines[-TAIL:])
            raise UserError(
                f"launched workers end before they have finished a job, {self._failed} times in a "
                f"row; is their time too short? The end of {self.log}:\n{words}"
            )

    def close(self) -> None:
        """Let all workers end, and cancel those that have not begun."""
        self.order.withdraw()
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            for process in self._running:
                process.wait(max(end - time.monotonic(), 0.0))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self._running:
                process.terminate()
                process.wait()
        self._running.clear()


@contextmanager
def launched(root: Path, launch: Launch | None) -> Iterator[Launched | None]:
    """The workers of a command that are not local, until the block ends; None for none."""
    if launch is None:
        yield None
        return
    workers = Launched(root, launch, Process.of(os.getpid()))
    try:
        yield workers
    finally:
        workers.close()
