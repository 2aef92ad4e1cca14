"""Two one-sided tests: is a change within a margin, beyond it, or not shown to be either?"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from scipy.special import stdtrit

from headsweep.stats.power import ALPHA, Design, SampleSize, seeds_for_equivalence
from headsweep.stats.tracks import Array
from headsweep.stats.welch import Moments, welch

Extent = Literal["within", "beyond", "open"]


@dataclass(frozen=True)
class Change:
    """A change of means, and how it stands to a margin.

    Attributes:
        extent: ``within`` if the 90% interval lies inside +-margin, ``beyond`` if it lies outside,
            else ``open``. Each of the first two is wrong in at most 5% of cases.
        delta: After minus before.
        low: Lower end of the 90% interval; NaN where there is no spread.
        high: Upper end.
        n: Values after and before.
        needed: Seeds on either side that show ``within`` if nothing changes; only where it is open
            and there is a spread.
    """

    extent: Extent
    delta: float
    low: float
    high: float
    n: tuple[int, int]
    needed: SampleSize | None = None


def two_one_sided(after: Array, before: Array, margin: float) -> Change:
    """Test a change by its 90% Welch interval.

    Two one-sided tests at 5%, of a change above -margin and of one below +margin, are both passed
    where the interval lies inside (Schuirmann, J. Pharmacokin. Biopharm. 15 (1987) 657). Where it
    lies outside, the test of the opposite is.

    Args:
        after: Values of independent seeds, [n].
        before: The same before the change, [m].
        margin: The largest change that does not matter.
    """
    moments = Moments.of(after), Moments.of(before)
    found = welch(*moments)
    delta, error, df = float(found.delta), float(found.error), float(found.df)
    half = float(stdtrit(df, 1 - ALPHA)) * error
    low, high, n = delta - half, delta + half, (len(after), len(before))
    if not half > 0:  # one seed, or seeds that do not differ: nothing to judge by
        return Change("open", delta, math.nan, math.nan, n)
    if -margin < low and high < margin:
        return Change("within", delta, low, high, n)
    if low > margin or high < -margin:
        return Change("beyond", delta, low, high, n)
    design = Design(tuple(float(part.variance) for part in moments))
    seeds = partial(seeds_for_equivalence, margin=margin, level=lambda n: 2 * ALPHA)
    return Change("open", delta, low, high, n, SampleSize.of(design, df, seeds))
