"""Pictures of distributions and of r68 in two dimensions, as both renderers draw them."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from headsweep.report.content import Report
from headsweep.report.distributions import PULLS, Distribution
from headsweep.report.render import matplotlib_renderer, plotly_renderer, shape_pictures
from headsweep.report.render.picture import Cells, Line, Picture
from headsweep.report.render.pictures import left_out


def with_pulls(built: Report) -> Report:
    shares = [0.0] * 20 + [0.1] * 10 + [0.0] * 20
    more = [Distribution("simpler", name, 0.0, math.inf, 600, shares) for name in PULLS]
    return replace(built, distributions=[*built.distributions, *more])


def test_a_panel_for_each_bin_of_pt(built: Report) -> None:
    picture = shape_pictures.residuals(built)
    titles = [panel.title for panel in picture.panels]
    assert titles[:2] == ["pT below 5 GeV", "pT 5–10 GeV"]
    assert titles[-1] == "pT at least 200 GeV"
    found = [d for d in built.distributions if d.label == "simpler" and d.low == 5]
    line = next(s for s in picture.panels[1].series if s.label == "simpler")
    assert isinstance(line, Line)
    drawn = np.nan_to_num(np.asarray(line.y)[::2])
    np.testing.assert_allclose(drawn, found[0].shares)
    assert np.asarray(line.x)[1] == pytest.approx(-2.9)
    assert {panel.y.scale for panel in picture.panels} == {"log"}


def test_pulls_stand_beside_a_normal_distribution(built: Report) -> None:
    assert shape_pictures.pulls(built) is None
    picture = shape_pictures.pulls(with_pulls(built))
    assert picture is not None
    assert [panel.title for panel in picture.panels] == ["eta", "phi", "q/pT"]
    normal = picture.panels[0].series[-1]
    assert isinstance(normal, Line)
    assert np.sum(normal.y) == pytest.approx(1, abs=1e-4)


def test_cells_hold_the_map(built: Report) -> None:
    picture = shape_pictures.resolution_maps(built)
    assert [panel.title for panel in picture.panels] == ["conservative", "simpler"]
    cells = picture.panels[1].series[0]
    assert isinstance(cells, Cells)
    np.testing.assert_array_equal(cells.values, built.maps[1].r68)
    assert np.asarray(cells.values).shape == (len(cells.y) - 1, len(cells.x) - 1)
    value = cells.values[0, 0]
    assert cells.words[0][0] == f"{value:.2g}"
    assert cells.words[-1] == [""] * 7  # no track beyond |eta| 2.7
    low, high = cells.range
    assert cells.shades[0, 0] == pytest.approx(math.log(value / low) / math.log(high / low))


def of(built: Report) -> list[Picture]:
    pulls = shape_pictures.pulls(with_pulls(built))
    assert pulls is not None
    return [shape_pictures.residuals(built), shape_pictures.resolution_maps(built), pulls]


def test_both_renderers_draw_grids(built: Report) -> None:
    for picture in of(built):
        figure = plotly_renderer.draw(picture)
        layout, narrow = figure["layout"], figure["layout"]["meta"]
        assert (layout["width"], narrow["width"]) == (910, 448)
        titles = [panel.title for panel in picture.panels]
        assert [note["text"] for note in layout["annotations"]] == titles
        axes = [trace["xaxis"] for trace in figure["data"]]
        assert {*axes} == {f"x{n or ''}" for n in (0, *range(2, len(titles) + 1))}
        ends = [layout[name]["domain"] for name in layout if name.startswith("yaxis")]
        assert all(0 <= low < high <= 1 for low, high in ends)
        lows = [narrow[f"yaxis{n or ''}"]["domain"] for n in (0, *range(2, len(titles) + 1))]
        assert all(below[1] < above[0] for above, below in pairwise(lows))
        drawn = matplotlib_renderer.draw(picture)
        assert [axes.get_title() for axes in drawn.axes] == titles
        assert drawn.axes[-1].get_xlabel() == picture.x.title
        assert drawn.axes[0].get_ylabel() == picture.panels[0].y.title
    cells = matplotlib_renderer.draw(of(built)[1]).axes[0]
    assert [text.get_text() for text in cells.texts][:7] == [
        "" if math.isnan(value) else f"{value:.2g}" for value in built.maps[0].r68[0]
    ]


def test_what_is_left_out_is_said(built: Report) -> None:
    words = " ".join(left_out(built))
    assert "No pulls" in words
    assert "Nothing against the number of stations" in words
    assert "No average" not in words
    assert "No average" in " ".join(left_out(replace(built, averages=[])))
    assert "No pulls" not in " ".join(left_out(with_pulls(built)))
