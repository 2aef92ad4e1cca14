"""Progress of a single run and of a grid, read from their folders."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.figures import figures_table, read_figures
from headsweep.store.outcome import Outcome
from headsweep.store.repair import missing_seeds
from headsweep.store.runs import read_progress, read_results, read_spec
from headsweep.sweep.grid_queue import GridQueue
from headsweep.sweep.leases import Leases
from headsweep.terminal import State, console, print_table


class GridProgress:
    """Progress of a grid.

    Args:
        grid: Its queue.
        labels: Name of each job, by number.
        before: Members that were there when the command began; None for those of now.
    """

    def __init__(
        self, grid: GridQueue, labels: Mapping[int, str], before: int | None = None
    ) -> None:
        self.grid, self.labels = grid, labels
        self.seeds = {number: len(entry.seeds) for number, entry in grid.entries.items()}
        self.complete: set[int] = set()
        done = self._done()
        self.before = done if before is None else before

    def _missing(self, number: int) -> int:
        if number in self.complete:
            return 0
        missing = len(self.grid.missing(number))
        if missing == 0:
            self.complete.add(number)
        return missing

    def _done(self) -> int:
        return sum(n - self._missing(number) for number, n in self.seeds.items())

    def left(self) -> int:
        """Jobs that are not complete."""
        return len(self.seeds) - len(self.complete)

    def state(self) -> State:
        """State for the progress bar."""
        done, total = self._done(), sum(self.seeds.values())
        at_work = running(self.grid.folder)
        work = sum(self._missing(n) * share for n, share, _ in at_work if n in self.seeds)
        begun = done > self.before
        lines = lines_of(self.grid.leases, at_work, "job", self.labels, begun)
        waiting = [f"job {line}" for line in self.grid.leases.stopped()]
        summary = f"{len(self.complete)} of {len(self.seeds)} jobs, {done} of {total} members done"
        return State(summary, (done + work) / total, lines, waiting)

    def words(self) -> str:
        """Counts of members as one clause."""
        done, total = self._done(), sum(self.seeds.values())
        failed = sum(
            result["status"] == "failed"
            for number, entry in self.grid.entries.items()
            for seed, result in read_results(self.grid.job_folder(number)).items()
            if seed in entry.seeds
        )
        words = f"{done} of {total} members are done, {self.before} of them were there before"
        return f"{words}; {failed} of them failed" if failed else words

    def conclude(self) -> int:
        """Print what is done, what failed and the next command; returns the exit code."""
        print(self.words())
        code = self.print_failures()
        print_figures(self.grid.folder)
        return code

    def print_failures(self) -> int:
        """Print a line for each failure; returns 1 if a job has no finished member, else 0."""
        code = 0
        for number, entry in self.grid.entries.items():
            folder = self.grid.job_folder(number)
            outcome = Outcome.read(folder)
            results = [r for seed, r in read_results(folder).items() if seed in entry.seeds]
            failed = [result["reason"] for result in results if result["status"] == "failed"]
            reasons = failed + ([str(outcome.reason)] if outcome is not None else [])
            for reason in reasons:
                print(f"job {number} {self.labels[number]}: {reason}", file=sys.stderr)
            if len(failed) == len(results):
                code = 1
        return code


def lines_of(
    leases: Leases,
    at_work: Sequence[tuple[int, float, Mapping[str, Any]]],
    kind: str,
    labels: Mapping[int, str],
    begun: bool,
) -> list[str]:
    """A line for each job at work, with its step or what comes before the first.

    Args:
        leases: Of the sweep.
        at_work: From ``running``.
        kind: ``job`` or ``trial``.
        labels: Name of each job, by number.
        begun: Whether this command has finished something.
    """
    steps = {number: progress for number, _, progress in at_work}
    taken = [lease.number for lease in leases.all() if lease.worker is not None]
    lines = [
        progress_line(f"{kind} {number} {labels.get(number, '')}".strip(), steps.get(number))
        for number in sorted({*steps, *taken})
    ]
    if not lines and not begun:
        lines = ["workers start: each loads PyTorch and compiles its kernels"]
    return lines


def print_figures(folder: Path) -> None:
    """Print the main table of a grid or single run on val, and the command for all else."""
    single = folder.parent.name == paths.RUNS
    try:
        figures = read_figures(folder)
    except UserError as error:  # some job may have left nothing
        print(f"no table: {error}", file=sys.stderr)
        figures = []
    if any(row.finished for row in figures):
        print("main figures on val: mean and 95% interval over n seeds or folds")
        print_table(*figures_table(figures, console().width))
    split = read_spec(folder).get("design", {}).get("split", "dev")
    what = "report" if single or len(figures) == 1 else f"verdicts, on {split}"
    print(f"{what}: {paths.command('report', folder.parents[1], folder.name)}")


def running(folder: Path) -> list[tuple[int, float, dict[str, Any]]]:
    """Number, share of the steps and ``progress.json`` of each job that a worker trains."""
    found = []
    for number, attempt in paths.attempt_folders(folder):
        progress = read_progress(attempt)
        if progress is not None:
            found.append((number, progress["step"] / progress["steps"], progress))
    return found


@dataclass
class JobProgress:
    """Progress of a single run.

    Attributes:
        folder: Its folder, which may not exist yet.
        seeds: Seeds of its members.
        job_key: Its key.
    """

    folder: Path
    seeds: Sequence[int]
    job_key: str
    _done: set[int] = field(default_factory=set, init=False, repr=False)

    def done(self) -> int:
        """Number of members that have a result of this very job."""
        self._done |= {seed for seed in self.seeds if seed not in self._done and self._has(seed)}
        return len(self._done)

    def _has(self, seed: int) -> bool:
        return not missing_seeds(self.folder, self.job_key, [seed])

    def state(self, since: float) -> State:
        """State for the progress bar.

        Args:
            since: Time of the start; an older ``progress.json`` belongs to a broken run.
        """
        done, total = self.done(), len(self.seeds)
        work = float(done)
        running = []
        progress = read_progress(self.folder) if done < total else None
        if progress is not None and progress["updated"] >= since:
            work += (total - done) * progress["step"] / progress["steps"]
            running.append(progress_line("run", progress))
        elif done < total:
            running.append(progress_line("run", None))
        return State(f"{done} of {total} members done", work / total, running)


def progress_line(label: str, progress: Mapping[str, Any] | None) -> str:
    """``progress.json`` as words; None before the first."""
    if progress is None:
        return f"{label}: loads PyTorch and its features, builds its heads"
    if progress["step"] == 0:
        return f"{label}: compiles its kernels, before step 1 of {progress['steps']}"
    val = "" if progress["val"] is None else f", val r68 {progress['val']:.3f}"
    return f"{label}: step {progress['step']} of {progress['steps']}{val}"
