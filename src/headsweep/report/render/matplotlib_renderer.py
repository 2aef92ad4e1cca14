"""Pictures as figures of matplotlib, for ``report.md``, papers and notebooks."""

import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as MatplotlibAxis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from headsweep.report.render.picture import (
    SHADES,
    Axis,
    Band,
    Cells,
    Line,
    Picture,
    Points,
    Series,
    Stairs,
)

SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "plus": "P",
    "x": "x",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":"}

POINT = 0.72
"""Length of a pixel of the page in points."""


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture when it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        return png(self, dpi=100)


def draw(picture: Picture) -> ShownFigure:
    """A picture with a legend beside it; its note is for the text."""
    figure, panels = _empty(picture)
    handles: dict[str, Any] = {}
    for axes, panel in zip(panels, picture.panels, strict=True):
        for span in picture.spans:
            area = axes.axvspan(span.low, span.high, color="0.92", zorder=0)
            if span.label:
                handles.setdefault(span.label, area)
        for series in panel.series:
            handle = _draw(axes, series)
            if isinstance(series, Cells):
                continue  # its label is the title of the panel
            if isinstance(series, Points):
                handles.setdefault(series.label, handle)  # the first ones are filled
            elif not isinstance(series, Band):
                handles[series.label] = handle  # the last line is solid
        _set_axis(axes, "y", panel.y)
        axes.set_title(panel.title, fontsize=10)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    _name_axes(panels, picture)
    if handles:
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside right upper",
            frameon=False,
            title=picture.legend or None,
        )
    return figure


def _empty(picture: Picture) -> tuple[ShownFigure, list[Axes]]:
    """A figure with empty panels, and those in their order."""
    names = max(len(panel.y.names) for panel in picture.panels)
    columns, number = picture.columns, len(picture.panels)
    rows = math.ceil(number / columns)
    heights = [panel.share for panel in picture.panels] if columns == 1 else [1.0] * rows
    size = (8 if columns == 1 else 12, max(4.5, 1.2 + 0.5 * names, 3 * sum(heights)))
    figure = ShownFigure(figsize=size, layout="constrained")
    grid = figure.subplots(
        rows, columns, sharex=True, sharey=columns > 1, squeeze=False, height_ratios=heights
    )
    for axes in grid.flat[number:]:
        axes.remove()
    return figure, [*grid.flat[:number]]


def _name_axes(panels: Sequence[Axes], picture: Picture) -> None:
    """The horizontal axis below the last panel of each column, names at the first of each row."""
    for at, axes in enumerate(panels):
        last = at + picture.columns >= len(panels)
        if last:
            _set_axis(axes, "x", picture.x)
        axes.tick_params(labelbottom=last)
        if at % picture.columns:
            axes.set_ylabel("")


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _draw(axes: Axes, series: Series) -> Any:
    """Draw a series and return what stands for it in a legend."""
    match series:
        case Points():
            return _draw_points(axes, series)
        case Line():
            (line,) = axes.plot(series.x, series.y, DASHES[series.dash], color=series.colour)
            line.set_linewidth(POINT * series.width)
            line.set_drawstyle("steps-post" if series.steps else "default")
            return line
        case Stairs():
            dash = DASHES[series.dash]
            y, edges = np.asarray(series.y), np.asarray(series.edges)
            return axes.stairs(y, edges, baseline=None, color="black", linestyle=dash)
        case Band():
            area = axes.fill_between(series.x, series.low, series.high, color=series.colour)
            area.set(alpha=0.2, linewidth=0)
            return area
        case Cells():
            return _draw_cells(axes, series)


def _draw_cells(axes: Axes, cells: Cells) -> Any:
    shades = LinearSegmentedColormap.from_list("shades", SHADES)
    x, y = np.asarray(cells.x), np.asarray(cells.y)
    for (row, column), _ in np.ndenumerate(cells.values):
        middle = (x[column] + x[column + 1]) / 2, (y[row] + y[row + 1]) / 2
        axes.text(*middle, cells.words[row][column], ha="center", va="center", fontsize=8)
    return axes.pcolormesh(x, y, cells.shades, cmap=shades, vmin=0, vmax=1, edgecolors="white")


def _draw_points(axes: Axes, points: Points) -> Any:
    marker = points.marker
    y = np.asarray(points.y, float)
    reach = None
    if len(points.low):
        reach = np.nan_to_num([y - points.low, np.asarray(points.high) - y])
    return axes.errorbar(
        points.x,
        y,
        reach,
        fmt=SYMBOLS[marker.symbol],
        color=marker.colour,
        ms=POINT * marker.size,
        ecolor=marker.colour,
        mfc=marker.colour if marker.filled else "none",
        mec=marker.border or marker.colour,
        capsize=2,
        elinewidth=1.2,
    )


def _set_axis(axes: Axes, which: str, axis: Axis) -> None:
    """Scale, limits, ticks and title of the axis ``x`` or ``y``."""
    own: MatplotlibAxis = axes.xaxis if which == "x" else axes.yaxis
    if axis.scale == "log":
        axes.set(**{f"{which}scale": "log"})
    elif axis.scale == "symlog":
        # With 0.9 the threshold lies as far from 0 as a decade is long, as on the page.
        options = {"linthresh": axis.threshold, "linscale": 0.9}
        (axes.set_xscale if which == "x" else axes.set_yscale)("symlog", **options)
        (axes.axvline if which == "x" else axes.axhline)(0, color="grey", lw=0.8, zorder=1)
    limits = axis.range or (axes.get_xlim() if which == "x" else axes.get_ylim())
    if axis.ticks is not None:
        own.set_ticks(axis.ticks, axis.words)
        own.set_minor_locator(NullLocator())
    low = limits[0]
    if axis.from_zero:  # a little below it on the vertical axis, so that a line at 0 is seen
        low = -0.03 * limits[1] if which == "y" else max(low, 0)
    axes.set(**{f"{which}lim": (low, limits[1])})
    own.set_label_text(axis.title)


def draw_all(pictures: Iterable[Picture]) -> dict[str, Figure]:
    """A figure of each picture with its title and note, by its name."""
    return {picture.name: _captioned(picture) for picture in pictures}


def _captioned(picture: Picture) -> ShownFigure:
    figure = draw(picture)
    figure.suptitle(picture.title, fontsize=11)
    figure.supxlabel(fill(picture.note, 110), fontsize=8)
    return figure
