"""Status of a search for ``headsweep study``, read without changing it."""

from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths
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
    for line in failures(outcomes):
        print(line)
    if len(outcomes) < total:
        if outcomes:
            print(f"left: {time_left(folder, outcomes, total)} of training for all workers")
        if not at_work:
            print(f"go on with: {read_command(folder)}")
    if trials.best():
        print("the best of a search flatters itself: compare it only after fresh seeds")


def _print_best(trials: Trials) -> None:
    from headsweep.terminal import print_table

    columns, rows = ["trial", *trials.objectives, "seeds", "chosen"], []
    for number in trials.best():
        outcome = trials.outcomes[number]
        cells = [
            f"{value:.6g}"
            + (f" +- {outcome.spread[i]:.4f}" if outcome.spread and outcome.spread[i] else "")
            for i, value in enumerate(outcome.values)
        ]
        rows.append([str(number), *cells, str(len(outcome.seeds)), parameters(outcome)])
    print("Pareto front:" if len(trials.objectives) > 1 else "best:")
    print_table(columns, rows, words=(0, len(columns) - 1))
