"""The looks of a sweep with ``seeds=auto``: fixed before it ran, and replayed by every report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.report.predictions import HeadRow, Sample
from headsweep.stats.sequential import Looks


@dataclass(frozen=True)
class SeedLooks:
    """Looks at the first ``every`` seeds, at twice as many, and so on, until a verdict is there.

    A look takes the first seeds, whatever else is trained: a report in between is no look, and a
    comparison that was decided keeps its verdict when others go on.

    Attributes:
        first: The first seed.
        every: Seeds between two looks.
        most: Largest number of seeds, at which all 5% are spent.
    """

    first: int
    every: int
    most: int

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "SeedLooks | None":
        """The looks of a sweep's ``spec.yaml``; None of a fixed number of seeds."""
        return cls(spec["seed"], **spec["looks"]) if "looks" in spec else None

    def sizes(self) -> list[int]:
        """Number of seeds at each look, until the last."""
        return [*range(self.every, self.most, self.every), self.most]

    def next_size(self, n: int) -> int:
        """Number of seeds at the look after that at n."""
        return next(size for size in self.sizes() if size > n)

    def available(self, rows: Sequence[HeadRow]) -> Iterator[tuple[Looks, list[NDArray[np.bool_]]]]:
        """The looks for which all seeds of some configurations are there, in their order.

        Yields:
            The looks until then, and of each configuration the samples that are looked at.
        """
        for number, n in enumerate(self.sizes(), start=1):
            seeds = range(self.first, self.first + n)
            if any(len(_among([*row.samples, *row.failed], seeds)) < n for row in rows):
                return
            masks = [np.array([s.seed in seeds for s in row.samples], dtype=bool) for row in rows]
            yield Looks(tuple(map(float, self.sizes()[:number])), float(self.most)), masks

    def first_members(self, row: HeadRow, looks: Looks) -> HeadRow:
        """A configuration with the members that the last of some looks takes."""
        seeds = range(self.first, self.first + int(looks.sizes[-1]))
        samples, failed = (_among(own, seeds) for own in (row.samples, row.failed))
        return replace(row, samples=samples, failed=tuple(failed))


def _among(samples: Sequence[Sample], seeds: range) -> list[Sample]:
    return [sample for sample in samples if sample.seed in seeds]
