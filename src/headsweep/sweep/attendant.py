"""What others start on their machines: a process that looks after one worker of a sweep.

It does on its own machine what a command does for its local workers: it replaces a worker that
dies, and counts whom a job has killed. It trains what the command of the sweep orders.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.orders import Given, Key, Orders, enter
from headsweep.sweep.worker_pool import WorkerPool

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, which a batch system sends before it kills."""


def attend(root: Path, name: str) -> int:
    """Train for the commands of a sweep until none has work.

    Args:
        root: The folder of all output.
        name: Of the sweep.

    Returns:
        How many orders there were.

    Raises:
        UserError: No worker can work.
    """
    orders, done = Orders(root, name), set[Key]()
    while (given := orders.next(done, time.sleep)) is not None:
        done.add(given.key)
        _work(given, orders)
    return len(done)


def _work(given: Given, orders: Orders) -> None:
    enter(given.cwd)
    me = Process.of(os.getpid())
    order = replace(given.order, command=me)
    leases = Leases(order.folder, me, me)
    place = f"{me.host.split()[0]}-{me.pid}"
    # The next worker collects what a dead one leaves, when it asks for a task.
    WorkerPool(order, [place], leases, lambda: None, orders.are_there).run()


def attend_here(root: Path, name: str) -> None:
    """The verb ``worker``.

    Raises:
        UserError: There is no such sweep, or no worker can work.
    """
    root, name = paths.locate(root, name)
    if attend(root, name) == 0:
        if not paths.sweep_folder(root, name).is_dir():
            raise UserError(
                f"no command is at work on a sweep {name!r} in {root}; start it first, as in "
                f"headsweep train sweeps={name} workers=0"
            )
        print(f"no command is at work on {name}: nothing to do")


@dataclass(frozen=True)
class Attendant:
    """The same as a function that one of Hydra's launchers can call on another machine.

    Attributes:
        cwd: Folder in which the command was started.
        root: The folder of all output, as the command has it.
        name: Of the sweep.
    """

    cwd: str
    root: str
    name: str

    def __call__(self, _: Any) -> None:
        """Train for the sweep; SIGTERM ends the process, and a batch system may start it again.

        Raises:
            UserError: No worker can work.
        """
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
        try:
            enter(self.cwd)
            attend(Path(self.root), self.name)
        finally:
            with suppress(TypeError):  # it was not set in Python
                signal.signal(signal.SIGTERM, before)
