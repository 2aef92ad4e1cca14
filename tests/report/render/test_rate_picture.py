"""Picture of the learning rates that were tried, as both renderers draw it."""

from dataclasses import replace
from pathlib import Path

from headsweep.report.content import Report
from headsweep.report.render import matplotlib_renderer, plotly_renderer
from headsweep.report.render.picture import Points
from headsweep.report.render.rate_picture import rates


def with_rates(built: Report) -> Report:
    first, *others = built.fairness
    tried = {0.01: 0.5, 0.02: 0.3, 0.04: 0.4}
    first = replace(first, rate=0.04, rates=tried, on=(100, 101), tried_for=800)
    return replace(built, fairness=[first, *others])


def test_no_picture_where_one_rate_was_tried(built: Report) -> None:
    assert rates(built) is None


def test_the_tried_rates_and_the_one_in_use(built: Report, tmp_path: Path) -> None:
    picture = rates(with_rates(built))
    assert picture is not None
    assert "800 steps" in picture.note
    points = [series for series in picture.panels[0].series if isinstance(series, Points)]
    assert [(list(p.x), list(p.y)) for p in points] == [
        ([0.01, 0.02, 0.04], [0.5, 0.3, 0.4]),
        ([0.04], [0.4]),
    ]
    assert points[1].label == "in use"
    assert points[1].marker.filled is False
    assert (picture.x.scale, picture.panels[0].y.scale) == ("log", "log")
    drawn = plotly_renderer.draw(picture)
    assert len(drawn["data"]) >= len(picture.panels[0].series)
    figure = matplotlib_renderer.draw(picture)
    figure.savefig(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000
