"""The two renderers draw every kind of series, on every scale."""

import json
import math
from typing import Any

import numpy as np
import pytest
from plotly.graph_objects import Figure

from headsweep.report.render import matplotlib_renderer, plotly_renderer
from headsweep.report.render.picture import (
    SYMBOLS,
    Axis,
    Band,
    Line,
    Marker,
    Panel,
    Picture,
    Points,
    Span,
    Stairs,
    named_axis,
    symlog_axis,
)

X = (1.0, 10.0, 100.0)
EVERYTHING = Picture(
    "everything",
    "Every kind",
    "",
    Axis("pT", "GeV", "grey: overflow", scale="log", range=(1, 1000), ticks=X),
    [
        Panel(
            symlog_axis("bias", "%", 10.0, [-2000.0]),
            [
                Band("a", X, [1, 2, 3], [2, 3, 4], "#0072B2"),
                Line("a", X, [1, 20, math.nan], "#0072B2", "dot"),
                Line("front", X, [3, 2, 1], steps=True),
                Stairs("reference", [1, 10, 100, 1000], [5, math.nan, -2000], "dash"),
                Points(
                    "a",
                    X,
                    [10, 100, math.nan],
                    Marker("#0072B2"),
                    [9, 10, math.nan],
                    [11, 1000, math.nan],
                    texts=["<one>\ntwo", "", ""],
                ),
            ],
        ),
        Panel(
            named_axis("configuration", [f"head {i}" for i in range(len(SYMBOLS))]),
            [Points(s, [10], [i], Marker("red", s, i % 2 > 0)) for i, s in enumerate(SYMBOLS)],
            share=2,
        ),
    ],
    [Span(100, 1000, "overflow")],
    "two of two",
)


@pytest.fixture(scope="module")
def plotly() -> dict[str, Any]:
    return plotly_renderer.draw(EVERYTHING)


def test_plotly_takes_it_and_all_numbers_are_finite(plotly: dict[str, Any]) -> None:
    Figure(plotly)  # knows every key
    json.dumps(plotly, allow_nan=False)
    series = [one for panel in EVERYTHING.panels for one in panel.series]
    assert [trace["legendgroup"] for trace in plotly["data"]] == [one.label for one in series]


def test_plotly_puts_values_on_the_symlog_scale(plotly: dict[str, Any]) -> None:
    band, _, front, stairs, points = plotly["data"][:5]
    assert points["y"] == [1, 2, None]
    assert points["error_y"]["array"] == pytest.approx([math.log10(1.1), 1, 0], abs=1e-5)
    assert points["error_y"]["arrayminus"] == pytest.approx([0.1, 1, 0])
    assert stairs["x"] == [1, 10, 10, 100, 100, 1000]
    assert stairs["y"][:4] == [0.5, 0.5, None, None]
    assert stairs["y"][4] == pytest.approx(-1 - math.log10(200), abs=1e-5)
    assert front["line"]["shape"] == "hv"
    assert band["x"] == [1, 10, 100, 100, 10, 1]
    layout = plotly["layout"]
    assert layout["xaxis"]["range"] == [0, 3]
    assert dict(zip(layout["yaxis"]["ticktext"], layout["yaxis"]["tickvals"], strict=True)) == {
        "-1000": -3,
        "-100": -2,
        "-10": -1,
        "-5": -0.5,
        "0": 0,
        "1000": 3,
        "100": 2,
        "10": 1,
        "5": 0.5,
        "-10k": -4,
        "10k": 4,
    }


def test_plotly_takes_no_text_for_html(plotly: dict[str, Any]) -> None:
    assert plotly["data"][4]["hovertext"][0] == "&lt;one&gt;<br>two"


def test_panels_stand_below_each_other(plotly: dict[str, Any]) -> None:
    upper, lower = (plotly["layout"][name]["domain"] for name in ("yaxis", "yaxis2"))
    assert 0 == lower[0] < lower[1] < upper[0] < upper[1] == 1
    assert lower[1] - lower[0] == pytest.approx(2 * (upper[1] - upper[0]), abs=1e-5)
    assert plotly["data"][-1]["yaxis"] == "y2"
    assert plotly["layout"]["xaxis"]["anchor"] == "y2"


def test_matplotlib_draws_the_same_values() -> None:
    figure = matplotlib_renderer.draw(EVERYTHING)
    assert matplotlib_renderer.png(figure).startswith(b"\x89PNG")
    upper, lower = figure.axes
    assert (upper.get_xscale(), upper.get_yscale()) == ("log", "symlog")
    assert lower.get_xlim() == (1, 1000)
    assert lower.get_xlabel() == "pT [GeV]; grey: overflow"
    assert lower.get_ylim() == (5.5, -0.5)
    assert [label.get_text() for label in lower.get_yticklabels()][1] == "head 1"
    (points,) = upper.containers
    np.testing.assert_array_equal(points.lines[0].get_ydata(), [10, 100, np.nan])
    ends = [segment[:, 1].tolist() for segment in points.lines[2][0].get_segments()[:2]]
    assert ends == [[9, 11], [10, 1000]]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["overflow", "a", "front", "reference", *SYMBOLS]
    assert legend.get_title().get_text() == "two of two"


def test_matplotlib_keeps_the_limits_of_the_values() -> None:
    axis = symlog_axis("bias", "%", 10.0, [-200.0, 3.0])
    points = Points("a", [1, 2], [-200.0, 3.0], Marker("red"))
    figure = matplotlib_renderer.draw(
        Picture("p", "", "", Axis("x", from_zero=True), [Panel(axis, [points])])
    )
    low, high = figure.axes[0].get_ylim()
    assert -1000 < low < -200
    assert 3 < high < 10
    assert figure.axes[0].get_xlim()[0] >= 0
