"""The keys of a sweep: its comparisons, its looks, and where its learning rates come from."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from headsweep.config.ranges import check, check_each, one_of, within


@dataclass
class DesignConfig:
    """Comparisons of a sweep's report, fixed before it runs; the first job is the control.

    Attributes:
        kind: ``control``: every other job with the first; ``path``: each with the one before it;
            ``factorial``: main effects and two-way interactions of keys with two values each, where
            the interactions are a family of their own; ``claims``: the document's six claims
            (report/claims.py), which name their metrics themselves.
        metrics: The primary metrics; each must have a margin (stats/verdict.py).
        comparisons: Raises m, for which intervals are widened, above the number of comparisons.
        split: Where the report reads: ``dev``, or ``test``, for a confirmation and the claims.
    """

    kind: str = one_of("control", "path", "factorial", "claims")
    metrics: list[str] = field(default_factory=lambda: ["qoverpt_r68"])
    comparisons: int | None = within(None, "[1, inf)")
    split: str = one_of("dev", "test")

    def __post_init__(self) -> None:
        check_each("design", self)
        names = self.metrics
        check(0 < len(set(names)) == len(names), "design.metrics", names, "one or more, each once")


@dataclass
class LooksConfig:
    """The looks of a sweep with ``seeds=auto``, fixed before it runs.

    Attributes:
        every: Seeds that are trained before the first look, and between two looks.
        most: Largest number of seeds of a configuration.
    """

    every: int = within(5, "[2, 1e6]")
    most: int = within(60, "[2, 1e6]")

    def __post_init__(self) -> None:
        check_each("looks", self)
        fits = self.every <= self.most
        check(fits, "looks.every", self.every, f"at most looks.most={self.most}")


@dataclass
class RatesConfig:
    """Learning rates of jobs that give none (``optim.lr``), a file of ``conf/rates``.

    Attributes:
        table: Rates by ``arm`` or ``head``, by name.
        tried: What ``rates=auto`` tries for each configuration of a sweep before it; else empty.
        share: Share of ``optim.steps`` that a trial of a rate takes.
        seed: First seed of these trials, which no comparison uses.
        seeds: Their number.
        chosen: The rate that was found so; the tool sets it in a job.
    """

    table: dict[str, dict[str, float]] = field(default_factory=dict)
    tried: list[float] = field(default_factory=list)
    share: float = within(0.25, "(0, 1]")
    seed: int = within(100, "[0, inf)")
    seeds: int = within(2, "[1, 1e6]")
    chosen: float | None = within(None, "(0, inf)")

    def __post_init__(self) -> None:
        check_each("rates", self)
        tried = self.tried
        rising = all(0 < a < b < math.inf for a, b in pairwise(tried)) and len(tried) != 1
        check(rising, "rates.tried", tried, "two or more rates above 0, in rising order")
