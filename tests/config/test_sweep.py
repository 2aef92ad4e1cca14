"""Values of a sweep's keys that cannot be."""

import math

import pytest

from headsweep.config import DesignConfig, LooksConfig, RatesConfig
from headsweep.errors import UserError


@pytest.mark.parametrize("tried", [[0.1], [0.2, 0.1], [0.1, 0.1], [0.0, 0.1], [0.1, math.inf]])
def test_rates_that_are_tried_rise(tried: list[float]) -> None:
    with pytest.raises(UserError, match=r"rates\.tried=.*: must be two or more rates above 0"):
        RatesConfig(tried=tried)
    assert RatesConfig().tried == []
    assert RatesConfig(tried=[0.1, 0.2]).chosen is None


def test_a_trial_takes_a_share_of_the_steps() -> None:
    assert RatesConfig(share=1).share == 1
    for share in (0, 1.1, math.nan):
        with pytest.raises(UserError, match=r"rates\.share="):
            RatesConfig(share=share)


def test_a_look_takes_no_more_seeds_than_there_may_be() -> None:
    with pytest.raises(UserError, match=r"looks\.every=6: must be at most looks\.most=5"):
        LooksConfig(every=6, most=5)


@pytest.mark.parametrize("metrics", [[], ["qoverpt_r68", "qoverpt_r68"]])
def test_a_design_has_metrics_each_once(metrics: list[str]) -> None:
    with pytest.raises(UserError, match=r"design\.metrics="):
        DesignConfig(metrics=metrics)
