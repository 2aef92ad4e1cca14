"""Margins: the largest difference in each metric that does not matter, with scale and direction."""

import math
from dataclasses import dataclass
from typing import Literal

from headsweep.stats.power import ALPHA
from headsweep.stats.sequential import Looks

Scale = Literal["log", "plain"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Comparison:
    """The terms of a comparison, fixed before the run.

    Attributes:
        scale: Logs or plain values. A metric that is best at 0 or 1 is compared by its distance.
        better: The direction of the metric.
        margin: eps, the largest difference that does not matter, on the scale.
        comparisons: m, the size of the family over which 5% of errors are spread.
        unit: What is counted: ``seeds``, ``split seeds``, ``folds``.
        looks: The looks at this comparison with their numbers of seeds; None for a fixed design.

    Raises:
        ValueError: The margin is not positive, or m is below 1.
    """

    margin: float
    scale: Scale = "log"
    better: Better = "lower"
    comparisons: int = 1
    unit: str = "seeds"
    looks: Looks | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin < math.inf:
            raise ValueError(f"margin is {self.margin}, not a positive number")
        if self.comparisons < 1:
            raise ValueError(f"comparisons is {self.comparisons}, below 1")

    @property
    def alpha(self) -> float:
        """The error rate that a verdict may use by now, for the whole family."""
        return ALPHA if self.looks is None else self.looks.alpha

    def next_alpha(self, n: int) -> float:
        """The same for one more look, at n seeds per arm."""
        return ALPHA if self.looks is None else self.looks.after(n)


SPREAD = Comparison(math.log(1.5))
"""Terms for the ratio of standard deviations over seeds, see ``spread.compare_spread``."""
