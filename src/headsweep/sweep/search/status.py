"""Status of a search for ``headsweep study``, read without changing it."""

from collections.abc import Sequence
from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.outcome import pooled
from headsweep.store.runs import read_command
from headsweep.store.trials import Trials, failures, parameters, time_left, usable
from headsweep.sweep.leases import Leases


def print_study(root: Path, name: str) -> None:
    """Print the state of a search.

    Args:
        root: The folder of all output.
        name: The search's.

    Raises:
        UserError: There is no such search.
    """
    root, name = paths.locate(root, name)
    folder = paths.sweep_folder(root, name)
    trials = Trials.read(folder) if folder.is_dir() else None
    if trials is None:
        report, known = (paths.command(*w) for w in (("report", root, name), ("list", root)))
        what = f"is a grid; see {report}" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} {what}; {known} shows what there is")
    outcomes, total = trials.outcomes, trials.total
    leases = Leases(folder)
    at_work = [lease.number for lease in leases.all() if not leases.is_dead(lease)]
    print(f"{name}: {len(outcomes)} of {total} trials are done, {len(at_work)} are being trained")
    print(usable(outcomes))
    if trials.best():
        _print_best(trials)
    for line in (*_missing(folder, trials, at_work), *failures(outcomes)):
        print(line)
    for words in (trials.taken(), trials.repeated()):
        if words is not None:
            print(words)
    if len(outcomes) < total:
        if outcomes:
            print(f"left: {time_left(folder, outcomes, total)} of training for all workers")
        if not at_work:
            print(f"go on with: {read_command(folder)}")
    if trials.best():
        print("the best of a search flatters itself: compare it only after fresh seeds")


def _print_best(trials: Trials) -> None:
    from headsweep.terminal import print_table

    points = pooled(trials.outcomes)
    known = any(points[number].origin for number in trials.best())  # as no sampler chose them
    columns = ["trial", *trials.objectives, "seeds", "chosen", *(["from"] if known else [])]
    rows = []
    for number in trials.best():
        outcome = points[number]
        cells = [
            f"{value:.6g}"
            + (f" +- {outcome.spread[i]:.4f}" if outcome.spread and outcome.spread[i] else "")
            for i, value in enumerate(outcome.values)
        ]
        others = (n for n, o in trials.outcomes.items() if o.state == "complete" and n != number)
        same = [n for n in others if outcome.point and trials.outcomes[n].point == outcome.point]
        numbers = ", ".join(map(str, [number, *same]))
        origin = [outcome.origin] if known else []
        rows.append([numbers, *cells, str(len(outcome.seeds)), parameters(outcome), *origin])
    print("Pareto front:" if len(trials.objectives) > 1 else "best:")
    print_table(columns, rows, words=(0, *range(columns.index("chosen"), len(columns))))


def _missing(folder: Path, trials: Trials, at_work: Sequence[int]) -> list[str]:
    """A line for each trial that should be there and is not."""
    last = max(trials.outcomes, default=-1)
    begun = [int(path.name) for path in (folder / paths.JOBS).glob("[0-9]*")]
    numbers = {*range(last), *begun} - trials.outcomes.keys() - {*at_work}
    return [
        f"trial {number} is missing: {paths.job_folder(folder, number)} "
        f"{'has no outcome' if number in begun else 'is gone'}; its command brings it back"
        for number in sorted(numbers)
    ]
