"""A worker of a sweep: takes a job, trains it, hands it in, until nothing is left.

The sweep command starts it with a line of JSON on its standard input, which then stays open: the
line ``stop`` asks it to break off cleanly, and its end says that the command has died.
"""

import json
import math
import os
import shutil
import signal
import statistics
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from headsweep import files
from headsweep.errors import UserError
from headsweep.store import runs
from headsweep.store.outcome import COUNTS, Outcome
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.job import find_inputs, train_into
from headsweep.sweep.leases import BEAT_SECONDS, Leases, Process
from headsweep.sweep.plan import Job, Sweep, open_sweep
from headsweep.sweep.queue import Queue, Task, Turn

if TYPE_CHECKING:
    from headsweep.sweep.search.queue import SearchQueue
    from headsweep.sweep.search.rules import Search

WAIT_SECONDS = 0.05
"""How often a worker asks again while there is nothing to take."""

FATAL, STOPPED = 2, 3
"""Exit codes: no worker can do this work; this one was asked to stop."""

CURVES = ("val_loss", "val_qoverpt_r68")
"""Objectives that every evaluation holds."""


class Stopped(Exception):
    """The sweep command asked to break off, or the lease was lost."""


class TimeLimitError(Exception):
    """A job took longer than ``worker.time_limit``."""


def main() -> None:
    """Work on the sweep that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which says stop
    order = json.loads(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    try:
        with open_sweep(order["overrides"], order["config_dir"]) as sweep:
            _work(order, sweep, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FATAL)
    sys.exit(STOPPED if stop.is_set() else 0)


def _listen(stop: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            stop.set()
    os._exit(1)  # the command is dead; what this worker has begun will be begun anew


def _work(order: dict[str, Any], sweep: Sweep, stop: threading.Event) -> None:
    # Imported before any time limit runs.
    from headsweep.features import extract  # noqa: F401
    from headsweep.training import loop, pooling  # noqa: F401

    if sweep.master.device == "cpu":
        pooling.compile_kernels()
    folder = Path(order["folder"])
    leases = Leases(folder, Process.of(os.getpid()), Process(**order["command"]))
    retries = sweep.master.worker.max_retries
    search = None if order["entries"] is not None else sweep.search()
    queue: Queue
    if search is None:
        queue = GridQueue(folder, [Entry(**e) for e in order["entries"]], leases, retries)
    else:
        queue = search_queue(folder, search, leases, sweep)
    while not stop.is_set():
        task = queue.take()
        if task is Turn.DONE:
            return
        if isinstance(task, Turn):
            stop.wait(WAIT_SECONDS)
        else:
            _run(task, queue, leases, sweep, search, stop)


def search_queue(folder: Path, search: "Search", leases: Leases, sweep: Sweep) -> "SearchQueue":
    """The trials of a sweep's search."""
    from headsweep.sweep.search.queue import SearchQueue

    def compose(overrides: list[str]) -> dict[str, Any]:
        return sweep.compose(overrides).resolved

    return SearchQueue(folder, search, leases, sweep.master.worker.max_retries, compose)


def _run(
    task: Task,
    queue: Queue,
    leases: Leases,
    sweep: Sweep,
    search: "Search | None",
    stop: threading.Event,
) -> None:
    """Train one task; whatever goes wrong in it ends this task and no other."""
    watch = _Watch(task, search, stop)
    try:
        with _beating(leases, task, watch.lost), _limited(sweep.master.worker.time_limit):
            outcome = _train(task, queue, sweep, search, watch)
    except Stopped:
        queue.give_back(task)
        shutil.rmtree(task.folder, ignore_errors=True)
        return
    except Exception as error:
        task.folder.mkdir(parents=True, exist_ok=True)
        if not isinstance(error, UserError | TimeLimitError):
            text = traceback.format_exc().encode()
            files.write_atomic(task.folder / "traceback.txt", text)
        name = "" if isinstance(error, UserError | TimeLimitError) else f"{type(error).__name__}: "
        outcome = watch.outcome("failed", f"{name}{error}")
    (task.folder / "progress.json").unlink(missing_ok=True)
    if not queue.hand_in(task, outcome):
        shutil.rmtree(task.folder, ignore_errors=True)


def _train(
    task: Task, queue: Queue, sweep: Sweep, search: "Search | None", watch: "_Watch"
) -> Outcome:
    job = sweep.compose(task.overrides)
    config = job.config
    seeds = list(range(config.seed, config.seed + config.seeds))
    if isinstance(queue, GridQueue):
        seeds = queue.missing(task.number)
    train_into(job, find_inputs(job), task.folder, seeds, watch)
    return watch.outcome("complete") if search is None else _judge(job, task, search, watch)


def _judge(job: Job, task: Task, search: "Search", watch: "_Watch") -> Outcome:
    """The outcome of a trial, from what its members left in the folder."""
    results = runs.read_results(task.folder)
    for result in results.values():
        if result["status"] == "failed":
            return watch.outcome("failed", result["reason"])
    if watch.reason is not None:
        return watch.outcome("pruned", watch.reason, [watch.last])
    seeds = {
        seed: [
            result["parameters"]["total"] if name in COUNTS else result["metrics"][name]
            for name in search.objectives
        ]
        for seed, result in results.items()
    }
    for seed, values in seeds.items():
        for name, value in zip(search.objectives, values, strict=True):
            if value is None or not math.isfinite(value):
                return watch.outcome("failed", f"seed {seed}: {name} is not a number")
    columns = [list(column) for column in zip(*seeds.values(), strict=True)]
    values = [math.fsum(column) / len(column) for column in columns]
    spread = [statistics.stdev(column) for column in columns] if len(seeds) > 1 else []
    return watch.outcome("complete", None, values, spread, seeds)


class _Watch:
    """Asks the pruner at every evaluation, and breaks off when told to (``job.Watcher``)."""

    def __init__(self, task: Task, search: "Search | None", stop: threading.Event) -> None:
        self.trial, self.stop, self.lost = task.trial, stop, threading.Event()
        self.objective = search.objectives[0] if search is not None else None
        self.single = search is not None and len(search.objectives) == 1
        self.also: Sequence[str] = []
        if self.objective is not None and self.objective not in CURVES:
            self.also = [self.objective.removeprefix("val_")]
        self.reason: str | None = None
        self.last = math.nan
        self.intermediate: dict[int, float] = {}

    def step(self) -> None:
        """Break off where the work is not wanted any more."""
        if self.stop.is_set() or self.lost.is_set():
            raise Stopped

    def evaluation(self, step: int, points: list[dict[str, float]]) -> str | None:
        """Report the mean over the seeds, and ask whether to go on."""
        if self.trial is None or self.objective is None:
            return None
        values = [point.get(self.objective, math.nan) for point in points]
        self.last = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
        if math.isnan(self.last):
            return "a seed has failed"
        if not self.single:
            return None
        self.intermediate[step] = self.last
        self.trial.report(self.last, step)
        if self.trial.should_prune():
            self.reason = f"pruned at step {step} with {self.objective} {self.last:.4g}"
        return self.reason

    def outcome(
        self,
        state: str,
        reason: str | None = None,
        values: list[float] | None = None,
        spread: Sequence[float] = (),
        seeds: dict[int, list[float]] | None = None,
    ) -> Outcome:
        """An outcome with all that is known of the trial."""
        if self.trial is None:
            return Outcome(state, reason)
        from headsweep.sweep.search.queue import tell

        attrs = tell(self.trial, state, values)
        return Outcome(
            state=state,
            reason=reason,
            values=values or [],
            spread=list(spread),
            seeds=seeds or {},
            intermediate=self.intermediate,
            params=dict(self.trial.params),
            attrs=attrs,
        )


@contextmanager
def _beating(leases: Leases, task: Task, lost: threading.Event) -> Iterator[None]:
    """Say in regular intervals that this worker lives; notice when its lease is gone."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with leases.lock():
                if not leases.beat(task.lease):
                    lost.set()
                    return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise in the main thread when a block takes too long."""

    def end(*_: object) -> NoReturn:
        raise TimeLimitError(f"took longer than worker.time_limit={seconds:g} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


if __name__ == "__main__":
    main()
