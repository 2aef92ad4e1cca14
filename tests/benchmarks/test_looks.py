"""The calibration of a second look, reduced: without bounds it errs too often, not with them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from headsweep.stats.power import fixed

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("looks", ROOT / "benchmarks/calibration/looks.py")
looks = importlib.util.module_from_spec(spec)
sys.modules["looks"] = looks
spec.loader.exec_module(looks)


def test_a_second_look_errs_in_about_five_percent_with_bounds_only() -> None:
    """Of 700 pairs the shares have errors of 1%; the generator is fixed."""
    draw = looks.normal(0.06)
    ours = looks.second_look(draw, 700, 0.05, looks.WAYS["ours"])
    naive = looks.second_look(draw, 700, 0.05, fixed)
    assert ours.wrong < 0.065
    assert naive.wrong > ours.wrong + 0.015
    assert ours.first <= ours.wrong <= naive.wrong
    assert 20 < naive.seeds < ours.seeds < 80


def test_real_runs_are_drawn_from_one_cell() -> None:
    runs = np.arange(12.0).reshape(3, 4)
    drawn = looks.real(runs)(np.random.default_rng(0), 4, 50)
    assert drawn.shape == (2, 50)
    assert set(drawn.ravel()) == set(runs[1])


def test_looks_until_there_is_a_verdict_err_in_about_five_percent_and_decide() -> None:
    """Of 400 pairs the shares have errors of 1%; the generator is fixed."""
    null = looks.until_decided(looks.normal(0.06), 400, 0.05, lambda pair: 0.0)
    assert null.wrong < 0.075
    assert null.decided > 0.95
    assert 30 < null.seeds < 40
    apart = looks.until_decided(looks.normal(0.06, 0.1), 200, 0.05, lambda pair: 0.1)
    assert apart.wrong < 0.02
    assert apart.seeds < 13
