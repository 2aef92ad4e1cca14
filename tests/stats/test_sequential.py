"""Sequential looks: published bounds, Brownian motion, and the levels of extended sweeps."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from headsweep.stats.power import ALPHA
from headsweep.stats.sequential import Looks, error_rate, nominal_levels, spent


def bounds(levels: list[float]) -> list[float]:
    """Levels as bounds on |z|."""
    return [-float(ndtri(level / 2)) for level in levels]


def test_published_bounds() -> None:
    """Pocock-type spending with five equal looks, as the software of Lan and DeMets gives it."""
    published = [2.438, 2.427, 2.410, 2.397, 2.386]
    found = nominal_levels([0.2, 0.4, 0.6, 0.8, 1.0])
    assert bounds(found) == pytest.approx(published, abs=6e-4)


def test_a_single_look_has_everything() -> None:
    assert nominal_levels([1.0]) == pytest.approx([ALPHA], abs=1e-12)
    assert nominal_levels([1.7]) == pytest.approx([ALPHA], abs=1e-12)
    assert spent(1.0) == pytest.approx(ALPHA)
    assert nominal_levels([0.5, 1.2, 1.5])[2] == 0


@pytest.mark.parametrize("fractions", [[], [0.0, 1.0], [0.5, 0.5], [0.5, 0.4], [math.inf]])
def test_fractions_rise(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="not rising numbers above 0"):
        nominal_levels(fractions)


@pytest.mark.parametrize("times", [[5, 10, 30, 60], list(range(3, 21)), [0.1, 0.11, 0.9, 1.4]])
def test_brownian_motion_crosses_as_often_as_is_spent(times: list[float]) -> None:
    """At the last look and at the one in the middle; a motion is drawn by its steps."""
    cap = 60 if times[0] >= 1 else 1
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((200_000, len(times))) * np.sqrt(np.diff([0, *times]))
    values = np.abs(steps.cumsum(axis=1)) / np.sqrt(times)
    levels = nominal_levels([t / cap for t in times])
    crossed = (values > bounds(levels)).cumsum(axis=1) > 0
    for look in (len(times) // 2, -1):
        share, wanted = crossed[:, look].mean(), spent(times[look] / cap)
        assert share == pytest.approx(wanted, abs=4 * math.sqrt(wanted / len(values)))
    assert error_rate(times, levels) == pytest.approx(spent(times[-1] / cap), abs=1e-8)


def test_error_of_uncorrected_looks() -> None:
    """Repeated tests at 5%: 14.2% at five equal looks (Armitage, McPherson and Rowe, table 2)."""
    assert error_rate([1, 2, 3, 4, 5], [0.05] * 5) == pytest.approx(0.142, abs=5e-4)
    assert error_rate([1, 2], [0.05] * 2) == pytest.approx(0.0831, abs=5e-5)


def test_one_look_at_the_planned_number_is_a_fixed_design() -> None:
    looks = Looks((5,), 5)
    assert not looks.sequential
    assert looks.alpha == ALPHA  # to the last bit: the figures of such a report do not change
    assert Looks((7,), 5).alpha == ALPHA
    assert looks.history() == [(ALPHA, pytest.approx(ALPHA))]


def test_looks_within_the_plan_err_in_five_percent() -> None:
    first, last = Looks((3,), 5), Looks((3, 5), 5)
    assert first.sequential
    assert first.alpha == pytest.approx(spent(3 / 5))
    assert [last.alpha] == pytest.approx(nominal_levels([3 / 5, 1])[1:])
    assert last.history()[-1][1] == pytest.approx(ALPHA)


def test_an_extended_sweep_has_the_levels_of_a_look_every_five_seeds() -> None:
    every_five = nominal_levels([n / 60 for n in range(5, 65, 5)])
    assert Looks((5, 10), 5).cap == 60
    assert Looks((5, 10), 5).alpha == pytest.approx(every_five[1])
    assert Looks((5, 40), 5).alpha == pytest.approx(every_five[7])
    # Whoever looks more often gets no more.
    assert Looks((5, 10, 15, 20), 5).alpha == pytest.approx(every_five[3])
    assert Looks((5, *range(6, 21)), 5).alpha < every_five[3]
    # Twelve looks, whatever the first was.
    assert Looks((10, 50), 10).alpha == pytest.approx(every_five[4])


def test_an_extended_sweep_errs_in_little_more_than_its_first_look() -> None:
    for n in (6, 10, 22, 40, 60, 200):
        first, second = Looks((5, n), 5).history()
        assert first == (ALPHA, pytest.approx(ALPHA))
        assert ALPHA < second[1] < 0.0625
        # As it would be without bounds.
        assert error_rate([5, n], [ALPHA, ALPHA]) > min(second[1] + 0.01, 0.07)


def test_behind_the_cap_there_is_one_look() -> None:
    looks = Looks((5, 80), 5)
    assert looks.alpha > 0
    assert looks.after(100) == 0
    assert looks.after(100) == Looks((5, 80, 100), 5).alpha


def test_a_look_at_no_more_seeds_counts_as_one_more() -> None:
    assert Looks((5, 5), 5).times == (5, 6)
    assert Looks((5, 10, 4), 5).times == (5, 10, 11)
    assert 0 < Looks((5, 5), 5).alpha < 0.01


def test_the_next_look() -> None:
    looks = Looks((5,), 5)
    assert looks.after(22) == Looks((5, 22), 5).alpha
    assert 2.4 < -float(ndtri(looks.after(22) / 2)) < 2.7
    assert 2 * float(ndtr(-2.677)) == pytest.approx(looks.after(10), abs=2e-5)
