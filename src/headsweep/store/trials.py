"""Finished trials of a search, read from their folders, and words for them."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headsweep.store import paths
from headsweep.store.outcome import Outcome, best_trials
from headsweep.store.runs import read_results, read_spec

SHOWN = 10
"""Number of the best trials that are shown."""

Outcomes = dict[int, Outcome]
"""Outcome of each finished trial, by number."""


class OutcomeReader:
    """Reader of the outcomes in a sweep's folder; each is read once, as it never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[int, Outcome] = {}

    def read(self) -> Outcomes:
        """Outcomes of all finished trials, by number."""
        for path in (self.folder / paths.JOBS).glob("[0-9]*"):
            number = int(path.name)
            if number not in self._known and (outcome := Outcome.read(path)) is not None:
                self._known[number] = outcome
        return dict(sorted(self._known.items()))


@dataclass(frozen=True)
class Trials:
    """The finished trials of a search.

    Attributes:
        outcomes: Of each, by number.
        total: Number of trials that the search shall have.
        objectives: Names of the metrics.
        directions: ``minimize`` or ``maximize`` for each.
    """

    outcomes: Outcomes
    total: int
    objectives: list[str]
    directions: list[str]

    @classmethod
    def read(cls, folder: Path) -> "Trials | None":
        """The trials in a sweep's folder; None for a grid or a single run."""
        spec = read_spec(folder)
        if "search" not in spec:
            return None
        outcomes = OutcomeReader(folder).read()
        return cls(outcomes, spec["n_trials"], spec["objective"], spec["direction"])

    def best(self) -> list[int]:
        """Numbers of the ``SHOWN`` best trials, or of the Pareto front."""
        found = best_trials(self.outcomes, self.directions)
        return found if len(self.directions) > 1 else found[:SHOWN]

    def repeated(self) -> str | None:
        """A sentence on the trials that repeated a point; None where there are none."""
        points = [o.point for o in self.outcomes.values() if o.point]
        again = len(points) - len(set(points))
        if not again:
            return None
        return f"{again} of the trials had a configuration again, and trained new seeds of it"

    def taken(self) -> str | None:
        """A sentence on the trials that were taken from another search; None where none were."""
        origins = {n: o.origin.split(f"/{paths.JOBS}/") for n, o in self.outcomes.items()}
        there = {number: parts for number, parts in origins.items() if len(parts) == 2}
        if not there:
            return None
        study = next(iter(there.values()))[0]
        numbers = _ranges([int(number) for _, number in there.values()])
        return f"trials {_ranges([*there])} were taken from {study}, where they are {numbers}"

    def presets(self) -> str | None:
        """A sentence on the trials that are presets; None where there are none."""
        found = {n: o.origin for n, o in self.outcomes.items() if o.origin.startswith("head=")}
        return ", ".join(f"trial {n} is {origin}" for n, origin in found.items()) or None

    def first(self) -> "Trials":
        """These trials with their first objective only, such as for its history."""
        return self._with(
            {
                number: replace(o, values=o.values[:1], spread=o.spread[:1])
                for number, o in self.outcomes.items()
            },
            self.objectives[:1],
            self.directions[:1],
        )

    def against(self, folder: Path, count: str = "params_total") -> "Trials":
        """These trials with a count of parameters as second objective, for a Pareto front.

        A search of several objectives is returned as it is.

        Args:
            folder: The sweep's.
            count: ``params_`` and a name of the counts in ``result.json``.
        """
        if len(self.objectives) > 1:
            return self
        outcomes, name = {}, count.removeprefix("params_")
        for number, outcome in self.outcomes.items():
            results = read_results(paths.job_folder(folder, number)).values()
            counts = [float(result["parameters"][name]) for result in results]
            if outcome.values and counts:
                values, spread = [*outcome.values, counts[0]], [*outcome.spread, 0.0]
                outcome = replace(outcome, values=values, spread=spread)
            outcomes[number] = outcome
        return self._with(outcomes, [*self.objectives, count], [*self.directions, "minimize"])

    def _with(self, outcomes: Outcomes, objectives: list[str], directions: list[str]) -> "Trials":
        return replace(self, outcomes=outcomes, objectives=objectives, directions=directions)

    def note(self) -> str:
        """Note of a report on a search: which trials it shows, and why their values are low."""
        done, what = len(self.outcomes), f"the best {len(self.best())}"
        if len(self.objectives) > 1:
            what = "the Pareto front"
        said = filter(None, (self.taken(), self.presets()))
        begin = "".join(f"{words[0].upper()}{words[1:]}. " for words in said)
        return (
            f"A search, {done} of {self.total} trials done, {usable(self.outcomes)}. {begin}"
            f"Shown is {what} by {' and '.join(self.objectives)}. The best values of a search are "
            "too good by chance: train these trials again on fresh seeds before comparing them."
        )


def usable(outcomes: Outcomes) -> str:
    """Counts of trials by their end: ``usable: 27 of 30 (9 pruned), 3 failed``."""
    counts = Counter(outcome.state for outcome in outcomes.values())
    words = f"usable: {counts['complete'] + counts['pruned']} of {len(outcomes)}"
    words += f" ({counts['pruned']} pruned)" if counts["pruned"] else ""
    return words + (f", {counts['failed']} failed" if counts["failed"] else "")


def failures(outcomes: Outcomes) -> list[str]:
    """A line for each failed trial."""
    return [
        f"trial {number} failed: {outcome.reason}"
        for number, outcome in outcomes.items()
        if outcome.state == "failed"
    ]


def describe(number: int, outcome: Outcome, objectives: Sequence[str]) -> str:
    """A complete trial as words: each objective with its standard deviation over the seeds."""
    parts = []
    for i, name in enumerate(objectives):
        more = f" +- {outcome.spread[i]:.4f}" if outcome.spread and outcome.spread[i] else ""
        parts.append(f"{name} {outcome.values[i]:.6g}{more}")
    return f"trial {number}: {', '.join(parts)} with {parameters(outcome)}"


def parameters(outcome: Outcome) -> str:
    """Values that the search chose, as words."""
    return ", ".join(f"{key}={_short(value)}" for key, value in outcome.params.items())


def time_left(folder: Path, outcomes: Outcomes, total: int) -> str:
    """Time of training that is left, by the mean time of the finished trials; as words.

    Args:
        folder: The sweep's.
        outcomes: Of its finished trials.
        total: Number of trials that it shall have.
    """
    times = [
        max((result["seconds"] for result in results.values()), default=0.0)
        for number in outcomes
        if (results := read_results(paths.job_folder(folder, number)))
    ]
    if not times:
        return "unknown"
    from headsweep.terminal import duration  # loads rich

    return duration(statistics.fmean(times) * max(total - len(outcomes), 0))


def _ranges(numbers: Sequence[int]) -> str:
    """Rising numbers as words, ``0 to 3, 7``."""
    starts = [at for at, n in enumerate(numbers) if at == 0 or n != numbers[at - 1] + 1]
    ends = [*(at - 1 for at in starts[1:]), len(numbers) - 1]
    return ", ".join(
        str(numbers[a]) if a == b else f"{numbers[a]} to {numbers[b]}"
        for a, b in zip(starts, ends, strict=True)
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
