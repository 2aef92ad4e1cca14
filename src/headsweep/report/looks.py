"""Looks at a sweep's verdicts: those of the ledger, and the one that a report is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import harmonic_mean

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.identity import stable_hash
from headsweep.report.comparisons import Effect
from headsweep.stats.sequential import Looks
from headsweep.store import looks as ledger
from headsweep.store import runs
from headsweep.store.labels import StoredJob
from headsweep.store.looks import Look, SeenArm


@dataclass(frozen=True)
class SweepLooks:
    """All looks at a sweep.

    Attributes:
        folder: Of the sweep.
        before: Those of the ledger, oldest first.
        present: That of this report, which may have been taken before.
        numbers: Number of the first job of each configuration, by label.
    """

    folder: Path
    before: Sequence[Look]
    present: Look
    numbers: Mapping[str, str]

    @classmethod
    def open(
        cls, folder: Path, groups: Mapping[str, Sequence[StoredJob]], design: DesignConfig
    ) -> "SweepLooks":
        """The looks at a sweep by now.

        Args:
            folder: Of the sweep.
            groups: Label and jobs of each configuration.
            design: Of its comparisons.

        Raises:
            DamagedError: The ledger is damaged.
        """
        numbers = {label: jobs[0].folder.name for label, jobs in groups.items()}
        seen = {numbers[label]: _seen(label, jobs) for label, jobs in groups.items()}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        what = {"kind": design.kind, "metrics": [*design.metrics], "split": design.split}
        # On test the figure of a single seed is a look, too: whether there are more depends on it.
        least = 1 if design.split == "test" else 2
        arms = {number: arm for number, arm in seen.items() if arm.n >= least}
        return cls(folder, ledger.read(folder), Look(now, what, arms), numbers)

    def at(self, labels: Sequence[str]) -> Looks | None:
        """The looks at a comparison of some configurations, the present one included.

        Args:
            labels: Those that are compared.

        Returns:
            The looks, each set of members once; None where a configuration has no spread yet.
        """
        arms = [self.present.arms.get(number) for number in self._numbers(labels)]
        there = all(arm is not None and arm.n > 1 for arm in arms)
        return self._looks((*self.before, self.present), labels) if there else None

    def earlier(self, labels: Sequence[str]) -> Looks | None:
        """The same without the present one, for who plans and looks at no verdict."""
        return self._looks(self.before, labels)

    def _numbers(self, labels: Sequence[str]) -> list[str]:
        """Numbers of the first jobs of some configurations; empty for one that never had a job."""
        return [self.numbers.get(label, "") for label in labels]

    def _looks(self, taken: Sequence[Look], labels: Sequence[str]) -> Looks | None:
        """Looks at a comparison among some looks at the sweep; None where there is none.

        The number of seeds per arm is the harmonic mean: with equal spreads it is the information.
        """
        numbers = self._numbers(labels)
        found: dict[tuple[str, ...], tuple[Look, list[SeenArm]]] = {}
        for look in taken:
            arms = [look.arms[number] for number in numbers if number in look.arms]
            if len(arms) == len(numbers):
                found.setdefault(tuple(arm.members for arm in arms), (look, arms))
        if not found:
            return None
        first = next(iter(found.values()))[1]
        return Looks(
            tuple(harmonic_mean([arm.n for arm in arms]) for _, arms in found.values()),
            harmonic_mean([arm.planned for arm in first]),
            tuple(look.time for look, _ in found.values()),
        )

    def record(self, effects: Sequence[Effect]) -> list[str]:
        """Write the present look into the ledger, if it has verdicts, or figures on test.

        A confirmation judges by what is fixed before it is read. Who reads it may train more seeds
        for the sake of its figures, whether a verdict stands beside them or is withheld.

        Args:
            effects: The comparisons that are about to be shown.

        Returns:
            A note where the ledger cannot be written; no note else.
        """
        judged = (e.verdict is not None and not e.verdict.reason for e in effects)
        if self.present.design["split"] != "test" and not any(judged):
            return []
        try:
            ledger.record(self.folder, self.present)
        except UserError as error:
            return [f"This look was not counted, a later report does not know of it: {error}."]
        return []


def _seen(label: str, jobs: Sequence[StoredJob]) -> SeenArm:
    """What there is of a configuration.

    A failed seed counts as seen, as a verdict allows for what it could have given: to train it
    again is no look at more seeds.
    """
    seen, missing, finished = [], [], 0
    for job in jobs:
        results = runs.read_results(job.folder)
        key = (runs.read_job(job.folder) or {}).get("job_key")
        finished += sum(result["status"] == "finished" for result in results.values())
        seen += [(key, job.block, seed) for seed in results]
        missing += [(key, job.block, seed) for seed in job.seeds - results.keys()]
    n, planned = len(seen), len(seen) + len(missing)
    if jobs[0].folds:  # the seeds of a block are averaged
        n = len({block for _, block, _ in seen})
        planned = len({block for _, block, _ in [*seen, *missing]})
    n = n if finished > 1 else finished
    return SeenArm(label, n, planned, stable_hash(sorted(seen)))
