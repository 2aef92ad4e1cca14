"""How many tasks a second workers take from the queue of a sweep and hand in; nothing is trained.

``python benchmarks/queue/takes.py`` lets processes empty the queue of a grid, and that of a search
with its journal file; with ``--storage URL`` also that of a search in a database. All tasks are
counted: each must have been handed in once.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.store.specification import claim_sweep
from headsweep.sweep.compose import loaded_sweep
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.queue import NoTask, Queue, Task
from headsweep.sweep.worker import WAIT_SECONDS
from headsweep.terminal import print_table

SEARCH = [
    *("name=s", "data=tiny", "backbone=truth", "sweeps=search", "seeds=1"),
    *("hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none"),
]
"""A search whose sampler takes no time, so that the queue is what is measured."""


@contextmanager
def opened(kind: str, folder: Path, tasks: int, storage: str | None) -> Iterator[Queue]:
    """The queue of a grid or of a search, as a worker opens it."""
    me = Process.of(os.getpid())
    leases = Leases(folder, me, me)
    if kind == "grid":
        entries = [Entry(number, [], str(number), [0]) for number in range(tasks)]
        yield GridQueue(folder, entries, leases, max_retries=2)
        return
    from headsweep.sweep.search.queue import SearchQueue

    overrides = [*SEARCH, f"hydra.sweeper.n_trials={tasks}", f"root={folder.parents[1]}"]
    if storage is not None:
        overrides.append(f"hydra.sweeper.storage={storage}")
    with loaded_sweep(overrides, None) as sweep:
        yield SearchQueue.of(sweep, sweep.search(), folder, leases)


def outcome_of(task: Task) -> Outcome:
    """What a worker would hand in: of a trial its value, of a job that it failed."""
    task.folder.mkdir(parents=True, exist_ok=True)
    if task.trial is None:
        return Outcome("failed", "nothing is trained here")
    from headsweep.sweep.search.queue import tell

    value = float(task.number)
    attrs = tell(task.trial, "complete", [value])
    params = dict(task.trial.params)
    return Outcome("complete", values=[value], seeds={0: [value]}, params=params, attrs=attrs)


def work(kind: str, folder: Path, tasks: int, storage: str | None, start: Any, done: Any) -> None:
    """One worker: takes and hands in until nothing is left."""
    with opened(kind, folder, tasks, storage) as queue:
        handed = []
        start.wait()
        began, before = time.monotonic(), time.process_time()
        while (task := queue.take()) is not NoTask.DONE:
            if isinstance(task, NoTask):
                time.sleep(WAIT_SECONDS)
            elif queue.hand_in(task, outcome_of(task)):
                handed.append(task.number)
        done.put((began, time.monotonic(), time.process_time() - before, handed))


def measure(kind: str, tasks: int, workers: int, storage: str | None) -> tuple[float, float]:
    """Tasks a second that some workers take and hand in, and processor time of one in ms.

    Raises:
        AssertionError: A task was lost, or handed in twice.
    """
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as root:
        folder = paths.sweep_folder(Path(root), f"s{time.time_ns()}")
        claim_sweep(folder, {"seeds": 1})
        with opened(kind, folder, tasks, storage):  # a new database is made by one
            pass
        start, done = context.Barrier(workers), context.Queue()
        arguments = (kind, folder, tasks, storage, start, done)
        processes = [context.Process(target=work, args=arguments) for _ in range(workers)]
        for process in processes:
            process.start()
        found = [done.get() for _ in processes]
        for process in processes:
            process.join()
        handed = sorted(number for *_, numbers in found for number in numbers)
        assert handed == list(range(tasks)), f"{len(handed)} of {tasks} were handed in"
    seconds = max(end for _, end, *_ in found) - min(began for began, *_ in found)
    return tasks / seconds, 1000 * sum(used for _, _, used, _ in found) / tasks


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--storage", help="URL of an empty database, as hydra.sweeper.storage")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    kinds: list[tuple[str, str | None]] = [("grid", None), ("journal", None)]
    kinds += [("database", args.storage)] if args.storage else []
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for kind, storage in kinds:
        found[kind] = {}
        for workers in args.workers:
            found[kind][workers] = measure(kind, args.tasks, workers, storage)
            print(kind, workers, found[kind][workers], flush=True)
    heads = ["a second (ms of a processor)", *(f"{n} workers" for n in args.workers)]
    rows = [[kind, *(f"{r:.1f} ({ms:.0f})" for r, ms in of.values())] for kind, of in found.items()]
    print_table(heads, rows)
    if args.json:
        args.json.write_text(json.dumps({"tasks": args.tasks, "rates": found}, indent=1))


if __name__ == "__main__":
    main()
