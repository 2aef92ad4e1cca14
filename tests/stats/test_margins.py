"""The terms of every comparison: which metrics have a margin, and that none is impossible."""

import math

import pytest

from headsweep.stats.curves import CURVE_METRICS, TARGET_LOSSES
from headsweep.stats.margins import SPREAD, Comparison
from headsweep.stats.metrics import MARGINS, METRICS


def test_margins_belong_to_metrics_on_their_own_scale() -> None:
    known = METRICS | CURVE_METRICS
    assert MARGINS.keys() - known.keys() == set(TARGET_LOSSES) - known.keys()
    for name in MARGINS.keys() & known.keys():
        assert MARGINS[name].scale == known[name].scale, name
    assert MARGINS["qoverpt_r68"].margin == pytest.approx(math.log(1.05))
    assert (MARGINS["charge_misid"].margin, MARGINS["scale_bias"].margin) == (0.002, 0.005)
    assert SPREAD.margin == pytest.approx(math.log(1.5))


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan, math.inf])
def test_a_margin_is_a_positive_number(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        Comparison(margin)


def test_a_family_has_a_member() -> None:
    with pytest.raises(ValueError, match="comparisons"):
        Comparison(0.1, comparisons=0)
