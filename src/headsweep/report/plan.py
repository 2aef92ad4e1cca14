"""The command ``headsweep plan``: the seeds that a verdict takes, from the spread of a pilot."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from headsweep.errors import UserError
from headsweep.instantiate import allow as allow_modules
from headsweep.store import paths
from headsweep.terminal import console, preparing, print_table


def print_plan(
    root: Path,
    name: str,
    metric: str | None,
    margin: float | None,
    workers: int,
    as_json: bool,
    allow: Sequence[str] | None,
) -> None:
    """Print how many seeds each comparison of a sweep takes, and how long they train.

    Args:
        root: The folder of all output.
        name: Name of the pilot.
        metric: What to compare; None for the first of its design.
        margin: Largest change that does not matter; None for that of the metric.
        workers: How many train side by side.
        as_json: Print JSON.
        allow: Modules of the user's own that may be built from.

    Raises:
        UserError: The margin is no share, or the sweep cannot be a pilot.
    """
    if margin is not None and not 0 < margin < 1:
        raise UserError(f"--margin {margin}: must be between 0 and 1")
    allow_modules([*(allow or [])])
    with preparing(console(stderr=True)) as progress:
        progress("scoring the pilot", 0.0)
        from headsweep.report.sample_size import plan_seeds, plan_table

        found = plan_seeds(paths.sweep_folder(*paths.locate(root, name)), metric, margin)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    print(found.words())
    print_table(*plan_table(found, workers))
    print("\n".join([*found.totals(workers), *found.limits(), *found.withheld, found.note()]))
