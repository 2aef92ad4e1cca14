"""Margins: the largest difference in each metric that does not matter, with scale and direction."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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

    Raises:
        ValueError: The margin is not positive, or m is below 1.
    """

    margin: float
    scale: Scale = "log"
    better: Better = "lower"
    comparisons: int = 1
    unit: str = "seeds"

    def __post_init__(self) -> None:
        if not 0 < self.margin < math.inf:
            raise ValueError(f"margin is {self.margin}, not a positive number")
        if self.comparisons < 1:
            raise ValueError(f"comparisons is {self.comparisons}, below 1")


_RATIO = Comparison(math.log(1.05))

MARGINS: Mapping[str, Comparison] = {
    **dict.fromkeys(("qoverpt_r68", "qoverpt_core", "qoverpt_iterative_rms"), _RATIO),
    **dict.fromkeys(("qoverpt_iqr", "qoverpt_std", "pt_core", "pt_rmse"), _RATIO),
    **dict.fromkeys(("eta_abs68", "eta_core", "eta_rmse"), _RATIO),
    **dict.fromkeys(("phi_abs68", "phi_core", "phi_rmse"), _RATIO),
    **dict.fromkeys(("gap", "loss_at_10pct", "dev_loss", "last_dev_loss"), _RATIO),
    **dict.fromkeys(("train_loss", "last_val_loss"), _RATIO),
    "charge_misid": Comparison(0.002, "plain"),
    "scale_bias": Comparison(0.005, "plain"),
}
"""Default terms by metric, for m = 1; a metric that is not here has no verdict.

The margin of ``scale_bias`` is in shares of pT.
"""

SPREAD = Comparison(math.log(1.5))
"""The same for the ratio of standard deviations over seeds, see ``spread.compare_spread``."""
