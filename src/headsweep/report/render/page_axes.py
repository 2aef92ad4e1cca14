"""What the figures of a page are made of: axes, and traces of configurations and references.

A figure is a plain plotly.js figure of one fixed size without a legend: the page has one for all.
Every trace of a configuration or reference has its label as ``legendgroup``, by which the page
shows and hides it.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from headsweep.report.content import Report
from headsweep.report.render.plots import COLOURS, MARKERS, STYLES, drawn_edges, shown_heads
from headsweep.report.values import REFERENCE_PT, Value
from headsweep.stats.intervals import Estimate
from headsweep.stats.metrics import Array

WIDTH, HEIGHT = 448, 250
"""Of a figure, in CSS pixels: three fit beside each other on a laptop, two on paper."""

SYMBOLS = dict(
    zip(
        "osD^vP",
        ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross"),
        strict=True,
    )
)
"""Names of matplotlib's markers in plotly.js."""

DASHES = {":": "dot", "--": "dash", "-": "solid"}

Trace = dict[str, Any]
Figure = dict[str, Any]


@dataclass(frozen=True)
class Style:
    """Colour and marker of a configuration."""

    colour: str
    symbol: str


def styles(report: Report) -> dict[str, Style]:
    """Colour and marker of each configuration that is drawn."""
    return {
        label: Style(colour, SYMBOLS[marker])
        for label, colour, marker in zip(shown_heads(report), COLOURS, MARKERS, strict=False)
    }


def dashes(report: Report) -> dict[str, str]:
    """Line of each reference."""
    return {row.label: DASHES[STYLES[row.reference]] for row in report.references}


TITLE = {"standoff": 5, "font": {"size": 13}}
PLAIN = {"gridcolor": "#e4e4e4", "linecolor": "#444444", "zeroline": False, "automargin": True}


def make_figure(data: Sequence[Trace], x: Trace, y: Trace, shapes: Sequence[Trace]) -> Figure:
    """Traces with two axes; everything that all figures share stands here."""
    axes = [{**PLAIN, **axis, "title": {**axis["title"], **TITLE}} for axis in (x, y)]
    return {
        "data": [{"type": "scatter", "showlegend": False, **trace} for trace in data],
        "layout": {
            "width": WIDTH,
            "height": HEIGHT,
            "margin": {"l": 56, "r": 12, "t": 6, "b": 40},
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "hovermode": "closest",
            "xaxis": axes[0],
            "yaxis": axes[1],
            "shapes": list(shapes),
        },
    }


def bin_edges(report: Report, axis: str) -> Array:
    """Edges of all bins as they are drawn: none is infinite."""
    if axis in ("pt", REFERENCE_PT):
        return drawn_edges(report.pt_edges)
    values = next(
        found for row in report.rows if (found := report.get(row.label, "sagitta_bias", axis))
    )
    edges = np.array([*(value.low for value in values), values[-1].high])
    for end, inner, width in ((0, 1, -0.3), (-1, -2, 0.3)):
        edges[end] = edges[end] if math.isfinite(edges[end]) else edges[inner] + width
    return edges


def bin_axis(report: Report, axis: str) -> Trace:
    """The horizontal axis of binned figures, its bin edges as ticks."""
    edges = bin_edges(report, axis)
    if axis == "phi":
        return {
            "title": {"text": "true phi [rad]"},
            "range": [edges[0], edges[-1]],
            "tickvals": [-3, -2, -1, 0, 1, 2, 3],
        }
    if axis in ("abs_eta", "eta"):
        ticks = numbers(edges[:-1] if axis == "abs_eta" else edges[1:-1])
        title = "true |eta|; grey: overflow" if axis == "abs_eta" else "true eta; grey: beyond"
        return {"title": {"text": title}, "range": [edges[0], edges[-1]], "tickvals": ticks}
    return {
        "title": {"text": "true pT [GeV]; grey: under- and overflow"},
        "type": "log",
        "range": np.log10(edges[[0, -1]]).tolist(),
        "tickvals": report.pt_edges,
        "ticktext": [f"{edge:g}" for edge in report.pt_edges],
    }


def grey(report: Report, axis: str) -> list[Trace]:
    """Under- and overflow."""
    edges = bin_edges(report, axis)
    ends = [edges[-2:]] if axis == "abs_eta" else [edges[:2], edges[-2:]]
    return [box(float(low), float(high)) for low, high in ends]


def box(low: float, high: float) -> Trace:
    """A grey region from ``low`` to ``high``, as high as the figure."""
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": low,
        "x1": high,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "fillcolor": "#e9e9e9",
        "line": {"width": 0},
    }


class Linear:
    """A scale that is linear up to a threshold and logarithmic beyond: one bad bin flattens none.

    Args:
        threshold: Where it changes.
        values: What is drawn, for the ticks.
    """

    def __init__(self, threshold: float, values: Iterable[float]) -> None:
        self.threshold = threshold
        known = [abs(value) for value in values if math.isfinite(value)]
        self.largest = max([threshold, *known])

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        share = value / self.threshold
        return share if abs(share) <= 1 else math.copysign(1 + math.log10(abs(share)), share)

    def axis(self, title: str) -> Trace:
        """The vertical axis."""
        decades = math.ceil(math.log10(self.largest / self.threshold))
        far = [self.threshold * 10**n for n in range(decades + 1)]
        near = [self.threshold / 2, *far]
        ticks = [*(-tick for tick in near[::-1]), 0, *near]
        return {
            "title": {"text": title},
            "tickvals": [self(tick) for tick in ticks],
            "ticktext": [f"{tick:g}" for tick in ticks],
            "zeroline": True,
            "zerolinecolor": "#777777",
        }


def log_axis(title: str, values: Iterable[float]) -> Trace:
    """A logarithmic axis with more ticks for fewer decades; linear where the values are close."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    ends = math.log10(min(known)), math.log10(max(known))
    low, high = math.floor(ends[0]), math.ceil(ends[1])
    if ends[1] - ends[0] < 0.3:  # too few ticks
        return {"title": {"text": title}}
    few = ends[1] - ends[0] < 0.7
    digits = range(1, 10) if few else (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [digit * 10.0**n for n in range(low, high + 1) for digit in digits]
    return {
        "title": {"text": title},
        "type": "log",
        "tickvals": ticks,
        "ticktext": [_tick(tick) for tick in ticks],
    }


def _tick(value: float) -> str:
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= factor:
            return f"{value / min(factor, 10 ** (3 * int(math.log10(factor) // 3))):g}{unit}"
    return f"{value:g}"


def head_traces(
    report: Report,
    metric: str,
    axis: str,
    factor: float = 1.0,
    place: Callable[[float], float] = float,
    suffix: str = "",
) -> list[Trace]:
    """A metric in bins: markers with intervals, side by side in each bin."""
    shown = styles(report)
    edges = bin_edges(report, axis)
    edges = np.log(edges) if axis in ("pt", REFERENCE_PT) else edges
    traces = []
    for i, (label, style) in enumerate(shown.items()):
        share = 0.5 + min(0.14, 0.8 / len(shown)) * (i - (len(shown) - 1) / 2)
        x = edges[:-1] + share * np.diff(edges)
        x = np.exp(x) if axis in ("pt", REFERENCE_PT) else x
        values = report.get(label, metric, axis)
        own = Style(style.colour, f"{style.symbol}{suffix}")
        traces.append(point_trace(label, own, x.tolist(), values, factor, place))
    return traces


def point_trace(
    label: str,
    style: Style,
    x: Sequence[float],
    values: Sequence[Value],
    factor: float = 1.0,
    place: Callable[[float], float] = float,
) -> Trace:
    """Markers with intervals."""
    estimates = [value.estimate for value in values]
    ends = [_ends(estimate, factor, place) for estimate in estimates]
    texts = [
        f"{escape(label)}<br>{value.estimate.text(factor)}<br>{value.tracks:,} tracks"
        for value in values
    ]
    return {
        "x": numbers(x),
        "y": numbers(place(factor * e.mean) for e in estimates),
        "error_y": {
            "type": "data",
            "array": numbers(high for _, high in ends),
            "arrayminus": numbers(low for low, _ in ends),
            "thickness": 1.2,
            "width": 2,
        },
        "mode": "markers",
        "marker": marker(style),
        "hovertext": texts,
        "hoverinfo": "text",
        "legendgroup": label,
    }


def marker(style: Style) -> dict[str, Any]:
    """A marker; a triangle of the same size would look smaller."""
    size = 9 if style.symbol.startswith("triangle") else 7
    return {"color": style.colour, "symbol": style.symbol, "size": size}


def _ends(
    estimate: Estimate, factor: float, place: Callable[[float], float]
) -> tuple[float, float]:
    """Lengths of the two halves of an interval as drawn."""
    half = 0.0 if math.isnan(estimate.half) else estimate.half
    low, middle, high = (place(factor * (estimate.mean + end)) for end in (-half, 0, half))
    return middle - low, high - middle


def reference_traces(
    report: Report,
    metric: str,
    axis: str,
    factor: float = 1.0,
    place: Callable[[float], float] = float,
) -> list[Trace]:
    """The references; the constant predictor only where it does not flatten all others."""
    edges = bin_edges(report, axis)
    return [
        stair_trace(label, report.get(label, metric, axis), edges, dash, factor, place)
        for label, dash in dashes(report).items()
        if axis == REFERENCE_PT or not label.startswith("constant")
    ]


def stair_trace(
    label: str,
    values: Sequence[Value],
    edges: Array,
    dash: str,
    factor: float = 1.0,
    place: Callable[[float], float] = float,
) -> Trace:
    """A line that is level in each bin: both ends of each, so that an empty one ends no other."""
    y = [place(factor * value.estimate.mean) for value in values]
    texts = [f"{escape(label)}<br>{v.estimate.text(factor)}<br>{v.tracks:,} tracks" for v in values]
    line = line_trace(np.repeat(edges, 2)[1:-1].tolist(), numbers(np.repeat(y, 2)), 1.6, "")
    line["line"] |= {"dash": dash}
    return {**line, "hovertext": np.repeat(texts, 2).tolist(), "legendgroup": label}


def line_trace(x: Sequence[Any], y: Sequence[Any], width: float, text: str) -> Trace:
    """A line, with what is shown where the mouse is over it."""
    return {
        "x": list(x),
        "y": list(y),
        "mode": "lines",
        "line": {"color": "black", "width": width},
        "hovertext": text,
        "hoverinfo": "text",
    }


def means(report: Report, metric: str, axis: str, factor: float = 1.0) -> list[float]:
    """All values of a metric in bins."""
    return [
        factor * value.estimate.mean
        for row in report.rows
        for value in report.get(row.label, metric, axis)
    ]


def named_figure(data: Sequence[Trace], x: Trace, labels: Sequence[str], shapes: Any) -> Figure:
    """A figure with a name at 0, 1, .. from the top, folded into lines; as high as they need."""
    lines = [textwrap.wrap(label, 22, max_lines=3, placeholder=" …") for label in labels]
    y = {
        "title": {"text": "configuration"},
        "range": [len(labels) - 0.5, -0.5],
        "tickvals": list(range(len(labels))),
        "ticktext": ["<br>".join(map(escape, folded)) for folded in lines],
    }
    figure = make_figure(data, x, y, shapes)
    height = 60 + len(labels) * (8 + 16 * max(map(len, lines), default=1))
    figure["layout"]["height"] = max(HEIGHT, height)
    return figure


def numbers(values: Iterable[float]) -> list[float | None]:
    """For JSON: six digits; what is not finite is a gap."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
