"""Every kind of kill, deletion and move against sweeps that nobody touched: ``make killmatrix``.

It prints a row for each kind and exits with 1 if anything differs from the undisturbed sweep.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress

from headsweep.terminal import console
from helpers import disturbances as kinds
from helpers.disturbances import Case
from helpers.killing import GRID, SEARCH, Sweep

KINDS: dict[str, Callable[[Case], None]] = {
    "SIGKILL just after a write": kinds.killed_at_a_write,
    "SIGKILL at any time": kinds.killed_at_any_time,
    "SIGKILL of one worker": kinds.one_worker_killed,
    "SIGINT": kinds.ended_by_signal(signal.SIGINT),
    "SIGTERM": kinds.ended_by_signal(signal.SIGTERM),
    "SIGSTOP of a worker": kinds.suspended(with_lock=False),
    "SIGSTOP of a worker with the lock": kinds.suspended(with_lock=True),
    "deletion": kinds.deleted,
    "deletion during the training": kinds.deleted_while_training,
    "cut": kinds.cut,
    "move of the root": kinds.moved,
    "copy of the root": kinds.copied,
    "SIGKILL of the MLflow server": kinds.server_killed,
}
OFTEN = ("SIGKILL just after a write", "deletion", "cut")
"""Kinds that hit many places, and come twice as often."""


@dataclass
class Row:
    """What one kind did: how often to a search and a grid, how often all was equal in the end.

    Attributes:
        counts: Cases, by the sweep's name.
        equal: Cases that ended as the undisturbed sweep.
        lost: Jobs at most that had to be trained again in a case.
    """

    counts: dict[str, int] = field(default_factory=lambda: {SEARCH.name: 0, GRID.name: 0})
    equal: int = 0
    lost: int = 0

    def add(self, sweep: Sweep, case: Case) -> None:
        """Count a case."""
        self.counts[sweep.name] += 1
        self.equal += not case.wrong
        self.lost = max(self.lost, len(case.lost))


def run_case(number: int, kind: str, sweep: Sweep, folder: Path, seed: int) -> Case:
    """One case in a new root below a folder, whose roots of undisturbed sweeps are there."""
    rng = random.Random(f"{seed} {number}")
    case = Case(sweep, folder / f"case-{number}", folder / sweep.name, rng)
    with case.stack:
        try:
            KINDS[kind](case)
            case.judge()
        except Exception as error:
            case.wrong.append(f"{type(error).__name__}: {error}")
    shutil.rmtree(case.root, ignore_errors=True)
    return case


def schedule(only: Sequence[str], count: int) -> list[tuple[str, Sweep]]:
    """Kinds and sweeps of so many cases, each kind in turn to a search and to a grid."""
    chosen = [*only] or [*KINDS, *OFTEN]
    turns = (divmod(i, len(chosen)) for i in range(count))
    return [(chosen[which], (SEARCH, GRID)[(turn + which) % 2]) for turn, which in turns]


def table(rows: dict[str, Row]) -> list[str]:
    """Lines of a table, a row for each kind and their sum."""
    lines = [
        "| Kind | Search | Grid | Equal in the end | Trained again at most |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind, row in rows.items():
        cells = (kind, *row.counts.values(), row.equal, row.lost)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    sums = [sum(row.counts[name] for row in rows.values()) for name in (SEARCH.name, GRID.name)]
    cells = (
        "all",
        *sums,
        sum(row.equal for row in rows.values()),
        max(r.lost for r in rows.values()),
    )
    return [*lines, "| " + " | ".join(map(str, cells)) + " |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="cases in all")
    parser.add_argument("--only", action="append", default=[], choices=KINDS, metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2, help="cases side by side")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    cases = schedule(arguments.only, arguments.kills)
    with TemporaryDirectory() as name, Progress(console=console(stderr=True)) as bar:
        folder = Path(name).resolve()
        task = bar.add_task("undisturbed sweeps", total=len(cases))
        for sweep in dict.fromkeys(sweep for _, sweep in cases):
            sweep.run_to_the_end(folder / sweep.name)
        bar.update(task, description="cases")

        def run(number: int) -> Case:
            start = time.monotonic()
            case = run_case(number, *cases[number], folder, arguments.seed)
            verdict = f"{'differs' if case.wrong else 'equal'}, {time.monotonic() - start:.0f} s"
            kind, sweep = cases[number]
            line = f"{number}: {kind}, {sweep.name}: {case.words}: {verdict}"
            print("\n  ".join([line, *case.wrong]), flush=True)
            bar.advance(task)
            return case

        with ThreadPoolExecutor(arguments.at_once) as pool:
            done = [*pool.map(run, range(len(cases)))]
    rows: dict[str, Row] = {}
    for (kind, sweep), case in zip(cases, done, strict=True):
        rows.setdefault(kind, Row()).add(sweep, case)
    print("\n".join(["", *table(rows)]))
    sys.exit(any(case.wrong for case in done))


if __name__ == "__main__":
    main()
