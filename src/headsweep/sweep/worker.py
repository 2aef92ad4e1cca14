"""A worker of a sweep: takes tasks, trains them, hands them in, until nothing is left.

The sweep command starts it with an ``Order`` on its standard input, which then stays open: the line
``stop`` asks it to break off cleanly, and its end says that the command has died.
"""

import math
import os
import shutil
import signal
import statistics
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, NoReturn

from headsweep import files
from headsweep.errors import UserError, without_secrets
from headsweep.instantiate import allow
from headsweep.store import paths, runs
from headsweep.store.outcome import COUNTS, Outcome
from headsweep.sweep.compose import Sweep, loaded_sweep
from headsweep.sweep.grid_queue import GridQueue
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.leases import BEAT_SECONDS, Leases, Process
from headsweep.sweep.order import FATAL, STOPPED, Order
from headsweep.sweep.overrides import runtime_values
from headsweep.sweep.queue import NoTask, Queue, Task
from headsweep.sweep.stack import Hooks, Part, shape, train_together

if TYPE_CHECKING:
    from headsweep.sweep.search.rules import Search

WAIT_SECONDS = 0.05
"""Seconds between two questions of a worker while there is nothing to take."""

CURVES = ("val_loss", "val_qoverpt_r68")
"""Objectives that every evaluation takes."""


class Stopped(Exception):
    """The sweep command asked to break off, or the lease was lost."""


class TimeLimitError(Exception):
    """A job took longer than ``worker.time_limit``."""


def main() -> None:
    """Work on the sweep that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which says stop
    order = Order.from_json(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    try:
        work(order, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FATAL)
    sys.exit(STOPPED if stop.is_set() else 0)


def _listen(stop: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            stop.set()
    os._exit(1)  # the command is dead; what this worker has begun will be begun anew


def work(order: Order, stop: threading.Event) -> None:
    """Compose the sweep of an order, and train its tasks until none is left.

    Args:
        order: What to work on.
        stop: When it is set, the running task is put back and the work ends.

    Raises:
        UserError: The sweep cannot be worked on at all.
    """
    # Imported before any time limit runs.
    from headsweep.features import extract  # noqa: F401
    from headsweep.training import kernels, loop  # noqa: F401

    allow(runtime_values(order.overrides).get("allow"))
    with loaded_sweep(order.overrides, order.config_dir) as sweep:
        if sweep.master.device == "cpu":
            kernels.compile_all()
        worker = _Worker.of(order, sweep, stop)
        while not stop.is_set():
            tasks = worker.take()
            if tasks is NoTask.DONE:
                return
            if isinstance(tasks, NoTask):
                stop.wait(WAIT_SECONDS)
            else:
                worker.run(tasks)


@dataclass(frozen=True)
class _Worker:
    """A sweep as one worker sees it."""

    sweep: Sweep
    search: "Search | None"
    queue: Queue
    leases: Leases
    stop: threading.Event
    shapes: dict[tuple[str, ...], str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, order: Order, sweep: Sweep, stop: threading.Event) -> "_Worker":
        """The worker of this process."""
        leases = Leases(order.folder, Process.of(os.getpid()), order.command)
        if order.entries is not None:
            retries = sweep.master.worker.max_retries
            return cls(
                sweep, None, GridQueue(order.folder, order.entries, leases, retries), leases, stop
            )
        from headsweep.sweep.search.queue import SearchQueue

        search = sweep.search().beginning_with(order.first)
        return cls(sweep, search, SearchQueue.of(sweep, search, order.folder, leases), leases, stop)

    def take(self) -> list[Task] | NoTask:
        """Take the next task, and others of its shape that are trained with it as one stack.

        Not so many that other workers would have nothing to do.
        """
        first = self.queue.take()
        if isinstance(first, NoTask):
            return first
        tasks, limits = [first], self.sweep.master
        capacity, workers = limits.worker.capacity, max(limits.workers, 1)
        if capacity > 1 and first.lease.stacks and (own := self._shape(first.overrides)):
            share = ceil(self.queue.side_by_side(capacity * workers) / workers)
            while len(tasks) < share:
                task = self.queue.take(lambda overrides: self._shape(overrides) == own)
                if isinstance(task, NoTask):
                    break
                tasks.append(task)
        return tasks

    def _shape(self, overrides: Sequence[str]) -> str | None:
        """Shape of a job; None for one that cannot be composed, which its training says."""
        key = tuple(overrides)
        if key not in self.shapes:
            try:
                job = self.sweep.compose(overrides)
                self.shapes[key] = shape(job, find_inputs(job))
            except Exception:  # whatever it is, its training says it
                self.shapes[key] = None
        return self.shapes[key]

    def run(self, tasks: Sequence[Task]) -> None:
        """Train tasks of one shape, and hand each in when it ends.

        An error ends the task in which it was made, and no other: where there are several, those
        that have not ended are put back, and trained alone.
        """
        lost, held = threading.Event(), dict(enumerate(tasks))
        watches = [_Watch(task, self.search, self.stop, lost) for task in tasks]
        clock, alone = _Clock(self.sweep.master.worker.time_limit, len(tasks)), False
        with _beating(self.leases, held, lost):
            ended = self._train(tasks, watches)
            while held:
                try:
                    with clock.running():
                        place, outcome = next(ended)
                except Stopped:
                    break
                except Exception as error:
                    if len(tasks) > 1:
                        alone = True
                        words = without_secrets(f"{type(error).__name__}: {error}")
                        print(f"{words}; its stack is trained one by one")
                        break
                    place = 0
                    outcome = watches[0].outcome("failed", _reason(error, tasks[0]))
                del held[place]
                self._hand_in(tasks[place], outcome)
        for task in held.values():
            self.queue.give_back(task, alone)
            shutil.rmtree(task.folder, ignore_errors=True)

    def _hand_in(self, task: Task, outcome: Outcome) -> None:
        (task.folder / paths.PROGRESS).unlink(missing_ok=True)
        if not self.queue.hand_in(task, outcome):
            shutil.rmtree(task.folder, ignore_errors=True)

    def _train(
        self, tasks: Sequence[Task], watches: Sequence["_Watch"]
    ) -> Iterator[tuple[int, Outcome]]:
        """Train tasks as one stack; gives the place and outcome of each when it ends."""
        parts = [self._part(task, watch) for task, watch in zip(tasks, watches, strict=True)]
        for place in train_together(parts):
            if self.search is None:
                yield place, watches[place].outcome("complete")
            else:
                yield place, _trial_outcome(tasks[place], self.search, watches[place])

    def _part(self, task: Task, watch: "_Watch") -> Part:
        job = self.sweep.compose(task.overrides)
        seeds = list(job.seeds) if task.seeds is None else task.seeds
        inputs = find_inputs(job)
        if task.key not in (None, inputs.job_key):
            # Its members would never be those that the command waits for: it would train for ever.
            raise UserError(
                "its code or data were changed since the command began; give the command again"
            )
        return Part(job, inputs, task.folder, seeds, watch.hooks(), task.found)


def _reason(error: Exception, task: Task) -> str:
    """Reason of a failed task; the traceback of an error of ours is kept in its folder."""
    task.folder.mkdir(parents=True, exist_ok=True)
    if isinstance(error, UserError | TimeLimitError):
        return str(error)
    files.write_atomic(
        task.folder / paths.TRACEBACK, without_secrets(traceback.format_exc()).encode()
    )
    return f"{type(error).__name__}: {error}"


def _trial_outcome(task: Task, search: "Search", watch: "_Watch") -> Outcome:
    """Outcome of a trial, from what its members left in the folder."""
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
    """Hooks of one task: asks the pruner at every evaluation, and breaks off when told to."""

    def __init__(
        self, task: Task, search: "Search | None", stop: threading.Event, lost: threading.Event
    ) -> None:
        self.trial, self.stop, self.lost = task.trial, stop, lost
        self.objective = search.objectives[0] if search is not None else None
        self.single = search is not None and len(search.objectives) == 1
        self.reason: str | None = None
        self.last = math.nan
        self.intermediate: dict[int, float] = {}

    def hooks(self) -> Hooks:
        """Hooks for the training."""
        if self.objective is None:
            return Hooks(self.step)
        also = () if self.objective in CURVES else (self.objective.removeprefix("val_"),)
        return Hooks(self.step, self.evaluation, also)

    def step(self) -> None:
        """Break off where the work is not wanted any more.

        Raises:
            Stopped: The command asked for it, or another worker has the lease.
        """
        if self.stop.is_set() or self.lost.is_set():
            raise Stopped

    def evaluation(self, step: int, points: list[dict[str, float]]) -> str | None:
        """Report the mean over the seeds; a returned reason ends the training."""
        assert self.trial is not None
        assert self.objective is not None
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
def _beating(leases: Leases, held: Mapping[int, Task], lost: threading.Event) -> Iterator[None]:
    """Renew the leases of tasks in regular intervals; set ``lost`` when another worker has one.

    A task that is handed in is taken out of ``held`` before, and its lease goes under the lock.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with leases.lock():
                if not all(leases.beat(task.lease) for task in [*held.values()]):
                    lost.set()
                    return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Clock:
    """Time that tasks may train together: ``worker.time_limit`` for each of them.

    Args:
        limit: In seconds; None for none.
        tasks: Their number.
    """

    def __init__(self, limit: float | None, tasks: int) -> None:
        self.limit, self.left = limit, (limit or 0.0) * tasks

    @contextmanager
    def running(self) -> Iterator[None]:
        """Raise ``TimeLimitError`` in the main thread when the time is over."""
        signal.signal(signal.SIGALRM, self._end)
        signal.setitimer(signal.ITIMER_REAL, self.left)
        try:
            yield
        finally:
            self.left, _ = signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _end(self, *_: object) -> NoReturn:
        raise TimeLimitError(f"took longer than worker.time_limit={self.limit:g} s")


if __name__ == "__main__":
    main()
