"""Pictures as figures of plotly.js, for the page.

A figure has one fixed size and no legend: the page has one for all. Each trace has the label of its
series as ``legendgroup``, by which the page shows and hides it.
"""

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np

from headsweep.report.render.picture import (
    Axis,
    Band,
    Line,
    Marker,
    Panel,
    Picture,
    Points,
    Series,
    Span,
    Stairs,
    symlog,
)

WIDTH, HEIGHT = 448, 250
"""Size of a figure in CSS pixels: three fit beside each other on a laptop, two on paper."""

PANEL_HEIGHT = 150
"""Height that each of several panels needs for its title, in CSS pixels."""

GAP = 0.1
"""Gap between two panels, as a share of the height."""

SYMBOLS = {"plus": "cross"}
"""Markers that have another name in plotly.js."""

Json = dict[str, Any]
Place = Callable[[float], float]


def draw(picture: Picture) -> Json:
    """Figure of plotly.js with ``data`` and ``layout``; the same picture gives the same figure."""
    x = _place(picture.x)
    data, domains = [], _domains(picture.panels)
    layout = _layout(picture)
    for i, (panel, domain) in enumerate(zip(picture.panels, domains, strict=True)):
        number = str(i + 1) if i else ""
        y = _place(panel.y)
        for series in panel.series:
            trace = _trace(series, x, y)
            data.append({"type": "scatter", "showlegend": False, **trace, "yaxis": f"y{number}"})
        layout[f"yaxis{number}"] = _axis(panel.y) | {"domain": domain, "anchor": "x"}
        if len(picture.panels) > 1:  # a title on one line would reach into the next panel
            title = layout[f"yaxis{number}"]["title"]
            title["text"] = title["text"].replace("; ", "<br>")
    # The horizontal axis is below the last panel.
    layout["xaxis"] = _axis(picture.x) | {"anchor": f"y{len(picture.panels)}".removesuffix("1")}
    return {"data": data, "layout": layout}


def _layout(picture: Picture) -> Json:
    """Everything but the axes."""
    return {
        "width": WIDTH,
        "height": max(
            HEIGHT if len(picture.panels) == 1 else PANEL_HEIGHT * len(picture.panels),
            *(_height(panel.y) for panel in picture.panels),
        ),
        "margin": {"l": 56, "r": 12, "t": 6, "b": 40},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "shapes": [_shape(span, _place(picture.x)) for span in picture.spans],
    }


def _height(axis: Axis) -> int:
    """Height that the names of an axis need, in CSS pixels."""
    lines = max((name.count("\n") + 1 for name in axis.names), default=1)
    return 60 + len(axis.names) * (8 + 16 * lines)


def _domains(panels: Iterable[Panel]) -> list[list[float]]:
    """Lower and upper end of each panel, as shares of the height, from above."""
    shares = np.array([panel.share for panel in panels])
    heights = shares / shares.sum() * (1 - GAP * (len(shares) - 1))
    tops = 1 - np.concatenate([[0.0], np.cumsum(heights + GAP)[:-1]])
    return [
        [round(top - height, 6), round(top, 6)] for top, height in zip(tops, heights, strict=True)
    ]


def _place(axis: Axis) -> Place:
    """Function from a value to its place; plotly.js itself has linear and logarithmic axes."""
    return (lambda v: symlog(v, axis.threshold)) if axis.scale == "symlog" else float


def _axis(axis: Axis) -> Json:
    place = _place(axis)
    title = {"text": escape(axis.title), "standoff": 5, "font": {"size": 13}}
    found: Json = {"title": title, "gridcolor": "#e4e4e4", "linecolor": "#444444"}
    found |= {"zeroline": axis.scale == "symlog", "zerolinecolor": "#777777", "automargin": True}
    if axis.scale == "log":
        found["type"] = "log"
    if axis.range:
        ends = map(math.log10 if axis.scale == "log" else place, axis.range)
        found["range"] = numbers(ends)
    if axis.ticks is not None:
        found["tickvals"] = numbers(map(place, axis.ticks))
        found["ticktext"] = [escape(word).replace("\n", "<br>") for word in axis.words]
    if axis.from_zero:
        found["rangemode"] = "nonnegative"
    return found


def _shape(span: Span, place: Place) -> Json:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": place(span.low),
        "x1": place(span.high),
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "fillcolor": "#e9e9e9",
        "line": {"width": 0},
    }


def _trace(series: Series, x: Place, y: Place) -> Json:
    """A trace of a series, its values put on the scales of their axes."""
    match series:
        case Points():
            trace = _points(series, x, y)
        case Line():
            trace = _line(series, x, y)
        case Stairs():
            trace = _stairs(series, x, y)
        case Band():
            trace = _band(series, x, y)
    return trace | {"legendgroup": series.label}


def _points(points: Points, x: Place, y: Place) -> Json:
    trace = {
        "x": numbers(map(x, points.x)),
        "y": numbers(map(y, points.y)),
        "mode": "markers",
        "marker": _marker(points.marker),
        "hovertext": [_html(text) for text in points.texts],
        "hoverinfo": "text",
    }
    if len(points.low):
        middle = [y(value) for value in points.y]
        reach = {"type": "data", "thickness": 1.2, "width": 2}
        above = zip(points.high, middle, strict=True)
        below = zip(points.low, middle, strict=True)
        reach["array"] = _lengths(y(high) - own for high, own in above)
        reach["arrayminus"] = _lengths(own - y(low) for low, own in below)
        trace["error_y"] = reach
    return trace


def _lengths(values: Iterable[float]) -> list[float | None]:
    return numbers(0.0 if math.isnan(value) else value for value in values)


def _marker(marker: Marker) -> Json:
    symbol = SYMBOLS.get(marker.symbol, marker.symbol) + ("" if marker.filled else "-open")
    found: Json = {"color": marker.colour, "symbol": symbol, "size": marker.size}
    return found | ({"line": {"color": marker.border, "width": 2}} if marker.border else {})


def _line(line: Line, x: Place, y: Place) -> Json:
    style = {"color": line.colour, "width": line.width, "dash": line.dash}
    return {
        "x": numbers(map(x, line.x)),
        "y": numbers(map(y, line.y)),
        "mode": "lines",
        "line": style | ({"shape": "hv"} if line.steps else {}),
        "hovertext": _html(line.text),
        "hoverinfo": "x+y+text" if line.values else "text",
    }


def _stairs(stairs: Stairs, x: Place, y: Place) -> Json:
    """Both ends of each bin, so that an empty one ends no other."""
    line = Line(stairs.label, np.repeat(stairs.edges, 2)[1:-1], np.repeat(stairs.y, 2))
    style = {"color": line.colour, "width": line.width, "dash": stairs.dash}
    texts = np.repeat([_html(text) for text in stairs.texts], 2).tolist()
    return _line(line, x, y) | {"line": style, "hovertext": texts, "hoverinfo": "text"}


def _band(band: Band, x: Place, y: Place) -> Json:
    return {
        "x": numbers(map(x, [*band.x, *reversed(band.x)])),
        "y": numbers(map(y, [*band.high, *reversed(band.low)])),
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"{band.colour}33",
        "hoverinfo": "skip",
    }


def _html(text: str) -> str:
    """Text for plotly.js, which takes it for HTML."""
    return escape(text).replace("\n", "<br>")


def numbers(values: Iterable[float]) -> list[float | None]:
    """For JSON: six digits; what is not finite is a gap."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
