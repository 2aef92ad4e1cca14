"""Where the workers of a sweep run, and what can happen to them there."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headsweep.sweep.leases import Leases, Process, alive
from helpers.killing import BIN, SMALL
from helpers.waiting import wait_for

SEARCH = (
    *(*SMALL, "sweeps=search", "hydra.sweeper.n_trials=8", "hydra.sweeper.lag=2"),
    *("hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.warmup_share=0.17"),
    *(
        "hydra.sweeper.sampler.n_startup_trials=3",
        "head.regression_hidden_dim=int(interval(8, 64))",
    ),
    "optim.lr=choice(0.001,0.002,0.003,1e38)",
)
"""A search in which trials are pruned, and some diverge."""


@dataclass
class Running:
    """A command at work on a search, and its workers.

    Attributes:
        root: The folder of all output.
        process: The command.
        kept: When each member that a disturbance found finished had ended, in ns.
    """

    root: Path
    process: subprocess.Popen[bytes]
    kept: dict[Path, int] = field(default_factory=dict)

    @property
    def sweep(self) -> Path:
        """Folder of the search."""
        return self.root / "sweeps/search"

    def trainers(self) -> list[Process]:
        """Workers that train just now; what is finished by then is remembered."""
        leases = Leases(self.sweep).all()
        self.kept |= {
            path: path.stat().st_mtime_ns for path in self.sweep.glob("jobs/*/seed_*/result.json")
        }
        return [x.worker for x in leases if x.worker is not None and self.begun(x.number)]

    def training(self) -> Process:
        """One of them, as soon as there is one."""
        return wait_for(self.trainers, self.process)[0]

    def begun(self, number: int) -> bool:
        """Whether a trial is past its first step."""
        return any(self.sweep.glob(f"attempts/{number}-*/progress.json"))

    def attendants(self) -> list[Process]:
        """The processes that look after the workers, without the command."""
        found = [holder.process for holder in alive(self.sweep) if holder.job is None]
        return [process for process in found if process.pid != self.process.pid]

    def attendant(self) -> Process:
        """The one that looks after a worker that trains just now."""
        parent = psutil.Process(self.training().pid).ppid()
        return next(process for process in self.attendants() if process.pid == parent)

    def trains_below(self, ancestor: int) -> bool:
        """Whether a worker that trains just now was started by a process or by its children."""
        for worker in self.trainers():
            with suppress(psutil.NoSuchProcess):
                if ancestor in {process.pid for process in psutil.Process(worker.pid).parents()}:
                    return True
        return False


Disturb = Callable[[Running], object]


def kill_worker(running: Running) -> None:
    """SIGKILL to a worker that trains."""
    os.kill(running.training().pid, signal.SIGKILL)


def terminate_attendant(running: Running) -> None:
    """SIGTERM to what was launched, as a batch system sends it before it takes the machine."""
    os.kill(running.attendant().pid, signal.SIGTERM)


def kill_attendant(running: Running) -> None:
    """SIGKILL to all of a machine that vanishes."""
    for process in launched_with(running):
        process.kill()


def launched_with(running: Running) -> list[psutil.Process]:
    """What was launched and trains just now, and its worker."""
    attendant = psutil.Process(running.attendant().pid)
    return [*attendant.children(), attendant]


def job_of(running: Running) -> str:
    """Slurm's name of the job that trains just now."""
    variables = psutil.Process(running.attendant().pid).environ()
    return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"


@dataclass(frozen=True)
class Backend:
    """A place where workers run.

    Attributes:
        arguments: What chooses it.
        disturbances: What happens to the workers, in this order.
        environment: Variables that the command needs for it.
    """

    arguments: Sequence[str]
    disturbances: Sequence[Disturb]
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def started(root: Path, arguments: Sequence[str], **environment: str) -> Iterator[Running]:
    """A command that searches, in a process group of its own; its output is in ``root``.log."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "headsweep", "train", *SEARCH, f"root={root}", *arguments],
            cwd=root.parent,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    try:
        yield Running(root, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)
