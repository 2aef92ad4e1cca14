"""Sample sizes: seeds or events that a verdict takes, from spread and margin alone."""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial

from scipy.special import chdtri, nctdtr, ndtr, ndtri, stdtr, stdtrit

ALPHA = 0.05
"""Error rate of a family of comparisons."""

POWER = 0.8
"""Share of repetitions in which a planned comparison gets its verdict."""

COVERED = 0.8
"""Share of pilots whose range of seeds contains the number that the true spread takes."""

MOST = 10_000
"""Numbers of seeds above it are not looked for."""

Level = Callable[[int], float]
"""From n to the error rate that a verdict may use at n seeds per arm; see ``sequential.Looks``."""


def fixed(n: int) -> float:
    """The level of a design that is looked at once, at a number of seeds that was planned."""
    return ALPHA


@dataclass(frozen=True)
class Design:
    """The standard error of a difference as a function of n.

    SE^2 = sum of v (1/n + overlap) + events. Degrees of freedom by Satterthwaite, the events at
    infinitely many.

    Attributes:
        variances: v of one value: one for each of two arms with n seeds, or that of the
            differences of n paired blocks.
        events: Variance from the sample of events, which no seed reduces.
        overlap: 1/(k - 1) for the folds of k-fold cross-validation (Nadeau and Bengio).
    """

    variances: tuple[float, ...]
    events: float = 0.0
    overlap: float = 0.0

    def error(self, n: float) -> tuple[float, float]:
        """Standard error and its degrees of freedom at n seeds per arm, or n blocks."""
        parts = [v * (1 / n + self.overlap) for v in self.variances]
        total = sum(parts) + self.events
        uncertain = sum(part**2 for part in parts) / (n - 1)
        return math.sqrt(total), total**2 / uncertain if uncertain > 0 else math.inf

    def limits(self, df: float) -> tuple["Design", "Design"]:
        """With each variance at the lower and the upper end of its 80% interval.

        v df / chi2(90%; df) and v df / chi2(10%; df): df v / sigma^2 is distributed as chi2.
        """
        if math.isinf(df):
            return self, self
        tails = (1 - COVERED) / 2, (1 + COVERED) / 2
        low, high = (df / float(chdtri(df, tail)) for tail in tails)  # chdtri: the upper tail
        return self._scaled(low), self._scaled(high)

    def _scaled(self, factor: float) -> "Design":
        return replace(self, variances=tuple(v * factor for v in self.variances))


def difference_power(
    design: Design, n: float, margin: float, comparisons: int = 1, alpha: float = ALPHA
) -> float:
    """Chance that the interval at 1 - alpha/m lies on the right side of 0 where |Delta| = margin.

    The upper tail of the noncentral t distribution with shift margin / SE.
    """
    error, df = design.error(n)
    if error == 0:
        return 1.0
    quantile = float(stdtrit(df, 1 - alpha / comparisons / 2))
    power = 1 - float(nctdtr(df, margin / error, quantile))
    # scipy gives no number where the shift is huge; there the normal distribution will do.
    return power if math.isfinite(power) else float(ndtr(margin / error - quantile))


def equivalence_power(
    design: Design, n: float, margin: float, comparisons: int = 1, alpha: float = ALPHA
) -> float:
    """Chance that the interval at 1 - alpha/m lies inside +-margin where Delta = 0.

    2 T(margin / SE - t) - 1, T being Student's distribution; 0 where that is negative.
    """
    error, df = design.error(n)
    if error == 0:
        return 1.0
    quantile = float(stdtrit(df, 1 - alpha / comparisons / 2))
    return max(0.0, 2 * float(stdtr(df, margin / error - quantile)) - 1)


def seeds_for_difference(
    design: Design, margin: float, *, comparisons: int = 1, level: Level = fixed
) -> int | None:
    """n_diff: fewest seeds per arm, or blocks, that show a difference of the margin.

    Args:
        design: Spread and what stands against it.
        margin: eps, on the scale of the comparison.
        comparisons: m, the comparisons times the primary metrics.
        level: Error rate of a look at n.

    Returns:
        The smallest n >= 2 with power >= 0.8; ``None`` where 10,000 do not give it.
    """
    return _smallest(lambda n: difference_power(design, n, margin, comparisons, level(n)))


def seeds_for_equivalence(
    design: Design, margin: float, *, comparisons: int = 1, level: Level = fixed
) -> int | None:
    """n_eq: fewest seeds per arm, or blocks, that show equivalence where there is no difference.

    Arguments and result as for ``seeds_for_difference``.
    """
    return _smallest(lambda n: equivalence_power(design, n, margin, comparisons, level(n)))


def events_for(design: Design, margin: float, n_events: int, *, comparisons: int = 1) -> int:
    """Events with which some number of seeds shows either verdict.

    The variance from events falls as 1/N. It may fill half of the SE^2 that equivalence allows,
    (margin / (z(1 - 0.05/2m) + z(0.9)))^2; the other half is left to the seeds.

    Args:
        design: Its ``events`` are those of the present sample.
        margin: eps, on the scale of the comparison.
        n_events: Events of the present sample.
        comparisons: m, the comparisons times the primary metrics.
    """
    quantiles = float(ndtri(1 - ALPHA / comparisons / 2)) + float(ndtri((1 + POWER) / 2))
    return math.ceil(n_events * design.events / (0.5 * (margin / quantiles) ** 2))


@dataclass(frozen=True)
class SampleSize:
    """A number of seeds or blocks; ``None`` where 10,000 are not enough.

    Attributes:
        n: At the measured spread.
        low: At the lower end of an 80% interval of the spread.
        high: At its upper end.
    """

    n: int | None
    low: int | None
    high: int | None

    @classmethod
    def of(cls, design: Design, df: float, seeds: Callable[[Design], int | None]) -> "SampleSize":
        """From a measured spread, and the ends of its 80% interval.

        Args:
            design: The measured variances.
            df: Their degrees of freedom; infinite where the spread is known.
            seeds: From a design to the number of seeds that it takes.
        """
        low, high = design.limits(df)
        return cls(seeds(design), seeds(low), seeds(high))

    def most(self, other: "SampleSize") -> "SampleSize":
        """Enough for either purpose."""
        mine, others = astuple(self), astuple(other)
        return SampleSize(
            *(None if None in pair else max(pair) for pair in zip(mine, others, strict=True))
        )

    def text(self, unit: str = "") -> str:
        """In words: ``22 seeds (11 to 36)``."""
        number = f"{_count(self.n)} {unit}".strip()
        if self.low == self.high:
            return number
        return f"{number} ({_count(self.low)} to {_count(self.high)})"


@dataclass(frozen=True)
class Needed:
    """The numbers of seeds that would decide a comparison.

    Attributes:
        difference: n_diff.
        equivalence: n_eq.
        unit: What n counts: ``seeds per arm``, ``blocks``.
        limit: Why no n would do for n_eq, or for both; empty if some n does.
        never: True if no n would do for either.
    """

    difference: SampleSize
    equivalence: SampleSize
    unit: str
    limit: str = ""
    never: bool = False

    @classmethod
    def of(
        cls,
        design: Design,
        df: float,
        margin: float,
        *,
        comparisons: int,
        unit: str,
        n_events: int | None = None,
        level: Level = fixed,
    ) -> "Needed":
        """From the measured spread, whose degrees of freedom are ``df``.

        Where seeds were looked at, ``level`` is that of the next look. More events are new ones,
        which nobody has looked at.
        """
        difference, equivalence = (
            SampleSize.of(
                design, df, partial(seeds, margin=margin, comparisons=comparisons, level=level)
            )
            for seeds in (seeds_for_difference, seeds_for_equivalence)
        )
        limit, both = "", False
        # What is left when n grows without bound.
        ever = Design((), events=design.events + design.overlap * sum(design.variances))
        if equivalence_power(ever, 2, margin, comparisons) < POWER:
            both = difference_power(ever, 2, margin, comparisons) < POWER
            enough = (
                "more scored events would"
                if n_events is None
                else f"{events_for(design, margin, n_events, comparisons=comparisons):,} scored "
                f"events instead of {n_events:,} would"
            )
            shows = "settles this" if both else "shows equivalence"
            limit = f"no number of {unit.split()[0]} {shows}; {enough}"
        return cls(difference, equivalence, unit, limit, both)

    def both(self) -> str:
        """Seeds that are enough for either verdict, in words; empty where no number is."""
        return "" if self.limit else self.difference.most(self.equivalence).text()

    def text(self) -> str:
        """The numbers in words."""
        shows = [
            f"{what} {size.text(self.unit)}"
            for what, size in (
                ("a difference of the margin takes", self.difference),
                ("equivalence takes", self.equivalence),
            )
            if size.n is not None or not self.limit
        ]
        return ", ".join([*shows, *([self.limit] if self.limit else [])])


def _count(n: int | None) -> str:
    return f"more than {MOST:,}" if n is None else f"{n:,}"


def _smallest(power: Callable[[int], float]) -> int | None:
    """Smallest n with enough power, which rises with n."""
    low, high = 1, 2  # too few, perhaps enough
    while power(high) < POWER:
        if high == MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle) >= POWER:
            high = middle
        else:
            low = middle
    return high
