"""Rounds of a sweep with ``seeds=auto``: after each a look, until nothing is open."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headsweep.errors import UserError
from headsweep.terminal import console, duration, preparing, print_table

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Standing:
    """What a look at a sweep says.

    Attributes:
        seeds: Number of seeds of each job that trains on, by its number.
        rows: Arm, control, metric, verdict and seeds of each comparison, as words.
    """

    seeds: Mapping[int, int]
    rows: list[list[str]]


Look = Callable[[Path], Standing]
"""Looks at the sweep in a folder: ``report.standing.find_standing``, above this package."""


class Rounds:
    """The rounds of one command.

    Args:
        folder: Of the sweep.
        look: Looks at it.
        budget: Time after which no round begins, such as ``2h``; None for no limit.
        started: When the command began, by ``time.monotonic``: what came before the first round,
            such as the trials of learning rates, is a part of the budget.
    """

    def __init__(self, folder: Path, look: Look, budget: str | None, started: float) -> None:
        self._folder, self._look = folder, look
        self._budget = None if budget is None else seconds(budget)
        self._started, self._round = started, time.monotonic()

    def next_seeds(self) -> Mapping[int, int]:
        """Look at the members that are there, and print what is decided.

        Returns:
            Number of seeds of each job that trains on, by its number. None where the budget does
            not reach for another round as long as the last one, or nothing can be compared.
        """
        with preparing(console()) as progress:
            progress("a look at the verdicts", 0.0)
            try:
                found = self._look(self._folder)
            except UserError as error:  # such as jobs of which none has finished
                print(f"no verdicts: {error}", file=sys.stderr)
                return {}
        print_table(["a look at", "against", "metric", "verdict", "seeds"], found.rows, range(4))
        now = time.monotonic()
        last, self._round = now - self._round, now
        left = None if self._budget is None else self._budget - (now - self._started)
        if found.seeds and left is not None and left < last:
            print(
                f"budget: {duration(max(left, 0))} are left, and the last round took "
                f"{duration(last)}; the same command goes on"
            )
            return {}
        return found.seeds


def seconds(budget: str) -> float:
    """A budget such as ``90min`` in seconds."""
    number = budget.rstrip("".join(UNITS))
    return float(number) * UNITS[budget.removeprefix(number)]
