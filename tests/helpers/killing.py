"""A sweep in real processes: begun, killed, interrupted, suspended at a chosen moment.

What is written is seen from outside, by inotify: nothing of headsweep is changed for it.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import inotify_simple
import psutil

from headsweep.files import read_json
from helpers.waiting import wait_for

BIN = Path(sys.executable).parent
SMALL = [
    *("data=tiny", "data.source.events=100", "backbone=truth", "workers=2", "seeds=2"),
    *("optim.steps=60", "optim.batch_size=16"),
]
DELAY = 0.003
"""A kill comes at most so many seconds after its write, and two ms for the kill itself."""

FLAGS = inotify_simple.flags


@dataclass(frozen=True)
class Sweep:
    """A command that trains a small sweep.

    Attributes:
        name: Of the sweep.
        arguments: Those of ``headsweep train``.
        jobs: How many jobs or trials it has.
    """

    name: str
    arguments: tuple[str, ...]
    jobs: int

    def folder(self, root: Path) -> Path:
        """The sweep's folder."""
        return root / "sweeps" / self.name

    def start(self, root: Path, *more: str, name: str = "log") -> subprocess.Popen[bytes]:
        """Begin the sweep, or go on with it, in a process group of its own; see ``log_of``."""
        with log_of(root, name).open("ab") as log:
            return subprocess.Popen(
                [BIN / "headsweep", "train", *self.arguments, f"root={root}", *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def run_to_the_end(self, root: Path, *more: str) -> None:
        """The same command, which nobody disturbs."""
        code = self.start(root, *more).wait(timeout=600)
        assert code == 0, log_of(root).read_text()

    def begun(self, root: Path) -> bool:
        """Whether a job is being trained."""
        return any((self.folder(root) / "attempts").glob("*/progress.json"))

    def running(self, root: Path) -> set[int]:
        """Numbers of the jobs that have begun and have not ended."""
        folder = self.folder(root)
        leases = [read_json(path) or {} for path in (folder / "leases").glob("[0-9]*.json")]
        begun = {lease["number"] for lease in leases if lease.get("worker")}
        return {n for n in begun if not any((folder / f"jobs/{n}").glob("seed_*"))}


SEARCH = Sweep(
    "search",
    (
        *(*SMALL, "sweeps=search", "hydra.sweeper.n_trials=6", "hydra.sweeper.lag=2"),
        *("hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.warmup_share=0.17"),
        "hydra.sweeper.sampler.n_startup_trials=3",
        "head.regression_hidden_dim=int(interval(8, 64))",
    ),
    6,
)
RATES = ("rates.tried=[0.02,0.04]", "rates.seeds=1")
"""Trials of learning rates, in which a kill may fall, too."""

GRID = Sweep("grid", ("-m", "name=grid", *SMALL, *RATES, "head.dropout=0.0,0.1,0.2"), 3)


def log_of(root: Path, name: str = "log") -> Path:
    """File with all that the commands of a root print; one that is read has a name of its own."""
    return root.with_name(f"{root.name}.{name}")


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a command and all its workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the command and all its workers."""
    signal_group(process, signal.SIGKILL)
    process.wait()


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Workers of a command that are alive."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # nor a zombie, which is a kind of it
                if "headsweep.sweep.worker" in child.cmdline():
                    found.append(child)
    return found


MOMENTS = {
    "lease": ("leases", FLAGS.MOVED_TO, ""),
    "result": ("jobs", FLAGS.MOVED_TO | FLAGS.CREATE, ""),
    "journal": ("", FLAGS.MODIFY, "journal.log"),
    "MLflow": ("../..", FLAGS.DELETE, "mlflow.db-journal"),
    "cache": ("../../cache/features", FLAGS.CREATE | FLAGS.MOVED_TO, ""),
}
"""For each kind of write the folder in which it is seen, the kind of event, and the file."""


@contextmanager
def writes(folder: Path, flags: int, name: str = "") -> Iterator[Callable[[], int]]:
    """A question how often a file was written since the last time that it was asked.

    Args:
        folder: Where; it is made.
        flags: Kinds of events that are writes.
        name: Of the file; empty for any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with inotify_simple.INotify() as watch:
        watch.add_watch(folder, flags)
        yield lambda: sum(name in ("", event.name) for event in watch.read(timeout=100))


def after_write(
    sweep: Sweep, root: Path, moment: str, number: int, rng: random.Random
) -> subprocess.Popen[bytes] | None:
    """Begin a sweep and wait until just after the n-th write of a kind; None if it ended before."""
    place, flags, name = MOMENTS[moment]
    with writes(sweep.folder(root) / place, flags, name) as seen:
        process = sweep.start(root)
        while process.poll() is None:
            number -= seen()
            if number <= 0:
                time.sleep(rng.uniform(0, DELAY))
                return process
    return None


def while_training(
    sweep: Sweep, root: Path, rng: random.Random, at_most: int = sys.maxsize
) -> subprocess.Popen[bytes]:
    """Begin a sweep and wait until some of its jobs are done and another is being trained.

    Args:
        sweep: Which.
        root: Where.
        rng: Says how many jobs are done.
        at_most: So many.
    """
    process, wanted = sweep.start(root), rng.randint(0, min(at_most, sweep.jobs - 2))
    jobs = sweep.folder(root) / "jobs"
    wait_for(
        lambda: len([*jobs.glob("*")]) >= wanted and sweep.begun(root),
        process,
    )
    return process


def holder(lock: Path) -> int | None:
    """Process that holds a lock file, by the kernel's list."""
    number = lock.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        row = line.split()
        if row[1] != "->" and row[5].endswith(f":{number}"):
            return int(row[4])
    return None


def suspend_with_lock(sweep: Sweep, root: Path, process: subprocess.Popen[bytes]) -> psutil.Process:
    """Suspend the worker of a command that holds the sweep's lock just then."""
    lock = sweep.folder(root) / ".sweep.lock"
    while process.poll() is None:
        mine = workers(process)
        for _ in range(1000):  # the lock is held for a millisecond at a time
            owner = holder(lock)
            for worker in mine:
                if worker.pid == owner:
                    worker.suspend()
                    if holder(lock) == worker.pid:
                        return worker
                    worker.resume()
    raise AssertionError("ended before a worker could be suspended")
