"""The words of a picture: scales, ticks and names."""

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from headsweep.report.render import picture


@pytest.mark.parametrize(
    ("low", "high"), [(0.23, 0.29), (0.05, 2.0), (1e3, 3e5), (0.2471, 0.2502), (1e-8, 1e4)]
)
def test_log_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = picture.log_ticks(low, high)
    assert 3 <= len(ticks) <= 14
    assert low <= min(ticks) < max(ticks) <= high
    assert list(ticks) == sorted(ticks)


def test_equal_values_have_an_axis() -> None:
    assert len(picture.log_axis("r68", "", [0.25, 0.25]).ticks or ()) >= 3
    assert picture.log_axis("r68", "", []).scale == "log"


def test_log_ticks_leave_out_what_a_log_axis_cannot_show() -> None:
    values = [0.0, -1.0, float("nan"), 1.0, 100.0]
    assert picture.log_axis("", "", values) == picture.log_axis("", "", [1.0, 100.0])


def test_symlog_is_continuous_and_ascends() -> None:
    values = (-3000, -100, -10.001, -10, -5, 0, 5, 10, 10.001, 100, 3000)
    places = [picture.symlog(value, 10.0) for value in values]
    assert all(low < high for low, high in pairwise(places))
    assert picture.symlog(10.001, 10.0) == pytest.approx(1, abs=1e-3)
    back = [picture.symlog_inverse(place, 10.0) for place in places]
    assert back == pytest.approx(values)


def test_symlog_is_that_of_matplotlib() -> None:
    axes = Figure().subplots()
    axes.set_yscale("symlog", linthresh=10, linscale=0.9)
    transform = axes.yaxis.get_transform()
    for value in (-4000.0, -10.0, 3.0, 20.0, 1e5):
        theirs = transform.transform([value])[0] / transform.transform([10.0])[0]
        assert picture.symlog(value, 10.0) == pytest.approx(theirs)


def test_ticks_of_symlog_reach_beyond_every_value() -> None:
    axis = picture.symlog_axis("bias", "%", 10.0, [-3000.0, 20.0, float("nan")])
    assert axis.ticks == (-1e4, -1e3, -100, -10, -5, 0, 5, 10, 100, 1e3, 1e4)
    assert axis.words[0] == "-10k"
    assert axis.title == "bias [%]"


def test_long_names_stay_apart() -> None:
    names = [f"num_layers=3 hidden_dim={n} dropout=0.1" for n in (478, 452)]
    axis = picture.named_axis("configuration", names)
    assert axis.ticks == (0, 1)
    assert len(set(axis.names)) == 2
    assert max(len(line) for name in axis.names for line in name.splitlines()) <= 22


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.05, "0.05"), (5000, "5000"), (20_000, "20k"), (1.5e6, "1.5M"), (-2e9, "-2G"), (0, "0")],
)
def test_words_of_ticks(value: float, word: str) -> None:
    assert picture.tick_word(value) == word
