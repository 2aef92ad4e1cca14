"""Pictures as figures of plotly.js, for the page.

A figure has one size and no legend: the page has one for all. Each trace has the label of its
series as ``legendgroup``, by which the page shows and hides it. A grid is as wide as two figures;
its layout for a narrow screen, one panel below the other, is ``layout.meta``.
"""

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np

from headsweep.report.render.picture import (
    SHADES,
    Axis,
    Band,
    Cells,
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

WIDE = 910
"""Width of a grid in CSS pixels: two figures and the space between them."""

PANEL_HEIGHT = 165
"""Height that each of several panels needs for its title, in CSS pixels."""

GAP = 0.1
"""Gap between two panels, as a share of the height."""

SYMBOLS = {"plus": "cross"}
"""Markers that have another name in plotly.js."""

Json = dict[str, Any]
Place = Callable[[float], float]


def draw(picture: Picture) -> Json:
    """Figure of plotly.js with ``data`` and ``layout``; the same picture gives the same figure."""
    x, data = _place(picture.x), []
    for i, panel in enumerate(picture.panels):
        own = {"type": "scatter", "showlegend": False}
        on = {"yaxis": f"y{_number(i)}"}
        on |= {"xaxis": f"x{_number(i)}"} if picture.columns > 1 else {}
        y = _place(panel.y)
        data += [own | _trace(series, x, y) | on for series in panel.series]
    if picture.columns == 1:
        return {"data": data, "layout": _one_column(picture)}
    layout = _grid(picture, picture.columns, WIDE)
    return {"data": data, "layout": layout | {"meta": _grid(picture, 1, WIDTH)}}


def _number(panel: int) -> str:
    """What follows the name of a panel's axis."""
    return str(panel + 1) if panel else ""


def _one_column(picture: Picture) -> Json:
    """Layout of panels below each other, with one horizontal axis below the last."""
    number = len(picture.panels)
    height = max(
        HEIGHT if number == 1 else PANEL_HEIGHT * number,
        *(_height(panel.y) for panel in picture.panels),
    )
    layout = _layout(WIDTH, height)
    layout["shapes"] = [_shape(span, _place(picture.x)) for span in picture.spans]
    domains = _domains(picture.panels)
    for i, (panel, domain) in enumerate(zip(picture.panels, domains, strict=True)):
        axis = _axis(panel.y) | {"domain": domain, "anchor": "x"}
        if number > 1:  # a title on one line would reach into the next panel
            text = axis["title"]["text"].replace("; ", "<br>", 1)
            axis["title"]["text"] = text.replace(" [", "<br>[", 1)
        layout[f"yaxis{_number(i)}"] = axis
    layout["xaxis"] = _axis(picture.x) | {"anchor": f"y{number}".removesuffix("1")}
    return layout


def _grid(picture: Picture, columns: int, width: int) -> Json:
    """Layout of panels in a grid, each with title and axes; the outer ones are named."""
    number = len(picture.panels)
    rows = math.ceil(number / columns)
    height = rows * (PANEL_HEIGHT + 10) + 20
    layout, titles = _layout(width, height), []
    gap = 0.03 if columns > 1 else 0.0
    share = (1 - gap * (columns - 1)) / columns
    for i, panel in enumerate(picture.panels):
        row, column = divmod(i, columns)
        left, top, bottom = column * (share + gap), 1 - row / rows, 1 - (row + 1) / rows
        ends = (
            [left, left + share],
            [bottom + (36 if row + 1 < rows else 0) / height, top - 22 / height],
        )
        x, y = ([round(end, 6) for end in pair] for pair in ends)
        across, up = _axis(picture.x), _axis(panel.y)
        across |= {"domain": x, "anchor": f"y{_number(i)}"}
        up |= {"domain": y, "anchor": f"x{_number(i)}"}
        if i + columns < number:
            across["title"] = {"text": ""}
        if column:
            up |= {"title": {"text": ""}, "showticklabels": False}
        layout |= {f"xaxis{_number(i)}": across, f"yaxis{_number(i)}": up}
        place = {"x": sum(x) / 2, "y": y[1], "xanchor": "center", "yanchor": "bottom"}
        frame = {"xref": "paper", "yref": "paper", "showarrow": False}
        titles.append({"text": escape(panel.title), **frame, **place})
    return layout | {"annotations": titles}


def _layout(width: int, height: int) -> Json:
    """Everything but the axes."""
    return {
        "width": width,
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 6, "b": 40},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
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
        case Cells():
            trace = _cells(series)
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


def _cells(cells: Cells) -> Json:
    """Cells with their values printed; both axes are linear."""
    return {
        "type": "heatmap",
        "x": numbers(cells.x),
        "y": numbers(cells.y),
        "z": [numbers(row) for row in cells.shades],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, SHADES[0]], [1, SHADES[1]]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "text": cells.words,
        "texttemplate": "%{text}",
        "textfont": {"size": 11, "color": "#222222"},
        "hovertext": [[_html(text) for text in row] for row in cells.texts],
        "hoverinfo": "text",
    }


def _html(text: str) -> str:
    """Text for plotly.js, which takes it for HTML."""
    return escape(text).replace("\n", "<br>")


def numbers(values: Iterable[float]) -> list[float | None]:
    """For JSON: six digits; what is not finite is a gap."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
